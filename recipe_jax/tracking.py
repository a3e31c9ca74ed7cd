"""A finished run as any Writer is told it: curves, pictures, words, distributions, settings.

TensorBoard is told every run, in event files of the workdir; another service where the config names
one (track/).
"""

import contextlib
import html
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from recipe_jax import writers
from recipe_jax.report import content
from recipe_jax.track.base import Opener, Run
from recipe_jax.writers import NO_MEASUREMENTS, TensorBoardWriter, Writer

MOST_RUNS, MOST_IN_ALL = 64, 300
"""So many trials of a request, and of all requests, have curves of their own; so many of all as of
a request have a row in HPARAMS."""
MOST_PICTURES, ACROSS = 60, 10
LABELS = (*("stage", "request", "trial", "status", "steps"), "best_score", "best_step")
"""The columns of trials.csv that are neither a setting nor a measurement."""


def tell(writer: Writer, workdir: pathlib.Path) -> None:
    """All that a finished workdir holds, but for the settings."""
    for row in _few_runs(writers.read_jsonl(workdir / "metrics.jsonl")):
        writers.write_row(writer, row)
    findings = content.read(workdir / "findings.json", [])
    writer.write_images(0, _sheets(findings))
    writer.write_texts(0, _words(findings))
    for name, scores in _scores(workdir).items():
        writer.write_histograms(0, {name: scores})
    weights = workdir / "model" / "weights.npz"
    if weights.is_file():
        with np.load(weights) as arrays:
            for name in arrays.files:
                writer.write_histograms(0, {f"weights/{name}": arrays[name]})
    writer.flush()


def to_tensorboard(workdir: pathlib.Path) -> None:
    """Event files anew: they cannot be cut back when a run resumes.

    TensorBoard draws hundreds of runs, not thousands: of a request of more than MOST_RUNS trials
    there are the mean, the lowest and the highest value at every step alone, under "agg"; and of
    the largest requests too, where there are more than MOST_IN_ALL.
    """
    logdir, fresh = workdir / "tensorboard", workdir / ".tensorboard.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    with contextlib.closing(TensorBoardWriter(fresh)) as writer:
        tell(writer, workdir)
        _table(writer, fresh, content.trials(workdir / "trials.csv"))
    shutil.rmtree(logdir, ignore_errors=True)
    for file in sorted(fresh.rglob("events.out.tfevents.*")):
        file.rename(file.with_name(f"{file.name}.rebuilt"))
    os.replace(fresh, logdir)


def to_service(opener: Opener, run: Run) -> None:
    """The same, with the settings, to the service that a config names."""
    writer = opener(run)
    if writer is None:
        return
    with contextlib.closing(writer):
        config = json.loads((run.folder / "config.json").read_text(encoding="utf-8"))
        writer.write_hparams(dict(_flat(config)))
        tell(writer, run.folder)


