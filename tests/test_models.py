"""Networks: what they compute at known weights, how they start, and that lanes stay apart."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from recipe_jax import types
from recipe_jax.models import _conv, _mask, base, cnn, constant, linear, mlp, resnet

TABLE = types.Spec(kind="classification", input_shape=(6,), num_outputs=3, prior=(0.5, 0.25, 0.25))
IMAGES = types.Spec(
    kind="classification", input_shape=(9, 8, 2), num_outputs=3, prior=(0.5, 0.5, 0.0)
)
VALUES = types.Spec(kind="regression", input_shape=(6,), num_outputs=2, prior=(0.0, 0.0))
KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=0, static_argnames="train")
def outputs(model, inputs, *, train=False):
    params, state = model.init(KEY)
    return model.apply(params, state, inputs, key=KEY, train=train)[0]


# --- dropout -----------------------------------------------------------------------------------


def test_dropout_at_rate_zero_is_the_identity_bit_for_bit():
    x = jnp.array([1.0, -0.0, 3e38, jnp.inf, 1e-37])
    dropped = jax.jit(base.dropout)(x, jnp.float32(0.0), KEY)
    np.testing.assert_array_equal(dropped.view(jnp.int32), x.view(jnp.int32))


def test_dropout_at_rate_one_is_zero_with_a_finite_gradient():
    x = jnp.arange(1.0, 9.0)
    for rate, gradient in ((1.0, 0.0), (0.0, 1.0)):
        value, slope = jax.value_and_grad(lambda x, r: base.dropout(x, r, KEY).sum())(x, rate)
        assert value == gradient * x.sum()
        np.testing.assert_array_equal(slope, gradient * jnp.ones(8))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_share_and_the_mean(rate):
    count = 100_000
    dropped = base.dropout(jnp.ones(count), jnp.float32(rate), KEY)
    kept = float((dropped > 0).mean())
    four_sigma = 4 * math.sqrt(rate * (1 - rate) / count)
    assert abs(kept - (1 - rate)) < four_sigma
    assert abs(float(dropped.mean()) - 1.0) < four_sigma / (1 - rate)
    assert jnp.unique(dropped).size == 2


def test_masks_of_different_keys_and_places_are_independent():
    count = 40_000
    one, other = (_mask.keep(jax.random.key(k), 0.5, (count,)) for k in (1, 2))
    for shifted in (other, jnp.roll(one, 1), jnp.roll(one, 2), jnp.roll(one, count // 2)):
        assert abs(float((one == shifted).mean()) - 0.5) < 4 * 0.5 / math.sqrt(count)


@pytest.mark.parametrize("shape", [(), (3, 7)])
def test_every_transform_draws_the_mask_that_was_drawn_alone(shape):
    rates = jnp.array([[0.0, 0.5], [0.25, 1.0]])
    keys = jax.random.split(KEY, (2, 2))
    alone = [[_mask._draw(shape, keys[i, j], rates[i, j]) for j in range(2)] for i in range(2)]
    alone = jnp.array(alone)

    keep = functools.partial(_mask.keep, shape=shape)
    nested = jax.vmap(jax.vmap(keep))
    mesh = jax.make_mesh((1,), ("lanes",), axis_types=(jax.sharding.AxisType.Auto,))
    lanes = jax.sharding.PartitionSpec("lanes")
    sharded = jax.shard_map(
        nested, mesh=mesh, in_specs=(lanes, lanes), out_specs=lanes, check_vma=False
    )

    def scanned(keys, rates):
        return lax.scan(lambda c, kr: (c, jax.vmap(keep)(*kr)), 0, (keys, rates))[1]

    def outer(keys, rates):
        def row(keys, rates):
            return lax.scan(lambda c, kr: (c, keep(*kr)), 0, (keys, rates))[1]

        return jax.vmap(row)(keys, rates)

    def mapped(keys, rates):
        return lax.map(lambda kr: lax.map(lambda both: keep(*both), kr), (keys, rates))

    for transform in (nested, scanned, outer, mapped, sharded):
        np.testing.assert_array_equal(jax.jit(transform)(keys, rates), alone)
    one_key = jax.vmap(keep, in_axes=(None, 0))(keys[0, 0], rates[0])
    np.testing.assert_array_equal(one_key[1], _mask._draw(shape, keys[0, 0], rates[0, 1]))


def test_gradients_pass_through_lanes_with_their_own_rate():
    x, keys, rates = jnp.ones((3, 16)), jax.random.split(KEY, 3), jnp.array([0.0, 0.5, 1.0])

    def slope(x, rate, key):
        return jax.grad(lambda x: (base.dropout(x, rate, key) ** 2).sum())(x)

    slopes = jax.jit(jax.vmap(slope))(x, rates, keys)
    np.testing.assert_array_equal(slopes[0], 2 * jnp.ones(16))
    assert set(np.unique(slopes[1])) == {0.0, 8.0}
    np.testing.assert_array_equal(slopes[2], jnp.zeros(16))


def test_all_lanes_together_are_asked_one_question():
    def question(draw):
        """Shapes of what conditionals branch on, in a vmap of a scan of a vmap."""

        def lane(keys, rates):
            step = jax.vmap(functools.partial(draw, shape=(4,)))
            return lax.scan(lambda c, _: (c, step(keys, rates)), 0, length=2)

        program = jax.jit(jax.vmap(lane)).lower(jax.random.split(KEY, (2, 3)), jnp.ones((2, 3)))
        return program.compile().as_text().count(" conditional(")

    def naive(key, rate, shape):
        ones = jnp.ones(shape, bool)
        return lax.cond(rate > 0, lambda: _mask._draw(shape, key, rate), lambda: ones)

    assert question(_mask.keep) == 1
    assert question(naive) == 0  # vmap made a select of it


@pytest.mark.parametrize("build, spec", [(mlp.build, TABLE), (cnn.build, IMAGES)])
def test_networks_drop_in_training_only(build, spec):
    inputs = jax.random.normal(KEY, (4, *spec.input_shape))
    dropping = build(spec, dropout=0.5)
    evaluated = outputs(dropping, inputs)
    assert jnp.any(outputs(dropping, inputs, train=True) != evaluated)
    np.testing.assert_array_equal(outputs(build(spec), inputs, train=True), evaluated)


def test_layers_have_masks_of_their_own():
    kept = base.keep(KEY, 0.5, (2, 8, 32))
    assert 0.3 < float((kept[0] == kept[1]).mean()) < 0.7


# --- how a network starts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, variance",
    [
        ("lecun", 1 / 300),
        ("he", 2 / 300),
        ("xavier", 2 / 500),
        ("normal", 0.05**2),
        ("uniform", 0.1**2 / 12),
        ("zeros", 0.0),
        ("lecun_uniform", 1 / 300),
        ("he_uniform", 2 / 300),
        ("xavier_uniform", 2 / 500),
        ("orthogonal", 1 / 300),
    ],
)
def test_initialisers_have_their_variance_times_gain_squared(name, variance):
    drawn = base.initializer(name, jnp.float32(3.0))(KEY, (300, 200))
    assert drawn.dtype == jnp.float32
    assert abs(float(drawn.mean())) <= 5 * 3 * math.sqrt(variance / 60_000)
    np.testing.assert_allclose(drawn.var(), 9 * variance, rtol=0.03)


def test_orthogonal_columns_are_orthonormal():
    drawn = base.initializer("orthogonal")(KEY, (3, 3, 4, 5)).reshape(-1, 5)
    np.testing.assert_allclose(drawn.T @ drawn, jnp.eye(5), atol=1e-5)


@pytest.mark.parametrize("build", [constant.build, linear.build, mlp.build, cnn.build])
def test_a_network_starts_at_the_prior(build):
    """With weights of gain nearly zero only the output bias speaks."""
    spec = IMAGES if build is cnn.build else TABLE
    gain = {} if build is constant.build else {"init_gain": 1e-6}

    @jax.jit
    @jax.vmap
    def start(prior_bias):
        inputs = jnp.ones((2, *spec.input_shape))
        return outputs(build(spec, prior_bias=prior_bias, **gain), inputs)[0]

    shares = jnp.array([1.0, 0.5, 0.0])
    aware, *others = start(shares)
    np.testing.assert_allclose(jax.nn.softmax(aware), spec.prior, atol=1e-3)
    for share, found in zip(shares[1:], others):
        np.testing.assert_allclose(found, share * spec.prior_outputs, atol=1e-4)


def test_regression_starts_at_the_mean():
    assert not outputs(constant.build(VALUES), jnp.ones((2, 6))).any()


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_auto_keeps_the_scale_through_depth(activation):
    spec = types.Spec(kind="regression", input_shape=(256,), num_outputs=64, prior=(0.0,) * 64)
    inputs = jax.random.normal(KEY, (64, 256))
    spread = outputs(mlp.build(spec, width=256, depth=6, activation=activation), inputs).std()
    narrow = outputs(
        mlp.build(spec, width=256, depth=6, activation=activation, init="normal"), inputs
    )
    assert 0.1 < spread < 3.0
    assert narrow.std() < spread


# --- what networks compute ---------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("block", ["plain", "residual", "highway"])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
def test_mlp_has_the_parameters_of_its_formula(depth, block, normalization):
    model = mlp.build(TABLE, width=5, depth=depth, block=block, normalization=normalization)
    params, _ = jax.eval_shape(model.init, KEY)
    hidden = (6 + 1) * 5 + (depth - 1) * (5 + 1) * 5 + (5 + 1) * 3 if depth else (6 + 1) * 3
    hidden += 2 * 5 * depth if normalization != "none" else 0
    hidden += (depth - 1) * (5 + 1) * 5 if block == "highway" and depth else 0
    assert types.num_params(params) == hidden


def test_cnn_has_the_parameters_of_its_formula():
    params, _ = jax.eval_shape(cnn.build(IMAGES, channels=(4, 5), dense=7).init, KEY)
    pixels = (9 // 4) * (8 // 4) * 5
    expected = (9 * 2 + 1) * 4 + (9 * 4 + 1) * 5 + (pixels + 1) * 7 + (7 + 1) * 3
    assert types.num_params(params) == expected
    none = jax.eval_shape(cnn.build(IMAGES, channels=(), dense=7).init, KEY)[0]
    assert types.num_params(none) == (9 * 8 * 2 + 1) * 7 + (7 + 1) * 3


def test_mlp_by_hand():
    model = mlp.build(VALUES, width=6, depth=2)
    params, state = model.init(KEY)
    inputs = jax.random.normal(KEY, (3, 6))
    x = inputs
    for name in ("0", "1"):
        layer = params["layers"][name]["dense"]
        x = np.maximum(x @ layer["kernel"] + layer["bias"], 0.0)
    expected = x @ params["output"]["kernel"] + params["output"]["bias"]
    found, _ = model.apply(params, state, inputs, key=KEY, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block", ["residual", "highway"])
def test_blocks_pass_their_input_on(block):
    """A layer of zero weights is the identity; the gate of a highway lets most of it pass."""
    model = mlp.build(VALUES, width=6, depth=2, block=block)
    params, state = model.init(KEY)
    inputs = jax.random.uniform(KEY, (3, 6))
    params["layers"]["0"]["dense"]["kernel"] = jnp.eye(6)
    params["layers"]["1"]["dense"]["kernel"] = jnp.zeros((6, 6))
    share = 1.0
    if block == "highway":
        params["layers"]["1"]["gate"]["kernel"] = jnp.zeros((6, 6))
        share = 1 - 1 / (1 + math.exp(2.0))
    expected = share * inputs @ params["output"]["kernel"]
    found, _ = model.apply(params, state, inputs, key=KEY, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def gradient_of_the_first_layer(block, depth):
    """Norm of the loss's gradient there, as a part of that of the last layer."""
    model = mlp.build(VALUES, width=32, depth=depth, block=block, activation="sigmoid")
    params, state = model.init(KEY)
    inputs = jax.random.normal(KEY, (16, 6))

    def loss(params):
        return jnp.square(model.apply(params, state, inputs, key=KEY, train=False)[0] - 1.0).mean()

    grads = jax.grad(loss)(params)
    first, last = grads["layers"]["0"]["dense"]["kernel"], grads["output"]["kernel"]
    return float(jnp.linalg.norm(first) / jnp.linalg.norm(last))


