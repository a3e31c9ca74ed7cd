"""Residual networks: published sizes, values worked out by hand, running statistics, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from recipe_jax import keys, types
from recipe_jax.models import resnet
from recipe_jax.objectives import classification
from recipe_jax.optim import sgd
from recipe_jax.train.chunk import make_chunk
from recipe_jax.train.step import Moving
from recipe_jax.types import Arrays, Experiment, View

KEY = jax.random.key(0)
IMAGES = types.Spec(
    kind="classification", input_shape=(9, 8, 2), num_outputs=3, prior=(0.5, 0.5, 0.0)
)
TINY = functools.partial(resnet.build, width=4, blocks=(1, 1))


def spec(shape, num_outputs):
    prior = (1 / num_outputs,) * num_outputs
    return types.Spec(
        kind="classification", input_shape=shape, num_outputs=num_outputs, prior=prior
    )


def size(task, **keywords):
    return types.num_params(jax.eval_shape(resnet.build(task, **keywords).init, KEY)[0])


def batch(count=6):
    draw = np.random.default_rng(0)
    return jnp.asarray(draw.normal(size=(count, *IMAGES.input_shape)), jnp.float32)


def weights(model):
    """Weights of the right shapes, and statistics as they start; no compiling."""
    draw = np.random.default_rng(1)
    shapes, state = jax.eval_shape(model.init, KEY)
    params = jax.tree.map(lambda s: jnp.asarray(0.3 * draw.normal(size=s.shape), s.dtype), shapes)
    start = {"mean": jnp.zeros, "var": jnp.ones}
    return params, jax.tree_util.tree_map_with_path(
        lambda path, s: start[path[-1].key](s.shape), state
    )


@functools.partial(jax.jit, static_argnums=0, static_argnames="train")
def use(model, params, state, inputs, *, train):
    return model.apply(params, state, inputs, key=KEY, train=train)


BATCH_OF_12 = np.asarray(batch(12))


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n, params, millions", [(3, 269_722, 0.27), (9, 853_018, 0.85)]
)  # table 6 of the paper
def test_cifar_networks_have_the_published_sizes(n, params, millions):
    assert size(spec((32, 32, 3), 10), blocks=(n, n, n), width=16) == params
    assert round(params / 1e6, 2) == millions


@pytest.mark.parametrize("blocks, params", [((2, 2, 2, 2), 11_689_512), ((3, 4, 6, 3), 21_797_672)])
def test_imagenet_networks_have_the_published_sizes(blocks, params):
    task = spec((224, 224, 3), 1000)
    published = {"width": 64, "stem": "imagenet", "shortcut": "projection"}
    assert size(task, blocks=blocks, **published) == params


@pytest.mark.parametrize("stem, k", [("small", 3), ("imagenet", 7)])
@pytest.mark.parametrize("shortcut", ["identity", "projection"])
@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_it_has_the_parameters_of_its_formula(stem, k, shortcut, normalization):
    expected = (k * k * 2 + 2) * 6 + (12 + 1) * 3
    expected += sum(9 * a * b + 9 * b * b + 4 * b for a, b in ((6, 6), (6, 6), (6, 12)))
    expected += (6 + 2) * 12 if shortcut == "projection" else 0
    keywords = {"stem": stem, "shortcut": shortcut, "normalization": normalization}
    assert size(IMAGES, blocks=(2, 1), width=6, **keywords) == expected


def test_stages_halve_the_image_and_double_the_channels():
    """The dry run of ResNet-18 on ImageNet: 64 x 56 x 56 after the stem, 512 x 7 x 7 at the end."""
    published = {"width": 64, "stem": "imagenet", "shortcut": "projection"}
    model = resnet.build(spec((224, 224, 3), 10), blocks=(2, 2, 2, 2), **published)
    params, state = jax.eval_shape(model.init, KEY)
    inputs = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    program = jax.make_jaxpr(functools.partial(model.apply, key=KEY, train=False))(
        params, state, inputs
    )
    shapes = [
        inner.outvars[0].aval.shape[1:]
        for equation in program.jaxpr.eqns
        for inner in _convolutions(equation)
    ]
    assert shapes[0] == (112, 112, 64)
    assert shapes[1:5] == 4 * [(56, 56, 64)]
    # Two convolutions a block, and the projection of the first.
    for stage, side, width in ((1, 28, 128), (2, 14, 256), (3, 7, 512)):
        first = 5 + 5 * (stage - 1)
        assert shapes[first : first + 5] == 5 * [(side, side, width)]


def _convolutions(equation):
    if equation.primitive.name == "conv_general_dilated":
        return [equation]
    inner = [v.jaxpr for v in equation.params.values() if hasattr(v, "jaxpr")]
    return [found for jaxpr in inner for each in jaxpr.eqns for found in _convolutions(each)]


# --- values ------------------------------------------------------------------------------------


def plain_conv(x, kernel, stride):
    around = [(kernel.shape[0] // 2,) * 2, (kernel.shape[1] // 2,) * 2]
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), around, dimension_numbers=layout)


@functools.partial(jax.jit, static_argnames=("stem", "shortcut", "normalise"))
def by_hand(params, state, x, *, stem, shortcut, normalise):
    """The paper's figures 2 and 3, written out for two stages of one block."""

    def norm(x, place):
        own = functools.reduce(lambda tree, part: tree[part], place, params)
        return normalise(x, place) * own["scale"] + own["bias"]

    x = plain_conv(x, params["stem"]["kernel"], 1 if stem == "small" else 2)
    x = jnp.maximum(norm(x, ("norm",)), 0.0)
    if stem == "imagenet":
        window = (1, 3, 3, 1)
        pads = ((0, 0), (1, 1), (1, 1), (0, 0))
        x = lax.reduce_window(x, -jnp.inf, lax.max, window, (1, 2, 2, 1), pads)
    for name, stride in (("0", 1), ("1", 2)):
        block, at = params["blocks"][name], ("blocks", name)
        y = jnp.maximum(norm(plain_conv(x, block["conv1"]["kernel"], stride), (*at, "norm1")), 0.0)
        y = norm(plain_conv(y, block["conv2"]["kernel"], 1), (*at, "norm2"))
        if stride == 2 and shortcut == "projection":
            x = norm(plain_conv(x, block["projection"]["kernel"], 2), (*at, "norm"))
        elif stride == 2:
            x = x[:, ::2, ::2]
            x = jnp.concatenate([x, jnp.zeros_like(x)], -1)
        x = jnp.maximum(x + y, 0.0)
    return x.mean((1, 2)) @ params["output"]["kernel"] + params["output"]["bias"]


