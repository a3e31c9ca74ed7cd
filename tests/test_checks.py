"""Checks: quiet on what is healthy, on the right row for what is not, and never an exception."""

import dataclasses

import numpy as np
import pytest

from recipe_jax.checks import (
    _curves,
    baselines,
    data_audit,
    duplicates,
    exact_evaluation,
    input_independent,
    loss_at_init,
    normalisation,
    output_bias,
    overfit_one_batch,
)
from recipe_jax.data import base as data_base
from recipe_jax.data import table as csv_table
from recipe_jax.objectives import classification, regression
from recipe_jax.probes.examples import Examples
from recipe_jax.train.evaluate import metrics_of
from recipe_jax.types import Spec, Split, Status, Task

LOG2, LOG3 = float(np.log(2)), float(np.log(3))
STEPS = np.array([0, 10, 20, 30])


def draws(seed=0):
    return np.random.default_rng(seed)


def spec_of(classes=3, prior=None) -> Spec:
    prior = prior or (1 / classes,) * classes
    return Spec(kind="classification", input_shape=(4,), num_outputs=classes, prior=tuple(prior))


REGRESSION = Spec(
    kind="regression",
    input_shape=(4,),
    num_outputs=1,
    prior=(0.0,),
    target_scale=(2.0,),
    target_mean=(10.0,),
)


def table(targets=None, inputs=None, **options) -> Task:
    inputs = draws().normal(size=(120, 4)) if inputs is None else inputs
    targets = (inputs[:, 0] > 0).astype(np.int32) if targets is None else targets
    kind = "regression" if targets.ndim == 2 else "classification"
    names = () if kind == "regression" else tuple(f"c{i}" for i in range(targets.max() + 1))
    source = data_base.from_arrays("made", inputs, targets=targets, kind=kind, class_names=names)
    return data_base.prepare(source, **options)


def with_train(task: Task, **arrays) -> Task:
    return dataclasses.replace(task, train=task.train._replace(**arrays))


def said(finding) -> tuple[Status, str]:
    return finding.status, finding.fault


# --- Curves ----------------------------------------------------------------------------------


def test_still_falling_by_hand():
    assert _curves.still_falling(np.array([[3.0, 2.0, 1.0]]))
    assert not _curves.still_falling(np.array([[3.0, 1.0, 1.0, 1.0]]))
    assert not _curves.still_falling(np.array([[3.0, 2.0, 1.0, 2.0]]))
    # 4 % in the last third is rest, 6 % is not.
    assert not _curves.still_falling(np.array([[2.0, 1.0, 1.0, 0.96]]))
    assert _curves.still_falling(np.array([[2.0, 1.0, 1.0, 0.94]]))
    assert not _curves.still_falling(np.full((2, 3), np.nan))
    assert not _curves.still_falling(np.ones((2, 1)))


def test_lowest_and_upper_end_by_hand():
    np.testing.assert_array_equal(
        _curves.lowest(np.array([[3.0, np.nan, 2.0], [np.nan, np.inf, np.nan]])), [2.0, np.inf]
    )
    # Mean 2, deviation 1, error 1 / sqrt(3), Student's 99.95 % point at two degrees 31.599.
    assert _curves.upper_end(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 + 31.599 / 3**0.5, 1e-4)
    assert _curves.upper_end(np.array([0.5, 0.5])) == 0.5
    assert _curves.upper_end(np.array([0.5])) == np.inf


def test_a_target_of_which_few_values_make_the_error_is_told():
    heavy = np.exp(3.0 * draws(0).normal(size=(400, 1)))
    said_of = [
        data_audit.target_balance(table(values, draws(1).normal(size=(400, 2))))
        for values in (heavy, draws(0).normal(size=(400, 1)), -heavy)
    ]
    assert "make" in said_of[0].summary and "logarithm" in said_of[0].remedy
    assert "make" not in said_of[1].summary and not said_of[1].remedy
    assert "make" in said_of[2].summary and not said_of[2].remedy


# --- Loss at the start -----------------------------------------------------------------------


