"""The verdict of a run, and what it says to try next."""

import dataclasses

import numpy as np
import pytest
from test_stages import context_of, result_of

from recipe_jax.recipe import diagnose
from recipe_jax.report import figures
from recipe_jax.types import Finding, Status, Trial

LOOKS = np.linspace(0, 1, 11)
assert result_of(Trial())


@pytest.fixture(autouse=True)
def no_look_back(monkeypatch):
    """What the findings say of expectations: test_retrospect.py."""
    monkeypatch.setattr(diagnose.retrospect, "expectations", lambda context: finding("none"))


def finding(check, **evidence):
    return Finding(check=check, row="", status=Status.PASS, summary=check, evidence=evidence)


def curves(train, held, losses, diverged=False):
    """Scores climb from 0.5 to their ends and rest there; losses as given, two members."""
    climb = 1 - np.exp(-8 * LOOKS)
    losses = np.tile(losses, (2, 1))
    if diverged:
        losses[:, 1:] = np.nan
    return finding(
        "curves",
        metric="accuracy",
        train_score=np.tile(0.5 + (train - 0.5) * climb, (2, 1)),
        validation_score=np.tile(0.5 + (held - 0.5) * climb, (2, 1)),
        validation_loss=losses,
    )


RESTED = 0.1 + 0.6 * np.exp(-8 * LOOKS)
TEST = finding(
    "test_score", low=0.93, high=0.97, count=40, baselines={"names": ["majority"], "scores": [0.5]}
)
LADDER = finding("model_ladder", chosen=0, validation_score=[[0.7, 0.71], [0.8, 0.82]])


def judged(*found, command="python -m experiments.run --config 'my digits.py'", **sections):
    context = context_of(**sections)._replace(findings=found, command=command)
    stage, asked = diagnose.run(context), []
    with pytest.raises(StopIteration) as end:
        while True:
            asked.append(next(stage))
    assert diagnose.planned(context) == []
    *_, verdict = asked
    return verdict, end.value.value


@pytest.mark.parametrize(
    ("curve", "others", "verdict"),
    [
        (curves(0.96, 0.95, RESTED), (), "healthy"),
        (curves(1.0, 0.8, RESTED), (), "over-fitting"),
        (curves(0.7, 0.7, RESTED), (LADDER,), "under-fitting"),
        (curves(0.9, 0.9, 0.7 - 0.5 * LOOKS), (), "rate too low or too short"),
        (curves(0.51, 0.505, RESTED), (), "not learning"),
        (curves(0.9, 0.9, RESTED, diverged=True), (), "rate too high"),
        (curves(0.9, 0.9, 0.1 + 0.6 * (np.arange(11) % 2 == 0)), (), "rate too high"),
    ],
)
def test_every_verdict_has_its_curves(curve, others, verdict):
    found, decision = judged(curve, TEST, *others)
    assert found.evidence["verdict"] == verdict and found.summary.lower().startswith(verdict)
    wrong = verdict in ("not learning", "rate too high")
    assert found.status == (Status.WARN if wrong else Status.PASS)
    assert bool(found.remedy) == (verdict != "healthy")
    assert diagnose.REMEDIES[verdict] in decision.summary and decision.settings == {}


def test_next_steps_are_ranked_and_can_be_pasted():
    regularisers = finding(
        "regularisers",
        names=["model.dropout 0.1", "optim.weight_decay 0.01"],
        settings=[{"model.dropout": 0.1}, {"optim.weight_decay": 0.01}],
        difference=[0.01, 0.02],
        kept=[False, False],
    )
    several = finding("seed_ensemble", scores=[0.9, 0.92, 0.93, 0.95])
    found, _ = judged(curves(1.0, 0.8, RESTED), TEST, LADDER, regularisers, several)
    steps = found.evidence["next"]
    assert [each["gain"] for each in steps] == pytest.approx([0.105, 0.02, 0.02])
    assert steps[0]["command"] == (
        "python -m experiments.run --config 'my digits.py' --config.model.width=32 "
        "--workdir=runs/my-digits-twice-the-units"
    )
    assert "--config.optim.weight_decay=0.01" in steps[1]["command"]
    assert all(" more" not in each["command"] for each in steps)
    (drawn,) = figures.draw("verdict", found.evidence)
    assert "<pre>" in drawn and "&#39;my digits.py&#39;" in drawn


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_a_run_that_ended_early_goes_on_unless_its_schedule_ended(name):
    found, _ = judged(curves(0.9, 0.9, 0.7 - 0.5 * LOOKS), TEST, schedule={"name": name})
    (step,) = (each for each in found.evidence["next"] if "epochs" in each["name"])
    epochs = 2 * context_of().config["train"]["epochs"]
    wanted = f"--extend={epochs}" if name == "constant" else f"--config.train.epochs={epochs} --"
    assert wanted in step["command"] and ("--workdir=" in step["command"]) == (name == "cosine")
    assert ("--workdir of this run" in step["name"]) == (name == "constant")


