"""Grid search: every combination of a few values an axis."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Key

from recipe_jax.resolve import Count
from recipe_jax.search.base import Axis, Search, Settings, Space, Told, read_space
from recipe_jax.types import UserError


def build(*, points: Count = 5, max_trials: Count = 4096, space: Space = ()) -> Search:
    """A search over all combinations: `points` values of an axis of numbers, evenly on its scale
    with both ends, and every choice. UserError for more combinations than `max_trials`.

    space: as in search/random.py. An axis with a condition varies only where that holds.
    """
    axes = read_space(space)
    count = sum(1 for _ in itertools.islice(_combinations(axes, points), max_trials + 1))
    if count > max_trials:
        size = int(np.prod([float(len(_values(axis, points))) for axis in axes]))
        raise UserError(
            f"search.space: the grid has up to {size} points, more than search.max_trials="
            f"{max_trials}; take fewer search.points, or another search.name."
        )

    def ask(
        history: Sequence[Told], key: Key[Array, ""], axes: Sequence[Axis], count: int
    ) -> list[Settings]:
        """The `count` combinations that follow those in the history."""
        first = len(history)
        return list(itertools.islice(_combinations(axes, points), first, first + count))

    if not axes:
        raise UserError("search.name=grid needs axes: set search.space.")
    return Search(ask=ask, trials=count, axes=axes, batch=count, complete=True, row="TUNE2")


def _combinations(axes: Sequence[Axis], points: int, beside: Settings | None = None) -> Iterator:
    """All of them; the last axis varies fastest."""
    settings = beside or {}
    if not axes:
        yield settings
        return
    axis, *others = axes
    values = _values(axis, points) if axis.active(settings) else [None]
    for value in values:
        more = {axis.path: value} if axis.active(settings) else {}
        yield from _combinations(others, points, settings | more)


def _values(axis: Axis, points: int) -> list[Any]:
    if axis.kind == "choice":
        return list(axis.choices)
    space = np.geomspace if axis.log else np.linspace
    values = [float(value) for value in space(axis.low, axis.high, points)]
    return sorted({round(value) for value in values}) if axis.whole else values
