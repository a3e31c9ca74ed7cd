"""Linear and logistic regression: one layer on the flattened input (Cox 1958)."""

from typing import Any

import jax
from flax import nnx

from recipe_jax import adapters
from recipe_jax.models import base
from recipe_jax.resolve import Fraction, Positive
from recipe_jax.types import Model, Spec


def build(
    spec: Spec,
    /,
    *,
    init: base.Init = "auto",
    init_gain: Positive = 1.0,
    prior_bias: Fraction = 1.0,
) -> Model:
    """Weights and a bias; parameters: (features + 1) * num_outputs.

    (batch, ...) -> (batch, features) -> (batch, num_outputs).
    """

    def make(rngs: nnx.Rngs) -> nnx.Linear:
        return base.output_layer(
            spec,
            base.num_features(spec),
            rngs=rngs,
            init=init,
            gain=init_gain,
            prior_bias=prior_bias,
        )

    def call(module: nnx.Linear, inputs: jax.Array, **_: Any) -> jax.Array:
        return module(base.flat(inputs))

    return adapters.from_nnx(make, call)
