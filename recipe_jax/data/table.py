"""A table from a CSV, TSV or Parquet file: numbers and categories, cells may be missing."""

import pathlib
from typing import Annotated

import numpy as np

from recipe_jax import resolve
from recipe_jax.data import _columns, _csv, _files, _parquet, _table_encoder, _targets, base
from recipe_jax.data._columns import Table
from recipe_jax.resolve import OneOf
from recipe_jax.types import Finding, Status, UserError

# A column this numeric is meant to be numeric, and its text cells are mistakes.
_MOSTLY = 0.9
_MOST_LEVELS = 50
# Of so many different cells a few may be names such as "1,2" for the first and the second.
_MOST_NAMES = 10


def build(
    *,
    path: str = "",
    target: str = "",
    task: Annotated[str, OneOf(("auto", "classification", "regression"))] = "auto",
    impute: Annotated[str, OneOf(("median", "error"))] = "median",
    drop: tuple[str, ...] = (),
    group: str = "",
    order: str = "",
) -> base.Source:
    """path: .csv, .tsv, .parquet, or .txt with any usual delimiter; target: the column to predict;
    drop: columns to leave out. task "auto": text, bool or at most 20 distinct integers are classes,
    other numbers are quantities. impute: missing numbers become the training median and are marked
    by an input of their own, or are refused; missing text is always a level of its own. group: the
    column, such as a person, of which all rows with one value stay in one split; order: the column,
    of numbers or dates, by which the last rows are held out. Neither is an input."""
    file = _files.locate(path, key="data.path")
    table = _parquet.read(file, drop=drop) if _is_parquet(file) else _csv.read(file)
    _check_names(file, list(table.columns), target=target, drop=drop, group=group, order=order)
    targets = _read_target(file, table, name=target, task=task)
    together = _read_group(file, table, name=group) if group else None
    ordered = _read_order(file, table, name=order) if order else None
    raw = {
        name: _read_column(file, table, name=name)
        for name in table.columns
        if name not in (target, group, order, *drop)
    }
    if not raw:
        raise UserError(f"{file}: no column is left beside the target {target!r}; drop fewer.")
    return base.Source(
        name="table",
        raw=raw,
        targets=targets.values,
        ids=table.numbers,
        kind=targets.kind,
        modality="table",
        fit=_table_encoder.fit,
        class_names=targets.class_names,
        target_names=(target,),
        findings=_missing_cells(file, raw, impute=impute, table=table),
        together=together,
        order=ordered,
        split_by=group or order,
    )


def read(path: str) -> dict[str, list[str]]:
    """The cells of a file by column, as text: what an encoder's `encode` takes for new examples."""
    file = _files.locate(path, key="--data")
    return (_parquet.read(file, drop=None) if _is_parquet(file) else _csv.read(file)).columns


def _is_parquet(file: pathlib.Path) -> bool:
    return file.suffix.lower() in _parquet.SUFFIXES


def _check_names(
    file: pathlib.Path,
    names: list[str],
    *,
    target: str,
    drop: tuple[str, ...],
    group: str,
    order: str,
) -> None:
    if not target:
        raise UserError(f"data.target is empty; set it to a column of {file}: {', '.join(names)}.")
    splits = [(key, name) for key, name in (("group", group), ("order", order)) if name]
    for key, name in (("target", target), *(("drop", name) for name in drop), *splits):
        if name not in names:
            raise UserError(
                f"data.{key}: {file} has no column {name!r}{resolve.nearest(name, names)}"
            )
    if target in drop:
        raise UserError(f"data.drop leaves out the target {target!r}; take it from the list.")
    if len(splits) > 1:
        raise UserError(
            "data.group and data.order both say who is held out; set one of them to ''."
        )
    for key, name in splits:
        if name == target:
            raise UserError(f"data.{key} is the target {target!r}; name another column.")


def _read_target(file: pathlib.Path, table: Table, *, name: str, task: str) -> _targets.Targets:
    cells = table.columns[name]
    missing = np.array([_columns.is_missing(cell) for cell in cells])
    if missing.any():
        which = ", ".join(map(str, table.numbers[missing][:5])) + ", ..." * int(missing.sum() > 5)
        count = "all" if missing.all() else f"{missing.sum()} of {len(cells)}"
        raise UserError(
            f"{file}: {count} rows have no target in column {name!r} ({table.unit}s {which}); "
            "fill them in or remove those rows."
        )
    numbers, text = _columns.as_numbers(cells)
    if task != "classification":
        _check_commas(file, table, text=text, name=name, target=True)
    if (len(text) and task == "regression") or 0 < len(text) <= (1 - _MOSTLY) * len(cells):
        raise _stray(file, table, text=text, name=name)
    if len(text):
        return _targets.interpret(_columns.as_levels(cells).astype(str), task=task, name=name)
    _check_infinite(file, table, numbers, name=name)
    return _targets.interpret(numbers, task=task, name=name)


