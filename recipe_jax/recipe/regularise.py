"""Stage regularise: give up some training loss for validation, only where it is seen to help."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recipe_jax.recipe.base import Context, Planned, Stage, best, paired_interval, standard_error
from recipe_jax.types import Decision, Finding, Result, Status, Trials

EXPECTS = "Dropout or weight decay helps when the model over-fits; each is kept only if it does."
STRENGTHS = {
    "model.dropout": (0.1, 0.3, 0.5),
    "optim.weight_decay": (1e-3, 1e-2, 1e-1),
}


def run(context: Context) -> Stage:
    """REG6, REG7, REG11: every strength against none, paired over seeds, in one program."""
    names = [path for path in STRENGTHS if context.setting(path) is not None]
    changes = [{path: strength} for path in names for strength in STRENGTHS[path]]
    if not changes:
        yield Finding(
            check="regularisers",
            row="REG11",
            status=Status.SKIP,
            summary="Neither the model nor the optimiser has a regulariser to try.",
        )
        return Decision(summary="Nothing to regularise with.")
    off = context.quiet
    seeds = range(100, 100 + context.recipe.seeds)
    results = yield Trials(
        label="regularisers",
        trials=tuple(context.trial(s, off | change) for change in ({}, *changes) for s in seeds),
        epochs=context.epochs,
    )
    count = len(seeds)
    plain, rest = results[:count], results[count:]
    by_change = [rest[i : i + count] for i in range(0, len(rest), count)]
    kept, finding = judge_changes(context, changes, plain, by_change)
    yield finding
    settings = {path: 0.0 for path in names} | kept
    words = ", ".join(f"{path} = {value:g}" for path, value in kept.items())
    return Decision(
        summary=f"Kept: {words}." if kept else "No regulariser is kept: no difference was found.",
        settings=settings,
    )


def planned(context: Context) -> list[Planned]:
    """No change and every change, over the seeds."""
    changes = sum(len(STRENGTHS[p]) for p in STRENGTHS if context.setting(p) is not None)
    return [Planned((1 + changes) * context.recipe.seeds, context.epochs, 1)]


def judge_changes(
    context: Context,
    changes: Sequence[dict[str, Any]],
    plain: Sequence[Result],
    by_change: Sequence[Sequence[Result]],
) -> tuple[dict[str, float], Finding]:
    """For each knob, its best strength, if that is better than none.

    Better: the interval of the paired gain, over seeds and corrected for the number of comparisons
    (Bonferroni), lies wholly above the smallest gain worth having. An accuracy counts examples:
    seeds that agree to the example are not certain beyond the rounding of a uniform step (1/12).
    """
    objective, name = context.objective, context.score_name()
    sign = objective.score.sign()
    base = np.array([best(result, name) for result in plain])
    count = len(context.task.validation.targets)
    known = base[np.isfinite(base)]
    average = float(known.mean()) if len(known) else 0.0
    least = context.recipe.smallest_gain * standard_error(
        average, objective.score.metric, None, count
    )
    rounding = 1 / (12 * count**2) if objective.score.metric == "accuracy" else 0.0
    intervals, kept = [], []
    for results in by_change:
        scores = np.array([best(result, name) for result in results])
        # A run that diverged counts as nothing gained, and as much lost as there was.
        gains = np.where(np.isfinite(scores), sign * (scores - base), -abs(base))
        gains = np.where(np.isfinite(gains), gains, 0.0)
        level = 1 - 0.05 / len(by_change)
        intervals.append(paired_interval(gains, level, least_variance=rounding))
        kept.append(intervals[-1].low > least)
    chosen: dict[str, float] = {}
    for path in {path: None for change in changes for path in change}:
        good = [i for i, change in enumerate(changes) if path in change and kept[i]]
        if good:
            chosen[path] = changes[max(good, key=lambda i: intervals[i].mean)][path]
    words = [f"{path} {value:g}" for change in changes for path, value in change.items()]
    top = max(range(len(changes)), key=lambda i: intervals[i].mean)
    at = intervals[top]
    verdict = f"{sum(kept)} of {len(changes)} are better than none" if any(kept) else "none is kept"
    return chosen, Finding(
        check="regularisers",
        row="REG6 REG7 REG11 ENV5",
        status=Status.PASS,
        summary=f"{len(changes)} changes, each paired over {len(plain)} seeds: {verdict}. The "
        f"largest gain in {objective.score.metric}, {words[top]}, is {at.mean:+.4f} "
        f"[{at.low:+.4f}, {at.high:+.4f}].",
        evidence={
            "names": words,
            "difference": [each.mean for each in intervals],
            "low": [each.low for each in intervals],
            "high": [each.high for each in intervals],
            "kept": kept,
            "seeds": len(plain),
            "metric": objective.score.metric,
            "smallest_gain": least,
        },
    )