def of_the_batch(x, place):
    return (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5)


@pytest.mark.parametrize("stem, shortcut", [("small", "identity"), ("imagenet", "projection")])
def test_by_hand_with_the_batch_statistics(stem, shortcut):
    model = TINY(IMAGES, stem=stem, shortcut=shortcut)
    params, state = weights(model)
    found, _ = use(model, params, state, batch(), train=True)
    expected = by_hand(params, state, batch(), stem=stem, shortcut=shortcut, normalise=of_the_batch)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


def test_groups_by_hand_look_at_one_example():
    task = spec((6, 6, 1), 2)
    model = resnet.build(task, width=32, blocks=(1, 1), normalization="group")
    params, state = weights(model)
    inputs = jax.random.normal(KEY, (3, 6, 6, 1))

    def of_groups(x, place):
        parts = x.reshape(*x.shape[:3], -1, 16)
        mean, var = (f(parts, axis=(1, 2, 4), keepdims=True) for f in (jnp.mean, jnp.var))
        # flax divides by sqrt(var + 1e-6) here
        return ((parts - mean) / jnp.sqrt(var + 1e-6)).reshape(x.shape)

    expected = by_hand(
        params, state, inputs, stem="small", shortcut="identity", normalise=of_groups
    )
    assert not jax.tree.leaves(state)
    for train in (True, False):
        found, _ = use(model, params, state, inputs, train=train)
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)
        alone, _ = use(model, params, state, inputs[1:2], train=train)
        np.testing.assert_allclose(found[1:2], alone, rtol=1e-4, atol=1e-5)


def test_running_statistics_by_hand():
    """Nine tenths of what was, and a tenth of the batch's; evaluation divides by them."""
    model = TINY(IMAGES)
    params, state = weights(model)
    inputs, mean, var = batch(), 0.0, 1.0
    for i in range(3):
        seen = inputs * (i + 1.0)
        _, state = use(model, params, state, seen, train=True)
        x = plain_conv(seen, params["stem"]["kernel"], 1)
        mean = 0.9 * mean + 0.1 * x.mean((0, 1, 2))
        var = 0.9 * var + 0.1 * x.var((0, 1, 2))
    np.testing.assert_allclose(state["norm"]["mean"], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state["norm"]["var"], var, rtol=1e-4)

    def running(x, place):
        own = functools.reduce(lambda tree, part: tree[part], place, state)
        return (x - own["mean"]) / jnp.sqrt(own["var"] + 1e-5)

    found, after = use(model, params, state, inputs, train=False)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    expected = by_hand(params, state, inputs, stem="small", shortcut="identity", normalise=running)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)
    # In evaluation no example depends on its neighbours.
    alone, _ = use(model, params, state, inputs[2:3], train=False)
    np.testing.assert_allclose(found[2:3], alone, rtol=1e-4, atol=1e-6)


