"""The range test: what its rules say of made-up curves, and when it refuses to choose."""

import numpy as np
import pytest
from test_stages import context_of, driven, result_of

from recipe_jax.recipe import overfit, range_test
from recipe_jax.types import Status, Trial


def ends(losses, start=1.0):
    """One run a rate that ends at the given loss; all see the same batches."""
    runs = []
    for rate, end in zip(range_test.RATES, losses):
        run = result_of(Trial(settings={"optim.learning_rate": float(rate)}))
        curve = np.linspace(start, end, 50)
        curve[-8:] = end
        runs.append(run._replace(losses=curve))
    return runs


def valley(best=-2.0, width=1.0, blow_up=-0.5):
    """Loss by the logarithm of the rate: falls to its lowest at `best`, NaN from `blow_up` on."""
    logs = np.log10(range_test.RATES)
    losses = 1.0 - 0.9 * np.exp(-(((logs - best) / width) ** 2))
    losses[0] = 1.0
    return np.where(logs > blow_up, np.nan, losses)


@pytest.mark.parametrize("best", [-5.0, -4.0, -3.0, -2.0])
def test_the_range_test_picks_a_rate_near_the_best_and_never_above(best):
    rate, finding = range_test.examine(ends(valley(best, blow_up=best + 0.8)), 10.0**best)
    assert finding.status == Status.PASS
    assert 10 ** (best - 1.5) <= rate <= 10**best * 1.01
    assert finding.evidence["chosen"] == rate


def test_the_suggestions_of_the_range_test_by_hand():
    # Rates are four a decade: index 12 is 1e-4, 16 is 1e-3, 20 is 1e-2, 24 is 1e-1.
    losses = np.ones(29)
    losses[13:16] = 0.9
    losses[16:20] = 0.4  # the steepest step is from 15 to 16
    losses[20] = 0.3
    losses[21:25] = 0.6  # more than half of what the best took off is kept
    losses[25:] = 0.7
    rate, finding = range_test.examine(ends(losses), 1e-3)
    assert finding.evidence["steepest"] == pytest.approx(range_test.RATES[15])
    assert finding.evidence["tenth"] == pytest.approx(1e-2)
    assert rate == pytest.approx(np.sqrt(range_test.RATES[15] * 1e-2), rel=1e-2)
    assert "going on with 2.4e-03, the geometric mean of the last two" in finding.summary
    # A rate that happens to end low beyond the first one that blows up is luck.
    losses[27] = 0.25
    assert range_test.examine(ends(losses), 1e-3)[0] == rate


def test_a_rate_above_that_of_the_lowest_loss_is_not_taken():
    # Steepest at 1e-4 and stable up to 5.6e-2: the geometric mean of the rules is 7.5e-4.
    losses = np.where(np.arange(29) > 12, 0.5, 1.0)
    losses[14], losses[24:] = 0.4, 2.0
    rate, finding = range_test.examine(ends(losses), 1e-3)
    assert rate == pytest.approx(range_test.RATES[14], rel=1e-2)
    assert "going on with 3.2e-04, that of the lowest loss" in finding.summary


def test_a_dip_before_the_loss_falls_is_no_blow_up():
    losses = np.ones(29)
    losses[5] = 0.98  # of which the next rate keeps nothing
    losses[12:20], losses[20:] = 0.4, 2.0
    found = range_test.suggested(losses, 1.0)
    assert found is not None and found.bounded
    assert found.lowest == range_test.RATES[12]
    assert found.tenth == pytest.approx(range_test.RATES[19] / 10)


@pytest.mark.parametrize(
    "losses", [np.ones(29), np.linspace(1.0, 3.0, 29), np.full(29, np.nan), np.full(29, 0.9995)]
)
def test_the_range_test_fails_when_no_rate_lowers_the_loss(losses):
    rate, finding = range_test.examine(ends(losses), 3e-4)
    assert (finding.status, finding.fault) == (Status.FAIL, "E10")
    assert rate == 3e-4 and finding.remedy


@pytest.mark.parametrize(
    ("configured", "status", "fault"),
    [
        (1e-2, Status.PASS, ""),
        (1e-1 * 0.99, Status.PASS, ""),
        (1.1e-4, Status.PASS, ""),
        (1.1e-1, Status.WARN, "E1"),
        (0.9e-4, Status.WARN, "E2"),
    ],
)
def test_the_range_test_warns_of_a_rate_far_off(configured, status, fault):
    _, finding = range_test.examine(ends(valley(-2.0)), configured)
    assert (finding.status, finding.fault) == (status, fault)
    assert ("learning_rate=" in finding.remedy) == (status == Status.WARN)


