"""Stage squeeze: ensembles, each gain beside its cost, and the one look at the test split."""

from collections.abc import Generator
from typing import Any

import numpy as np

from recipe_jax import ensemble
from recipe_jax.recipe import (
    blending,
    broken,
    calibrating,
    deciding,
    extending,
    final,
    members,
    text,
)
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.recipe.deciding import Change
from recipe_jax.train.evaluate import metrics_of
from recipe_jax.types import Decision, Finding, Outputs, Split, Status, judge

EXPECTS = "Averaging models beats the single one, and the test score agrees with validation."
EXTENDS = True
"""Its models go on from the last states of a finished run."""
HIGHWAY = Change("highway", {"model.block": "highway"})


def run(context: Context) -> Stage:
    """SQZ1, SQZ2, SQZ3, ENV2, DATA6, DATA10: the final models, what they are together,
    their curves, and the test score."""
    task, objective, kind = context.task, context.objective, context.task.spec.kind
    context = yield from _highway(context)
    pool = yield from members.train(context)
    seeds = pool.of(members.SEEDS)
    yield final.curves(context, seeds)
    yield from broken.told(seeds)
    yield from extending.findings(context, seeds)
    outputs, validation = yield Outputs(label="members", results=pool.results, split="validation")
    yield _growth(context, outputs[: len(seeds)], validation)
    chosen, found = blending.choose(context, pool, outputs, validation)
    yield found
    model = chosen.model
    if kind == "regression":
        yield calibrating.coverage(
            context, outputs[chosen.places], chosen.outputs, validation, model.shares
        )
    else:
        temperature, found = calibrating.temperature(context, chosen.outputs, validation)
        model = model._replace(temperature=temperature)
        yield found

    if text.is_text(task):
        yield from text.samples(context, model)
    outputs, test = yield Outputs(
        label="final score",
        results=model.members,
        split="test",
        reason=f"the final score of the recipe{extending.told(context)}",
    )
    together = np.asarray(ensemble.average(outputs, kind, model.shares or None))
    together = together / model.temperature
    yield from final.mistakes(context, together, test)
    score = metrics_of(objective, chosen.outputs, validation.targets)[objective.score.metric]
    yield final.test_score(context, together, test, validation=score, members=outputs)
    told = chosen.name
    if model.temperature != 1.0:
        told += f", at a temperature of {model.temperature:.3g}"
    return Decision(summary=f"The model is the average of {told}.", model=model)


def planned(context: Context) -> list[Planned]:
    """The highway beside what stands, and the members."""
    wanted = members.planned(context)
    if _takes_highway(context):
        wanted.insert(0, deciding.planned(context, 1))
    return wanted


def _takes_highway(context: Context) -> bool:
    """Whether in and out of a hidden layer have one size, and no way leads around it yet."""
    return (
        context.setting("model.name") == "mlp"
        and context.setting("model.depth") >= 2
        and context.setting("model.block") == "plain"
    )


def _highway(context: Context) -> Generator[Any, Any, Context]:
    """SQZ3: highway layers (Srivastava et al. 2015) as one change."""
    if not _takes_highway(context):
        return context
    base = Change("plain layers")
    decided = yield from deciding.decide(context, [HIGHWAY], base=base, label="highway")
    yield deciding.finding(context, decided, check="highway", row="SQZ3 ENV5", base=base)
    if not decided.kept:
        return context
    return context._replace(
        carried={**context.carried, **HIGHWAY.settings},
        candidates=[{**each, **HIGHWAY.settings} for each in context.candidates],
    )


def _growth(context: Context, outputs: np.ndarray, validation: Split) -> Finding:
    """The mean of more and more seeds."""
    objective, kind = context.objective, context.task.spec.kind
    count, name = len(outputs), objective.score.metric
    single = [metrics_of(objective, each, validation.targets) for each in outputs]
    # Models that do not count yet have no share: arrays of one shape compile once.
    shares = np.tri(count) / np.arange(1, count + 1)[:, None]
    grown = [
        metrics_of(objective, ensemble.average(outputs, kind, each), validation.targets)
        for each in shares
    ]
    gain = np.mean([each["loss"] for each in single]) - grown[-1]["loss"]
    return judge(
        gain > 0,
        f"{count} seeds averaged: validation {name} {grown[-1][name]:.4g}, loss "
        f"{grown[-1]['loss']:.4g}; a single one {np.mean([each[name] for each in single]):.4g} and "
        f"{np.mean([each['loss'] for each in single]):.4g}, at {count} times the cost.",
        otherwise=Status.WARN,
        check="seed_ensemble",
        row="SQZ1",
        remedy="The seeds agree with each other: one model does as well, and costs less.",
        evidence={
            "sizes": list(range(1, count + 1)),
            "scores": [each[name] for each in grown],
            "single": [each[name] for each in single],
            "metric": name,
        },
    )
