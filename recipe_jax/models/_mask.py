"""Dropout masks that cost nothing while every lane's rate is zero."""

import functools
import math

import jax
import jax.extend
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from recipe_jax import gate

_LEVELS = 1 << 16


def keep(
    key: Key[Array, ""], rate: float | Float[Array, ""], shape: tuple[int, ...]
) -> Bool[Array, "..."]:
    """True where an element stays: with probability 1 - rate, to 16 bits, everywhere at rate 0."""
    rate = jax.lax.stop_gradient(jnp.asarray(rate, jnp.float32))
    draw = gate.gated(
        lambda key, rate: rate > 0.0,
        functools.partial(_draw, shape),
        lambda key, rate: jnp.ones(shape, bool),
    )
    return draw(key, rate)


def _draw(
    shape: tuple[int, ...], key: Key[Array, ""], rate: Float[Array, ""]
) -> Bool[Array, "..."]:
    """Every word of the generator gives two elements: jax.random would spend two words on one."""
    size = math.prod(shape)
    counter = jnp.arange(2 * math.ceil(size / 4), dtype=jnp.uint32)
    words = jax.extend.random.threefry_2x32(jax.random.key_data(key), counter)
    levels = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[:size].reshape(shape)
    return levels.astype(jnp.float32) >= jnp.round(rate * _LEVELS)
