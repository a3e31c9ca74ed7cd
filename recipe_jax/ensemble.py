"""Many models as one: their predictions averaged, never their scores.

Models differ in their share of the mean. Shares are fitted on examples that trained none of the
models, and judged on others (`cross_fitted`): what is fitted on few examples flatters itself there.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import linalg, optimize

BAGS, ROUNDS = 20, 25
FOLDS = 5
LEAST_PROBABILITY = 1e-12
Fit = Callable[[Any, Any, str], np.ndarray]
"""(outputs (models, examples, ...), targets, kind) -> shares (models,), which sum to 1."""


def average(
    outputs: Float[Array | np.ndarray, "models *batch outputs"],
    kind: str,
    shares: Sequence[float] | np.ndarray | None = None,
) -> Float[Array, "*batch outputs"]:
    """The outputs of the ensemble: for classes and tokens the logarithm of the mean probability, so
    that a softmax gives that mean back; for regression the mean (Lakshminarayanan et al. 2017).

    shares: (models,) of the mean, which sum to 1; equal ones when not given.
    """
    outputs = jnp.asarray(outputs)
    parts = jnp.full(len(outputs), 1.0 / len(outputs)) if shares is None else jnp.asarray(shares)
    parts = parts.astype(outputs.dtype)
    if kind == "regression":
        return jnp.tensordot(parts, outputs, 1)
    log_probabilities = jax.nn.log_softmax(outputs, axis=-1)
    parts = parts.reshape(-1, *[1] * (outputs.ndim - 1))
    return jax.nn.logsumexp(log_probabilities, axis=0, b=parts)


def disagreement(outputs: Float[Array | np.ndarray, "models *batch outputs"], kind: str) -> float:
    """How far the models differ: for classes and tokens the share of examples to which two of them
    give another class, over all pairs (Kuncheva & Whitaker 2003); for regression the standard
    deviation over the models, root mean square over examples, in standardised units.

    0 for one model.
    """
    outputs, count = np.asarray(outputs), len(outputs)
    if count < 2:
        return 0.0
    if kind == "regression":
        return float(np.sqrt(np.var(outputs, axis=0, ddof=1).mean()))
    votes = outputs.argmax(-1)
    agree = sum(
        np.square((votes == answer).sum(0), dtype=np.float64) for answer in np.unique(votes)
    )
    return float(1.0 - (np.mean(agree) - count) / (count * (count - 1)))


def greedy(
    outputs: Float[Array | np.ndarray, "models *batch outputs"],
    targets: Any,
    kind: str,
    *,
    bags: int = BAGS,
    rounds: int = ROUNDS,
) -> Float[np.ndarray, " models"]:
    """Forward selection with replacement (Caruana et al. 2004): the model is added that helps the
    mean most, from the best single one on, and of all the means on the way the best is taken.

    It is done on `bags` random halves of the models, and the counts are averaged: with many models
    some fit by luck. Every half holds the best single one, and both losses are convex, so on these
    examples the mean is never worse than that one. bags 1: once, on all models.
    """
    stakes = _stakes(outputs, targets, kind)
    count = len(stakes)
    first = int(np.argmin(_cost(stakes, kind)))
    shares = np.zeros(count)
    for bag in range(bags):
        draw = np.random.default_rng(bag)
        others = np.delete(np.arange(count), first)
        half = draw.permutation(others)[: -(-len(others) // 2)] if bags > 1 else others
        members = np.sort(np.append(half, first))
        shares += _forward(stakes, members, first, kind=kind, rounds=rounds) / bags
    return shares


def ridge(
    outputs: Float[Array | np.ndarray, "models *batch outputs"], targets: Any, kind: str
) -> Float[np.ndarray, " models"]:
    """Non-negative least squares on probabilities or values (Breiman 1996), with a penalty on the
    distance from equal shares (Hoerl & Kennard 1970).

    It is the mean square of one model's error over the root of the number of examples: what is
    fitted on few stays near the plain mean.
    """
    errors = _errors(outputs, targets, kind)
    count, examples = len(errors), len(targets)
    squares = errors @ errors.T / examples
    strength = float(np.trace(squares)) / count / np.sqrt(examples)
    if not strength > 0.0:
        return np.full(count, 1.0 / count)
    # |Lw - t|^2 is the penalised square but for a constant; the last row holds the sum at 1.
    lower = linalg.cholesky(squares + strength * np.eye(count), lower=True)
    wanted = linalg.solve_triangular(lower, np.full(count, strength / count), lower=True)
    firm = 1e4 * np.sqrt(np.trace(squares) / count + strength)
    shares, _ = optimize.nnls(np.vstack([lower.T, np.full(count, firm)]), np.append(wanted, firm))
    return shares / shares.sum()


def cross_fitted(
    fit: Fit, outputs: Float[Array | np.ndarray, "models *batch outputs"], targets: Any, kind: str
) -> Float[np.ndarray, "*batch outputs"]:
    """The ensemble's outputs, each fifth of the examples with the shares fitted on the others."""
    outputs = np.asarray(outputs)
    found = []
    for rest, held in folds(len(targets)):
        shares = fit(outputs[:, rest], targets[rest], kind)
        found.append(np.asarray(average(outputs[:, held], kind, shares)))
    return np.concatenate(found)


def folds(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(the others, those held out) of consecutive fifths: neighbours, such as the windows of one
    text, stay together."""
    places = np.arange(count)
    parts = [part for part in np.array_split(places, FOLDS) if len(part)]
    return [(np.setdiff1d(places, part) if len(parts) > 1 else part, part) for part in parts]


def _forward(
    stakes: np.ndarray, members: np.ndarray, first: int, *, kind: str, rounds: int
) -> np.ndarray:
    counts = np.zeros(len(stakes))
    counts[first] = 1.0
    total, best, best_cost = stakes[first], counts.copy(), _cost(stakes[first], kind)
    others = stakes[members]
    for size in range(2, rounds + 1):
        costs = _cost((total + others) / size, kind)
        place = int(np.argmin(costs))
        counts[members[place]] += 1.0
        total = total + others[place]
        if costs[place] < best_cost:
            best, best_cost = counts.copy(), costs[place]
    return best / best.sum()


def _stakes(outputs: Any, targets: Any, kind: str) -> Float[np.ndarray, "models values"]:
    """What a loss of the mean is made of: the probability that a model gives to what is right, or
    its error. Both are averaged as predictions are."""
    if kind == "regression":
        return (np.asarray(outputs, np.float64) - targets).reshape(len(outputs), -1)
    asked = np.asarray(targets) >= 0
    right = np.where(asked, targets, 0)[None, ..., None]
    logs = np.asarray(jax.nn.log_softmax(jnp.asarray(outputs), axis=-1))
    return np.exp(np.take_along_axis(logs, right, -1)[..., 0][:, asked], dtype=np.float64)


def _cost(stakes: Float[np.ndarray, "*models values"], kind: str) -> Any:
    """Mean square, or mean surprise, of each."""
    if kind == "regression":
        return np.square(stakes).mean(-1)
    return -np.log(np.maximum(stakes, LEAST_PROBABILITY)).mean(-1)


def _errors(outputs: Any, targets: Any, kind: str) -> Float[np.ndarray, "models values"]:
    """Of values, or of the probabilities of all classes."""
    if kind == "regression":
        return _stakes(outputs, targets, kind)
    asked, width = np.asarray(targets) >= 0, outputs.shape[-1]
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(outputs), axis=-1), np.float64)
    errors = probabilities[:, asked] - np.eye(width)[np.asarray(targets)[asked]]
    return errors.reshape(len(errors), -1)
