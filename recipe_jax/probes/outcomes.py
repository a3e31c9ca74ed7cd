"""Whether training works, whatever the reason: what heuristics are confirmed by."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from recipe_jax.probes.facts import Facts, NotGiven
from recipe_jax.probes.runs import Lane

LEVEL = 0.999
LEAST_SKILL = 0.05
"""Of what there is between the constant predictor and perfection: under this it learnt nothing."""
BEHIND = 0.15
"""So much skill behind a ridge or the neighbours is more than taste."""
BY_HEART = 0.8
FAR_BEHIND, NOT_BY_HEART = 0.3, 0.5
"""Beyond these there is no doubt."""


class Outcome(NamedTuple):
    """How the planned training ends, as far as it was followed.

    skill: mean on held-out examples at its best, with low and high end of its interval
    learnt: mean skill on what was trained on; by_heart: on the one batch trained on alone
    simple: skill of the simple models on the same held-out examples, NaN where there is none
    finite: no loss was NaN or infinite; whole: the training was followed to its planned end
    failures: sentences, one for everything that did not work; fails: they leave no doubt
    """

    skill: float
    low: float
    high: float
    learnt: float
    by_heart: float
    simple: float
    finite: bool
    whole: bool
    failures: tuple[str, ...]
    fails: bool


def judge(facts: Facts) -> Outcome:
    """The outcome of the short trainings."""
    lanes, planned = facts.lanes, facts.program.num_steps
    normal = lanes["normal"]
    whole = planned is not None and planned <= int(normal.looks[-1])
    candidates = [until(normal, planned)]
    if not whole:
        # A longer training at a low rate is much like a short one at a higher one.
        faster = ("10 x", "100 x")
        candidates += [lanes[name].best for name in faster if name in lanes]
    held = max(candidates, key=lambda skill: skill.mean())
    mean, low, high = interval(held)
    by_heart = _by_heart(facts, lanes)
    simple = _simple(facts)
    failures = []
    if not normal.finite:
        step = int(np.flatnonzero(~np.isfinite(normal.losses))[0])
        failures.append(f"the loss is not finite from step {step} on")
    # A skill that the loss measures has no scale but its zero.
    least = 0.0 if facts.judged_by_loss else LEAST_SKILL
    if high < least:
        failures.append("held-out examples are predicted no better than by a constant")
    elif low > -1 and high < simple - BEHIND:
        failures.append(
            f"its skill on held-out examples, {mean:.2f}, is behind that of simple models, "
            f"{simple:.2f}"
        )
    # A training that was followed in part only may be too slow for that, and fine.
    asked = (whole or mean < 0.5) and not _hopeless(facts)
    if asked and by_heart < BY_HEART:
        failures.append(f"one batch is not learnt by heart (skill {by_heart:.2f} of 1)")
    learnt = max(float(np.max(normal.trained.mean(-1))), -10.0)
    stuck = asked and by_heart < NOT_BY_HEART
    behind = high < least or high < simple - FAR_BEHIND
    followed = whole or planned is None
    fails = not normal.finite or ((behind or stuck) if followed else (behind and stuck))
    return Outcome(
        mean, low, high, learnt, by_heart, simple, normal.finite, whole, tuple(failures), fails
    )


def until(lane: Lane, planned: int | None) -> np.ndarray:
    """Skill on held-out examples at the best look up to the planned end."""
    reached = lane.looks <= max(planned or lane.looks[-1], lane.looks[0])
    held = lane.held_out[reached]
    return held[int(np.argmax(held.mean(-1)))]


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """(mean, low, high) at LEVEL."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, -np.inf, np.inf
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return mean, mean - half, mean + half


def _by_heart(facts: Facts, lanes: dict[str, Lane]) -> float:
    """Skill on the one batch that was trained on alone, in the mode in which it is better."""
    skills = []
    for train in (False, True):
        outputs, _ = facts.forward(lanes["one batch"].last, facts.batch.inputs, facts.key, train)
        skills.append(float(facts.skill(outputs, facts.batch.targets).mean()))
    return max(skills)


def _hopeless(facts: Facts) -> bool:
    """Equal inputs with different targets in the batch, fewer weights than examples, or a meaning
    that is not known: then it cannot be asked to learn by heart."""
    if facts.judged_by_loss:
        return True
    inputs = np.asarray(facts.batch.inputs).reshape(facts.batch_size, -1)
    few = sum(leaf.size for leaf in facts.learnt(facts.variables)) < 2 * facts.batch_size
    return few or len(np.unique(inputs, axis=0)) < len(inputs) or facts.meaning.tokens


def _simple(facts: Facts) -> float:
    try:
        held = facts.simple.held_out
    except NotGiven:
        return float("nan")
    return float("nan") if held is None else float(held.mean())
