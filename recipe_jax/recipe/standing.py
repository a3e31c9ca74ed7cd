"""Which trials of a finished run stand for it, and what they measured."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recipe_jax.recipe import members
from recipe_jax.recipe.differing import Run

Row = Mapping[str, Any]
Chosen = Mapping[tuple[Any, ...], Row]
"""Rows of trials.csv by what pairs them: request, seed, fold, resampling."""

NO_METRICS = ("stage", "request", "trial", "step", "epoch", "split", "batch_loss", "grad_norm")
"""What a row of metrics.jsonl holds besides metrics of its split."""


def standing(runs: Sequence[Run]) -> dict[str, list[Chosen]]:
    """Stage -> the trials of every run that stand for it there.

    Each run is held against the first in the last stage that both have; one that shares none stands
    by itself in its own last.
    """
    base = runs[0]
    places = [_last(_shared(base, run)) or _last(_stages(run)) for run in runs]
    return {
        stage: [
            final_trials(run, stage) if place == stage or run is base else {}
            for run, place in zip(runs, places)
        ]
        for stage in dict.fromkeys(places)
        if stage
    }


def final_trials(run: Run, stage: str = "") -> Chosen:
    """The trials that stand for a stage, or for the last one: all where they have one setting; else
    of its members, or of its last request, those of the setting that a search chose, or of the
    first one, which is what stood before."""
    stage = stage or _last(_stages(run))
    rows = [row for row in run.trials if row["stage"] == stage and _is_whole(row)]
    if any(settings(row) != settings(rows[0]) for row in rows):
        requests = [row["request"] for row in rows]
        named = members.LABEL if members.LABEL in requests else requests[-1]
        rows = [row for row in rows if row["request"] == named]
        winner = evidence(run, "search", stage).get("winner_settings") or {}
        fits = [
            row
            for row in rows
            if all(row.get(path) == _as_cell(value) for path, value in winner.items())
        ]
        chosen = settings((fits or rows)[0])
        rows = [row for row in rows if settings(row) == chosen]
    return {
        (row["request"], row.get("seed"), row.get("fold"), row.get("resampled")): row
        for row in rows
    }


def settings(row: Row) -> dict[str, Any]:
    """The columns of trials.csv that are settings: "section.key"."""
    return {path: value for path, value in row.items() if "." in path and value is not None}


def at_best(run: Run, row: Row) -> dict[str, float]:
    """The validation metrics of a trial at its best evaluation; NaN where it diverged."""
    looks = run.looks.get((row["stage"], row["trial"]), ())
    found = [
        look
        for look in looks
        if look.get("split") == "validation" and look.get("step") == row.get("best_step")
    ]
    lost = row.get("status") == "diverged"
    return {
        name: np.nan if lost else number(value)
        for name, value in (found[0] if found else {}).items()
        if name not in NO_METRICS
    }


def curves(runs: Sequence[Run], metrics: Iterable[str]) -> list[dict[str, Any]]:
    """Metrics over epochs, train and validation, of the trials that stand for each run: the median
    over them, the lowest and the highest."""
    return [
        {
            "run": run.name,
            "stage": stage,
            "split": split,
            "metric": metric,
            "trials": len(trials),
            "epochs": sorted(looked),
            "median": [float(np.median(looked[epoch])) for epoch in sorted(looked)],
            "low": [min(looked[epoch]) for epoch in sorted(looked)],
            "high": [max(looked[epoch]) for epoch in sorted(looked)],
        }
        for stage, chosen in standing(runs).items()
        for run, trials in zip(runs, chosen)
        for split in ("train", "validation")
        for metric in dict.fromkeys(metrics)
        if len(looked := _looked(run, trials, split, metric)) > 1
    ]


def evidence(run: Run, check: str, stage: str = "") -> Mapping[str, Any]:
    """Of the last finding of that check, in a stage or in any; empty where there is none."""
    found = [
        finding.get("evidence") or {}
        for finding in run.findings
        if finding.get("check") == check and stage in ("", finding.get("stage"))
    ]
    return found[-1] if found else {}


def number(value: Any) -> float:
    """NaN for what is none, as null in a file."""
    return float(value) if isinstance(value, int | float) else np.nan


def _looked(run: Run, trials: Chosen, split: str, metric: str) -> dict[float, list[float]]:
    """Epoch -> the metric of all trials that were looked at there."""
    found: dict[float, list[float]] = {}
    for row in trials.values():
        for look in run.looks.get((row["stage"], row["trial"]), ()):
            value = number(look.get(metric))
            if look.get("split") == split and np.isfinite(value):
                found.setdefault(number(look.get("epoch")), []).append(value)
    return found


def _stages(run: Run) -> list[str]:
    """Stages that trained, in order."""
    return list(dict.fromkeys(row["stage"] for row in run.trials if _is_whole(row)))


def _shared(base: Run, other: Run) -> list[str]:
    there = _stages(other)
    return [stage for stage in _stages(base) if stage in there]


def _last(stages: Sequence[str]) -> str:
    return stages[-1] if stages else ""


def _is_whole(row: Row) -> bool:
    """The trial saw its inputs, and all examples."""
    return row.get("show_inputs") != "false" and row.get("num_examples") is None


def _as_cell(value: Any) -> Any:
    """A setting as it stands in trials.csv."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value) if isinstance(value, list) else value
