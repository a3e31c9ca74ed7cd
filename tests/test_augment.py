"""Augmentation: hand values, the range of a shift, and keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recipe_jax import types
from recipe_jax.augment import none, shift

IMAGES = types.Spec(kind="classification", input_shape=(5, 6, 2), num_outputs=2, prior=(0.5, 0.5))
TABLE = types.Spec(kind="classification", input_shape=(5,), num_outputs=2, prior=(0.5, 0.5))
KEY = jax.random.key(0)
TARGETS = jnp.arange(400)


def batch(count=400):
    return jax.random.normal(KEY, (count, 5, 6, 2))


def moved(image, down, right):
    padded = np.pad(np.asarray(image), ((5, 5), (5, 5), (0, 0)), mode="edge")
    return padded[5 - down : 10 - down, 5 - right : 11 - right]


def test_none_is_the_identity():
    inputs = batch(3)
    assert none.build(IMAGES)(KEY, inputs, TARGETS)[0] is inputs


@pytest.mark.parametrize("pixels, most", [(0.0, 0), (0.9, 0), (1.0, 1), (2.5, 2)])
def test_shifts_are_whole_uniform_and_within_range(pixels, most):
    inputs = batch()
    found, targets = shift.build(IMAGES, pixels=jnp.float32(pixels))(KEY, inputs, TARGETS)
    np.testing.assert_array_equal(targets, TARGETS)
    counts = {}
    for before, after in zip(inputs, np.asarray(found)):
        by = [
            (down, right)
            for down in range(-most, most + 1)
            for right in range(-most, most + 1)
            if np.array_equal(moved(before, down, right), after)
        ]
        assert len(by) == 1
        counts[by[0]] = counts.get(by[0], 0) + 1
    kinds = (2 * most + 1) ** 2
    assert len(counts) == kinds
    assert max(counts.values()) < 400 / kinds + 5 * np.sqrt(400 / kinds) + 1


def test_a_plain_background_stays_plain():
    inputs = jnp.full((4, 5, 6, 2), 0.7)
    np.testing.assert_array_equal(shift.build(IMAGES, pixels=3.0)(KEY, inputs, TARGETS)[0], inputs)


def test_keys_decide():
    augment, inputs = shift.build(IMAGES, pixels=2.0), batch()
    first, again, other = (augment(k, inputs, TARGETS)[0] for k in (KEY, KEY, jax.random.key(1)))
    np.testing.assert_array_equal(first, again)
    assert jnp.any(first != other)


def test_lanes_shift_by_their_own_range():
    def lane(pixels):
        return shift.build(IMAGES, pixels=pixels)(KEY, batch(8), TARGETS)[0]

    found = jax.jit(jax.vmap(lane))(jnp.array([0.0, 2.0]))
    np.testing.assert_array_equal(found[0], batch(8))
    np.testing.assert_array_equal(found[1], lane(2.0))


def test_tables_are_refused():
    with pytest.raises(types.UserError, match="name=none"):
        shift.build(TABLE)
