"""What a model of text writes: token after token, each drawn from what the model expects there."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Key

from recipe_jax.types import PyTree


def generate(
    outputs_of: Callable[[PyTree], Float[Array, "batch window tokens"]],
    prompts: Int32[Array, "batch window"],
    sizes: Int32[Array, " batch"],
    *,
    keys: Key[Array, " batch"],
    length: int,
    temperature: float | Float[Array, ""],
    allowed: Bool[Array, " tokens"],
) -> Int32[Array, "batch length"]:
    """`length` tokens after each prompt.

    outputs_of: windows -> logits (batch, window, tokens); prompts: left-aligned, what lies beyond
    their `sizes` (1 at least) is never looked at; temperature: what logits are divided by, 0 takes
    the likeliest; allowed: tokens that may be written. Until the window is full a model reads the
    text from its beginning, after that the last `window` tokens of it: the places that training
    showed it, so this is right for any causal model, with positions or with a carried state.
    """
    window = prompts.shape[1]

    def step(carried: Any, number: Array) -> tuple[Any, Array]:
        buffer, filled = carried
        outputs = outputs_of(buffer)
        logits = jnp.take_along_axis(outputs, (filled - 1)[:, None, None], axis=1)[:, 0]
        logits = jnp.where(allowed[None], logits, -jnp.inf)
        sharp = logits / jnp.where(temperature > 0.0, temperature, 1.0)
        drawn = jax.vmap(
            lambda key, row: jax.random.categorical(jax.random.fold_in(key, number), row)
        )(keys, sharp)
        token = jnp.where(temperature > 0.0, drawn, logits.argmax(-1)).astype(jnp.int32)
        full = filled == window
        buffer = jnp.where(full[:, None], jnp.roll(buffer, -1, axis=1), buffer)
        place = jnp.where(full, window - 1, filled)
        buffer = jnp.where(jnp.arange(window)[None] == place[:, None], token[:, None], buffer)
        return (buffer, place + 1), token

    _, written = jax.lax.scan(step, (prompts, sizes), jnp.arange(length))
    return written.T
