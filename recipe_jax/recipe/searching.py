"""A search carried out: settings are asked for in batches, measured as lanes, and the best few
measured again on new seeds."""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from recipe_jax import keys
from recipe_jax.recipe.base import Context, Planned, best, final
from recipe_jax.search.base import Axis, Settings, Told
from recipe_jax.types import Finding, Measured, Result, Status, Trials

FINALISTS = 4
SEED, FINAL_SEEDS = 200, (300, 301, 302)


class Searched(NamedTuple):
    """What was tried: settings, the present one first; their results, one a seed; scores (more is
    better, NaN where a run diverged); `order` from best to worst."""

    axes: tuple[Axis, ...]
    settings: list[Settings]
    results: list[Sequence[Result]]
    scores: np.ndarray
    order: list[int]


class Winner(NamedTuple):
    """The setting that is best on new seeds, and its mean score there."""

    settings: Settings
    score: float


def search(
    context: Context, axes: Sequence[Axis], *, seeds: Sequence[int] = (SEED,)
) -> Generator[Any, Any, Searched]:
    """TUNE1, TUNE3: settings in batches, each on the same seeds; the first trial is what stands."""
    ask, trials = context.search.ask, context.search.trials
    key = keys.derive(keys.lane_key(context.config["seed"], SEED), "search")
    settings: list[Settings] = [present(context, axes)]
    places = {frozenset(settings[0].items()): 0}
    results: list[Sequence[Result]] = []
    history: list[Told] = []
    wanted = trials if context.search.complete else trials - 1
    while True:
        count = min(context.search.batch, wanted - len(history))
        asked = ask(history, key, axes, count) if count > 0 else []
        fresh = []
        for each in asked:
            if frozenset(each.items()) not in places:
                places[frozenset(each.items())] = len(settings) + len(fresh)
                fresh.append(each)
        new = fresh if results else [*settings, *fresh]
        settings += fresh
        if new:
            found = yield Trials(
                label="search" + (f" {len(settings)}" if count < wanted else ""),
                trials=tuple(context.trial(seed, each) for each in new for seed in seeds),
                epochs=context.config["train"]["epochs"],
            )
            told = [found[i : i + len(seeds)] for i in range(0, len(found), len(seeds))]
            results += told
            yield _measured(context, axes, new, told)
        scores = np.array([score(context, each) for each in results])
        history += [Told(each, float(scores[places[frozenset(each.items())]])) for each in asked]
        # A search that only finds what was there already has no more to say.
        if len(history) >= wanted or not fresh:
            break
    return Searched(tuple(axes), settings, results, scores, ranked(context, results))


def finals(context: Context, searched: Searched) -> Generator[Any, Any, Winner]:
    """TUNE4: the best of many is best partly by luck, so the best few run again on new seeds, the
    setting that stood before among them."""
    finalists = [searched.settings[i] for i in searched.order[:FINALISTS]]
    if 0 not in searched.order[:FINALISTS]:
        finalists.append(searched.settings[0])
    again = yield Trials(
        label="finalists",
        trials=tuple(context.trial(seed, each) for each in finalists for seed in FINAL_SEEDS),
        epochs=context.config["train"]["epochs"],
    )
    count = len(FINAL_SEEDS)
    means = [_mean(context, again[i : i + count]) for i in range(0, len(again), count)]
    # Where every finalist diverged, the present setting is what is left.
    first = finalists.index(searched.settings[0])
    place = int(np.argmax(means)) if np.isfinite(means).any() else first
    return Winner(finalists[place], means[place])


def planned(context: Context, axes: Sequence[Axis], *, seeds: int = 1) -> list[Planned]:
    """The search, and the finalists on new seeds."""
    epochs = context.config["train"]["epochs"]
    trials = context.search.trials + context.search.complete
    final = (FINALISTS + 1) * len(FINAL_SEEDS)
    return [
        Planned(trials * seeds, epochs, groups(context, axes, trials)),
        Planned(final, epochs, 0),
    ]


def groups(context: Context, axes: Sequence[Axis], trials: int) -> int:
    """How many programs the settings need at most: every value of a whole number or a choice is one
    of its own."""
    several = 1
    if not axes:
        asked = [present(context, ()), *context.search.listed]
        static = {
            tuple((path, value) for path, value in each.items() if not isinstance(value, float))
            for each in asked
        }
        return len(static)
    for axis in axes:
        if axis.kind == "choice":
            several *= len(axis.choices)
        elif axis.whole:
            several *= int(axis.high - axis.low + 1)
    return min(several, trials)