def at_start(outputs, targets, objective, kind, losses=None):
    if losses is None:
        losses = [float(np.mean(objective.loss(each, targets))) for each in outputs]
    return loss_at_init.examine(
        np.asarray(losses, float),
        np.asarray(outputs),
        targets,
        expected=float(objective.loss_at_init),
        kind=kind,
    )


def logits(seeds=5, examples=200, classes=3, scale=0.5, seed=0):
    return (draws(seed).normal(size=(seeds, examples, classes)) * scale).astype(np.float32)


LABELS = draws(9).integers(0, 3, 200).astype(np.int32)
VALUES = draws(9).normal(size=(200, 1)).astype(np.float32)
VALUES = (VALUES - VALUES.mean()) / VALUES.std()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("scale", [0.1, 1.0])
@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_random_logits_and_values_start_where_theory_says(seed, scale, seeds):
    found = at_start(
        logits(seeds, scale=scale, seed=seed),
        LABELS,
        classification.build(spec_of()),
        "classification",
    )
    assert said(found) == (Status.PASS, "")
    # Values with an offset of their own in every seed, as a random last layer gives.
    outputs = draws(seed).normal(size=(seeds, 200, 1)) * scale
    outputs = outputs + draws(seed + 100).normal(size=(seeds, 1, 1)) * scale / 2
    found = at_start(outputs.astype(np.float32), VALUES, regression.build(REGRESSION), "regression")
    assert said(found) == (Status.PASS, "")


def test_the_expected_loss_is_told_by_hand():
    outputs = logits(scale=0.2)
    found = at_start(outputs, LABELS, classification.build(spec_of()), "classification")
    assert found.evidence["expected"] == pytest.approx(LOG3)
    # Logits of variance s^2 that are centred over 3 classes keep 2/3 of it.
    np.testing.assert_allclose(
        found.evidence["logit_variance"].mean(), 0.04 * 2 / 3 * 1.25, rtol=0.1
    )


def test_a_prior_far_from_even_is_healthy():
    prior = (0.96, 0.04)
    labels = (draws().uniform(size=500) < 0.04).astype(np.int32)
    spec = spec_of(2, prior)
    outputs = spec.prior_outputs + logits(3, 500, 2, scale=0.3)
    found = at_start(
        outputs.astype(np.float32), labels, classification.build(spec), "classification"
    )
    assert said(found) == (Status.PASS, "")


@pytest.mark.parametrize(
    ("name", "status", "fault"),
    [
        ("NaN", Status.FAIL, "G1"),
        ("wrong sign", Status.FAIL, "D1 D3"),
        ("mean over the batch axis", Status.FAIL, "C15 C3"),
        ("four times too many outputs", Status.FAIL, "C15 C3"),
        ("half as many outputs again", Status.WARN, "C15 C3"),
        ("large logits", Status.WARN, "C2 A9"),
        ("enormous logits", Status.FAIL, "C2 A9"),
        ("constant outputs", Status.WARN, "C1"),
    ],
)
def test_a_sabotaged_start_is_named(name, status, fault):
    outputs = logits()
    objective = classification.build(spec_of())
    losses = None
    if name == "NaN":
        losses = [np.nan] * 5
    elif name == "wrong sign":
        losses = [-LOG3 - 0.02] * 5
    elif name == "mean over the batch axis":
        losses = np.log(64) + draws().normal(size=5) * 0.05
    elif name == "four times too many outputs":
        losses = np.log(12) + 0.1 + draws().normal(size=5) * 0.02
    elif name == "half as many outputs again":
        losses = np.log(4.5) + 0.1 + draws().normal(size=5) * 0.02
    elif name == "large logits":
        outputs = logits(scale=4.0)
    elif name == "enormous logits":
        outputs = logits(scale=60.0)
    else:
        outputs = np.zeros((5, 200, 3), np.float32)
    assert said(at_start(outputs, LABELS, objective, "classification", losses)) == (status, fault)


def test_a_bias_away_from_the_target_mean_is_named():
    outputs = logits(classes=1, scale=0.1) + 2.0  # adds 4 target variances
    found = at_start(outputs, VALUES, regression.build(REGRESSION), "regression")
    assert said(found) == (Status.FAIL, "C15 C3")
    assert found.remedy


