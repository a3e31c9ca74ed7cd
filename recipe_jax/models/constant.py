"""The constant model: one learnt output for every input, the baseline that sees no input."""

import jax
import jax.numpy as jnp
from flax import nnx

from recipe_jax import adapters
from recipe_jax.resolve import Fraction
from recipe_jax.types import Model, Spec


class _Constant(nnx.Module):
    def __init__(self, outputs: jax.Array):
        self.bias = nnx.Param(outputs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return jnp.broadcast_to(self.bias[...], (inputs.shape[0], self.bias.shape[0]))


def build(spec: Spec, /, *, prior_bias: Fraction = 1.0) -> Model:
    """A bias alone; parameters: num_outputs. (batch, ...) -> (batch, num_outputs)."""
    return adapters.from_nnx(
        lambda rngs: _Constant(jnp.asarray(spec.prior_outputs, jnp.float32) * prior_bias)
    )
