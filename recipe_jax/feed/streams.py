"""Batches that read on: row r of a batch goes on where row r of the batch before stopped."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Int32, Key

from recipe_jax.feed import order


class Reading(NamedTuple):
    """Where the rows of consecutive steps stand, how many tokens late, and whether they begin
    anew."""

    pieces: Int32[Array, "steps batch"]
    phases: Int32[Array, "steps batch"]
    begins: Bool[Array, " steps"]


def chunk_streams(
    key: Key[Array, ""],
    first_step: int | Int[Array, ""],
    *,
    num_steps: int,
    batch_size: int,
    num_examples: int,
    window: int,
    limit: int | Int[Array, ""],
) -> Reading:
    """The pieces of a text that consecutive steps read, each row its own stretch of the text.

    An epoch is `limit // batch_size` steps: every row reads so many pieces in a row, from a start
    and at a phase (feed/phases.py) that are the epoch's own. Rows whose stretch crosses the end of
    the text read on at its beginning. Where a lane sees only the first `limit` pieces, start and
    phase are 0. A function of the key and the step alone.
    """
    limit = jnp.asarray(limit, jnp.int32)
    per_epoch = jnp.maximum(limit // batch_size, 1)
    steps = jnp.asarray(first_step, jnp.int32) + jnp.arange(num_steps)
    epochs, at = steps // per_epoch, steps % per_epoch
    whole = limit >= num_examples
    start = jnp.where(whole, order.order(key, epochs, num_examples), 0)
    phase = jnp.where(whole, order.order(key, epochs, window), 0)
    rows = jnp.arange(batch_size)[None] * per_epoch
    pieces = (rows + (at + start)[:, None]) % limit
    return Reading(pieces, jnp.broadcast_to(phase[:, None], pieces.shape), at == 0)
