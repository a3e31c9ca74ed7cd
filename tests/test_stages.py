"""Stages, driven without training: what they ask, find and decide, and that a replay agrees."""

import dataclasses
import functools
import itertools

import jax
import numpy as np
import pytest

from recipe_jax import assembly, resolve, writers
from recipe_jax import config as configs
from recipe_jax.data import base as data_base
from recipe_jax.objectives import classification, regression
from recipe_jax.recipe import base as recipe_base
from recipe_jax.recipe import (
    budget,
    data,
    measuring,
    overfit,
    range_test,
    regularise,
    searching,
    skeleton,
    squeeze,
    sweep,
    training,
    tune,
)
from recipe_jax.recipe.base import Context, paired_interval
from recipe_jax.recipe.settings import Recipe
from recipe_jax.search import random as random_search
from recipe_jax.search.base import Axis, Search
from recipe_jax.train.evaluate import metrics_of
from recipe_jax.types import (
    Asked,
    Broken,
    Decision,
    Finding,
    Measured,
    Outputs,
    Result,
    Scores,
    Status,
    Trial,
    Trials,
)

CONFIG = {
    "model": {"name": "mlp", "width": 16, "depth": 1},
    "optim": {"name": "adamw", "learning_rate": 1e-2},
    "train": {"batch_size": 10, "epochs": 10, "evaluations": 5},
    "search": {"name": "random", "trials": 6},
    "recipe": {"seeds": 3, "members": 3},
}
# What a search hands on.
CANDIDATES = tuple({"optim.learning_rate": rate} for rate in (1e-2, 5e-3, 2e-2))
STAGES = (data, skeleton, overfit, regularise, tune, squeeze, training)


@pytest.fixture(autouse=True)
def few_questions(monkeypatch):
    """The questions about the program take seconds each time; test_examining.py asks them."""
    monkeypatch.setattr(skeleton.examining, "examined", lambda context: iter(()))


@functools.cache
def task_of(kind="classification", count=200):
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(count, 4))
    if kind == "regression":
        targets = inputs[:, :1] * 3 + 7 + draw.normal(size=(count, 1))
        source = data_base.from_arrays("made", inputs, targets=targets, kind=kind)
    else:
        targets = (np.arange(count) % 2).astype(np.int32)
        inputs[:, 0] += 2.0 * targets
        source = data_base.from_arrays(
            "made", inputs, targets=targets, kind=kind, class_names=("no", "yes")
        )
    return data_base.prepare(source)


def context_of(kind="classification", carried=None, **sections) -> Context:
    if not carried and not sections:
        return plain_context(kind)
    return context_with(kind, carried, **sections)


@functools.cache
def plain_context(kind) -> Context:
    return context_with(kind, None)


def context_with(kind, carried, **sections) -> Context:
    given = CONFIG | {"objective": {"name": kind}}
    for name, values in sections.items():
        given[name] = values if "name" in values else {**given.get(name, {}), **values}
    config = configs.as_dict(configs.complete(given))
    task = task_of(kind)
    build = classification.build if kind == "classification" else regression.build
    whole = budget.filled(config, budget.named(config))
    searching = {k: v for k, v in whole["search"].items() if k != "name"}
    pruning = dict(config["prune"])
    return Context(
        task,
        config,
        build(task.spec),
        Recipe(**whole["recipe"]),
        random_search.build(**searching),
        resolve.resolve("prune", pruning.pop("name"))(**pruning),
        carried or {},
        (),
        candidates=CANDIDATES,
    )


def result_of(trial, *, request=None, train=0.1, held=0.2, start=0.8, score=0.9, status="done"):
    """A made-up run: losses fall exponentially from `start` to `train` and `held`."""
    request = request or Trials(label="", trials=(trial,), epochs=1)
    rounds = 0 if not request.epochs else request.evaluations or 5
    place = np.arange(rounds + 1) / max(1, rounds)
    fall = 1.0 - np.exp(-8.0 * place)
    steps_of = 40
    batch = start + (train - start) * (1 - np.exp(-8.0 * np.arange(rounds * steps_of) / 200))
    scores = 0.5 + (score - 0.5) * fall
    bad = status == "diverged"
    return Result(
        trial=trial,
        steps=np.arange(rounds + 1) * steps_of,
        history={
            "train/loss": np.full(rounds + 1, np.nan) if bad else start + (train - start) * fall,
            "validation/loss": start + (held - start) * fall,
            "train/accuracy": scores,
            "validation/accuracy": scores,
            "train/mse": 9 * (start + (train - start) * fall),
            "validation/mse": 9 * (start + (held - start) * fall) if score == 0.9 else scores,
        },
        losses=np.full(len(batch), np.nan) if bad else batch,
        grad_norms=np.ones(len(batch)),
        best_score=float("nan") if bad and np.isnan(score) else score,
        best_step=rounds * steps_of,
        status=status,
        first_bad_step=0 if bad else None,
        num_params=500,
        rounds=(rounds, rounds),
        weights=None,
    )


