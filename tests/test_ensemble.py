"""The ensemble's prediction is the mean of its members' predictions, by hand."""

import jax
import numpy as np
import pytest

from recipe_jax import ensemble
from recipe_jax.objectives import classification, regression
from recipe_jax.types import Spec

CLASSES = Spec(kind="classification", input_shape=(1,), num_outputs=2, prior=(0.5, 0.5))


def probabilities(logits):
    return np.asarray(jax.nn.softmax(np.asarray(logits, np.float32), axis=-1))


def test_probabilities_are_averaged_by_hand():
    # Probabilities (0.9, 0.1) and (0.4, 0.6): their mean is (0.65, 0.35).
    members = np.log(np.array([[[0.9, 0.1]], [[0.4, 0.6]]], np.float32))
    averaged = ensemble.average(members, "classification")
    np.testing.assert_allclose(probabilities(averaged), [[0.65, 0.35]], rtol=1e-5)
    # The logarithms of the mean probabilities themselves, so that a loss needs no softmax.
    np.testing.assert_allclose(averaged, np.log([[0.65, 0.35]]), rtol=1e-5)


def test_neither_logits_nor_votes_are_averaged():
    # One member is very sure of class 0; two lean to class 1. Mean logits say 0, votes say 1.
    members = np.array([[[9.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]], np.float32)
    assert members.mean(0).argmax() == 0
    mean = probabilities(members).mean(0)  # (0.5126, 0.4874) in round numbers
    found = probabilities(ensemble.average(members, "classification"))
    np.testing.assert_allclose(found, mean, rtol=1e-5)
    members[0, 0, 0] = 1.5
    assert members.mean(0).argmax() == 1
    shifted = members + np.array([100.0, -5.0, 0.0])[:, None, None]
    np.testing.assert_allclose(
        ensemble.average(shifted.astype(np.float32), "classification"),
        ensemble.average(members, "classification"),
        atol=1e-4,
    )


def test_values_are_averaged():
    members = np.array([[[1.0], [2.0]], [[3.0], [-4.0]]], np.float32)
    np.testing.assert_array_equal(ensemble.average(members, "regression"), [[2.0], [-1.0]])


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_one_member_or_equal_ones_predict_as_the_member_does(kind):
    one = np.random.default_rng(0).normal(size=(1, 5, 3)).astype(np.float32)
    for members in (one, np.repeat(one, 4, axis=0)):
        averaged = np.asarray(ensemble.average(members, kind))
        if kind == "classification":
            np.testing.assert_allclose(probabilities(averaged), probabilities(one[0]), rtol=1e-5)
        else:
            np.testing.assert_allclose(averaged, one[0], rtol=1e-6)


def test_the_order_of_the_members_is_nothing_and_extremes_stay_finite():
    members = np.random.default_rng(1).normal(size=(4, 6, 3)).astype(np.float32) * 50
    averaged = ensemble.average(members, "classification")
    assert np.isfinite(averaged).all()
    np.testing.assert_allclose(
        averaged, ensemble.average(members[::-1], "classification"), atol=1e-4
    )


def test_an_ensemble_loses_no_more_than_its_members_do_on_average():
    """Jensen: the loss of the mean prediction is at most the mean loss of the predictions."""
    draw = np.random.default_rng(2)
    labels = draw.integers(0, 2, 40).astype(np.int32)
    members = draw.normal(size=(5, 40, 2)).astype(np.float32) * 3
    loss = classification.build(CLASSES).loss
    mean = np.mean([loss(each, labels) for each in members], axis=0)
    assert (loss(ensemble.average(members, "classification"), labels) <= mean + 1e-5).all()
    spec = Spec(kind="regression", input_shape=(1,), num_outputs=2, prior=(0.0, 0.0))
    loss = regression.build(spec).loss
    values = draw.normal(size=(40, 2)).astype(np.float32)
    mean = np.mean([loss(each, values) for each in members], axis=0)
    assert (loss(ensemble.average(members, "regression"), values) <= mean + 1e-5).all()


# --- Shares ----------------------------------------------------------------------------------


def test_shares_are_of_probabilities_and_of_values_by_hand():
    # A quarter of (0.9, 0.1) and three quarters of (0.4, 0.6) is (0.525, 0.475).
    members = np.log(np.array([[[0.9, 0.1]], [[0.4, 0.6]]], np.float32))
    found = probabilities(ensemble.average(members, "classification", (0.25, 0.75)))
    np.testing.assert_allclose(found, [[0.525, 0.475]], rtol=1e-5)
    values = np.array([[[1.0], [2.0]], [[3.0], [-4.0]]], np.float32)
    found = ensemble.average(values, "regression", (0.25, 0.75))
    np.testing.assert_allclose(found, [[2.5], [-2.5]], rtol=1e-6)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_equal_shares_are_the_mean_and_none_is_left_out(kind):
    members = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    mean = ensemble.average(members, kind)
    np.testing.assert_allclose(ensemble.average(members, kind, [0.25] * 4), mean, atol=1e-6)
    two = ensemble.average(members[:2], kind)
    found = ensemble.average(members, kind, [0.5, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(found, two, atol=1e-6)


def test_disagreement_by_hand():
    # Of three pairs of models, two differ on the first example, none on the second.
    votes = np.array([[0, 1], [0, 1], [1, 1]])
    outputs = np.eye(2, dtype=np.float32)[votes]
    assert ensemble.disagreement(outputs, "classification") == pytest.approx(2 / 3 / 2)
    assert ensemble.disagreement(outputs[:1], "classification") == 0.0
    values = np.array([[[0.0], [1.0]], [[2.0], [1.0]]], np.float32)  # variances 2 and 0
    assert ensemble.disagreement(values, "regression") == pytest.approx(1.0)


def loss_of(outputs, targets, kind):
    if kind == "regression":
        return float(np.square(outputs - targets).mean())
    return float(-np.log(probabilities(outputs)[np.arange(len(targets)), targets]).mean())


def made(kind, *, skill, examples=120, seed=0):
    """Models by how much of the truth each one sees, and the truth."""
    draw = np.random.default_rng(seed)
    if kind == "regression":
        targets = draw.normal(size=(examples, 1)).astype(np.float32)
        noise = draw.normal(size=(len(skill), examples, 1))
        outputs = targets + noise / np.maximum(np.array(skill), 0.2)[:, None, None]
        return outputs.astype(np.float32), targets
    targets = draw.integers(0, 3, examples).astype(np.int32)
    outputs = draw.normal(size=(len(skill), examples, 3))
    outputs[:, np.arange(examples), targets] += np.array(skill)[:, None]
    return outputs.astype(np.float32), targets


FITS = [ensemble.greedy, ensemble.ridge]


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("fit", FITS)
def test_shares_sum_to_one_and_none_is_negative(fit, kind):
    outputs, targets = made(kind, skill=(3.0, 2.0, 0.0, 2.5, 0.0))
    shares = fit(outputs, targets, kind)
    assert shares.sum() == pytest.approx(1.0) and (shares >= 0.0).all()
    assert shares[0] > shares[[2, 4]].max()
    np.testing.assert_array_equal(fit(outputs, targets, kind), shares)


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("bags", [1, 7])
def test_greedy_is_never_worse_than_the_best_single_one_where_it_was_fitted(kind, bags):
    for seed in range(8):
        skill = np.random.default_rng(seed).uniform(0, 3, size=6)
        outputs, targets = made(kind, skill=skill, examples=30, seed=seed)
        shares = ensemble.greedy(outputs, targets, kind, bags=bags)
        blended = np.asarray(ensemble.average(outputs, kind, shares))
        best = min(loss_of(each, targets, kind) for each in outputs)
        assert loss_of(blended, targets, kind) <= best + 1e-6


def test_greedy_by_hand():
    """The best alone is 0; with 1 beside it the errors all but cancel, and 2 is of no use."""
    errors = np.array([[1.0, -1.0], [-1.2, 1.2], [3.0, 3.0]], np.float32)[:, :, None]
    shares = ensemble.greedy(errors, np.zeros((2, 1), np.float32), "regression", bags=1, rounds=2)
    np.testing.assert_allclose(shares, [0.5, 0.5, 0.0])


def test_ridge_by_hand():
    """Two models with errors of variance 1 and 4 that have nothing in common: without a penalty the
    shares are 4/5 and 1/5; it is the mean square 2.5 over the root of 8 examples."""
    signs = np.array([[1, 1, 1, 1, -1, -1, -1, -1], [1, -1, 1, -1, 1, -1, 1, -1]])
    errors = (np.array([[1.0], [2.0]]) * signs).astype(np.float32)[:, :, None]
    strength = 2.5 / np.sqrt(8)
    # Minimum of (1 + s) w^2 + (4 + s) (1 - w)^2, the pull to the middle being the same for both.
    expected = (4 + strength) / (5 + 2 * strength)
    shares = ensemble.ridge(errors, np.zeros((8, 1), np.float32), "regression")
    np.testing.assert_allclose(shares, [expected, 1 - expected], rtol=1e-4)
    perfect = np.zeros((3, 8, 1), np.float32)
    found = ensemble.ridge(perfect, perfect[0], "regression")
    np.testing.assert_allclose(found, [1 / 3] * 3)


def test_of_equal_models_ridge_takes_the_mean():
    outputs = np.repeat(made("classification", skill=(1.0,))[0], 4, axis=0)
    targets = made("classification", skill=(1.0,))[1]
    np.testing.assert_allclose(ensemble.ridge(outputs, targets, "classification"), [0.25] * 4)


def test_text_is_judged_by_the_tokens_that_are_asked():
    """What stands at a padded place is nothing to the shares."""
    outputs, targets = made("classification", skill=(2.0, 1.0, 0.5), examples=60)
    shaped, asked = outputs.reshape(3, 20, 3, 3), targets.reshape(20, 3)
    padded = np.concatenate([shaped, np.full((3, 20, 1, 3), 9.0, np.float32)], 2)
    masked = np.concatenate([asked, np.full((20, 1), -1, np.int32)], 1)
    padded[:, :, -1, 0] += 50 * np.random.default_rng(0).normal(size=(3, 20))
    np.testing.assert_allclose(
        ensemble.greedy(padded, masked, "next_token"),
        ensemble.greedy(outputs, targets, "classification"),
    )


def test_folds_hold_every_example_out_once():
    for count in (1, 3, 5, 23):
        held = np.concatenate([part for _, part in ensemble.folds(count)])
        np.testing.assert_array_equal(held, np.arange(count))
        for rest, part in ensemble.folds(count):
            assert count == 1 or not set(rest) & set(part)
            assert len(rest) + len(part) == count + (count == 1)


@pytest.mark.parametrize("fit", FITS)
def test_the_gain_of_noise_is_nothing_when_it_is_cross_fitted(fit):
    """Coins as models: fitted and judged on the same examples they seem to know something."""
    seeming, honest = [], []
    for seed in range(25):
        outputs, targets = made("classification", skill=(0.0,) * 8, examples=60, seed=seed)
        outputs = 0.3 * outputs
        mean = loss_of(ensemble.average(outputs, "classification"), targets, "classification")
        shares = fit(outputs, targets, "classification")
        fitted = ensemble.average(outputs, "classification", shares)
        crossed = ensemble.cross_fitted(fit, outputs, targets, "classification")
        seeming.append(mean - loss_of(fitted, targets, "classification"))
        honest.append(mean - loss_of(crossed, targets, "classification"))
    assert np.mean(seeming) > 0.003
    assert np.mean(honest) < 0.2 * np.mean(seeming)


def test_cross_fitting_tells_no_example_its_own_answer():
    """A fit that remembers is given away: no example's shares depend on its own target."""
    outputs, targets = made("classification", skill=(1.0, 1.0, 1.0), examples=40)
    before = ensemble.cross_fitted(ensemble.greedy, outputs, targets, "classification")
    changed = targets.copy()
    changed[:8] = (changed[:8] + 1) % 3
    after = ensemble.cross_fitted(ensemble.greedy, outputs, changed, "classification")
    np.testing.assert_array_equal(before[:8], after[:8])
