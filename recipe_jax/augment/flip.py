"""Mirror images left to right: for what looks the same in a mirror (not for digits or text)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from recipe_jax.augment import base
from recipe_jax.resolve import Fraction
from recipe_jax.types import Spec


def build(spec: Spec, /, *, probability: Fraction = 0.5) -> base.Augment:
    """(key, inputs, targets) -> inputs of which each is mirrored with `probability`, the same
    targets."""
    base.image_shape(spec, "flip")

    def flipped(probability: Any, key: Any, inputs: Any) -> Array:
        chosen = jax.random.uniform(key, (len(inputs), 1, 1, 1)) < probability
        return jnp.where(chosen, inputs[:, :, ::-1], inputs)

    def augment(
        key: Key[Array, ""], inputs: Float[Array, "batch height width channels"], targets: Any
    ) -> tuple[Float[Array, "batch height width channels"], Any]:
        return base.unless_off(probability, flipped, key, inputs), targets

    return augment
