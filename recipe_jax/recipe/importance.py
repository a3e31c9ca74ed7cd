"""TUNE10: how much of the difference between settings each axis explains."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recipe_jax.search.base import Axis, Settings

FEWEST, MOST = 16, 256
"""Settings: with fewer a forest says nothing, with more it takes seconds."""


def shares(
    axes: Sequence[Axis], settings: Sequence[Settings], scores: np.ndarray
) -> dict[str, float]:
    """The share of each axis in the variance of the scores: path -> share, the largest first, 1 in
    all; by functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown 2014).

    Only axes that every setting has are judged, and only settings that did not diverge and whose
    choices are among the axes'; where these are few, or all score the same, nothing is said.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    there = [axis for axis in axes if all(axis.path in each for each in settings)]
    finite = np.array(
        [i for i, each in enumerate(settings) if np.isfinite(scores[i]) and _on(there, each)], int
    )
    if len(there) < 2 or len(finite) < FEWEST or np.ptp(scores[finite]) == 0.0:
        return {}
    chosen = finite[np.unique(np.linspace(0, len(finite) - 1, MOST).astype(int))]
    study = optuna.create_study(direction="maximize")
    spans: dict[str, Any] = {
        axis.path: optuna.distributions.CategoricalDistribution(range(len(axis.choices)))
        if axis.kind == "choice"
        else optuna.distributions.FloatDistribution(0.0, 1.0)
        for axis in there
    }
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={axis.path: axis.coordinate(settings[i][axis.path]) for axis in there},
                distributions=spans,
                value=float(scores[i]),
            )
            for i in chosen
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {path: float(share) for path, share in found.items()}


def _on(axes: Sequence[Axis], settings: Settings) -> bool:
    """Whether every choice is one of its axis: that of the config's own setting need not be."""
    return all(axis.kind != "choice" or settings[axis.path] in axis.choices for axis in axes)
