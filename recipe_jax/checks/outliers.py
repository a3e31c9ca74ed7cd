"""Which examples are the strangest?"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from recipe_jax.checks import data_audit
from recipe_jax.probes.examples import Examples
from recipe_jax.types import Finding, Status, judge

NEIGHBOURS = 5
SHOWN, LISTED = 24, 200
FAR, DEVIATIONS = 5.0, 8.0
"""Strange beyond doubt: so many times the usual distance, and so many deviations of its log."""


def look(examples: Examples) -> Iterator[Finding]:
    """By the mean distance to the nearest training examples (Ramaswamy et al., 2000)."""
    distance = examples.near.distances[:, :NEIGHBOURS].mean(1)
    usual = float(np.median(distance))
    order = np.argsort(-distance, kind="stable")
    times = distance / max(usual, 1e-12)
    strange = (deviations(distance) > DEVIATIONS) & (times > FAR)
    first = order[0]
    yield judge(
        not strange.any(),
        f"{int(strange.sum())} of {len(distance)} training examples lie far from all others; the "
        f"strangest, {examples.train.ids[first]}, is {times[first]:.1f} times as far from its "
        f"nearest {NEIGHBOURS} as usual{examples.among}.",
        otherwise=Status.WARN,
        check="outliers",
        row="DATA1 DATA2",
        fault="A7",
        certainty="heuristic",
        remedy="Look at them: are they broken, of another kind, or in another unit? If they belong "
        "here, leave them.",
        evidence=data_audit.picture(examples.task, examples.train, order[:SHOWN])
        | {
            "times": times[order[:SHOWN]],
            "all_ids": [str(name) for name in examples.train.ids[order[:LISTED]]],
            "all_times": times[order[:LISTED]],
            "strange": int(strange.sum()),
        },
    )


def deviations(distance: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Of the log distance from its median, in robust deviations: those of the upper half, so that a
    heavy tail sets a wide scale."""
    logs = np.log(np.maximum(distance, 1e-12))
    middle = np.median(logs)
    upper = np.quantile(logs, 0.9) - middle
    return (logs - middle) / max(float(upper) / 1.2816, 1e-6)