class Fake:
    """Answers requests by a function of the trial; remembers what was asked.

    measured: the last look at validation is that of the outputs, as it is in a real run.
    """

    def __init__(self, context, world, measured=True):
        self.context, self.world, self.measured = context, world, measured
        self.requests, self.findings, self.measured_settings = [], [], []

    def answer(self, request):
        if isinstance(request, Trials):
            return [self.trained(trial, request) for trial in request.trials]
        if isinstance(request, Scores):
            scores = np.stack([self.scores(each) for each in request.results])
            if request.permuted:
                return np.stack([scores - 0.1 * (0 in each) for each in request.permuted], axis=1)
            return scores
        if isinstance(request, Broken):
            return None
        assert isinstance(request, Outputs)
        task = self.context.task
        split = task.test.open(lambda: None) if request.split == "test" else None
        split = split or getattr(task, request.split)
        return np.stack([self.outputs(r, split, request) for r in request.results]), split

    def trained(self, trial, request):
        run = result_of(trial, request=request, **self.world(trial, request))
        if request.watch:
            run = run._replace(watched=self.watched(run, request))
        if request.label in ("regularisers", "plain runs", "weights at the start"):
            started = self.weights(trial, trained=bool(request.epochs))
            run = run._replace(weights=(started, {}))
        plain = trial.show_inputs and not trial.num_examples
        if self.measured and plain and request.keep == "last" and request.epochs:
            split = self.context.task.validation
            looked = metrics_of(
                self.context.objective, self.outputs(run, split, request), split.targets
            )
            for name, value in looked.items():
                run.history.setdefault(f"validation/{name}", np.zeros(len(run.steps)))[-1] = value
        return run

    def watched(self, run, request):
        """From nothing to the outputs that are right but for every tenth, along the losses."""
        split = self.context.task.validation.first(request.watch)
        end = self.outputs(run, split, request)
        return np.linspace(0.0, 1.0, len(run.steps))[:, None, None] * end

    def weights(self, trial, *, trained):
        """Of the configured model, a little further from where they began."""
        built = assembly.of_config(self.context.config, self.context.task.spec, trial.settings)
        params, _ = jax.eval_shape(built.model.init, jax.random.key(0))
        draw = np.random.default_rng(trial.seed)
        return jax.tree.map(lambda leaf: draw.normal(size=leaf.shape) * (1 + trained), params)

    def scores(self, result):
        """The run's score, scattered a little from example to example."""
        examples = len(self.context.task.validation.targets)
        draw = np.random.default_rng(result.trial.seed)
        return result.best_score + 1e-3 * draw.normal(size=examples)

    def outputs(self, result, split, request):
        """Right but for every tenth example; small and random at the start; right by heart."""
        draw = np.random.default_rng(result.trial.seed)
        if self.context.task.spec.kind == "regression":
            noise = draw.normal(size=split.targets.shape) * 0.3
            return (split.targets + noise).astype(np.float32)
        logits = draw.normal(size=(len(split.targets), 2)) * 0.2
        if request.label != "outputs at the start":
            sure = np.eye(2)[split.targets] * 4
            if request.label != "learnt by heart":
                sure[::10] = sure[::10, ::-1]
            logits = logits + sure
        return logits.astype(np.float32)

    def drive(self, stage) -> Decision:
        generator, answer = stage.run(self.context), None
        while True:
            try:
                asked = generator.send(answer)
            except StopIteration as end:
                return end.value
            answer = None
            if isinstance(asked, Finding):
                self.findings.append(asked)
            elif isinstance(asked, Asked):
                self.findings += asked.findings
            elif isinstance(asked, Measured):
                self.measured_settings += asked.settings
            else:
                self.requests.append(asked)
                answer = self.answer(asked)

    def of(self, check) -> Finding:
        (found,) = [each for each in self.findings if each.check == check]
        return found


def healthy(trial, request):
    """What a healthy network does: blind lanes stay at the prior, larger ones fit better."""
    if not request.epochs:
        return {"start": 0.71, "held": 0.71}
    noise = 0.002 * np.random.default_rng(trial.seed).normal()
    if not trial.show_inputs:
        return {"train": np.log(2), "held": np.log(2) + noise, "score": 0.5}
    if trial.num_examples:
        return {"train": 1e-4}
    rate = trial.settings.get("optim.learning_rate", 1e-2)
    return {"train": 0.1 + 0.05 * abs(np.log10(rate) + 2), "held": 0.3 + noise, "score": 0.9}


def driven(stage, context=None, world=healthy, measured=True):
    fake = Fake(context or context_of(), world, measured)
    return fake, fake.drive(stage)


