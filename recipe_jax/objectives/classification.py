"""Cross entropy: outputs are logits (batch, classes), targets class indices (batch,).

The loss takes probabilities (batch, classes) too: training on mixtures of examples has them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics
from jaxtyping import Array, Float, Int

from recipe_jax.objectives import _metrics
from recipe_jax.resolve import Fraction, Penalty
from recipe_jax.types import Objective, Score, Spec, UserError

MARGIN = 30.0
"""Logit of the right class of a perfect model: its loss is below 1e-11, and float32 can tell."""


METRICS = metrics.Collection.create(
    loss=_metrics.mean_of(lambda *, loss, **_: loss),
    accuracy=_metrics.mean_of(
        lambda *, outputs, targets, **_: (outputs.argmax(-1) == targets).astype(jnp.float32)
    ),
)
"""Mean loss, and the share of examples whose largest logit is the right one."""


def build(
    spec: Spec,
    /,
    *,
    label_smoothing: Fraction = 0.0,
    class_weights: tuple[float, ...] = (),
    l2: Penalty = 0.0,
) -> Objective:
    """Softmax cross entropy, with smoothed labels (Szegedy et al. 2016) and a weight per class.

    Without class_weights those of the data section count (data.balance=weights). They are scaled so
    that the mean weight under the training prior is 1: the size of the loss, and so the rate that
    suits it, stays. `loss_at_init` is the mean loss of the training prior as
    outputs: without smoothing and weights, its entropy, the sum of -p log p.
    """
    class_weights = class_weights or spec.class_weights
    weights = _weights(spec, class_weights)

    def loss(
        outputs: Float[Array | np.ndarray, "batch classes"],
        targets: Int[Array | np.ndarray, " batch"] | Float[Array, "batch classes"],
    ) -> Float[Array, " batch"]:
        surprise = -jax.nn.log_softmax(outputs)
        if targets.ndim == 2:
            smoothed = label_smoothing * surprise.mean(-1, keepdims=True)
            smoothed += (1.0 - label_smoothing) * surprise
            shares = targets * jnp.asarray(weights) if class_weights else targets
            return (shares * smoothed).sum(-1)
        right = jnp.take_along_axis(surprise, targets[:, None], axis=-1)[:, 0]
        smoothed = (1.0 - label_smoothing) * right + label_smoothing * surprise.mean(-1)
        return smoothed * jnp.asarray(weights)[targets] if class_weights else smoothed

    def perfect(targets: Int[Array | np.ndarray, " batch"]) -> Float[Array, "batch classes"]:
        return MARGIN * jax.nn.one_hot(targets, spec.num_outputs)

    return Objective(
        loss=loss,
        metrics=METRICS,
        predict=jax.nn.softmax,
        perfect=perfect,
        loss_at_init=_expected(spec, weights, label_smoothing),
        score=Score("accuracy", maximise=True),
        l2=l2,
    )


def _weights(spec: Spec, class_weights: tuple[float, ...]) -> np.ndarray:
    if not class_weights:
        return np.ones(spec.num_outputs, np.float32)
    if len(class_weights) != spec.num_outputs or min(class_weights) < 0 or not any(class_weights):
        raise UserError(
            f"objective.class_weights={class_weights} must hold {spec.num_outputs} numbers, one a "
            "class, none below zero and not all zero."
        )
    weights = np.asarray(class_weights, np.float64)
    return (weights / (weights @ np.asarray(spec.prior))).astype(np.float32)


def _expected(spec: Spec, weights: np.ndarray, label_smoothing: Any) -> Any:
    """Mean loss when the outputs are the training prior, the same for every example."""
    prior, outputs = np.asarray(spec.prior, np.float64), spec.prior_outputs
    surprise = np.log(np.exp(outputs).sum()) - outputs
    weighted = prior * weights
    sharp, smooth = float(weighted @ surprise), float(weighted.sum() * surprise.mean())
    return (1.0 - label_smoothing) * sharp + label_smoothing * smooth
