"""What a person who watches is told, lanes, speed, time left; and what a machine is."""

import inspect
import json
import os
import pathlib
import subprocess
import sys

import pytest

from recipe_jax.app import commands
from recipe_jax.app.console import Console, Counted
from recipe_jax.app.json_console import JsonConsole
from recipe_jax.app.watched import Watched
from recipe_jax.types import Asked, Finding, Status, UserError


def told(label="search", *, rounds, lanes=10, lane_steps=100, diverged=0, stopped=0, best=None):
    return Watched(label, rounds, lanes, lane_steps, diverged, stopped, best)


def test_lanes_are_counted_when_their_group_ends_and_steps_on_the_way():
    counted = Counted(planned=2000, began=0.0)
    counted = counted.plus(told(rounds=(2, 5), best=0.5))
    assert (counted.steps, counted.done) == (200, 0)
    counted = counted.plus(told(rounds=(5, 5), diverged=1, stopped=2, best=0.75))
    assert (counted.steps, counted.done) == (500, 10)
    counted = counted.plus(told("finalists", rounds=(1, 5), lanes=4, lane_steps=40, best=0.75))
    assert counted.steps == 540
    assert counted.told(5.4) == (
        "best 0.75 · 10 done · 1 diverged · 2 stopped · 100 lane-steps/s · 15 s left"
    )


def test_nothing_is_said_of_speed_before_there_is_any():
    assert Counted(planned=100, began=0.0).told(0.5) == "0 done"
    done = Counted(planned=50, began=0.0).plus(told(rounds=(1, 1)))
    # A plan that fell short promises nothing.
    assert done.told(10.0) == "10 done · 10 lane-steps/s"


# --- For machines --------------------------------------------------------------------------------


def objects(text):
    """Every line of what was printed is an object."""
    return [json.loads(line) for line in text.splitlines()]


def test_all_that_a_person_is_told_a_machine_is_told_as_objects():
    shown = {name for name, _ in inspect.getmembers(Console, inspect.isfunction)}
    public = {name for name in shown if not name.startswith("_")}
    assert public - set(vars(JsonConsole)) == set()


def test_progress_is_told_at_most_once_a_second(capsys):
    seconds = iter([0.0, 0.0, 0.2, 0.9, 1.0, 1.4, 2.5])
    console = JsonConsole(clock=lambda: next(seconds))
    console.stage("tune", "More.", lane_steps=1000)
    for round_ in range(1, 7):
        console.progress(told(rounds=(round_, 6), best=0.5))
    stage, *progress = objects(capsys.readouterr().out)
    assert stage == {"event": "stage", "stage": "tune", "expects": "More.", "planned_steps": 1000}
    # At 0, 1 and 2.5 seconds; what came between is in the sums.
    assert [each["steps"] for each in progress] == [100, 400, 600]
    last = progress[-1]
    assert last["lanes_done"] == 10 and last["best"] == 0.5 and last["stage"] == "tune"
    assert last["run_seconds"] == 2.5 and last["steps_per_second"] == 240.0


def test_every_line_is_one_object_whatever_is_in_it(capsys):
    console = JsonConsole()
    console.header("a\nb", ["c\nd"])
    console.line("\n")
    console.line("\nReport: x\ny", "red")
    found = Finding(
        check="x", row="DATA1", status=Status.FAIL, summary="\u2028\n[bold]", remedy="None."
    )
    console.asked(Asked("all", [found, found]))
    assert [each["event"] for each in objects(capsys.readouterr().out)] == [
        *("plan", "note", "finding", "finding")
    ]


def run(folder, *words):
    """(exit code, objects) of a command in a process of its own."""
    root = pathlib.Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, objects(done.stdout)


@pytest.mark.slow
def test_a_run_tells_nothing_but_objects_and_ends_with_its_result(tmp_path):
    config = {
        "data": {"name": "iris"},
        "model": {"name": "linear"},
        "train": {"batch_size": 16, "epochs": 2, "evaluations": 1},
    }
    (tmp_path / "tiny.json").write_text(json.dumps(config))
    words = ("experiments.train", "--config=tiny.json", "--workdir=w", "--json")
    code, first = run(tmp_path, *words)
    events = [each["event"] for each in first]
    assert events[0] == "plan" and {"stage", "finding", "decision", "progress"} < {*events}
    result = {"event": "result", "exit_code": code, "workdir": str(tmp_path / "w")}
    assert first[-1] == {**result, "report": str(tmp_path / "w" / "report.html")}
    findings = json.loads((tmp_path / "w" / "findings.json").read_text())
    told = [(f["stage"], f["check"], f["summary"]) for f in first if f["event"] == "finding"]
    assert told == [(f["stage"], f["check"], f["summary"]) for f in findings]
    # How it is told is no part of what it is: the same command without it finds the run finished.
    assert "--json" not in json.loads((tmp_path / "w" / "run.json").read_text())["command"]


def test_what_cannot_be_run_is_a_result_too(capsys):
    with pytest.raises(UserError):
        commands.train(["train", "--config=none.json", "--json"])
    (only,) = objects(capsys.readouterr().out)
    assert only["event"] == "result" and only["exit_code"] == 2 and "none.json" in only["error"]


def test_a_plan_is_told_with_every_setting(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.json").write_text('{"data": {"name": "iris"}}')
    assert commands.train(["train", "--config=tiny.json", "--dry-run", "--json"]) == 0
    settings, plan, result = objects(capsys.readouterr().out)
    assert settings["settings"]["data"]["name"] == "iris" and plan["lines"]
    assert result["exit_code"] == 0 and "report" not in result
