"""Decisions between settings: each change against none, over seeds and examples at once.

Two runs of one seed share their initial weights, their batches and their masks, so what differs
between them is the change and little else. What is measured is how much better the one answers each
validation example than the other: seeds and examples are both samples, of what could have been
drawn, and the interval of the mean difference holds over both.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from recipe_jax.recipe.base import Context, Interval, Planned
from recipe_jax.types import Finding, Result, Scores, Status, Trials

FIRST_SEED = 100
LEVEL = 0.05
"""Chance that any of the changes of one decision is kept for nothing."""
LEAST_SHARE = 0.005
"""Of the score: less is not worth a setting more, however sure it is."""
MOST_SEEDS = 128
"""More are not worth their time: where that many would not decide, nothing does."""


class Change(NamedTuple):
    """What is tried.

    name: for a person; settings: "section.key" -> value; view: fields of a trial, such as the
    inputs it does not see.
    """

    name: str
    settings: Mapping[str, Any] = {}
    view: Mapping[str, Any] = {}


class Verdict(NamedTuple):
    """What became of a change. gain: of the score, more is better; by_seed: (seeds,) of it; needs:
    seeds that it takes to decide, as many as there were where it is decided, None where no number
    of them would: other examples might say something else; diverged: how many of its seeds did."""

    change: Change
    gain: Interval
    by_seed: np.ndarray
    kept: bool
    needs: int | None
    diverged: int = 0


class Decided(NamedTuple):
    """All verdicts in the order of the changes; least: the gain worth keeping; score: of what they
    are compared with, as the metric counts it; seeds: of what they are compared with; runs: these,
    with their best weights."""

    verdicts: list[Verdict]
    least: float
    score: float
    seeds: int
    runs: list[Result]

    @property
    def kept(self) -> list[Verdict]:
        """The best first."""
        return sorted((v for v in self.verdicts if v.kept), key=lambda each: -each.gain.mean)


def decide(
    context: Context,
    changes: Sequence[Change],
    *,
    label: str,
    base: Change,
    epochs: int | None = None,
) -> Generator[Any, Any, Decided]:
    """ENV5, REG11: each change beside `base`, as lanes, with as many seeds as its verdict takes.

    A change is kept when the interval of its gain lies wholly beyond the smallest gain worth having
    (`smallest_gain`). It begins with `recipe.seeds` seeds; while a change is open they are doubled,
    `recipe.looks` looks in all. The level, 5 %, is shared out among changes and looks (Bonferroni),
    so no change is kept for nothing more often than that, however many were tried.
    """
    looks = context.recipe.looks
    level = 1 - LEVEL / (len(changes) * looks)
    lost = [0] * len(changes)
    known, least = np.zeros((0, 0)), 0.0
    gained = [np.zeros((0, 0))] * len(changes)
    gains = [Interval(0.0, -np.inf, np.inf)] * len(changes)
    going, runs = list(range(len(changes))), []
    for look in range(looks):
        done, seeds = len(known), context.recipe.seeds * 2**look
        tried = [base, *(changes[i] for i in going)]
        results = yield Trials(
            label=label + (f", {seeds} seeds" if look else ""),
            trials=tuple(
                context.trial(
                    FIRST_SEED + seed,
                    {**base.settings, **each.settings},
                    **{**base.view, **each.view},
                )
                for each in tried
                for seed in range(done, seeds)
            ),
            epochs=epochs or context.epochs,
            keep="best",
        )
        scores = yield Scores(label=label, results=results, split="validation")
        runs += results[: seeds - done]
        diverged = np.array([result.status == "diverged" for result in results])
        scores = np.where(diverged[:, None], np.nan, context.objective.score.sign() * scores)
        scores = scores.reshape(len(tried), seeds - done, -1)
        known = _below(known, scores[0])
        least = smallest_gain(context, known)
        for i, changed in zip(going, scores[1:]):
            lost[i] += int(np.isnan(changed).all(1).sum())
            gained[i] = _below(gained[i], paired_gains(changed, scores[0]))
            gains[i] = crossed_interval(gained[i], level)
        more = context.recipe.seeds * 2 ** (looks - 1) / seeds
        going = [i for i in going if _is_open(gained[i], least, level=level, more=more)]
        if not going:
            break
    return Decided(
        [
            Verdict(
                change,
                gain,
                each.mean(1),
                gain.low > least,
                seeds_needed(each, least, level),
                diverged,
            )
            for change, gain, each, diverged in zip(changes, gains, gained, lost)
        ],
        least,
        context.objective.score.sign() * float(known[np.isfinite(known)].mean())
        if np.isfinite(known).any()
        else np.nan,
        len(known),
        runs,
    )


def planned(
    context: Context, changes: int, *, programs: int = 1, epochs: int | None = None
) -> Planned:
    """What a decision between so many changes and none trains; more where all of them stay open."""
    lanes = (1 + changes) * context.recipe.seeds
    more = lanes * (2 ** (context.recipe.looks - 1) - 1)
    return Planned(lanes, epochs or context.epochs, programs, more=more)


def smallest_gain(context: Context, scores: Float[np.ndarray, "seeds examples"]) -> float:
    """A gain below `recipe.smallest_gain` (a tenth) of the validation score's standard error, or
    below half a percent of the score, is not worth having."""
    if not np.isfinite(scores).any():
        return 0.0
    mean = np.nanmean(scores, axis=0)
    mean = mean[np.isfinite(mean)]
    error = float(mean.std() / np.sqrt(len(mean)))
    return max(context.recipe.smallest_gain * error, LEAST_SHARE * abs(float(mean.mean())))


def crossed_interval(
    differences: Float[np.ndarray, "seeds examples"], confidence: float = 0.95
) -> Interval:
    """The interval of the mean of differences that seeds and examples both make vary.

    Two-way random effects: with mean squares of rows, of columns and of what remains, the variance
    of the mean is (rows + columns - rest) / (seeds * examples) (Cornfield and Tukey 1956), its
    degrees of freedom are Satterthwaite's (1946). Infinitely wide for one seed.
    """
    mean = float(differences.mean()) if differences.size else 0.0
    if len(differences) < 2:
        return Interval(mean, -np.inf, np.inf)
    variance, freedom, _ = _variance(differences)
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * np.sqrt(variance)
    return Interval(mean, mean - half, mean + half)


def finding(context: Context, decided: Decided, *, base: Change, **fields: Any) -> Finding:
    """The ledger of a decision: every change, its gain with the interval, and what became of it."""
    metric = context.objective.score.metric
    verdicts = decided.verdicts
    top = max(verdicts, key=lambda each: each.gain.mean)
    seeds = sorted({len(each.by_seed) for each in verdicts})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    kept = len(decided.kept)
    told = f"{kept} kept" if kept else "no difference found that is worth a change"
    return Finding(
        status=Status.PASS,
        summary=f"{_several(len(verdicts), 'change')} beside {base.name}, {metric} "
        f"{decided.score:.4g}, over {count} seeds and all validation examples: {told}. The best, "
        f"{top.change.name}, {'gains' if top.gain.mean >= 0 else 'brings'} "
        f"{signed(top.gain, decided.score)}.",
        evidence={
            "names": [each.change.name for each in verdicts],
            "settings": [dict(each.change.settings) for each in verdicts],
            "difference": [each.gain.mean for each in verdicts],
            "low": [each.gain.low for each in verdicts],
            "high": [each.gain.high for each in verdicts],
            "kept": [each.kept for each in verdicts],
            "seeds": [len(each.by_seed) for each in verdicts],
            "needs": [each.needs for each in verdicts],
            "metric": metric,
            "base": base.name,
            "score": decided.score,
            "smallest_gain": decided.least,
        },
        **fields,
    )


def signed(gain: Interval, score: float) -> str:
    """A gain with the ends of its interval, in the digits of the score that they belong to."""
    if 0.01 <= abs(score) < 1e6 or not np.isfinite(score):
        places = 1 if abs(score) >= 10 else 4
        mean, low, high = (f"{each:+.{places}f}" for each in gain)
    else:
        mean, low, high = (f"{each:+.2e}" for each in gain)
    return f"{mean} [{low}, {high}]"


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"


def _below(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.concatenate([first, second]) if len(first) else second


def paired_gains(changed: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Gain by seed and example. A run that diverged counts as nothing gained, and as much lost as
    there was; where both did, as no difference."""
    lost = np.where(np.isnan(base), np.where(np.isnan(changed), 0.0, abs(changed)), -abs(base))
    return np.where(np.isnan(changed) | np.isnan(base), lost, changed - base)


