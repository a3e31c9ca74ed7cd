"""What holds for a run as a whole: its settings, its parts, what ended early, what was expected."""

import io
import json

import numpy as np
import pytest
from rich.console import Console as RichConsole
from test_stages import context_of

from recipe_jax import config as configs
from recipe_jax.app import commands
from recipe_jax.app.console import Console
from recipe_jax.recipe import (
    data,
    environment,
    overfit,
    regularise,
    retrospect,
    skeleton,
    squeeze,
    tune,
)
from recipe_jax.recipe.base import Ran
from recipe_jax.recipe.retrospect import CLAIMS, FAILED, HELD, OPEN, patience
from recipe_jax.report import figures
from recipe_jax.types import Asked, Finding, Status

STAGES = (data, skeleton, overfit, regularise, tune, squeeze)


def finding(check, status=Status.PASS, row="", **evidence):
    return Finding(check=check, row=row, status=status, summary=f"{check}.", evidence=evidence)


# --- Expectations ----------------------------------------------------------------------------


def test_what_is_tested_is_what_the_stages_print():
    said = {stage.__name__.rpartition(".")[2]: stage.EXPECTS for stage in STAGES}
    assert {claim.stage for claim in CLAIMS} == set(said)
    for claim in CLAIMS:
        assert claim.says in said[claim.stage]


LADDER = {"train_loss": [[0.4, 0.6], [0.2, 0.1]]}
KEPT = {
    "names": ["model.dropout 0.1", "augment.deviation 0.1"],
    "kept": [True, False],
    "high": [0.02, 0.5],
    "smallest_gain": 0.01,
}
SEARCH = {
    "winner": 3,
    "gain": {"mean": 0.02, "low": 0.01, "high": 0.03},
    "importance": {"optim.learning_rate": 0.7, "model.dropout": 0.3},
}
ENSEMBLES = {"names": ["one model", "8 seeds"], "low": [-0.04, 0.0], "high": [-0.01, 0.0]}
# The standard error of the test score is 0.01, that of validation as much: 0.0277 may lie between.
TEST = {"value": 0.9, "low": 0.8804, "high": 0.9196, "validation": 0.92, "count": 40}
TOLD = {
    "baselines": {"names": ["network", "majority", "linear"], "scores": [0.9, 0.5, 0.8]},
    "model_ladder": LADDER,
    "regularisers": KEPT,
    "search": SEARCH,
    "ensembles": ENSEMBLES,
    "test_score": TEST,
}


def verdicts(changed=(), status=None):
    """Of every claim, where these pieces of evidence differ from those of a run as expected."""
    told = {check: {**each, **dict(changed).get(check, {})} for check, each in TOLD.items()}
    names = {check for claim in CLAIMS for check in claim.checks}
    status = status or {}
    found = [
        finding(name, status.get(name, Status.PASS), **told.get(name, {})) for name in sorted(names)
    ]
    asked = retrospect.expectations(context_of()._replace(findings=found))
    assert figures.draw("expectations", asked.evidence)
    return dict(zip(asked.evidence["claims"], asked.evidence["verdicts"])), asked


def test_all_expectations_of_a_run_as_expected_held():
    found, asked = verdicts()
    assert set(found.values()) == {HELD} and asked.row == "ENV8"
    assert f"Of {len(CLAIMS)} expectations {len(CLAIMS)} held, 0 did not, 0 are open." in (
        asked.summary
    )


@pytest.mark.parametrize(
    ("changed", "says", "verdict"),
    [
        # A linear model that does better is no constant.
        ({"baselines": {"scores": [0.7, 0.5, 0.8]}}, "the network beats", HELD),
        ({"baselines": {"scores": [0.5, 0.5, 0.4]}}, "the network beats", FAILED),
        ({"baselines": {"scores": [None, 0.5, 0.4]}}, "the network beats", FAILED),
        ({"model_ladder": {"train_loss": [[0.1], [0.2]]}}, "more capacity", FAILED),
        ({"model_ladder": {"train_loss": [[0.1], [np.nan]]}}, "more capacity", OPEN),
        # An interval that still holds a useful gain decides nothing; noise is not asked about.
        ({"regularisers": {"kept": [False, True]}}, "Dropout", OPEN),
        ({"regularisers": {"kept": [False, True], "high": [0.005, 0.5]}}, "Dropout", FAILED),
        ({"search": {"winner": 0}}, "Some setting", FAILED),
        ({"search": {"gain": {"mean": 0.01, "low": -0.01, "high": 0.03}}}, "Some setting", OPEN),
        ({"search": {"importance": {"optim.learning_rate": 0.2, "a": 0.8}}}, "the rate", FAILED),
        ({"search": {"importance": {"a": 1.0}}}, "the rate", OPEN),
        ({"ensembles": {"high": [0.001, 0.0]}}, "Averaging", OPEN),
        ({"ensembles": {"low": [0.001, 0.0], "high": [0.01, 0.0]}}, "Averaging", FAILED),
        ({"test_score": {"validation": 0.925}}, "the test score", HELD),
        ({"test_score": {"validation": 0.93}}, "the test score", FAILED),
    ],
)
def test_an_expectation_is_judged_by_what_was_measured(changed, says, verdict):
    found, _ = verdicts(changed)
    (claim,) = [each for each in found if each.startswith(says)]
    assert found.pop(claim) == verdict
    assert set(found.values()) == {HELD}


