"""Squared or Huber error: outputs and targets (batch, outputs), targets standardised."""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import metrics
from jaxtyping import Array, Float

from recipe_jax.objectives import _metrics
from recipe_jax.resolve import OneOf, Penalty, Positive
from recipe_jax.types import Objective, Score, Spec


def build(
    spec: Spec,
    /,
    *,
    loss: Annotated[str, OneOf(("mse", "huber"))] = "mse",
    huber_delta: Positive = 1.0,
    l2: Penalty = 0.0,
) -> Objective:
    """The mean over outputs of the squared error, or of Huber's loss (1964): error^2 / 2 up to
    `huber_delta`, and linear beyond.

    `loss` counts standardised targets; the metrics mse and mae, and `predict`, the targets' own
    units; r2 is the mean over outputs. `loss_at_init` is that of outputs zero, the training mean:
    the target variance, 1, or for huber its expectation under normal targets.
    """

    def per_example(
        outputs: Float[Array | np.ndarray, "batch outputs"],
        targets: Float[Array | np.ndarray, "batch outputs"],
    ) -> Float[Array, " batch"]:
        if loss == "huber":
            return optax.huber_loss(outputs, targets, delta=huber_delta).mean(-1)
        return jnp.square(outputs - targets).mean(-1)

    def predict(
        outputs: Float[Array | np.ndarray, "*batch outputs"],
    ) -> Float[Array, "*batch outputs"]:
        return jnp.asarray(outputs) * jnp.asarray(_scale(spec)) + jnp.asarray(
            spec.target_mean or 0.0
        )

    return Objective(
        loss=per_example,
        metrics=_collection(spec.num_outputs, _scale(spec)),
        predict=predict,
        perfect=lambda targets: targets,
        loss_at_init=1.0 if loss == "mse" else _expected_huber(huber_delta),
        score=Score("mse", maximise=False),
        l2=l2,
    )


def _scale(spec: Spec) -> tuple[float, ...]:
    return spec.target_scale or (1.0,) * spec.num_outputs


@functools.cache
def _collection(num_outputs: int, scale: tuple[float, ...]) -> type[metrics.Collection]:
    """One class for one task, so that what two builds measured can be merged."""

    def error(*, outputs: Any, targets: Any, **_: Any) -> Any:
        return (outputs - targets) * jnp.asarray(scale, jnp.float32)

    return metrics.Collection.create(
        loss=_metrics.mean_of(lambda *, loss, **_: loss),
        mse=_metrics.mean_of(lambda **output: jnp.square(error(**output)).mean(-1)),
        mae=_metrics.mean_of(lambda **output: jnp.abs(error(**output)).mean(-1)),
        r2=_metrics.r2_of(num_outputs),
    )


def _expected_huber(delta: Any) -> Any:
    """Huber's loss of a standard normal error."""
    normal = jax.scipy.stats.norm
    inside, tail = normal.cdf(delta) - 0.5, normal.sf(delta)
    return inside + delta * normal.pdf(delta) - delta**2 * tail
