"""Warm-up, a long constant stretch, a short decay: the constant stretch can be any length."""

from collections.abc import Callable
from typing import Annotated, Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recipe_jax.resolve import Fraction, OneOf


def build(
    num_steps: int,
    /,
    *,
    warmup: Fraction = 0.05,
    decay: Fraction = 0.2,
    floor: Fraction = 0.0,
    shape: Annotated[str, OneOf(("linear", "sqrt"))] = "sqrt",
) -> Callable[..., Any]:
    """Heights 1/w, 2/w, ..., 1 over the share `warmup` of the run, 1, and over its last share
    `decay` down to `floor`, which the step after the last one would reach (Hu et al. 2024).

    shape: how the decay falls with the share p of it that is done: "linear" as 1 - p, "sqrt" as
    1 - sqrt(p) (Hägele et al. 2024). Where both shares meet, the lower height holds.
    """

    def height(step: int | Int[Array, ""]) -> Float[Array, ""]:
        rising = jnp.round(jnp.asarray(warmup, jnp.float32) * num_steps)
        falling = jnp.round(jnp.asarray(decay, jnp.float32) * num_steps)
        risen = jnp.minimum((step + 1) / jnp.maximum(rising, 1.0), 1.0)
        done = (step - (num_steps - falling)) / jnp.maximum(falling, 1.0)
        done = jnp.clip(done, 0.0, 1.0)
        done = jnp.sqrt(done) if shape == "sqrt" else done
        return jnp.minimum(risen, floor + (1.0 - floor) * (1.0 - done))

    return height
