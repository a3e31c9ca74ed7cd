"""What users of other frameworks asked for in vain, and what must therefore hold here."""

import copy
import dataclasses
import json
import pathlib
import re
import shutil
import types

import jax
import numpy as np
import pytest
from test_checks import by_heart
from test_report import parse
from test_writers import events

from recipe_jax import config as configs
from recipe_jax import ensemble, writers
from recipe_jax.app import commands, console, drive
from recipe_jax.app.signals import Signals
from recipe_jax.app.workdir import open_workdir
from recipe_jax.data import base as data_base
from recipe_jax.data import iris
from recipe_jax.feed import batches
from recipe_jax.recipe import final, overfit, squeeze, training
from recipe_jax.report import figures, page
from recipe_jax.types import Decision, Sealed, Trial, Trials
from recipe_jax.writers import plain

SMALL = {
    "data": {"name": "iris"},
    "model": {"name": "linear"},
    "optim": {"name": "adamw", "learning_rate": 0.03},
    "augment": {"name": "noise", "deviation": 0.3},
    "train": {"batch_size": 16, "epochs": 4, "evaluations": 2},
}


def completed(**sections):
    return configs.as_dict(configs.complete({**copy.deepcopy(SMALL), **sections}))


def carried_out(workdir, *stages, config=None, overwrite=False):
    """A run of these stages through the driver."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Signals, "install", lambda self: None)
        code = drive.execute(
            what="train",
            stages=stages,
            config=config or completed(),
            overrides={},
            workdir=workdir,
            argv=[],
            console=console.Console(),
            overwrite=overwrite,
        )
    assert code == 0
    return workdir


def stage(name, run):
    return types.SimpleNamespace(
        __name__=name, EXPECTS="It runs.", run=run, planned=lambda context: []
    )


def written(workdir, name):
    return json.loads((workdir / name).read_text())


def told(workdir, check):
    (found,) = [each for each in written(workdir, "findings.json") if each["check"] == check]
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a finished training; tests leave it as it is."""
    return carried_out(tmp_path_factory.mktemp("trained") / "w", training)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """(workdir, results) of two lanes: one on all training examples, one on two of them."""
    found = []

    def run(context):
        trials = (Trial(), Trial(num_examples=2))
        results = yield Trials(label="few", trials=trials, epochs=2, keep="last")
        found.extend(results)
        return Decision(summary="Both are trained.")

    return carried_out(tmp_path_factory.mktemp("few") / "w", stage("few", run)), found


# --- Wish 2: what overfitting a few examples does is clear ------------------------------------


def test_wish_2_few_examples_are_fixed_and_shuffled_among_themselves():
    shown = np.asarray(
        batches.chunk_indices(
            jax.random.key(3), 0, num_steps=36, batch_size=8, num_examples=96, limit=16
        )
    ).reshape(3, 96)
    for epoch in shown:
        # The first sixteen and no other, every one of them as often as the others.
        np.testing.assert_array_equal(np.bincount(epoch), [6] * 16)
    assert not np.array_equal(shown[0], shown[1]) and not np.array_equal(shown[1], shown[2])


def test_wish_2_validation_is_left_alone(few):
    """A lane that learns two examples is looked at on the validation split that all others have."""
    whole, two = few[1]
    for name in ("validation/loss", "validation/accuracy"):
        assert whole.history[name][0] == two.history[name][0]
    assert whole.history["validation/loss"][-1] != two.history["validation/loss"][-1]
    # By hand, from its weights: the share of every validation example.
    validation = drive.load_task(completed()).validation
    weights = {leaf.ndim: np.asarray(leaf) for leaf in jax.tree.leaves(two.weights)}
    right = (validation.inputs @ weights[2] + weights[1]).argmax(-1) == validation.targets
    assert two.history["validation/accuracy"][-1] == pytest.approx(right.mean())


def test_wish_2_the_report_says_which_examples_they_are():
    said = by_heart([1.0, 0.01, 1.0, 1.0]).summary
    assert "first of the training split" in said and "validation stays whole" in said


# --- Wish 3: the range test changes nothing afterwards ----------------------------------------


@pytest.mark.slow
def test_wish_3_a_training_has_the_same_bits_after_a_range_test(trained, tmp_path):
    """In one process and one workdir: metrics and weights are those of a training alone."""

    def range_test(context):
        yield from overfit.run(context)
        return Decision(summary="Its suggestion is not taken.")

    after = carried_out(tmp_path / "w", stage("overfit", range_test), training)
    assert len(told(after, "range_test")["evidence"]["rates"]) > 5

    def of_training(workdir):
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        return [line for line in lines if line["stage"] == "training"]

    assert of_training(after) == of_training(trained) and of_training(trained)
    with np.load(trained / "model/weights.npz") as one, np.load(after / "model/weights.npz") as two:
        assert one.files == two.files and one.files
        for name in one.files:
            assert one[name].tobytes() == two[name].tobytes(), name


# --- Wish 27: an ensemble of the best trials --------------------------------------------------


