"""Optimisers: numbers as arrays give what optax gives with static ones; decay spares biases."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from recipe_jax import config, resolve
from recipe_jax.optim import adadelta, adam, adamw, base, lion, muon, rmsprop, sgd
from recipe_jax.types import UserError

PARAMS = {
    "dense": {"kernel": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3), "bias": jnp.ones(3)},
    "norm": {"scale": jnp.ones(3), "bias": jnp.zeros(3)},
}
INPUTS = jax.random.normal(jax.random.key(0), (20, 16, 4))
MASK = {
    "dense": {"kernel": True, "bias": False},
    "norm": {"scale": False, "bias": False},
}
RATE, DECAY, CLIP = 0.05, 0.1, 0.5


def loss(params, x):
    hidden = jnp.tanh(x @ params["dense"]["kernel"] + params["dense"]["bias"])
    return ((hidden * params["norm"]["scale"] + params["norm"]["bias"] - x[:, :3]) ** 2).sum()


gradient_of = jax.jit(jax.grad(loss))


def trained(optimizer, steps=50):
    """Operation by operation: a compiler may contract the same formula in two ways."""
    params, state = PARAMS, optimizer.init(PARAMS)
    for i in range(steps):
        updates, state = optimizer.update(gradient_of(params, INPUTS[i % 20]), state, params)
        params = optax.apply_updates(params, updates)
    return params


def chained(moments, *, decoupled=False, clip=CLIP):
    decay = optax.add_decayed_weights(DECAY, MASK)
    links = (moments, decay) if decoupled else (decay, moments)
    clips = (optax.clip_by_global_norm(clip),) if clip < math.inf else ()
    return optax.chain(*clips, *links, optax.scale(-RATE))


CASES = {
    "sgd": (sgd.build, {}, optax.trace(0.9)),
    "momentum": (sgd.build, {"momentum": 0.5}, optax.trace(0.5)),
    "nesterov": (sgd.build, {"nesterov": True}, optax.trace(0.9, nesterov=True)),
    "adam": (adam.build, {}, optax.scale_by_adam()),
    "adamw": (adamw.build, {}, optax.scale_by_adam()),
    "rmsprop": (rmsprop.build, {"decay": 0.8}, optax.scale_by_rms(0.8)),
    "adadelta": (adadelta.build, {"decay": 0.8}, optax.scale_by_adadelta(0.8)),
    "lion": (lion.build, {"b1": 0.8}, optax.scale_by_lion(0.8)),
}
DECOUPLED = ("adamw", "lion")


@pytest.mark.parametrize("clip", [CLIP, math.inf])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_static_chain_of_optax(name, clip):
    build, settings, moments = CASES[name]
    static = chained(moments, decoupled=name in DECOUPLED, clip=clip)

    numbers = dict(zip(("learning_rate", "weight_decay", "clip_norm"), (RATE, DECAY, clip)))
    found = trained(build(**{k: jnp.float32(v) for k, v in numbers.items()}, **settings))
    jax.tree.map(np.testing.assert_array_equal, found, trained(static))
    assert any(jnp.any(a != b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(PARAMS)))

    def traced(numbers):
        optimizer = build(**numbers, **settings)
        return optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)[0]

    compiled = jax.jit(traced)({k: jnp.float32(v) for k, v in numbers.items()})
    expected = static.update(PARAMS, static.init(PARAMS), PARAMS)[0]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, compiled, expected)


@pytest.mark.parametrize("build", [adam.build, adamw.build])
def test_moments_equal_those_of_optax(build):
    numbers = {"b1": jnp.float32(0.8), "b2": jnp.float32(0.95), "eps": jnp.float32(1e-6)}
    static = chained(optax.scale_by_adam(**numbers), decoupled=build is adamw.build)
    rest = {"learning_rate": RATE, "weight_decay": DECAY, "clip_norm": CLIP}
    found = trained(build(**rest, **numbers))
    jax.tree.map(np.testing.assert_array_equal, found, trained(static))


@pytest.mark.parametrize("name", resolve.plugins("optim"))
def test_lanes_of_all_numbers_share_one_trace(name):
    build = resolve.resolve("optim", name)
    traces = []

    @jax.jit
    @jax.vmap
    def lane(numbers):
        traces.append(1)
        return trained(build(**numbers), steps=5)

    def numbers(scale):
        rates = scale * jnp.array([0.1, 0.01, 0.1])
        clips = jnp.array([jnp.inf, 1.0, jnp.inf])
        return {"learning_rate": rates, "weight_decay": rates, "clip_norm": clips}

    found = lane(numbers(1.0))
    lane(numbers(0.5))
    assert len(traces) == 1
    for leaf in jax.tree.leaves(found):
        assert jnp.isfinite(leaf).all()
        np.testing.assert_array_equal(leaf[0], leaf[2])


@pytest.mark.parametrize("size", [0.0, 1.0, 1e30])
def test_no_clipping_changes_no_bit(size):
    """Not even where the squares of the norm overflow."""
    gradient = {"a": jnp.array([size, -size / 3]), "b": jnp.array([[size / 7]])}
    clip = jax.jit(lambda g, c: base.clipped(c).update(g, optax.EmptyState())[0])
    found = clip(gradient, jnp.float32(math.inf))
    jax.tree.map(np.testing.assert_array_equal, found, gradient)


def test_clipping_by_hand():
    gradient = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    for limit, expected in ((10.0, (3.0, 4.0)), (5.0, (3.0, 4.0)), (1.0, (0.6, 0.8))):
        found, _ = base.clipped(jnp.float32(limit)).update(gradient, optax.EmptyState())
        np.testing.assert_allclose([found["a"][0], found["b"][0]], expected, rtol=1e-6)


def test_a_non_finite_gradient_stays_visible():
    gradient = {"a": jnp.array([jnp.nan, 1.0])}
    for limit in (1.0, math.inf):
        found, _ = base.clipped(jnp.float32(limit)).update(gradient, optax.EmptyState())
        assert jnp.isnan(found["a"][0])


def test_decay_spares_biases_and_norms():
    assert base.decayed(PARAMS) == MASK
    odd = {"norm": {"scale": jnp.ones((2, 2)), "bias": jnp.ones((2, 2))}, "kernel": jnp.ones(3)}
    assert not any(jax.tree.leaves(base.decayed(odd)))
    assert base.decayed({"convs": {"0": {"kernel": jnp.ones((3, 3, 1, 4))}}}) == {
        "convs": {"0": {"kernel": True}}
    }


def test_decoupled_decay_shrinks_by_rate_times_decay_and_joined_decay_does_not():
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    kernel = PARAMS["dense"]["kernel"]
    for build, expected in (
        (adamw.build, -0.1 * 0.5 * kernel),
        (adam.build, -0.1 * jnp.sign(kernel)),
    ):
        optimizer = build(learning_rate=0.1, weight_decay=0.5)
        updates, _ = optimizer.update(zero, optimizer.init(PARAMS), PARAMS)
        np.testing.assert_allclose(updates["dense"]["kernel"], expected, rtol=1e-4)
        assert not updates["dense"]["bias"].any()
        assert not updates["norm"]["scale"].any()


def test_adadelta_by_hand():
    """Two steps of Zeiler's algorithm 1, written out."""
    optimizer = adadelta.build(decay=0.9, eps=1e-2)
    state = optimizer.init({"w": jnp.zeros(1)})
    mean_g = mean_x = 0.0
    for g in (2.0, -1.0):
        mean_g = 0.9 * mean_g + 0.1 * g**2
        step = -math.sqrt(mean_x + 1e-2) / math.sqrt(mean_g + 1e-2) * g
        mean_x = 0.9 * mean_x + 0.1 * step**2
        updates, state = optimizer.update({"w": jnp.array([g])}, state, {"w": jnp.zeros(1)})
        np.testing.assert_allclose(updates["w"][0], step, rtol=1e-6)


