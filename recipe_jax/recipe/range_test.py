"""The learning-rate range test: short runs over seven decades of rates, on several seeds."""

import math
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from recipe_jax.recipe.base import Context, Planned
from recipe_jax.types import Finding, Result, Status, Trials

RATES = np.logspace(-7, 0, 29)
SEEDS = 3
"""The fewest of which one that is far off is outvoted."""
LEAST_DROP = 1e-3
"""The share of the loss that a rate must take off before it counts as one that works."""
BLOWN_UP = 0.5
"""Of what the best rate took off the loss: a larger rate that keeps less of it has blown up, also
where the updates of the optimiser are bounded and nothing overflows."""
REACH = 10.0
"""The search looks so many times above and below the rate that goes on (Context.axes). Suggestions
that no rate has within reach are no suggestion."""
LAST_BATCHES = 8


class Suggestions(NamedTuple):
    """What one seed's curve says: the rate with the lowest loss; the steepest part; a tenth of the
    largest rate that does not blow up, and whether one above it was seen to."""

    lowest: float
    steepest: float
    tenth: float
    bounded: bool

    @property
    def rate(self) -> float:
        """The geometric mean of both rules, never above the rate with the lowest loss."""
        return min(math.sqrt(self.steepest * self.tenth), self.lowest)


def applies(context: Context) -> bool:
    """Whether the optimiser has a rate."""
    return context.setting("optim.learning_rate") is not None


def planned(context: Context) -> list[Planned]:
    """Every rate on every seed, in one program."""
    return [Planned(len(RATES) * SEEDS, context.recipe.range_epochs, 1)] if applies(context) else []


def measured(context: Context) -> Generator[Any, Any, tuple[float | None, Finding]]:
    """FIT6: the rate to go on with, None where the optimiser has no rate. Regularisers are off, and
    so is clipping: it would hide where a rate blows up."""
    if not applies(context):
        return None, Finding(
            check="range_test",
            row="FIT6",
            status=Status.SKIP,
            summary=f"The optimiser {context.setting('optim.name')!r} has no learning_rate.",
        )
    plain: dict[str, Any] = dict(context.quiet)
    if math.isfinite(context.setting("optim.clip_norm") or math.inf):
        plain["optim.clip_norm"] = math.inf
    results = yield Trials(
        label="range test",
        trials=tuple(
            context.trial(seed, plain | {"optim.learning_rate": float(rate)})
            for seed in range(SEEDS)
            for rate in RATES
        ),
        epochs=context.recipe.range_epochs,
        evaluations=context.recipe.range_epochs,
    )
    return examine(results, float(context.setting("optim.learning_rate")))