# --- The last bias ---------------------------------------------------------------------------


def test_the_prior_in_the_bias_by_hand():
    low, high = np.full((3, 4), 0.5), np.full((3, 4), 0.7)
    healthy = output_bias.examine(STEPS, low, high)
    assert said(healthy) == (Status.PASS, "") and "0.200" in healthy.summary
    level = output_bias.examine(STEPS, low, low)
    assert said(level) == (Status.PASS, "") and "even" in level.summary
    wrong = output_bias.examine(STEPS, high, low)
    assert said(wrong) == (Status.WARN, "C3") and wrong.remedy
    bad = np.full((3, 4), np.nan)
    assert output_bias.examine(STEPS, bad, low).status == Status.SKIP


# --- Inputs matter ---------------------------------------------------------------------------


def curves(end, seeds=5, start=1.2, noise=0.01, seed=0):
    shape = np.array([start, (start + 2 * end) / 3, end, end])
    return shape + noise * draws(seed).normal(size=(seeds, 4))


@pytest.mark.parametrize("seed", range(10))
def test_inputs_that_help_pass(seed):
    assert said(
        input_independent.examine(STEPS, curves(0.3, seed=seed), curves(1.0, seed=seed + 50))
    ) == (
        Status.PASS,
        "",
    )


def test_inputs_that_do_not_help_fail_at_rest_and_warn_while_the_loss_falls():
    blind = curves(1.0, seed=1)
    resting = input_independent.examine(STEPS, curves(1.0), blind)
    assert said(resting) == (Status.FAIL, "F8") and "aligned" in resting.remedy
    falling = np.linspace(2.0, 1.1, 4) + np.zeros((5, 1))
    slow = input_independent.examine(STEPS, falling, blind)
    assert said(slow) == (Status.WARN, "F8") and "longer" in slow.remedy
    # The very same curves: the inputs never reached the network.
    assert said(input_independent.examine(STEPS, blind, blind)) == (Status.FAIL, "F8")


def test_few_or_noisy_seeds_do_not_tell():
    noisy = curves(1.0, seeds=3, noise=0.2)
    assert input_independent.examine(STEPS, noisy, curves(1.0, 3)).status == Status.WARN
    one = input_independent.examine(STEPS, curves(1.0, 1), curves(1.0, 1, seed=3))
    assert one.status == Status.WARN
    assert input_independent.examine(STEPS, curves(0.5, 1), curves(1.0, 1)).status == Status.PASS


def test_the_gain_is_tested_by_hand():
    gains = np.array([0.1, 0.2, 0.3])
    blind = np.ones((3, 4))
    found = input_independent.examine(STEPS, blind - gains[:, None], blind)
    # t = 0.2 / (0.1 / sqrt(3)) = 3.4641 at two degrees of freedom: one-sided p = 0.0371.
    assert found.evidence["p_value"] == pytest.approx(0.0371, abs=1e-4)
    assert found.status == Status.PASS  # 20 % of the loss, at the least


# --- Learning by heart -----------------------------------------------------------------------

FACTORS = (0.1, 1.0, 10.0, 100.0)


def by_heart(ends, *, shape="exponential", perfect=1.0, capable=(True, True), expected=LOG3):
    """Curves of 100 steps from `expected` to the end of each rate, the same for both sizes."""
    place = np.linspace(0.0, 1.0, 100)
    losses = []
    for end in ends:
        fall = place if shape == "linear" else 1.0 - np.exp(-20.0 * place)
        losses.append(np.stack([expected + (end - expected) * fall] * 2))
    return overfit_one_batch.examine(
        np.array(losses),
        factors=FACTORS,
        sizes=(2, 16),
        perfect=perfect and np.broadcast_to(np.asarray(perfect, float), (4, 2)),
        expected=expected,
        capable=capable,
        shown={},
    )


