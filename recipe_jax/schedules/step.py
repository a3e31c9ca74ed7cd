"""Constant stretches, each lower than the last by a factor."""

from collections.abc import Callable
from typing import Annotated, Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from recipe_jax.resolve import Between, Fraction


def build(
    num_steps: int,
    /,
    *,
    factor: Fraction = 0.1,
    every: Annotated[float, Between(0.0, 1.0, open_low=True)] = 1 / 3,
) -> Callable[..., Any]:
    """Height factor^k after k stretches; one lasts the share `every` of the run, in whole steps."""

    def height(step: int | Int[Array, ""]) -> Float[Array, ""]:
        stretch = jnp.maximum(jnp.round(jnp.asarray(every, jnp.float32) * num_steps), 1.0)
        return jnp.asarray(factor, jnp.float32) ** jnp.floor(step / stretch)

    return height
