"""Scores of finished runs beside those of the first: paired differences with their intervals.

Two runs of one seed share their random draws, so what differs between them is the change and little
else: differences are taken seed by seed, and example by example where it is known how each model
answers each example. Of the test split only what a run has told is known: where that is no number
an example, the intervals of both runs are put together as if each had examples of its own.

The rule is one everywhere: a run is better, or worse, where the whole interval of the difference
lies on that side of zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from recipe_jax.recipe import differing
from recipe_jax.recipe.base import Interval, paired_interval
from recipe_jax.recipe.deciding import crossed_interval, paired_gains
from recipe_jax.recipe.differing import Run
from recipe_jax.recipe.standing import (
    Chosen,
    Row,
    at_best,
    evidence,
    final_trials,
    number,
    settings,
    standing,
)

BETTER, WORSE, NOT_FOUND, OPEN = "better", "worse", "no difference found", "not judged"
KINDS = ("classification", "regression", "next_token")
DIRECTIONS = {
    **dict.fromkeys(("accuracy", "r2"), 1),
    **dict.fromkeys(("loss", "mse", "mae", "nats_per_char", "bits_per_char", "perplexity"), -1),
}
"""1 where more of a metric is better, -1 where less is."""
SAME = 1e-3
"""So close, relatively, a mean over examples must come to the score that was written down."""


class Value(NamedTuple):
    """A score of one run with the ends of its own interval, NaN where it has none; count: trials
    that it is the mean of, or test examples."""

    value: float
    low: float
    high: float
    count: int


class Difference(NamedTuple):
    """A run's score minus the first run's.

    interval: infinitely wide where there is none; seeds, examples: how many it is paired over, 0
    where it is not paired by them; by_seed: (seeds,) of it; note: what a reader must know to read
    it right.
    """

    interval: Interval
    verdict: str
    seeds: int = 0
    examples: int = 0
    by_seed: Sequence[float] = ()
    note: str = ""


class Score(NamedTuple):
    """One metric of all runs, None for a run that has not measured it. of: "trials" for the mean
    over those of a stage, "members" likewise on test, "model" for what the run left to use."""

    split: str
    stage: str
    metric: str
    of: str
    direction: int
    values: Sequence[Value | None]
    differences: Sequence[Difference | None]


class Asked(NamedTuple):
    """What two runs are held against one another by: a metric, its direction, the confidence."""

    metric: str
    direction: int
    level: float


def verdict(difference: Interval, direction: int) -> str:
    """What an interval of a difference says; direction: 1 where more is better, -1 where less is,
    0 where that is not known."""
    if not direction or not np.isfinite([difference.low, difference.high]).all():
        return OPEN
    if difference.low <= 0.0 <= difference.high:
        return NOT_FOUND
    return BETTER if direction * difference.mean > 0 else WORSE


def unpaired_interval(before: Value, after: Value, confidence: float = 0.95) -> Interval:
    """The interval of after - before from the 95 % intervals of two samples (Newcombe 1998, method
    10); for another confidence these are stretched as normal ones are.

    Where both were measured on the same examples it is wider than need be, as long as what is hard
    for the one is hard for the other.
    """
    mean = after.value - before.value
    stretch = stats.norm.ppf(0.5 + confidence / 2) / stats.norm.ppf(0.975)
    down = np.hypot(after.value - after.low, before.high - before.value)
    up = np.hypot(after.high - after.value, before.value - before.low)
    return Interval(mean, mean - float(stretch * down), mean + float(stretch * up))


def unjudged(mean: float, note: str) -> Difference:
    """A difference without an interval, and why."""
    return Difference(Interval(mean, -np.inf, np.inf), OPEN, note=note)


def kind(run: Run) -> str:
    """One of KINDS, or "" where the objective's name does not say."""
    name = run.settings.get("objective.name")
    return str(name) if name in KINDS else ""


def deciding_metric(runs: Sequence[Run]) -> str:
    """The metric that decided in the first run that tells one; the loss where none does."""
    for run in runs:
        for finding in reversed(run.findings):
            metric = (finding.get("evidence") or {}).get("metric")
            if isinstance(metric, str):
                return metric
    return "loss"


def direction(metric: str, runs: Sequence[Run]) -> int:
    """1 where more of it is better, -1 where less is, 0 where nobody says."""
    if metric in DIRECTIONS:
        return DIRECTIONS[metric]
    for run in runs:
        for finding in run.findings:
            told = finding.get("evidence") or {}
            if told.get("metric") == metric and "maximise" in told:
                return 1 if told["maximise"] else -1
    return 0


# --- Validation ------------------------------------------------------------------------------


