"""Settings measured side by side as lanes, pruned on the way, and ranked."""

import dataclasses
import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recipe_jax.prune.base import Rung
from recipe_jax.recipe.base import Context, best, final
from recipe_jax.search.base import Axis, Settings, seed_of
from recipe_jax.train import settings as train_settings
from recipe_jax.types import Result, Trial, Trials


class Look(NamedTuple):
    """How far a setting is measured where a search asks for a part: epochs of the full training
    split, rounds (a training stretch and a look each), and the examples it draws from."""

    epochs: int
    rounds: int
    examples: int


def look(context: Context, share: float) -> Look:
    """On the part `share` of the examples, and of the epochs.

    The examples are a whole part of all, so that each is drawn as often as any other. Rounds are as
    long as those of a full run where its length allows it, so that both share a program.
    """
    train, examples = context.config["train"], len(context.task.train.targets)
    rounds, epochs = train_settings.of_config(train, examples).rounds, train["epochs"]
    if share >= 1.0:
        return Look(epochs, rounds, examples)
    part = max(1, round(examples / max(1, round(1.0 / share))))
    common = math.gcd(epochs, rounds)
    times = round(share * common)
    if times and abs(times / common - share) <= share / 2:
        return Look(epochs // common * times, rounds // common * times, part)
    return Look(max(1, round(share * epochs)), max(1, round(share * rounds)), part)


class Tried(NamedTuple):
    """One setting that was measured: a result for each repeat, and how far it was trained: the part
    of a full run's rounds, on the part of the examples that the search asked for."""

    settings: Settings
    results: Sequence[Result]
    reach: float


def measured(
    context: Context,
    axes: Sequence[Axis],
    settings: Sequence[Settings],
    *,
    repeats: Sequence[Mapping[str, Any]],
    label: str,
    share: float,
    key: Any,
) -> Generator[Any, Any, list[Tried]]:
    """These settings side by side, pruned as the config says, in their order. The present setting,
    the first of all, goes on whatever it does: it is what the others are compared with."""
    epochs, rounds, examples = look(context, share)
    everything = len(context.task.train.targets)
    view: dict[str, Any] = {} if share >= 1.0 else {"num_examples": examples}
    tried: list[Tried] = []
    for bracket in context.prune.brackets(len(settings), rounds):
        members = list(settings[len(tried) : len(tried) + bracket.settings])
        trials = tuple(
            context.trial(settings=each, **repeat, **view) for each in members for repeat in repeats
        )
        request = Trials(
            label=label,
            trials=trials,
            epochs=epochs,
            evaluations=rounds if share < 1.0 else None,
            pauses=tuple(rung.rounds for rung in bracket.rungs),
        )
        results = yield request
        count, present_place = len(repeats), -len(tried)
        here = [
            Tried(each, results[i * count : (i + 1) * count], 0.0) for i, each in enumerate(members)
        ]
        for rung in bracket.rungs:
            going = _next(context, axes, here, rung=rung, protected=present_place, key=key)
            if not going:
                break
            results = yield dataclasses.replace(
                request,
                trials=tuple(trial for each in going for trial in each.trials),
                after=tuple(result for each in going for result in each.after),
            )
            for i, each in enumerate(going):
                here[each.place] = Tried(each.settings, results[i * count : (i + 1) * count], 0.0)
        tried += here
    longest = context.config["train"]["epochs"]
    return [
        Tried(
            each.settings,
            [_without_steps(result) for result in each.results],
            examples / everything * epochs / longest * done(each.results),
        )
        for each in tried
    ]


class _Going(NamedTuple):
    """A setting that goes on, its place among its bracket's, and from which results."""

    place: int
    settings: Settings
    trials: list[Trial]
    after: Sequence[Result]


def _next(
    context: Context,
    axes: Sequence[Axis],
    here: list[Tried],
    *,
    rung: Rung,
    protected: int,
    key: Any,
) -> list[_Going]:
    """What goes on after a rung: the best, and in place of the worst of these new settings on the
    states of the best (Jaderberg et al. 2017)."""
    paused = (rung.rounds, max(each.results[0].rounds[1] for each in here))
    waiting = [i for i, each in enumerate(here) if each.results[0].rounds == paused]
    order = ranked(context, [here[i] for i in waiting], now=rung.replaced > 0)
    best_first = [waiting[i] for i in order]
    kept = best_first[: rung.keep]
    if protected in best_first and protected not in kept:
        kept.append(protected)
    replaced = [i for i in kept[len(kept) - rung.replaced :] if i != protected]
    leading = kept[: rung.replaced]
    going = []
    for i in sorted(kept):
        source = here[i]
        settings, trials = source.settings, [result.trial for result in source.results]
        if i in replaced:
            draw = np.random.default_rng(
                [seed_of(key, ()), rung.rounds, replaced.index(i), len(here)]
            )
            source = here[leading[int(draw.integers(len(leading)))]]
            settings = _changed(axes, source.settings, context.prune.factors, draw)
            trials = [
                dataclasses.replace(
                    result.trial,
                    settings={**result.trial.settings, **settings},
                    goes_on=f"{result.trial.uid}@{rung.rounds}",
                )
                for result in source.results
            ]
        going.append(_Going(i, settings, trials, source.results))
    return going


def _changed(
    axes: Sequence[Axis], settings: Settings, factors: Sequence[float], draw: Any
) -> Settings:
    """The settings with every number of an axis times one of the factors, inside the axis."""
    changed = dict(settings)
    for axis in axes:
        factor = float(draw.choice(factors))
        if axis.kind in ("uniform", "log") and axis.path in settings:
            changed[axis.path] = min(max(settings[axis.path] * factor, axis.low), axis.high)
    return changed


def _without_steps(result: Result) -> Result:
    """A result without what every single step measured: a long search would fill the memory."""
    return result._replace(losses=np.zeros(0), grad_norms=np.zeros(0))


def done(results: Sequence[Result]) -> float:
    """The part of the rounds that was trained."""
    done, rounds = results[0].rounds
    return done / max(1, rounds)


def score(context: Context, results: Sequence[Result]) -> float:
    """Mean over seeds of the validation score, signed so that more is better; NaN where one run
    diverged."""
    sign, name = context.objective.score.sign(), context.score_name()
    values = [np.nan if r.status == "diverged" else sign * best(r, name) for r in results]
    return float(np.mean(values))


def ranked(context: Context, tried: Sequence[Tried], *, now: bool = False) -> list[int]:
    """From best to worst: what was trained furthest first, then by score, then by loss, a diverged
    one last, ties by uid. now: by the last look, not by the best one."""
    name, sign = context.score_name(), context.objective.score.sign()

    def rank(i: int) -> Any:
        results = tried[i].results
        value = score(context, results)
        if now and np.isfinite(value):
            value = sign * float(np.mean([final(result, name) for result in results]))
        loss = float(np.mean([best(result, "validation/loss") for result in results]))
        bad = not np.isfinite(value)
        uid = results[0].trial.uid
        return (bad, -tried[i].reach, -value if not bad else 0.0, loss if not bad else 0.0, uid)

    return sorted(range(len(tried)), key=rank)