def examine(results: Sequence[Result], configured: float) -> tuple[float, Finding]:
    """The rate to go on with, from the mean loss of the last batches of each short run; results: by
    seed, then by rate.

    Two rules are asked on every seed: where the loss falls fastest with the logarithm of the rate
    (Smith 2017), and a tenth of the largest rate that does not blow up. The rate that goes on is
    the median over seeds of the geometric mean of both. Nothing is chosen, and the configured rate
    goes on, where the medians of the rules are more than REACH squared apart, so that even their
    mean has neither within reach, and where the rates of most seeds are not within REACH of their
    median.
    """
    losses = np.array([_end(result) for result in results]).reshape(-1, len(RATES))
    firsts = [float(result.losses[0]) for result in results[:: len(RATES)]]
    # All lanes of a seed see the same batches, so the lowest rate, which hardly learns, tells what
    # these would cost an untrained model.
    starts = np.where(np.isfinite(losses[:, 0]), losses[:, 0], firsts)
    found = [suggested(each, start) for each, start in zip(losses, starts)]
    told = [each for each in found if each is not None]
    start = float(np.median(starts))
    finite = np.where(np.isfinite(losses), losses, np.inf)
    middle = np.median(finite, axis=0)
    evidence: dict[str, Any] = {
        "rates": RATES,
        "losses": np.where(np.isfinite(middle), middle, np.nan),
        "by_seed": np.where(np.isfinite(losses), losses, np.nan),
        "initial": start,
        "configured": configured,
    }
    common: dict[str, Any] = {"check": "range_test", "row": "FIT6 DIAG3", "evidence": evidence}
    if not told:
        return configured, Finding(
            status=Status.FAIL,
            summary=f"None of {len(RATES)} rates from {RATES[0]:.0e} to {RATES[-1]:.0e} lowers the "
            "loss.",
            fault="E10",
            remedy="Look whether the gradient reaches the weights, and at its sign.",
            **common,
        )
    lowest, steepest, tenth, rates = (
        np.array([getattr(each, name) for each in told])
        for name in ("lowest", "steepest", "tenth", "rate")
    )
    best = float(np.median(lowest))
    rules = {"steepest": float(np.median(steepest)), "tenth": float(np.median(tenth))}
    evidence |= rules | {"steepest_by_seed": steepest, "tenth_by_seed": tenth}
    summary = (
        f"Over {len(found)} seed{'s' * (len(found) > 1)} the loss is lowest at a rate of "
        f"{_with_band(lowest)}; steepest at {_with_band(steepest)}, a tenth of the largest stable "
        f"rate is {_with_band(tenth)}"
        + ("" if all(each.bounded for each in told) else " (none of those tried blows up)")
    )
    why = _disagreement(rules, rates, seeds=len(found))
    if why:
        return configured, Finding(
            status=Status.WARN,
            summary=f"{summary}; {why}, so none is chosen and the configured {configured:.1e} goes "
            "on.",
            remedy="Look at the curve and set --config.optim.learning_rate from it; longer runs, "
            "--config.recipe.range_epochs, make it smoother.",
            **common,
        )
    rate = float(f"{np.median(rates):.3g}")
    evidence |= {"chosen": rate, "chosen_by_seed": rates}
    capped = np.median(rates) == best
    rule = "that of the lowest loss" if capped else "the geometric mean of the last two"
    far = configured > 10 * best or configured < best / 100
    return rate, Finding(
        status=Status.WARN if far else Status.PASS,
        summary=f"{summary}; configured {configured:.1e}, going on with {_with_band(rates)}, "
        f"{rule}.",
        remedy=f"Start from --config.optim.learning_rate={rate:.1e}." if far else "",
        fault=("E1" if configured > best else "E2") if far else "",
        **common,
    )


def suggested(losses: Float[np.ndarray, " rates"], start: float) -> Suggestions | None:
    """What one curve over RATES says; None where no rate lowers the loss from `start`."""
    gains = np.where(np.isfinite(losses), start - losses, -np.inf)
    if not gains.max() > LEAST_DROP * abs(start):
        return None
    before = np.maximum.accumulate(gains)[:-1]
    # A rate that happens to end low beyond one that blew up is luck.
    fallen = (gains[1:] < BLOWN_UP * before) & (before >= BLOWN_UP * gains.max())
    end = 1 + int(np.argmax(fallen)) if fallen.any() else len(RATES)
    lowest = int(np.argmax(gains[:end]))
    # The lowest rate is that of the untrained model, so there is a step to every one that works.
    with np.errstate(invalid="ignore"):
        slopes = np.diff(gains[: max(1, lowest) + 1])
    return Suggestions(
        lowest=float(RATES[lowest]),
        steepest=float(RATES[int(np.argmax(np.where(np.isfinite(slopes), slopes, -np.inf)))]),
        tenth=float(RATES[end - 1]) / 10,
        bounded=bool(fallen.any()),
    )


def _disagreement(rules: dict[str, float], rates: np.ndarray, *, seeds: int) -> str:
    """Why no rate can be chosen; "" where one can."""
    apart = max(rules.values()) / min(rules.values())
    if apart > REACH**2:
        return f"these are {apart:.0f} times apart"
    middle = float(np.median(rates))
    near = int(((rates <= REACH * middle) & (rates >= middle / REACH)).sum())
    if 2 * near <= seeds:
        listed = ", ".join(f"{rate:.1e}" for rate in np.sort(rates))
        return f"the seeds that learn ask for {listed}"
    return ""


def _with_band(values: np.ndarray) -> str:
    """The median, with the ends over seeds where they differ."""
    low, middle, high = (f"{v:.1e}" for v in (values.min(), np.median(values), values.max()))
    return middle if low == high else f"{middle} [{low}, {high}]"


def _end(result: Result) -> float:
    """The mean over the last tenth of the run, or over eight batches where that is more."""
    count = len(result.losses)
    return float(result.losses[-max(1, count // 10, min(count // 2, LAST_BATCHES)) :].mean())
