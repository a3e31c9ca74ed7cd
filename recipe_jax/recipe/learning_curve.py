"""What more data would bring: validation error over the number of training examples."""

import warnings
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import optimize

from recipe_jax.recipe.base import Context, best
from recipe_jax.types import Finding, Result, Status, Trials

PARTS = (0.125, 0.25, 0.5, 1.0)
RESAMPLES = 100


def measured(context: Context) -> Generator[Any, Any, Finding]:
    """REG1: eighths to all of the examples as lanes of one program, then the law they follow."""
    count = len(context.task.train.targets)
    sizes = sorted({max(2, round(part * count)) for part in PARTS})
    seeds = range(context.recipe.seeds)
    results = yield Trials(
        label="learning curve",
        trials=tuple(
            context.trial(seed, context.quiet, num_examples=size)
            for size in sizes
            for seed in seeds
        ),
        epochs=context.epochs,
    )
    return examine(context, sizes, results)


def examine(context: Context, sizes: Sequence[int], results: Sequence[Result]) -> Finding:
    """results: by size, then by seed. The error is 1 - score where more is better (1 is perfect),
    else the score itself."""
    metric, name = context.objective.score, context.score_name()
    scores = np.array([best(result, name) for result in results]).reshape(len(sizes), -1)
    errors = 1.0 - scores if metric.maximise else scores
    known = np.isfinite(errors).all(0)
    common: dict[str, Any] = {"check": "learning_curve", "row": "REG1"}
    evidence = {"sizes": list(sizes), "scores": scores, "metric": metric.metric}
    if not known.any() or len(sizes) < 3:
        return Finding(
            status=Status.SKIP,
            summary="The runs on parts of the data diverged, or there are too few examples.",
            evidence=evidence,
            **common,
        )
    now, twice, spread = extrapolated(np.asarray(sizes, float), errors[:, known])
    low, high = np.percentile(spread, [2.5, 97.5])
    sign = metric.sign()
    evidence |= {
        "twice": 2 * sizes[-1],
        "expected": 1.0 - twice if metric.maximise else twice,
        "low": 1.0 - high if metric.maximise else low,
        "high": 1.0 - low if metric.maximise else high,
        "gain": now - twice,
    }
    half, whole = scores[-2, known].mean(), scores[-1, known].mean()
    flat = sign * (whole - half) <= 0
    return Finding(
        status=Status.PASS,
        summary=f"From {sizes[-2]} to {sizes[-1]} examples validation {metric.metric} goes from "
        f"{half:.4g} to {whole:.4g}; twice the data would bring it to about "
        f"{evidence['expected']:.4g} [{evidence['low']:.4g}, {evidence['high']:.4g}]"
        + (": more of the same data will not help." if flat else "."),
        evidence=evidence,
        **common,
    )


def extrapolated(
    sizes: Float[np.ndarray, " sizes"], errors: Float[np.ndarray, "sizes seeds"]
) -> tuple[float, float, np.ndarray]:
    """(error at the largest size, at twice that, and the latter under resampled seeds).

    The law is floor + scale * size ** -slope (Hestness et al. 2017), fitted to the means over
    seeds. Never more at twice the size than at the largest.
    """
    draw = np.random.default_rng(0)
    seeds = errors.shape[1]
    resampled = [
        _twice(sizes, errors[:, draw.integers(0, seeds, seeds)].mean(1)) for _ in range(RESAMPLES)
    ]
    means = errors.mean(1)
    return float(means[-1]), _twice(sizes, means), np.array(resampled)


def _twice(sizes: np.ndarray, errors: np.ndarray) -> float:
    """The law at twice the largest size; the last error where it cannot be fitted."""
    last, relative = float(errors[-1]), sizes / sizes[-1]
    top = float(errors.max())
    if not top > 0.0:
        return last

    def law(size: Any, floor: Any, scale: Any, slope: Any) -> Any:
        return floor + scale * size**-slope

    with warnings.catch_warnings():
        # As many sizes as numbers to fit leave no covariance, and none is asked for.
        warnings.simplefilter("ignore", optimize.OptimizeWarning)
        try:
            (_, scale, slope), _ = optimize.curve_fit(
                law,
                relative,
                errors,
                p0=(0.5 * last, max(0.5 * last, 1e-9 * top), 0.5),
                bounds=((0.0, 0.0, 0.05), (top, 2 * top, 2.0)),
                sigma=np.maximum(errors, 1e-6),
            )
        except RuntimeError:
            return last
    # What the law falls by from here on, from where the largest size was measured.
    return float(min(last, max(0.0, last - (scale - scale * 2.0**-slope))))
