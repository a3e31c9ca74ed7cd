"""Cover a square of every image (DeVries & Taylor 2017)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from recipe_jax.augment import base
from recipe_jax.resolve import Fraction
from recipe_jax.types import Spec


def build(spec: Spec, /, *, size: Fraction = 0.25) -> base.Augment:
    """(key, inputs, targets) -> inputs with a square of 0, their training mean; the same targets.

    The square's side is the share `size` of the image's shorter side, in whole pixels; its centre
    is uniform over the image, so it may reach beyond the edge.
    """
    height, width, _ = base.image_shape(spec, "cutout")

    def covered(size: Any, key: Any, inputs: Any) -> Array:
        side = jnp.round(size * min(height, width)).astype(jnp.int32)
        centre = jax.random.uniform(key, (len(inputs), 2)) * jnp.array([height, width])
        first = jnp.floor(centre).astype(jnp.int32) - side // 2
        rows = jnp.arange(height)[None] - first[:, :1]
        columns = jnp.arange(width)[None] - first[:, 1:]
        inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[
            :, None, :
        ]
        return jnp.where(inside[..., None], 0.0, inputs)

    def augment(
        key: Key[Array, ""], inputs: Float[Array, "batch height width channels"], targets: Any
    ) -> tuple[Float[Array, "batch height width channels"], Any]:
        return base.unless_off(size, covered, key, inputs), targets

    return augment