def of_validation(runs: Sequence[Run], level: float) -> list[Score]:
    """Every metric at the best evaluation of the trials that stand for each run, as their mean."""
    told = []
    for stage, chosen in standing(runs).items():
        best = [
            {key: at_best(run, row) for key, row in rows.items()} for run, rows in zip(runs, chosen)
        ]
        for metric in dict.fromkeys(name for each in best for row in each.values() for name in row):
            asked = Asked(metric, direction(metric, runs), level)
            scores = [{key: row.get(metric, np.nan) for key, row in each.items()} for each in best]
            differences = [
                _on_validation(asked, (runs[0], run), (chosen[0], rows), (scores[0], after))
                if place and scores[0] and after
                else None
                for place, (run, rows, after) in enumerate(zip(runs, chosen, scores))
            ]
            values = [_mean_of(each) for each in scores]
            told.append(
                Score("validation", stage, metric, "trials", asked.direction, values, differences)
            )
    return told


def _on_validation(
    asked: Asked,
    runs: tuple[Run, Run],
    chosen: tuple[Chosen, Chosen],
    scores: tuple[Mapping[Any, float], Mapping[Any, float]],
) -> Difference:
    first = [next(iter(rows.values())) for rows in chosen]
    keys, why_not = _pairs(asked, runs, scores, (first[0], first[1]))
    if why_not:
        return unjudged(_mean(scores[1].values()) - _mean(scores[0].values()), why_not)
    before, after = (np.array([each[key] for key in keys])[:, None] for each in scores)
    answers = [
        _answers(run, [rows[key] for key in keys], asked.metric, each[:, 0])
        for run, rows, each in zip(runs, chosen, (before, after))
    ]
    known = [each for each in answers if each is not None]
    if len(known) == 2 and known[0].shape == known[1].shape:
        before, after = known
    return _paired(asked, before, after, rounding=_rounding(runs[0], asked.metric, first[0]))


def _answers(
    run: Run, rows: Sequence[Row], metric: str, scores: np.ndarray
) -> Float[np.ndarray, "seeds examples"] | None:
    """The metric of every validation example, NaN for a trial that diverged; None where it is not
    known of every trial, or does not come to the score that was written down."""
    known = [run.answers.get(row["trial"], {}).get(metric) for row in rows]
    if any(each is None for each in known):
        return None
    found = np.where(np.isnan(scores)[:, None], np.nan, np.array(known, float))
    told = np.isfinite(scores)
    same = np.allclose(found[told].mean(1), scores[told], rtol=SAME, atol=1e-6)
    return found if same else None


# --- Test ------------------------------------------------------------------------------------


def of_test(runs: Sequence[Run], level: float) -> list[Score]:
    """Every metric of the models that were tested; that which decides also of their members."""
    found = [evidence(run, "test_score") for run in runs]
    scores = [
        {**({each.get("metric"): each.get("value")} if each else {}), **(each.get("all") or {})}
        for each in found
    ]
    told = []
    for metric in dict.fromkeys(name for each in scores for name in each):
        asked = Asked(metric, direction(metric, runs), level)
        values = [_tested(each, every, metric) for each, every in zip(found, scores)]
        differences = [
            _on_test(asked, (runs[0], run), (values[0], value))
            if place and values[0] and value
            else None
            for place, (run, value) in enumerate(zip(runs, values))
        ]
        told.append(Score("test", "", metric, "model", asked.direction, values, differences))
    members = [_members(run, each) for run, each in zip(runs, found)]
    if any(members):
        metric = next(each["metric"] for each in found if each.get("members"))
        asked = Asked(metric, direction(metric, runs), level)
        differences = [
            _of_members(asked, (runs[0], run), (members[0], each))
            if place and members[0] and each
            else None
            for place, (run, each) in enumerate(zip(runs, members))
        ]
        values = [_mean_of(each) for each in members]
        told.append(Score("test", "", metric, "members", asked.direction, values, differences))
    return told


def _tested(told: Row, scores: Row, metric: str) -> Value | None:
    if metric not in scores:
        return None
    ends = told if told.get("metric") == metric else {}
    low, high = (number(ends.get(end)) for end in ("low", "high"))
    return Value(number(scores[metric]), low, high, told.get("count") or 0)


def _on_test(asked: Asked, runs: tuple[Run, Run], values: tuple[Value, Value]) -> Difference:
    mean = values[1].value - values[0].value
    why_not = _objection(asked.metric, runs, ({}, {}))
    if why_not:
        return unjudged(mean, why_not)
    before, after = (_errors(run, asked.metric, each) for run, each in zip(runs, values))
    if len(before) and len(before) == len(after):
        interval = paired_interval(after - before, asked.level)
        said = verdict(interval, asked.direction)
        return Difference(interval, said, examples=len(before), note="of these two models")
    interval = unpaired_interval(*values, asked.level)
    if not np.isfinite(interval).all():
        return unjudged(mean, "no interval of it was written down")
    return Difference(interval, verdict(interval, asked.direction), note="not paired")