def told(fake, decision):
    """All that a stage said, as text that can be compared."""
    asked = [
        (type(each).__name__, each.label, [t.uid for t in getattr(each, "trials", ())])
        for each in fake.requests
    ]
    found = [writers.to_json(writers.plain(each)) for each in fake.findings]
    model = decision.model and [each.trial.uid for each in decision.model.members]
    return asked, found, model, dataclasses.replace(decision, model=None)


# --- All stages ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__.rpartition(".")[2])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_healthy_run_closes_no_gate_and_a_replay_agrees(stage, kind):
    def world(trial, request):
        found = healthy(trial, request)
        return found | {"start": 1.2} if kind == "regression" and request.epochs else found

    once = Fake(context_of(kind), world)
    first = told(once, once.drive(stage))
    again = Fake(context_of(kind), world)
    assert told(again, again.drive(stage)) == first
    failed = [each for each in once.findings if each.status == Status.FAIL]
    assert not failed
    for each in once.findings:
        assert each.check and each.row and each.summary.endswith(".")
        assert bool(each.remedy) >= bool(each.fault)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__.rpartition(".")[2])
def test_the_plan_says_what_is_asked(stage):
    context = context_of()
    fake, _ = driven(stage, context)
    asked = [each for each in fake.requests if isinstance(each, Trials) and each.epochs]
    # What goes on after a pause was asked for before.
    asked = [each for each in asked if not each.after]
    planned = stage.planned(context)
    lanes, epochs = sum(p.lanes for p in planned), sum(p.lanes * p.epochs for p in planned)
    asked_lanes = sum(len(each.trials) for each in asked)
    if stage is tune:  # the present setting may be among the finalists
        assert asked_lanes in (lanes, lanes - len(searching.FINAL_SEEDS))
    else:
        assert asked_lanes == lanes
        assert sum(len(each.trials) * each.epochs for each in asked) == epochs


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__.rpartition(".")[2])
def test_no_trial_is_asked_for_twice_in_one_request(stage):
    fake, _ = driven(stage)
    for request in fake.requests:
        if isinstance(request, Trials):
            uids = [trial.uid for trial in request.trials]
            assert len(set(uids)) == len(uids)


def test_only_the_last_stages_open_the_test_split_and_they_do_it_once():
    for stage in STAGES:
        fake, _ = driven(stage)
        opened = [each.split for each in fake.requests if isinstance(each, Outputs)].count("test")
        assert opened == (1 if stage in (squeeze, training) else 0)


# --- Data ------------------------------------------------------------------------------------


def test_data_trains_nothing_and_passes_the_readers_findings_on():
    note = Finding(
        check="imputed",
        row="DATA1",
        status=Status.WARN,
        summary="3 cells.",
        fault="A7",
        remedy="Look.",
    )
    context = context_of()
    fake, decision = driven(
        data, context._replace(task=dataclasses.replace(context.task, notes=(note,)))
    )
    assert fake.requests == [] and note in fake.findings
    assert decision.settings == {} and "120 training" in decision.summary
    told = [each.check for each in fake.findings]
    assert told[:5] == ["settings", "parts", "imputed", "samples", "class_counts"]
    assert len(set(told)) == len(told)
    assert {"feature_ranges", "duplicates", "non_finite", "network_input", "drift"} <= set(told)


# --- Skeleton --------------------------------------------------------------------------------


def test_skeleton_asks_for_quiet_trials():
    context = context_of(model={"name": "mlp", "width": 16, "dropout": 0.5})
    fake, decision = driven(skeleton, context)
    start, baselines, heart = [each for each in fake.requests if isinstance(each, Trials)]
    assert start.epochs == 0 and start.keep == "last" and start.trials == baselines.trials
    assert all(trial.settings["model.dropout"] == 0.0 for trial in (*start.trials, *heart.trials))
    shown = [trial.show_inputs for trial in baselines.trials]
    assert shown == [True] * 3 + [False] * 3 + [True] * 6
    biases = [t.settings.get("model.prior_bias") for t in baselines.trials]
    assert biases == [None] * 6 + [0.0] * 3 + [None] * 3
    rates = [t.settings.get("optim.learning_rate") for t in baselines.trials]
    assert rates == [None] * 9 + [1e-3] * 3
    # One program serves all of them.
    assert {each.watch for each in (start, baselines, heart)} == {16}
    assert [t.num_examples for t in heart.trials] == [2, 16] * 4
    rates = [t.settings["optim.learning_rate"] for t in heart.trials]
    assert rates == [1e-3, 1e-3, 1e-2, 1e-2, 1e-1, 1e-1, 1.0, 1.0]
    assert decision.settings == {}
    statuses = {each.check: each.status for each in fake.findings}
    assert statuses.pop("human_baseline") is Status.SKIP
    assert set(statuses.values()) == {Status.PASS}


