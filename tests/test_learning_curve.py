"""What more data would bring: the law, its extrapolation, and what is said of it."""

import numpy as np
import pytest
from test_stages import context_of, result_of

from recipe_jax.recipe import learning_curve
from recipe_jax.types import Status, Trial

SIZES = np.array([100.0, 200.0, 400.0, 800.0])


def law(size, floor=0.1, scale=2.0, slope=0.5):
    return floor + scale * size**-slope


def test_a_law_is_found_again():
    errors = np.tile(law(SIZES)[:, None], (1, 3))
    now, twice, spread = learning_curve.extrapolated(SIZES, errors)
    assert now == pytest.approx(law(800.0))
    assert twice == pytest.approx(law(1600.0), rel=0.01)
    assert np.ptp(spread) == pytest.approx(0.0, abs=1e-6)


def test_a_flat_curve_stays_flat_and_a_rising_one_never_falls():
    assert learning_curve.extrapolated(SIZES, np.full((4, 2), 0.3))[1] == pytest.approx(0.3, 1e-3)
    rising = np.array([0.1, 0.15, 0.2, 0.3])[:, None]
    assert 0.29 < learning_curve.extrapolated(SIZES, rising)[1] <= 0.3


@pytest.mark.parametrize("errors", [[0.0] * 4, [0.1, 0.0, 0.0, 0.0], [1e-14] * 4])
def test_where_nothing_is_wrong_more_data_bring_nothing(errors):
    now, twice, spread = learning_curve.extrapolated(SIZES, np.tile(np.array(errors)[:, None], 3))
    assert now == errors[-1] and 0.0 <= twice <= now and (spread == twice).all()


@pytest.mark.slow
def test_the_spread_over_seeds_holds_the_truth():
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(20):
        errors = law(SIZES)[:, None] * (1 + 0.03 * draw.normal(size=(4, 5)))
        spread = learning_curve.extrapolated(SIZES, errors)[2]
        low, high = np.percentile(spread, [2.5, 97.5])
        held += low - 0.005 <= law(1600.0) <= high + 0.005
    assert held >= 16, held


def found(scores, kind="classification"):
    """scores: (sizes, seeds)."""
    results = [
        result_of(Trial(seed=i), score=score)._replace(
            history={f"validation/{m}": np.full(6, score) for m in ("accuracy", "mse")}
        )
        for row in scores
        for i, score in enumerate(row)
    ]
    return learning_curve.examine(context_of(kind), [15, 30, 60, 120][-len(scores) :], results)


def test_what_is_said_of_a_rising_score():
    finding = found([[0.5, 0.52], [0.7, 0.71], [0.8, 0.82], [0.86, 0.87]])
    assert finding.status == Status.PASS and finding.row == "REG1"
    assert "From 60 to 120 examples validation accuracy goes from 0.81 to 0.865" in finding.summary
    assert 0.87 < finding.evidence["expected"] < 0.93 and finding.evidence["gain"] > 0
    assert finding.evidence["low"] <= finding.evidence["expected"] <= finding.evidence["high"]


def test_what_is_said_of_a_flat_score_and_of_an_error():
    assert "will not help" in found([[0.9], [0.91], [0.9], [0.9]]).summary
    finding = found([[9.0], [5.0], [3.0], [2.0]], kind="regression")
    assert finding.evidence["expected"] < 2.0 and "will not help" not in finding.summary


def test_runs_that_diverged_are_left_out():
    nan = float("nan")
    assert found([[0.5, nan], [0.7, 0.7], [0.8, 0.8], [0.86, 0.1]]).status == Status.PASS
    assert found([[nan], [0.7], [0.8], [0.86]]).status == Status.SKIP
