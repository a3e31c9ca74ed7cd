"""How are the features distributed, one by one?"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from recipe_jax.checks import data_audit
from recipe_jax.checks._telling import without
from recipe_jax.probes.examples import Examples, column_places
from recipe_jax.types import Finding, Status

BINS, MOST_LEVELS, MOST_COLUMNS = 24, 12, 60


def look(examples: Examples) -> Iterator[Finding]:
    """Of a table every column in its own unit; of images the brightness and the contrast of whole
    examples; of sequences every feature over all steps."""
    task = examples.task
    if task.modality == "table":
        columns = examples.columns
        what = f"{len(columns)} columns"
    else:
        columns = summaries(task, np.asarray(task.encoder.decode(examples.train.inputs)))
        what = "Examples as wholes" if task.modality == "image" else f"{len(columns)} features"
    told = [describe(name, column) for name, column in list(columns.items())[:MOST_COLUMNS]]
    missing = [name for name, column in columns.items() if _misses(column)]
    words = sum(column.dtype == object for column in columns.values())
    summary = f"{what}: {len(columns) - words} of numbers, {words} of words; " + (
        f"cells are missing in {data_audit.listed(missing)}" if missing else "no cell is missing"
    )
    if len(told) < len(columns):
        summary += f"; the first {len(told)} are shown"
    copies = _copies(examples) if task.modality == "table" else {}
    if copies:
        pairs = [f"{name} equals {first}" for name, first in copies.items()]
        summary += f"; in every row {data_audit.listed(pairs)}"
    yield Finding(
        check="distributions",
        row="DATA1 DATA2",
        status=Status.PASS,
        summary=f"{summary}{examples.among}.",
        remedy=f"One of equal columns is enough: {without(task, list(copies))}" if copies else "",
        evidence={"columns": told, "left_out": max(0, len(columns) - MOST_COLUMNS)},
    )


def summaries(task: Any, raw: np.ndarray) -> dict[str, np.ndarray]:
    """What can be counted of images, and of sequences."""
    if task.modality == "image":
        flat = raw.reshape(len(raw), -1)
        return {"mean of an image": flat.mean(1), "deviation of an image": flat.std(1)}
    names = data_audit.feature_names(task, raw.shape[-1])
    return dict(zip(names, raw.reshape(-1, raw.shape[-1]).T))


def _copies(examples: Examples) -> dict[str, str]:
    """Columns that are equal to an earlier one in every row, as read and as they enter, and that
    one; what is the same in every row is told elsewhere."""
    inputs, first, found = examples.train.inputs, {}, {}
    for name, places in column_places(examples.task).items():
        cells, entering = examples.columns[name], inputs[:, places]
        if (entering == entering[:1]).all():
            continue
        read = cells.tolist() if cells.dtype == object else (cells + 0.0).tobytes()
        known = first.setdefault((repr(read), entering.tobytes()), name)
        if known != name:
            found[name] = known
    return found


def _misses(column: np.ndarray) -> bool:
    if column.dtype == object:
        return any(cell is None for cell in column)
    return not bool(np.isfinite(column).all())


def describe(name: str, column: np.ndarray) -> dict[str, Any]:
    """A column as counts: of words, the commonest first, or of numbers, in bins of one width."""
    if column.dtype == object:
        present = np.array([str(cell) for cell in column if cell is not None], dtype=object)
        levels, counts = np.unique(present, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {
            "column": name,
            "missing": len(column) - len(present),
            "distinct": len(levels),
            "levels": levels[order][:MOST_LEVELS].tolist(),
            "counts": counts[order][:MOST_LEVELS],
        }
    present = column[np.isfinite(column)]
    if not len(present):
        return {"column": name, "missing": len(column), "distinct": 0, "counts": []}
    return {
        "column": name,
        "missing": len(column) - len(present),
        "distinct": len(np.unique(np.round(present, 9))),
        "lowest": float(present.min()),
        "median": float(np.median(present)),
        "highest": float(present.max()),
        "counts": counts_of(present),
    }


def counts_of(values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """How many lie in each of so many bins of one width; all in one where they are equal."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low) or high - low <= 1e-12 * max(abs(low), abs(high)):
        return np.array([len(values)])
    return np.histogram(values, bins=bins, range=(low, high))[0]
