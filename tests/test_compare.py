"""Runs beside one another: pairs and intervals by hand, honest refusals, and a safe page."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from scipy import stats

from configs import tiny
from recipe_jax import config as configs
from recipe_jax import writers
from recipe_jax.app import commands, drive
from recipe_jax.app import compare as app_compare
from recipe_jax.app.console import Console
from recipe_jax.recipe import comparing, differing, scoring, squeeze, standing
from recipe_jax.recipe.base import Interval
from recipe_jax.recipe.deciding import crossed_interval
from recipe_jax.recipe.differing import Run
from recipe_jax.recipe.scoring import BETTER, NOT_FOUND, OPEN, WORSE, Value
from recipe_jax.report import comparison, content
from recipe_jax.types import UserError

HOSTILE = "</script><img src=x onerror=alert(1)>"
LOSSES = (0.5, 0.4, 0.6)


# --- Workdirs made by hand ---------------------------------------------------------------------


def trial(seed, loss, *, stage="squeeze", request="members", status="done", **settings):
    row = {
        "stage": stage,
        "request": request,
        "trial": f"{stage[:2]}{seed}-{request}",
        "seed": seed,
    }
    row |= {"status": status, "steps": 100, "best_score": 1 - loss, "best_step": 50}
    return row | {"loss": loss} | settings | {"num_examples": None, "show_inputs": True}


def make(folder, trials, *, config=None, findings=(), **record):
    """A workdir: the loss of each trial is reached at step 50 and is worse at steps 0 and 100; its
    accuracy is one less the loss."""
    folder.mkdir(parents=True)
    rows = [
        {
            **{"stage": row["stage"], "request": row["request"], "trial": row["trial"]},
            **{"step": step, "epoch": step / 50, "split": split},
            **{"loss": row["loss"] + worse, "accuracy": 1 - row["loss"] - worse},
        }
        for row in trials
        for step, worse in ((0, 0.3), (50, 0.0), (100, 0.1))
        for split in ("train", "validation")
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    writers.write_trials_csv(
        folder / "trials.csv", [{k: v for k, v in row.items() if k != "loss"} for row in trials]
    )
    given = {"seed": 0, "model": {"name": "mlp", "width": 64}, "optim": {"learning_rate": 0.1}}
    given |= {"objective": {"name": "classification", "label_smoothing": 0.0, "l2": 0.0}}
    for path, value in (config or {}).items():
        section, _, key = path.partition(".")
        if key:
            given.setdefault(section, {})[key] = value
        else:
            given[section] = value
    writers.write_json(folder / "config.json", given)
    writers.write_json(folder / "findings.json", [told("curves", metric="accuracy"), *findings])
    about = {"what": "run", "name": "toys · mlp", "status": "done", "code": "c0de", "packages": {}}
    about |= {"data": {"fingerprint": "f", "examples": {"validation": 1000, "test": 1000}}}
    about |= {"stages": [{"name": "squeeze", "decision": "All of them.", "run_seconds": 2.0}]}
    about |= {"test_openings": [], "total_seconds": 3.0, "command": []}
    writers.write_json(folder / "run.json", about | record)
    return folder


def told(check, stage="squeeze", row="ENV2", status="PASS", **evidence):
    return {
        **{"stage": stage, "row": row, "check": check, "status": status, "summary": "It is so."},
        "evidence": evidence,
    }


def members(losses, first=400, **fields):
    return [trial(first + i, loss, **fields) for i, loss in enumerate(losses)]


def compared(*folders):
    return app_compare.compare([str(folder) for folder in folders])


def difference(found, metric, place=1, split="validation", of=None):
    (score,) = [
        each
        for each in found["scores"]
        if (each["split"], each["metric"]) == (split, metric)
        and of in (None, each["of"])
        and each["differences"][place]
    ]
    return score["differences"][place]


def student(differences, confidence=0.95):
    """The interval of a mean, as in any textbook."""
    differences = np.array(differences)
    half = stats.t.ppf(0.5 + confidence / 2, len(differences) - 1)
    half *= differences.std(ddof=1) / np.sqrt(len(differences))
    return [differences.mean(), differences.mean() - half, differences.mean() + half]


# --- The rule ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "direction", "said"),
    [
        (0.1, 0.3, 1, BETTER),
        (0.1, 0.3, -1, WORSE),
        (-0.3, -0.1, 1, WORSE),
        (-0.3, -0.1, -1, BETTER),
        (-0.1, 0.3, 1, NOT_FOUND),
        (0.0, 0.3, -1, NOT_FOUND),
        (0.1, 0.3, 0, OPEN),
        (-np.inf, np.inf, 1, OPEN),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(low, high, direction, said):
    assert scoring.verdict(Interval((low + high) / 2, low, high), direction) == said


def test_two_intervals_of_two_samples_by_hand():
    """Newcombe 1998, table II: 56/70 less 48/80, Wilson intervals, gives 0.0524 to 0.3339."""
    ends = [stats.binomtest(k, n).proportion_ci(method="wilson") for k, n in ((48, 80), (56, 70))]
    before, after = (
        Value(share, each.low, each.high, 1) for share, each in zip((48 / 80, 56 / 70), ends)
    )
    found = scoring.unpaired_interval(before, after)
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    wider = scoring.unpaired_interval(before, after, 0.99)
    assert wider.low < found.low and wider.high > found.high


# --- Pairs -------------------------------------------------------------------------------------


def test_differences_are_paired_by_seed(tmp_path):
    """The seeds differ far more than the runs do: only pairs can tell. Order does not matter."""
    a = make(tmp_path / "a", members(LOSSES))
    b = make(tmp_path / "b", members([0.48, 0.381, 0.579])[::-1])
    found = difference(compared(a, b), "loss")
    expected = student([-0.02, -0.019, -0.021])
    assert list(found["interval"].values()) == pytest.approx(expected)
    assert found["seeds"] == 3 and found["by_seed"] == pytest.approx([-0.02, -0.019, -0.021])
    assert found["verdict"] == BETTER


def test_the_score_is_that_of_the_best_evaluation(tmp_path):
    a, b = (make(tmp_path / name, members(LOSSES)) for name in "ab")
    (score,) = [each for each in compared(a, b)["scores"] if each["metric"] == "loss"]
    assert score["values"][0]["value"] == pytest.approx(0.5) and score["values"][0]["count"] == 3


def test_only_seeds_that_both_have_are_paired(tmp_path):
    a = make(tmp_path / "a", members([0.9, *LOSSES], first=399))
    b = make(tmp_path / "b", members([0.48, 0.39, 0.57]))
    assert difference(compared(a, b), "loss")["seeds"] == 3
    c = make(tmp_path / "c", members(LOSSES, first=500))
    lonely = difference(compared(a, c), "loss")
    assert lonely["verdict"] == OPEN and lonely["note"] == "no seed in common"


def test_twice_the_same_run_is_no_difference(tmp_path):
    a, b = (make(tmp_path / name, members(LOSSES)) for name in "ab")
    found = compared(a, b)
    assert {each["differences"][1]["verdict"] for each in found["scores"]} == {NOT_FOUND}
    assert found["settings"] == found["findings"] == found["decisions"] == found["provenance"] == []
    assert found["ledger"][0]["decision"] == "drop"


def test_better_and_worse_follow_the_direction_of_the_metric(tmp_path):
    a = make(tmp_path / "a", members(LOSSES))
    b = make(tmp_path / "b", members([0.3, 0.21, 0.4]), config={"model.width": 128})
    found = compared(a, b)
    assert difference(found, "loss")["verdict"] == BETTER
    assert difference(found, "accuracy")["verdict"] == BETTER
    assert found["ledger"][0]["decision"] == "keep"
    assert found["headline"] == "b is better than a, by validation accuracy."
    back = compared(b, a)
    assert difference(back, "loss")["verdict"] == difference(back, "accuracy")["verdict"] == WORSE


def test_equal_steps_of_whole_examples_are_not_certain(tmp_path):
    """Two seeds, each one example of ten more: the spread is zero, and says nothing."""
    data = {"fingerprint": "f", "examples": {"validation": 10, "test": 10}}
    a = make(tmp_path / "a", members([0.5, 0.4]), data=data)
    b = make(tmp_path / "b", members([0.4, 0.3]), data=data)
    assert difference(compared(a, b), "accuracy")["verdict"] == NOT_FOUND


def test_one_seed_gives_no_interval_and_the_command_that_does(tmp_path):
    about = {"what": "train", "command": ["x.py", "--config", "my config.py", "--workdir", "a"]}
    rows = [trial(0, 0.5, stage="training", request="train")]
    a, b = (make(tmp_path / name, rows, **about) for name in "ab")
    found = compared(a, b)
    assert difference(found, "loss")["interval"]["low"] is None
    assert difference(found, "loss")["verdict"] == OPEN
    (note, _) = [each for each in found["notes"] if "one seed" in each]
    assert (
        "sweep --config 'my config.py' --config.search.trials=1 --config.sweep.seeds=8 "
        f"--workdir {a}-seeds" in note
    )


def test_a_seed_that_diverged_counts_as_lost(tmp_path):
    a = make(tmp_path / "a", members([0.5, 0.5]))
    b = make(tmp_path / "b", [*members([0.4]), trial(401, 0.1, status="diverged")])
    found = difference(compared(a, b), "accuracy")
    assert found["by_seed"] == pytest.approx([0.1, -0.5]) and "diverged" in found["note"]


def test_many_runs_share_the_level(tmp_path):
    a = make(tmp_path / "a", members(LOSSES))
    b = make(tmp_path / "b", members([0.48, 0.39, 0.57]))
    c = make(tmp_path / "c", members([0.5, 0.45, 0.6]))
    found = compared(a, b, c)
    assert found["level"] == pytest.approx(0.975)
    wide = list(difference(found, "loss")["interval"].values())
    assert wide == pytest.approx(student([-0.02, -0.01, -0.03], 0.975))
    assert any("Bonferroni" in note for note in found["notes"])
    assert [entry["run"] for entry in found["ledger"]] == ["b", "c"]


def known(name, answers, told_answers=None):
    """A run in memory of two seeds whose answers to three examples are known."""
    scores = [float(np.mean(each)) for each in answers]
    rows = [trial(400 + i, 1 - score) for i, score in enumerate(scores)]
    looks = {
        ("squeeze", row["trial"]): [{"split": "validation", "step": 50, "accuracy": score}]
        for row, score in zip(rows, scores)
    }
    if told_answers is None:
        told_answers = {row["trial"]: {"accuracy": np.array(a)} for row, a in zip(rows, answers)}
    record = {"data": {"fingerprint": "f", "examples": {"validation": 3}}, "status": "done"}
    findings = [told("curves", metric="accuracy")]
    return Run(name, name, record, {}, findings, rows, looks, told_answers)


def test_where_answers_are_known_examples_are_paired_too():
    before, after = np.array([[1.0, 0, 0], [1, 1, 0]]), np.array([[1.0, 1, 0], [1, 1, 1]])
    (score,) = scoring.of_validation([known("a", before), known("b", after)], 0.95)
    found = score.differences[1]
    assert found is not None and (found.seeds, found.examples) == (2, 3)
    assert found.interval == pytest.approx(crossed_interval(after - before))


def test_answers_that_do_not_come_to_the_score_are_not_believed():
    before, after = np.array([[1.0, 0, 0], [1, 1, 0]]), np.array([[1.0, 1, 0], [1, 1, 1]])
    wrong = {row["trial"]: {"accuracy": np.zeros(3)} for row in known("b", after).trials}
    (score,) = scoring.of_validation([known("a", before), known("b", after, wrong)], 0.95)
    found = score.differences[1]
    assert found is not None and (found.seeds, found.examples) == (2, 0)


# --- Which trials ------------------------------------------------------------------------------


def searched(winner, losses):
    """A sweep of two settings; the search's own trials of the winner look better than they are."""
    rows = [trial(200, 0.9, stage="sweep", request="search", **{"optim.learning_rate": 0.1})]
    rows += [trial(200, 0.0, stage="sweep", request="search", **{"optim.learning_rate": winner})]
    for rate, loss in ((0.1, 0.8), (winner, None)):
        rows += [
            trial(300 + i, loss or each, stage="sweep", request="finalists")
            | {"optim.learning_rate": rate, "trial": f"{rate}-{i}"}
            for i, each in enumerate(losses)
        ]
    evidence = told("search", "sweep", winner_settings={"optim.learning_rate": winner})
    return rows, [evidence | {"evidence": evidence["evidence"] | {"metric": "accuracy"}}]


