"""What do simple classical models reach on the same splits?"""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn import dummy, linear_model, neighbors

from recipe_jax.checks import _curves, ngrams
from recipe_jax.train.evaluate import metrics_of
from recipe_jax.types import Finding, Objective, Split, Status, Task

NEIGHBOURS = 5
MOST_EXAMPLES = 4000
LEAST_GAIN = 0.05


def scores(task: Task, objective: Objective, split: Split) -> dict[str, float]:
    """The deciding metric on `split` of: the training prior, a linear model, nearest neighbours.

    Fitted on the training split (its first 4000 examples, for speed). For text: of counts of
    neighbouring tokens (ngrams.py).
    """
    if task.spec.kind == "next_token":
        return ngrams.scores(task, objective, split)
    inputs = _rows(task.train.inputs[:MOST_EXAMPLES])
    targets = task.train.targets[:MOST_EXAMPLES]
    neighbours = min(NEIGHBOURS, len(targets))
    if task.spec.kind == "classification":
        # A class alone is no problem for a linear model: the prior says all there is to say.
        alone = len(np.unique(targets)) < 2
        prior = dummy.DummyClassifier(strategy="prior")
        models: dict[str, Any] = {
            "majority": prior,
            "linear": prior if alone else linear_model.LogisticRegression(max_iter=300),
            "nearest neighbours": neighbors.KNeighborsClassifier(neighbours),
        }
    else:
        models = {
            "mean": dummy.DummyRegressor(),
            "linear": linear_model.Ridge(),
            "nearest neighbours": neighbors.KNeighborsRegressor(neighbours),
        }
    found = {}
    for name, model in models.items():
        with warnings.catch_warnings():
            # A linear model that has not converged is still a baseline.
            warnings.simplefilter("ignore")
            model.fit(inputs, targets)
            outputs = _outputs(model, _rows(split.inputs), task)
        found[name] = metrics_of(objective, outputs, split.targets)[objective.score.metric]
    return found


def _rows(inputs: np.ndarray) -> np.ndarray:
    """One row an example; what is not finite is another check's to tell, and zero here."""
    return np.nan_to_num(inputs.reshape(len(inputs), -1), posinf=0.0, neginf=0.0)


def _outputs(model: Any, held: np.ndarray, task: Task) -> np.ndarray:
    """Predictions in the form that the objective judges: log probabilities, or values."""
    if task.spec.kind == "regression":
        return np.asarray(model.predict(held), np.float32).reshape(len(held), -1)
    known = np.asarray(model.classes_, int)
    probabilities = np.full((len(held), task.spec.num_outputs), 1e-6, np.float32)
    probabilities[:, known] = np.clip(model.predict_proba(held), 1e-6, 1)
    return np.log(probabilities)


def examine(
    found: dict[str, float],
    model_score: float,
    objective: Objective,
    *,
    losses: Float[np.ndarray, "seeds looks"],
    count: int,
) -> Finding:
    """The network must beat the first; a WARN where another is better by a standard error.

    losses: its validation curves; count: the examples that they were measured on. Behind the prior
    in score, it FAILs only when it has come to rest and the upper end of the 99.9 % interval of its
    best gain in loss is under 5 %: an accuracy cannot beat that of a frequent class where a loss
    can, and a short training proves nothing.
    """
    sign = objective.score.sign()
    trivial, *others = found
    behind = [
        name
        for name in others
        if not sign * model_score >= sign * found[name] - _error(found[name], objective, count)
    ]
    beaten = sign * model_score > sign * found[trivial]
    status, remedy = Status.PASS, ""
    if not beaten:
        status, remedy = _behind_the_prior(trivial, losses, float(objective.loss_at_init))
    elif behind:
        status = Status.WARN
        remedy = (
            f"Not yet better than {', '.join(behind)}: the rate and the length of the training "
            "are the first suspects."
        )
    listed = ", ".join(f"{name} {score:.4g}" for name, score in found.items())
    return Finding(
        check="baselines",
        row="SKEL19",
        status=status,
        summary=f"Validation {objective.score.metric} {model_score:.4g} for the network as "
        f"configured; {listed}.",
        fault="" if status == Status.PASS else "F8",
        remedy=remedy,
        evidence={
            "names": ["network", *found],
            "scores": [model_score, *found.values()],
            "metric": objective.score.metric,
            "maximise": objective.score.maximise,
        },
    )


def _error(score: float, objective: Objective, count: int) -> float:
    """The standard error of a score: binomial for an accuracy, else that of a mean of squares of
    normal errors."""
    if objective.score.metric == "accuracy":
        return float(np.sqrt(max(score * (1.0 - score), 1.0 / count) / count))
    return abs(score) * float(np.sqrt(2.0 / count))


def _behind_the_prior(trivial: str, losses: np.ndarray, prior_loss: float) -> tuple[Status, str]:
    gains = prior_loss - _curves.lowest(losses)
    if np.isfinite(gains).all():
        if _curves.still_falling(losses):
            return Status.WARN, (
                f"Not yet better than {trivial}, but the loss still falls: train longer, or raise "
                "--config.optim.learning_rate."
            )
        if _curves.upper_end(gains) >= LEAST_GAIN * abs(prior_loss):
            return Status.WARN, (
                f"Not better than {trivial} by this score, though the loss gains on the prior's: "
                "train longer; with few examples or seeds or a rare class it may mean little."
            )
    return Status.FAIL, (
        f"Not better than {trivial}: are labels and inputs still aligned, does the gradient reach "
        "the weights, is the rate far off?"
    )
