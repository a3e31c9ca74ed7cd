"""Is the learning rate in the range in which the program learns?"""

from collections.abc import Iterator

import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, NotGiven
from recipe_jax.probes.outcomes import until
from recipe_jax.probes.runs import FACTORS, Lane
from recipe_jax.types import Finding

ROW = "OPT2"
CHECK = "learning_rate"
LOST, WON = 0.5, 0.9


def diagnose(facts: Facts) -> Iterator[Finding]:
    """E1: training fails where a lower rate learns; E2: it crawls where a higher one learns."""
    lanes = facts.lanes
    if "slower" not in lanes:
        raise NotGiven("a step of the program's own can be tried at its own rate only")
    normal, planned = lanes["normal"], facts.program.num_steps
    own = _skill(normal, planned)
    skills = {name: _skill(lanes[name], planned) for name in FACTORS if name in lanes}
    told = f"Skill at the configured rate {own:.2f}; " + ", ".join(
        f"times {FACTORS[name]:g} {skill:.2f}" for name, skill in skills.items()
    )
    lower = skills["slower"]
    jumps = not normal.finite or _rising(normal)
    if lower > 0.2 and (
        not normal.finite or (own < LOST * lower and (jumps or lower - own > 0.25))
    ):
        yield fault(
            CHECK,
            "E1",
            f"{told}: it is too high.",
            "Take a tenth of it.",
            row=ROW,
            certainty="statistical",
            explains=("F8", "C9", "G1", "C8", "C10", "E4", "E11", "C17"),
        )
        return
    higher = {name: skill for name, skill in skills.items() if name != "slower"}
    best = max(higher, key=higher.__getitem__)
    gained = higher[best] - own
    if gained > 0.15 and own < WON * higher[best]:
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
            explains=("F8", "E11", "C10", "A11"),
        )
        return
    yield healthy(CHECK, f"{told}.", row=ROW)


def _skill(lane: Lane, planned: int | None) -> float:
    if not np.isfinite(lane.losses[: max(1, len(lane.losses) // 2)]).all():
        return -10.0
    return float(until(lane, planned).mean())


def _rising(lane: Lane) -> bool:
    """The training loss of the last tenth is above that of the first steps."""
    tenth = max(3, len(lane.losses) // 10)
    return bool(lane.losses[-tenth:].mean() > 0.9 * lane.losses[:3].mean())
