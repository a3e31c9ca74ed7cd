"""SQZ2, leave it training: final trainings that go on after their end, and whether that pays.

A longer run is the shorter one and more rounds of the same length, so it has the bits of a run that
was that long from the start. Only a schedule that does not look at the run's length has them:
another one has come to its end, and a run that was longer from the start would have had other rates
all along.
"""

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from recipe_jax import assembly, resolve
from recipe_jax.recipe.base import Context, Interval, paired_interval
from recipe_jax.train import settings
from recipe_jax.train.settings import Length
from recipe_jax.types import Finding, Result, Status, Trial, Trials, judge

OUTLOOK, EXTENDED = "more_training", "extended"
"""Names of the findings: whether more training would pay, and what it brought."""
PART = 0.2
"""Of a run: its last looks, which are held against the ones before them."""


def train(context: Context, request: Trials) -> Generator[Any, Any, list[Result]]:
    """The results of final trainings, gone on as far as the run was extended; what is trained under
    a schedule that has ended stays as it is."""
    request = dataclasses.replace(request, lasting=True)
    results = list((yield request))
    on = [i for i, trial in enumerate(request.trials) if not ended(context, trial)]
    for epochs in context.config["train"]["extend"] if on else ():
        longer = yield dataclasses.replace(
            request,
            trials=tuple(request.trials[i] for i in on),
            epochs=epochs,
            paced=request.epochs,
            after=tuple(results[i] for i in on),
        )
        for i, result in zip(on, longer):
            results[i] = result
    return results


def epochs(context: Context) -> int:
    """Length of the final trainings."""
    return (context.config["train"]["epochs"], *context.config["train"]["extend"])[-1]


def told(context: Context) -> str:
    """How long the final trainings were, to be said of a run that was extended; else ""."""
    return f", after {epochs(context)} epochs" if context.config["train"]["extend"] else ""


def ended(context: Context, trial: Trial) -> str:
    """The name of the trial's schedule where that ends with the run, else ""."""
    own = context.config["schedule"]
    name = trial.settings.get("schedule.name", own["name"])
    keywords = {k: v for k, v in own.items() if k != "name"} if name == own["name"] else {}
    keywords |= {
        path.removeprefix("schedule."): value
        for path, value in trial.settings.items()
        if path.startswith("schedule.") and path != "schedule.name"
    }
    return "" if assembly.goes_on(name, keywords, _short(context).num_steps) else name


def that_go_on() -> list[str]:
    """The schedules that a run can be extended under."""
    return [name for name in resolve.plugins("schedules") if assembly.goes_on(name, {}, 100)]


def outlook(context: Context, results: Sequence[Result]) -> Finding:
    """Whether validation was still getting better at the end, by the paired difference of the last
    looks against as many before them, over the seeds; and the command that trains on."""
    metric, looked = context.objective.score.metric, _looked(context, results)
    rounds = looked.shape[1] - 1
    part = _part(rounds)
    before = rounds + 1 - part
    gain = _gain(context, looked, part=part, before=before)
    schedule = ended(context, results[0].trial)
    several = len(results) > 1
    better = gain.low > 0
    change = f"{_told(gain)}, the last {part} looks against the {part} before"
    if several:
        sure = "still" if better else "not surely"
        said = f"Validation {metric} was {sure} getting better at the end: {change}, over "
        said += f"{len(results)} seeds."
    else:
        said = f"One seed cannot say whether validation {metric} was still getting better at the "
        said += f"end ({change})."
    if schedule:
        way = (
            f"The schedule {schedule} ended with the run, which cannot be extended (schedules that "
            f"go on: {', '.join(that_go_on())})."
        )
    else:
        more = "To" if better else "More training is not shown to pay; to"
        way = (
            f"{more} train on from the last state: {context.command} "
            f"--extend={2 * epochs(context)}, with the --workdir of this run."
        )
    return Finding(
        check=OUTLOOK,
        row="SQZ2",
        status=Status.PASS if several else Status.SKIP,
        summary=f"{said} {way}",
        evidence={
            "metric": metric,
            "difference": gain.mean,
            "low": gain.low,
            "high": gain.high,
            "better": better,
            "looks": part,
            "ended": schedule,
            "go_on": that_go_on(),
            "epochs": _epochs_done(context, results),
            **_drawn(context, results, looked, part=part, before=before),
            "status": [result.status for result in results],
        },
    )