def test_a_lucky_first_batch_does_not_close_the_gate():
    """The first batch happens to be easy; the last ones are not, for any rate."""
    runs = ends(np.where(np.isnan(valley()), np.nan, valley() + 1.0), start=0.2)
    rate, finding = range_test.examine(runs, 1e-2)
    assert finding.status == Status.PASS and rate < 1e-1


def seeds(*curves):
    return [run for curve in curves for run in ends(curve)]


def step(at, up_to=23):
    """Falls at one place, keeps it, and blows up after `up_to`."""
    losses = np.ones(29)
    losses[at + 1 : up_to + 1] = 0.2
    losses[-1] = np.nan
    return losses


def test_every_rule_is_the_median_of_the_seeds_with_its_ends():
    # Steepest at 1e-4, 1e-3 and 1e-2; a tenth of the largest stable at 1e-2, 3.2e-3 and 1e-2.
    rate, finding = range_test.examine(seeds(step(12, 24), step(16, 22), step(20, 24)), 1e-3)
    evidence = finding.evidence
    assert evidence["steepest"] == pytest.approx(1e-3)
    np.testing.assert_allclose(evidence["steepest_by_seed"], [1e-4, 1e-3, 1e-2])
    assert evidence["tenth"] == pytest.approx(1e-2)
    # Of 1e-3, 1.8e-3 and 1e-2 (1.8e-2 would be above the one with the lowest loss).
    assert rate == evidence["chosen"] == pytest.approx(1.78e-3)
    assert "steepest at 1.0e-03 [1.0e-04, 1.0e-02]" in finding.summary
    assert evidence["by_seed"].shape == (3, 29) and evidence["losses"].shape == (29,)


def test_one_seed_that_is_far_off_is_outvoted():
    common = step(16, 24)
    alone, _ = range_test.examine(seeds(common), 1e-3)
    rate, finding = range_test.examine(seeds(common, step(5, 9), common), 1e-3)
    assert rate == alone and finding.status is Status.PASS
    rate, finding = range_test.examine(seeds(common, np.ones(29), common), 1e-3)
    assert rate == alone and finding.status is Status.PASS


@pytest.mark.parametrize(
    ("curves", "why"),
    [
        # Steepest at 1e-5, and stable up to 1: a tenth of it is 10,000 times as much.
        ([step(8, 27)] * 3, "these are 5623 times apart"),
        ([step(4, 8), step(12, 16), step(20, 24)], "the seeds that learn ask for"),
        ([step(12, 16), np.ones(29), np.ones(29)], "the seeds that learn ask for"),
    ],
)
def test_the_range_test_refuses_to_choose_between_rules_far_apart(curves, why):
    rate, finding = range_test.examine(seeds(*curves), 3e-4)
    assert rate == 3e-4 and finding.status is Status.WARN
    assert why in finding.summary and "configured 3.0e-04 goes on" in finding.summary
    assert "chosen" not in finding.evidence and finding.remedy


def test_rules_within_reach_of_their_mean_are_no_disagreement():
    # 1e-3 and 5.6e-2: 56 times apart.
    _, finding = range_test.examine(seeds(step(16, 27)), 1e-2)
    assert finding.status is Status.PASS and finding.evidence["chosen"] == pytest.approx(1.78e-3)


def test_it_is_said_where_no_rate_blows_up():
    losses = np.where(np.arange(29) > 18, 0.2, 1.0)
    assert "none of those tried blows up" in range_test.examine(ends(losses), 1e-2)[1].summary
    losses[-1] = 1.0
    assert "blows up" not in range_test.examine(ends(losses), 1e-2)[1].summary


def test_a_bounded_optimiser_blows_up_without_overflow():
    """Its updates are bounded: at the largest rates the loss is poor, and finite."""
    losses = np.array([1.0] * 16 + [0.1] * 5 + [0.8] * 8)
    _, finding = range_test.examine(ends(losses), 1e-2)
    assert finding.evidence["tenth"] == pytest.approx(range_test.RATES[20] / 10)


def test_clipping_is_off_while_rates_are_tried():
    fake, _ = driven(overfit, context_of(optim={"clip_norm": 1.0}))
    test, ladder = fake.requests[:2]
    assert {trial.settings["optim.clip_norm"] for trial in test.trials} == {np.inf}
    assert all("optim.clip_norm" not in trial.settings for trial in ladder.trials)
    fake, _ = driven(overfit)
    assert "optim.clip_norm" not in fake.requests[0].trials[0].settings