def _few_runs(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows of every request of not too many trials, and the summary of several trials."""
    held: dict[Any, list[Mapping[str, Any]]] = {}
    trials: dict[Any, set[str]] = {}
    sums: dict[Any, dict[Any, dict[str, list[float]]]] = {}
    for row in rows:
        request = (row.get("stage"), row.get("request"))
        known = trials.setdefault(request, set())
        _add(sums.setdefault(request, {}), row)
        if len(known) <= MOST_RUNS:
            known.add(row.get("trial", ""))
            held.setdefault(request, []).append(row)
        if len(known) > MOST_RUNS:
            held.pop(request, None)
    left = MOST_IN_ALL
    for request in sorted(held, key=lambda each: len(trials[each])):
        left -= len(trials[request])
        if left >= 0 or len(trials[request]) == 1:
            yield from held[request]
    for (stage, request), places in sums.items():
        if len(trials[stage, request]) < 2:
            continue
        for (split, step), values in places.items():
            for kind in ("mean", "lowest", "highest"):
                found = {
                    name: {"mean": total / count, "lowest": low, "highest": high}[kind]
                    for name, (total, low, high, count) in values.items()
                }
                front = {"stage": stage, "request": request, "split": split, "step": step}
                yield {**front, "trial": f"agg/{kind}", **found}


def _add(places: dict[Any, Any], row: Mapping[str, Any]) -> None:
    """Counts a row's numbers in: [total, lowest, highest, count] of each."""
    values = places.setdefault((row.get("split"), row.get("step")), {})
    for name, value in row.items():
        if name not in NO_MEASUREMENTS and isinstance(value, int | float):
            so_far = values.get(name)
            if so_far is None:
                values[name] = [0.0 + value, value, value, 1]
                continue
            so_far[0] += value
            so_far[3] += 1
            if value < so_far[1]:
                so_far[1] = value
            elif value > so_far[2]:
                so_far[2] = value


def _sheets(findings: Iterable[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The pictures of each finding on one sheet, (height, width, channels) of bytes."""
    found = {}
    for finding in findings:
        with contextlib.suppress(ValueError, TypeError):
            pictures = np.asarray((finding.get("evidence") or {}).get("images"), np.float64)
            if pictures.ndim in (3, 4) and len(pictures):
                found[f"{finding['stage']}/{finding['check']}"] = _sheet(pictures[:MOST_PICTURES])
    return found


def _sheet(pictures: np.ndarray) -> np.ndarray:
    """Pictures (count, height, width) or (count, height, width, channels), all on one scale."""
    low, high = np.nanmin(pictures), np.nanmax(pictures)
    dots = np.nan_to_num((pictures - low) / max(float(high - low), 1e-12))
    dots = np.rint(255 * dots).astype(np.uint8)
    dots = dots if dots.ndim == 4 else dots[..., None]
    dots = dots if dots.shape[-1] in (1, 3) else dots[..., :1]
    missing = -len(dots) % ACROSS if len(dots) > ACROSS else 0
    # A dark dot between neighbours.
    dots = np.pad(dots, ((0, missing), (0, 1), (0, 1), (0, 0)))
    across = min(len(dots), ACROSS)
    count, height, width, channels = dots.shape
    rows = dots.reshape(count // across, across, height, width, channels)
    return rows.swapaxes(1, 2).reshape(count // across * height, across * width, channels)


def _words(findings: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The findings of each stage as a table in markdown."""
    found = {}
    for stage in dict.fromkeys(finding["stage"] for finding in findings):
        lines = ["| | row | finding | remedy |", "|---|---|---|---|"]
        for finding in findings:
            if finding["stage"] == stage:
                cells = (finding.get(key) or "" for key in ("status", "row", "summary", "remedy"))
                lines.append(f"| {' | '.join(map(_cell, cells))} |")
        found[f"findings/{stage}"] = "\n".join(lines)
    return found


def _cell(words: str) -> str:
    """Words in a cell of markdown, as they are."""
    return html.escape(" ".join(str(words).split())).replace("|", "&#124;")


def _scores(workdir: pathlib.Path) -> dict[str, list[float]]:
    """The best scores of the trials of each request that has several; more is better."""
    table = content.trials(workdir / "trials.csv")
    found: dict[str, list[float]] = {}
    for row in _named(table):
        if isinstance(row.get("best_score"), int | float):
            found.setdefault(f"scores/{row.get('stage')}/{row.get('request')}", []).append(
                row["best_score"]
            )
    return {name: scores for name, scores in found.items() if len(scores) > 1}


def _table(writer: TensorBoardWriter, logdir: pathlib.Path, table: Mapping[str, Any]) -> None:
    """The trials as rows of the HPARAMS tab: their settings, seeds and scores; of many the best."""
    rows = {f"{row.get('stage')}/{row.get('trial')}": row for row in _named(table)}
    scored = [name for name, row in rows.items() if isinstance(row.get("best_score"), int | float)]
    best = sorted(scored, key=lambda name: -rows[name]["best_score"])[:MOST_RUNS]
    measured = [name for name in table["columns"] if name.startswith(("train_", "validation_"))] + [
        "best_score"
    ]
    settings = [name for name in table["columns"] if name not in (*LABELS, *measured)]
    settings = ["stage", "request", *settings]
    kept = [rows[name] for name in best]
    examples = {
        name: next((row[name] for row in kept if row.get(name) is not None), None)
        for name in settings
    }
    writer.write_columns(examples, measured)
    if len(best) < len(rows):
        note = f"HPARAMS holds the best {len(best)} of {len(rows)} trials; trials.csv holds all."
        writer.write_texts(0, {"trials": note})
    for name in best:
        row = rows[name]
        with contextlib.closing(TensorBoardWriter(logdir / "trials" / name)) as each:
            each.write_hparams({key: row.get(key) for key in settings})
            numbers = {key: row[key] for key in measured if isinstance(row.get(key), int | float)}
            each.write_scalars(int(row.get("steps") or 0), numbers)


def _named(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of trials.csv by their columns."""
    return [dict(zip(table["columns"], row)) for row in table["rows"]]


def _flat(config: Mapping[str, Any], front: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{front}{name}.")
        else:
            yield f"{front}{name}", value
