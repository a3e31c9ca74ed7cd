"""Metrics as sums and counts over the examples of a mask; they merge exactly."""

from typing import Any

import jax
import jax.numpy as jnp
from clu import metrics
from flax import struct


def mean_of(per_example: Any) -> type[metrics.Average]:
    """The mean of `per_example(outputs=, targets=, loss=)`, one number per example."""

    @struct.dataclass
    class MeanOf(metrics.Average):
        @classmethod
        def from_model_output(cls: Any, *, mask: Any = None, **model_output: Any) -> Any:
            values = per_example(**model_output)
            keep = _keep(mask, values)
            return cls(total=jnp.where(keep, values, 0.0).sum(), count=keep.sum(dtype=jnp.int32))

    return MeanOf


def r2_of(num_outputs: int) -> type[metrics.Metric]:
    """1 - squared error / spread of the targets, for each output, then the mean over outputs.

    The spread merges as counts, means and squared deviations (Chan et al. 1983), so neither many
    batches nor a mean far from zero costs digits. NaN where an output's targets are all equal.
    """

    @struct.dataclass
    class R2(metrics.Metric):
        count: jax.Array
        mean: jax.Array
        spread: jax.Array
        error: jax.Array

        @classmethod
        def empty(cls) -> Any:
            zeros = jnp.zeros(num_outputs, jnp.float32)
            return cls(count=jnp.int32(0), mean=zeros, spread=zeros, error=zeros)

        @classmethod
        def from_model_output(
            cls, *, outputs: Any, targets: Any, mask: Any = None, **_: Any
        ) -> Any:
            keep = _keep(mask, targets)

            def total(values: Any) -> Any:
                return jnp.where(keep[:, None], values, 0.0).sum(0)

            mean = total(targets) / jnp.maximum(keep.sum(), 1)
            return cls(
                count=keep.sum(dtype=jnp.int32),
                mean=mean,
                spread=total(jnp.square(targets - mean)),
                error=total(jnp.square(outputs - targets)),
            )

        def merge(self, other: Any) -> Any:
            ours, theirs = self.count.astype(jnp.float32), other.count.astype(jnp.float32)
            share = theirs / jnp.maximum(ours + theirs, 1.0)
            apart = other.mean - self.mean
            return type(self)(
                count=self.count + other.count,
                mean=self.mean + apart * share,
                spread=self.spread + other.spread + jnp.square(apart) * ours * share,
                error=self.error + other.error,
            )

        def compute(self) -> jax.Array:
            known = self.spread > 0.0
            explained = 1.0 - self.error / jnp.where(known, self.spread, 1.0)
            return jnp.where(known, explained, jnp.nan).mean()

    return R2


def _keep(mask: Any, values: Any) -> jax.Array:
    """Examples that count. What the others hold, NaN even, is chosen away: 0 * NaN would stay."""
    return jnp.ones(values.shape[0], bool) if mask is None else mask.astype(bool)
