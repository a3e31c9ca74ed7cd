"""What do counts of neighbouring tokens reach on the same windows?"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from recipe_jax.types import Objective, Split, Task

ORDERS = {"bigram": 2, "unigram": 1, "trigram": 3}
"""What a network must beat comes first: more context than one token is what it is for."""
BLOCK_NUMBERS = 4_000_000


class _Counts(NamedTuple):
    """contexts: (distinct,) codes of the tokens before, ascending; followers: how often each token
    came after them, (distinct, tokens)."""

    contexts: np.ndarray
    followers: Any


def scores(task: Task, objective: Objective, split: Split) -> dict[str, float]:
    """The deciding metric on `split` of unigrams, bigrams and trigrams counted on training.

    Each order gives way to the next lower one as far as its context was followed by many different
    tokens (Witten and Bell 1991), down to even odds. Like the network they see no further back than
    the window's beginning.
    """
    stream = np.append(task.train.inputs.ravel(), task.train.targets[-1, -1]).astype(np.int64)
    tokens = task.spec.num_outputs
    counts = [_count(stream, length, tokens) for length in range(max(ORDERS.values()))]
    found = {}
    for name, order in ORDERS.items():
        total = objective.metrics.empty()
        for inputs, targets in _blocks(split, tokens):
            outputs = jnp.asarray(np.log(_probabilities(counts[:order], inputs)), jnp.float32)
            total = total.merge(
                objective.metrics.single_from_model_output(
                    outputs=outputs,
                    targets=targets,
                    loss=objective.loss(outputs, targets),
                    mask=None,
                )
            )
        found[name] = float(total.compute()[objective.score.metric])
    return found


def _count(stream: Int[np.ndarray, " length"], context: int, tokens: int) -> _Counts:
    """How often each token follows each run of `context` tokens."""
    codes = _codes(stream, context, tokens)[context - 1 if context else 0 : -1]
    followers = stream[context:] if context else stream[1:]
    contexts, rows = np.unique(codes, return_inverse=True)
    shape = (len(contexts), tokens)
    ones = np.ones(len(followers))
    return _Counts(contexts, sparse.csr_matrix((ones, (rows, followers)), shape=shape))


def _codes(tokens: Int[np.ndarray, "*any length"], context: int, count: int) -> np.ndarray:
    """One number for the last `context` tokens at each place; -1 where there are fewer."""
    codes = np.zeros(tokens.shape, np.int64)
    for back in range(context):
        before = np.full(tokens.shape, -1, np.int64)
        before[..., back:] = tokens[..., : tokens.shape[-1] - back]
        codes = np.where((before < 0) | (codes < 0), -1, codes + before * count**back)
    return codes


def _probabilities(
    counts: list[_Counts], inputs: Int[np.ndarray, "windows window"]
) -> Float[np.ndarray, "windows window tokens"]:
    """Of every next token, blended over contexts from none to the longest."""
    tokens = counts[0].followers.shape[1]
    blended = np.full((inputs.size, tokens), 1.0 / tokens)
    for context, (contexts, followers) in enumerate(counts):
        codes = _codes(inputs.astype(np.int64), context, tokens).ravel()
        rows = np.minimum(np.searchsorted(contexts, codes), len(contexts) - 1)
        seen = contexts[rows] == codes
        found = followers[rows[seen]]
        kinds, total = found.getnnz(1)[:, None], np.asarray(found.sum(1))
        blended[seen] = (found.toarray() + kinds * blended[seen]) / (total + kinds)
    return blended.reshape(*inputs.shape, tokens)


def _blocks(split: Split, tokens: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A few windows at a time: their probabilities have to fit in memory."""
    size = max(1, BLOCK_NUMBERS // (split.inputs.shape[1] * tokens))
    for first in range(0, len(split.inputs), size):
        yield split.inputs[first : first + size], split.targets[first : first + size]
