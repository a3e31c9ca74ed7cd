"""One cycle: half a cosine up to a high rate, and a longer one down to almost nothing."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recipe_jax.resolve import Fraction
from recipe_jax.schedules import base


def build(
    num_steps: int, /, *, warmup: Fraction = 0.3, start: Fraction = 0.04, floor: Fraction = 4e-6
) -> Callable[..., Any]:
    """From `start` up to 1 over the share `warmup` of the run, then down to `floor`, which the
    step after the last one would reach (Smith & Topin 2018; cosines as in fastai and PyTorch).

    The rate alone moves; the paper moves momentum against it. A warm-up of 0 is the cosine alone.
    """

    def height(step: int | Int[Array, ""]) -> Float[Array, ""]:
        rising = jnp.round(jnp.asarray(warmup, jnp.float32) * num_steps)
        left = jnp.maximum(num_steps - rising, 1.0)
        up = 1.0 + start - base.half_cosine(step, jnp.maximum(rising, 1.0), start)
        return jnp.where(step < rising, up, base.half_cosine(step - rising, left, floor))

    return height
