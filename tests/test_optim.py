"""Optimisers: numbers as arrays give what optax gives with static ones; decay spares biases."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from recipe_jax.optim import adam, adamw, base, rmsprop, sgd

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
}


@pytest.mark.parametrize("clip", [CLIP, math.inf])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_static_chain_of_optax(name, clip):
    build, settings, moments = CASES[name]
    static = chained(moments, decoupled=name == "adamw", clip=clip)

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


@pytest.mark.parametrize("build", [sgd.build, adam.build, adamw.build, rmsprop.build])
def test_lanes_of_all_numbers_share_one_trace(build):
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
