"""How large the gradients are, and how often clipping fires or would."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from recipe_jax.recipe.base import Context
from recipe_jax.types import Finding, Result, Status, judge

CUSTOMARY = (5.0, 10.0, 15.0)
OFTEN = 0.1
"""Share of steps above which clipping is no patch any more."""


def examine(context: Context, results: Sequence[Result]) -> Finding:
    """FIT7: the norms at the last step of every round, before clipping; of runs as they go on.

    A WARN where clipping is on and fires in more than a tenth of them. Where it is off it is told
    how often the customary limits would fire.
    """
    norms = np.array([result.grad_norms for result in results])
    known = norms[np.isfinite(norms)]
    common: dict[str, Any] = {"check": "gradient_norms", "row": "FIT7"}
    if not known.size:
        return Finding(
            status=Status.SKIP,
            summary="No gradient was finite: nothing could be clipped.",
            **common,
        )
    # An optimiser that cannot clip has no such setting.
    limit = float(context.setting("optim.clip_norm") or math.inf)
    is_on = math.isfinite(limit)
    limits = (limit,) if is_on else CUSTOMARY
    shares = [float((known > each).mean()) for each in limits]
    fired = ", ".join(f"{share:.0%} at {each:g}" for share, each in zip(shares, limits))
    verb = "Clipping is on and fires" if is_on else "Clipping is off; it would fire"
    return judge(
        not is_on or shares[0] <= OFTEN,
        f"Gradient norms, at the last step of each of {known.size} rounds of {len(results)} runs: "
        f"median {np.median(known):.3g}, largest {known.max():.3g}. {verb} in {fired}.",
        otherwise=Status.WARN,
        remedy="Clipping is a patch: look for odd examples and for a rate that is too high, or "
        "raise --config.optim.clip_norm.",
        evidence={
            "steps": results[0].steps[1:],
            "norms": np.where(np.isfinite(norms), norms, np.nan),
            "limits": list(limits),
            "shares": shares,
            "on": is_on,
        },
        **common,
    )
