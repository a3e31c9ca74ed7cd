"""Cross entropy of the next token: outputs are logits (batch, window, tokens), targets (batch,
window) token numbers, -1 where nothing is asked."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from recipe_jax.objectives.classification import MARGIN
from recipe_jax.resolve import Fraction, Penalty
from recipe_jax.types import Objective, Score, Spec


def build(spec: Spec, /, *, label_smoothing: Fraction = 0.0, l2: Penalty = 0.0) -> Objective:
    """Softmax cross entropy in nats, with smoothed labels (Szegedy et al. 2016).

    `loss` is the mean over the positions of an example that are asked, 0 where none is. The metrics
    are means over tokens, not over examples, so a window that is mostly padding counts as little as
    it holds: loss (smoothed, as trained on), nats_per_char, bits_per_char, perplexity (the
    exponential of the mean nats) and accuracy. A character is a token here: a byte, where the data
    are bytes. `loss_at_init` is the mean loss of the training prior as outputs: without smoothing,
    the entropy of single tokens.
    """

    def loss(
        outputs: Float[Array | np.ndarray, "batch window tokens"],
        targets: Int[Array | np.ndarray, "batch window"],
    ) -> Float[Array, " batch"]:
        surprise = -jax.nn.log_softmax(outputs)
        smoothed = (1.0 - label_smoothing) * _right(surprise, targets)
        smoothed = smoothed + label_smoothing * surprise.mean(-1)
        asked = targets >= 0
        return jnp.where(asked, smoothed, 0.0).sum(-1) / jnp.maximum(asked.sum(-1), 1)

    def perfect(
        targets: Int[Array | np.ndarray, "batch window"],
    ) -> Float[Array, "batch window tokens"]:
        return MARGIN * jax.nn.one_hot(targets, spec.num_outputs)

    return Objective(
        loss=loss,
        metrics=METRICS,
        predict=jax.nn.softmax,
        perfect=perfect,
        loss_at_init=_expected(spec, label_smoothing),
        score=Score("nats_per_char", maximise=False),
        l2=l2,
    )


def nats(
    outputs: Float[Array | np.ndarray, "*batch window tokens"],
    targets: Int[Array | np.ndarray, "*batch window"],
) -> Float[Array, "*batch window"]:
    """The surprise at each token; 0 where nothing is asked."""
    return jnp.where(targets >= 0, _right(-jax.nn.log_softmax(outputs), targets), 0.0)


def _right(surprise: Any, targets: Any) -> Array:
    places = jnp.maximum(targets, 0)[..., None]
    return jnp.take_along_axis(jnp.asarray(surprise), places, axis=-1)[..., 0]


def _expected(spec: Spec, label_smoothing: Any) -> Any:
    """Mean loss when the outputs are the training prior everywhere."""
    outputs = spec.prior_outputs
    surprise = np.log(np.exp(outputs).sum()) - outputs
    sharp = float(np.asarray(spec.prior, np.float64) @ surprise)
    return (1.0 - label_smoothing) * sharp + label_smoothing * float(surprise.mean())


def _mean_of(
    total: Callable[..., Float[Array, " batch"]],
    finish: Callable[[Array], Array] = lambda mean: mean,
) -> type[metrics.Average]:
    """`finish` of the mean over all asked tokens; `total(outputs=, targets=, loss=, asked=)` is the
    sum over those of one example."""

    @struct.dataclass
    class MeanOf(metrics.Average):
        @classmethod
        def from_model_output(
            cls: Any, *, outputs: Any, targets: Any, loss: Any, mask: Any = None
        ) -> Any:
            asked: Bool[Array, "batch window"] = jnp.asarray(targets) >= 0
            if mask is not None:
                asked = asked & mask.astype(bool)[:, None]
            sums = total(outputs=outputs, targets=targets, loss=loss, asked=asked)
            # What examples that do not count hold, NaN even, is chosen away: 0 * NaN would stay.
            sums = jnp.where(asked.any(-1), sums, 0.0)
            return cls(total=sums.sum(), count=asked.sum(dtype=jnp.int32))

        def compute(self) -> Array:
            return finish(super().compute())

    return MeanOf


def _sum_nats(*, outputs: Any, targets: Any, **_: Any) -> Array:
    return nats(outputs, targets).sum(-1)


METRICS = metrics.Collection.create(
    loss=_mean_of(lambda *, loss, asked, **_: loss * asked.sum(-1)),
    nats_per_char=_mean_of(_sum_nats),
    bits_per_char=_mean_of(_sum_nats, lambda mean: mean / math.log(2.0)),
    perplexity=_mean_of(_sum_nats, jnp.exp),
    accuracy=_mean_of(
        lambda *, outputs, targets, asked, **_: (
            ((outputs.argmax(-1) == targets) & asked).sum(-1).astype(jnp.float32)
        )
    ),
)
"""Means over the tokens that are asked, whatever windows and batches they came in."""
