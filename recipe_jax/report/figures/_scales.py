"""Where values stand on an upright axis, 0 at the bottom and 1 on top, and its ticks."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from recipe_jax.report import numbers
from recipe_jax.report.figures import _style

APART = 0.1
"""How far 0 on a logarithmic axis, or "diverged", stands from the other places of its axis."""
GAP = 0.055
"""Ticks nearer to each other would overlap."""


def scale(values: Sequence[Any], *, log: bool) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Places and ticks of an axis of numbers, or of words."""
    if _style.are_numbers(values):
        return _number_scale(_style.array(values), log)
    choices = _style.choices(values)
    spots = {str(choice): (i + 0.5) / len(choices) for i, choice in enumerate(choices)}
    places = [math.nan if value is None else spots[str(value)] for value in values]
    return np.array(places), _spaced([(spots[str(v)], _style.cut(v, 12)) for v in choices])


def _number_scale(values: np.ndarray, log: bool) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """From the lowest to the highest; 0 on a logarithmic axis stands apart, below the others."""
    log = log and bool((values > 0).any()) and not (values < 0).any()
    floor = APART if log and (values == 0).any() else 0.0
    there = values[(values > 0) if log else np.isfinite(values)]
    if not len(there):
        return np.full(len(values), math.nan), []
    low, high = float(there.min()), float(there.max())
    ends = (math.log10(low), math.log10(high)) if log else (low, high)

    def place(value: Any) -> Any:
        on_axis = np.log10(np.where(value > 0, value, math.nan)) if log else np.asarray(value)
        span = ends[1] - ends[0]
        unit = (on_axis - ends[0]) / span if span else np.where(np.isfinite(on_axis), 0.5, math.nan)
        return np.where(value == 0, 0.0, floor + (1 - floor) * unit) if floor else floor + unit

    several = np.unique(there)
    marks = several if len(several) <= 6 else round_numbers(low, high, log=log)
    ticks = [(float(place(mark)), numbers.sensible(float(mark), 3)) for mark in marks]
    return place(values), _spaced([(0.0, "0"), *ticks] if floor else ticks)


def score_scale(scores: np.ndarray, maximise: bool) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Better is higher; what diverged stands apart at the bottom."""
    worst, best = _style.score_range(scores, maximise=maximise)
    bad = ~np.isfinite(scores)
    floor, span = APART if bad.any() else 0.0, best - worst

    def place(score: Any) -> Any:
        unit = np.clip((score - worst) / span, 0, 1) if span else 0.0 * score + 1.0
        return floor + (1 - floor) * unit

    ticks = [(0.0, "diverged")] if floor else []
    beyond = (scores < worst) if maximise else (scores > worst)
    if beyond.any():
        ticks.append((floor, f"{'≤' if maximise else '≥'} {numbers.sensible(worst, 3)}"))
    if not bad.all():
        marks = round_numbers(min(worst, best), max(worst, best)) if span else [best]
        ticks += [(float(place(mark)), numbers.sensible(float(mark), 4)) for mark in marks]
    return np.where(bad, 0.0, place(scores)), _spaced(ticks)


def round_numbers(low: float, high: float, *, log: bool = False) -> list[float]:
    """Round numbers from low to high: powers of ten, else 1, 2 or 5 times one."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1,), (1, 2, 5)):
            ticks = [step * 10.0**n for n in decades for step in steps]
            ticks = [
                tick for tick in ticks if low <= tick * (1 + 1e-9) and tick <= high * (1 + 1e-9)
            ]
            if len(ticks) > 2:
                return ticks
        return ticks if len(ticks) > 1 else [low, high]
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= raw * (1 - 1e-9))
    return [
        n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def _spaced(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The ticks whose words do not overlap those of an earlier one."""
    kept: list[tuple[float, str]] = []
    for tick in ticks:
        if all(abs(tick[0] - other) >= GAP for other, _ in kept):
            kept.append(tick)
    return kept