def test_pooling_and_its_gradient_are_those_of_a_window():
    x = jax.random.normal(KEY, (2, 7, 6, 3))

    def usual(x):
        pads = ((0, 0), (1, 1), (1, 1), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)

    np.testing.assert_array_equal(resnet._max_pool(x), usual(x))
    ours, theirs = (
        jax.grad(lambda x, pool=pool: jnp.sin(pool(x)).sum())(x)
        for pool in (resnet._max_pool, usual)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@jax.jit
def started(last_scale, init_gain):
    return TINY(IMAGES, last_scale=last_scale, init_gain=init_gain).init(KEY)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_the_last_scale_of_a_block_is_how_it_starts(scale):
    params, state = started(scale, 1.0)
    for block in params["blocks"].values():
        np.testing.assert_array_equal(block["norm2"]["scale"], scale)
        np.testing.assert_array_equal(block["norm1"]["scale"], 1.0)
    for name, expected in (("mean", 0.0), ("var", 1.0)):
        np.testing.assert_array_equal(state["norm"][name], expected)


def test_a_block_whose_last_scale_is_zero_is_its_shortcut():
    model = TINY(IMAGES)
    params, state = weights(model)
    for block in params["blocks"].values():
        block["norm2"] = jax.tree.map(jnp.zeros_like, block["norm2"])
    found, _ = use(model, params, state, batch(), train=True)
    x = of_the_batch(plain_conv(batch(), params["stem"]["kernel"], 1), ())
    x = jnp.maximum(x * params["norm"]["scale"] + params["norm"]["bias"], 0.0)
    x = x[:, ::2, ::2].mean((1, 2))
    x = jnp.concatenate([x, jnp.zeros_like(x)], -1)
    expected = x @ params["output"]["kernel"] + params["output"]["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_it_starts_at_the_prior():
    params, state = started(0.5, 1e-6)
    found, _ = use(TINY(IMAGES), params, state, batch(), train=False)
    np.testing.assert_allclose(jax.nn.softmax(found[0]), IMAGES.prior, atol=1e-3)


def test_it_drops_in_training_only():
    model, dropping = TINY(IMAGES), TINY(IMAGES, dropout=0.5)
    params, state = weights(model)

    def outputs(model, train):
        return use(model, params, state, batch(), train=train)[0]

    np.testing.assert_array_equal(outputs(model, False), outputs(dropping, False))
    assert jnp.any(outputs(model, True) != outputs(dropping, True))


# --- training ----------------------------------------------------------------------------------


def trained(dropout, seed, params):
    """A lane after three steps."""
    built = Experiment(
        model=TINY(IMAGES, dropout=dropout),
        objective=classification.build(IMAGES),
        optimizer=sgd.build(learning_rate=0.05),
        schedule=lambda step: 1.0,
        augment=lambda key, inputs, targets: (inputs, targets),
    )
    _, state = weights(built.model)
    moving = Moving(jnp.int32(0), params, state, built.optimizer.init(params))
    data = Arrays(BATCH_OF_12, np.arange(12, dtype=np.int32) % 3)
    chunk = make_chunk(built, num_steps=3, batch_size=4)
    view = View(jnp.int32(12), jnp.bool_(True))
    return chunk(moving, keys.lane_key(0, seed), view, jnp.float32(1.0), data)[0]


def test_lanes_carry_statistics_of_their_own():
    first, _ = weights(TINY(IMAGES))
    lanes = (
        jnp.array([0.0, 0.3]),
        jnp.array([0, 7], jnp.uint32),
        jax.tree.map(lambda x: jnp.stack([x, 0.5 * x]), first),
    )
    together, alone = jax.jit(jax.vmap(trained))(*lanes), jax.jit(trained)
    for lane in range(2):
        own = alone(*jax.tree.map(lambda leaf, lane=lane: leaf[lane], lanes))
        for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(own)):
            np.testing.assert_allclose(ours[lane], theirs, rtol=1e-3, atol=1e-4)
    mean = together.model_state["norm"]["mean"]
    assert jnp.any(mean[0] != mean[1])


def test_no_gradient_leaves_the_fast_layout():
    model = TINY(IMAGES, shortcut="projection", stem="imagenet")
    params, state = weights(model)

    def loss(params):
        return model.apply(params, state, batch(2), key=KEY, train=True)[0].sum()

    text = jax.jit(jax.grad(loss)).lower(params).as_text()
    lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    layouts = {line.split("dim_numbers = ")[1].split(", window")[0] for line in lines}
    assert layouts == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}


# --- bad input ---------------------------------------------------------------------------------


def test_tables_and_tiny_images_are_refused_with_a_remedy():
    with pytest.raises(types.UserError, match="name=mlp"):
        resnet.build(spec((6,), 2))
    with pytest.raises(types.UserError, match=r"halved 3 times; give at most 4 stages"):
        resnet.build(IMAGES, blocks=(1,) * 5)
    with pytest.raises(types.UserError, match="at most 2 stages"):
        resnet.build(IMAGES, blocks=(1, 1, 1), stem="imagenet")
    with pytest.raises(types.UserError, match="stem=small"):
        resnet.build(spec((3, 3, 1), 2), blocks=(1, 1), stem="imagenet")
    with pytest.raises(types.UserError, match="one number of blocks a stage"):
        resnet.build(IMAGES, blocks=())
    assert size(IMAGES, blocks=(1,) * 4, width=2)