@pytest.mark.parametrize("train", itertools.product((1, 3, 60), (None, 4, 25), (10, 32)))
def test_learning_by_heart_is_long_enough_and_shares_the_program(train):
    epochs, evaluations, batch_size = train
    context = context_of(
        train={"epochs": epochs, "evaluations": evaluations, "batch_size": batch_size}
    )
    length = functools.partial(skeleton.settings.length, batch_size=batch_size, num_examples=120)
    usual = length(epochs=epochs, evaluations=evaluations)
    epochs, evaluations = skeleton.heart_length(context)
    heart = length(epochs=epochs, evaluations=evaluations)
    assert heart.num_steps >= skeleton.HEART_STEPS
    assert heart.steps_per_round == usual.steps_per_round


def test_the_early_stop_does_not_end_learning_by_heart():
    fake, _ = driven(skeleton, context_of(train={"patience": 2}))
    (heart,) = [each for each in fake.requests if each.label == "by heart"]
    assert all(trial.settings["train.patience"] is None for trial in heart.trials)


@pytest.mark.filterwarnings("ignore:Precision loss")
@pytest.mark.parametrize(
    ("sabotage", "check"),
    [
        ("blind", "input_independent"),
        ("floor", "overfit_one_batch"),
        ("start", "loss_at_init"),
        ("useless", "baselines"),
    ],
)
def test_skeleton_fails_on_the_sabotaged_answer(sabotage, check):
    def world(trial, request):
        found = healthy(trial, request)
        if sabotage == "start" and not request.epochs:
            found["start"] = found["held"] = 3.0
        if sabotage in ("blind", "useless") and request.epochs and not trial.num_examples:
            found |= {"held": np.log(2) + 1e-3 * trial.seed, "score": 0.5}
        if sabotage == "floor" and trial.num_examples:
            found["train"] = 0.4
        return found

    fake, _ = driven(skeleton, world=world, measured=False)
    assert fake.of(check).status == Status.FAIL
    quiet = {"loss_at_init", "overfit_one_batch"} - {check}
    assert all(fake.of(name).status == Status.PASS for name in quiet)


# --- Overfit ---------------------------------------------------------------------------------


def test_overfit_asks_for_the_range_and_the_ladder_and_hands_both_on():
    fake, decision = driven(overfit)
    test, ladder, *changes = [each for each in fake.requests if isinstance(each, Trials)]
    rates = [trial.settings["optim.learning_rate"] for trial in test.trials]
    np.testing.assert_allclose(rates, np.tile(range_test.RATES, 3))
    assert (rates[0], rates[28]) == (1e-7, 1.0) and test.epochs == 3
    assert [trial.seed for trial in test.trials] == [0] * 29 + [1] * 29 + [2] * 29
    assert [each.label for each in changes] == ["safe default", "changes"]
    # Ten examples are no multiple of four, and 40 leave three batches.
    assert fake.of("batch_sizes").status is Status.SKIP
    widths = [trial.settings["model.width"] for trial in ladder.trials]
    assert sorted(set(widths)) == [4, 8, 16, 32] and len(widths) == 4 * overfit.LADDER_SEEDS
    chosen = decision.settings["optim.learning_rate"]
    assert {trial.settings["optim.learning_rate"] for trial in ladder.trials} == {chosen}
    assert set(decision.settings) == {"optim.learning_rate", "model.width"}
    assert decision.settings["model.width"] == 4  # all rungs fit alike here


def rateless(*, weight_decay: float = 0.0):
    """An optimiser whose step needs no rate."""


def test_an_optimiser_without_a_rate_skips_the_range_test_and_is_tuned_in_the_rest():
    optim = {"name": f"{__name__}:rateless"}
    fake, decision = driven(overfit, context_of(optim=optim))
    skipped = fake.of("range_test")
    assert skipped.status is Status.SKIP
    assert skipped.summary == f"The optimiser {optim['name']!r} has no learning_rate."
    assert fake.requests[0].label == "model ladder"
    assert set(decision.settings) == {"model.width"} and decision.summary.startswith("Width ")

    fake, _ = driven(tune, context_of(optim=optim))
    assert "optim.learning_rate" not in fake.of("search").evidence["axes"]
    assert "optim.weight_decay" in fake.of("search").evidence["axes"]


def test_nothing_to_tune():
    plain = {
        "optim": {"name": f"{__name__}:still"},
        "model": {"name": "linear"},
        "objective": {"name": "regression"},
    }
    context = context_of("regression", **plain)
    fake, decision = driven(tune, context)
    assert fake.of("search").status is Status.SKIP
    assert not fake.requests and not decision.settings
    assert sum(each.lanes for each in tune.planned(context)) == 0


def test_a_model_without_sizes_is_trained_as_it_is():
    context = context_of(model={"name": "linear"}, optim={"name": f"{__name__}:still"})
    fake, decision = driven(overfit, context)
    for check in ("range_test", "model_ladder", "changes"):
        assert fake.of(check).status is Status.SKIP
    assert fake.of("gradient_norms").status is Status.PASS
    assert len(fake.requests[0].trials) == overfit.LADDER_SEEDS and not decision.settings
    asked = [each for each in fake.requests if isinstance(each, Trials)]
    lanes = sum(len(each.trials) for each in asked)
    assert lanes == sum(each.lanes for each in overfit.planned(context))


