"""Finished runs beside the first of them: read from their workdirs, told, and written as a page."""

import pathlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from recipe_jax import config as configs
from recipe_jax import writers
from recipe_jax.app import answering, export
from recipe_jax.app.console import Console
from recipe_jax.recipe import comparing, differing, scoring
from recipe_jax.recipe.differing import Run
from recipe_jax.report import comparison, content
from recipe_jax.types import UserError


def compare(paths: Sequence[str], *, examples: bool = True) -> dict[str, Any]:
    """What `comparing.compare` tells of these workdirs, as plain data that is strict JSON.

    examples: the models that runs left answer the validation examples again, so that differences
    are paired by example too. UserError where one is no workdir, is named twice, or has another
    kind of task than the first.
    """
    folders = [pathlib.Path(path) for path in paths]
    if len(folders) < 2:
        raise UserError(
            "Say which runs, the one that the others are held against first: "
            "python -m experiments.compare runs/a runs/b"
        )
    known: dict[pathlib.Path, str] = {}
    for path, folder in zip(paths, folders):
        if folder.resolve() in known:
            raise UserError(f"{path} is the same workdir as {known[folder.resolve()]}.")
        known[folder.resolve()] = path
    runs = [read_run(folder, name) for folder, name in zip(folders, short_names(folders))]
    kinds = [scoring.kind(run) for run in runs]
    for run, kind in zip(runs, kinds):
        if kind and kinds[0] and kind != kinds[0]:
            raise UserError(
                f"{run.path} is a task of {kind}, {runs[0].path} one of {kinds[0]}: they have no "
                "score in common."
            )
    wanted = comparing.wanted(runs)
    runs = [_with_looks(run, trials) for run, trials in zip(runs, wanted)]
    if examples:
        # A single seed gives no interval, and other data no pairs.
        several = [len(trials) > 1 for trials in wanted]
        paired = [here and differing.same_data(runs[0], run) for run, here in zip(runs, several)]
        if sum(paired) > 1 and paired[0]:
            runs = [_with_answers(run) if pays else run for run, pays in zip(runs, paired)]
    return writers.plain(comparing.compare(runs))


def read_run(folder: pathlib.Path, name: str) -> Run:
    """What a workdir says, besides its measurements; what a stopped run has not written yet is
    empty."""
    if not (folder / "run.json").is_file():
        raise UserError(f"{folder} is no workdir of a run: it has no run.json.")
    record, config = content.read(folder / "run.json", {}), content.read(folder / "config.json", {})
    if "what" not in record or "objective" not in config:
        raise UserError(f"{folder} is no workdir of a run: run.json or config.json is another's.")
    table = content.trials(folder / "trials.csv")
    if table["rows"] and not {"stage", "request", "trial"} <= {*table["columns"]}:
        raise UserError(f"{folder / 'trials.csv'} is damaged: it does not name the trials.")
    return Run(
        name=name,
        path=str(folder),
        record=record,
        settings=configs.flat_settings(config),
        findings=content.read(folder / "findings.json", []),
        trials=[dict(zip(table["columns"], row)) for row in table["rows"]],
    )


def short_names(folders: Sequence[pathlib.Path]) -> list[str]:
    """The ends of the paths, as long as it takes to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    names: list[str] = []
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            break
    return [_printable(name) for name in names]


def tell(console: Console, told: Mapping[str, Any]) -> None:
    """The comparison as lines: a table for each of its parts; to a machine as it is."""
    if console.tell("comparison", **told):
        return
    runs = told["runs"]
    names = [run["name"] for run in runs]
    console.header(
        f"experiments.compare  {' | '.join(names)}",
        [
            f"{run['name']}: {run['title']}, experiments.{run['what']}, {run['status']}"
            for run in runs
        ],
    )
    console.line(f"\n{told['headline']}", "bold")
    for note in told["notes"]:
        console.line(f"  ! {_printable(note)}", "yellow")
    for title, table in (
        ("Ledger", comparison.ledger(told)),
        ("Settings that differ", comparison.values(told, "settings", "path")),
        ("Scores", comparison.scores(told)),
        ("Findings that changed", comparison.findings(told)),
        ("Decisions that differ", comparison.values(told, "decisions", "stage")),
        ("Provenance that differs", comparison.values(told, "provenance", "what")),
        ("Cost", comparison.cost(told)),
        ("Test split", comparison.openings(told)),
    ):
        if table.rows:
            console.line(f"\n{title}", "bold")
            for line in _aligned(table):
                console.line(f"  {line}")


def write(told: Mapping[str, Any], out: pathlib.Path) -> pathlib.Path:
    """The page."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        writers.write_text(out, comparison.render(told))
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}.") from error
    return out


def _with_looks(run: Run, trials: set[tuple[str, str]]) -> Run:
    looks: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in writers.read_jsonl(pathlib.Path(run.path) / "metrics.jsonl"):
        place = (str(row.get("stage")), str(row.get("trial")))
        if place in trials:
            looks.setdefault(place, []).append(row)
    return run._replace(looks=looks)


def _with_answers(run: Run) -> Run:
    """With what the models answer, where the run left some; else with why that cannot be had."""
    folder = pathlib.Path(run.path)
    if not (folder / "model" / export.DESCRIPTION).is_file():
        return run
    try:
        config = configs.as_dict(configs.complete(configs.load(str(folder / "config.json"))))
        found = answering.answers(folder, config, run.data["fingerprint"])
    except UserError as error:
        return run._replace(unanswered=str(error).rstrip("."))
    # A program of another version may have another model under this name.
    except (LookupError, TypeError, ValueError) as error:
        return run._replace(unanswered=" ".join(f"its model is another now: {error}".split()))
    return run._replace(answers=found)


def _aligned(table: comparison.Table) -> list[str]:
    """Columns under one another; the last one may be as long as it is."""
    rows = [[_printable(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _printable(text: str) -> str:
    """Without the control characters that a terminal would obey."""
    return "".join("\ufffd" if unicodedata.category(each)[0] == "C" else each for each in text)