@pytest.mark.slow
def test_wish_27_an_ensemble_of_the_best_trials_is_chosen_on_validation(tmp_path, monkeypatch):
    rates = (0.1, 0.03, 0.01)

    def search(context):
        found = tuple({"optim.learning_rate": rate} for rate in rates)
        return Decision(summary="Three settings.", candidates=found)
        yield

    asked = []

    def outputs(self, request, split, original=drive.Models.outputs):
        found = original(self, request, split)
        asked.append((request.split, found, split.targets))
        return found

    monkeypatch.setattr(drive.Models, "outputs", outputs)
    config = completed(
        model={"name": "mlp", "width": 8, "depth": 1},
        recipe={"members": 2, "folds": 3, "snapshots": 0, "seeds": 2},
    )
    w = carried_out(tmp_path / "w", stage("search", search), squeeze, config=config)

    # The best of the settings are those that do best over folds of the training split.
    folds = told(w, "fold_scores")["evidence"]
    means = [float(np.mean(each)) for each in folds["scores"]]
    assert means == sorted(means, reverse=True) and sorted(folds["kept"]) == [False, True, True]
    found = told(w, "ensembles")["evidence"]
    assert {"seed 2", "best setting 1", "best setting 2"} <= set(found["models"])
    # The greedy shares are those of the validation predictions, and of nothing else.
    split, predictions, targets = asked[0]
    assert split == "validation"
    shares = ensemble.greedy(predictions, targets, "classification")
    np.testing.assert_allclose(found["shares"]["greedy blend"], shares, atol=1e-6)
    # There the blend is never worse than the best model alone.
    mean = np.asarray(ensemble.average(predictions, "classification", shares))
    best = min(surprise(each, targets) for each in predictions)
    assert surprise(mean, targets) <= best + 1e-6
    # The choice is made before the test split is opened.
    order = [each["check"] for each in written(w, "findings.json")]
    assert order.index("ensembles") < order.index("test_score")
    assert [each for each, *_ in asked] == ["validation", "test"]


def surprise(outputs, targets):
    logs = np.asarray(jax.nn.log_softmax(outputs))
    return float(-logs[np.arange(len(targets)), targets].mean())


# --- Wish 33: the test split is sealed, and every opening is counted --------------------------


def test_wish_33_openings_of_the_test_split_are_counted_and_reported(trained, tmp_path):
    w = pathlib.Path(shutil.copytree(trained, tmp_path / "w"))
    once = [{"stage": "training", "reason": "the final score of the training run"}]

    def said():
        page = " ".join((w / "report.html").read_text().split())
        assert written(w, "run.json")["test_openings"] == once
        return page[page.index("<dt>Test split</dt>") :][:200]

    assert "opened once: the final score" in said() and "before" not in said()
    # A page that is built again says the same.
    assert commands.report(["report", "--workdir", str(w)]) == 0
    assert "opened once: the final score" in said()
    # Begun anew, what was seen is not forgotten.
    carried_out(w, training, overwrite=True)
    assert "opened once: the final score" in said() and "once before, by runs" in said()
    record = written(w, "run.json")
    assert record["opened_before"] == 1
    anew = open_workdir(w, config=completed(), record=record, overwrite=True)
    assert anew.record["opened_before"] == 2
    # Other data have a test split of their own.
    other = {**record, "data": {**record["data"], "name": "wine"}}
    anew = open_workdir(w, config=completed(), record=other, overwrite=True)
    assert anew.record["opened_before"] == 0


def test_wish_33_who_opens_no_test_split_says_so(few):
    assert written(few[0], "run.json")["test_openings"] == []
    assert "never opened" in (few[0] / "report.html").read_text()


