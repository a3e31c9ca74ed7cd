"""Half a cosine down to a floor, once or again and again: high rates, and a gentle end."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recipe_jax.resolve import Count, Fraction
from recipe_jax.schedules import base


def build(num_steps: int, /, *, floor: Fraction = 0.0, cycles: Count = 1) -> Callable[..., Any]:
    """Height 1 at step 0, down to `floor`, which the step after the last one of a cycle would
    reach; then it begins again, `cycles` times of equal length in all (Loshchilov & Hutter 2017).
    After the run it stays at the floor."""

    def height(step: int | Int[Array, ""]) -> Float[Array, ""]:
        length = num_steps / cycles
        begun = jnp.clip(jnp.floor(jnp.asarray(step, jnp.float32) / length), 0, cycles - 1)
        return base.half_cosine(step - begun * length, length, floor)

    return height
