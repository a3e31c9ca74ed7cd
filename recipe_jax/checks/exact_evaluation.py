"""Is a score over a split the same whatever batches it was computed in?"""

import itertools
from typing import Any

import numpy as np

from recipe_jax.train.evaluate import metrics_of
from recipe_jax.types import Finding, Objective, Status, judge

TOLERANCE = 1e-4


def examine(
    objective: Objective, outputs: np.ndarray, targets: np.ndarray, *, compiled: dict[str, float]
) -> Finding:
    """The compiled, padded, masked evaluation against small batches and against all at once.

    The small ones are of 7 examples, or at most 32 in number, and the last is never full.
    """
    whole = metrics_of(objective, outputs, targets)
    size = next(s for s in itertools.count(max(7, len(targets) // 32)) if len(targets) % s)
    small = _merged(objective, outputs, targets, size)
    sizes = ["compiled", str(size), str(len(targets))]
    found = [compiled, small, whole]
    names = [name for name in whole if name in compiled]
    worst = max(_apart(each[name], whole[name]) for each in found for name in names)
    if not np.isfinite(whole["loss"]) and worst == 0.0:
        return Finding(
            check="exact_evaluation",
            row="SKEL11",
            status=Status.SKIP,
            summary="The loss is not finite however it is cut: there is nothing to compare.",
        )
    return judge(
        worst < TOLERANCE,
        f"Three ways of cutting the {len(targets)} validation examples into batches "
        + (f"agree to {worst:.1g}." if worst < TOLERANCE else f"differ by {worst:.1g}."),
        check="exact_evaluation",
        row="SKEL11",
        fault="F1",
        remedy="Metrics must be merged as sums and counts, never as means of batch means.",
        evidence={
            "batch_sizes": sizes,
            "losses": [each["loss"] for each in found],
            "scores": [each[objective.score.metric] for each in found],
            "count": len(targets),
        },
    )


def _apart(one: float, other: float) -> float:
    """How far two measurements differ, relative to the larger of 0.1 and the second: an r2 near
    zero is the difference of two numbers near one, and has no more digits than they."""
    if np.isfinite(one) and np.isfinite(other):
        return abs(one - other) / max(abs(other), 0.1)
    return 0.0 if str(one) == str(other) else float("inf")


def _merged(objective: Objective, outputs: np.ndarray, targets: np.ndarray, size: int) -> Any:
    total = objective.metrics.empty()
    for first in range(0, len(targets), size):
        part, truth = outputs[first : first + size], targets[first : first + size]
        total = total.merge(
            objective.metrics.single_from_model_output(
                outputs=part, targets=truth, loss=objective.loss(part, truth), mask=None
            )
        )
    return {name: float(value) for name, value in total.compute().items()}