def test_the_constant_that_is_beaten_is_that_of_the_validation_split():
    scores = {"names": ["network", "majority", "linear"], "scores": [0.95, 0.6, 0.9]}
    found, _ = judged(curves(0.96, 0.95, RESTED), TEST, finding("baselines", **scores))
    assert found.evidence["constant"] == 0.6
    assert judged(curves(0.96, 0.95, RESTED), TEST)[0].evidence["constant"] == 0.5


def test_a_simple_model_that_does_better_is_no_healthy_end_and_is_tried_next():
    behind = TEST.evidence | {"behind": ["linear"]}
    scores = {"names": ["network", "majority", "linear"], "scores": [0.95, 0.6, 0.99]}
    found, _ = judged(
        curves(0.96, 0.95, RESTED),
        finding("test_score", **behind),
        finding("baselines", **scores),
        command="python -m experiments.run --config t.py --config.data.path=a.csv "
        "--config.model.width 64 --config.model.depth=3 --config.seed 3",
    )
    assert found.evidence["verdict"] == "over-fitting" and "linear does better" in found.summary
    (step,) = (each for each in found.evidence["next"] if each["name"] == "a linear model")
    assert step["gain"] == pytest.approx(0.04, rel=0.01)
    assert step["command"] == (
        "python -m experiments.run --config t.py --config.data.path=a.csv --config.seed 3 "
        "--config.model.name=linear --workdir=runs/t-a-linear-model"
    )
    assert judged(curves(0.96, 0.95, RESTED), TEST)[0].evidence["verdict"] == "healthy"


def test_what_was_measured_not_to_help_is_no_remedy():
    regularisers = finding(
        "regularisers", names=["a"], settings=[{}], difference=[-0.1], kept=[False]
    )
    larger = finding("model_ladder", chosen=1, validation_score=[[0.7, 0.71], [0.8, 0.82]])
    curve = finding("learning_curve", gain=0.0123)
    over = curves(1.0, 0.8, RESTED)
    known, decision = judged(over, TEST, regularisers, larger, curve)
    assert known.remedy == (
        "More data (twice as much would bring about 0.012 of accuracy), augmentation. "
        "No regulariser that was tried was seen to help."
    )
    assert known.remedy in decision.summary
    flat, _ = judged(over, TEST, finding("learning_curve", gain=0.0))
    assert flat.remedy == "Augmentation, a regulariser, a smaller model."
    assert judged(over, TEST)[0].remedy == diagnose.REMEDIES["over-fitting"]


def test_of_a_text_the_simplest_answer_is_called_by_its_name():
    scores = {"names": ["network", "bigram", "unigram"], "scores": [0.95, 0.6, 0.5]}
    found, _ = judged(curves(0.96, 0.95, RESTED), TEST, finding("baselines", **scores))
    assert "bigram counts 0.6" in found.summary and found.evidence["constant"] == 0.6


def test_a_wide_interval_does_not_unlearn_what_was_learnt():
    """Where a few examples make most of the score, its interval reaches beyond the constant."""
    wide = finding("test_score", **(TEST.evidence | {"low": 0.1, "high": 1.0}))
    verdicts = [
        judged(curves(held, held, RESTED), wide)[0].evidence["verdict"] for held in (0.8, 0.6)
    ]
    assert verdicts == ["healthy", "not learning"]


def test_the_augmentation_to_try_is_one_that_keeps_labels():
    changes = [
        {"name": "mirror", "gain": 0.5, "verdict": "destroys labels", "settings": ["flip=0.5"]},
        {"name": "turn", "gain": 0.02, "verdict": "keeps labels", "settings": ["degrees=10"]},
    ]
    found, _ = judged(curves(1.0, 0.8, RESTED), TEST, finding("symmetries", changes=changes))
    assert found.evidence["next"] == []
    context = context_of()
    context = context._replace(task=dataclasses.replace(context.task, modality="image"))
    (step,) = diagnose.candidates(
        context, {"symmetries": {"changes": changes}, "curves": {}}, "over-fitting"
    )
    assert step.gain == 0.02
    assert step.settings == {"augment.name": "image", "augment.degrees": "10"}


def test_a_closed_gate_is_the_verdict():
    failed = Finding(
        check="x", row="SKEL1", status=Status.FAIL, summary="Loss is NaN.", fault="C1", remedy="Do"
    )
    found, decision = judged(failed)
    assert found.summary == "Stopped: Loss is NaN." and (found.fault, found.remedy) == ("C1", "Do")
    assert "first finding that failed" in decision.summary
    assert judged()[0].status == Status.SKIP
