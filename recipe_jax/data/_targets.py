"""Reading targets: text, bool or few distinct integers are classes, other numbers quantities."""

from typing import NamedTuple

import numpy as np

from recipe_jax.types import UserError

MOST_INTEGER_CLASSES = 20


class Targets(NamedTuple):
    """values: (n,) int32 class numbers, or (n, k) float64; class_names is empty for regression."""

    kind: str
    values: np.ndarray
    class_names: tuple[str, ...]


def interpret(values: np.ndarray, *, task: str, name: str) -> Targets:
    """The targets as classes or quantities; task "auto" decides by what the values look like."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    numeric = values.dtype.kind in "biuf"
    if task == "regression" and not numeric:
        raise UserError(
            f"The target {name!r} holds text, so data.task='regression' cannot be; "
            "set data.task='classification' or choose another data.target."
        )
    if task == "regression" or (task == "auto" and numeric and not _few_integers(values)):
        columns = values.astype(np.float64).reshape(len(values), -1)
        return Targets("regression", columns, ())
    if values.ndim != 1:
        raise UserError(
            f"The target {name!r} has shape {values.shape}; classes need one number an example, "
            "such as targets.argmax(-1) where a 1 marks the class."
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values))
        raise UserError(
            f"The target {name!r} holds {len(bad)} NaN or infinite values, first in row {bad[0]}; "
            "correct or remove those examples."
        )
    levels, classes = np.unique(values, return_inverse=True)
    if values.dtype.kind == "f" and len(levels) > len(values) // 2:
        raise UserError(
            f"The target {name!r} holds {len(levels)} different quantities in {len(values)} "
            "examples, no classes; say data.task=regression and objective.name=regression."
        )
    return Targets("classification", classes.astype(np.int32), tuple(map(_class_name, levels)))


def _few_integers(values: np.ndarray) -> bool:
    if values.ndim != 1:
        return False
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.floor(values))).all():
        return False
    return len(np.unique(values)) <= MOST_INTEGER_CLASSES


def _class_name(level: object) -> str:
    if isinstance(level, bytes):
        return level.decode("utf-8", "replace")
    if isinstance(level, float | np.floating) and float(level).is_integer():
        return str(int(level))
    return str(level)
