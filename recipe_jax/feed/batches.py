"""Batch i as a pure function of (key, i): always full, every example once an epoch."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32, Key

from recipe_jax.feed import order
from recipe_jax.types import Arrays


def batch_indices(
    key: Key[Array, ""],
    step: int | Int[Array, ""],
    *,
    batch_size: int,
    num_examples: int,
    limit: int | Int[Array, ""],
) -> Int32[Array, " batch"]:
    """The examples of one training step; a batch may cross from one epoch into the next.

    limit: train on the first `limit` examples only, by taking indices modulo it.
    """
    return chunk_indices(
        key, step, num_steps=1, batch_size=batch_size, num_examples=num_examples, limit=limit
    )[0]


def chunk_indices(
    key: Key[Array, ""],
    first_step: int | Int[Array, ""],
    *,
    num_steps: int,
    batch_size: int,
    num_examples: int,
    limit: int | Int[Array, ""],
) -> Int32[Array, "steps batch"]:
    """The examples of consecutive steps: row i equals `batch_indices` at first_step + i."""
    start = jnp.asarray(first_step).astype(jnp.uint32) * jnp.uint32(batch_size)
    positions = start + jnp.arange(num_steps * batch_size, dtype=jnp.uint32)
    chosen = order.order(key, positions, num_examples) % jnp.asarray(limit).astype(jnp.int32)
    return chosen.reshape(num_steps, batch_size)


def eval_batches(arrays: Arrays, batch_size: int) -> tuple[Arrays, np.ndarray]:
    """All examples as (batches, batch_size, ...), and the mask of those that count.

    Row r of all batches together holds consecutive examples, so that a text reads on from batch to
    batch. The last rows are filled up with the first examples again, never with foreign values.
    """
    num_examples = len(arrays.inputs)
    if num_examples == 0:
        raise ValueError("There are no examples to evaluate; at least one is needed.")
    num_batches = -(-num_examples // batch_size)
    places = np.arange(num_batches * batch_size).reshape(batch_size, num_batches).T
    chosen = places % num_examples
    filled = Arrays(np.asarray(arrays.inputs)[chosen], np.asarray(arrays.targets)[chosen])
    return filled, places < num_examples