def test_of_a_sweep_the_winner_on_new_seeds_is_compared(tmp_path):
    rows, findings = searched(0.3, LOSSES)
    a = make(tmp_path / "a", rows, findings=findings, what="sweep")
    rows, findings = searched(0.5, (0.48, 0.39, 0.57))
    b = make(tmp_path / "b", rows, findings=findings, what="sweep")
    found = compared(a, b)
    assert difference(found, "loss")["by_seed"] == pytest.approx([-0.02, -0.01, -0.03])
    (came,) = found["ledger"][0]["found"]
    assert came == {"path": "optim.learning_rate", "values": [0.3, 0.5]}


def test_of_one_setting_all_seeds_are_compared(tmp_path):
    def rows(losses):
        return [
            *members(losses[:2], 200, stage="sweep", request="search"),
            *members(losses[2:], 300, stage="sweep", request="finalists"),
        ]

    a = make(tmp_path / "a", rows(LOSSES))
    b = make(tmp_path / "b", rows((0.48, 0.39, 0.57)))
    assert difference(compared(a, b), "loss")["seeds"] == 3


def test_trials_without_inputs_or_on_some_examples_stand_for_nothing(tmp_path):
    rows = members(LOSSES)
    blind = [row | {"show_inputs": False, "trial": "blind"} for row in members([5.0])]
    few = [row | {"num_examples": 8, "trial": "few"} for row in members([5.0])]
    folder = make(tmp_path / "a", [*rows, *blind, *few])
    chosen = standing.final_trials(app_compare.read_run(folder, "a"))
    assert [row["trial"] for row in chosen.values()] == [row["trial"] for row in rows]


