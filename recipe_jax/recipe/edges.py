"""TUNE6: whether the best setting lies inside the ranges that were searched."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from recipe_jax import resolve
from recipe_jax.assembly import FAMILIES
from recipe_jax.recipe import spaces
from recipe_jax.recipe.base import Context
from recipe_jax.recipe.searching import Searched, Winner
from recipe_jax.search.base import Axis
from recipe_jax.types import Finding, Status

EDGE, LEANS = 0.1, 2 / 3
"""Of an axis: so near to an end the winner lies at it, if the middle one of the best quarter lies
beyond that part on the way to the same end. Where an axis does not matter both are seldom so."""
FEWEST = 8
"""Settings with a score: of fewer the best quarter says nothing."""


def told(context: Context, searched: Searched, winner: Winner) -> Iterator[Finding]:
    """The ranges beside the published ones, and which to widen: a best setting at the end of a
    range says that better ones may lie beyond it (Bengio 2012)."""
    if not searched.axes:
        return
    at_end = {
        axis.path: wider
        for axis in searched.axes
        for upper in (False, True)
        if _at_end(searched, winner, axis, upper) and (wider := _widened(context, axis, upper))
    }
    known = spaces.published(context.config, context.task)
    published = {each[0]: each for entries in known.values() for each in entries}
    ranges = [
        f"{axis.path.partition('.')[2]} {_span(axis)}"
        + (f" (published: {_entry(published[axis.path])})" if axis.path in published else "")
        for axis in searched.axes
    ]
    names = " and ".join(f"{path.partition('.')[2]} {winner.settings[path]:.3g}" for path in at_end)
    yield Finding(
        check="search_ranges",
        row="TUNE6",
        status=Status.WARN if at_end else Status.PASS,
        summary=f"Searched: {', '.join(ranges)}. "
        + (
            f"The winner lies at an end of its range ({names}), and so do the best: widen it."
            if at_end
            else "The best settings crowd at no end of a range."
        ),
        remedy=f"Search on beyond the end: {context.command} {_flag(searched.axes, at_end)} "
        "--workdir=runs/wider"
        if at_end
        else "",
        certainty="heuristic" if at_end else "",
        evidence={
            "axes": {
                axis.path: {
                    "searched": _entry_of(axis)[2:],
                    "published": list(published.get(axis.path, ()))[2:] or None,
                    "winner": winner.settings.get(axis.path),
                    "at_end": axis.path in at_end,
                }
                for axis in searched.axes
            }
        },
    )


def _at_end(searched: Searched, winner: Winner, axis: Axis, upper: bool) -> bool:
    """Whether the winner and the best quarter of what was measured in full lie at this end."""
    if axis.path not in winner.settings:
        return False
    settings, most = searched.settings, max(searched.shares)
    there = [
        settings[i]
        for i in searched.order
        if searched.shares[i] == most
        and np.isfinite(searched.scores[i])
        and axis.path in settings[i]
    ]
    places = [_place(axis, each[axis.path]) for each in there]
    own = _place(axis, winner.settings[axis.path])
    if len(places) < FEWEST or own is None or any(place is None for place in places):
        return False
    middle = float(np.median(np.array(places[: len(places) // 4], float)))
    if not upper:
        own, middle = 1.0 - own, 1.0 - middle
    return own >= 1.0 - EDGE and middle >= LEANS


def _place(axis: Axis, value: Any) -> float | None:
    """In [0, 1] of the axis, numbers among choices by their size; None where there is no order."""
    if axis.kind != "choice":
        return axis.place(value)
    numbers = _numbers(axis)
    if value not in numbers or len(numbers) < 2:
        return None
    return numbers.index(value) / (len(numbers) - 1)


def _numbers(axis: Axis) -> list[Any]:
    """The choices in order, where all are numbers."""
    numbers = [each for each in axis.choices if type(each) in (int, float)]
    return sorted(numbers) if len(numbers) == len(axis.choices) else []


def _widened(context: Context, axis: Axis, upper: bool) -> Axis | None:
    """The axis with more room at this end: ten times on a log scale, half its width on a plain one,
    twice a whole number or a choice; None where its setting ends there. Next to a zero there is
    nothing to look for: it means off."""
    allowed = _allowed(context, axis.path)
    if not upper and isinstance(allowed, resolve.Between) and 0.0 in allowed:
        return None
    if axis.kind == "choice":
        numbers = _numbers(axis)
        end = numbers[-1] * 2 if upper else type(numbers[0])(numbers[0] / 2)
        if end in numbers or (allowed is not None and end not in allowed):
            return None
        return axis._replace(choices=(*numbers, end) if upper else (end, *numbers))
    low, high = axis.low, axis.high
    if axis.whole:
        low, high = (low, 2 * high) if upper else (low // 2, high)
    elif axis.log:
        low, high = (low, 10 * high) if upper else (low / 10, high)
    else:
        half = (high - low) / 2
        low, high = (low, high + half) if upper else (low - half, high)
    if isinstance(allowed, resolve.Between):
        low, high = max(low, allowed.low), min(high, allowed.high)
        inside = all(end in allowed for end in (low, high)) and (low > 0 or not axis.log)
        if not inside or (low, high) == (axis.low, axis.high):
            return None
    return axis._replace(low=low, high=high)


def _allowed(context: Context, path: str) -> resolve.Between | resolve.OneOf | None:
    """The range of a setting's keyword, as the plug-in's signature says it."""
    section, _, key = path.partition(".")
    if section not in FAMILIES:
        return resolve.Between(1)
    build = resolve.resolve(FAMILIES[section], context.setting(f"{section}.name"))
    keyword = resolve.keywords(build).get(key)
    return None if keyword is None else keyword.range


def _flag(axes: Sequence[Axis], wider: dict[str, Axis]) -> str:
    """The whole space as a flag to paste."""
    entries = ", ".join(str(_entry_of(wider.get(axis.path, axis))) for axis in axes)
    return f'--config.search.space="({entries},)"'


def _entry_of(axis: Axis) -> tuple[Any, ...]:
    """An axis as `search.space` writes it, its ends to three digits."""
    when = () if axis.when is None else (f"{axis.when[0]}={'|'.join(axis.when[1])}",)
    if axis.kind == "choice":
        return (axis.path, axis.kind, axis.choices, *when)
    ends = [end if axis.whole else float(f"{end:.3g}") for end in (axis.low, axis.high)]
    return (axis.path, axis.kind, *ends, *when)


def _span(axis: Axis) -> str:
    return _entry(_entry_of(axis))


def _entry(entry: tuple[Any, ...]) -> str:
    """A range for a sentence."""
    if entry[1] == "choice":
        return "/".join(map(str, entry[2]))
    return f"{entry[2]:.3g} to {entry[3]:.3g}"
