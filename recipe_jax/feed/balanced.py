"""Batches in which all classes have the same share, whatever theirs in the data."""

import jax.numpy as jnp
from jaxtyping import Array, Int, Int32, Key

from recipe_jax import keys
from recipe_jax.feed import order


def chunk_rows(
    key: Key[Array, ""],
    first_step: int | Int[Array, ""],
    *,
    num_steps: int,
    batch_size: int,
    rows: Int[Array, " examples"],
    targets: Int[Array, " rows"],
    classes: int,
    limit: int | Int[Array, ""],
) -> Int32[Array, "steps batch"]:
    """The rows of the split that consecutive steps train on.

    rows: of the lane's own examples, of which it sees the first `limit`. Places are dealt in turn
    to the classes that are there, so a batch holds each of them equally often, but for one more or
    less; within a batch their order is random. A class hands out its examples without replacement,
    in a new order each time it has gone through them. A function of the key and the step alone.
    """
    mine = jnp.arange(len(rows)) < jnp.asarray(limit, jnp.int32)
    labels = jnp.where(mine, jnp.take(targets, rows), classes)
    places = jnp.argsort(labels, stable=True)
    grouped, ordered = jnp.take(rows, places), jnp.take(labels, places)
    every = jnp.arange(classes)
    starts = jnp.searchsorted(ordered, every, side="left")
    counts = jnp.searchsorted(ordered, every, side="right") - starts
    there = jnp.argsort(counts == 0, stable=True)
    present = (counts > 0).sum().astype(jnp.uint32)

    first = jnp.asarray(first_step).astype(jnp.uint32) * jnp.uint32(batch_size)
    dealt = first + jnp.arange(num_steps * batch_size, dtype=jnp.uint32)
    within = order.order(keys.derive(key, "slots"), dealt, batch_size).astype(jnp.uint32)
    dealt = dealt - dealt % jnp.uint32(batch_size) + within
    label = jnp.take(there, dealt % present)
    sizes = jnp.take(counts, label).astype(jnp.uint32)
    draws = dealt // present
    epochs = draws // sizes
    streams = epochs * jnp.uint32(classes) + label.astype(jnp.uint32)
    chosen = order.within(key, streams, draws - epochs * sizes, sizes)
    found = jnp.take(grouped, jnp.take(starts, label) + chosen)
    return found.astype(jnp.int32).reshape(num_steps, batch_size)