def test_the_gradient_passes_thirty_highway_layers_where_plain_ones_lose_it():
    assert gradient_of_the_first_layer("plain", 30) < 1e-8
    assert gradient_of_the_first_layer("highway", 30) > 3e-4
    assert gradient_of_the_first_layer("plain", 2) > 3e-3


def test_a_highway_carries_most_of_its_input_at_the_start():
    model = mlp.build(VALUES, width=6, depth=2, block="highway")
    params, _ = model.init(KEY)
    np.testing.assert_array_equal(params["layers"]["1"]["gate"]["bias"], -2.0)
    assert "gate" not in params["layers"]["0"]  # in and out differ in size


def test_batch_normalisation_carries_statistics_and_layer_does_not():
    for name, carried in (("none", 0), ("batch", 4), ("layer", 0)):
        _, state = mlp.build(TABLE, width=4, normalization=name).init(KEY)
        assert len(jax.tree.leaves(state)) == carried


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((3, 12, 20), True),
        ((1, 28, 28), True),
        ((4, 32, 32), True),
        ((3, 12, 3), False),
        ((1, 28, 1), False),
        ((2, 12, 20), False),
        ((3, 3, 200), False),
    ],
)
def test_channels_that_came_first_are_named(shape, told):
    spec = dataclasses.replace(IMAGES, input_shape=shape)
    for build in (cnn.build, functools.partial(resnet.build, blocks=(1, 1, 1, 1))):
        with pytest.raises(types.UserError, match="pixels can be halved") as error:
            build(spec, **({"channels": (8, 8, 8)} if build is cnn.build else {}))
        assert (f"as {shape} looks: transpose" in str(error.value)) == told


