"""Reading delimited text strictly: every row is as long as the header, and knows its line."""

import csv
import pathlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from recipe_jax.data import _columns
from recipe_jax.data._columns import Table
from recipe_jax.types import UserError

_SNIFFED = ",;\t|"


def read(path: pathlib.Path) -> Table:
    """The table in a .csv (commas), .tsv (tabs) or other (sniffed) file, in UTF-8; rows are known
    by the line that they begin on.

    The csv module, not pandas: pandas pads short rows without a word and forgets line numbers.
    """
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _rows(file, path)
            header_line, header = next(rows, (0, []))
            _check_header(path, header)
            cells, lines = [], []
            for line, row in rows:
                if len(row) != len(header):
                    raise UserError(
                        f"{path} line {line} has {len(row)} cells and the header {len(header)}; "
                        "correct that line."
                    )
                cells.append(row)
                lines.append(line)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (after line {line}); save it as UTF-8."
        ) from error
    except csv.Error as error:
        raise UserError(f"{path}: after line {line}: {error}; correct the quotes.") from error
    if not cells:
        raise UserError(f"{path} holds a header (line {header_line}) and no rows; add examples.")
    columns = {name: list(column) for name, column in zip(header, zip(*cells))}
    return Table(columns, np.array(lines), "line")


def _rows(file: IO[str], path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, cells) of every row that is not blank."""
    reader: Any = csv.reader(file, delimiter=_delimiter(file, path), strict=True)
    begins = 1
    for row in reader:
        cells = [cell.strip() for cell in row]
        # A blank line gives no cell; a row of empty cells is a row of missing values.
        if cells and cells != [""]:
            yield begins, cells
        begins = reader.line_num + 1


def _delimiter(file: IO[str], path: pathlib.Path) -> str:
    fixed = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
    header = file.readline()
    file.seek(0)
    counts = {mark: header.count(mark) for mark in _SNIFFED}
    likely = max(counts, key=lambda mark: counts[mark])
    if fixed is None:
        return likely
    if counts[fixed] == 0 and counts[likely] > 0:
        raise UserError(
            f"{path} line 1 has no {fixed!r}, and {counts[likely]} times {likely!r}; name the file "
            ".txt to have the delimiter recognised."
        )
    return fixed


def _check_header(path: pathlib.Path, header: list[str]) -> None:
    if not header:
        raise UserError(f"{path} holds no text; give it a header and rows.")
    if "" in header:
        place = header.index("") + 1
        raise UserError(f"{path}: column {place} has no name; name it, or save without index.")
    if all(_columns.as_number(name) is not None for name in header):
        raise UserError(
            f"{path} line 1 holds numbers alone, and should name the columns; add a header."
        )
    for name in header:
        if (count := header.count(name)) > 1:
            example = _columns.as_number(name) is not None
            raise UserError(
                f"{path}: there are {count} columns {name!r}; "
                + ("if line 1 is an example, add a header; else " * example)
                + "rename one."
            )