def test_of_several_kinds_of_members_the_seeds_of_what_stood_stand(tmp_path):
    seeds = members(LOSSES)
    others = [row | {"optim.learning_rate": 9.0, "trial": row["trial"] + "o"} for row in seeds]
    late = [row | {"request": "snapshots", "trial": row["trial"] + "s"} for row in others[:1]]
    folder = make(tmp_path / "a", [*seeds, *others, *late])
    chosen = standing.final_trials(app_compare.read_run(folder, "a"))
    assert [row["trial"] for row in chosen.values()] == [row["trial"] for row in seeds]


def test_a_run_that_stopped_early_is_compared_where_it_stopped(tmp_path):
    early = members(LOSSES, 0, stage="skeleton", request="baselines")
    a = make(tmp_path / "a", [*early, *members(LOSSES)])
    b = make(tmp_path / "b", early, status="gate closed")
    found = compared(a, b)
    assert difference(found, "loss")["seeds"] == 3
    assert "b stopped at a gate: compared is what it had come to." in found["notes"]
    c = make(tmp_path / "c", [], status="running")
    (c / "findings.json").unlink()
    found = compared(a, c)
    assert "c is not finished: compared is what is there." in found["notes"]
    assert found["ledger"][0]["decision"] == "open"


# --- What is not comparable --------------------------------------------------------------------


