"""How an optimiser is assembled: clip, decay, moments, rate; every number may be traced."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from recipe_jax.types import PyTree

_NEVER = ("bias", "scale")


def assembled(
    moments: optax.GradientTransformation,
    *,
    learning_rate: Any,
    weight_decay: Any,
    clip_norm: Any,
    decoupled: bool = False,
) -> optax.GradientTransformation:
    """Clip by the global norm, then `moments`, then the rate.

    Decay comes before the moments, as L2 does, or after them, decoupled (Loshchilov & Hutter 2019).
    """
    decay = optax.add_decayed_weights(weight_decay, mask=decayed)
    inner = (moments, decay) if decoupled else (decay, moments)
    return optax.chain(clipped(clip_norm), *inner, optax.scale_by_learning_rate(learning_rate))


def clipped(clip_norm: Any) -> optax.GradientTransformation:
    """Scale gradients down to a global norm (Pascanu et al. 2013); infinity leaves every bit alone.

    An infinity that is not traced leaves the work out as well: on a small network the norm and the
    wait for it cost a third of the step.
    """
    if isinstance(clip_norm, float) and math.isinf(clip_norm):
        return optax.identity()

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        norm = optax.tree.norm(updates)
        # The squares inside the norm may overflow; "off" has to leave such gradients alone as well.
        short = (norm < clip_norm) | jnp.isinf(clip_norm)
        # Behind the barrier the factor is one number; without it XLA works it out for every leaf.
        factor = jax.lax.optimization_barrier(jnp.where(short, 1.0, clip_norm / norm))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def decayed(params: PyTree) -> PyTree:
    """True for the weights that decay: matrices and kernels, never biases or norms."""

    def decays(path: tuple[Any, ...], leaf: Any) -> bool:
        return jnp.ndim(leaf) >= 2 and not (path and names(path)[-1] in _NEVER)

    return jax.tree_util.tree_map_with_path(decays, params)


def names(path: tuple[Any, ...]) -> list[str]:
    """The names of a leaf, from the outermost layer to its own; "" for what has none."""
    return [str(getattr(part, "key", getattr(part, "name", ""))) for part in path]
