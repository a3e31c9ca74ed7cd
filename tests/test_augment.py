"""Augmentation: hand values, the range of a shift, and keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recipe_jax import types
from recipe_jax.augment import (
    crop,
    cutout,
    feature_dropout,
    flip,
    image,
    mixup,
    noise,
    none,
    rotation,
    shift,
)

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


OFF = {
    shift: "pixels",
    crop: "padding",
    flip: "probability",
    rotation: "degrees",
    noise: "deviation",
    cutout: "size",
    feature_dropout: "rate",
}
ON = {"pixels": 2.0, "padding": 2.0, "degrees": 30.0}
IDS = [module.__name__.rpartition(".")[2] for module in OFF]


@pytest.mark.parametrize("module, strength", OFF.items(), ids=IDS)
def test_strength_0_changes_no_bit_even_beside_a_lane_that_is_on(module, strength):
    inputs = batch(8)

    @jax.vmap
    def lanes(value):
        return module.build(IMAGES, **{strength: value})(KEY, inputs, TARGETS[:8])[0]

    off, on = lanes(jnp.array([0.0, ON.get(strength, 0.5)]))
    np.testing.assert_array_equal(off, inputs)
    assert jnp.any(on != inputs)
    alone = module.build(IMAGES, **{strength: jnp.float32(0.0)})(KEY, inputs, TARGETS[:8])[0]
    np.testing.assert_array_equal(alone, inputs)


@pytest.mark.parametrize("module, strength", OFF.items(), ids=IDS)
def test_a_lane_is_what_it_is_alone(module, strength):
    inputs, values = batch(4), jnp.array([ON.get(strength, 0.5), 0.1, 1.0])
    keys = jax.random.split(KEY, 3)

    def one(key, value):
        return module.build(IMAGES, **{strength: value})(key, inputs, TARGETS[:4])[0]

    together = jax.vmap(one)(keys, values)
    for lane, (key, value) in enumerate(zip(keys, values)):
        np.testing.assert_allclose(together[lane], one(key, value), atol=1e-6)


def test_crop_brings_in_the_mean():
    found = crop.build(IMAGES, padding=1.0)(KEY, jnp.full((200, 5, 6, 2), 0.7), TARGETS)[0]
    edges = {tuple(np.argwhere(np.asarray(each[:, :, 0]) == 0).shape) for each in found}
    # One row is 6 pixels, one column 5, both 10, and neither none.
    assert {size for size, _ in edges} == {0, 5, 6, 10}
    assert set(np.unique(found)) == {np.float32(0.0), np.float32(0.7)}


def test_flip_mirrors_left_and_right_at_its_probability():
    inputs = batch(2000)
    found = np.asarray(flip.build(IMAGES, probability=0.3)(KEY, inputs, jnp.arange(2000))[0])
    mirrored = (found == np.asarray(inputs)[:, :, ::-1]).all((1, 2, 3))
    assert ((found == np.asarray(inputs)).all((1, 2, 3)) | mirrored).all()
    assert mirrored.mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 2000))


def test_a_quarter_turn_is_that_of_numpy(monkeypatch):
    square = types.Spec(
        kind="classification", input_shape=(5, 5, 1), num_outputs=2, prior=(0.5, 0.5)
    )
    inputs = jax.random.normal(KEY, (3, 5, 5, 1))
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, **_: jnp.ones(shape))
    found, _ = rotation.build(square, degrees=90.0)(KEY, inputs, TARGETS)
    np.testing.assert_allclose(found, np.rot90(inputs, axes=(1, 2)), atol=1e-5)


def test_small_turns_move_little_and_keep_the_centre():
    ramp = jnp.broadcast_to(jnp.arange(5.0)[None, :, None, None], (50, 5, 6, 2))
    found, _ = rotation.build(IMAGES, degrees=10.0)(KEY, ramp, TARGETS)
    np.testing.assert_allclose(found[:, 2].mean(1), 2.0, atol=0.05)
    assert 0 < jnp.abs(found - ramp).max() <= 2.5 * np.sin(np.deg2rad(10)) + 0.1


def test_noise_has_its_deviation_and_no_mean():
    change = noise.build(IMAGES, deviation=0.3)(KEY, batch(), TARGETS)[0] - batch()
    assert float(change.std()) == pytest.approx(0.3, rel=0.03)
    assert float(change.mean()) == pytest.approx(0.0, abs=0.01)


def test_cutout_covers_a_square_that_may_reach_beyond_the_edge():
    found = np.asarray(cutout.build(IMAGES, size=0.6)(KEY, jnp.ones((400, 5, 6, 2)), TARGETS)[0])
    sizes = set()
    for each in found:
        rows, columns = np.nonzero(each[:, :, 0] == 0)
        covered = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == covered[0] * covered[1]  # a full rectangle
        sizes.add(covered)
    # 0.6 of 5 pixels: 3 x 3 where it lies inside, 2 at an edge.
    assert sizes == {(3, 3), (2, 3), (3, 2), (2, 2)}


def test_feature_dropout_hides_single_numbers_and_leaves_the_others():
    inputs = jnp.ones((400, 5))
    found = np.asarray(feature_dropout.build(TABLE, rate=0.2)(KEY, inputs, TARGETS)[0])
    assert set(np.unique(found)) == {0.0, 1.0}
    assert (found == 0).mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 2000))


def test_mixup_blends_inputs_and_targets_by_the_same_share():
    inputs = jnp.arange(6.0)[:, None] * jnp.ones((6, 5))
    mixed, targets = mixup.build(TABLE, alpha=0.5)(KEY, inputs, jnp.array([0, 1, 0, 1, 0, 1]))
    np.testing.assert_allclose(targets.sum(-1), 1.0, rtol=1e-6)
    assert targets.dtype == jnp.float32 and targets.shape == (6, 2)
    for i in range(1, 6):
        kept = float(targets[i, i % 2])
        np.testing.assert_allclose(mixed[i], kept * i + (1 - kept) * (i - 1), rtol=1e-5)
    assert (targets.max(-1) < 1.0).any()


def test_mixup_of_quantities_blends_them():
    quantities = types.Spec(kind="regression", input_shape=(5,), num_outputs=2, prior=(0.0, 0.0))
    inputs, targets = jnp.arange(4.0)[:, None] * jnp.ones((4, 5)), jnp.arange(8.0).reshape(4, 2)
    mixed, blended = mixup.build(quantities, alpha=1.0)(KEY, inputs, targets)
    np.testing.assert_allclose(blended[:, 0], 2 * mixed[:, 0], rtol=1e-5)


def test_mixup_off_gives_the_inputs_and_certain_targets():
    inputs, classes = jax.random.normal(KEY, (4, 5)), jnp.array([0, 1, 1, 0])
    inputs = inputs.at[0, 0].set(-0.0).at[1, 0].set(jnp.inf)
    mixed, targets = mixup.build(TABLE, alpha=jnp.float32(0.0))(KEY, inputs, classes)
    np.testing.assert_array_equal(mixed.view(jnp.int32), inputs.view(jnp.int32))
    np.testing.assert_array_equal(targets, jax.nn.one_hot(classes, 2))


def test_mixup_shares_are_beta_distributed():
    alpha, count = 0.4, 4000
    inputs = jnp.zeros((count, 5)).at[::2].set(1.0)
    targets = mixup.build(TABLE, alpha=alpha)(KEY, inputs, jnp.arange(count) % 2)[1]
    kept = np.asarray(targets)[np.arange(count), np.arange(count) % 2]
    assert kept.mean() == pytest.approx(0.5, abs=0.03)
    assert kept.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


@pytest.mark.slow
def test_image_with_everything_off_is_the_identity_and_each_strength_acts():
    inputs, classes = batch(8), jnp.arange(8) % 2
    off, targets = image.build(IMAGES)(KEY, inputs, classes)
    np.testing.assert_array_equal(off, inputs)
    np.testing.assert_array_equal(targets, jax.nn.one_hot(classes, 2))
    strengths = {
        "flip_probability": 0.5,
        "shift_pixels": 2.0,
        "crop_padding": 2.0,
        "rotation_degrees": 20.0,
        "noise_deviation": 0.1,
        "cutout_size": 0.5,
        "mixup_alpha": 1.0,
    }
    for name, value in strengths.items():
        assert jnp.any(image.build(IMAGES, **{name: value})(KEY, inputs, classes)[0] != inputs)


@pytest.mark.parametrize("module", [shift, crop, flip, rotation, cutout, image])
def test_what_needs_images_refuses_tables(module):
    with pytest.raises(types.UserError, match=r"augment\.name=.* images .*use augment\.name=none"):
        module.build(TABLE)


@pytest.mark.parametrize("module", [noise, feature_dropout, mixup])
def test_what_needs_numbers_refuses_tokens(module):
    tokens = types.Spec(
        kind="next_token",
        input_shape=(5,),
        num_outputs=2,
        prior=(0.5, 0.5),
        input_dtype="int32",
    )
    with pytest.raises(types.UserError, match="tokens"):
        module.build(tokens)