def _variance(differences: np.ndarray) -> tuple[float, float, float]:
    """(variance of the mean, its degrees of freedom, the part of it that more seeds leave)."""
    seeds, examples = differences.shape
    rows, columns = differences.mean(1), differences.mean(0)
    of_rows = examples * float(rows.var(ddof=1))
    if examples < 2:
        return of_rows / seeds, seeds - 1, 0.0
    of_columns = seeds * float(columns.var(ddof=1))
    rest = differences - rows[:, None] - columns + rows.mean()
    free = (seeds - 1) * (examples - 1)
    of_rest = float(np.square(rest).sum()) / free
    by_seed, by_example = max(0.0, of_rows - of_rest), max(0.0, of_columns - of_rest)
    total = of_rest + by_seed + by_example
    # The mean squares that the total is a sum of, with their degrees of freedom.
    parts = {
        (True, True): [(of_rows, seeds - 1), (of_columns, examples - 1), (of_rest, free)],
        (True, False): [(of_rows, seeds - 1)],
        (False, True): [(of_columns, examples - 1)],
        (False, False): [(of_rest, free)],
    }[by_seed > 0, by_example > 0]
    spread = sum(square**2 / freedom for square, freedom in parts)
    count = seeds * examples
    return total / count, total**2 / spread if spread else free, by_example / count


def seeds_needed(
    differences: Float[np.ndarray, "seeds examples"], least: float, level: float
) -> int | None:
    """How many seeds decide between this gain and the smallest one, doubled from those there are;
    None where more of them would not."""
    count = len(differences)
    if not count:
        return None
    gain = crossed_interval(differences, level)
    if not gain.low <= least <= gain.high:
        return count
    seeds = 2 * count
    while np.isfinite(gain.low) and seeds <= MOST_SEEDS:
        if _is_open(differences, least, level=level, more=seeds / count):
            return seeds
        seeds *= 2
    return None


def _is_open(differences: np.ndarray, least: float, *, level: float, more: float) -> bool:
    """Whether so many times the seeds may still decide: the interval holds the smallest gain, and
    one as narrow as they would make it around the same mean does not."""
    gain = crossed_interval(differences, level)
    if more <= 1 or not gain.low <= least <= gain.high:
        return False
    if not np.isfinite(gain.low):
        return True
    variance, freedom, stays = _variance(differences)
    half = float(stats.t.ppf(0.5 + level / 2, freedom * more))
    half *= np.sqrt(stays + (variance - stays) / more)
    return bool(half < abs(gain.mean - least))