def test_what_counts_as_learnt_by_hand():
    # 5 % of log 3 is 0.0549.
    assert by_heart([1.0, 0.054, 1.0, 1.0]).status == Status.PASS
    assert by_heart([1.0, 0.056, 1.0, 1.0]).status == Status.FAIL
    assert by_heart([1.0, 0.01, 1.0, 1.0], perfect=0.9375).status == Status.FAIL
    # Of values nothing is right or wrong.
    assert "100% right" in by_heart([1.0, 0.01, 1.0, 1.0]).summary
    assert said(by_heart([1.0, 0.01, 1.0, 1.0], perfect=None)) == (Status.PASS, "")
    assert "right" not in by_heart([1.0, 0.01, 1.0, 1.0], perfect=None).summary
    tail = overfit_one_batch.tail(np.array([[5.0] * 98 + [1.0, 3.0], [1.0] * 99 + [np.nan]]))
    np.testing.assert_array_equal(tail, [2.0, np.inf])


@pytest.mark.parametrize(
    ("ends", "status", "fault"),
    [
        ([0.9, 0.01, 0.0, np.nan], Status.PASS, ""),
        ([1.0, 0.5, 0.01, np.nan], Status.WARN, "E2"),
        ([0.01, 0.2, 0.4, np.nan], Status.WARN, "E1"),
        ([0.01, np.nan, np.nan, np.nan], Status.FAIL, "E1"),
        ([0.01, 5.0, np.nan, np.nan], Status.FAIL, "E1"),
        ([0.8, 0.5, 0.5, 0.5], Status.FAIL, "C4 C5 D7"),
        ([np.nan] * 4, Status.FAIL, "G1"),
    ],
)
def test_the_rate_is_told_from_a_broken_program(ends, status, fault):
    found = by_heart(ends)
    assert said(found) == (status, fault)
    assert bool(found.remedy) == (status != Status.PASS)


def test_one_slow_rate_does_not_excuse_a_floor_and_slow_ones_together_do():
    assert said(by_heart([0.9, 0.6, 0.5, 0.3], shape="linear")) == (Status.WARN, "E2 E11")
    place = np.linspace(0.0, 1.0, 100)
    floor = np.full(100, 0.5)
    slow = LOG3 - 0.3 * place
    losses = np.stack([np.stack([each] * 2) for each in (slow, floor, floor, floor)])
    found = overfit_one_batch.examine(
        losses,
        factors=FACTORS,
        sizes=(2, 16),
        perfect=np.ones((4, 2)),
        expected=LOG3,
        capable=(True, True),
        shown={},
    )
    assert said(found) == (Status.FAIL, "C4 C5 D7")


def test_a_model_with_too_few_parameters_is_not_called_broken():
    assert said(by_heart([0.5] * 4, capable=(False, False))) == (Status.WARN, "")
    assert by_heart([0.5] * 4, capable=(True, False)).status == Status.FAIL


@pytest.mark.parametrize("expected", [np.nan, -1.0, 0.0, 1e6])
def test_any_expected_loss_gives_a_finding(expected):
    start = 1.0 if not np.isfinite(expected) else expected
    for end in (start, np.nan, np.inf):
        losses = np.full((1, 2, 7), end)
        found = overfit_one_batch.examine(
            losses,
            factors=(1.0,),
            sizes=(2, 16),
            perfect=np.ones((1, 2)),
            expected=expected,
            capable=(True, True),
            shown={},
        )
        assert found.status in Status


# --- Evaluation ------------------------------------------------------------------------------


def test_exact_sums_pass_and_means_of_batch_means_fail():
    objective = classification.build(spec_of())
    outputs, targets = logits(1, 100)[0], LABELS[:100]
    right = metrics_of(objective, outputs, targets)
    healthy = exact_evaluation.examine(objective, outputs, targets, compiled=right)
    assert said(healthy) == (Status.PASS, "")
    halves = [metrics_of(objective, outputs[a:b], targets[a:b]) for a, b in ((0, 64), (64, 100))]
    ragged = {name: (halves[0][name] + halves[1][name]) / 2 for name in right}
    found = exact_evaluation.examine(objective, outputs, targets, compiled=ragged)
    assert said(found) == (Status.FAIL, "F1")
    dropped = exact_evaluation.examine(objective, outputs, targets, compiled=halves[0])
    assert said(dropped) == (Status.FAIL, "F1")


