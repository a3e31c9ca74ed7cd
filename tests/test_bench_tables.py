"""scripts/bench_tables.py: its arithmetic by hand, what it keeps, and one split for real."""

import json
import math
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from recipe_jax import config as configs
from recipe_jax.app import drive
from scripts import bench_tables


def record(seed, *scores, metric="accuracy", task="iris", **more):
    names = ("recipe", "ridge", "MLP")
    given = {"task": task, "seed": seed, "overrides": [], "metric": metric, "failed": []}
    given |= {"test_rows": 25, "other_rows": 75, "run_seconds": 2.0}
    return given | {"scores": dict(zip(names, scores))} | more


def test_the_table_by_hand():
    records = [record(0, 0.9, 0.8, 0.9), record(1, 0.8, 0.6, 0.9), record(2, 1.0, 0.7, 0.8)]
    own, ridge, mlp = bench_tables.rows_of(records)
    assert own["mean"] == pytest.approx(0.9) and own["error"] == pytest.approx(0.1 / math.sqrt(3))
    # Gains of 0.1, 0.2 and 0.3 have a variance of 0.01; a third of it for the splits, a third more
    # for the rows that splits share.
    half = stats.t.ppf(0.975, 2) * math.sqrt(0.01 * 2 / 3)
    assert (ridge["gain"], ridge["better"], ridge["worse"]) == (pytest.approx(0.2), 3, 0)
    assert (ridge["low"], ridge["high"]) == (pytest.approx(0.2 - half), pytest.approx(0.2 + half))
    assert (mlp["better"], mlp["worse"]) == (1, 1)
    # What the recipe tells has single precision.
    tie = [record(0, float(np.float32(111 / 113)), 111 / 113, 0.9)] * 2
    assert [bench_tables.rows_of(tie)[1][key] for key in ("gain", "better", "worse")] == [0, 0, 0]
    # Of errors less is better.
    _, ridge, _ = bench_tables.rows_of([record(0, 2.0, 5.0, 1.0, metric="mse")] * 2)
    assert ridge["gain"] == 3.0 and ridge["better"] == 2


def test_one_split_has_no_interval(capsys):
    bench_tables.tell([record(0, 0.9, 0.8, 0.9, failed=["baselines"])])
    told = capsys.readouterr().out
    assert "splits: 1" in told and "a gate closed in 1" in told
    assert "| ridge | 0.8 | - | +0.1 | 1, 0 |" in told and "nan" not in told
    bench_tables.tell([record(0, 0.9, 0.8, 0.9), record(1, 0.9, 0.7, 0.9)])
    assert "| ridge | 0.75 | 0.05 | +0.15 [" in capsys.readouterr().out


@pytest.mark.slow
def test_both_sides_have_the_same_rows():
    words = [f"--config={bench_tables.ROOT}/configs/diabetes.py", "--config.data.split_seed=3"]
    task = drive.load_task(configs.parse(["run", *words], lambda own: None).config)
    found = bench_tables.classical_scores(task, 3)
    assert list(found) == list(bench_tables.classical("regression", 3)) and len(found) == 5
    # Ridge by hand, in the targets' own unit.
    held = task.test.open(lambda: None)
    inputs = np.concatenate([task.train.inputs, task.validation.inputs]).astype(float)
    mean, scale = inputs.mean(0), inputs.std(0)
    targets = np.concatenate([task.train.targets, task.validation.targets])[:, 0].astype(float)
    rows = (inputs - mean) / scale
    weights = np.linalg.solve(rows.T @ rows + np.eye(10), rows.T @ (targets - targets.mean()))
    guessed = (held.inputs - mean) / scale @ weights + targets.mean()
    expected = (
        metrics.mean_squared_error(held.targets[:, 0], guessed) * task.spec.target_scale[0] ** 2
    )
    assert found["ridge"] == pytest.approx(expected, rel=1e-4)


def test_what_is_finished_is_not_repeated(tmp_path, monkeypatch, capsys):
    asked = []

    def one_split(task, seed, overrides):
        asked.append((task, seed))
        return record(seed, 0.9, 0.8, 0.7, task=task, overrides=list(overrides))

    monkeypatch.setattr(bench_tables, "one_split", one_split)
    out = tmp_path / "b.jsonl"

    def ran(*words):
        asked.clear()
        given = ["bench_tables.py", "--tasks=iris,wine", f"--out={out}", *words]
        monkeypatch.setattr(sys, "argv", given)
        assert bench_tables.main() == 0
        return list(asked)

    assert ran("--splits=2") == [("iris", 0), ("wine", 0), ("iris", 1), ("wine", 1)]
    assert ran("--splits=2") == [] and ran("--splits=9", "--read") == []
    # A line that a kill cut short is measured again; other settings are another bench.
    out.write_text(out.read_text()[:-9])
    assert ran("--splits=2") == [("wine", 1)]
    assert ran("--splits=1", "--config.train.epochs=1") == [("iris", 0), ("wine", 0)]
    assert ran("--splits=3", "--budget=1e-9") == []
    assert [len(line) > 2 for line in out.read_text().splitlines()] == [True] * 6
    told = capsys.readouterr().out
    assert "iris --config.train.epochs=1: accuracy" in told and "The budget is spent" in told


@pytest.mark.slow
def test_a_split_for_real():
    cheap = ["--config.train.epochs=2", "--config.search.trials=2", "--config.recipe.looks=1"]
    found = bench_tables.one_split("tiny", 1, cheap)
    assert found["metric"] == "accuracy" and (found["test_rows"], found["other_rows"]) == (30, 120)
    assert set(found["scores"]) > {"recipe", "logistic regression", "MLP"}
    assert all(0.2 < score <= 1.0 for score in found["scores"].values())
    json.dumps(found)
