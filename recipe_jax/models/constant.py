"""The constant model: one learnt output for every input, the baseline that sees no input."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from recipe_jax import adapters
from recipe_jax.resolve import Fraction
from recipe_jax.types import Model, Spec


class _Constant(nnx.Module):
    def __init__(self, outputs: jax.Array):
        self.bias = nnx.Param(outputs)


def build(spec: Spec, /, *, prior_bias: Fraction = 1.0) -> Model:
    """A bias alone; parameters: num_outputs. (batch, ...) -> (batch, num_outputs), or for
    next_token (batch, window) -> (batch, window, num_outputs)."""

    def call(module: _Constant, inputs: jax.Array, **_: Any) -> jax.Array:
        asked = inputs.shape[: 2 if spec.kind == "next_token" else 1]
        return jnp.broadcast_to(module.bias[...], (*asked, spec.num_outputs))

    return adapters.from_nnx(
        lambda rngs: _Constant(jnp.asarray(spec.prior_outputs, jnp.float32) * prior_bias), call
    )
