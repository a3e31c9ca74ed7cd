"""Does starting the last bias at the training prior take the hockey stick off the curve?"""

import numpy as np
from jaxtyping import Float, Int

from recipe_jax.types import Finding, Status

LARGEST_COST = 0.05
"""Nats that the prior may cost before it counts as wrong."""


def examine(
    steps: Int[np.ndarray, " looks"],
    with_prior: Float[np.ndarray, "seeds looks"],
    without_prior: Float[np.ndarray, "seeds looks"],
) -> Finding:
    """Training curves of the same seeds with and without the prior in the bias."""
    first, other = with_prior[:, 0], without_prior[:, 0]
    both = np.isfinite(first) & np.isfinite(other)
    if not both.any():
        return Finding(
            check="output_bias",
            row="SKEL2",
            status=Status.SKIP,
            summary="The loss at the start is not finite, with the prior and without.",
        )
    saved = float((other[both] - first[both]).mean())
    status = Status.PASS if saved > -LARGEST_COST else Status.WARN
    # Rounded first: a loss of next to nothing has no sign.
    worth = round(saved, 3) + 0.0
    even = " (next to nothing: the prior is even)" if abs(saved) < 0.02 else ""
    return Finding(
        check="output_bias",
        row="SKEL2",
        status=status,
        summary=f"The last bias starts at the training prior; that is worth {worth:.3f} of loss at "
        f"the start{even}.",
        fault="" if status == Status.PASS else "C3",
        remedy=""
        if status == Status.PASS
        else "The bias makes the start worse: are the classes counted on the training labels?",
        evidence={
            "steps": steps,
            "with_prior": with_prior.mean(0),
            "without_prior": without_prior.mean(0),
        },
    )