def still():
    """An optimiser with nothing to set."""


@pytest.mark.parametrize("width, rungs", [(128, [32, 64, 128, 256]), (24, [8, 8, 24, 48])])
def test_heads_share_the_width_of_every_rung(width, rungs):
    model = {"name": "transformer", "width": width, "heads": 4}
    found = [rung["model.width"] for rung in overfit.ladder(context_of(model=model))]
    assert found == rungs


def test_a_model_without_a_size_skips_the_ladder():
    fake, decision = driven(overfit, context_of(model={"name": "linear"}))
    asked = [each.label for each in fake.requests if isinstance(each, Trials)]
    assert asked == ["range test", "model ladder", "safe default"]
    assert fake.of("model_ladder").status == Status.SKIP
    assert set(decision.settings) == {"optim.learning_rate"}


# --- Overfit: the ladder ---------------------------------------------------------------------


def climbed(trains, status="done", start=1.0, spread=0.0):
    rungs = [{"model.width": 4 * 2**i} for i in range(len(trains))]
    by_rung = [
        [
            result_of(Trial(seed=s, settings=rung), train=train + spread * s, start=start)._replace(
                status=status
            )
            for s in range(4)
        ]
        for rung, train in zip(rungs, trains)
    ]
    return overfit.model_ladder(context_of(), rungs, by_rung)


@pytest.mark.parametrize(
    ("trains", "chosen"),
    [
        ([0.5, 0.3, 0.1, 0.05], 3),
        ([0.5, 0.06, 0.05, 0.05], 1),
        ([0.05, 0.05, 0.05, 0.05], 0),
        ([0.5, 0.3, 0.05, 0.3], 2),
    ],
)
def test_the_smallest_sufficient_rung_is_chosen(trains, chosen):
    found, finding = climbed(trains)
    assert found == finding.evidence["chosen"] == chosen
    assert finding.status == Status.PASS


def test_near_is_two_percent_of_what_was_gained():
    # From 1.0 to 0.0 is gained 1: 0.019 is near, 0.021 is not (curves end e^-8 above).
    assert climbed([0.5, 0.019, 0.0])[0] == 1
    assert climbed([0.5, 0.021, 0.0])[0] == 2


def test_a_small_rung_that_costs_validation_is_passed_over():
    rungs = [{"model.width": width} for width in (4, 8, 16)]
    by_rung = [
        [
            result_of(Trial(seed=s, settings=rung), train=0.05, score=score + 0.002 * s)
            for s in range(8)
        ]
        for rung, score in zip(rungs, (0.80, 0.9, 0.9001))
    ]
    assert overfit.model_ladder(context_of(), rungs, by_rung)[0] == 1


def test_a_ladder_says_when_its_largest_rung_is_chosen():
    chosen, finding = climbed([0.9, 0.6, 0.3, 0.01])
    assert chosen == 3 and "32 is the largest tried" in finding.summary
    chosen, finding = climbed([0.9, 0.1, 0.1, 0.1])
    assert chosen == 1 and "8 is the smallest that fits" in finding.summary


def test_a_ladder_that_harms_or_diverges():
    harmed = climbed([0.1, 0.2, 0.3, 0.5])[1]
    assert (harmed.status, harmed.fault) == (Status.WARN, "E1")
    chosen, finding = climbed([0.1] * 4, status="diverged")
    assert finding.status == Status.FAIL and overfit.LADDER[chosen] == 1.0


# --- Regularise ------------------------------------------------------------------------------


def test_regularise_pairs_every_change_over_the_same_seeds():
    fake, decision = driven(regularise)
    curve, request, scores, importance, again, _, start = fake.requests
    assert {trial.num_examples for trial in curve.trials} == {15, 30, 60, 120}
    assert scores.split == "validation" and len(scores.results) == len(request.trials)
    by_change = [request.trials[i : i + 3] for i in range(0, 30, 3)]
    assert len(request.trials) == 30
    assert {tuple(trial.seed for trial in each) for each in by_change} == {(100, 101, 102)}
    assert all(trial.settings["model.dropout"] == 0.0 for trial in by_change[0])
    assert [each[0].settings["model.dropout"] for each in by_change[1:4]] == [0.1, 0.3, 0.5]
    assert [each[0].settings.get("augment.deviation") for each in by_change[7:]] == [0.1, 0.3, None]
    assert by_change[9][0].settings["model.normalization"] == "batch"
    assert fake.of("regularisers").row == "REG6 REG7 REG9 REG11 ENV5"
    assert len(importance.results) == 3 and importance.permuted == ((), (0,), (1,), (2,), (3,))
    assert {trial.settings.get("train.hidden") for trial in again.trials} == {None, (1, 2, 3)}
    assert not start.epochs and [t.seed for t in start.trials] == [100, 101, 102]
    assert decision.settings == {"model.dropout": 0.0, "optim.weight_decay": 0.0}
    assert "No regulariser" in decision.summary


