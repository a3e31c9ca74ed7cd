"""Which ensemble becomes the model: the seeds' mean, unless another is surely better.

All are judged on validation. Shares that were fitted there are judged on those examples that they
were not fitted on. The checkpoints of single members were chosen on all of it, in every ensemble
alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
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


_scores_of = jax.jit(example_scores, static_argnums=0)


class Ensemble(NamedTuple):
    """places: of its members in the pool; shares: of each; outputs: on validation, cross-fitted
    where the shares are fitted; trainings: that it took."""

    name: str
    places: np.ndarray
    shares: np.ndarray
    outputs: np.ndarray
    trainings: int


class Chosen(NamedTuple):
    """The ensemble that goes on, as a model; name: with how many models; places: of its members in
    the pool; outputs: on validation, cross-fitted where shares are fitted."""

    name: str
    model: Blend
    places: np.ndarray
    outputs: np.ndarray


class Compared(NamedTuple):
    """A row of the comparison. gain: over the seeds' mean, more is better; asked: predictions that
    one example costs; disagreement: of the members (ensemble.py)."""

    name: str
    metrics: dict[str, float]
    gain: Interval
    trainings: int
    asked: int
    disagreement: float


def choose(
    context: Context, pool: Pool, outputs: Float[np.ndarray, "models *batch outputs"], split: Split
) -> tuple[Chosen, Finding]:
    """SQZ1: every ensemble with its gain and its cost, and the one that goes on: the seeds', unless
    the paired interval over examples of another's gain lies beyond the smallest gain worth having.
    The level is shared out among those that were tried (Bonferroni)."""
    objective, kind = context.objective, context.task.spec.kind
    tried = ensembles(pool, outputs, split.targets, kind)
    seeds = tried[0]
    base = _scores(objective, seeds.outputs, split)
    level = 1 - LEVEL / max(1, len(tried) - 1)

    def compared(each: Ensemble) -> Compared:
        return Compared(
            _named(each),
            metrics_of(objective, each.outputs, split.targets),
            paired_interval(_scores(objective, each.outputs, split) - base, level),
            each.trainings,
            int((each.shares > 0.0).sum()),
            ensemble.disagreement(outputs[each.places], kind),
        )

    alone = [metrics_of(objective, outputs[i], split.targets) for i in seeds.places]
    scores = np.mean([_scores(objective, outputs[i], split) for i in seeds.places], axis=0)
    mean = {name: float(np.mean([each[name] for each in alone])) for name in alone[0]}
    single = Compared("one model", mean, paired_interval(scores - base, level), 1, 1, 0.0)
    rows = [compared(each) for each in tried]
    least = deciding.smallest_gain(context, base[None])
    better = [i for i, each in enumerate(rows) if i and each.gain.low > least]
    place = max(better, key=lambda i: rows[i].gain.mean, default=0)
    evidence = {
        "smallest_gain": least,
        "ways": [single.name, *(each.name for each in tried)],
        "models": _members(pool),
        "shares": _shares(pool, tried),
    }
    return _chosen(pool, tried[place]), _finding(context, [single, *rows], 1 + place, evidence)


def _chosen(pool: Pool, each: Ensemble) -> Chosen:
    kept = each.shares > 0.0
    places = each.places[kept]
    shares = tuple(map(float, each.shares[kept])) if each.name in FITS else ()
    return Chosen(
        _named(each), Blend([pool.results[i] for i in places], shares), places, each.outputs
    )


def ensembles(
    pool: Pool, outputs: Float[np.ndarray, "models *batch outputs"], targets: Any, kind: str
) -> list[Ensemble]:
    """The mean of each way, that of the seeds first, and blends of all models whose outputs are
    finite; of one model alone there is no other ensemble."""
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
    given, targets = jnp.asarray(outputs), jnp.asarray(split.targets)
    found = objective.score.sign() * np.asarray(_scores_of(objective, given, targets), float)
    if np.isfinite(found).all():
        return found
    return -np.asarray(objective.loss(given, targets), float)


def _finding(
    context: Context, rows: Sequence[Compared], chosen: int, evidence: Mapping[str, Any]
) -> Finding:
    """The first two rows are one model alone and the mean of the seeds."""
    metric = context.objective.score.metric
    told = "; ".join(
        f"{each.name} {each.metrics[metric]:.4g} ({each.trainings} / {each.asked})" for each in rows
    )
    apart = rows[1].disagreement
    differ = (
        f"The seeds spread by {apart:.3f} of the targets' deviation"
        if context.task.spec.kind == "regression"
        else f"Two seeds differ on {apart:.2%} of the answers"
    )
    verdict = f"The {rows[chosen].name} go on."
    if len(rows) > 2:
        place = chosen if chosen > 1 else max(range(2, len(rows)), key=lambda i: rows[i].gain.mean)
        gain = rows[place].gain
        interval = f"{gain.mean:+.3g} [{gain.low:+.3g}, {gain.high:+.3g}]"
        verdict = (
            f"The {rows[chosen].name} go on: {interval} over the mean of the seeds."
            if chosen > 1
            else f"The {rows[1].name} go on; the best other, the {rows[place].name}, gains "
            f"{interval} on them."
        )
    return Finding(
        check="ensembles",
        row="SQZ1",
        status=Status.PASS,
        summary=f"Validation {metric} (models trained / asked an example): {told}. {differ}. "
        f"{verdict}",
        evidence={
            "names": [each.name for each in rows],
            "scores": [each.metrics[metric] for each in rows],
            "losses": [each.metrics["loss"] for each in rows],
            "difference": [each.gain.mean for each in rows],
            "low": [each.gain.low for each in rows],
            "high": [each.gain.high for each in rows],
            "trainings": [each.trainings for each in rows],
            "predictions": [each.asked for each in rows],
            "disagreement": [each.disagreement for each in rows],
            "chosen": chosen,
            "metric": metric,
            **evidence,
        },
    )


def _named(each: Ensemble) -> str:
    count = len(each.places)
    told = {
        SEEDS: f"{count} seed{'s' * (count != 1)}",
        SETTINGS: f"{count} models of the best settings",
        SNAPSHOTS: f"{count} snapshots of one run",
    }
    kept = int((each.shares > 0.0).sum())
    return told.get(each.name) or f"{kept} model{'s' * (kept != 1)} of the {each.name}"


def _members(pool: Pool) -> list[str]:
    """A name for each."""
    words = {SEEDS: "seed", SETTINGS: "best setting", SNAPSHOTS: "snapshot"}
    return [
        "linear model" if way == LINEAR else f"{words[way]} {1 + pool.ways[:place].count(way)}"
        for place, way in enumerate(pool.ways)
    ]


def _shares(pool: Pool, tried: Sequence[Ensemble]) -> dict[str, np.ndarray]:
    """Of every blend the shares of all models of the pool."""
    found = {}
    for each in tried:
        if each.name in FITS:
            found[each.name] = np.zeros(len(pool.ways))
            found[each.name][each.places] = each.shares
    return found
