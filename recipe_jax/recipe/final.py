"""What is said of finished models: their curves, their mistakes, and their score on test."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from recipe_jax.checks import baselines, data_audit, nearest
from recipe_jax.recipe import text
from recipe_jax.recipe.base import Context, Interval, best
from recipe_jax.train.evaluate import metrics_of
from recipe_jax.types import Finding, Result, Split, Status, judge

WORST = 12
MISTAKES = 48
"""Of the wrong examples so many are shown, those with the largest loss."""


def curves(context: Context, results: Sequence[Result]) -> Finding:
    """Train and validation on one figure, over the seeds."""
    metric = context.objective.score.metric
    steps = results[0].steps

    def stacked(name: str) -> np.ndarray:
        return np.stack([result.history[name] for result in results])

    scores = [best(result, context.score_name()) for result in results]
    diverged = [result.trial.uid for result in results if result.status == "diverged"]
    train = np.mean([best(result, f"train/{metric}") for result in results])
    batch = context.setting("train.batch_size")
    return judge(
        not diverged,
        f"{len(results)} final runs: validation {metric} {np.mean(scores):.4g} ± "
        f"{np.std(scores):.2g} over seeds at their best evaluation, training {train:.4g} there."
        if len(results) > 1
        else f"The run's best evaluation: validation {metric} {scores[0]:.4g}, training "
        f"{train:.4g} there.",
        check="curves",
        row="ENV2 REG8",
        fault="E1",
        remedy=f"{len(diverged)} run{'s' * (len(diverged) > 1)} diverged: lower the rate.",
        evidence={
            "steps": steps,
            "epochs": steps * batch / len(context.task.train.targets),
            "train_loss": stacked("train/loss"),
            "validation_loss": stacked("validation/loss"),
            "train_score": stacked(f"train/{metric}"),
            "validation_score": stacked(f"validation/{metric}"),
            "metric": metric,
        },
    )


def mistakes(context: Context, outputs: np.ndarray, test: Split) -> Iterator[Finding]:
    """Where the predictions differ from the truth: the confusion matrix and the worst examples."""
    task, objective = context.task, context.objective
    if text.is_text(task):
        yield from text.mistakes(context, outputs, test)
        return
    losses = np.asarray(objective.loss(outputs, test.targets))
    worst = np.argsort(-losses, kind="stable")[:WORST]
    predictions = np.asarray(objective.predict(outputs))
    if task.spec.kind == "classification":
        guessed = predictions.argmax(-1)
        labels = np.arange(task.spec.num_outputs)
        matrix = sklearn_metrics.confusion_matrix(test.targets, guessed, labels=labels)
        off = matrix - np.diag(np.diag(matrix))
        true, said = np.unravel_index(off.argmax(), off.shape)
        wrong = int(off.sum())
        told = f"{wrong} of {len(test.targets)} test examples are wrong"
        if wrong:
            told += (
                f"; most often {task.class_names[true]!r} is taken for {task.class_names[said]!r}"
            )
        mistaken = np.flatnonzero(guessed != test.targets)
        mistaken = mistaken[np.argsort(-losses[mistaken], kind="stable")][:MISTAKES]
        evidence: dict[str, Any] = {"classes": list(task.class_names), "matrix": matrix}
        if wrong:
            cells = np.stack([test.targets[mistaken], guessed[mistaken]], axis=1)
            evidence["mistakes"] = data_audit.picture(task, test, mistaken) | {"cells": cells}
        yield Finding(
            check="confusion",
            row="DATA10",
            status=Status.PASS,
            summary=told + ".",
            evidence=evidence,
        )
        said_words = [task.class_names[i] for i in guessed[worst]]
    else:
        truth = test.targets[:, 0] * task.spec.target_scale[0] + task.spec.target_mean[0]
        yield Finding(
            check="predictions",
            row="DATA10 DATA3",
            status=Status.PASS,
            summary=f"Predictions of {task.target_names[0]} beside the truth, in its own unit.",
            evidence={
                "targets": truth,
                "predictions": predictions[:, 0],
                "unit": task.target_names[0],
                "ids": list(test.ids),
            },
        )
        said_words = [f"{value:.4g}" for value in predictions[worst, 0]]
    yield Finding(
        check="worst",
        row="DATA10",
        status=Status.PASS,
        summary=f"The {len(worst)} test examples with the largest loss, from "
        f"{losses[worst[0]]:.3g} down"
        + (", of targets normalised." if task.spec.kind == "regression" else "."),
        evidence=data_audit.picture(task, test, worst)
        | {"predicted": said_words, "losses": losses[worst]}
        | nearest.of_mistakes(task, test, worst),
    )


def test_score(
    context: Context,
    outputs: np.ndarray,
    test: Split,
    *,
    validation: float,
    members: np.ndarray | None = None,
) -> Finding:
    """The deciding metric on the test split with its interval, beside the baselines and, for an
    ensemble, beside its members alone (their outputs)."""
    objective, name = context.objective, context.objective.score.metric
    found = metrics_of(objective, outputs, test.targets)
    value, count = found[name], len(test.targets)
    interval = score_interval(context, outputs, test, value)
    simple = baselines.scores(context.task, objective, test)
    sign = objective.score.sign()
    # A simple model counts as better beyond the interval: on few examples, or where one class is
    # rare, a healthy network may lie a little behind.
    end = interval.high if objective.score.maximise else interval.low
    behind = [each for each, score in simple.items() if not sign * score <= sign * end]
    trivial = next(iter(simple))
    alone = [
        metrics_of(objective, each, test.targets)[name]
        for each in (() if members is None else members)
    ]
    extra = "".join(f", {k} {v:.4g}" for k, v in found.items() if k not in (name, "loss"))
    return Finding(
        check="test_score",
        row="DATA6 SQZ1 SKEL19",
        status=Status.FAIL if trivial in behind else Status.WARN if behind else Status.PASS,
        summary=f"Test {name} {value:.4g} [{interval.low:.4g}, {interval.high:.4g}] on {count} "
        f"examples{extra}; "
        + (f"its members alone {np.mean(alone):.4g}; " if alone else "")
        + f"validation {validation:.4g}; "
        + ", ".join(f"{each} {score:.4g}" for each, score in simple.items())
        + ".",
        fault="F8" if behind else "",
        remedy=f"A simpler model does better: {' and '.join(behind)}." if behind else "",
        evidence={
            "metric": name,
            "value": value,
            "low": interval.low,
            "high": interval.high,
            "validation": validation,
            "count": count,
            "behind": behind,
            "all": found,
            "members": alone,
            "baselines": {"names": list(simple), "scores": list(simple.values())},
            "people": _people(context),
        },
    )


def _people(context: Context) -> dict[str, Any]:
    """What people scored on validation, where that is by the metric that decides."""
    found = [each.evidence for each in context.findings if each.check == "human_baseline"]
    scored = found and found[-1].get("metric") == context.objective.score.metric
    people = found[-1]["people"] if scored else []
    return {
        "names": [each["name"] for each in people],
        "scores": [each["score"]["value"] for each in people],
        "counts": [each["count"] for each in people],
    }


def score_interval(context: Context, outputs: np.ndarray, test: Split, value: float) -> Interval:
    """95 %: Wilson's interval for an accuracy, else the percentiles of 200 bootstrap resamples."""
    if context.objective.score.metric == "nats_per_char":
        return text.score_interval(context, outputs, test, value)
    count = len(test.targets)
    if context.objective.score.metric == "accuracy":
        found = stats.binomtest(round(value * count), count).proportion_ci(method="wilson")
        return Interval(value, float(found.low), float(found.high))
    draws = np.random.default_rng(context.config["seed"]).integers(0, count, (200, count))
    name = context.objective.score.metric
    sampled = [
        metrics_of(context.objective, outputs[rows], test.targets[rows])[name] for rows in draws
    ]
    low, high = np.percentile(sampled, [2.5, 97.5])
    return Interval(value, float(low), float(high))
