"""Reading Parquet: the same cells, as text, that the same table would have in a CSV file."""

import pathlib
from collections.abc import Collection
from typing import Any

import numpy as np

from recipe_jax.data._columns import Table
from recipe_jax.types import UserError

SUFFIXES = (".parquet", ".pq")
# A file may declare any number of equal cells: this many a byte, and never refused below the floor.
_MOST_EXPANSION = 200
_ALWAYS_ALLOWED = 10_000_000


def read(path: pathlib.Path, *, drop: Collection[str] | None = ()) -> Table:
    """The columns of a file, those in `drop` without their cells; rows are counted from 1.

    Nulls are empty cells, booleans are True and False, dates are text (2026-01-31), numbers are
    written as short as their own type can tell them apart. Columns that hold no cells (lists,
    structures, bytes) are refused, or left out where `drop` is None.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"{path}: reading Parquet needs pyarrow; pip install recipe_jax[parquet]."
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_names(path, names)
            kinds = {name: file.schema_arrow.field(name).type for name in names}
            kept = [name for name in names if drop is None or name not in drop]
            odd = [name for name in kept if _is_odd(kinds[name])]
            if odd and drop is not None:
                raise UserError(
                    f"{path}: column {odd[0]!r} holds {kinds[odd[0]]}, and a table holds numbers "
                    f"and text; leave it out with data.drop=({odd[0]!r},)."
                )
            kept = [name for name in kept if name not in odd]
            rows = file.metadata.num_rows
            _check_size(path, rows, len(kept))
            table = file.read(columns=kept)
            # A file may declare fewer rows than it holds.
            if table.num_rows != rows:
                raise ValueError(f"{rows} rows are declared and {table.num_rows} are there")
            columns = {
                name: _as_text(table.column(name)) if name in kept else []
                for name in names
                if name not in odd
            }
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, LookupError) as error:
        reason = (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
        raise UserError(f"{path} is no whole Parquet file ({reason}); save it again.") from error
    return Table(columns, np.arange(1, rows + 1), "row")


def _is_odd(kind: Any) -> bool:
    """Whether values of an Arrow type are none that stand in one cell."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    plain = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)
    text = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    return not any(test(kind) for test in (*plain, *text, types.is_temporal))


def _as_text(column: Any) -> list[str]:
    """The cells as Python prints them; null is empty."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        # A float32 of 0.1 is 0.1, as in a CSV file, and not 0.10000000149.
        column = [None if np.isnan(x) else x for x in column.to_numpy()]
    else:
        column = column.to_pylist()
    return ["" if cell is None else str(cell) for cell in column]


def _check_names(path: pathlib.Path, names: list[str]) -> None:
    for place, name in enumerate(names, start=1):
        if not name:
            raise UserError(f"{path}: column {place} has no name; name it.")
        if names.count(name) > 1:
            raise UserError(f"{path}: there are {names.count(name)} columns {name!r}; rename one.")
        if name.startswith("__index_level_"):
            raise UserError(f"{path} holds an index of pandas; save with to_parquet(index=False).")


def _check_size(path: pathlib.Path, rows: int, columns: int) -> None:
    if not rows:
        raise UserError(f"{path} holds no rows; add examples.")
    if rows * columns > max(_ALWAYS_ALLOWED, _MOST_EXPANSION * path.stat().st_size):
        raise UserError(
            f"{path} declares {rows} rows of {columns} columns in {path.stat().st_size} bytes; "
            "save the table as CSV if it is really so uniform."
        )