def test_regularise_hands_a_helpful_change_on():
    def world(trial, request):
        helped = trial.settings["model.dropout"] == 0.3
        noise = 1e-3 * np.random.default_rng(trial.seed).normal()
        return {"score": (0.95 if helped else 0.8) + noise}

    _, decision = driven(regularise, world=world)
    assert decision.settings == {"model.dropout": 0.3, "optim.weight_decay": 0.0}


def test_regularise_gives_up_where_everything_diverges():
    nan = float("nan")
    _, decision = driven(
        regularise, world=lambda trial, request: {"status": "diverged", "score": nan}
    )
    assert decision.settings == {"model.dropout": 0.0, "optim.weight_decay": 0.0}


def test_nothing_to_regularise_with(monkeypatch):
    monkeypatch.setattr(regularise, "STRENGTHS", {"model.dropout": (0.1, 0.3)})
    monkeypatch.setattr(regularise, "NOISES", ())
    fake, decision = driven(regularise, context_of(model={"name": "linear"}))
    told = [each.label for each in fake.requests]
    assert told[:3] == ["learning curve", "plain runs", "permuted inputs"]
    assert fake.of("regularisers").status == Status.SKIP
    assert decision.settings == {}


# --- Tune ------------------------------------------------------------------------------------


def scored(score, *, loss=0.3, status="done", **settings):
    found = result_of(Trial(settings=settings), held=loss, score=score, status=status)
    return found._replace(
        history={name: np.full(6, values[-1]) for name, values in found.history.items()}
    )


def tried(runs):
    return [measuring.Tried({}, [run], 1.0) for run in runs]


def test_ranking_is_by_score_then_loss_then_uid_and_diverged_is_last():
    nan = float("nan")
    equal = [scored(0.8, a=i) for i in range(6)]
    runs = [
        scored(nan, status="diverged", b=1),
        scored(0.99, status="diverged", b=2),
        scored(0.7),
        scored(0.9, loss=0.4),
        scored(0.9, loss=0.2),
        *equal,
    ]
    order = measuring.ranked(context_of(), tried(runs))
    assert order[:2] == [4, 3]
    middle = [runs[i].trial.uid for i in order[2:8]]
    assert middle == sorted(run.trial.uid for run in equal)
    assert order[8] == 2
    bad = [runs[i].trial.uid for i in order[9:]]
    assert bad == sorted(run.trial.uid for run in runs[:2])


def test_what_was_trained_further_ranks_before_what_scored_higher_early():
    runs = [scored(0.9), scored(0.8), scored(0.95)]
    reached = [measuring.Tried({}, [run], reach) for run, reach in zip(runs, (1.0, 1.0, 0.3))]
    assert measuring.ranked(context_of(), reached) == [0, 1, 2]


def test_the_ranking_does_not_depend_on_the_order_of_the_trials():
    draw = np.random.default_rng(0)
    runs = [scored(round(draw.uniform(), 1), loss=round(draw.uniform(), 1), a=i) for i in range(30)]
    names = [runs[i].trial.uid for i in measuring.ranked(context_of(), tried(runs))]
    for _ in range(5):
        shuffled = [runs[i] for i in draw.permutation(30)]
        assert [
            shuffled[i].trial.uid for i in measuring.ranked(context_of(), tried(shuffled))
        ] == names


def test_less_error_ranks_first():
    low, high = (
        scored(0.0)._replace(
            history={"validation/mse": np.full(6, v), "validation/loss": np.full(6, v)}
        )
        for v in (1.0, 2.0)
    )
    assert measuring.ranked(context_of("regression"), tried([high, low])) == [1, 0]


def test_tune_measures_the_best_again_beside_the_present_setting():
    carried = {"optim.learning_rate": 3e-3, "model.width": 8}

    def world(trial, request):
        return {"score": 0.9 - 0.1 * abs(np.log10(trial.settings["optim.learning_rate"]) + 2)}

    fake, decision = driven(tune, context_of(carried=carried), world)
    searched, again, *_ = fake.requests
    assert len(searched.trials) == 6 and {trial.seed for trial in searched.trials} == {200}
    assert searched.trials[0].settings["optim.learning_rate"] == 3e-3
    assert all(trial.settings["model.width"] == 8 for trial in searched.trials)
    assert [trial.seed for trial in again.trials[:3]] == [300, 301, 302]
    rates = [trial.settings["optim.learning_rate"] for trial in searched.trials]
    assert all(3e-4 <= rate <= 3e-2 for rate in rates)
    nearest = min(rates, key=lambda rate: abs(np.log10(rate) + 2))
    assert decision.settings["optim.learning_rate"] == nearest
    finalists = {trial.settings["optim.learning_rate"] for trial in again.trials}
    assert 3e-3 in finalists and len(again.trials) in (12, 15)


