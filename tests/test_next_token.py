"""The objective of text: by hand, exact over tokens, and blind to padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recipe_jax.objectives import next_token
from recipe_jax.train.evaluate import metrics_of
from recipe_jax.types import Spec

PRIOR = (0.5, 0.25, 0.25)
SPEC = Spec(kind="next_token", input_shape=(4,), num_outputs=3, prior=PRIOR, input_dtype="int32")


def random_outputs(count, seed=0):
    return np.asarray(jax.random.normal(jax.random.key(seed), (count, 4, 3)), np.float32)


def test_loss_by_hand():
    # Even odds cost log 3 at each of the two positions that are asked, and at none of the others.
    built = next_token.build(SPEC)
    outputs = np.zeros((2, 4, 3), np.float32)
    outputs[1, 0] = [np.log(2.0), 0.0, 0.0]
    targets = np.array([[0, 2, -1, -1], [0, 1, 2, -1]], np.int32)
    expected = [np.log(3.0), (np.log(2.0) + 2 * np.log(3.0)) / 3]
    np.testing.assert_allclose(built.loss(outputs, targets), expected, rtol=1e-6)


def test_metrics_by_hand_are_over_tokens_and_not_over_windows():
    outputs = np.zeros((2, 4, 3), np.float32)
    outputs[0, :, 1] = np.log(2.0)
    # One token of window 0 (probability 1/2, right), four of window 1 (1/3 each, class 0 is first).
    targets = np.array([[1, -1, -1, -1], [0, 0, 1, 2]], np.int32)
    found = metrics_of(next_token.build(SPEC), outputs, targets)
    nats = (np.log(2.0) + 4 * np.log(3.0)) / 5
    assert found["loss"] == pytest.approx(nats, rel=1e-6)
    assert found["nats_per_char"] == pytest.approx(nats, rel=1e-6)
    assert found["bits_per_char"] == pytest.approx(nats / np.log(2.0), rel=1e-6)
    assert found["perplexity"] == pytest.approx(np.exp(nats), rel=1e-6)
    assert found["accuracy"] == pytest.approx(3 / 5)


def test_metrics_do_not_depend_on_how_the_tokens_are_cut():
    built = next_token.build(SPEC, label_smoothing=0.1)
    outputs = random_outputs(6)
    targets = np.array(jax.random.randint(jax.random.key(1), (6, 4), -1, 3))
    whole = metrics_of(built, outputs, targets)
    total = built.metrics.empty()
    for part in (slice(0, 1), slice(1, 5), slice(5, 6)):
        total = total.merge(
            built.metrics.single_from_model_output(
                outputs=outputs[part],
                targets=targets[part],
                loss=built.loss(outputs[part], targets[part]),
                mask=None,
            )
        )
    for name, value in total.compute().items():
        assert float(value) == pytest.approx(whole[name], rel=1e-5), name
    # Other windows for the same tokens: two windows of four are four windows of two.
    halves = metrics_of(built, outputs.reshape(12, 2, 3), targets.reshape(12, 2))
    for name, value in halves.items():
        assert value == pytest.approx(whole[name], rel=1e-5), name


def test_what_padding_holds_changes_nothing():
    built = next_token.build(SPEC)
    outputs, mask = random_outputs(3), jnp.array([True, True, False])
    targets = np.array([[0, 1, 2, -1], [2, -1, -1, -1], [0, 0, 0, 0]], np.int32)

    def measured(outputs):
        found = built.metrics.single_from_model_output(
            outputs=outputs, targets=targets, loss=built.loss(outputs, targets), mask=mask
        )
        return {name: float(value) for name, value in found.compute().items()}

    clean = measured(outputs)
    dirty = outputs.copy()
    dirty[2] = np.nan
    assert measured(dirty) == clean
    dirty = outputs.copy()
    dirty[0, 3] = dirty[1, 1:] = 1e4
    assert measured(dirty) == clean
    slope = jax.grad(lambda outputs: built.loss(outputs, targets).sum())(jnp.asarray(outputs))
    assert not np.asarray(slope)[targets < 0].any()


def test_a_window_without_a_question_costs_nothing():
    built = next_token.build(SPEC)
    targets = np.full((1, 4), -1, np.int32)
    assert float(built.loss(random_outputs(1), targets)[0]) == 0.0


def test_the_prior_costs_its_entropy_at_the_start():
    built = next_token.build(SPEC)
    assert built.loss_at_init == pytest.approx(-sum(p * np.log(p) for p in PRIOR), rel=1e-6)
    outputs = np.broadcast_to(SPEC.prior_outputs, (1, 4, 3)).astype(np.float32)
    targets = np.array([[0, 0, 1, 2]], np.int32)
    assert metrics_of(built, outputs, targets)["loss"] == pytest.approx(built.loss_at_init)
    smooth = next_token.build(SPEC, label_smoothing=0.3)
    assert metrics_of(smooth, outputs, targets)["loss"] == pytest.approx(smooth.loss_at_init)


def test_smoothing_of_zero_is_none_and_a_perfect_model_is_perfect():
    targets = np.array([[0, 1, 2, -1]], np.int32)
    plain = next_token.build(SPEC)
    zero = next_token.build(SPEC, label_smoothing=jnp.float32(0.0))
    outputs = random_outputs(1)
    np.testing.assert_array_equal(plain.loss(outputs, targets), zero.loss(outputs, targets))
    found = metrics_of(plain, plain.perfect(targets), targets)
    assert found["loss"] < 1e-9 and found["accuracy"] == 1.0
    np.testing.assert_allclose(plain.predict(outputs).sum(-1), 1.0, rtol=1e-6)
