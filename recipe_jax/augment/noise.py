"""Add normal noise to every number (Bishop 1995: for small noise the same as a penalty)."""

from typing import Any

import jax
from jaxtyping import Array, Float, Key

from recipe_jax.augment import base
from recipe_jax.resolve import NonNegative
from recipe_jax.types import Spec


def build(spec: Spec, /, *, deviation: NonNegative = 0.1) -> base.Augment:
    """(key, inputs, targets) -> noisy inputs, the same targets; `deviation` is the noise's standard
    deviation, in units of the inputs as the model sees them (standardised: 1 is the data's own)."""
    base.check_numbers(spec, "noise")

    def noisy(deviation: Any, key: Any, inputs: Any) -> Array:
        return inputs + deviation * jax.random.normal(key, inputs.shape)

    def augment(
        key: Key[Array, ""], inputs: Float[Array, "batch *shape"], targets: Any
    ) -> tuple[Float[Array, "batch *shape"], Any]:
        return base.unless_off(deviation, noisy, key, inputs), targets

    return augment