def test_evaluation_of_odd_values():
    objective = regression.build(REGRESSION)
    constant = np.ones((20, 1), np.float32)  # r2 is not defined
    right = metrics_of(objective, constant * 0.5, constant)
    assert np.isnan(right["r2"])
    assert (
        exact_evaluation.examine(objective, constant * 0.5, constant, compiled=right).status
        == Status.PASS
    )
    bad = metrics_of(objective, constant * np.nan, constant)
    found = exact_evaluation.examine(objective, constant * np.nan, constant, compiled=bad)
    assert found.status == Status.SKIP
    found = exact_evaluation.examine(objective, constant * np.nan, constant, compiled=right)
    assert said(found) == (Status.FAIL, "F1")


@pytest.mark.parametrize("seed", range(2))
def test_an_r2_near_zero_passes(seed):
    objective = regression.build(REGRESSION)
    targets = draws(seed).normal(size=(5000, 1)).astype(np.float32)
    outputs = np.full_like(targets, targets.mean())
    right = metrics_of(objective, outputs, targets)
    found = exact_evaluation.examine(objective, outputs, targets, compiled=right)
    assert found.status == Status.PASS


# --- Baselines -------------------------------------------------------------------------------


def test_baseline_scores_by_hand():
    task = table()
    found = baselines.scores(task, classification.build(task.spec), task.validation)
    majority = np.bincount(task.train.targets).argmax()
    assert found["majority"] == pytest.approx(float((task.validation.targets == majority).mean()))
    assert found["linear"] > 0.9
    values = table(draws().normal(size=(120, 1)) * 3 + 5)
    found = baselines.scores(values, regression.build(values.spec), values.validation)
    own = values.validation.targets * values.spec.target_scale
    assert found["mean"] == pytest.approx(float(np.square(own).mean()), rel=1e-5)


def judged(score, *, found=None, end=1.0, prior=None, seeds=5, count=100, **options):
    objective = classification.build(spec_of(2, prior))
    found = found or {"majority": 0.5, "linear": 0.8, "nearest neighbours": 0.7}
    losses = curves(end, seeds, **options)
    return baselines.examine(found, score, objective, losses=losses, count=count)


def test_baselines_are_beaten_or_not():
    assert said(judged(0.9, end=0.3)) == (Status.PASS, "")
    # The standard error of 0.8 over 100 examples is 0.04.
    assert said(judged(0.765, end=0.4)) == (Status.PASS, "")
    behind = judged(0.755, end=0.4)
    assert said(behind) == (Status.WARN, "F8") and "linear" in behind.remedy
    assert said(judged(0.5, end=LOG2)) == (Status.FAIL, "F8")
    assert said(judged(np.nan, end=np.nan)) == (Status.FAIL, "F8")


def test_a_short_training_or_a_rare_class_is_not_called_a_fault():
    objective = classification.build(spec_of(2))
    falling = np.linspace(2.0, 0.8, 4) + np.zeros((5, 1))
    found = {"majority": 0.5, "linear": 0.8}
    short = baselines.examine(found, 0.5, objective, losses=falling, count=50)
    assert short.status == Status.WARN and "falls" in short.remedy
    # 96 % of one class: its entropy is 0.168, and half of that is a real gain.
    rare = judged(0.96, found={"majority": 0.96, "linear": 0.96}, end=0.08, prior=(0.96, 0.04))
    assert rare.status == Status.WARN
    one = judged(0.5, end=LOG2, seeds=1)
    assert one.status == Status.WARN


def test_baselines_of_odd_data_raise_nothing():
    task = table()
    alone = with_train(task, targets=np.zeros_like(task.train.targets))
    bad = with_train(task, inputs=task.train.inputs * np.nan)
    tiny = dataclasses.replace(task, train=Split(*(each[:2] for each in task.train)))
    held = task.validation._replace(targets=np.zeros_like(task.validation.targets))
    objective = classification.build(task.spec)
    for each in (alone, bad, tiny):
        for split in (task.validation, held):
            found = baselines.scores(each, objective, split)
            assert list(found) == ["majority", "linear", "nearest neighbours"]
            assert all(0 <= score <= 1 for score in found.values())


