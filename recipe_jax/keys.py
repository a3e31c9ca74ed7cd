"""Named random streams: every consumer has a key of its own, and adding one disturbs no other."""

import zlib

import jax
from jaxtyping import Array, Int, Key, UInt32


def lane_key(seed: int, trial_seed: int | UInt32[Array, ""]) -> Key[Array, ""]:
    """The key of all lanes with one trial seed. Settings do not enter: lanes that differ by a
    setting alone share init, order and masks (common random numbers)."""
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), trial_seed)


def derive(key: Key[Array, ""], stream: str, step: int | Int[Array, ""] = 0) -> Key[Array, ""]:
    """The key of a named stream at a step."""
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(stream.encode())), step)
