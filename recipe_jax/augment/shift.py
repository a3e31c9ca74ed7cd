"""Shift images by a few whole pixels: where a thing stands seldom changes what it is."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from recipe_jax.resolve import NonNegative
from recipe_jax.types import Spec, UserError


def build(spec: Spec, /, *, pixels: NonNegative = 1.0) -> Callable[..., Any]:
    """(key, inputs, targets) -> shifted inputs, the same targets.

    Every example has its own shift, each direction uniform over -pixels ... pixels in whole steps;
    what comes in from outside repeats the image's edge, so a background of any shade goes on.
    """
    if len(spec.input_shape) != 3:
        raise UserError(
            f"augment.name=shift moves images (height, width, channels), and these examples have "
            f"shape {spec.input_shape}; use augment.name=none."
        )
    height, width, _ = spec.input_shape

    def augment(
        key: Key[Array, ""], inputs: Float[Array, "batch height width channels"], targets: Any
    ) -> tuple[Float[Array, "batch height width channels"], Any]:
        most = jnp.floor(pixels)
        draw = jax.random.uniform(key, (inputs.shape[0], 2))
        shifts = (jnp.floor(draw * (2.0 * most + 1.0)) - most).astype(jnp.int32)
        return jax.vmap(shifted)(inputs, shifts), targets

    def shifted(image: Any, by: Any) -> Any:
        rows = jnp.clip(jnp.arange(height) - by[0], 0, height - 1)
        columns = jnp.clip(jnp.arange(width) - by[1], 0, width - 1)
        return image[rows[:, None], columns[None, :]]

    return augment