# --- The data --------------------------------------------------------------------------------

AUDITS = [
    data_audit.samples,
    data_audit.target_balance,
    data_audit.feature_ranges,
    data_audit.non_finite,
    data_audit.network_input,
]


def images() -> Task:
    pictures = draws().uniform(0, 255, (60, 5, 6))
    return table((np.arange(60) % 3).astype(np.int32), pictures)


@pytest.mark.parametrize("audit", AUDITS, ids=lambda audit: audit.__name__)
@pytest.mark.parametrize("kind", ["classes", "values", "images"])
def test_healthy_data_pass(audit, kind):
    made = {
        "classes": table,
        "images": images,
        "values": lambda: table(draws().normal(size=(120, 1))),
    }
    assert said(audit(made[kind]())) == (Status.PASS, "")


def test_samples_are_balanced_named_and_in_words():
    shown = data_audit.samples(table()).evidence
    assert shown["labels"].count("c0") == shown["labels"].count("c1") == 6
    assert len(shown["ids"]) == 12 and shown["columns"] == ["x0", "x1", "x2", "x3"]


def test_a_value_is_told_in_its_own_unit():
    task = table(np.linspace(100, 200, 120)[:, None])
    own = task.train.targets[0] * task.spec.target_scale[0] + task.spec.target_mean[0]
    assert data_audit.label_text(task, task.train.targets[0]) == f"{own[0]:.4g}"


def test_a_rare_class_is_named():
    targets = np.zeros(400, np.int32)
    targets[:20] = 1
    found = data_audit.target_balance(table(targets, draws().normal(size=(400, 4))))
    assert said(found) == (Status.WARN, "A12")
    assert found.evidence["train"].tolist() == [228, 12]
    task = table()
    missing = with_train(task, targets=np.zeros_like(task.train.targets))
    assert data_audit.target_balance(missing).status == Status.WARN


def test_a_constant_column_is_named():
    inputs = draws().normal(size=(120, 4))
    inputs[:, 2] = 7.0
    found = data_audit.feature_ranges(table(None, inputs))
    assert said(found) == (Status.WARN, "A8") and found.evidence["constant"] == ["x2"]


