"""Tables of text cells, and cells as numbers: what counts as missing, what as a number."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

Columns = Mapping[str, Any] | pd.DataFrame
"""Cells by column name, as text or numbers."""

MISSING = frozenset(
    ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "NULL", "null", "None")
)


_COMMAS = re.compile(
    r"[+-]?(\d+|\d{1,3}([. \u00a0\u202f'’]\d{3})+),\d+"  # 42,28 and 1.234,5
    r"|[+-]?\d{1,3}(,\d{3})+(\.\d*)?"  # 1,000 and 1,234.5
)


class Table(NamedTuple):
    """Cells as text by column, and what a person finds each row by: its "line", or its "row"."""

    columns: dict[str, list[str]]
    numbers: np.ndarray
    unit: str

    def place(self, row: int | np.integer) -> str:
        """Where a row stands in its file, such as "line 7"."""
        return f"{self.unit} {self.numbers[row]}"


def is_missing(cell: Any) -> bool:
    """Whether a cell, text or number, holds nothing."""
    if isinstance(cell, str):
        return cell.strip() in MISSING
    # pandas.NA and NaT refuse to be compared; both print as what MISSING lists or "NaT".
    return cell is None or str(cell) in ("nan", "<NA>", "NaT")


def as_number(cell: Any) -> float | None:
    """The number in a cell, NaN where it is missing, None where it is text."""
    if is_missing(cell):
        return math.nan
    # Python reads 1_000 as a number; in a file it is a name.
    if isinstance(cell, str) and "_" in cell:
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def as_numbers(cells: Sequence[Any] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(float64 with NaN where missing or text, positions of the text cells)."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "biuf":
        return cells.astype(np.float64), np.zeros(0, np.int64)
    numbers = [as_number(cell) for cell in cells]
    text = np.flatnonzero([number is None for number in numbers])
    return np.array([math.nan if x is None else x for x in numbers], np.float64), text


def as_dates(cells: Sequence[Any] | np.ndarray) -> np.ndarray | None:
    """Dates and times of ISO 8601 as nanoseconds since 1970, float64; None where a cell is none."""
    try:
        dates = pd.to_datetime(pd.Series(list(cells)), format="ISO8601", utc=True)
    except (ValueError, TypeError):
        return None
    return dates.dt.tz_localize(None).to_numpy("datetime64[ns]").astype(np.float64)


def with_commas(cells: Sequence[Any] | np.ndarray, text: np.ndarray) -> np.ndarray:
    """Positions, among those of the text cells, of numbers that are written with a comma."""
    return np.array([i for i in text if _COMMAS.fullmatch(str(cells[i]).strip())], np.int64)


def as_levels(cells: Sequence[Any] | np.ndarray) -> np.ndarray:
    """The cells as text without surrounding space, None where missing."""
    return np.array(
        [None if is_missing(cell) else str(cell).strip() for cell in cells], dtype=object
    )
