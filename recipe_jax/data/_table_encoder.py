"""Raw mixed columns to inputs and back: medians, levels and scales come from the training split."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from recipe_jax.data import _columns, _standard
from recipe_jax.types import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """How one column is read: numeric with a median, or categorical with levels (not both).

    indicator: the training split had missing cells here, so an input says which ones were.
    """

    name: str
    median: float | None = None
    indicator: bool = False
    levels: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The inputs that this column gives; the last level stands for missing and unknown."""
        if self.median is None:
            return tuple(f"{self.name}={level}" for level in (*self.levels, "(other)"))
        return (self.name, f"{self.name} (missing)")[: 1 + self.indicator]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TableEncoder:
    """Columns side by side, then (value - mean) / scale for every input."""

    columns: tuple[Column, ...]
    mean: np.ndarray
    scale: np.ndarray

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name an input."""
        return tuple(name for column in self.columns for name in column.feature_names)

    def encode(self, raw: _columns.Columns) -> np.ndarray:
        """Columns by name, cells text or numbers, as float32 inputs (examples, features)."""
        return _standard.standardise(widen(self.columns, raw), self.mean, self.scale)

    def decode(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Columns in their own units: NaN or None where a cell was missing or its level unknown."""
        wide = _standard.restore(inputs, self.mean, self.scale)
        raw, start = {}, 0
        for column in self.columns:
            block = wide[:, start : start + len(column.feature_names)]
            start += len(column.feature_names)
            if column.median is None:
                levels = np.array([*column.levels, None], dtype=object)
                raw[column.name] = levels[block.argmax(1)]
            else:
                missing = block[:, 1] > 0.5 if column.indicator else np.zeros(len(block), bool)
                raw[column.name] = np.where(missing, np.nan, block[:, 0])
        return raw

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {
            "type": "table",
            "columns": [
                dataclasses.asdict(column) | {"levels": list(column.levels)}
                for column in self.columns
            ],
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TableEncoder":
        """The encoder that gave `content`."""
        return cls(
            columns=tuple(
                Column(**{**column, "levels": tuple(column["levels"])})
                for column in content["columns"]
            ),
            mean=np.asarray(content["mean"], np.float64),
            scale=np.asarray(content["scale"], np.float64),
        )


def fit(raw: Mapping[str, np.ndarray], *, normalize: str) -> TableEncoder:
    """Statistics of the training rows: float columns are numeric, object columns categorical."""
    columns = tuple(_fit_column(name, values) for name, values in raw.items())
    wide = widen(columns, raw)
    mean, scale = np.zeros(wide.shape[1]), np.ones(wide.shape[1])
    if normalize != "none":
        mean, scale = _standard.moments(wide, (0,))
    return TableEncoder(columns=columns, mean=mean, scale=scale)


def _fit_column(name: str, values: np.ndarray) -> Column:
    if values.dtype == object:
        return Column(name=name, levels=tuple(sorted({v for v in values if v is not None})))
    present = values[~np.isnan(values)]
    median = float(np.median(present)) if len(present) else 0.0
    return Column(name=name, median=median, indicator=len(present) < len(values))


def widen(columns: tuple[Column, ...], raw: _columns.Columns) -> np.ndarray:
    """Imputed numbers, indicators and one-hot levels side by side, before standardising."""
    for column in columns:
        if column.name not in raw:
            raise UserError(
                f"There is no column {column.name!r}, which the model was trained on; add it."
            )
    return np.concatenate([_widen_column(c, np.asarray(raw[c.name])) for c in columns], axis=1)


def _widen_column(column: Column, cells: np.ndarray) -> np.ndarray:
    if column.median is None:
        other = len(column.levels)
        place = {level: i for i, level in enumerate(column.levels)}
        chosen = [place.get(level, other) for level in _columns.as_levels(cells)]
        return np.eye(other + 1)[chosen]
    numbers, text = _columns.as_numbers(cells)
    if len(text):
        raise UserError(
            f"Row {text[0] + 1} holds {str(cells[text[0]])!r} in column {column.name!r}; the model "
            "was trained on numbers there, so correct that cell."
        )
    if np.isinf(numbers).any():
        row = int(np.flatnonzero(np.isinf(numbers))[0]) + 1
        raise UserError(
            f"Row {row} holds an infinite value in column {column.name!r}; correct that cell."
        )
    missing = np.isnan(numbers)
    filled = np.where(missing, column.median, numbers)
    return np.stack([filled, missing.astype(np.float64)], axis=1)[:, : 1 + column.indicator]
