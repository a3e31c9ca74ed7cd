"""What a check may say of a curve that ended: was the training simply too short?"""

import numpy as np
from jaxtyping import Float
from scipy import stats

SHARE = 0.05
LEVEL = 0.9995
"""Upper ends of gains are those of the two-sided 99.9 % interval."""


def still_falling(curves: Float[np.ndarray, "seeds looks"]) -> bool:
    """Whether the mean curve ends at its lowest and lost more than 5 % in its last third.

    Looks that are not finite are left out; two looks at least are needed.
    """
    finite = np.isfinite(curves)
    looked = finite.any(axis=0)
    mean = np.where(finite, curves, 0.0).sum(axis=0)[looked] / finite.sum(axis=0)[looked]
    if len(mean) < 2:
        return False
    last, before = mean[-1], mean[-1 - max(1, len(mean) // 3)]
    lowest = last <= mean.min() + SHARE * abs(mean.min())
    return bool(lowest and before - last > SHARE * abs(before))


def lowest(curves: Float[np.ndarray, "seeds looks"]) -> Float[np.ndarray, " seeds"]:
    """The lowest finite value of every curve; infinity where there is none."""
    return np.where(np.isfinite(curves), curves, np.inf).min(axis=1)


def upper_end(gains: Float[np.ndarray, " seeds"]) -> float:
    """The upper end of Student's 99.9 % interval of the mean gain; infinity for a single seed."""
    if len(gains) < 2:
        return float("inf")
    return float(gains.mean() + stats.t.ppf(LEVEL, len(gains) - 1) * stats.sem(gains))
