"""Whether the model's confidence can be believed, and the temperature that mends it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from recipe_jax import calibration
from recipe_jax.recipe.base import Context, paired_interval
from recipe_jax.types import Finding, Split, Status


def temperature(context: Context, outputs: np.ndarray, split: Split) -> tuple[float, Finding]:
    """Temperature scaling (Guo et al. 2017), before and after. It is kept only if, fitted on four
    fifths of validation and judged on the others, it surely takes something off the surprise."""
    rows, targets = calibration.asked(outputs, split.targets)
    scaled = np.array(rows)
    for held, found in calibration.cross_fitted(calibration.temperature, rows, targets):
        scaled[held] = rows[held] / found
    before, after = (calibration.surprise(each, targets) for each in (rows, scaled))
    gain = paired_interval(before - after)
    kept = gain.low > 0.0
    fitted = calibration.temperature(rows, targets)
    bins, mended = (calibration.reliability(each, targets) for each in (rows, scaled))
    side = "too sure" if fitted > 1 else "not sure enough"
    verdict = "it goes into the model" if kept else "it is left out: no difference was found"
    return fitted if kept else 1.0, Finding(
        check="calibration",
        row="SQZ1",
        status=Status.PASS,
        summary=f"Expected calibration error {bins.error:.4f}, and {mended.error:.4f} with a "
        f"temperature of {fitted:.3g}, fitted on other validation examples ({side} without); log "
        f"loss {before.mean():.4f} and {after.mean():.4f}, a gain of {gain.mean:+.4f} "
        f"[{gain.low:+.4f}, {gain.high:+.4f}]: {verdict}.",
        evidence={
            "temperature": fitted,
            "kept": kept,
            "error": [bins.error, mended.error],
            "loss": [float(before.mean()), float(after.mean())],
            "confidence": [bins.confidence, mended.confidence],
            "accuracy": [bins.accuracy, mended.accuracy],
            "counts": [bins.counts, mended.counts],
        },
    )


def coverage(
    context: Context,
    members: Float[np.ndarray, "models *batch outputs"],
    outputs: np.ndarray,
    split: Split,
    shares: Sequence[float],
) -> Finding:
    """Whether the truth lies where the spread of the members says: alone, and with a constant
    variance added for what no member knows, fitted on other validation examples."""
    weights = np.asarray(shares or [1.0 / len(members)] * len(members))
    centre = np.tensordot(weights, members, 1)
    spread = np.tensordot(weights, np.square(members - centre), 1)
    errors = np.asarray(outputs - split.targets, np.float64)

    def missing(errors: np.ndarray, spread: np.ndarray) -> float:
        return max(0.0, float((np.square(errors) - spread).mean()))

    whole = np.array(spread, np.float64)
    pairs = calibration.cross_fitted(
        lambda rows, _: missing(rows[..., 0], rows[..., 1]),
        np.stack([errors, spread], -1),
        split.targets,
    )
    for held, added in pairs:
        whole[held] += added
    alone, together = (calibration.coverage(errors, each) for each in (spread, whole))
    at = calibration.LEVELS.index(0.95)
    deviation = float(np.sqrt(missing(errors, spread)))
    return Finding(
        check="coverage",
        row="SQZ1",
        status=Status.PASS,
        summary=f"The 95 % interval of the members' spread covers {alone[at]:.1%} of the "
        f"validation targets, and {together[at]:.1%} with a constant deviation of {deviation:.3g} "
        "(of the targets' own) added: the members tell how far they differ, not how far the truth "
        "may be.",
        evidence={
            "levels": list(calibration.LEVELS),
            "covered": [alone, together],
            "deviation": deviation,
        },
    )
