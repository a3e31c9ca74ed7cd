"""Turn images by a few degrees about their centre."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from recipe_jax.augment import base
from recipe_jax.resolve import NonNegative
from recipe_jax.types import Spec


def build(spec: Spec, /, *, degrees: NonNegative = 10.0) -> base.Augment:
    """(key, inputs, targets) -> rotated inputs, the same targets.

    Every example has its own angle, uniform over -degrees ... degrees, counter-clockwise; pixels
    are interpolated between their four neighbours, and what comes in from outside repeats the edge.
    """
    height, width, _ = base.image_shape(spec, "rotation")
    rows = jnp.arange(height, dtype=jnp.float32)[:, None] - (height - 1) / 2
    columns = jnp.arange(width, dtype=jnp.float32)[None, :] - (width - 1) / 2

    def one(image: Array, angle: Array) -> Array:
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        row = jnp.clip(cosine * rows + sine * columns + (height - 1) / 2, 0, height - 1)
        column = jnp.clip(cosine * columns - sine * rows + (width - 1) / 2, 0, width - 1)
        top, left = jnp.floor(row), jnp.floor(column)
        down, right = (row - top)[..., None], (column - left)[..., None]
        top, left = top.astype(jnp.int32), left.astype(jnp.int32)
        bottom, beyond = jnp.minimum(top + 1, height - 1), jnp.minimum(left + 1, width - 1)
        upper = (1.0 - right) * image[top, left] + right * image[top, beyond]
        lower = (1.0 - right) * image[bottom, left] + right * image[bottom, beyond]
        return (1.0 - down) * upper + down * lower

    def rotated(degrees: Any, key: Any, inputs: Any) -> Array:
        most = jnp.deg2rad(degrees)
        angles = jax.random.uniform(key, (len(inputs),), minval=-1.0, maxval=1.0) * most
        return jax.vmap(one)(inputs, angles)

    def augment(
        key: Key[Array, ""], inputs: Float[Array, "batch height width channels"], targets: Any
    ) -> tuple[Float[Array, "batch height width channels"], Any]:
        return base.unless_off(degrees, rotated, key, inputs), targets

    return augment
