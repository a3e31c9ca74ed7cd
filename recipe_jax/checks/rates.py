"""Is the learning rate in the range in which the program learns?"""

from collections.abc import Iterator

import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.probes.outcomes import LEAST_SKILL, interval, until
from recipe_jax.probes.runs import FACTORS, Lane
from recipe_jax.types import Finding

ROW = "FIT6 DIAG3"
CHECK = "learning_rate"
LOST, WON, FALL = 0.5, 0.9, 0.3
TINY, HUGE = 1e-5, 0.3
"""Sizes of an update beside the weights: a thousandth is usual."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """E1: training fails where a lower rate learns; E2: it crawls where a higher one learns."""
    lanes = facts.lanes
    if "0.1 x" not in lanes:
        yield from _own_rate(facts, lanes["normal"])
        return
    normal, planned = lanes["normal"], facts.program.num_steps
    own = skill_at_end(normal, planned)
    skills = {name: skill_at_end(lanes[name], planned) for name in FACTORS if name in lanes}
    told = f"Skill at the configured rate {own:.2f}; " + ", ".join(
        f"times {FACTORS[name]:g} {max(skill, -1):.2f}" for name, skill in skills.items()
    )
    under = {name: skill for name, skill in skills.items() if FACTORS[name] < 1}
    least = max(under, key=under.__getitem__)
    lower = under[least]
    worse = own < LOST * lower and (_rising(normal) or lower - own > 0.25)
    if normal.finite and not worse:
        worse, least = _ends_worse(lanes, planned, least)
    if lower > 0.2 and (not normal.finite or worse):
        yield fault(
            CHECK,
            "E1",
            f"{told}: it is too high.",
            f"Take {FACTORS[least]:g} times the rate.",
            row=ROW,
            certainty="statistical",
            explains=("F8", "C9", "G1", "C8", "C10", "E4", "E11", "C17"),
        )
        return
    higher = {name: skill for name, skill in skills.items() if FACTORS[name] > 1}
    best = max(higher, key=higher.__getitem__)
    gained = higher[best] - own
    differs = interval(_examples(lanes[best], planned) - _examples(normal, planned))[1] > 0
    # By the loss alone a skill has no unit: there only one that is left far behind counts.
    enough = LOST if facts.judged_by_loss else WON
    if differs and gained > 0.15 and own < enough * higher[best]:
        # Steps that are still planned count: a rate ten times as high saves nine tenths of them.
        ahead = (planned or np.inf) / max(1, int(normal.looks[-1]))
        short = ahead < 0.5 * FACTORS[best]
        crawls = own < LOST * higher[best]
        yield fault(
            CHECK,
            "E2",
            f"{told}: it is low.",
            f"Try {FACTORS[best]:g} times the rate.",
            row=ROW,
            certainty="statistical" if crawls and short else "heuristic",
            warn=not (crawls and short and planned is not None),
            explains=("F8", "E11"),
        )
        return
    ratio = _size(facts, normal)
    if ratio is not None and ratio <= TINY and max(own, *skills.values()) < LEAST_SKILL:
        yield fault(
            CHECK,
            "E2",
            f"{told}; a step changes the weights by {ratio:.1e} of their size.",
            "Raise the rate: a thousandth of the weights a step is usual.",
            row=ROW,
            certainty="heuristic",
            explains=("F8", "E11"),
        )
        return
    yield healthy(CHECK, f"{told}.", row=ROW)


def _size(facts: Facts, lane: Lane) -> float | None:
    """Median size of an update beside that of the weights; None where nothing moves."""
    leaves = [as_numpy(leaf).ravel() for leaf in facts.learnt(facts.variables)]
    size = float(np.linalg.norm(np.concatenate(leaves)))
    moving = lane.sizes[np.isfinite(lane.sizes) & (lane.sizes > 0)]
    return float(np.median(moving)) / size if len(moving) and size else None


def _ends_worse(lanes: dict[str, Lane], planned: int | None, least: str) -> tuple[bool, str]:
    """(whether training ends far worse than at a lower rate, which one). The best look may be early
    luck: a rate too high ends worse, on what it trains on as well, or falls back again and again.
    """
    ends = {}
    for name, lane in lanes.items():
        if name == "normal" or FACTORS.get(name, 1.0) < 1:
            last = np.flatnonzero(lane.looks <= max(planned or lane.looks[-1], lane.looks[0]))[-1]
            rows = slice(max(1, last - 2), last + 1)
            ends[name] = float(lane.held_out[rows].mean()), float(lane.trained[rows].mean())
    other = max(ends.keys() - {"normal"}, key=lambda name: ends[name][0], default=least)
    (own, fitted), (best, well) = ends["normal"], ends[other]
    falls = _falls(lanes["normal"]) > FALL and _falls(lanes[other]) < FALL / 3
    return fitted < well and (own < LOST * best or (falls and best - own > FALL / 2)), other


def _falls(lane: Lane) -> float:
    """How far skill on training examples fell, at most, from the best it had reached."""
    means = lane.trained[1:].mean(-1)
    return float((np.maximum.accumulate(means) - means).max())


def _own_rate(facts: Facts, lane: Lane) -> Iterator[Finding]:
    """Of a step of the program's own, whose rate cannot be changed: how large its updates are."""
    ratio = _size(facts, lane)
    if ratio is None:
        raise NotGiven("no step changes the weights")
    told = f"A step changes the weights by {ratio:.1e} of their size"
    if TINY < ratio < HUGE and lane.finite:
        yield healthy(CHECK, f"{told}.", row=ROW)
        return
    low = ratio <= TINY
    yield fault(
        CHECK,
        "E2" if low else "E1",
        f"{told}{'' if lane.finite else ', until it is not finite'}.",
        "Raise the rate." if low else "Lower the rate.",
        row=ROW,
        certainty="heuristic",
        warn=lane.finite,
        explains=("F8", "E11") if low else ("F8", "G1", "C9", "C8", "C10", "E5"),
    )


def skill_at_end(lane: Lane, planned: int | None) -> float:
    """Mean skill on held-out examples at the best of the looks up to the planned end, each averaged
    with the two before it."""
    return float(_examples(lane, planned).mean())


def _examples(lane: Lane, planned: int | None) -> np.ndarray:
    """Skill of each held-out example, a mean of three looks: the best of many looks at a training
    that jumps about is good by chance."""
    if not np.isfinite(lane.losses[: max(1, len(lane.losses) // 2)]).all():
        return np.full(lane.held_out.shape[1], -10.0)
    held = np.stack(
        [lane.held_out[max(1, i - 2) : i + 1].mean(0) for i in range(1, len(lane.looks))]
    )
    return until(lane._replace(held_out=held, looks=lane.looks[1:]), planned)


def _rising(lane: Lane) -> bool:
    """The training loss of the last tenth is above that of the first steps."""
    tenth = max(3, len(lane.losses) // 10)
    return bool(lane.losses[-tenth:].mean() > 0.9 * lane.losses[:3].mean())
