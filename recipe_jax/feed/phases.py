"""Windows of a text at random places, without storing them: each epoch cuts it at another phase.

The training windows are the pieces of one stream in its order, so the window that begins `phase`
tokens after piece i lies in the flattened arrays. All windows of an epoch share a phase, so that
nearly every token is asked exactly once an epoch; the phases of `window` epochs are all different.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int, Int32, Key

from recipe_jax.feed import order
from recipe_jax.types import Arrays


def chunk_phases(
    key: Key[Array, ""],
    first_step: int | Int[Array, ""],
    *,
    num_steps: int,
    batch_size: int,
    num_examples: int,
    window: int,
    limit: int | Int[Array, ""],
) -> Int32[Array, "steps batch"]:
    """By how many tokens each window of consecutive steps is late, in [0, window).

    A function of the key and the position alone. 0 where a lane sees only the first `limit`
    examples: it is meant to see those and no others.
    """
    start = jnp.asarray(first_step).astype(jnp.uint32) * jnp.uint32(batch_size)
    positions = start + jnp.arange(num_steps * batch_size, dtype=jnp.uint32)
    phases = order.order(key, positions // jnp.uint32(num_examples), window)
    phases = jnp.where(jnp.asarray(limit) < num_examples, 0, phases)
    return phases.reshape(num_steps, batch_size)


def late(train: Arrays, rows: Int[Array, " batch"], phases: Int[Array, " batch"]) -> Any:
    """The windows that begin `phases` tokens after these pieces, the last piece's at its start."""
    num_windows, window = train.inputs.shape
    first = jnp.minimum(rows * window + phases, (num_windows - 1) * window)
    places = first[:, None] + jnp.arange(window)[None]
    flat = (jnp.take(each.reshape(-1), places, mode="clip") for each in train)
    return Arrays(*flat)
