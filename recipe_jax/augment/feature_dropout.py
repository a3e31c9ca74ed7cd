"""Hide single input numbers, so that the model leans on none of them (Vincent et al. 2008)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from recipe_jax.augment import base
from recipe_jax.resolve import Fraction
from recipe_jax.types import Spec


def build(spec: Spec, /, *, rate: Fraction = 0.1) -> base.Augment:
    """(key, inputs, targets) -> inputs of which each number is 0, its training mean, with
    probability `rate`; the others stay as they are, as in a denoising autoencoder."""
    base.check_numbers(spec, "feature_dropout")

    def hidden(rate: Any, key: Any, inputs: Any) -> Array:
        return jnp.where(jax.random.uniform(key, inputs.shape) < rate, 0.0, inputs)

    def augment(
        key: Key[Array, ""], inputs: Float[Array, "batch *shape"], targets: Any
    ) -> tuple[Float[Array, "batch *shape"], Any]:
        return base.unless_off(rate, hidden, key, inputs), targets

    return augment
