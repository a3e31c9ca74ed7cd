"""Stacking and taking lanes of pytrees."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.types import PyTree


def stack(trees: Sequence[PyTree]) -> PyTree:
    """One tree whose leaves have a new first axis, the lane."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def concatenate(trees: Sequence[PyTree]) -> PyTree:
    """One stacked tree with the lanes of all of them."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees)


def take(tree: PyTree, lane: int) -> PyTree:
    """One lane of a stacked tree."""
    return jax.tree.map(lambda leaf: leaf[lane], tree)


def where(condition: jax.Array, chosen: PyTree, other: PyTree) -> PyTree:
    """Leaf by leaf, `chosen` where the scalar condition holds."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)
