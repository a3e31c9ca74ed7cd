"""A search carried out: settings are asked for in batches, measured as lanes, and the best few
measured again on new seeds."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recipe_jax import assembly, keys
from recipe_jax.prune.base import lane_rounds
from recipe_jax.recipe import importance
from recipe_jax.recipe.base import (
    Context,
    Interval,
    Planned,
    best,
    final,
    fitting,
    paired_interval,
)
from recipe_jax.recipe.measuring import Tried, done, measured, ranked, score
from recipe_jax.search.base import Axis, Settings, Told
from recipe_jax.train import settings as train_settings
from recipe_jax.types import Finding, Measured, Result, Status, Trials

FINALISTS = 4
CURVES = 8
AGAIN = 7
"""Settings of a coarse round that run again in the next one, beside the present setting: they tell
whether the coarse ranking holds."""
SEED, FINAL_SEEDS = 200, (300, 301, 302)


class Round(NamedTuple):
    """Settings that were asked for on one part of the examples and epochs, and not before."""

    share: float
    settings: list[Settings]


class Both(NamedTuple):
    """A setting that ran on two parts of the data: its score on each, more is better."""

    settings: Settings
    shares: tuple[float, float]
    scores: tuple[float, float]


class Searched(NamedTuple):
    """What was tried, the present setting first, each as far as it ran last; shares: the part of
    the data there; scores (more is better, NaN where a run diverged); `order` from best to worst.
    rounds: by share, as they were asked for; both: what ran in two of them to its end."""

    axes: tuple[Axis, ...]
    tried: list[Tried]
    shares: list[float]
    scores: np.ndarray
    order: list[int]
    rounds: list[Round]
    both: list[Both]

    @property
    def settings(self) -> list[Settings]:
        """Of each that was tried."""
        return [each.settings for each in self.tried]


class Winner(NamedTuple):
    """The setting that is best on new seeds, its mean score there, that of the one that stood
    before, and the interval of what is gained, paired by seed; more is better.

    The interval is one of as many as other settings were measured again: the best of them gained
    partly by luck, and 95 % hold for all together (Bonferroni)."""

    settings: Settings
    score: float
    before: float
    gain: Interval


def search(
    context: Context,
    axes: Sequence[Axis],
    *,
    repeats: Sequence[Mapping[str, Any]] = ({"seed": SEED},),
) -> Generator[Any, Any, Searched]:
    """TUNE1, TUNE3, TUNE5: settings in batches, each with the same repeats (fields of a trial: its
    seed, its fold); the first one is what stands."""
    ask, trials = context.search.ask, context.search.trials
    key = keys.derive(keys.lane_key(context.config["seed"], SEED), "search")
    first = present(context, axes)
    places = {_frozen(first): 0}
    tried: list[Tried] = []
    shares: list[float] = []
    rounds: list[Round] = []
    both: list[Both] = []
    history: list[Told] = []
    wanted = trials if context.search.complete else trials - 1
    share, scores = 0.0, np.zeros(0)
    while True:
        count = min(context.search.batch, wanted - len(history))
        before, share = share, context.search.share(len(history))
        asked = ask(history, key, axes, count) if count > 0 else []
        fresh = list(
            {_frozen(each): each for each in asked if _frozen(each) not in places}.values()
        )
        # What stands is measured as far as what it is compared with, and of what a coarse look
        # ranked some are, from its best to its worst.
        again = _again(scores, shares, before) if share > before else []
        new = [*(tried[i].settings if tried else first for i in again), *fresh]
        if share > before:
            rounds.append(Round(share, []))
        rounds[-1].settings.extend(fresh)
        if new:
            label = "search" + (f" {len(tried) + len(fresh)}" if count < wanted else "")
            found = yield from measured(
                context, axes, new, repeats=repeats, label=label, share=share, key=key
            )
            yield _told(context, axes, found)
            for i, told in zip(again, found):
                if before and done(told.results) == 1.0:
                    known = float(scores[i]), score(context, told.results)
                    both.append(Both(told.settings, (before, share), known))
                tried[i : i + 1], shares[i : i + 1] = [told], [share]
            for each, told in zip(fresh, found[len(again) :]):
                places[_frozen(each)] = len(tried)
                tried.append(told)
                shares.append(share)
        scores = np.array([score(context, each.results) for each in tried])
        history += [Told(each, float(scores[places[_frozen(each)]])) for each in asked]
        # A search that only finds what was there already has no more to say.
        if len(history) >= wanted or not fresh:
            break
    order = ranked(context, tried)
    return Searched(tuple(axes), tried, shares, scores, order, rounds, both)


def _again(scores: np.ndarray, shares: Sequence[float], share: float) -> list[int]:
    """Places of the present setting, and of `AGAIN` others that were measured on this share and did
    not diverge, evenly from the best to the worst."""
    others = [i for i in range(1, len(scores)) if shares[i] == share and np.isfinite(scores[i])]
    others.sort(key=lambda i: -scores[i])
    spread = np.linspace(0, len(others) - 1, min(AGAIN, len(others))).round().astype(int)
    return [0, *(others[i] for i in spread)]


def _frozen(settings: Settings) -> frozenset:
    return frozenset(settings.items())


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
    sign, name = context.objective.score.sign(), context.score_name()
    scores = sign * np.reshape([best(result, name) for result in again], (-1, count))
    others = max(1, len(finalists) - 1)
    gain = paired_interval(scores[place] - scores[first], 1 - 0.05 / others)
    return Winner(finalists[place], means[place], means[first], gain)


def candidates(
    context: Context, searched: Searched, winner: Winner
) -> tuple[Mapping[str, Any], ...]:
    """The winner and those that did best in the search, with what was decided before."""
    settings = searched.settings
    scored = (settings[i] for i in searched.order if np.isfinite(searched.scores[i]))
    told = {_frozen(each): each for each in (winner.settings, *scored)}
    best = [*told.values()][: context.recipe.candidates]
    return tuple(fitting({**context.carried, **each}) for each in best)


def planned(context: Context, axes: Sequence[Axis], *, repeats: int = 1) -> list[Planned]:
    """The search, and the finalists on new seeds."""
    epochs = context.config["train"]["epochs"]
    asked = batches(context)
    lanes = sum(count for count, _ in asked)
    programs = groups(context, axes, context.search.trials + context.search.complete)
    if _sees_length(context):
        programs *= len({share for _, share in asked})
    finalists = (FINALISTS + 1) * len(FINAL_SEEDS)
    return [
        Planned(lanes * repeats, epochs, programs, part(context)),
        Planned(finalists, epochs, 0),
    ]


def batches(context: Context) -> list[tuple[int, float]]:
    """(settings, share of the data) of every batch at most; those that run again among them."""
    search = context.search
    wanted = search.trials - (not search.complete)
    found: list[tuple[int, float]] = []
    told, before, coarse = 0, 0.0, 0
    while not found or told < wanted:
        count, share = min(search.batch, wanted - told), search.share(told)
        again = 0
        if share > before:
            again, coarse, before = 1 + min(AGAIN, coarse), 0, share
        found.append((again + count, share))
        told, coarse = told + count, coarse + count
    return found


def part(context: Context) -> float:
    """What the search costs, of as many full runs: pruning and coarse looks are cheaper."""
    train, asked = context.config["train"], batches(context)
    rounds = train_settings.of_config(train, len(context.task.train.targets)).rounds
    cost = sum(
        share * lane_rounds(context.prune.brackets(count, rounds), rounds) for count, share in asked
    )
    return cost / (rounds * sum(count for count, _ in asked))


def _sees_length(context: Context) -> bool:
    """Whether the schedule looks at the length of the run: each length is then a program."""
    return assembly.horizon(assembly.split(context.config)[0], 100) > 1


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
        if axis.kind == "choice" and not all(isinstance(each, float) for each in axis.choices):
            several *= len(axis.choices)
        elif axis.whole:
            several *= int(axis.high - axis.low + 1)
    return min(several, trials)


def _told(context: Context, axes: Sequence[Axis], tried: Sequence[Tried]) -> Measured:
    """For the journal."""
    metric = context.objective.score
    return Measured(
        name=f"{context.task.name} {metric.metric}",
        axes=tuple(axes),
        settings=[each.settings for each in tried],
        scores=[metric.sign() * score(context, each.results) for each in tried],
        maximise=metric.maximise,
        uids=[each.results[0].trial.uid for each in tried],
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
    settings, order, tried = searched.settings, searched.order, searched.tried
    sign, repeats = metric.sign(), len(tried[0].results)
    status = [_status(each, share) for each, share in zip(tried, searched.shares)]
    told = [f"{status.count('diverged')} diverged"]
    if "coarse" in status:
        told.append(f"{status.count('coarse')} on part of the data alone")
    if "stopped" in status:
        told.append(f"{status.count('stopped')} stopped early")
    fit = tried[order[0]].results[0]
    scores = [sign * value for value in searched.scores]
    paths = dict.fromkeys(path for each in settings for path in each)
    logs = {axis.path: axis.log for axis in searched.axes}
    same = winner.settings == settings[0]
    who = "this one" if winner.settings == settings[order[0]] else "another of the best"
    return Finding(
        check="search",
        row=f"{context.search.row} TUNE4 TUNE8 TUNE10",
        status=Status.PASS,
        summary=f"{len(settings)} settings ({', '.join(told)}): the best "
        + ("single run reaches a " if repeats == 1 else f"mean of {repeats} runs is a ")
        + f"validation {metric.metric} of {scores[order[0]]:.4g} (training "
        f"{final(fit, 'train/' + metric.metric):.4g}), the present setting {scores[0]:.4g}; "
        f"measured again on {len(FINAL_SEEDS)} new seeds "
        + ("the present one is the best, with " if same else f"{who} is the best, with ")
        + f"{sign * winner.score:.4g}"
        + ("." if same else f" to the present one's {sign * winner.before:.4g}{_gained(winner)}."),
        evidence={
            "axes": {
                path: {
                    "values": [each.get(path) for each in settings],
                    "log": logs.get(path, False),
                }
                for path in paths
            },
            "scores": scores,
            "status": status,
            "seeds": [[sign * score(context, [r]) for r in each.results] for each in tried],
            "rounds": [each.results[0].rounds[0] for each in tried],
            "of_rounds": max(each.results[0].rounds[1] for each in tried),
            "importance": importance.shares(searched.axes, *_in_full(searched)),
            "curves": _curves(context, [tried[i] for i in order[:CURVES]], order[:CURVES]),
            "best": order[0],
            "winner": settings.index(winner.settings),
            "winner_settings": winner.settings,
            "gain": winner.gain._asdict(),
            "metric": name.partition("/")[2],
            "maximise": metric.maximise,
        },
    )


def _gained(winner: Winner) -> str:
    """The interval of the gain, for the sentence."""
    mean, low, high = winner.gain
    if not np.isfinite([low, high]).all():
        return ""
    sure = "" if low > 0 else ", which may be luck"
    return f" (a gain of {mean:.2g} [{low:.2g}, {high:.2g}]{sure})"


def _status(tried: Tried, share: float) -> str:
    """Of a setting: diverged where one of its runs did, coarse where it ran on part of the data."""
    found = {result.status for result in tried.results} | ({"coarse"} if share < 1.0 else set())
    return next((each for each in ("diverged", "coarse", "stopped") if each in found), "done")


def _in_full(searched: Searched) -> tuple[list[Settings], np.ndarray]:
    """What was measured furthest, with its scores; axes that a round left alone are as they
    stand."""
    settings, most = searched.settings, max(searched.shares)
    places = [i for i, share in enumerate(searched.shares) if share == most]
    stands = {
        axis.path: settings[0][axis.path]
        for axis in searched.axes
        if axis.when is None and axis.path in settings[0]
    }
    return [stands | settings[i] for i in places], searched.scores[places]


def _curves(context: Context, tried: Sequence[Tried], places: Sequence[int]) -> dict[str, Any]:
    """The metric that decides over epochs, of those settings that were looked at as often as the
    best one: (settings, repeats, looks)."""
    looks = len(tried[0].results[0].steps)
    whole = [(i, each) for i, each in zip(places, tried) if len(each.results[0].steps) == looks]
    done, rounds = tried[0].results[0].rounds
    last = context.config["train"]["epochs"] * done / max(1, rounds)
    return {
        "epochs": np.linspace(0.0, last, looks),
        "settings": [i for i, _ in whole],
        **{
            split: [
                [result.history[context.score_name(split)] for result in each.results]
                for _, each in whole
            ]
            for split in ("train", "validation")
        },
    }


def _mean(context: Context, results: Sequence[Result]) -> float:
    sign, name = context.objective.score.sign(), context.score_name()
    scores = np.array([sign * best(result, name) for result in results])
    losses = np.array([best(result, "validation/loss") for result in results])
    # Among equal accuracies the lower loss decides; it never outweighs a hundredth of an example.
    tie_break = 1e-5 * float(losses.mean()) if np.isfinite(losses).all() else 1.0
    return float(scores.mean()) - tie_break if np.isfinite(scores).all() else -np.inf
