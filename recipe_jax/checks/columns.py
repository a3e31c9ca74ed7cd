"""Would a column be easier to learn from in another form?"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from recipe_jax.checks.distributions import counts_of
from recipe_jax.probes.examples import Examples
from recipe_jax.types import Finding, Status

CYCLES = ((0, 23), (1, 24), (1, 12), (0, 11), (0, 6), (1, 7), (0, 59), (1, 31), (1, 366), (1, 365))
TURNS = ((0.0, 360.0), (-180.0, 180.0), (0.0, 2 * np.pi), (-np.pi, np.pi))
"""Ranges of clocks, calendars and angles."""
WORDS = re.compile(
    r"hour|month|week|day|minute|season|angle|azimuth|direction|bearing|heading|phase|longitude",
    re.IGNORECASE,
)
LEVEL, CLOSE = 1e-4, 0.25
"""A target that depends on a column, at ends that lie close beside all its ups and downs."""
TAIL, SPIKE, FEW = 20.0, 0.2, 12
LEAST = 60


class Advice(NamedTuple):
    """What a column looks like, what to try, and its values after that."""

    looks: str
    advice: str
    after: np.ndarray


def look(examples: Examples) -> Iterator[Finding]:
    """Cyclic, heavy-tailed and discontinuous columns of numbers, and codes for kinds."""
    if examples.task.modality != "table":
        return
    target = examples.answers
    told: list[dict[str, Any]] = []
    numbers = {name: c for name, c in examples.columns.items() if c.dtype != object}
    for name, column in numbers.items():
        there = np.isfinite(column)
        values = column[there]
        if len(values) < LEAST or len(np.unique(values)) < 4:
            continue
        found = advise(name, values, target[there])
        if found is not None:
            deviation = float(values.std())
            told.append(
                {
                    "column": name,
                    "looks": found.looks,
                    "try": found.advice,
                    "before": counts_of(values),
                    "enters": counts_of((values - values.mean()) / max(deviation, 1e-12)),
                    "enters_range": [
                        float((end - values.mean()) / max(deviation, 1e-12))
                        for end in (values.min(), values.max())
                    ],
                    "after": counts_of(found.after),
                }
            )
    listed = "; ".join(f"{each['column']} looks {each['looks']}" for each in told[:5])
    yield Finding(
        check="columns",
        row="DATA4",
        status=Status.PASS,
        summary=f"{len(told)} of {len(numbers)} columns of numbers may do better in another form"
        + (f": {listed}" if told else "")
        + f"{examples.among}.",
        remedy=f"To be tried: {told[0]['try'].format(column=told[0]['column'])}." if told else "",
        evidence={"columns": told} if told else {},
    )


def advise(
    name: str, values: Float[np.ndarray, " n"], target: Float[np.ndarray, "n answers"]
) -> Advice | None:
    """The first form that fits; None where the column is fine as it is."""
    span = cyclic(name, values, target)
    if span is not None:
        low, period = span
        angle = 2 * np.pi * (values - low) / period
        return Advice(
            "cyclic",
            f"the sine and the cosine of 2π ({{column}} - {low:g}) / {period:g} in its place",
            np.sin(angle),
        )
    middle, quarters = np.median(values), np.subtract(*np.percentile(values, (75, 25)))
    spike, share = _spike(values)
    if share > SPIKE and len(np.unique(values)) > FEW and not _is_class(values == spike, target):
        return Advice(
            f"discontinuous, {share:.0%} are {spike:g}",
            f"a column more that says where {{column}} is {spike:g}",
            values[values != spike],
        )
    reach = np.percentile(np.abs(values - middle), 99.8)
    if quarters > 0 and reach > TAIL * quarters:
        positive = values.min() >= 0
        return Advice(
            f"heavy-tailed, up to {reach / quarters:.0f} times its middle half",
            "log(1 + {column})" if positive else "the sign of {column} times log(1 + |{column}|)",
            np.sign(values) * np.log1p(np.abs(values) / max(float(quarters), 1e-12)),
        )
    if _codes(values, target):
        return Advice(
            "like codes for kinds: neighbouring numbers have nothing in common",
            "words in place of the numbers of {column}, which become a column each",
            values,
        )
    return None


def cyclic(
    name: str, values: Float[np.ndarray, " n"], target: Float[np.ndarray, "n answers"]
) -> tuple[float, float] | None:
    """(start, period) where the range is that of a clock, a calendar or an angle, its name says so,
    or the target depends on it and is alike at both ends, which it is not in between."""
    low, high = float(values.min()), float(values.max())
    whole = bool((values == np.round(values)).all())
    span = None
    if whole and (low, high) in CYCLES and len(np.unique(values)) >= 0.8 * (high - low + 1):
        span = (low, high - low + 1)
    for start, end in TURNS:
        if start <= low <= start + 0.03 * (end - start) and 0 <= end - high < 0.03 * (end - start):
            span = span or (start, end - start)
    if span is None:
        return None
    if WORDS.search(name):
        return span
    parts = min(12, int(span[1])) if whole else 12
    place = np.minimum((parts * (values - span[0]) / span[1]).astype(int), parts - 1)
    groups = [target[place == part] for part in range(parts)]
    if min(map(len, groups)) < 5:
        return None
    for k in _varied(target):
        depends = float(stats.f_oneway(*(group[:, k] for group in groups)).pvalue)
        means = np.array([group[:, k].mean() for group in groups])
        if depends < LEVEL and abs(means[-1] - means[0]) > CLOSE * np.ptp(means):
            return None
        if depends < LEVEL:
            return span
    return None


def _varied(target: np.ndarray) -> list[int]:
    return [k for k in range(target.shape[1]) if target[:, k].std() > 0][:10]


def _spike(values: np.ndarray) -> tuple[float, float]:
    """The commonest value and its share."""
    distinct, counts = np.unique(values, return_counts=True)
    return float(distinct[counts.argmax()]), float(counts.max() / len(values))


def _is_class(where: np.ndarray, target: np.ndarray) -> bool:
    """Whether these are the examples of one class: then the column is the answer, which is told
    elsewhere, and not to be sharpened."""
    return any(np.array_equal(where.astype(target.dtype), each) for each in target.T)


def _codes(values: np.ndarray, target: np.ndarray) -> bool:
    """Whole numbers, few and without a gap, of which the target depends, and not as on a quantity:
    a parabola explains less than half of what the numbers one by one do."""
    distinct, place = np.unique(values, return_inverse=True)
    if not 5 <= len(distinct) <= FEW or not (np.diff(distinct) == 1).all():
        return False
    counts = np.bincount(place)
    if counts.min() < 5:
        return False
    one_by_one = smooth = 0.0
    for k in _varied(target):
        answer = target[:, k] - target[:, k].mean()
        means = np.bincount(place, answer) / counts
        curve = np.polynomial.Polynomial.fit(distinct, means, 2, w=np.sqrt(counts))(distinct)
        one_by_one += float((counts * means**2).sum())
        smooth += float((counts * curve**2).sum())
    levels, total = len(distinct), float(np.square(target - target.mean(0)).sum())
    rest = max(total - one_by_one, 1e-12) / max(len(values) - levels, 1) / max(target.shape[1], 1)
    excess = (one_by_one - smooth) / max(levels - 3, 1) / max(target.shape[1], 1)
    chance = float(stats.f.sf(excess / rest, levels - 3, len(values) - levels))
    return chance < LEVEL and smooth < 0.5 * one_by_one
