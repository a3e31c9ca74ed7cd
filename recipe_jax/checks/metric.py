"""Does the metric tell good outputs from bad ones, and every example alike?"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, guarded
from recipe_jax.types import Finding

ROW = "SKEL11"
COUNT = 45
"""Not a multiple of usual batch sizes: the last batch of an evaluation is smaller."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """F4: it does not follow what is right; F1: examples of the last batch weigh more."""
    facts.given("metric", "apply")
    facts.same_scale()
    meaning = facts.meaning
    count = min(len(facts.train.targets), max(COUNT, facts.batch_size + facts.batch_size // 3 + 1))
    targets = np.asarray(facts.train.targets[:count])
    shape = (count, *np.shape(facts.outputs)[1:])
    perfect = meaning.perfect(targets, facts.form, shape)
    draw = np.random.default_rng(10)
    half = perfect.copy()
    wrong = np.stack([perfect[draw.permutation(count)] for _ in range(20)])
    half[count // 2 :] = wrong[0][count // 2 :]
    right = _metric(facts, perfect, targets)
    others = np.array([_metric(facts, each, targets) for each in wrong])
    told = f"The metric of perfect outputs is {right:.3g}, of shuffled ones {others.mean():.3g}"
    if not np.isfinite(right) or not (right > others.max() or right < others.min()):
        yield fault(
            "metric_follows",
            "F4",
            f"{told}: it does not tell them apart.",
            "Look at the axis of argmax, at thresholds, and at the order of its arguments.",
            row=ROW,
        )
        return
    if _reversed(facts, perfect, targets):
        yield fault(
            "metric_follows",
            "F4",
            f"{told}: outputs that say the opposite are the better ones for it.",
            "Look at argmin and argmax, at signs and at thresholds.",
            row=ROW,
        )
        return
    mixed = _metric(facts, half, targets)
    low, high = min(right, others.mean()), max(right, others.mean())
    if not low - 1e-6 <= mixed <= high + 1e-6:
        yield fault(
            "metric_follows",
            "F4",
            f"{told}, of half of both {mixed:.3g}, which is not in between.",
            "Look at the axis of argmax, at thresholds, and at the order of its arguments.",
            row=ROW,
            warn=True,
        )
        return
    yield healthy("metric_follows", f"{told}.", row=ROW)
    orders = [draw.permutation(count) for _ in range(8)]
    values = np.array([_metric(facts, half[order], targets[order]) for order in orders])
    scale = max(abs(mixed), 1e-6)
    if np.ptp(values) > 1e-4 * scale:
        yield fault(
            "every_example_counts",
            "F1",
            f"The metric of the same {count} examples in other orders runs from {values.min():.5g} "
            f"to {values.max():.5g}.",
            "Add up sums and counts over batches, and divide once.",
            row=ROW,
        )
        return
    yield healthy("every_example_counts", "It does not depend on their order.", row=ROW)


def _reversed(facts: Facts, perfect: np.ndarray, targets: np.ndarray) -> bool:
    """Of three classes or more: outputs with the sign turned are all wrong, as are those that are
    sure of another class; a metric for which only the former are far from perfect reads the lowest
    output."""
    meaning = facts.meaning
    if meaning.kind != "classes" or facts.form != "logits" or perfect.shape[-1] < 3:
        return False
    right = _metric(facts, perfect, targets)
    opposite = _metric(facts, -perfect, targets)
    other = _metric(facts, np.roll(perfect, 1, axis=-1), targets)
    far = abs(opposite - right)
    return bool(np.isfinite([right, opposite, other]).all()) and abs(other - right) < 0.5 * far


def _metric(facts: Facts, outputs: Any, targets: Any) -> float:
    with guarded("metric"):
        return float(np.mean(facts.program.metric(outputs, targets)))  # pyright: ignore