def _measured(
    context: Context,
    axes: Sequence[Axis],
    settings: Sequence[Settings],
    results: Sequence[Sequence[Result]],
) -> Measured:
    metric = context.objective.score
    return Measured(
        name=f"{context.task.name} {metric.metric}",
        axes=tuple(axes),
        settings=settings,
        scores=[metric.sign() * score(context, each) for each in results],
        maximise=metric.maximise,
        uids=[each[0].trial.uid for each in results],
    )


def present(context: Context, axes: Sequence[Axis]) -> Settings:
    """The axes as they stand, of those with a condition the ones that are there; of a search
    without axes all that it ever sets."""
    settings: Settings = {}
    if not axes:
        paths = dict.fromkeys(path for each in context.search.listed for path in each)
        return {p: context.setting(p) for p in paths if context.setting(p) is not None}
    for axis in axes:
        value = context.setting(axis.path)
        if value is not None and axis.active(settings):
            settings[axis.path] = value
    return settings


def score(context: Context, results: Sequence[Result]) -> float:
    """Mean over seeds of the validation score, signed so that more is better; NaN where one run
    diverged."""
    sign, name = context.objective.score.sign(), context.score_name()
    values = [np.nan if r.status == "diverged" else sign * best(r, name) for r in results]
    return float(np.mean(values))


def ranked(context: Context, results: Sequence[Sequence[Result]]) -> list[int]:
    """Settings from best to worst: by score, then by loss, a diverged one last, ties by uid."""

    def rank(i: int) -> Any:
        value = score(context, results[i])
        loss = float(np.mean([best(result, "validation/loss") for result in results[i]]))
        bad = not np.isfinite(value)
        uid = results[i][0].trial.uid
        return (bad, -value if not bad else 0.0, loss if not bad else 0.0, uid)

    return sorted(range(len(results)), key=rank)


def words(settings: Settings) -> str:
    """A setting for a sentence."""
    told = [
        f"{path.split('.')[1] if not path.endswith('.name') else path.split('.')[0]} "
        + (f"{value:.3g}" if isinstance(value, float) else str(value))
        for path, value in settings.items()
    ]
    return ", ".join(told)


def finding(context: Context, searched: Searched, winner: Winner) -> Finding:
    """What the search found, for the report."""
    name, metric = context.score_name(), context.objective.score
    settings, order = searched.settings, searched.order
    sign = metric.sign()
    diverged = sum(any(r.status == "diverged" for r in each) for each in searched.results)
    fit = searched.results[order[0]][0]
    scores = [sign * value for value in searched.scores]
    paths = dict.fromkeys(path for each in settings for path in each)
    logs = {axis.path: axis.log for axis in searched.axes}
    return Finding(
        check="search",
        row="TUNE1 TUNE4 TUNE8",
        status=Status.PASS,
        summary=f"{len(settings)} settings ({diverged} diverged): the best "
        + ("single run reaches a " if len(searched.results[0]) == 1 else "mean over seeds is a ")
        + f"validation {metric.metric} of {scores[order[0]]:.4g} (training "
        f"{final(fit, 'train/' + metric.metric):.4g}), the present setting {scores[0]:.4g}; "
        f"measured again on {len(FINAL_SEEDS)} new seeds "
        + ("the present one is the best, with " if winner.settings == settings[0] else "")
        + ("" if winner.settings == settings[0] else "the winner has ")
        + f"{sign * winner.score:.4g}.",
        evidence={
            "axes": {
                path: {
                    "values": [each.get(path) for each in settings],
                    "log": logs.get(path, False),
                }
                for path in paths
            },
            "scores": scores,
            "status": [
                next((r.status for r in each if r.status == "diverged"), each[0].status)
                for each in searched.results
            ],
            "best": order[0],
            "winner": settings.index(winner.settings),
            "winner_settings": winner.settings,
            "metric": name.partition("/")[2],
            "maximise": metric.maximise,
        },
    )


def _mean(context: Context, results: Sequence[Result]) -> float:
    sign, name = context.objective.score.sign(), context.score_name()
    scores = np.array([sign * best(result, name) for result in results])
    losses = np.array([best(result, "validation/loss") for result in results])
    # Among equal accuracies the lower loss decides; it never outweighs a hundredth of an example.
    tie_break = 1e-5 * float(losses.mean()) if np.isfinite(losses).all() else 1.0
    return float(scores.mean()) - tie_break if np.isfinite(scores).all() else -np.inf