def test_wish_33_nothing_before_the_opening_depends_on_the_test_labels(
    trained, tmp_path, monkeypatch
):
    """With other labels on it, the same run: but for what is said of the test split itself."""

    def other_labels(config, original=drive.load_task):
        task = original(config)
        split = task.test.open(lambda: None)
        return dataclasses.replace(
            task, test=Sealed(split._replace(targets=(split.targets + 1) % 3))
        )

    monkeypatch.setattr(drive, "load_task", other_labels)
    other = carried_out(tmp_path / "w", training)
    assert (trained / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    one, two = (written(each, "findings.json") for each in (trained, other))
    differing = {a["check"] for a, b in zip(one, two) if a != b}
    assert differing == {"confusion", "worst", "test_score"}


def test_wish_33_a_sealed_split_shows_neither_inputs_nor_labels():
    task = data_base.prepare(iris.build())
    for name in ("inputs", "targets", "ids", "arrays", "first"):
        assert not hasattr(task.test, name)
    opened = []
    split = task.test.open(lambda: opened.append(1))
    assert opened == [1] and len(split.targets) == task.test.num_examples


# --- Wish 16: mean and spread over seeds ------------------------------------------------------


def test_wish_16_the_report_draws_the_median_and_the_band_and_tensorboard_has_them(few):
    w, results = few
    (stage_,) = [each for each in written(w, "report.json")["curves"] if each["split"] == "train"]
    losses = np.array([each.history["train/loss"] for each in results])
    np.testing.assert_allclose(stage_["median"], np.median(losses, 0), rtol=1e-6)
    np.testing.assert_allclose(stage_["low"], losses.min(0), rtol=1e-6)
    np.testing.assert_allclose(stage_["high"], losses.max(0), rtol=1e-6)
    found = events(w / "tensorboard")[0]
    for name, of in (("mean", np.mean), ("lowest", np.min), ("highest", np.max)):
        told_ = [value for tag, _, value in found if tag == f"few/few/train/loss/agg/{name}"]
        np.testing.assert_allclose(told_, of(losses, axis=0), rtol=1e-6)


# --- Wish 17: runs can be filtered by their hyperparameters -----------------------------------


def test_wish_17_the_report_has_all_trials_with_their_settings_to_sort_and_filter(few):
    """What the table does is seen in test_browser.py."""
    tags = parse((few[0] / "report.html").read_text()).tags
    (table,) = [each for tag, each in tags if tag == "table" and each.get("id") == "trials-table"]
    assert table["class"] == "sortable"
    assert any(tag == "input" and "filter" in each.get("class", "") for tag, each in tags)
    trials = written(few[0], "report.json")["trials"]
    place = trials["columns"].index("num_examples")
    assert [row[place] for row in trials["rows"]] == [None, 2]


# --- Wish 18: results in a file that can be sent ----------------------------------------------


def test_wish_18_one_file_holds_the_results_and_its_twin_the_same_for_machines(trained, tmp_path):
    alone = shutil.copy(trained / "report.html", tmp_path / "sent.html")
    text = pathlib.Path(alone).read_text()
    for tag, each in parse(text).tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert each.get(name, "#").startswith(("#", "data:")), (tag, each)
    words = " ".join(" ".join(parse(text).words).split())
    twin = written(trained, "report.json")
    findings = [each for stage_ in twin["stages"] for each in stage_["findings"]]
    assert [each["summary"] for each in findings] == [
        each["summary"] for each in written(trained, "findings.json")
    ]
    assert all(" ".join(each["summary"].split()) in words for each in findings)
    assert twin["verdict"]["headline"] in words


# --- Wish 19: many runs and many steps stay quick ---------------------------------------------


def test_wish_19_long_curves_are_thinned_and_keep_their_extremes(tmp_path):
    steps = np.arange(10_000)
    losses = 2.0 + np.sin(steps / 500)
    losses[7_777], losses[3_333] = 40.0, -40.0
    with writers.JsonlWriter(tmp_path / "metrics.jsonl") as file:
        for step, loss in zip(steps.tolist(), losses.tolist()):
            row = {"stage": "tune", "request": "long", "trial": "t", "step": step}
            file.write({**row, "split": "train", "loss": loss})
    writers.write_json(
        tmp_path / "run.json", {"stages": [{"name": "tune"}], "status": "done", "name": "x"}
    )
    text = page.build_report(tmp_path).read_text()
    data = json.loads(re.search(r'id="report-data">(.*?)</script>', text, re.DOTALL)[1])
    traces = [trace for figure in data["figures"].values() for trace in figure["data"]]
    assert traces and all(len(trace["x"]) == len(trace["y"]) <= 300 for trace in traces)
    shown = [y for trace in traces for y in trace["y"]]
    assert max(shown) == 40.0 and min(shown) == -40.0


# --- Wish 29: the worst examples have names, also in a table and in a plot --------------------


def test_wish_29_the_worst_rows_of_a_table_are_named(trained):
    evidence = told(trained, "worst")["evidence"]
    split = drive.load_task(completed()).test.open(lambda: None)
    assert len(evidence["ids"]) == len({*evidence["ids"]}) > 0
    assert {*evidence["ids"]} <= {str(each) for each in split.ids}
    (drawn,) = figures.draw("worst", evidence)
    heads = re.findall(r'<th scope="col">(.*?)</th>', str(drawn))
    assert heads[:4] == ["row", "truth", "predicted", "loss"]
    # By the name the row is found again.
    name, row = evidence["ids"][0], evidence["rows"][0]
    place = [str(each) for each in split.ids].index(str(name))
    task = drive.load_task(completed())
    raw = np.asarray(task.encoder.decode(split.inputs[place : place + 1]))[0]
    np.testing.assert_allclose(row, raw, rtol=1e-3)


def test_wish_29_every_dot_of_a_regression_is_named():
    config = completed(
        data={"name": "diabetes"}, objective={"name": "regression"}, augment={"name": "none"}
    )
    task = drive.load_task(config)
    test = task.test.open(lambda: None)
    context = drive.make_context(config, task, drive.make_objective(config, task))
    outputs = np.zeros_like(test.targets)
    found = next(final.mistakes(context, outputs, test))
    assert found.check == "predictions"
    (dots, _), *_ = [each.data for each in figures.draw("predictions", plain(found.evidence))]
    assert list(dots.customdata) == [str(each) for each in test.ids]
    assert "%{customdata}" in dots.hovertemplate
