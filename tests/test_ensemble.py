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
