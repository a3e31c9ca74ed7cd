"""What a search is: axes of settings, and a stateless `ask` for the next ones."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from recipe_jax.types import UserError


class Axis(NamedTuple):
    """One number that is searched over; `log` draws its logarithm uniformly."""

    path: str
    low: float
    high: float
    log: bool

    def value(self, unit: float) -> float:
        """The value at a place in [0, 1] of the axis."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return math.exp(low + unit * (high - low))
        return self.low + unit * (self.high - self.low)


class Search(NamedTuple):
    """ask: (history, key, axes, count) -> `count` settings; it holds no state but the history.

    axes: what the config asks to search over, or () for the ready-made space.
    """

    ask: Callable[..., Any]
    trials: int
    axes: tuple[Axis, ...]


def read_space(space: Sequence[Any]) -> tuple[Axis, ...]:
    """The axes of `search.space`; UserError names the entry that is wrong."""
    axes = [_axis(entry) for entry in space]
    paths = [axis.path for axis in axes]
    for path in paths:
        if paths.count(path) > 1:
            raise UserError(f"search.space: {path} is there {paths.count(path)} times; keep one.")
    return tuple(axes)


def _axis(entry: Any) -> Axis:
    """One entry of `search.space`."""
    known = isinstance(entry, list | tuple) and len(entry) == 4
    path, kind, low, high = entry if known else ("", "", 0.0, 0.0)
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high))
    if not (isinstance(path, str) and kind in ("log", "uniform") and numbers):
        raise UserError(
            f"search.space: {entry!r} is no axis; write ('optim.learning_rate', 'log', 1e-4, 1e-1) "
            "or ('model.dropout', 'uniform', 0, 0.5)."
        )
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"search.space: {path} has an empty range from {low} to {high}.")
    if kind == "log" and low <= 0:
        raise UserError(f"search.space: {path} is on a log scale; {low} must be above 0.")
    return Axis(path, float(low), float(high), kind == "log")