def _errors(run: Run, metric: str, value: Value) -> Float[np.ndarray, " examples"]:
    """The metric of every test example, where the run told its predictions and the metric is the
    mean of that; else empty."""
    told = evidence(run, "predictions")
    if metric not in ("mse", "mae") or not told:
        return np.zeros(0)
    errors = np.abs(np.array(told["predictions"], float) - np.array(told["targets"], float))
    each = errors**2 if metric == "mse" else errors
    return each if np.isclose(each.mean(), value.value, rtol=SAME) else np.zeros(0)


def _members(run: Run, told: Row) -> dict[tuple[Any, ...], float]:
    """The test score of every member of an ensemble, by what pairs it."""
    scores = told.get("members") or []
    trials = final_trials(run) if scores else {}
    if len(trials) != len(scores):
        return {}
    return {key: number(score) for key, score in zip(trials, scores)}


def _of_members(
    asked: Asked,
    runs: tuple[Run, Run],
    members: tuple[Mapping[Any, float], Mapping[Any, float]],
) -> Difference:
    keys, why_not = _pairs(asked, runs, members, ({}, {}))
    if why_not:
        return unjudged(_mean(members[1].values()) - _mean(members[0].values()), why_not)
    before, after = (np.array([each[key] for key in keys])[:, None] for each in members)
    rounding = _rounding(runs[0], asked.metric, {}, split="test")
    return _paired(asked, before, after, rounding=rounding)


# --- Both ------------------------------------------------------------------------------------


def _pairs(
    asked: Asked,
    runs: tuple[Run, Run],
    scores: tuple[Mapping[Any, float], Mapping[Any, float]],
    rows: tuple[Row, Row],
) -> tuple[list[Any], str]:
    """What both have, and why it is no ground for a judgement, "" where it is."""
    keys = [key for key in scores[0] if key in scores[1]]
    why_not = _objection(asked.metric, runs, rows)
    return keys, why_not or ("" if keys else "no seed in common")


def _paired(
    asked: Asked,
    before: Float[np.ndarray, "seeds examples"],
    after: Float[np.ndarray, "seeds examples"],
    *,
    rounding: float,
) -> Difference:
    """From scores of both, NaN where a run diverged; examples is 1 where only means are known."""
    sign = asked.direction or 1
    each = sign * paired_gains(sign * after, sign * before)
    seeds, examples = each.shape
    by_seed = each.mean(1)
    if examples > 1:
        interval = crossed_interval(each, asked.level)
    else:
        interval = paired_interval(by_seed, asked.level, least_variance=rounding)
    lost = [int(np.isnan(scores).any(1).sum()) for scores in (before, after)]
    note = "one seed gives no interval" if seeds == 1 else ""
    if any(lost):
        note = (
            f"of {seeds} seeds {lost[0]} diverged in the first run and {lost[1]} in this one; such "
            "a seed counts as much lost as there was"
        )
    return Difference(
        interval,
        verdict(interval, asked.direction),
        seeds=seeds,
        examples=examples if examples > 1 else 0,
        by_seed=by_seed.tolist(),
        note=note,
    )


def _objection(metric: str, runs: tuple[Run, Run], rows: tuple[Row, Row]) -> str:
    """Why scores of two runs say nothing of each other; "" where they do. rows: of their trials."""
    if not differing.same_data(*runs):
        return "other data, so not the same examples"
    if metric != "loss":
        return ""
    regression = any(run.settings.get("objective.name") == "regression" for run in runs)
    if regression and not differing.same_training(*runs):
        return "the loss is counted in deviations of the training targets, which differ"
    before, after = (_loss_settings(run, row) for run, row in zip(runs, rows))
    paths = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    return f"the loss is another one ({', '.join(paths)})" if paths else ""


def _loss_settings(run: Run, row: Row) -> dict[str, Any]:
    """What a loss counts: the objective's settings, without the penalty, which no metric holds."""
    found = {**run.settings, **settings(row)}
    return {
        path: value
        for path, value in found.items()
        if path.startswith("objective.") and path != "objective.l2"
    }


def _rounding(run: Run, metric: str, row: Row, split: str = "validation") -> float:
    """Variance that rounding to whole examples hides in a difference of two accuracies: each is off
    by up to half an example, evenly. How many a fold has is not known."""
    count = (run.data.get("examples") or {}).get(split)
    folded = row.get("fold") is not None
    if metric != "accuracy" or kind(run) != "classification" or not count or folded:
        return 0.0
    return 1 / (6 * count**2)


def _mean_of(scores: Mapping[Any, float]) -> Value | None:
    return Value(_mean(scores.values()), np.nan, np.nan, len(scores)) if scores else None


def _mean(values: Iterable[float]) -> float:
    """Over those that there are."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else np.nan
