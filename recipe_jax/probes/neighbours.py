"""Which rows lie nearest: exact distances, a block of the asked rows at a time."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BLOCK = 1024
WIDEST, PROJECTED = 1024, 256
"""Rows of more numbers are projected at random on fewer (Johnson and Lindenstrauss, 1984)."""


class Nearest(NamedTuple):
    """The nearest rows of every asked one, nearest first: how far, and which."""

    distances: Float[np.ndarray, "asked count"]
    places: Int[np.ndarray, "asked count"]


def nearest(
    rows: Float[np.ndarray, "rows features"],
    asked: Float[np.ndarray, "asked features"],
    count: int,
    *,
    itself: bool = False,
) -> Nearest:
    """The `count` nearest rows by Euclidean distance, fewer where there are fewer; ties go to the
    first. itself: `asked` are `rows`, and none is a neighbour of its own."""
    count = min(count, len(rows) - itself)
    squares = np.square(rows).sum(1)
    distances, places = [], []
    for start in range(0, len(asked), BLOCK):
        block = asked[start : start + BLOCK]
        # Up to the square of the block itself, which changes no order.
        ranks = squares - 2.0 * (block @ rows.T)
        if itself:
            ranks[np.arange(len(block)), start + np.arange(len(block))] = np.inf
        # A few more than are wanted: the ranks are rounded, the distances of those found are not.
        kept = min(count + 2, ranks.shape[1])
        found = np.argpartition(ranks, kept - 1, axis=1)[:, :kept]
        found.sort(axis=1)
        exact = np.stack([np.linalg.norm(rows[each] - block, axis=1) for each in found.T], 1)
        exact[~np.isfinite(np.take_along_axis(ranks, found, 1))] = np.inf
        order = np.argsort(exact, axis=1, kind="stable")[:, :count]
        distances.append(np.take_along_axis(exact, order, 1))
        places.append(np.take_along_axis(found, order, 1))
    if not distances:
        return Nearest(np.zeros((0, count), rows.dtype), np.zeros((0, count), int))
    return Nearest(np.concatenate(distances), np.concatenate(places))


def closer(one: Nearest, other: Nearest) -> Nearest:
    """As many of both together as of each alone, the nearest first."""
    count = one.distances.shape[1]
    distances = np.concatenate([one.distances, other.distances], 1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :count]
    places = np.concatenate([one.places, other.places], 1)
    return Nearest(np.take_along_axis(distances, order, 1), np.take_along_axis(places, order, 1))


def narrowed(rows: Float[np.ndarray, "rows features"]) -> Float[np.ndarray, "rows fewer"]:
    """Wide rows projected at random, always the same way; distances stay within some percent."""
    if rows.shape[1] <= WIDEST:
        return rows
    draw = np.random.default_rng(2)
    matrix = draw.normal(size=(rows.shape[1], PROJECTED)).astype(rows.dtype)
    return rows @ (matrix / np.float32(np.sqrt(PROJECTED)))
