"""Which ensemble becomes the model: the seeds' mean, unless another is surely better.

All are judged on validation. Shares that were fitted there are judged on those examples that they
were not fitted on. The checkpoints of single members were chosen on all of it, in every ensemble
alike.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from recipe_jax import ensemble
from recipe_jax.recipe import deciding
from recipe_jax.recipe.base import Context, Interval, paired_interval
from recipe_jax.recipe.members import LINEAR, SEEDS, SETTINGS, SNAPSHOTS, Pool
from recipe_jax.train.evaluate import example_scores, metrics_of
from recipe_jax.types import Blend, Finding, Objective, Split, Status

LEVEL = 0.05
"""Chance that any ensemble takes the seeds' place for nothing."""
FITS: dict[str, ensemble.Fit] = {"greedy blend": ensemble.greedy, "ridge blend": ensemble.ridge}


class Ensemble(NamedTuple):
    """places: of its members in the pool; shares: of each; outputs: on validation, cross-fitted
    where the shares are fitted; trainings: that it took."""

    name: str
    places: np.ndarray
    shares: np.ndarray
    outputs: np.ndarray
    trainings: int


class Chosen(NamedTuple):
    """The ensemble that goes on, as a model; places: of its members in the pool; outputs: on
    validation, cross-fitted where shares are fitted."""

    name: str
    model: Blend
    places: np.ndarray
    outputs: np.ndarray


def choose(
    context: Context, pool: Pool, outputs: Float[np.ndarray, "models *batch outputs"], split: Split
) -> tuple[Chosen, Finding]:
    """SQZ1: every ensemble with its gain and its cost, and the one that goes on: the seeds', unless
    the paired interval over examples of another's gain lies beyond the smallest gain worth having.
    The level is shared out among those that were tried (Bonferroni)."""
    objective, kind = context.objective, context.task.spec.kind
    tried = ensembles(pool, outputs, split.targets, kind)
    seeds = next(each for each in tried if each.name == SEEDS)
    scores = [_scores(objective, each.outputs, split) for each in tried]
    base = scores[tried.index(seeds)]
    alone = np.mean([_scores(objective, outputs[i], split) for i in seeds.places], axis=0)
    least = deciding.smallest_gain(context, base[None])
    level = 1 - LEVEL / max(1, len(tried) - 1)
    gains = [paired_interval(each - base, level) for each in scores]
    better = [i for i, gain in enumerate(gains) if tried[i] is not seeds and gain.low > least]
    place = max(better, key=lambda i: gains[i].mean, default=tried.index(seeds))
    chosen = tried[place]
    kept = chosen.shares > 0.0
    places = chosen.places[kept]
    members = [pool.results[i] for i in places]
    fitted = chosen.name in FITS
    shares = tuple(map(float, chosen.shares[kept])) if fitted else ()
    single = paired_interval(alone - base, level)
    return (
        Chosen(chosen.name, Blend(members, shares), places, chosen.outputs),
        _finding(context, pool, outputs, split, tried, [single, *gains], place, least=least),
    )


def ensembles(
    pool: Pool, outputs: Float[np.ndarray, "models *batch outputs"], targets: Any, kind: str
) -> list[Ensemble]:
    """The means of each way, and blends of all models whose outputs are finite; of one model there
    is no ensemble but that of the seeds."""
    finite = np.isfinite(outputs).reshape(len(outputs), -1).all(1)
    ways = np.array(pool.ways)
    found = []
    for way in (SEEDS, SETTINGS, SNAPSHOTS):
        places = np.flatnonzero((ways == way) & (finite | (way == SEEDS)))
        if len(places) > (way != SEEDS):
            shares = np.full(len(places), 1.0 / len(places))
            mean = np.asarray(ensemble.average(outputs[places], kind))
            found.append(Ensemble(way, places, shares, mean, pool.trainings[way]))
    places = np.flatnonzero(finite)
    if len(places) > 1:
        for name, fit in FITS.items():
            honest = ensemble.cross_fitted(fit, outputs[places], targets, kind)
            shares = fit(outputs[places], targets, kind)
            found.append(Ensemble(name, places, shares, honest, sum(pool.trainings.values())))
    return found