def test_the_level_for_unknown_text_is_no_constant_column(tmp_path):
    rows = "".join(f"{i}.5,{'ab'[i % 2]},same,{'xy'[i % 3 % 2]}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("number,letter,always,label\n" + rows)
    source = csv_table.build(path=str(tmp_path / "t.csv"), target="label")
    found = data_audit.feature_ranges(data_base.prepare(source))
    assert said(found) == (Status.WARN, "A8")
    assert found.evidence["constant"] == ["always=same"]
    assert found.summary.endswith("1 of 6 features never changes: always.")
    assert found.remedy.endswith("--config.data.drop=\"('always',)\"")
    (entering,) = normalisation.look(Examples(data_base.prepare(source)))
    assert entering.evidence["constant"] == ["always=same"]
    assert "; always=same never varies and enters as 0" in entering.summary
    source = csv_table.build(path=str(tmp_path / "t.csv"), target="label", drop=("always",))
    assert data_audit.feature_ranges(data_base.prepare(source)).status == Status.PASS
    (entering,) = normalisation.look(Examples(data_base.prepare(source)))
    assert (
        entering.evidence["constant"] == [] and "all vary, but for the levels" in entering.summary
    )


def test_many_constant_columns_are_named_in_few_words():
    inputs = draws().normal(size=(120, 12))
    inputs[:, 3:10] = 7.0
    found = data_audit.feature_ranges(table(None, inputs))
    assert "7 of 12 features never change: x3, x4, x5, x6, x7 and 2 more." in found.summary
    assert found.remedy.endswith("leave x3, x4, x5, x6, x7, x8, x9 out.")


def repeated(task: Task):
    (finding,) = duplicates.look(Examples(task))
    return finding


def test_repeated_examples():
    task = table()
    # Within one split: told, and healthy.
    inputs = task.train.inputs.copy()
    inputs[1] = inputs[0]
    labels = task.train.targets.copy()
    labels[1] = labels[0]
    same = repeated(with_train(task, inputs=inputs, targets=labels))
    assert said(same) == (Status.PASS, "") and same.evidence["within_train"] == 1
    labels = labels.copy()
    labels[1] = 1 - labels[0]
    conflicting = repeated(with_train(task, inputs=inputs, targets=labels))
    assert said(conflicting) == (Status.WARN, "A3") and conflicting.evidence["conflicting"] == 1
    leaked = task.train.inputs.copy()
    leaked[:5] = task.validation.inputs[:5]
    across = repeated(with_train(task, inputs=leaked))
    assert said(across) == (Status.FAIL, "A4") and across.evidence["across_splits"] == 5


def test_oversampling_is_no_duplicate():
    targets = np.zeros(120, np.int32)
    targets[:30] = 1
    found = repeated(table(targets, balance="oversample"))
    assert said(found) == (Status.PASS, "") and found.evidence["within_train"] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_value_is_named_with_its_column(value):
    task = table()
    inputs = task.train.inputs.copy()
    inputs[3, 1] = value
    found = data_audit.non_finite(with_train(task, inputs=inputs))
    assert said(found) == (Status.FAIL, "A7") and found.evidence["columns"] == ["x1"]


def test_inputs_off_scale_are_named():
    for scale, offset in ((255.0, 0.0), (1.0, 100.0), (0.001, 0.0)):
        inputs, targets = draws().normal(size=(120, 4)), np.arange(120, dtype=np.int32) % 2
        task = table(targets, inputs * scale + offset, normalize="none")
        assert said(data_audit.network_input(task)) == (Status.WARN, "A9")


# --- Nothing raises --------------------------------------------------------------------------

ODD = [np.nan, np.inf, -np.inf, 0.0, -3.0, 1e30]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("looks", [1, 2, 4])
def test_no_curve_raises(value, seeds, looks):
    """Curves that are odd everywhere, or in one seed alone, against healthy ones."""
    steps, healthy = np.arange(looks), np.ones((seeds, looks))
    odd = np.full((seeds, looks), value)
    once = healthy.copy()
    once[0, -1] = value
    objective = classification.build(spec_of(2))
    for one in (odd, once, healthy):
        for other in (odd, once, healthy):
            found = [
                input_independent.examine(steps, one, other),
                output_bias.examine(steps, one, other),
            ]
            for score in (value, 0.5):
                scores = {"majority": 0.5, "linear": 0.9}
                found.append(baselines.examine(scores, score, objective, losses=one, count=seeds))
            assert all(each.status in Status and each.summary for each in found)
            # What has a fault says what to do about it.
            assert all(bool(each.fault) <= bool(each.remedy) for each in found)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("examples", [1, 2, 50])
def test_no_start_raises(value, seeds, examples):
    for kind, outputs, targets, objective in (
        ("classification", 2, np.zeros(examples, np.int32), classification.build(spec_of(2))),
        ("regression", 1, np.ones((examples, 1), np.float32), regression.build(REGRESSION)),
    ):
        constant = np.full((seeds, examples, outputs), value, np.float32)
        for losses in (np.full(seeds, value), np.ones(seeds)):
            assert at_start(constant, targets, objective, kind, losses).status in Status


@pytest.mark.parametrize("audit", AUDITS, ids=lambda audit: audit.__name__)
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1e30])
@pytest.mark.parametrize("count", [1, 2, 72])
def test_no_audit_raises(audit, value, count):
    for task in (table(), images(), table(draws().normal(size=(120, 1)))):
        small = Split(*(each[:count] for each in task.train))
        odd = small._replace(inputs=np.full_like(small.inputs, value))
        one = task.validation._replace(targets=np.zeros_like(task.validation.targets))
        for each in (
            dataclasses.replace(task, train=odd, validation=one),
            dataclasses.replace(task, train=odd, validation=odd),
        ):
            assert audit(each).status in Status