def test_other_training_data_are_judged_where_what_is_held_out_is_the_same(tmp_path):
    scores = told("test_score", metric="accuracy", value=0.9, low=0.8, high=0.95, count=9)
    found = {}
    for name, losses in (("all", LOSSES), ("half", [loss + 0.5 for loss in LOSSES])):
        data = {"fingerprint": name, "held_fingerprint": "h"}
        data["examples"] = {"validation": 1000, "test": 1000}
        found[name] = make(tmp_path / name, members(losses), findings=[scores], data=data)
    between = compared(found["all"], found["half"])
    assert any("what they are scored on is the same" in note for note in between["notes"])
    assert not any("not of the same examples" in note for note in between["notes"])
    loss = next(s for s in between["scores"] if s["metric"] == "loss")
    assert loss["differences"][1]["interval"]["low"] is not None
    runs = [
        each._replace(settings={"objective.name": "regression"})
        for each in (app_compare.read_run(path, path.name) for path in found.values())
    ]
    assert scoring._objection("mse", (runs[0], runs[1]), ({}, {})) == ""
    assert "deviations" in scoring._objection("loss", (runs[0], runs[1]), ({}, {}))


def test_other_data_are_not_judged(tmp_path):
    scores = told("test_score", metric="accuracy", value=0.9, low=0.8, high=0.95, count=9)
    a = make(tmp_path / "a", members(LOSSES), findings=[scores])
    data = {"fingerprint": "another", "examples": {"validation": 1000, "test": 1000}}
    b = make(tmp_path / "b", members([0.3, 0.21, 0.4]), findings=[scores], data=data)
    found = compared(a, b)
    for score in found["scores"]:
        assert score["differences"][1]["verdict"] == OPEN
        assert score["differences"][1]["interval"]["low"] is None
    assert any("not of the same examples" in note for note in found["notes"])