def _read_group(file: pathlib.Path, table: Table, *, name: str) -> np.ndarray:
    """Text, one for each row."""
    levels = _columns.as_levels(table.columns[name])
    _check_filled(file, table, np.array([level is None for level in levels]), name=name)
    return levels


def _read_order(file: pathlib.Path, table: Table, *, name: str) -> np.ndarray:
    """Numbers as they are, dates as nanoseconds since 1970."""
    cells = table.columns[name]
    _check_filled(file, table, np.array([_columns.is_missing(c) for c in cells]), name=name)
    numbers, text = _columns.as_numbers(cells)
    if not len(text):
        return numbers
    dates = _columns.as_dates(cells)
    if dates is None:
        raise UserError(
            f"{file} {table.place(text[0])} holds {cells[text[0]]!r} in column {name!r}, by which "
            "data.order holds out the last rows: write numbers, or dates such as 2024-05-31."
        )
    return dates


def _check_filled(file: pathlib.Path, table: Table, missing: np.ndarray, *, name: str) -> None:
    if missing.any():
        raise UserError(
            f"{file} {table.place(missing.argmax())} has nothing in column {name!r}, which says "
            "who is held out; fill it in, or remove that row."
        )


def _read_column(file: pathlib.Path, table: Table, *, name: str) -> np.ndarray:
    """float64 with NaN for missing where the column is numeric, else text with None for missing."""
    cells = table.columns[name]
    numbers, text = _columns.as_numbers(cells)
    if not len(text):
        if np.isnan(numbers).all():
            raise UserError(
                f"{file}: column {name!r} is empty; leave it out with data.drop=({name!r},)."
            )
        _check_infinite(file, table, numbers, name=name)
        return numbers
    _check_commas(file, table, text=text, name=name)
    levels = _columns.as_levels(cells)
    present = [level for level in levels if level is not None]
    share, distinct = 1 - len(text) / len(present), len(set(present))
    many = distinct > min(_MOST_LEVELS, len(cells) / 2)
    if share >= _MOSTLY or (many and share >= 0.5):
        raise _stray(file, table, text=text, name=name)
    if many:
        raise UserError(
            f"{file}: column {name!r} holds {distinct} different texts in {len(cells)} rows, as "
            f"names or dates do; {_use(name, levels)}leave it out with data.drop=({name!r},)."
        )
    return levels


def _use(name: str, levels: np.ndarray) -> str:
    """What a column of dates, or of names that come again, is good for."""
    present = [level for level in levels if level is not None]
    if _columns.as_dates(present) is not None:
        return f"hold out the last rows by it with data.order={name!r}, or "
    if len(set(present)) <= len(levels) / 2:
        return f"keep the rows of each in one split with data.group={name!r}, or "
    return ""


def _check_commas(
    file: pathlib.Path, table: Table, *, text: np.ndarray, name: str, target: bool = False
) -> None:
    """UserError where numbers with commas would be taken for words."""
    cells = table.columns[name]
    commas = _columns.with_commas(cells, text)
    if not len(commas) or len(commas) < _MOSTLY * len(text):
        return
    if target or len({cell for cell in cells if not _columns.is_missing(cell)}) > _MOST_NAMES:
        classes = "; if they are names of classes, set data.task=classification" if target else ""
        raise UserError(
            f"{file}: column {name!r} holds numbers with commas, such as {cells[commas[0]]!r} "
            f"({table.place(commas[0])}): write them with a point and without separators of "
            f"thousands{classes}."
        )


def _stray(file: pathlib.Path, table: Table, *, text: np.ndarray, name: str) -> UserError:
    cells = table.columns[name]
    return UserError(
        f"{file} {table.place(text[0])} holds {cells[text[0]]!r} in column {name!r}, where "
        f"{len(cells) - len(text)} of {len(cells)} cells are numbers; correct that cell, "
        "or leave it empty."
    )


def _check_infinite(file: pathlib.Path, table: Table, numbers: np.ndarray, *, name: str) -> None:
    # Beyond float32 counts as infinite: training could not hold it.
    bad = np.flatnonzero(np.abs(numbers) > np.finfo(np.float32).max)
    if len(bad):
        raise UserError(
            f"{file}: column {name!r} holds {len(bad)} infinite values, first in "
            f"{table.place(bad[0])}; correct those cells, or leave them empty."
        )


def _missing_cells(
    file: pathlib.Path, raw: dict[str, np.ndarray], *, impute: str, table: Table
) -> tuple[Finding, ...]:
    """A warning that says how many cells are missing where, or none."""
    counts, numeric = {}, {}
    for name, column in raw.items():
        text = column.dtype == object
        missing = np.array([c is None for c in column]) if text else np.isnan(column)
        if missing.any():
            counts[name] = int(missing.sum())
        if missing.any() and not text:
            numeric[name] = table.place(int(missing.argmax()))
    if not counts:
        return ()
    if numeric and impute == "error":
        name, place = next(iter(numeric.items()))
        raise UserError(
            f"{file} {place} has no number in column {name!r}, and data.impute='error' refuses "
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
