"""What schedules share."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def half_cosine(
    step: int | Int[Array, ""] | Float[Array, ""], num_steps: Any, floor: Any
) -> Float[Array, ""]:
    """From 1 at step 0 to `floor` at `num_steps` and after (Loshchilov & Hutter 2017)."""
    progress = jnp.clip(jnp.asarray(step, jnp.float32) / num_steps, 0.0, 1.0)
    return floor + (1.0 - floor) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
