"""A straight warm-up, then half a cosine: for nets that large first steps would throw off."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recipe_jax.resolve import Fraction
from recipe_jax.schedules import base


def build(
    num_steps: int, /, *, warmup: Fraction = 0.05, floor: Fraction = 0.0
) -> Callable[..., Any]:
    """Heights 1/w, 2/w, ..., 1 for w steps, the share `warmup` of the run (Goyal et al. 2017).

    No step is wasted on height 0; a warm-up of 0 is the cosine alone.
    """

    def height(step: int | Int[Array, ""]) -> Float[Array, ""]:
        rising = jnp.round(jnp.asarray(warmup, jnp.float32) * num_steps)
        risen = jnp.minimum((step + 1) / jnp.maximum(rising, 1.0), 1.0)
        left = jnp.maximum(num_steps - rising, 1.0)
        return risen * base.half_cosine(step - rising, left, floor)

    return height
