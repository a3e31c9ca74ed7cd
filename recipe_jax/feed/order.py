"""Which example stands at a position: every epoch a new order of all examples, nothing carried.

Position p lies in epoch p // n at offset p % n. Inside an epoch the offset goes through a keyed
bijection of [0, n): a generalised Feistel network (Black and Rogaway, 2002) on the largest near
square a * b <= n, between keyed rotations of [0, n). The rotations bring every offset into the
square, so no cycle walking is needed: under vmap its loop would run for all lanes as often as for
the unluckiest one, which measures twice as slow.
"""

import itertools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int32, Integer, Key, UInt32

_ROUNDS, _STAGES = 4, 6
# One for all offsets, known beforehand, or one for each, traced.
_Size = int | UInt32[Array, "*shape"]


def order(
    key: Key[Array, ""], positions: Integer[Array, "*shape"], num_examples: int
) -> Int32[Array, "*shape"]:
    """The example at each position; every example exactly once an epoch.

    Positions count modulo 2**32; num_examples is static and less than 2**31.
    """
    n = num_examples
    positions = positions.astype(jnp.uint32)
    epochs = positions // jnp.uint32(n)
    offsets = positions - epochs * jnp.uint32(n)
    rows = math.isqrt(n)
    columns = n // rows if rows > 1 else min(n, 2)
    # Chi-square tests of pairs and of whole orders pass from three stages on, from six where n is
    # so small that a round has hardly a choice.
    return _permuted(offsets, _keys(key, epochs), n, (rows, columns), 3 if n >= 16 else _STAGES)


def within(
    key: Key[Array, ""],
    epochs: UInt32[Array, "*shape"],
    offsets: UInt32[Array, "*shape"],
    sizes: UInt32[Array, "*shape"],
) -> Int32[Array, "*shape"]:
    """As `order`, where each offset lies in [0, size) of a size of its own, which is traced; every
    number of an epoch has an order of its own. Sizes are at least 1 and less than 2**24."""
    rows = jnp.sqrt(sizes.astype(jnp.float32)).astype(jnp.uint32)
    # The root may have been rounded up to the next whole number.
    rows = rows - (rows * rows > sizes)
    columns = jnp.where(rows > 1, sizes // rows, jnp.minimum(sizes, 2))
    return _permuted(offsets, _keys(key, epochs), sizes, (rows, columns), _STAGES)


def _keys(
    key: Key[Array, ""], epochs: UInt32[Array, "*shape"]
) -> Iterator[UInt32[Array, "*shape"]]:
    low, high = jax.random.key_data(key)
    return _round_keys(_mix(_mix(low ^ (epochs * jnp.uint32(0x9E3779B1))) + high))


def _permuted(
    offsets: UInt32[Array, "*shape"],
    keys: Iterator[UInt32[Array, "*shape"]],
    n: _Size,
    square: tuple[_Size, _Size],
    stages: int,
) -> Int32[Array, "*shape"]:
    for _ in range(stages):
        offsets = _add(offsets, _mix(next(keys)) % jnp.uint32(n), n)
        offsets = _shuffle_square(offsets, keys, *square)
    return offsets.astype(jnp.int32)


def _shuffle_square(
    x: UInt32[Array, "*shape"], keys: Iterator[UInt32[Array, "*shape"]], rows: _Size, columns: _Size
) -> UInt32[Array, "*shape"]:
    """Permutes [0, rows * columns) by a Feistel network; the few offsets from there to n stay."""
    row = x // jnp.uint32(columns)
    column = x - row * jnp.uint32(columns)
    for _ in range(_ROUNDS // 2):
        row = _add(row, _scale(_round(next(keys), column), rows), rows)
        column = _add(column, _scale(_round(next(keys), row), columns), columns)
    return jnp.where(x < rows * columns, row * jnp.uint32(columns) + column, x)


def _round_keys(base: UInt32[Array, "*shape"]) -> Iterator[UInt32[Array, "*shape"]]:
    """Keys that `_mix` makes independent: a Weyl sequence from the epoch's own hash."""
    return (base + jnp.uint32(0x9E3779B9 * i & 0xFFFFFFFF) for i in itertools.count(1))


def _round(key: UInt32[Array, "*shape"], x: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    return _mix(key ^ (x * jnp.uint32(0x85EBCA6B)))


def _add(
    x: UInt32[Array, "*shape"], shift: UInt32[Array, "*shape"], modulus: _Size
) -> UInt32[Array, "*shape"]:
    """(x + shift) mod modulus, both below it."""
    total = x + shift
    return jnp.where(total >= modulus, total - jnp.uint32(modulus), total)


def _scale(bits: UInt32[Array, "*shape"], size: _Size) -> UInt32[Array, "*shape"]:
    """Random bits as a number below size <= 2**16, cheaper than a remainder."""
    return ((bits >> 16) * jnp.uint32(size)) >> 16


def _mix(x: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """A bijective hash of 32 bits: every input bit flips each output bit about half the time."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