def _scores(objective: Objective, outputs: np.ndarray, split: Split) -> np.ndarray:
    """Of every example by itself, more is better: of the metric that decides, or of the loss where
    one example has no such metric."""
    outputs, targets = jnp.asarray(outputs), jnp.asarray(split.targets)
    found = objective.score.sign() * np.asarray(example_scores(objective, outputs, targets))
    if np.isfinite(found).all():
        return found
    return -np.asarray(objective.loss(outputs, targets))


def _finding(
    context: Context,
    pool: Pool,
    outputs: np.ndarray,
    split: Split,
    tried: list[Ensemble],
    gains: list[Interval],
    place: int,
    *,
    least: float,
) -> Finding:
    """`gains` over the seeds' mean: of one model alone, and of all that were tried."""
    objective, kind = context.objective, context.task.spec.kind
    metric = objective.score.metric
    measured = [metrics_of(objective, each.outputs, split.targets) for each in tried]
    seeds = next(each for each in tried if each.name == SEEDS)
    alone = [metrics_of(objective, outputs[i], split.targets) for i in seeds.places]
    names = ["one model", *(_named(each) for each in tried)]
    values = [float(np.mean([each[metric] for each in alone]))]
    values += [each[metric] for each in measured]
    trainings = [1, *(each.trainings for each in tried)]
    predictions = [1, *(int((each.shares > 0).sum()) for each in tried)]
    apart = [ensemble.disagreement(outputs[each.places], kind) for each in tried]
    told = "; ".join(
        f"{name} {value:.4g} ({cost} trained, {count} asked)"
        for name, value, cost, count in zip(names, values, trainings, predictions)
    )
    others = [i for i, each in enumerate(tried) if each is not seeds]
    top = max(others, key=lambda i: gains[1 + i].mean, default=None)
    verdict = f"The {names[1 + place]} go on" if tried[place] is seeds else ""
    if top is None:
        verdict += "."
    else:
        gain = gains[1 + (top if tried[place] is seeds else place)]
        interval = f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        verdict += (
            f": the largest gain, {names[1 + top]}, is {interval}."
            if tried[place] is seeds
            else f"The {names[1 + place]} goes on, its gain on the seeds' mean is {interval}."
        )
    differ = (
        f"Two seeds differ on {apart[0]:.2%} of the answers"
        if kind != "regression"
        else f"The seeds spread by {apart[0]:.3f} of the targets' deviation"
    )
    blends = {each.name: each for each in tried if each.name in FITS}
    return Finding(
        check="ensembles",
        row="SQZ1",
        status=Status.PASS,
        summary=f"Validation {metric}: {told}. {differ}. {verdict}",
        evidence={
            "names": names,
            "scores": values,
            "losses": [
                float(np.mean([each["loss"] for each in alone])),
                *(each["loss"] for each in measured),
            ],
            "difference": [each.mean for each in gains],
            "low": [each.low for each in gains],
            "high": [each.high for each in gains],
            "trainings": trainings,
            "predictions": predictions,
            "disagreement": [0.0, *apart],
            "chosen": 1 + place,
            "smallest_gain": least,
            "metric": metric,
            "models": [_member(pool, i) for i in range(len(pool.ways))],
            "shares": {name: _spread(each, len(pool.ways)) for name, each in blends.items()},
        },
    )


def _named(each: Ensemble) -> str:
    count = len(each.places)
    words = {SEEDS: "seeds", SETTINGS: "best settings", SNAPSHOTS: "snapshots of one run"}
    return f"{count} {words[each.name]}" if each.name in words else each.name


def _member(pool: Pool, place: int) -> str:
    way = pool.ways[place]
    words = {SEEDS: "seed", SETTINGS: "best setting", SNAPSHOTS: "snapshot", LINEAR: "linear model"}
    return words[way] if way == LINEAR else f"{words[way]} {1 + pool.ways[:place].count(way)}"


def _spread(each: Ensemble, count: int) -> np.ndarray:
    """Its shares at the places of the pool."""
    shares = np.zeros(count)
    shares[each.places] = each.shares
    return shares
