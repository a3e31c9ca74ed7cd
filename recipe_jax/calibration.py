"""Whether what a model is sure of comes true: temperature, reliability, coverage."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy import optimize, stats

from recipe_jax import ensemble

BINS = 15
LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures between which the best one is sought."""
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Reliability(NamedTuple):
    """Examples in bins of equal mass by the probability of the class that is named: the mean of
    that probability, the share that is right, how many; error: the mean distance of the two."""

    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    counts: Int[np.ndarray, " bins"]
    error: float


def asked(outputs: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and targets one a row; of text, the tokens that are asked."""
    outputs, targets = np.asarray(outputs), np.asarray(targets)
    return outputs[targets >= 0], targets[targets >= 0]


def surprise(
    outputs: Float[Array | np.ndarray, "examples classes"],
    targets: Int[Array | np.ndarray, " examples"],
    temperature: float = 1.0,
) -> Float[np.ndarray, " examples"]:
    """-log of the probability of what is right, logits divided by the temperature."""
    logs = jax.nn.log_softmax(jnp.asarray(outputs) / temperature, axis=-1)
    right = jnp.take_along_axis(logs, jnp.asarray(targets)[:, None], axis=-1)
    return -np.asarray(right[:, 0], np.float64)


def temperature(
    outputs: Float[Array | np.ndarray, "examples classes"],
    targets: Int[Array | np.ndarray, " examples"],
) -> float:
    """What logits have to be divided by for the least mean surprise (Guo et al. 2017): above 1
    where the model is too sure. The loss is convex in its inverse, so there is one."""
    found = optimize.minimize_scalar(
        lambda log: float(surprise(outputs, targets, float(np.exp(log))).mean()),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


def cross_fitted(
    fit: Callable[[np.ndarray, np.ndarray], Any],
    outputs: Float[np.ndarray, "examples *outputs"],
    targets: Any,
) -> list[tuple[np.ndarray, Any]]:
    """(places, what `fit` finds on all the other examples), for each fifth of the examples."""
    return [
        (held, fit(outputs[rest], targets[rest])) for rest, held in ensemble.folds(len(targets))
    ]


def reliability(
    outputs: Float[Array | np.ndarray, "examples classes"],
    targets: Int[Array | np.ndarray, " examples"],
) -> Reliability:
    """Confidence beside accuracy; `error` is the expected calibration error of the class that is
    named, with bins of equal mass (Nguyen & O'Connor 2015)."""
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(outputs), axis=-1), np.float64)
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == targets
    order = np.argsort(confidence, kind="stable")
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    counts = np.array([len(part) for part in bins])
    sure = np.array([confidence[part].mean() for part in bins])
    true = np.array([right[part].mean() for part in bins])
    return Reliability(sure, true, counts, float(counts @ abs(sure - true) / counts.sum()))


def coverage(
    errors: Float[np.ndarray, "*values"], variance: Float[np.ndarray, "*values"]
) -> Float[np.ndarray, " levels"]:
    """The share of errors inside the central intervals of LEVELS of a normal distribution with that
    variance."""
    far = np.abs(errors) / np.sqrt(np.maximum(variance, 1e-12))
    return np.array([(far <= stats.norm.ppf(0.5 + level / 2)).mean() for level in LEVELS])
