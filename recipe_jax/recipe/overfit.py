"""Stage overfit: find a rate that works and the smallest model that can fit the training data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recipe_jax.recipe import (
    ablation,
    architecture,
    batch_size,
    gradient_norms,
    range_test,
    safe_default,
)
from recipe_jax.recipe.base import Context, Planned, Stage, best, final, fitting
from recipe_jax.types import Decision, Finding, Result, Status, Trials

EXPECTS = "Some rate between 1e-7 and 1 trains well, and more capacity lowers the training loss."
LADDER = (0.25, 0.5, 1.0, 2.0)
LADDER_SEEDS = 8
NEAR_BEST, HARMFUL = 0.02, 0.1


def run(context: Context) -> Stage:
    """FIT1 to FIT8, REG5: the range test as lanes, the model ladder at the rate that it found, then
    one change at a time. Regularisers are off in all that is trained."""
    yield architecture.examine(context)
    settings: dict[str, Any] = {}
    told = []
    rate, finding = yield from range_test.measured(context)
    yield finding
    if rate is not None:
        settings["optim.learning_rate"] = rate
        told.append(f"the rate {rate:.2g}")

    rungs = ladder(context)
    trials = [
        context.trial(seed, context.quiet | settings | rung)
        for rung in rungs
        for seed in range(LADDER_SEEDS)
    ]
    results = yield Trials(label="model ladder", trials=tuple(trials), epochs=context.epochs)
    by_rung = [results[i : i + LADDER_SEEDS] for i in range(0, len(results), LADDER_SEEDS)]
    if len(rungs) > 1:
        chosen, finding = model_ladder(context, rungs, by_rung)
        words = ", ".join(f"{path.split('.')[1]} {value}" for path, value in rungs[chosen].items())
        why = "the largest tried" if chosen == len(rungs) - 1 else "the smallest that fits"
        told.append(f"{words}, {why}")
        settings |= rungs[chosen]
    else:
        chosen, finding = (
            0,
            Finding(
                check="model_ladder",
                row="FIT3",
                status=Status.SKIP,
                summary=f"The model {context.setting('model.name')!r} has no width to grow.",
            ),
        )
    yield finding
    yield gradient_norms.examine(context, by_rung[chosen])

    context = _with(context, settings)
    yield (yield from safe_default.measured(context))
    changed = yield from ablation.carried_out(context)
    context = _with(context, changed)
    kept, finding = yield from batch_size.measured(context)
    yield finding
    told += [f"{path} {value}" for path, value in {**changed, **kept}.items()]
    settings = fitting({**settings, **changed, **kept})
    return Decision(summary=_goes_on(told), settings=settings)


def planned(context: Context) -> list[Planned]:
    """The range test, a program for every rung, and the changes of the configured model."""
    rungs = len(ladder(context))
    return [
        *range_test.planned(context),
        Planned(LADDER_SEEDS * rungs, context.epochs, rungs),
        *safe_default.planned(context),
        *ablation.planned(context),
        *batch_size.planned(context),
    ]


def ladder(context: Context) -> list[dict[str, Any]]:
    """The rungs: the model's own width (or channels) times a quarter to two; where heads share a
    width, it stays a multiple of twice as many. The model as it is, where it has neither."""
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
    return [{}]


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


def _with(context: Context, settings: Mapping[str, Any]) -> Context:
    return context._replace(carried={**context.carried, **settings})


def _goes_on(told: Sequence[str]) -> str:
    sentence = " and ".join(told) or "what is configured"
    return f"{sentence[0].upper()}{sentence[1:]} {'go' if len(told) > 1 else 'goes'} on."