def test_tune_keeps_the_present_setting_when_all_else_diverges():
    def world(trial, request):
        nan = float("nan")
        present = trial.settings["optim.learning_rate"] == 1e-2
        return {} if present else {"status": "diverged", "score": nan}

    _, decision = driven(tune, world=world)
    assert decision.settings["optim.learning_rate"] == 1e-2
    nothing, decision = driven(tune, world=lambda *_: {"status": "diverged", "score": float("nan")})
    assert decision.settings["optim.learning_rate"] == 1e-2
    assert "6 diverged" in nothing.of("search").summary


def test_tune_searches_the_axes_that_are_asked_for():
    space = (("optim.b1", "uniform", 0.5, 0.9),)
    fake, decision = driven(tune, context_of(search={"space": space}))
    assert set(decision.settings) == {"optim.b1"}
    drawn = [trial.settings["optim.b1"] for trial in fake.requests[0].trials[1:]]
    assert all(0.5 <= value <= 0.9 for value in drawn)


def scripted(batches, **more):
    """A search that gives these batches and remembers what it was told."""
    told = []

    def ask(history, key, axes, count):
        told.append([(each.settings["optim.learning_rate"], each.score) for each in history])
        return [{"optim.learning_rate": rate} for rate in batches[len(told) - 1]]

    count = 1 + sum(map(len, batches))
    axes = (Axis("optim.learning_rate", "log", 1e-4, 1.0),)
    return Search(ask=ask, trials=count, axes=axes, batch=len(batches[0]), **more), told


def by_rate(trial, request):
    rate = trial.settings["optim.learning_rate"]
    return {"score": round(0.9 - 0.1 * abs(np.log10(rate) + 2), 6)}


def test_a_search_is_told_what_was_measured_and_nothing_runs_twice():
    search, told = scripted([[0.1, 0.01], [0.1, 1.0]])
    fake, decision = driven(sweep, context_of()._replace(search=search), by_rate)
    *batches, _ = fake.requests
    rates = [[t.settings["optim.learning_rate"] for t in each.trials] for each in batches]
    # The config's own rate, 0.01, comes first, and is not run again when it is asked for.
    assert rates == [[0.01, 0.1], [1.0]]
    assert told == [[], [(0.1, pytest.approx(0.8, abs=1e-3)), (0.01, pytest.approx(0.9, abs=1e-3))]]
    assert [each["optim.learning_rate"] for each in fake.measured_settings] == [0.01, 0.1, 1.0]
    assert decision.settings == {"optim.learning_rate": 0.01}


def test_a_search_that_finds_nothing_new_ends():
    search, told = scripted([[0.01, 0.01], [0.01, 0.1]])
    fake, _ = driven(sweep, context_of()._replace(search=search), by_rate)
    assert len(told) == 1 and len(fake.requests) == 2


def test_every_setting_of_a_sweep_runs_on_the_same_seeds():
    search, _ = scripted([[0.1, 1.0]])
    context = context_of(sweep={"seeds": 3})._replace(search=search)

    def world(trial, request):
        return {"score": by_rate(trial, request)["score"] + 0.001 * (trial.seed - 201)}

    fake, decision = driven(sweep, context, world)
    seeds = [trial.seed for trial in fake.requests[0].trials]
    assert seeds == [200, 201, 202] * 3
    assert fake.of("search").evidence["scores"] == pytest.approx([0.9, 0.8, 0.7], abs=1e-3)
    assert fake.of("seed_spread").evidence["scores"] == pytest.approx([0.899, 0.9, 0.901], abs=1e-3)
    assert "--config.optim.learning_rate=0.01" in decision.summary or "own" in decision.summary
    assert sum(each.lanes for each in sweep.planned(context)) == 3 * 3 + 15


def test_one_diverged_seed_puts_a_setting_last():
    search, _ = scripted([[0.1, 0.02]])
    context = context_of(sweep={"seeds": 2})._replace(search=search)

    def world(trial, request):
        diverges = trial.settings["optim.learning_rate"] == 0.02 and trial.seed == 201
        return {"status": "diverged", "score": float("nan")} if diverges else {"score": 0.5}

    fake, _ = driven(sweep, context, world)
    evidence = fake.of("search").evidence
    assert evidence["status"] == ["done", "done", "diverged"] and "1 diverged" in (
        fake.of("search").summary
    )


def test_the_ready_made_space():
    axes = context_of(carried={"optim.learning_rate": 1e-3}).axes
    assert axes[0] == Axis("optim.learning_rate", "log", pytest.approx(1e-4), pytest.approx(1e-2))
    assert {axis.path: axis.log for axis in axes[1:]} == {
        "optim.weight_decay": True,
        "model.dropout": False,
        "objective.label_smoothing": False,
    }


