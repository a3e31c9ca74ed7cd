"""Schedules: hand values of each shape, and that every number of it may be traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recipe_jax import types
from recipe_jax.schedules import (
    constant,
    cosine,
    one_cycle,
    plateau,
    step,
    warmup_cosine,
    warmup_stable_decay,
)


def heights(schedule, steps):
    return [float(schedule(jnp.int32(i))) for i in steps]


def test_constant():
    assert heights(constant.build(10), (0, 5, 100)) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "every, steps, expected",
    [
        (0.3, (0, 2, 3, 5, 6, 8, 9), (1, 1, 0.5, 0.5, 0.25, 0.25, 0.125)),
        (1.0, (0, 9, 10), (1, 1, 0.5)),
        (0.01, (0, 1, 2), (1, 0.5, 0.25)),  # a stretch is one step at least
    ],
)
def test_step_cuts_by_hand(every, steps, expected):
    schedule = step.build(10, factor=0.5, every=every)
    np.testing.assert_allclose(heights(schedule, steps), expected, rtol=1e-6)


def test_step_to_nothing():
    assert heights(step.build(4, factor=0.0, every=0.5), (0, 1, 2, 3)) == [1, 1, 0, 0]


def test_cosine_by_hand():
    found = heights(cosine.build(100), (0, 25, 50, 100, 150))
    np.testing.assert_allclose(found, [1, 0.5 + 0.5**1.5, 0.5, 0, 0], atol=1e-6)
    found = heights(cosine.build(100, floor=0.2), (0, 50, 100))
    np.testing.assert_allclose(found, [1, 0.6, 0.2], atol=1e-6)


def test_warmup_by_hand():
    schedule = warmup_cosine.build(20, warmup=0.2, floor=0.5)
    found = heights(schedule, (0, 1, 2, 3, 4, 12, 20))
    np.testing.assert_allclose(found, [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5], atol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.5, 1.0])
def test_warmup_never_starts_at_zero_and_reaches_one(warmup):
    found = heights(warmup_cosine.build(20, warmup=warmup), range(20))
    assert found[0] > 0
    np.testing.assert_allclose(max(found), 1.0)


def test_cycles_are_short_cosines_one_after_the_other():
    steps = range(100)
    once = heights(cosine.build(25, floor=0.1), range(25))
    found = heights(cosine.build(100, floor=0.1, cycles=4), steps)
    np.testing.assert_allclose(found, np.tile(once, 4), rtol=1e-5)
    np.testing.assert_allclose(heights(cosine.build(100, cycles=4), (100, 130)), 0.0, atol=1e-6)
    # Cycles that are no whole number of steps begin at the first step after their start.
    odd = heights(cosine.build(10, cycles=3), range(10))
    assert np.flatnonzero(np.diff(odd) > 0).tolist() == [3, 6]


def test_no_warmup_is_the_cosine():
    steps = range(12)
    expected = heights(cosine.build(10, floor=0.1), steps)
    found = heights(warmup_cosine.build(10, warmup=0.0, floor=0.1), steps)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_one_cycle_by_hand():
    schedule = one_cycle.build(12, warmup=1 / 3, start=0.2, floor=0.1)
    found = heights(schedule, (0, 2, 4, 8, 12, 20))
    np.testing.assert_allclose(found, [0.2, 0.6, 1, 0.55, 0.1, 0.1], atol=1e-6)
    # A quarter up: 0.2 + 0.8 * (1 - cos 45 degrees) / 2.
    np.testing.assert_allclose(schedule(jnp.int32(1)), 0.6 - 0.4 * 0.5**0.5, atol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.5, 1.0])
def test_one_cycle_rises_then_falls(warmup):
    found = np.array(heights(one_cycle.build(20, warmup=warmup), range(20)))
    top = found.argmax()
    assert (np.diff(found[: top + 1]) > 0).all() and (np.diff(found[top:]) < 0).all()
    assert found.min() > 0
    if 0.0 < warmup < 1.0:
        np.testing.assert_allclose(found.max(), 1.0)
        assert top == round(warmup * 20)


@pytest.mark.parametrize(
    "shape, end", [("linear", (1, 0.8, 0.6, 0.4, 0.2)), ("sqrt", (1, 0.6, 0.434315, 0.307180, 0.2))]
)
def test_warmup_stable_decay_by_hand(shape, end):
    """Ten steps: two up, four at 1, four down to 0.2, which comes after the last."""
    schedule = warmup_stable_decay.build(10, warmup=0.2, decay=0.4, floor=0.2, shape=shape)
    found = heights(schedule, range(12))
    np.testing.assert_allclose(found, [0.5, 1, 1, 1, 1, 1, *end, 0.2], atol=1e-6)


@pytest.mark.parametrize("shape", ["linear", "sqrt"])
def test_neither_warmup_nor_decay_is_constant(shape):
    schedule = warmup_stable_decay.build(10, warmup=0.0, decay=0.0, shape=shape)
    assert heights(schedule, range(10)) == [1.0] * 10


def test_warmup_and_decay_that_meet():
    found = heights(warmup_stable_decay.build(4, warmup=1.0, decay=1.0, shape="linear"), range(4))
    np.testing.assert_allclose(found, [0.25, 0.5, 0.5, 0.25])


def test_plateau_is_data():
    found = plateau.build(10, factor=0.3, patience=2, floor=0.1)
    assert isinstance(found, types.Plateau)
    assert found == types.Plateau(0.3, 2, 0.1)
    assert found(7) == 1.0


@pytest.mark.parametrize(
    "build, names",
    [
        (step.build, ("factor", "every")),
        (cosine.build, ("floor",)),
        (warmup_cosine.build, ("warmup", "floor")),
        (one_cycle.build, ("warmup", "start", "floor")),
        (warmup_stable_decay.build, ("warmup", "decay", "floor")),
    ],
)
def test_lanes_of_every_number_equal_the_same_numbers_alone(build, names):
    values = jnp.array([0.1, 0.5, 0.9])

    @jax.jit
    @jax.vmap
    def lane(value):
        return jax.vmap(build(30, **dict.fromkeys(names, value)))(jnp.arange(30))

    for found, value in zip(lane(values), values):
        alone = build(30, **dict.fromkeys(names, float(value)))
        np.testing.assert_allclose(found, heights(alone, range(30)), atol=1e-6)
