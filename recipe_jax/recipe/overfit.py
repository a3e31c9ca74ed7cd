"""Stage overfit: find a rate that works and the smallest model that can fit the training data."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recipe_jax.recipe.base import Context, Planned, Stage, best, final
from recipe_jax.types import Decision, Finding, Result, Status, Trials

EXPECTS = "Some rate between 1e-7 and 1 trains well, and more capacity lowers the training loss."
RATES = np.logspace(-7, 0, 29)
LADDER = (0.25, 0.5, 1.0, 2.0)
LADDER_SEEDS = 8
NEAR_BEST, HARMFUL = 0.02, 0.1
LEAST_DROP = 1e-3
"""The share of the loss that a rate must take off before it counts as one that works."""
LAST_BATCHES = 8


def run(context: Context) -> Stage:
    """FIT3 and FIT6: the range test as lanes, then the model ladder at the rate that it found."""
    quiet = context.quiet
    settings: dict[str, Any] = {}
    told = []
    if _has_rate(context):
        results = yield Trials(
            label="range test",
            trials=tuple(
                context.trial(0, quiet | {"optim.learning_rate": float(rate)}) for rate in RATES
            ),
            epochs=context.recipe.range_epochs,
            evaluations=context.recipe.range_epochs,
        )
        rate, finding = range_test(results, float(context.setting("optim.learning_rate")))
        yield finding
        settings["optim.learning_rate"] = rate
        told.append(f"the rate {rate:.2g}")
    else:
        yield Finding(
            check="range_test",
            row="FIT6",
            status=Status.SKIP,
            summary=f"The optimiser {context.config['optim']['name']!r} has no learning_rate.",
        )

    rungs = ladder(context)
    if not rungs:
        yield Finding(
            check="model_ladder",
            row="FIT3",
            status=Status.SKIP,
            summary=f"The model {context.config['model']['name']!r} has no width to grow.",
        )
        return Decision(summary=_goes_on(told), settings=settings)
    trials = [
        context.trial(seed, quiet | settings | rung)
        for rung in rungs
        for seed in range(LADDER_SEEDS)
    ]
    results = yield Trials(label="model ladder", trials=tuple(trials), epochs=context.epochs)
    by_rung = [results[i : i + LADDER_SEEDS] for i in range(0, len(results), LADDER_SEEDS)]
    chosen, finding = model_ladder(context, rungs, by_rung)
    yield finding
    settings |= rungs[chosen]
    words = ", ".join(f"{path.split('.')[1]} {value}" for path, value in rungs[chosen].items())
    why = "the largest tried" if chosen == len(rungs) - 1 else "the smallest that fits"
    told.append(f"{words}, {why},")
    return Decision(summary=_goes_on(told), settings=settings)


def planned(context: Context) -> list[Planned]:
    """The range test, and a program for every rung."""
    rungs = len(ladder(context))
    test = [Planned(len(RATES), context.recipe.range_epochs, 1)] if _has_rate(context) else []
    return [*test, Planned(LADDER_SEEDS * rungs, context.epochs, rungs)]


def range_test(results: Sequence[Result], configured: float) -> tuple[float, Finding]:
    """The rate to go on with, from the mean loss of the last batches of each short run.

    All lanes see the same batches, so the lowest rate, which hardly learns, tells what these would
    cost an untrained model; a rate works when it stays below that. Two suggestions are marked: the
    steepest part of the curve (the loss falls fastest there with the logarithm of the rate), and a
    tenth of the largest rate that does not blow up. The rate that goes on is their geometric mean,
    never above the rate with the lowest loss.
    """
    losses = np.array([_end(result) for result in results])
    start = float(losses[0]) if np.isfinite(losses[0]) else float(results[0].losses[0])
    stable = np.isfinite(losses) & (losses < start - LEAST_DROP * abs(start))
    evidence = {"rates": RATES, "losses": np.where(np.isfinite(losses), losses, np.nan)}
    evidence |= {"initial": start, "configured": configured}
    common: dict[str, Any] = {"check": "range_test", "row": "FIT6 DIAG3"}
    if not stable.any():
        remedy = "Look whether the gradient reaches the weights, and at its sign."
        return configured, Finding(
            status=Status.FAIL,
            summary=f"None of {len(RATES)} rates from {RATES[0]:.0e} to {RATES[-1]:.0e} lowers the "
            "loss.",
            fault="E10",
            remedy=remedy,
            evidence=evidence,
            **common,
        )
    lowest = int(np.nanargmin(np.where(stable, losses, np.nan)))
    blown_up = np.flatnonzero(~stable[lowest:])
    largest = lowest + int(blown_up[0]) - 1 if len(blown_up) else len(RATES) - 1
    tenth = float(RATES[largest]) / 10
    slopes = np.diff(losses[: lowest + 1])
    steepest = float(RATES[int(np.argmin(np.where(np.isfinite(slopes), slopes, np.inf)))])
    rate = float(min(np.sqrt(steepest * tenth), RATES[lowest]))
    rate = float(f"{rate:.3g}")
    far = configured > 10 * RATES[lowest] or configured < RATES[lowest] / 100
    summary = (
        f"Loss is lowest at a rate of {RATES[lowest]:.1e}; steepest at {steepest:.1e}, a tenth of "
        f"the largest stable rate is {tenth:.1e}; configured {configured:.1e}, going on with "
        f"{rate:.1e}."
    )
    remedy = f"Start from --config.optim.learning_rate={rate:.1e}." if far else ""
    status = Status.WARN if far else Status.PASS
    fault = ("E1" if configured > RATES[lowest] else "E2") if far else ""
    evidence |= {"tenth": tenth, "steepest": steepest, "chosen": rate}
    return rate, Finding(
        status=status, summary=summary, evidence=evidence, remedy=remedy, fault=fault, **common
    )


def ladder(context: Context) -> list[dict[str, Any]]:
    """The rungs: the model's own width (or channels) times a quarter to two; where heads share a
    width, it stays a multiple of twice as many."""
    width, channels = context.setting("model.width"), context.setting("model.channels")
    if width is not None:
        step = 2 * int(context.setting("model.heads") or 0)
        widths = (width if scale == 1.0 else max(4, int(width * scale)) for scale in LADDER)
        if step:
            widths = (w if w == width else max(step, w // step * step) for w in widths)
        return [{"model.width": w} for w in widths]
    if channels is not None:
        return [
            {"model.channels": tuple(max(4, int(c * scale)) for c in channels)}
            for scale in LADDER[:-1]
        ]
    return []


def model_ladder(
    context: Context, rungs: Sequence[dict[str, Any]], by_rung: Sequence[Sequence[Result]]
) -> tuple[int, Finding]:
    """The smallest rung that fits and does not cost validation, and whether size helps at all.

    It fits when its training loss is near the best one's, and costs nothing when its validation
    score is within one standard error, over seeds, of the best fitting rung's (the rule of Breiman
    et al. 1984). Near: within NEAR_BEST of what the best one took off the loss at the start. A rung
    counts with the mean of its seeds; one that diverged takes its rung out.
    """
    name = context.score_name()
    train = np.array([[final(r, "train/loss") for r in results] for results in by_rung])
    scores = np.array([[final(r, name) for r in results] for results in by_rung])
    diverged = np.array([[r.status == "diverged" for r in results] for results in by_rung])
    means = np.where(diverged, np.inf, train).mean(1)
    means = np.where(np.isfinite(means), means, np.inf)
    words = [" ".join(str(value) for value in rung.values()) for rung in rungs]
    if not np.isfinite(means).any():
        # The configured size stays: nothing is known against it.
        return LADDER.index(1.0), Finding(
            check="model_ladder",
            row="FIT3 SKEL7",
            status=Status.FAIL,
            summary=f"Some seeds diverge at every size from {words[0]} to {words[-1]}.",
            fault="E1 G1",
            remedy="Lower --config.optim.learning_rate, and look for NaN in model and loss.",
        )
    start = float(np.nanmean([r.history["train/loss"][0] for results in by_rung for r in results]))
    fits = means <= means.min() + NEAR_BEST * max(0.0, start - means.min())
    chosen = _smallest_without_cost(context, by_rung, fits)
    helps = means[-1] <= means[0] + HARMFUL * start
    why = "is the smallest that fits, and as good on validation as any that does."
    if chosen == len(rungs) - 1:
        why = "is the largest tried, and no smaller one fits as well: a larger one may fit better."
    return chosen, Finding(
        check="model_ladder",
        row="FIT3 SKEL7",
        status=Status.PASS if helps else Status.WARN,
        summary=f"Training loss from {means[0]:.3g} ({words[0]}) to {means[-1]:.3g} ({words[-1]}); "
        f"{words[chosen]} {why}",
        fault="" if helps else "E1",
        remedy="" if helps else "A larger model trains worse: look at the rate and at the init.",
        evidence={
            "rungs": words,
            "num_params": [results[0].num_params for results in by_rung],
            "train_loss": train,
            "validation_score": scores,
            "chosen": chosen,
            "metric": context.objective.score.metric,
        },
    )


def _smallest_without_cost(
    context: Context, by_rung: Sequence[Sequence[Result]], fits: np.ndarray
) -> int:
    sign, name = context.objective.score.sign(), context.score_name()
    scores = np.array([[sign * best(r, name) for r in results] for results in by_rung])
    means = np.where(fits & np.isfinite(scores).all(1), scores.mean(1), -np.inf)
    top = int(means.argmax())
    error = scores[top].std(ddof=1) / np.sqrt(scores.shape[1]) if scores.shape[1] > 1 else 0.0
    enough = means >= means[top] - error
    return int(np.argmax(enough & fits)) if np.isfinite(means[top]) else int(np.argmax(fits))


def _end(result: Result) -> float:
    """The mean over the last tenth of the run, or over eight batches where that is more."""
    count = len(result.losses)
    return float(result.losses[-max(1, count // 10, min(count // 2, LAST_BATCHES)) :].mean())


def _has_rate(context: Context) -> bool:
    return context.setting("optim.learning_rate") is not None


def _goes_on(told: Sequence[str]) -> str:
    sentence = " and ".join(told) or "what is configured"
    return f"{sentence[0].upper()}{sentence[1:]} {'go' if len(told) > 1 else 'goes'} on."
