"""How do predictions on a fixed batch move while a network trains, and do they come to rest?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from recipe_jax.types import Finding, Status, judge

LOOKS = 20
"""As many looks as count: more of them would see more of the way that is gone to and fro."""
RESTLESS = 2.0
"""Ways to and fro, in units of the way that predictions came, from which on they do not settle."""
CALMER = 3.0
"""A tenth of the rate that is so much calmer shows that the rate is what makes them restless."""


def examine(
    epochs: Float[np.ndarray, " looks"],
    curves: Float[np.ndarray, "rates seeds looks examples"],
    *,
    rates: Sequence[float],
    diverged: Bool[np.ndarray, "rates seeds"],
    what: str,
    shown: Mapping[str, Any],
) -> Finding:
    """Predictions for the same validation examples at every look, NaN after an early stop.

    curves: `what`, the probability of the right answer, or the value in standard deviations of the
    target; rates: the configured one, then lower ones to compare with (none where the optimiser has
    no rate); shown: the examples, for the figure.
    """
    restless = np.array(
        [
            [np.inf if bad else jitter(lane) for bad, lane in zip(*each)]
            for each in zip(diverged, curves)
        ]
    )
    found = [float(np.median(each)) for each in restless]
    first, others = found[0], found[1:]
    told = f"{curves.shape[-1]} validation examples watched at {len(epochs)} looks: after a third "
    told += f"of the training {what} moves to and fro by {_times(first)} the way that it came"
    told += "".join(
        f", at a rate of {rate:g} by {_times(value)}" for rate, value in zip(rates[1:], others)
    )
    by_rate = any(value * CALMER < first for value in others)
    cause = "the rate is too high" if by_rate else "these data are hard to fit, or the rate is high"
    return judge(
        first <= RESTLESS,
        f"{told}." if first <= RESTLESS else f"{told}; {cause}.",
        otherwise=Status.WARN,
        check="prediction_dynamics",
        row="SKEL9",
        fault="E1" if by_rate else "",
        certainty="heuristic",
        remedy="Lower optim.learning_rate; stage overfit looks for the best one."
        if by_rate
        else "Look at the examples that move most: are their labels right, their inputs enough?",
        evidence={
            "epochs": epochs,
            "rates": list(rates),
            "curves": curves[:, 0],
            "jitter": restless,
            "what": what,
            "examples": dict(shown),
        },
    )


def jitter(curves: Float[np.ndarray, "looks examples"]) -> float:
    """The way that predictions go to and fro after the first third of the training, as a share of
    the way that they came in all; both are means over examples.

    To and fro is the total variation less the net change, so slow learning is no jitter.
    """
    kept = curves[np.isfinite(curves).all(1)]
    if len(kept) < 3:
        return 0.0
    chosen = kept[np.unique(np.linspace(0, len(kept) - 1, min(len(kept), LOOKS + 1)).astype(int))]
    late = chosen[len(chosen) // 3 :]
    way = np.abs(np.diff(late, axis=0)).sum(0) - np.abs(late[-1] - late[0])
    came = np.abs(chosen[-1] - chosen[0]).mean()
    return float(max(0.0, way.mean()) / max(came, 1e-12))


def _times(value: float) -> str:
    return f"{value:.2g} times" if np.isfinite(value) else "more than can be told (it diverges)"