def test_a_check_that_does_not_pass_breaks_its_expectation_and_one_not_asked_leaves_it_open():
    status = {
        "overfit_one_batch": Status.WARN,
        "range_test": Status.FAIL,
        "near_copies": Status.SKIP,
    }
    found, asked = verdicts(status=status | {"loss_at_init": Status.SKIP})
    assert found["a few examples can be learnt by heart"] == FAILED
    assert found["Some rate between 1e-7 and 1 trains well"] == FAILED
    assert found["no leak between the splits"] == HELD
    assert found["The loss starts where theory says"] == OPEN
    assert "not: a few examples can be learnt by heart" in asked.summary
    nothing = retrospect.expectations(context_of())
    assert set(nothing.evidence["verdicts"]) == {OPEN}


# --- What ended early ------------------------------------------------------------------------


def test_steps_that_were_saved_and_lost_are_counted():
    ran = [Ran("done", 100, 100)] * 2 + [Ran("stopped", 40, 100), Ran("diverged", 7, 100)]
    found = retrospect.stopping(context_of()._replace(ran=[*ran, Ran("done", 0, 0)]))
    assert found.summary.startswith(
        "Of 4 training runs 1 diverged (93 steps after that are worth nothing) and 1 ended before "
        "their time, which saved 60 of 400 steps (15.0%); train.patience=5 and "
        "prune.name=halving would"
    )
    stops = context_of(train={"patience": 3}, prune={"name": "halving"})._replace(ran=ran)
    assert "would" not in retrospect.stopping(stops).summary


def test_patience_is_weighed_on_the_curves_that_were_measured():
    # Best at look 1 until look 5, where two looks of patience do not get.
    curve = np.array([[0.1, 0.6, 0.5, 0.5, 0.5, 0.8, 0.7]])
    assert patience(curve, 1 - curve, 2) == (pytest.approx(3 / 6), pytest.approx(0.2))
    assert patience(curve, 1 - curve, 4) == (1.0, 0.0)
    # Equal scores: the lower loss is better, as in training.
    level = np.full((1, 5), 0.5)
    assert patience(level, np.array([[5.0, 4, 3, 2, 1]]), 1) == (1.0, 0.0)
    assert patience(level, np.array([[1.0, 2, 3, 4, 5]]), 1) == (0.25, 0.0)


# --- Settings and parts ----------------------------------------------------------------------


def test_settings_that_differ_from_their_defaults_are_named():
    given = {"model": {"name": "mlp", "width": 7}, "optim": {"name": "sgd"}, "seed": 3}
    # How often to save changes nothing that is found.
    given["checkpoint"] = {"every_seconds": 7.0}
    config = configs.as_dict(configs.complete(given))
    found = environment.settings(config, configs.as_dict(configs.defaults(config)))
    assert found.evidence["changed"] == ["model.width", "optim.name", "seed"]
    assert "model.width=7, optim.name=sgd" in found.summary and found.row == "ENV1"
    count = 1 + sum(len(each) for each in config.values() if isinstance(each, dict))
    sections = sum(isinstance(each, dict) for each in config.values())
    assert found.summary.startswith(f"{count} settings in {sections} sections, 3 differ")
    usual = configs.as_dict(configs.complete({}))
    found = environment.settings(usual, configs.as_dict(configs.defaults(usual)))
    assert "all are defaults" in found.summary and figures.draw("settings", found.evidence) is None


OWN = '''
"""A model of one's own: this file, and nothing else."""

import jax
import jax.numpy as jnp

from recipe_jax.types import Model


def build(spec, *, scale: float = 1.0):
    size = spec.input_shape[0]

    def init(key):
        return {"w": scale * jax.random.normal(key, (size, spec.num_outputs)) / size}, {}

    def apply(params, state, inputs, *, key, train):
        return inputs @ params["w"], state

    return Model(init, apply)
'''


def test_a_model_in_one_file_of_ones_own_runs(tmp_path, monkeypatch):
    """ENV7: no table to edit, no class to inherit from."""
    (tmp_path / "my_one_file.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["data.name=iris", "train.epochs=20", "optim.learning_rate=0.1"]
    words.append("model.name=my_one_file:build")
    (tmp_path / "config.json").write_text("{}")
    code = commands.train(
        [
            "train",
            f"--config={tmp_path / 'config.json'}",
            f"--workdir={tmp_path / 'run'}",
            *(f"--config.{word}" for word in words),
        ]
    )
    assert code == 0
    found = json.loads((tmp_path / "run" / "findings.json").read_text())
    told = {each["row"]: each for each in found}
    assert told["ENV7"]["summary"] == "1 of 8 parts are your own files: model (my_one_file.py)."
    assert "recipe_jax/optim/adamw.py" in told["ENV7"]["evidence"]["file"]
    assert "train.epochs=20" in told["ENV1"]["summary"]


# --- The console -----------------------------------------------------------------------------


def printed(findings):
    console = Console()
    console._rich = RichConsole(width=200, record=True, file=io.StringIO())
    console.asked(Asked("the program", findings))
    return console._rich.export_text().splitlines()


def test_questions_that_passed_are_one_line():
    passed = [finding(f"check_{i}", row=f"SKEL{i}") for i in range(3)]
    assert printed(passed) == ["  PASS 3 questions about the program: all passed"]
    bad = finding("bad", Status.WARN, row="SKEL9")
    told = printed([*passed, bad])
    assert told[0] == "  PASS 3 of 4 questions about the program: these passed"
    assert told[1].split() == ["WARN", "SKEL9", "bad."] and len(told) == 2
    assert len(printed([bad])) == 1
