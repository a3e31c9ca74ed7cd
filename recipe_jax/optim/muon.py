"""Muon: momentum of hidden matrices, made nearly orthogonal (Jordan et al. 2024); Adam elsewhere.

Not optax.contrib.muon: there Nesterov's momentum is corrected for bias term by term and turns the
Adam beside it into NAdam, neither of which is published, and it takes 2-D leaves alone.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from recipe_jax.optim import base
from recipe_jax.resolve import Count, DecayRate, Limit, NonNegative, Positive
from recipe_jax.types import PyTree

# The quintic that lifts small singular values fastest; it settles between about 0.7 and 1.2.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_OUTPUT = ("output", "head", "lm_head", "logits", "classifier")
_PROJECTIONS = ("query", "key", "value")


class MuonState(NamedTuple):
    """The momentum of every matrix."""

    momentum: PyTree


def build(
    *,
    learning_rate: Positive = 0.02,
    weight_decay: NonNegative = 0.0,
    clip_norm: Limit = math.inf,
    momentum: DecayRate = 0.95,
    nesterov: bool = True,
    newton_schulz_steps: Count = 5,
    adam_ratio: Positive = 0.015,
    b1: DecayRate = 0.9,
    b2: DecayRate = 0.95,
    eps: Positive = 1e-10,
) -> optax.GradientTransformation:
    """Hidden kernels step by the orthogonal factor of their momentum, times sqrt(out / in) where
    that is above 1; kernels of convolutions count as (height * width * in, out).

    As published, Adam (b1, b2, eps) trains the rest: biases, norms, embeddings and the output
    layer, known by its name (output, head, lm_head, logits, classifier) or as a model's one layer.
    Its rate is adam_ratio * learning_rate, so both follow one sweep. Decay is decoupled.
    """
    return optax.chain(
        base.clipped(clip_norm),
        optax.partition(
            {
                "hidden": _orthogonalised(momentum, nesterov, newton_schulz_steps),
                "rest": optax.scale_by_adam(b1, b2, eps),
            },
            labels,
        ),
        optax.add_decayed_weights(weight_decay, mask=base.decayed),
        optax.masked(optax.scale(adam_ratio), _rest),
        optax.scale_by_learning_rate(learning_rate),
    )


def labels(params: PyTree) -> PyTree:
    """ "hidden" for the matrices that Muon is for, "rest" for what Adam trains."""

    def label(path: tuple[Any, ...], decays: bool) -> str:
        names = base.names(path)
        outer = len(names) < 2 or names[0] in _OUTPUT or any("embed" in name for name in names)
        return "hidden" if decays and not outer else "rest"

    return jax.tree_util.tree_map_with_path(label, base.decayed(params))


def newton_schulz(matrix: Float[Array, "rows columns"], steps: int) -> Float[Array, "rows columns"]:
    """U S' V^T with every singular value near 1, for a matrix U S V^T; zeros stay zeros."""
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (jnp.linalg.norm(x) + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def _orthogonalised(momentum: Any, nesterov: bool, steps: int) -> optax.GradientTransformation:
    def init(params: PyTree) -> MuonState:
        return MuonState(jax.tree.map(jnp.zeros_like, params))

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, MuonState]:
        def mixed(old: jax.Array, new: jax.Array) -> jax.Array:
            return momentum * old + (1.0 - momentum) * new

        def step(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
            matrix = leaf.reshape(_rows(path, leaf.shape), -1)
            wide = math.sqrt(max(1.0, matrix.shape[1] / matrix.shape[0]))
            return (wide * newton_schulz(matrix, steps)).reshape(leaf.shape)

        kept = jax.tree.map(mixed, state.momentum, updates)
        ahead = jax.tree.map(mixed, kept, updates) if nesterov else kept
        return jax.tree_util.tree_map_with_path(step, ahead), MuonState(kept)

    return optax.GradientTransformation(init, update)


def _rows(path: tuple[Any, ...], shape: tuple[int, ...]) -> int:
    """How many inputs a kernel has: (..., in, out), or (in, heads, size) in attention."""
    attends = len(shape) == 3 and len(path) > 1 and base.names(path)[-2] in _PROJECTIONS
    return shape[0] if attends else math.prod(shape[:-1])


def _rest(params: PyTree) -> PyTree:
    return jax.tree.map(lambda label: label == "rest", labels(params))
