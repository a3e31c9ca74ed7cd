"""Stage tune: search the numbers around what was found, all settings in one compiled sweep."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recipe_jax import keys
from recipe_jax.recipe.base import Context, Planned, Stage, best, final
from recipe_jax.search.base import Axis
from recipe_jax.types import Decision, Finding, Result, Status, Trials

EXPECTS = "Some setting near the present one is better; the rate matters most."
FINALISTS = 4
SEED, FINAL_SEEDS = 200, (300, 301, 302)


def run(context: Context) -> Stage:
    """TUNE1, TUNE4: a search whose first trial is the present setting; the best few are measured
    again on new seeds, because the best of many is best partly by luck."""
    axes = context.search.axes or ready_made(context)
    if not axes:
        yield Finding(
            check="random_search",
            row="TUNE1",
            status=Status.SKIP,
            summary="No number of these plug-ins has a ready-made range: set search.space.",
        )
        return Decision(summary="Going on with what is there.")
    key = keys.derive(keys.lane_key(context.config["seed"], SEED), "search")
    present = {axis.path: context.setting(axis.path) for axis in axes}
    asked = context.search.ask([], key, axes, max(0, context.search.trials - 1))
    settings = [present, *asked]
    epochs = context.config["train"]["epochs"]
    results: Sequence[Result] = yield Trials(
        label="search", trials=tuple(context.trial(SEED, each) for each in settings), epochs=epochs
    )
    order = ranked(context, results)
    finalists = [settings[i] for i in order[:FINALISTS]]
    if 0 not in order[:FINALISTS]:
        finalists.append(present)
    again = yield Trials(
        label="finalists",
        trials=tuple(context.trial(seed, each) for each in finalists for seed in FINAL_SEEDS),
        epochs=epochs,
    )
    count = len(FINAL_SEEDS)
    means = [_mean(context, again[i : i + count]) for i in range(0, len(again), count)]
    # Where every finalist diverged, the present setting is what is left.
    winner = int(np.argmax(means)) if np.isfinite(means).any() else finalists.index(present)
    yield _finding(
        context,
        axes,
        settings=settings,
        results=results,
        order=order,
        winner=finalists[winner],
        mean=means[winner],
    )
    words = ", ".join(
        f"{path.split('.')[1]} {value:.3g}" for path, value in finalists[winner].items()
    )
    stays = "the present setting, " if finalists[winner] == present else ""
    return Decision(summary=f"Going on with {stays}{words}.", settings=finalists[winner])


def planned(context: Context) -> list[Planned]:
    """The search, and the finalists on new seeds."""
    if not (context.search.axes or ready_made(context)):
        return []
    epochs = context.config["train"]["epochs"]
    finals = (FINALISTS + 1) * len(FINAL_SEEDS)
    return [Planned(context.search.trials, epochs, 1), Planned(finals, epochs, 0)]


def ready_made(context: Context) -> tuple[Axis, ...]:
    """The rate within a factor of ten, decay on a log scale, dropout and smoothing linear."""
    rate = context.setting("optim.learning_rate")
    axes = [] if rate is None else [Axis("optim.learning_rate", rate / 10, rate * 10, True)]
    for path, low, high, log in (
        ("optim.weight_decay", 1e-5, 1e-1, True),
        ("model.dropout", 0.0, 0.5, False),
        ("objective.label_smoothing", 0.0, 0.1, False),
    ):
        if context.setting(path) is not None:
            axes.append(Axis(path, low, high, log))
    return tuple(axes)


def ranked(context: Context, results: Sequence[Result]) -> list[int]:
    """Trials from best to worst: by score, then by loss, a diverged one last, ties by uid."""
    sign, name = context.objective.score.sign(), context.score_name()

    def rank(i: int) -> Any:
        score, loss = sign * best(results[i], name), best(results[i], "validation/loss")
        bad = results[i].status == "diverged" or not np.isfinite(score)
        return (bad, -score if not bad else 0.0, loss if not bad else 0.0, results[i].trial.uid)

    return sorted(range(len(results)), key=rank)


def _mean(context: Context, results: Sequence[Result]) -> float:
    sign, name = context.objective.score.sign(), context.score_name()
    scores = np.array([sign * best(result, name) for result in results])
    losses = np.array([best(result, "validation/loss") for result in results])
    # Among equal accuracies the lower loss decides; it never outweighs a hundredth of an example.
    tie_break = 1e-5 * float(losses.mean()) if np.isfinite(losses).all() else 1.0
    return float(scores.mean()) - tie_break if np.isfinite(scores).all() else -np.inf


def _finding(
    context: Context,
    axes: Sequence[Axis],
    *,
    settings: Sequence[dict[str, Any]],
    results: Sequence[Result],
    order: Sequence[int],
    winner: dict[str, Any],
    mean: float,
) -> Finding:
    name, metric = context.score_name(), context.objective.score
    scores = [best(result, name) for result in results]
    diverged = sum(result.status == "diverged" for result in results)
    fit = results[order[0]]
    return Finding(
        check="random_search",
        row="TUNE1 TUNE4 TUNE8",
        status=Status.PASS,
        summary=f"{len(results)} settings ({diverged} diverged): the best single run reaches a "
        f"validation {metric.metric} of {scores[order[0]]:.4g} (training "
        f"{final(fit, 'train/' + metric.metric):.4g}), the present setting {scores[0]:.4g}; "
        f"measured again on {len(FINAL_SEEDS)} new seeds "
        + ("the present one is the best, with " if winner == settings[0] else "the winner has ")
        + f"{metric.sign() * mean:.4g}.",
        evidence={
            "axes": {
                axis.path: {"values": [each[axis.path] for each in settings], "log": axis.log}
                for axis in axes
            },
            "scores": scores,
            "status": [result.status for result in results],
            "best": order[0],
            "winner": winner,
            "metric": metric.metric,
            "maximise": metric.maximise,
        },
    )