def test_tables_and_tiny_images_are_refused_with_a_remedy():
    with pytest.raises(types.UserError, match="name=mlp"):
        cnn.build(TABLE)
    with pytest.raises(types.UserError, match="at most 3 channels"):
        cnn.build(IMAGES, channels=(1, 1, 1, 1))
    outputs(cnn.build(IMAGES, channels=(1, 1, 1)), jnp.ones((1, 9, 8, 2)))


# --- convolution -------------------------------------------------------------------------------


def usual(x, kernel, strides, padding):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)


def slopes(conv, x, kernel):
    return jax.grad(lambda x, kernel: jnp.sin(conv(x, kernel)).sum(), (0, 1))(x, kernel)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (0, 3))])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("size", [(3, 3), (2, 5)])
def test_convolution_and_its_gradients_are_the_usual_ones(padding, strides, size):
    x = jax.random.normal(KEY, (2, 2, 9, 8, 3))
    kernel = jax.random.normal(jax.random.key(1), (2, *size, 3, 4))
    own = functools.partial(_conv.conv, strides=strides, padding=padding)
    reference = functools.partial(usual, strides=strides, padding=padding)
    np.testing.assert_array_equal(own(x[0], kernel[0]), reference(x[0], kernel[0]))
    lanes = [
        jax.jit(jax.vmap(functools.partial(slopes, conv)))(x, kernel) for conv in (own, reference)
    ]
    alone = jax.jit(functools.partial(slopes, own))(x[0], kernel[0])
    for ours, theirs, single in zip(*lanes, alone):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(ours[0], single, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_no_gradient_of_a_convolution_leaves_the_fast_layout(strides):
    def layouts(conv):
        x, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 4))
        text = jax.jit(functools.partial(slopes, conv)).lower(x, kernel).as_text()
        lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        return {line.split("dim_numbers = ")[1].split(", window")[0] for line in lines}

    fast = {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    assert layouts(functools.partial(_conv.conv, strides=strides)) == fast
    assert layouts(functools.partial(usual, strides=strides, padding="SAME")) != fast


def test_pooling_takes_the_largest_of_four():
    x = jax.random.normal(KEY, (2, 7, 6, 3))
    window = (1, 2, 2, 1)

    def usual_pool(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")

    np.testing.assert_array_equal(_conv.max_pool(x), usual_pool(x))
    ours, theirs = (
        jax.grad(lambda x, pool=pool: jnp.sin(pool(x)).sum())(x)
        for pool in (_conv.max_pool, usual_pool)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_orthogonal_kernels_of_many_lanes_are_decomposed_one_by_one():
    # Batched, two devices of one process wait for each other for ever on CPU.
    draw = functools.partial(base.initializer("orthogonal"), shape=(6, 4), dtype=jnp.float32)
    lanes = jax.random.split(jax.random.key(0), 3)
    together = jax.vmap(draw)(lanes)
    for lane, kernel in zip(lanes, together):
        np.testing.assert_array_equal(kernel, draw(lane))
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(4), atol=1e-6)
    program = str(jax.make_jaxpr(jax.vmap(draw))(lanes))
    assert "scan[" in program and "f32[3,6,4] = geqrf" not in program