def test_a_loss_that_counts_other_things_is_not_judged(tmp_path):
    a = make(tmp_path / "a", members(LOSSES))
    b = make(tmp_path / "b", members([0.3, 0.2, 0.4], **{"objective.label_smoothing": 0.1}))
    found = compared(a, b)
    assert difference(found, "loss")["verdict"] == OPEN
    assert "objective.label_smoothing" in difference(found, "loss")["note"]
    assert difference(found, "accuracy")["verdict"] == BETTER
    c = make(tmp_path / "c", members([0.3, 0.21, 0.4]), config={"objective.l2": 0.1})
    assert difference(compared(a, c), "loss")["verdict"] == BETTER


# --- Test --------------------------------------------------------------------------------------


def test_on_test_two_intervals_are_put_together_and_members_are_paired(tmp_path):
    def tested(value, each):
        return [
            told(
                "test_score",
                metric="accuracy",
                value=value,
                low=value - 0.02,
                high=value + 0.01,
                count=1000,
                all={"loss": 0.1, "accuracy": value},
                members=each,
            )
        ]

    a = make(tmp_path / "a", members(LOSSES), findings=tested(0.9, [0.8, 0.85, 0.9]))
    b = make(tmp_path / "b", members(LOSSES), findings=tested(0.95, [0.82, 0.86, 0.93]))
    found = compared(a, b)
    whole = difference(found, "accuracy", split="test", of="model")
    half = [np.hypot(0.02, 0.01), np.hypot(0.01, 0.02)]
    ends = [0.05, 0.05 - half[0], 0.05 + half[1]]
    assert list(whole["interval"].values()) == pytest.approx(ends)
    assert whole["note"] == "not paired" and whole["verdict"] == BETTER
    alone = difference(found, "accuracy", split="test", of="members")
    assert list(alone["interval"].values()) == pytest.approx(student([0.02, 0.01, 0.03]), abs=1e-3)
    assert difference(found, "loss", split="test")["verdict"] == OPEN


def test_on_test_values_that_were_told_are_paired_by_example(tmp_path):
    truth = [1.0, 2.0, 3.0, 4.0]

    def tested(errors):
        squared = np.square(errors)
        return [
            told("predictions", targets=truth, predictions=list(np.add(truth, errors))),
            told("test_score", metric="mse", value=squared.mean(), low=0.0, high=9.0, count=4),
        ]

    config = {"objective.name": "regression"}
    before, after = [1.0, -2.0, 1.0, 0.5], [0.5, -1.0, 1.0, 0.0]
    a = make(tmp_path / "a", members(LOSSES), config=config, findings=tested(before))
    b = make(tmp_path / "b", members(LOSSES), config=config, findings=tested(after))
    found = difference(compared(a, b), "mse", split="test")
    expected = student(np.square(after) - np.square(before))
    assert list(found["interval"].values()) == pytest.approx(expected)
    assert found["examples"] == 4


# --- What else differs -------------------------------------------------------------------------


def test_a_plug_in_of_another_name_is_one_change():
    one = {"optim.name": "sgd", "optim.momentum": 0.9, "model.width": 8, "checkpoint.keep": 1}
    other = {"optim.name": "adam", "optim.b1": 0.9, "model.width": 8, "checkpoint.keep": 2}
    runs = [Run(name, name, {}, given, [], []) for name, given in (("a", one), ("b", other))]
    assert differing.changed(*runs) == ["optim.name"]
    assert {row["path"] for row in differing.settings(runs)} == {*one, *other} - {"model.width"}