def test_lion_by_hand():
    """Interpolations +0.4, -0.08 and -0.046: the first outlives one smaller gradient against it."""
    optimizer = lion.build(learning_rate=0.5, b1=0.9, b2=0.8)
    state, signs = optimizer.init({"w": jnp.zeros(1)}), []
    for gradient in (4.0, -1.0, -9.0):
        updates, state = optimizer.update({"w": jnp.array([gradient])}, state, {"w": jnp.zeros(1)})
        signs.append(float(updates["w"][0]))
    # 0.1 * 4 > 0; momentum 0.8: 0.9 * 0.8 - 0.1 > 0; momentum 0.44: 0.9 * 0.44 - 0.9 < 0
    assert signs == [-0.5, -0.5, 0.5]


NETWORK = {
    "token_embedding": {"embedding": jnp.ones((7, 4))},
    "convs": {"0": {"kernel": jnp.ones((3, 3, 2, 8)), "bias": jnp.zeros(8)}},
    "attention": {"query": {"kernel": jnp.ones((4, 2, 3))}, "out": {"kernel": jnp.ones((2, 3, 4))}},
    "norm": {"scale": jnp.ones(8), "bias": jnp.zeros(8)},
    "output": {"kernel": jnp.ones((8, 3)), "bias": jnp.zeros(3)},
}


