"""A table from a CSV or TSV file: numeric and categorical columns, cells may be missing."""

import pathlib
from typing import Annotated

import numpy as np

from recipe_jax import resolve
from recipe_jax.data import _columns, _csv, _files, _table_encoder, _targets, base
from recipe_jax.resolve import OneOf
from recipe_jax.types import Finding, Status, UserError

# A column this numeric is meant to be numeric, and its text cells are mistakes.
_MOSTLY = 0.9
_MOST_LEVELS = 50


def build(
    *,
    path: str = "",
    target: str = "",
    task: Annotated[str, OneOf(("auto", "classification", "regression"))] = "auto",
    impute: Annotated[str, OneOf(("median", "error"))] = "median",
    drop: tuple[str, ...] = (),
) -> base.Source:
    """path: .csv, .tsv, or .txt with any usual delimiter; target: the column to predict; drop:
    columns to leave out. task "auto": text, bool or at most 20 distinct integers are classes, other
    numbers are quantities. impute: missing numbers become the training median and are marked by an
    input of their own, or are refused; missing text is always a level of its own."""
    file = _files.locate(path, key="data.path")
    cells, lines = _csv.read(file)
    _check_names(file, list(cells), target=target, drop=drop)
    targets = _read_target(file, cells[target], name=target, task=task, lines=lines)
    raw = {
        name: _read_column(file, column, name=name, lines=lines)
        for name, column in cells.items()
        if name != target and name not in drop
    }
    if not raw:
        raise UserError(f"{file}: no column is left beside the target {target!r}; drop fewer.")
    return base.Source(
        name="table",
        raw=raw,
        targets=targets.values,
        ids=lines,
        kind=targets.kind,
        modality="table",
        fit=_table_encoder.fit,
        class_names=targets.class_names,
        target_names=(target,),
        findings=_missing_cells(file, raw, impute=impute, lines=lines),
    )


def read(path: str) -> dict[str, list[str]]:
    """The cells of a file by column, as text: what an encoder's `encode` takes for new examples."""
    return _csv.read(_files.locate(path, key="--data")).columns


def _check_names(
    file: pathlib.Path, names: list[str], *, target: str, drop: tuple[str, ...]
) -> None:
    if not target:
        raise UserError(f"data.target is empty; set it to a column of {file}: {', '.join(names)}.")
    for key, name in (("target", target), *(("drop", name) for name in drop)):
        if name not in names:
            raise UserError(
                f"data.{key}: {file} has no column {name!r}{resolve.nearest(name, names)}"
            )
    if target in drop:
        raise UserError(f"data.drop leaves out the target {target!r}; take it from the list.")


def _read_target(
    file: pathlib.Path, cells: list[str], *, name: str, task: str, lines: np.ndarray
) -> _targets.Targets:
    missing = np.array([_columns.is_missing(cell) for cell in cells])
    if missing.any():
        which = ", ".join(map(str, lines[missing][:5])) + ", ..." * (int(missing.sum()) > 5)
        count = "all" if missing.all() else f"{missing.sum()} of {len(cells)}"
        raise UserError(
            f"{file}: {count} rows have no target in column {name!r} (lines {which}); "
            "fill them in or remove those rows."
        )
    numbers, text = _columns.as_numbers(cells)
    if (len(text) and task == "regression") or 0 < len(text) <= (1 - _MOSTLY) * len(cells):
        raise _stray(file, cells, text=text, name=name, lines=lines)
    if len(text):
        return _targets.interpret(_columns.as_levels(cells).astype(str), task=task, name=name)
    _check_infinite(file, numbers, name=name, lines=lines)
    return _targets.interpret(numbers, task=task, name=name)


def _read_column(
    file: pathlib.Path, cells: list[str], *, name: str, lines: np.ndarray
) -> np.ndarray:
    """float64 with NaN for missing where the column is numeric, else text with None for missing."""
    numbers, text = _columns.as_numbers(cells)
    if not len(text):
        if np.isnan(numbers).all():
            raise UserError(
                f"{file}: column {name!r} is empty; leave it out with data.drop=({name!r},)."
            )
        _check_infinite(file, numbers, name=name, lines=lines)
        return numbers
    levels = _columns.as_levels(cells)
    present = [level for level in levels if level is not None]
    share, distinct = 1 - len(text) / len(present), len(set(present))
    many = distinct > min(_MOST_LEVELS, len(cells) / 2)
    if share >= _MOSTLY or (many and share >= 0.5):
        raise _stray(file, cells, text=text, name=name, lines=lines)
    if many:
        raise UserError(
            f"{file}: column {name!r} holds {distinct} different texts in {len(cells)} rows, as "
            f"names or dates do; leave it out with data.drop=({name!r},)."
        )
    return levels


def _stray(
    file: pathlib.Path, cells: list[str], *, text: np.ndarray, name: str, lines: np.ndarray
) -> UserError:
    return UserError(
        f"{file} line {lines[text[0]]} holds {cells[text[0]]!r} in column {name!r}, where "
        f"{len(cells) - len(text)} of {len(cells)} cells are numbers; correct that cell, "
        "or leave it empty."
    )


def _check_infinite(
    file: pathlib.Path, numbers: np.ndarray, *, name: str, lines: np.ndarray
) -> None:
    # Beyond float32 counts as infinite: training could not hold it.
    bad = np.flatnonzero(np.abs(numbers) > np.finfo(np.float32).max)
    if len(bad):
        raise UserError(
            f"{file}: column {name!r} holds {len(bad)} infinite values, first in line "
            f"{lines[bad[0]]}; correct those cells, or leave them empty."
        )


def _missing_cells(
    file: pathlib.Path, raw: dict[str, np.ndarray], *, impute: str, lines: np.ndarray
) -> tuple[Finding, ...]:
    """A warning that says how many cells are missing where, or none."""
    counts, numeric = {}, {}
    for name, column in raw.items():
        text = column.dtype == object
        missing = np.array([c is None for c in column]) if text else np.isnan(column)
        if missing.any():
            counts[name] = int(missing.sum())
        if missing.any() and not text:
            numeric[name] = int(lines[missing][0])
    if not counts:
        return ()
    if numeric and impute == "error":
        name, line = next(iter(numeric.items()))
        raise UserError(
            f"{file} line {line} has no number in column {name!r}, and data.impute='error' refuses "
            "missing numbers; fill them in or set data.impute='median'."
        )
    columns = ", ".join(f"{name} {count}" for name, count in counts.items())
    finding = Finding(
        check="imputed",
        row="DATA1",
        fault="A7",
        status=Status.WARN,
        summary=f"{sum(counts.values())} cells are missing ({columns}): numbers are filled with "
        "the training median and marked, missing text is a level of its own.",
        evidence={"columns": list(counts), "missing": np.array(list(counts.values()))},
        remedy="Find out why they are missing; fill them in, or leave columns out by data.drop.",
    )
    return (finding,)
