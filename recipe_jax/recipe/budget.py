"""What a budget buys: the numbers that the config leaves to it, from the smallest recipe up.

A budget is a place on a ladder. The names are rungs; between rungs every number grows evenly on a
log scale, so that a budget in seconds finds a place of its own.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from recipe_jax import resolve
from recipe_jax.types import UserError

NAMES = ("smallest", "small", "medium", "large")
"""The rungs; the first is for a budget in seconds alone."""
# Three seeds at least: an interval over fewer says nothing.
SEEDS, LOOKS = (3, 3, 4, 8), (1, 1, 2, 3)
MEMBERS, CANDIDATES, FOLDS, SNAPSHOTS = (2, 4, 8, 16), (2, 4, 6, 8), (2, 3, 5, 5), (0, 0, 5, 5)
# Of train.epochs, and of the search's own number.
PROBES, TRIALS = (0.25, 0.5, 1.0, 1.0), (0.125, 0.5, 1.0, 4.0)
LADDERS: dict[str, tuple[float, ...]] = {
    "recipe.seeds": SEEDS,
    "recipe.looks": LOOKS,
    "recipe.members": MEMBERS,
    "recipe.candidates": CANDIDATES,
    "recipe.folds": FOLDS,
    "recipe.snapshots": SNAPSHOTS,
    "recipe.probe_epochs": PROBES,
    "search.trials": TRIALS,
}
"""What a budget decides: "section.key" -> its number on every rung."""
GROWTH = {"recipe.seeds": 2.0, "recipe.members": 2.0, "search.trials": 4.0}
"""What grows beyond the last rung, and by how much from place to place."""
LATE = {
    "tune": ("search.trials",),
    "squeeze": ("recipe.members", "recipe.candidates", "recipe.folds", "recipe.snapshots"),
}
"""Stage -> what it alone spends. Of a budget in seconds that is decided again when it begins, for
by then it is known how large the network has become."""
HIGHEST = 5.0
TOLERANCE = 1e-3
"""Of a place: less than any number moves by."""
MARGIN = 1.1
"""What a budget that is refused should have been, of what the smallest recipe takes."""


class Budget(NamedTuple):
    """name: for a person; decided: "section.key" -> number, of all that the config leaves out;
    bigger: the next budget, or "" for none; would: what that one decides."""

    name: str
    decided: Mapping[str, int]
    bigger: str = ""
    would: Mapping[str, int] = {}


def named(config: Mapping[str, Any]) -> Budget:
    """The budget that `recipe.budget` names."""
    name = config["recipe"]["budget"]
    place = NAMES.index(name)
    bigger = NAMES[place + 1] if place + 1 < len(NAMES) else ""
    return Budget(name, at(config, place), bigger, at(config, place + 1) if bigger else {})


def timed(config: Mapping[str, Any], seconds: Callable[[Mapping[str, int]], float]) -> Budget:
    """The largest budget that is predicted to take no longer than `recipe.budget_seconds`.

    seconds: what numbers cost. UserError, with the least that would do, where even the smallest
    recipe takes longer.
    """
    asked = config["recipe"]["budget_seconds"]
    least = seconds(at(config, 0.0))
    if least > asked:
        raise UserError(
            f"recipe.budget_seconds={asked:g} is too short: the smallest budget is predicted to "
            f"take {least:.0f} seconds here; give at least {math.ceil(MARGIN * least)}."
        )
    twice = at(config, _place(config, 2 * asked, seconds))
    return Budget(
        f"{asked:g} seconds",
        at(config, _place(config, asked, seconds)),
        f"{2 * asked:g} seconds",
        twice,
    )


def at(config: Mapping[str, Any], place: float) -> dict[str, int]:
    """The numbers at a place of the ladder, of those that the config leaves out."""
    whole = {"recipe.probe_epochs": config["train"]["epochs"], "search.trials": _trials(config)}
    found = {}
    for path, ladder in LADDERS.items():
        section, _, key = path.partition(".")
        if config[section].get(key, 0) is None:
            number = _number(ladder, place, GROWTH.get(path, 1.0)) * whole.get(path, 1)
            found[path] = max(round(number), 1 if path in whole else 0)
    return found


def left(
    config: Mapping[str, Any],
    budget: Budget,
    paths: Collection[str],
    asked: float,
    seconds: Callable[[Mapping[str, int]], float],
) -> dict[str, int]:
    """What a budget decides, these numbers anew: the largest that cost no more than is left, or
    the smallest.

    seconds: what all that is still to come costs by numbers.
    """

    def whole(numbers: Mapping[str, int]) -> dict[str, int]:
        return {**budget.decided, **{path: n for path, n in numbers.items() if path in paths}}

    place = _place(config, asked, lambda numbers: seconds(whole(numbers)))
    return whole(at(config, place))


def filled(config: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """A copy of the config with what it leaves out put in; what it says stands."""
    whole = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    for path, number in budget.decided.items():
        section, _, key = path.partition(".")
        if whole[section].get(key, 0) is None:
            whole[section][key] = number
    return whole


def words(config: Mapping[str, Any], budget: Budget, paths: Iterable[str] = tuple(LADDERS)) -> str:
    """Numbers that a budget may decide, as they hold, for a sentence."""
    whole = filled(config, budget)
    sections = ((key, whole[section]) for section, _, key in (p.partition(".") for p in paths))
    return ", ".join(f"{key} {each[key]}" for key, each in sections if key in each)


def _place(
    config: Mapping[str, Any], asked: float, seconds: Callable[[Mapping[str, int]], float]
) -> float:
    """The highest place that costs no more than was asked, by bisection: numbers only grow."""
    low, high = 0.0, HIGHEST
    if seconds(at(config, high)) <= asked:
        return high
    while high - low > TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if seconds(at(config, middle)) <= asked else (low, middle)
    return low


def _number(ladder: tuple[float, ...], place: float, growth: float) -> float:
    """A ladder's number at a place: evenly on a log scale between rungs, evenly from zero."""
    last = len(ladder) - 1
    if place >= last:
        return ladder[last] * growth ** (place - last)
    step = int(place)
    low, high, part = ladder[step], ladder[step + 1], place - step
    return low * (high / low) ** part if low else high * part


def _trials(config: Mapping[str, Any]) -> int:
    """How many settings the search tries by itself; none where it knows how many there are."""
    build = resolve.resolve("search", config["search"]["name"])
    keyword = resolve.keywords(build).get("trials")
    return keyword.default if keyword is not None and isinstance(keyword.default, int) else 0
