"""Is the loss at the start what theory says?"""

from typing import Any

import numpy as np
from jaxtyping import Float, Num
from scipy import stats

from recipe_jax.types import Finding, Status

TOLERANCE = 0.15
"""Nats (or target variances) that may stay unexplained, beside what seeds and examples scatter."""
CLEARLY = 1.0
"""Beyond this much more it is no matter of taste."""
LARGE_VARIANCE, TIMES_EXPECTED = 4.0, 10.0
REMEDY = "Check the scale of the last layer, its bias, and the scale of the inputs."


def examine(
    losses: Float[np.ndarray, " seeds"],
    outputs: Float[np.ndarray, "seeds examples outputs"],
    targets: Num[np.ndarray, "examples ..."],
    *,
    expected: float,
    kind: str,
) -> Finding:
    """Validation loss at the start against the loss of the training prior.

    What the random last layer adds is explained too: at most half the variance of the logits of an
    example for cross entropy, the variance of the outputs for squared error. WARN beyond the
    tolerance, FAIL far beyond it, for a loss that is not finite, and for ten times the expected.
    Outputs that are the same for every input are a WARN: so starts a last layer at zero.
    """
    common: dict[str, Any] = {"check": "loss_at_init", "row": "SKEL1"}
    evidence = {"measured": losses, "expected": expected}
    if not np.isfinite(losses).all() or not np.isfinite(outputs).all():
        return Finding(
            status=Status.FAIL,
            summary=f"Not all outputs at the start are finite; the loss is {losses[0]:.3g}.",
            fault="G1",
            remedy="Look for a logarithm or a division of zero in the model and in the loss.",
            evidence=evidence,
            **common,
        )
    outputs = outputs.astype(np.float64)
    variance = _variance(outputs, kind)
    evidence["logit_variance"] = variance
    added = variance / 2 if kind == "classification" else variance
    evidence["with_outputs"] = expected + added
    residual = losses - expected - added
    if kind == "classification":
        # Half the variance is what many small logits add; few or large ones add less.
        residual = np.maximum(residual, 0.0) + np.minimum(losses - expected, 0.0)
    allowed = TOLERANCE + _scatter(residual, variance) + _sampling(targets, kind)
    off = float(abs(residual.mean()))
    told = (
        f"Loss at the start {losses.mean():.3f} ± {losses.std():.3f} over {len(losses)} seeds; "
        f"theory says {expected:.3f} for the prior and {float(added.mean()):.3f} more for "
        f"outputs of variance {variance.mean():.3f}."
    )
    status, fault, remedy = Status.PASS, "", REMEDY
    if off > allowed:
        status = Status.FAIL if off > allowed + CLEARLY else Status.WARN
        fault = "D1 D3" if residual.mean() < 0 else "C15 C3"
    if variance.mean() > LARGE_VARIANCE:
        status, fault = max(status, Status.WARN, key=list(Status).index), "C2 A9"
    if losses.mean() > TIMES_EXPECTED * max(expected, 0.5):
        status, fault = Status.FAIL, "C2 A9"
    if status == Status.PASS and float(outputs.std(axis=1).max()) < 1e-6:
        told += " The outputs are the same for every input."
        remedy = "Healthy for a last layer that starts at zero; otherwise look at the init."
        status, fault = Status.WARN, "C1"
    return Finding(
        status=status,
        summary=told,
        fault=fault,
        remedy="" if status == Status.PASS else remedy,
        evidence=evidence,
        **common,
    )


def _variance(outputs: np.ndarray, kind: str) -> np.ndarray:
    """What the random last layer adds, by seed: the variance around the outputs that all seeds and
    examples share. A bias that is wrong in the same way for all of them is not excused."""
    count = len(outputs)
    deviation = outputs - outputs.mean(axis=(0, 1))
    if kind == "classification":
        deviation = deviation - deviation.mean(axis=-1, keepdims=True)
    return np.square(deviation).mean(axis=(1, 2)) * (count / max(1, count - 1))


def _scatter(residual: np.ndarray, variance: np.ndarray) -> float:
    """Half the 99.7 % interval over seeds. For a single seed what random outputs can add by chance:
    by Cauchy and Schwarz at most twice their deviation, for targets of variance 1."""
    if len(residual) > 1:
        return float(stats.t.ppf(0.9985, len(residual) - 1) * stats.sem(residual))
    return 2.0 * float(np.sqrt(variance.mean()))


def _sampling(targets: np.ndarray, kind: str) -> float:
    """Three standard errors of the prior's own loss over these examples."""
    if kind == "classification":
        _, label, counts = np.unique(targets, return_inverse=True, return_counts=True)
        losses = -np.log(counts / counts.sum())[label]
    else:
        losses = np.square(targets).reshape(len(targets), -1).mean(axis=1)
    return 3.0 * float(losses.std()) / np.sqrt(max(1, len(targets)))