def gained(context: Context, results: Sequence[Result]) -> Finding:
    """Of a run that was extended: its last looks against the last ones before that, paired over
    the seeds, and how many models are those of before."""
    metric, looked = context.objective.score.metric, _looked(context, results)
    short, rounds = _short(context).rounds, looked.shape[1] - 1
    part = max(1, min(_part(short), rounds - short))
    gain = _gain(context, looked, part=part, before=short + 1)
    drawn = _drawn(context, results, looked, part=part, before=short + 1)
    last = results[0].steps[min(short, rounds)]
    same = sum(result.best_step <= last for result in results)
    before, after = context.config["train"]["epochs"], epochs(context)
    if len(results) > 1:
        kept = f"over {len(results)} seeds, of which {same} keep their model of before"
    else:
        kept = "in one run, whose model is " + ("that of before" if same else "a later one")
    return judge(
        not gain.high < 0,
        f"From {before} to {after} epochs, validation {metric}: {_told(gain)} (the last {part} "
        f"looks of each), {kept}.",
        otherwise=Status.WARN,
        check=EXTENDED,
        row="SQZ2",
        remedy="Better left as it was: more training made validation worse. Each model is its best "
        "look, so what was good before is kept.",
        evidence={
            "metric": metric,
            "before": before,
            "after": after,
            "difference": gain.mean,
            "low": gain.low,
            "high": gain.high,
            "same": same,
            "models": len(results),
            **drawn,
        },
    )


def findings(context: Context, results: Sequence[Result]) -> Iterator[Finding]:
    """What is said of how long the final trainings were."""
    if context.config["train"]["extend"]:
        yield gained(context, results)
    yield outlook(context, results)


def _short(context: Context) -> Length:
    """The final trainings as they were before they were extended."""
    own = {**context.config["train"], "batch_size": context.setting("train.batch_size")}
    return settings.of_config(own, len(context.task.train.targets))


def _part(rounds: int) -> int:
    return max(1, round(PART * rounds))


def _looked(context: Context, results: Sequence[Result]) -> Float[np.ndarray, "members looks"]:
    """The validation score, more is better; after an early stop what it was there, NaN from where
    it was not finite."""
    name, sign = context.score_name(), context.objective.score.sign()
    found = []
    for result in results:
        values = sign * np.asarray(result.history[name], float)
        if result.status == "stopped":
            last = int(np.flatnonzero(np.isfinite(values))[-1])
            values[last + 1 :] = values[last]
        found.append(values)
    return np.stack(found)


def _gain(context: Context, looked: np.ndarray, *, part: int, before: int) -> Interval:
    """The mean of the last `part` looks minus that of as many that end before look `before`, more
    is better, paired over members that did not diverge. The look at the start counts for none."""
    if before - part < 1:
        return Interval(np.nan, -np.inf, np.inf)
    gains = looked[:, -part:].mean(1) - looked[:, before - part : before].mean(1)
    gains = gains[np.isfinite(gains)]
    if not len(gains):
        return Interval(np.nan, -np.inf, np.inf)
    # An accuracy is off by up to half an example.
    examples = len(context.task.validation.targets)
    least = 1 / (6 * examples**2) if context.objective.score.metric == "accuracy" else 0.0
    return paired_interval(gains, least_variance=least)


def _drawn(
    context: Context, results: Sequence[Result], looked: np.ndarray, *, part: int, before: int
) -> dict[str, Any]:
    """The scores of every look, and the first and last epoch of both parts that are compared."""
    batch = context.setting("train.batch_size")
    at = np.asarray(results[0].steps, float) * batch / len(context.task.train.targets)
    ends = ([at[max(0, before - part)], at[before - 1]], [at[-part], at[-1]])
    return {"at": at, "scores": context.objective.score.sign() * looked, "parts": ends}


def _told(gain: Interval) -> str:
    """A gain in words; infinite ends are left out."""
    if not np.isfinite(gain.mean):
        return "no gain known"
    ends = f" [{gain.low:+.3g}, {gain.high:+.3g}]" if np.isfinite(gain.low) else ""
    return f"a gain of {gain.mean:+.3g}{ends}"


def _epochs_done(context: Context, results: Sequence[Result]) -> float:
    """Rounds are equal, so it may be a little more than was asked for."""
    batch = context.setting("train.batch_size")
    return float(results[0].steps[-1]) * batch / len(context.task.train.targets)