def test_findings_decisions_cost_and_openings(tmp_path):
    opening = [{"stage": "squeeze", "reason": "the score"}]
    a = make(tmp_path / "a", members(LOSSES), findings=[told("search"), told("search")])
    b = make(
        tmp_path / "b",
        members([*LOSSES, 0.5]),
        findings=[told("search"), told("search", status="WARN"), told("worst", row="DATA10")],
        stages=[{"name": "squeeze", "decision": "None of them.", "run_seconds": 4.0}],
        test_openings=opening * 2,
        code="other",
    )
    found = compared(a, b)
    changed = {each["check"]: each["statuses"] for each in found["findings"]}
    assert changed == {"search": ["PASS", "WARN"], "worst": [None, "PASS"]}
    assert found["decisions"][0]["values"] == ["All of them.", "None of them."]
    assert found["cost"]["total"] == [
        {"seconds": 3.0, "lanes": 3, "lane_steps": 300},
        {"seconds": 3.0, "lanes": 4, "lane_steps": 400},
    ]
    assert [each["seconds"] for each in found["cost"]["stages"][0]["runs"]] == [2.0, 4.0]
    assert found["test_openings"] == [[], ["the score"] * 2]
    assert any("differ in code" in note for note in found["notes"])


def test_two_changes_at_once_cannot_be_told_apart(tmp_path):
    a = make(tmp_path / "a", members(LOSSES))
    b = make(tmp_path / "b", members(LOSSES), config={"model.width": 8, "optim.learning_rate": 1.0})
    assert any("Change one at a time" in note for note in compared(a, b)["notes"])


def test_a_trial_named_like_a_number_keeps_its_name(tmp_path):
    rows = [row | {"trial": name} for row, name in zip(members(LOSSES), ("0012", "12e9", "7"))]
    a, b = (make(tmp_path / name, rows) for name in "ab")
    table = content.trials(a / "trials.csv")
    assert [row[2] for row in table["rows"]] == ["0012", "12e9", "7"]
    assert difference(compared(a, b), "loss")["seeds"] == 3


# --- The command -------------------------------------------------------------------------------


def damaged(folder):
    (folder / "run.json").write_text("{")


def another(folder):
    (folder / "run.json").write_text("{}")


