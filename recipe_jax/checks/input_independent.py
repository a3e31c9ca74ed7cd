"""Does the model use its inputs: is it better than the same model that sees zeros?"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from recipe_jax.checks import _curves
from recipe_jax.types import Finding, Status

LEVEL = 1e-3
LEAST_GAIN = 0.05
NOTHING = "The model learns nothing from its inputs: are labels and inputs still aligned?"
SHORT = "The loss still falls: train longer, or raise --config.optim.learning_rate."
FEW = "Not enough data or seeds to tell: raise --config.recipe.seeds."


def examine(
    steps: Int[np.ndarray, " looks"],
    real: Float[np.ndarray, "seeds looks"],
    blind: Float[np.ndarray, "seeds looks"],
) -> Finding:
    """Best validation loss with inputs and with zeros, paired over seeds (Student, one-sided).

    FAIL only when even the upper end of the 99.9 % interval of the gain is under 5 % of the blind
    loss, and the loss has come to rest; between that and a significant gain, the data do not tell,
    and that is a WARN. A loss that was never finite is a FAIL.
    """
    seeing, unseeing = _curves.lowest(real), _curves.lowest(blind)
    evidence = {"steps": steps, "real": real, "blind": blind, "p_value": float("nan")}
    common: dict[str, Any] = {"check": "input_independent", "row": "SKEL5"}
    if not np.isfinite([*seeing, *unseeing]).all():
        return Finding(
            status=Status.FAIL,
            summary="The validation loss of some seeds was never finite.",
            fault="G1",
            remedy="Look at the inputs and at the loss: something is NaN from the start.",
            evidence=evidence,
            **common,
        )
    gains = unseeing - seeing
    least = LEAST_GAIN * float(abs(unseeing.mean()))
    p_value = _p_value(gains)
    told = (
        f"Validation loss {seeing.mean():.3f} with the inputs, {unseeing.mean():.3f} with zeros in "
        f"their place ({len(gains)} seeds, p = {p_value:.1g})."
    )
    if p_value < LEVEL or gains.mean() >= least:
        status, remedy = Status.PASS, ""
    elif _curves.still_falling(real):
        status, remedy = Status.WARN, SHORT
    elif _curves.upper_end(gains) < least:
        status, remedy = Status.FAIL, NOTHING
    else:
        status, remedy = Status.WARN, FEW
    return Finding(
        status=status,
        summary=told,
        fault="" if status == Status.PASS else "F8",
        remedy=remedy,
        evidence=evidence | {"p_value": p_value},
        **common,
    )


def _p_value(gains: np.ndarray) -> float:
    """Of no gain at all; NaN for a single seed."""
    if len(gains) < 2:
        return float("nan")
    if gains.std() == 0.0:
        return 0.0 if gains[0] > 0 else 1.0
    return float(stats.ttest_1samp(gains, 0.0, alternative="greater").pvalue)