def published(gradients, momentum=0.95):
    """The update of a hidden matrix after the last gradient, as in Jordan's reference code."""
    kept = np.zeros_like(gradients[0])
    for g in gradients:
        kept = momentum * kept + (1 - momentum) * g
        x = momentum * kept + (1 - momentum) * g
    x = x.T if x.shape[0] > x.shape[1] else x
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    rows, columns = gradients[0].shape
    x = x if x.shape == (rows, columns) else x.T
    return x * max(1, columns / rows) ** 0.5


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 3, 2, 8), (4, 2, 3)])
def test_muon_steps_hidden_kernels_as_published(shape):
    name = "query" if len(shape) == 3 else "dense"
    flat = (4, 6) if len(shape) == 3 else (-1, shape[-1])
    gradients = np.random.default_rng(0).normal(size=(3, *shape))
    optimizer = muon.build(learning_rate=jnp.float32(0.1))
    params = {"block": {name: {"kernel": jnp.zeros(shape)}}}
    state = optimizer.init(params)
    for gradient in gradients:
        grads = {"block": {name: {"kernel": jnp.asarray(gradient, jnp.float32)}}}
        updates, state = optimizer.update(grads, state, params)
    expected = -0.1 * published([g.reshape(flat) for g in gradients]).reshape(shape)
    np.testing.assert_allclose(updates["block"][name]["kernel"], expected, atol=2e-5)


def test_muon_gives_the_rest_to_adam():
    labels = muon.labels(NETWORK)
    hidden = [jax.tree_util.keystr(p) for p, v in jax.tree.leaves_with_path(labels) if v != "rest"]
    assert hidden == [
        "['attention']['out']['kernel']",
        "['attention']['query']['kernel']",
        "['convs']['0']['kernel']",
    ]
    assert muon.labels({"kernel": jnp.ones((3, 2))}) == {"kernel": "rest"}

    grads = jax.tree.map(lambda w: w + 0.5, NETWORK)
    ours = muon.build(learning_rate=0.1, adam_ratio=0.2, weight_decay=0.3)
    theirs = adamw.build(learning_rate=0.02, b2=0.95, eps=1e-10, weight_decay=0.3)
    found, expected = (o.update(grads, o.init(NETWORK), NETWORK)[0] for o in (ours, theirs))
    for name in ("token_embedding", "norm", "output"):
        close = functools.partial(np.testing.assert_allclose, rtol=1e-5)
        jax.tree.map(close, found[name], expected[name])


def test_newton_schulz_evens_out_singular_values():
    matrix = jax.random.normal(jax.random.key(3), (12, 5))
    u, _, vt = jnp.linalg.svd(matrix, full_matrices=False)
    found = muon.newton_schulz((u * jnp.array([1.0, 0.5, 0.2, 0.1, 0.05])) @ vt, 5)
    values = jnp.linalg.svd(found, compute_uv=False)
    assert values.min() > 0.6 and values.max() < 1.3
    # The singular vectors are kept.
    rotated = u.T @ found @ vt.T
    np.testing.assert_allclose(rotated - jnp.diag(jnp.diag(rotated)), 0.0, atol=1e-5)
    assert not muon.newton_schulz(jnp.zeros((3, 4)), 5).any()


def test_every_optimiser_has_a_learning_rate():
    for name in resolve.plugins("optim"):
        assert resolve.keywords(resolve.resolve("optim", name))["learning_rate"].traced


NEVER_ONE = {
    "sgd": ("momentum",),
    "adam": ("b1", "b2"),
    "adamw": ("b1", "b2"),
    "rmsprop": ("decay",),
    "adadelta": ("decay",),
    "lion": ("b1", "b2"),
    "muon": ("momentum", "b1", "b2"),
}


@pytest.mark.parametrize("name", resolve.plugins("optim"))
def test_an_average_that_forgets_nothing_is_refused(name):
    for key in NEVER_ONE.get(name, ()):
        for value in (1.0, 0.99999999, 1.5):  # the second is 1 in float32
            with pytest.raises(UserError) as caught:
                config.complete({"optim": {"name": name, key: value}})
            assert str(caught.value) == (
                f"config.optim.{key}={value!r} is out of range: it must be between 0 and 1 "
                "(excluded)."
            )
        config.complete({"optim": {"name": name, key: 0.0}})
        config.complete({"optim": {"name": name, key: 0.9999}})