def regression(folder):
    config = json.loads((folder / "config.json").read_text())
    config["objective"]["name"] = "regression"
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Say which runs"),
        (["a"], "Say which runs"),
        (["a", "nowhere"], "nowhere is no workdir"),
        (["a", "."], r"\. is no workdir"),
        (["a", "b", "./a/"], "./a/ is the same workdir as a"),
        (["a", "b", "--nonsense"], "nonsense"),
        (["a", damaged], "run.json is damaged"),
        (["a", another], "is no workdir"),
        (["a", regression], "b is a task of regression, a one of classification"),
        (["a", "b", "--out", "a/run.json/x.html"], "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        make(tmp_path / name, members(LOSSES))
    for each in words:
        if callable(each):
            each(tmp_path / "b")
    argv = ["compare", *("b" if callable(each) else each for each in words)]
    with pytest.raises(UserError, match=said) as caught:
        commands.compare(argv)
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.html"))


def test_the_console_the_page_and_the_json_say_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a", members(LOSSES))
    make(tmp_path / "b", members([0.3, 0.21, 0.4]), config={"model.width": 128})
    assert commands.compare(["compare", "a", "b"]) == 0
    printed, page = capsys.readouterr().out, (tmp_path / "compare.html").read_text()
    (tmp_path / "compare.html").unlink()
    assert commands.compare(["compare", "a", "--json", "b"]) == 0
    found, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert found.pop("event") == "comparison" and result == {"event": "result", "exit_code": 0}
    assert not (tmp_path / "compare.html").exists()
    words = comparison.words(difference(found, "loss"))
    for text in (printed, page):
        assert found["headline"] in text and words in text and "model.width" in text
    assert app_compare.compare(["a", "b"]) == found


def test_help(capsys):
    assert commands.compare(["compare", "--help"]) == 0
    assert "experiments.compare runs/a runs/b" in capsys.readouterr().out


def test_names_are_as_long_as_it_takes():
    def names(*paths):
        return app_compare.short_names([pathlib.Path(path) for path in paths])

    assert names("/x/a", "/y/b") == ["a", "b"]
    assert names("/x/1/a", "/x/2/a") == ["1/a", "2/a"]
    assert names("/x/a\x1b[31m", "/x/b") == ["a\ufffd[31m", "b"]


def test_hostile_words_stay_words(tmp_path, capsys):
    name = HOSTILE.replace("/", "_")
    a = make(tmp_path / name, members(LOSSES), name=HOSTILE, what=HOSTILE)
    b = make(
        tmp_path / "b",
        members(LOSSES),
        config={"model.activation": HOSTILE},
        findings=[told(HOSTILE, row=HOSTILE, status=HOSTILE)],
        stages=[{"name": HOSTILE, "decision": HOSTILE + "[red]"}],
        test_openings=[{"stage": HOSTILE, "reason": HOSTILE}],
    )
    argv = ["compare", str(a), str(b), "--out", str(tmp_path / "page.html")]
    assert commands.compare(argv) == 0
    page = (tmp_path / "page.html").read_text()
    # Plotly's own source has such tags in strings.
    ours = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "<img" not in ours and ours.count("</script>") == page.count("</script>") - 2
    assert "[red]" in capsys.readouterr().out


# --- A real pair -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The last stage of the recipe on irises, with dropout and without: ensembles of three."""
    folder = tmp_path_factory.mktemp("pair")
    for rate in (0.0, 0.5):
        given = tiny.get_config()
        given.model.dropout, given.train.epochs, given.recipe.members = rate, 10, 3
        config = configs.as_dict(configs.complete(given.to_dict()))
        drive.execute(
            what="run",
            stages=(squeeze,),
            config=config,
            overrides={},
            workdir=folder / str(rate),
            argv=["run", "--config", "configs/tiny.py"],
            console=Console(),
        )
    return folder


@pytest.mark.slow
def test_a_real_pair_is_told_and_read_only(pair):
    before = {p: p.read_bytes() for p in pair.rglob("*") if p.is_file()}
    found = compared(pair / "0.0", pair / "0.5")
    assert {p: p.read_bytes() for p in pair.rglob("*") if p.is_file()} == before
    (entry,) = found["ledger"]
    assert entry["changed"] == [{"path": "model.dropout", "values": [0.0, 0.5]}]
    assert (entry["difference"]["seeds"], entry["difference"]["examples"]) == (3, 30)
    loss = difference(found, "loss")
    assert (loss["seeds"], loss["examples"]) == (3, 0) and loss["interval"]["mean"] > 0
    assert difference(found, "accuracy", split="test", of="members")["seeds"] == 3
    assert difference(found, "accuracy", split="test", of="model")["note"] == "not paired"
    assert found["provenance"] == [] and len(found["curves"]) == 8
    assert [len(each) for each in found["test_openings"]] == [1, 1]
    json.dumps(found, allow_nan=False)
    comparison.render(found)


@pytest.mark.slow
def test_without_answers_seeds_alone_are_paired(pair):
    paths = [str(pair / "0.0"), str(pair / "0.5")]
    found = app_compare.compare(paths, examples=False)
    assert found["ledger"][0]["difference"]["examples"] == 0
    assert not any("paired by seed alone" in note for note in found["notes"])


@pytest.mark.slow
def test_the_models_of_a_run_answer_as_they_did(pair):
    """Their answers come to the score that the run wrote down; nothing is known of moved data."""
    run = app_compare.read_run(pair / "0.5", "b")
    answers = app_compare._with_answers(run).answers
    stand = standing.final_trials(run).values()
    assert list(answers) == [row["trial"] for row in stand] and len(stand) > 1
    for row in stand:
        told_answers = answers[row["trial"]]["accuracy"]
        assert told_answers.shape == (30,)
        assert told_answers.mean() == pytest.approx(row["best_score"], rel=1e-6)
    moved = run._replace(record=run.record | {"data": {"fingerprint": "moved"}})
    assert app_compare._with_answers(moved).unanswered == "its data have changed since"


@pytest.mark.slow
def test_a_damaged_model_is_said_and_seeds_remain(pair, tmp_path):
    shutil.copytree(pair / "0.5", tmp_path / "one")
    (tmp_path / "one" / "model" / "weights.npz").write_bytes(b"")
    run = app_compare.read_run(tmp_path / "one", "one")
    answered = app_compare._with_answers(run)
    assert answered.answers == {} and "damaged" in answered.unanswered
    told_notes = comparing.compare([run, answered])["notes"]
    assert any("paired by seed alone" in note for note in told_notes)
