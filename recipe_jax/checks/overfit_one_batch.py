"""Can the model learn a few examples by heart?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from recipe_jax.types import Finding, Status

LEARNT = 0.05
FALLING = 0.9
BROKEN = (
    "Something between the inputs and the loss is broken: look at the labels beside the "
    "predictions, at the last layer, and at the loss."
)


def examine(
    losses: Float[np.ndarray, "factors sizes steps"],
    *,
    factors: Sequence[float],
    sizes: Sequence[int],
    perfect: Float[np.ndarray, "factors sizes"] | None,
    expected: float,
    capable: Sequence[bool],
    shown: dict[str, Any],
    least_right: float = 1.0,
) -> Finding:
    """Training loss on a few fixed examples must fall to (nearly) nothing at some rate.

    factors: the rates tried, as multiples of the configured one (1 is among them); perfect: share
    of the examples predicted right at the end, of which `least_right` is enough; None where there
    is no right and wrong, as in regression;
    expected: the loss of the training prior, 5 % of which counts as learnt; capable: whether the
    model has as many parameters as numbers to learn, without which nothing is asked of it.

    PASS when the configured rate does it. WARN when only another rate does, when even the best one
    is not done (its loss still falls), or when the model is too small. FAIL when the configured
    rate blows up where a lower one learns, and when no rate does it.
    """
    level = max(expected, 0.5) if np.isfinite(expected) else 1.0
    last = tail(losses)
    configured = list(factors).index(1.0)
    learnt, shares = last <= LEARNT * level, [""] * len(sizes)
    if perfect is not None:
        learnt &= perfect >= least_right
        shares = [f", {share:.0%} right" for share in perfect[configured]]
    enough = learnt | ~np.asarray(capable)
    over = enough.any(axis=0)
    start = losses[configured, :, 0]
    told = "; ".join(
        f"{size} examples: loss {first:.3g} -> {end:.2g}{share}"
        for size, first, end, share in zip(sizes, start, last[configured], shares)
    )
    status, fault, remedy = _verdict(
        learnt=np.asarray(learnt.all(axis=1)),
        enough=np.asarray(enough.all(axis=1)),
        falling=bool((_falling(losses)[last.argmin(axis=0), range(len(sizes))] | over).all()),
        blown_up=not bool((last[configured] < 0.5 * level).all()),
        finite=bool(np.isfinite(last).any()),
        factors=np.asarray(factors),
    )
    return Finding(
        check="overfit_one_batch",
        row="SKEL6",
        status=status,
        summary=f"{told}. They are the first of the training split, in a new order every epoch; "
        "validation stays whole.",
        fault=fault,
        remedy=remedy,
        evidence={
            "losses": losses[configured],
            "steps": np.arange(losses.shape[-1]),
            "sizes": list(sizes),
            "factors": list(factors),
            "learnt": learnt,
        }
        | shown,
    )


def tail(losses: Float[np.ndarray, "*lanes steps"]) -> Float[np.ndarray, "*lanes"]:
    """The mean of the last fiftieth; infinity where any of it is not finite."""
    end = losses[..., -max(1, losses.shape[-1] // 50) :].mean(axis=-1)
    return np.where(np.isfinite(end), end, np.inf)


def _falling(losses: Float[np.ndarray, "*lanes steps"]) -> Bool[np.ndarray, "*lanes"]:
    """Whether the loss lost more than a tenth in the second half."""
    return tail(losses) < FALLING * tail(losses[..., : max(1, losses.shape[-1] // 2)])


def _verdict(
    *,
    learnt: np.ndarray,
    enough: np.ndarray,
    falling: bool,
    blown_up: bool,
    finite: bool,
    factors: np.ndarray,
) -> tuple[Status, str, str]:
    """(status, fault, remedy); learnt and enough have one entry a rate."""
    configured = factors == 1.0
    if learnt[configured].all():
        return Status.PASS, "", ""
    if enough[configured].all():
        remedy = "The model has fewer parameters than there are numbers to learn: try a larger one."
        return Status.WARN, "", remedy
    if enough.any():
        better = factors[enough][np.abs(np.log(factors[enough])).argmin()]
        rate = f"--config.optim.learning_rate {better:g} times the present one"
        if better > 1.0:
            return Status.WARN, "E2", f"It is learnt at another rate: try {rate}."
        status = Status.FAIL if blown_up else Status.WARN
        return status, "E1", f"It is learnt at a lower rate: try {rate}."
    if falling:
        return Status.WARN, "E2 E11", "No rate comes to the end of it, but the loss still falls."
    if not finite:
        return Status.FAIL, "G1", "The loss is not finite at any rate: look at inputs and loss."
    return Status.FAIL, "C4 C5 D7", BROKEN
