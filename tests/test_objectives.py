"""Objectives: hand values, exact masks and merges, and the loss that a fresh net should have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from recipe_jax import types
from recipe_jax.models import constant
from recipe_jax.objectives import classification, regression

PRIOR = (0.5, 0.25, 0.25)
CLASSES = types.Spec(kind="classification", input_shape=(2,), num_outputs=3, prior=PRIOR)
VALUES = types.Spec(
    kind="regression",
    input_shape=(2,),
    num_outputs=2,
    prior=(0.0, 0.0),
    target_scale=(10.0, 0.5),
    target_mean=(3.0, -1.0),
)
LOGITS = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]]))
LABELS = jnp.array([0, 1, 1], jnp.int32)


def draw(spec, count, seed=0):
    keys = jax.random.split(jax.random.key(seed))
    outputs = jax.random.normal(keys[0], (count, spec.num_outputs))
    if spec.kind == "regression":
        return outputs, 0.5 * outputs + jax.random.normal(keys[1], outputs.shape)
    return outputs, jax.random.randint(keys[1], (count,), 0, spec.num_outputs)


def measured(objective, outputs, targets, mask=None):
    losses = objective.loss(outputs, targets)
    return objective.metrics.single_from_model_output(
        outputs=outputs, targets=targets, loss=losses, mask=mask
    )


# --- classification ----------------------------------------------------------------------------


def test_cross_entropy_by_hand():
    found = classification.build(CLASSES).loss(LOGITS, LABELS)
    np.testing.assert_allclose(found, -np.log([0.7, 0.3, 0.5]), rtol=1e-6)


def test_label_smoothing_by_hand():
    found = classification.build(CLASSES, label_smoothing=jnp.float32(0.3)).loss(LOGITS, LABELS)
    smoothed = 0.7 * np.eye(3)[np.asarray(LABELS)] + 0.3 / 3
    np.testing.assert_allclose(found, -(smoothed * np.asarray(LOGITS)).sum(-1), rtol=1e-6)


def test_class_weights_have_mean_one_under_the_prior():
    plain, weighted = (
        classification.build(CLASSES, class_weights=weights).loss(LOGITS, LABELS)
        for weights in ((), (1.0, 3.0, 4.0))
    )
    scale = 0.5 * 1 + 0.25 * 3 + 0.25 * 4
    np.testing.assert_allclose(weighted / plain, np.array([1.0, 3.0, 3.0]) / scale, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", [(), (1.0, 3.0, 4.0)])
def test_targets_may_be_probabilities(smoothing, weights):
    objective = classification.build(CLASSES, label_smoothing=smoothing, class_weights=weights)
    certain = jax.nn.one_hot(LABELS, 3)
    np.testing.assert_array_equal(objective.loss(LOGITS, certain), objective.loss(LOGITS, LABELS))
    slope = jax.grad(lambda outputs, targets: objective.loss(outputs, targets).sum())
    np.testing.assert_allclose(slope(LOGITS, certain), slope(LOGITS, LABELS), rtol=1e-6, atol=1e-7)
    shares = jnp.array([[0.25, 0.75, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]])
    each = jnp.stack([objective.loss(LOGITS, jnp.full(3, k, jnp.int32)) for k in range(3)], 1)
    np.testing.assert_allclose(objective.loss(LOGITS, shares), (shares * each).sum(1), rtol=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 2.0), (1.0, -1.0, 1.0), (0.0, 0.0, 0.0)])
def test_impossible_class_weights_are_refused(weights):
    with pytest.raises(types.UserError, match="class_weights="):
        classification.build(CLASSES, class_weights=weights)


def test_loss_at_init_is_the_entropy():
    found = classification.build(CLASSES).loss_at_init
    np.testing.assert_allclose(found, -sum(p * np.log(p) for p in PRIOR), rtol=1e-6)


@pytest.mark.parametrize("prior", [PRIOR, (0.75, 0.25, 0.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 5.0)])
def test_loss_at_init_is_that_of_the_constant_model(prior, smoothing, weights):
    spec = types.Spec(kind="classification", input_shape=(2,), num_outputs=3, prior=prior)
    objective = classification.build(spec, label_smoothing=smoothing, class_weights=weights)
    model = constant.build(spec)
    params, state = model.init(jax.random.key(0))
    labels = jnp.repeat(jnp.arange(3), jnp.array([round(100 * p) for p in prior]))
    inputs = jnp.zeros((100, 2))
    outputs, _ = model.apply(params, state, inputs, key=None, train=False)
    found = objective.loss(outputs, labels).mean()
    np.testing.assert_allclose(found, objective.loss_at_init, rtol=1e-4)


def test_huge_logits_have_a_finite_loss_and_gradient():
    objective = classification.build(CLASSES)
    logits = jnp.array([[1e30, -1e30, 0.0]])
    value, slope = jax.value_and_grad(lambda x: objective.loss(x, LABELS[1:2]).sum())(logits)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


def test_accuracy_counts_the_right_ones():
    found = measured(classification.build(CLASSES), LOGITS, LABELS).compute()
    np.testing.assert_allclose(found["accuracy"], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(found["loss"], -np.log([0.7, 0.3, 0.5]).mean(), rtol=1e-6)


def test_predictions_are_probabilities():
    found = classification.build(CLASSES).predict(LOGITS)
    np.testing.assert_allclose(found, jnp.exp(LOGITS), rtol=1e-5)


# --- regression --------------------------------------------------------------------------------


def test_squared_error_by_hand():
    outputs, targets = jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.array([[0.0, 4.0], [0.0, 1.0]])
    np.testing.assert_allclose(regression.build(VALUES).loss(outputs, targets), [2.5, 0.5])
    found = measured(regression.build(VALUES), outputs, targets).compute()
    np.testing.assert_allclose(found["loss"], 1.5)
    # Errors in own units: 10, -1 and 0, -0.5.
    np.testing.assert_allclose(found["mse"], (100 + 1 + 0 + 0.25) / 4, rtol=1e-6)
    np.testing.assert_allclose(found["mae"], (10 + 1 + 0 + 0.5) / 4, rtol=1e-6)


def test_huber_is_quadratic_then_linear():
    objective = regression.build(VALUES, loss="huber", huber_delta=jnp.float32(2.0))
    found = objective.loss(jnp.array([[1.0, 5.0]]), jnp.zeros((1, 2)))
    np.testing.assert_allclose(found, [(0.5 * 1**2 + 2 * (5 - 1)) / 2])


@pytest.mark.parametrize(
    "loss, delta", [("mse", 1.0), ("huber", 0.3), ("huber", 1.0), ("huber", 3)]
)
def test_loss_at_init_is_that_of_the_mean_under_normal_targets(loss, delta):
    objective = regression.build(VALUES, loss=loss, huber_delta=delta)
    targets = jax.random.normal(jax.random.key(0), (200_000, 2))
    found = objective.loss(jnp.zeros_like(targets), targets).mean()
    np.testing.assert_allclose(objective.loss_at_init, found, rtol=0.01)


def test_predictions_have_their_own_units():
    found = regression.build(VALUES).predict(jnp.array([[0.0, 0.0], [1.0, -2.0]]))
    np.testing.assert_allclose(found, [[3.0, -1.0], [13.0, -2.0]])


def test_r2_is_the_mean_over_outputs():
    outputs, targets = draw(VALUES, 50)
    found = measured(regression.build(VALUES), outputs, targets).compute()["r2"]
    np.testing.assert_allclose(found, reference.r2_score(targets, outputs), rtol=1e-5)


def test_r2_keeps_its_digits_far_from_zero():
    outputs, targets = draw(VALUES, 4000)
    outputs, targets = outputs + 1000.0, targets + 1000.0
    objective = regression.build(VALUES)
    total = objective.metrics.empty()
    for start in range(0, 4000, 500):
        rows = slice(start, start + 500)
        total = total.merge(measured(objective, outputs[rows], targets[rows]))
    expected = reference.r2_score(np.asarray(targets, float), np.asarray(outputs, float))
    np.testing.assert_allclose(total.compute()["r2"], expected, rtol=1e-4)


def test_r2_of_targets_that_are_all_equal_is_unknown():
    found = measured(regression.build(VALUES), jnp.ones((4, 2)), jnp.ones((4, 2))).compute()
    assert np.isnan(found["r2"])


# --- both --------------------------------------------------------------------------------------


@pytest.fixture(params=["classification", "regression"])
def case(request):
    if request.param == "classification":
        return CLASSES, classification.build(CLASSES)
    return VALUES, regression.build(VALUES)


def test_masked_rows_do_not_count_even_when_they_are_nan(case):
    spec, objective = case
    outputs, targets = draw(spec, 12)
    mask = jnp.arange(12) < 7
    spoiled = jnp.where(mask[:, None], outputs, jnp.nan)
    found = measured(objective, spoiled, targets, mask).compute()
    expected = measured(objective, outputs[:7], targets[:7]).compute()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def test_merging_batches_equals_measuring_all(case):
    """In a scan, from `empty`, with a padded last batch, one lane beside another."""
    spec, objective = case
    outputs, targets = draw(spec, 20)
    mask = jnp.arange(20) < 17

    @jax.jit
    @jax.vmap
    def lane(scale):
        def step(total, batch):
            return total.merge(measured(objective, *batch)), None

        batches = jax.tree.map(
            lambda x: x.reshape(5, 4, *x.shape[1:]), (scale * outputs, targets, mask)
        )
        return jax.lax.scan(step, objective.metrics.empty(), batches)[0].compute()

    found = lane(jnp.array([1.0, 2.0]))
    for i, scale in enumerate((1.0, 2.0)):
        expected = measured(objective, scale * outputs[:17], targets[:17]).compute()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][i], value, rtol=1e-5, err_msg=name)


def test_empty_changes_nothing(case):
    spec, objective = case
    some, none = measured(objective, *draw(spec, 9)), objective.metrics.empty()
    for merged in (some.merge(none), none.merge(some)):
        for name, value in some.compute().items():
            np.testing.assert_allclose(merged.compute()[name], value, rtol=1e-6)


def test_perfect_outputs_are_perfect(case):
    spec, objective = case
    _, targets = draw(spec, 30)
    found = measured(objective, objective.perfect(targets), targets).compute()
    assert 0.0 <= found["loss"] < 1e-9
    assert found[objective.score.metric] == (1.0 if objective.score.maximise else 0.0)


def test_two_builds_share_their_metrics(case):
    spec, objective = case
    build = classification.build if spec.kind == "classification" else regression.build
    assert build(spec).metrics is objective.metrics


def test_the_loss_is_one_number_per_example_and_of_each_alone(case):
    spec, objective = case
    outputs, targets = draw(spec, 6)
    together = objective.loss(outputs, targets)
    assert together.shape == (6,)
    np.testing.assert_allclose(
        objective.loss(outputs[2:3], targets[2:3])[0], together[2], rtol=1e-6
    )