# --- Squeeze and training ---------------------------------------------------------------------


@pytest.mark.parametrize("stage", [squeeze, training])
def test_the_test_split_is_opened_last_and_for_a_reason(stage):
    fake, _ = driven(stage)
    opened = [isinstance(each, Outputs) and each.split == "test" for each in fake.requests]
    assert opened == [False] * (len(opened) - 1) + [True]
    assert fake.requests[-1].reason
    kept = [each.keep for each in fake.requests if isinstance(each, Trials)]
    assert kept == (["best"] if stage is training else ["", "best", *["last"] * 5])


def test_squeeze_trains_members_with_what_was_decided():
    carried = {"optim.learning_rate": 5e-3}
    fake, _ = driven(squeeze, context_of(carried=carried))
    asked = [each for each in fake.requests if isinstance(each, Trials)]
    (members,) = [each.trials for each in asked if each.label == "members"]
    assert [trial.seed for trial in members[:3]] == [400, 401, 402]
    assert all(dict(trial.settings) == carried for trial in members[:3])
    assert fake.of("seed_ensemble").evidence["sizes"] == [1, 2, 3]
    score = fake.of("test_score")
    assert score.status == Status.PASS
    assert score.evidence["value"] == pytest.approx(0.9)  # every tenth is wrong
    assert score.evidence["low"] < 0.9 < score.evidence["high"]
    confusion = fake.of("confusion").evidence
    assert confusion["matrix"].sum() == 40
    cells, names = confusion["mistakes"]["cells"], confusion["mistakes"]["ids"]
    # Every mistake is shown, in the cell that counts it.
    counted = np.zeros_like(confusion["matrix"])
    np.add.at(counted, tuple(cells.T), 1)
    assert (counted + np.diag(np.diag(confusion["matrix"])) == confusion["matrix"]).all()
    assert len(names) == len(cells) == 4


def test_a_model_worse_than_the_prior_fails_and_a_tie_does_not():
    class Wrong(Fake):
        def outputs(self, result, split, request):
            return super().outputs(result, split, request)[:, ::-1]

    wrong = Wrong(context_of(), healthy)
    wrong.drive(squeeze)
    assert (wrong.of("test_score").status, wrong.of("test_score").fault) == (Status.FAIL, "F8")

    class Majority(Fake):
        def outputs(self, result, split, request):
            return np.zeros((len(split.targets), 2), np.float32)

    majority = Majority(context_of(), healthy)
    majority.drive(training)
    assert majority.of("test_score").status == Status.WARN


def test_one_run_is_told_as_one():
    one, several = driven(training)[0].of("curves"), driven(squeeze)[0].of("curves")
    assert one.summary.startswith("The run's best evaluation: validation accuracy 0.8999, training")
    assert several.summary.startswith("3 final runs: validation accuracy 0.8999 ± ")


def test_runs_that_diverge_close_the_gate():
    fake, _ = driven(squeeze, world=lambda *_: {"status": "diverged"})
    assert (fake.of("curves").status, fake.of("curves").fault) == (Status.FAIL, "E1")


# --- Small statistics ------------------------------------------------------------------------


def test_the_paired_interval_by_hand():
    # Mean 2, error 1 / sqrt(3), Student's 97.5 % point at two degrees 4.3027.
    found = paired_interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.low == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-4)
    assert found.high == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-4)
    assert paired_interval([1.0]) == (1.0, -np.inf, np.inf)
    assert paired_interval([1.0, 1.0]) == (1.0, 1.0, 1.0)
    wide = paired_interval([1.0, 1.0, 1.0], least_variance=1.0)
    assert wide.high - 1.0 == pytest.approx(4.3027 / 3**0.5, abs=1e-4)


def test_the_paired_interval_covers():
    draw = np.random.default_rng(0)
    inside = [
        found.low <= 0.3 <= found.high
        for found in (paired_interval(0.3 + draw.normal(size=6)) for _ in range(1000))
    ]
    assert 0.93 <= np.mean(inside) <= 0.97


def test_best_and_final_by_hand():
    run = result_of(Trial())._replace(
        steps=np.array([0, 10, 20, 30]),
        history={"validation/loss": np.array([4.0, 3.0, 2.0, np.nan])},
        best_step=10,
        best_score=0.5,
    )
    assert recipe_base.best(run, "validation/loss") == 3.0
    assert recipe_base.final(run, "validation/loss") == 2.0
    assert np.isnan(recipe_base.best(run._replace(best_score=float("nan")), "validation/loss"))


def test_the_standard_error_by_hand():
    assert recipe_base.standard_error(0.8, "accuracy", None, 100) == pytest.approx(0.04)
    assert recipe_base.standard_error(1.0, "accuracy", None, 100) == pytest.approx(0.01)
    assert recipe_base.standard_error(0.0, "mse", np.array([1.0, 3.0]), 4) == pytest.approx(0.5)
