"""Temperature, reliability and coverage: known answers are found again."""

import numpy as np
import pytest
from scipy import stats

from recipe_jax import calibration


def calibrated(count=4000, classes=4, seed=0):
    """Logits, and targets drawn from their very probabilities."""
    draw = np.random.default_rng(seed)
    logits = 2.0 * draw.normal(size=(count, classes))
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    targets = (shares.cumsum(-1) > draw.uniform(size=(count, 1))).argmax(-1)
    return logits.astype(np.float32), targets.astype(np.int32)


@pytest.mark.parametrize("known", [0.4, 1.0, 3.0])
def test_the_temperature_of_a_known_miscalibrated_model_is_found(known):
    logits, targets = calibrated()
    assert calibration.temperature(logits * known, targets) == pytest.approx(known, rel=0.06)


def test_a_temperature_takes_the_error_away_and_changes_no_answer():
    logits, targets = calibrated()
    sure = logits * 3
    error = calibration.reliability(sure, targets).error
    mended = calibration.reliability(sure / calibration.temperature(sure, targets), targets)
    assert error > 0.1 and mended.error < 0.03
    surprises = [calibration.surprise(sure, targets, t).mean() for t in (1.0, 2.0, 3.0, 4.0)]
    assert np.argmin(surprises) == 2


def test_reliability_by_hand():
    """Thirty examples at 0.8 of which 21 are right, and thirty at 0.6 of which all are: bins of
    four, and an error of the mean distance."""
    low, high = np.log([0.6, 0.4]), np.log([0.8, 0.2])
    outputs = np.array([low] * 30 + [high] * 30, np.float32)
    targets = np.array([0] * 30 + [1] * 9 + [0] * 21, np.int32)
    found = calibration.reliability(outputs, targets)
    assert found.counts.tolist() == [4] * 15
    np.testing.assert_allclose(found.confidence[:7], 0.6, rtol=1e-6)
    np.testing.assert_allclose(found.confidence[8:], 0.8, rtol=1e-6)
    # Of bins at 0.6 all are right; at 0.8 the wrong ones come first, two of them beside 0.6.
    expected = (7 * 0.4 + abs(0.7 - 0.5) + 0.8 + abs(0.8 - 0.25) + 5 * 0.2) / 15
    assert found.error == pytest.approx(expected, rel=1e-5)


def test_few_examples_have_few_bins():
    found = calibration.reliability(np.zeros((3, 2), np.float32), np.array([0, 0, 1]))
    assert len(found.counts) == 3 and found.error == pytest.approx(0.5)


def test_text_is_a_row_a_token_that_is_asked():
    outputs = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    rows, targets = calibration.asked(outputs, np.array([[1, 0, -1], [-1, 1, 1]]))
    assert targets.tolist() == [1, 0, 1, 1]
    np.testing.assert_array_equal(rows, outputs.reshape(6, 2)[[0, 1, 4, 5]])


def test_intervals_of_the_true_variance_cover_what_they_promise():
    errors = np.random.default_rng(0).normal(size=20000) * 3.0
    found = calibration.coverage(errors, np.full(20000, 9.0))
    np.testing.assert_allclose(found, calibration.LEVELS, atol=0.012)
    narrow = calibration.coverage(errors, np.full(20000, 1.0))
    expected = 2 * stats.norm.cdf(1.96 / 3) - 1
    assert narrow[calibration.LEVELS.index(0.95)] == pytest.approx(expected, abs=0.012)


def test_what_is_cross_fitted_sees_no_example_that_it_is_for():
    outputs, targets = np.arange(10.0), np.arange(10)
    pairs = calibration.cross_fitted(lambda rows, _: set(rows), outputs, targets)
    assert all(not found & set(held) and len(found) + len(held) == 10 for held, found in pairs)
