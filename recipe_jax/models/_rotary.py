"""Rotary positions (Su et al. 2021): a query meets a key by how far apart they stand."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_LONGEST = 10_000.0


def rotate(x: Float[Array, "batch time heads size"]) -> Float[Array, "batch time heads size"]:
    """Turns pair i of every head, entries i and i + size / 2, by position * 10000^(-2 i / size).

    The product of two rotated vectors depends on the distance of their positions alone.
    """
    time, half = x.shape[1], x.shape[-1] // 2
    angles = np.outer(np.arange(time), _LONGEST ** (-np.arange(half) / half))[:, None]
    cos, sin = jnp.asarray(np.cos(angles), x.dtype), jnp.asarray(np.sin(angles), x.dtype)
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)
