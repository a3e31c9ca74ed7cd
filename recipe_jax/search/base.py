"""What a search is: axes of settings, and a stateless `ask` for the next ones."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from recipe_jax.types import UserError

Settings = dict[str, Any]
Space = tuple[Any, ...]
"""Axes as a config writes them, and names of groups of them (recipe/spaces.py)."""
KINDS = ("uniform", "log", "int", "log_int", "choice")
EXAMPLES = (
    "('optim.learning_rate', 'log', 1e-4, 1e-1), ('model.width', 'int', 16, 128) or "
    "('optim.name', 'choice', ('adam', 'sgd'))"
)


class Axis(NamedTuple):
    """One setting that is searched over, between low and high or among choices.

    kind: "uniform", "log" (its logarithm is uniform), "int" and "log_int" (whole numbers, both ends
    included) or "choice". when: (path, words), the axis is there only where that setting, as text,
    is one of the words.
    """

    path: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()
    when: tuple[str, tuple[str, ...]] | None = None

    @property
    def log(self) -> bool:
        """Whether its logarithm is drawn uniformly."""
        return self.kind in ("log", "log_int")

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.kind in ("int", "log_int")

    def value(self, unit: float) -> Any:
        """The value at a place in [0, 1] of the axis; whole numbers and choices have equal parts,
        on their scale."""
        if self.kind == "choice":
            return self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]
        low, high = self._ends()
        place = low + unit * (high - low)
        value = math.exp(place) if self.log else place
        if self.whole:
            return int(min(max(round(value), self.low), self.high))
        return min(max(value, self.low), self.high)

    def place(self, value: Any) -> float:
        """The place in [0, 1] of a value, the middle of its part; ends where it lies outside."""
        if self.kind == "choice":
            return (self.choices.index(value) + 0.5) / len(self.choices)
        low, high = self._ends()
        inside = min(max(float(value), self.low), self.high)
        return ((math.log(inside) if self.log else inside) - low) / (high - low)

    def coordinate(self, value: Any) -> Any:
        """What a library is told of a value: the number of a choice, else its place."""
        return self.choices.index(value) if self.kind == "choice" else self.place(value)

    def place_at(self, coordinate: Any) -> float:
        """The place in [0, 1] that such a coordinate means."""
        if self.kind == "choice":
            return (int(coordinate) + 0.5) / len(self.choices)
        return float(coordinate)

    def active(self, settings: Mapping[str, Any]) -> bool:
        """Whether the axis is there beside these settings."""
        return self.when is None or str(settings.get(self.when[0])) in self.when[1]

    def _ends(self) -> tuple[float, float]:
        """Ends on the axis's scale; a whole number's part reaches half a step to both sides."""
        low, high = self.low, self.high
        if self.whole:
            low, high = low - 0.5, high + 0.5
        return (math.log(low), math.log(high)) if self.log else (low, high)


class Told(NamedTuple):
    """A finished setting and its score: more is better, NaN where it diverged."""

    settings: Settings
    score: float


Ask = Callable[[Sequence[Told], Any, Sequence[Axis], int], list[Settings]]


class Search(NamedTuple):
    """ask: (history, key, axes, count) -> `count` settings; it holds no state but the history.

    trials: how many settings in all; batch: how many it is asked for at once. axes: what the config
    asks to search over, or () for the ready-made space. complete: `trials` are all that there are,
    beside the config's own setting; listed: what they are, of a search without axes.

    share: (settings told) -> the part of the training examples, and of the epochs, on which the
    next batch is measured: a coarse look may be cheap. row: of the recipe that it carries out.
    """

    ask: Ask
    trials: int
    axes: tuple[Axis, ...]
    batch: int
    complete: bool = False
    listed: tuple[Settings, ...] = ()
    share: Callable[[int], float] = lambda told: 1.0
    row: str = "TUNE1"


def settings_at(axes: Sequence[Axis], places: Sequence[float] | np.ndarray) -> Settings:
    """The settings at a point of the unit cube; axes that are not there beside it are left out."""
    settings: Settings = {}
    for axis, place in zip(axes, places):
        if axis.active(settings):
            settings[axis.path] = axis.value(float(place))
    return settings


def losses(history: Sequence[Told]) -> np.ndarray:
    """The scores to minimise; a diverged setting counts as the worst one seen."""
    values = -np.array([each.score for each in history], float)
    finite = np.isfinite(values)
    return np.where(finite, values, values[finite].max() if finite.any() else 0.0)


def seed_of(key: Any, history: Sequence[Told]) -> int:
    """A seed for a library that draws by itself, its own after every batch."""
    return int(jax.random.bits(jax.random.fold_in(key, len(history))))


def read_space(space: Sequence[Any]) -> tuple[Axis, ...]:
    """The axes of `search.space`; UserError names the entry that is wrong."""
    axes = [_axis(entry) for entry in space]
    paths = [axis.path for axis in axes]
    for number, axis in enumerate(axes):
        if paths.count(axis.path) > 1:
            count = paths.count(axis.path)
            raise UserError(f"search.space: {axis.path} is there {count} times; keep one.")
        if axis.when is None:
            continue
        before = next((each for each in axes[:number] if each.path == axis.when[0]), None)
        words = [] if before is None else [str(value) for value in before.choices]
        wrong = [word for word in axis.when[1] if word not in words]
        if before is None or wrong:
            raise UserError(
                f"search.space: {axis.path} waits for {axis.when[0]}={'|'.join(axis.when[1])}; an "
                f"axis ('{axis.when[0]}', 'choice', ...) with "
                + ("that value must stand before it." if wrong else "it must stand before it.")
            )
    return tuple(axes)


def _axis(entry: Any) -> Axis:
    """One entry of `search.space`."""
    parts = list(entry) if isinstance(entry, list | tuple) else []
    path, kind = parts[:2] if len(parts) > 2 else ("", "")
    wrong = UserError(f"search.space: {entry!r} is no axis; write {EXAMPLES}.")
    if not isinstance(path, str) or "." not in path or kind not in KINDS:
        raise wrong
    length = 3 if kind == "choice" else 4
    when = _condition(path, parts[length]) if len(parts) == length + 1 else None
    if len(parts) not in (length, length + 1):
        raise wrong
    if kind == "choice":
        choices = parts[2]
        if not isinstance(choices, list | tuple) or not choices:
            raise wrong
        for value in choices:
            if choices.count(value) > 1:
                raise UserError(f"search.space: {path} has the choice {value!r} twice; keep one.")
        return Axis(path, kind, choices=tuple(choices), when=when)
    low, high = parts[2:4]
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high)):
        raise wrong
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"search.space: {path} has an empty range from {low} to {high}.")
    if kind in ("log", "log_int") and low <= 0:
        raise UserError(f"search.space: {path} is on a log scale; {low} must be above 0.")
    if kind in ("int", "log_int"):
        if not float(low).is_integer() or not float(high).is_integer():
            raise UserError(f"search.space: {path} takes whole numbers; {low} to {high} has none.")
        return Axis(path, kind, int(low), int(high), when=when)
    return Axis(path, kind, float(low), float(high), when=when)


def _condition(path: str, text: Any) -> tuple[str, tuple[str, ...]]:
    """ "optim.name=sgd|lion" as ("optim.name", ("sgd", "lion"))."""
    other, equals, words = text.partition("=") if isinstance(text, str) else ("", "", "")
    if not (other and equals and words):
        raise UserError(
            f"search.space: {path} ends with {text!r}; a condition is text such as "
            "'optim.name=sgd' or 'optim.name=sgd|lion'."
        )
    return other, tuple(words.split("|"))
