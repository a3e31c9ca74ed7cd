"""Images whose pixels are taken from other places."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def whole_shifts(
    key: Key[Array, ""], count: int, most: float | Float[Array, ""]
) -> Int[Array, "count 2"]:
    """(down, right) for each example: uniform over the whole numbers -most ... most."""
    most = jnp.floor(most)
    draw = jax.random.uniform(key, (count, 2))
    return (jnp.floor(draw * (2.0 * most + 1.0)) - most).astype(jnp.int32)


def shifted(
    images: Float[Array, "batch height width channels"],
    shifts: Int[Array, "batch 2"],
    *,
    outside: float | None,
) -> Float[Array, "batch height width channels"]:
    """Images moved down and right; what comes in is `outside`, or the edge repeated (None)."""
    height, width = images.shape[1:3]

    def one(image: Array, by: Array) -> Array:
        rows, columns = jnp.arange(height) - by[0], jnp.arange(width) - by[1]
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
        rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
        moved = image[rows[:, None], columns[None, :]]
        return moved if outside is None else jnp.where(inside[..., None], moved, outside)

    return jax.vmap(one)(images, shifts)
