"""Stage squeeze: an ensemble of seeds, and the one look at the test split."""

import numpy as np

from recipe_jax import ensemble
from recipe_jax.recipe import final, text
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.train.evaluate import metrics_of
from recipe_jax.types import Decision, Outputs, Status, Trials, judge

EXPECTS = "Averaging seeds beats the single model, and the test score agrees with validation."
FIRST_SEED = 400


def run(context: Context) -> Stage:
    """SQZ1, ENV2, DATA6, DATA10: the final models, their curves, and the test score."""
    task, objective = context.task, context.objective
    members = context.recipe.members
    results = yield Trials(
        label="members",
        trials=tuple(context.trial(FIRST_SEED + i) for i in range(members)),
        epochs=context.config["train"]["epochs"],
        keep="best",
    )
    yield final.curves(context, results)
    outputs, validation = yield Outputs(label="members", results=results, split="validation")
    single = [metrics_of(objective, each, validation.targets) for each in outputs]
    grown = [
        metrics_of(objective, ensemble.average(outputs[:n], task.spec.kind), validation.targets)
        for n in range(1, members + 1)
    ]
    name = objective.score.metric
    gain = np.mean([each["loss"] for each in single]) - grown[-1]["loss"]
    yield judge(
        gain > 0,
        f"{members} seeds averaged: validation {name} {grown[-1][name]:.4g}, loss "
        f"{grown[-1]['loss']:.4g}; a single one {np.mean([each[name] for each in single]):.4g} and "
        f"{np.mean([each['loss'] for each in single]):.4g}, at {members} times the cost.",
        otherwise=Status.WARN,
        check="seed_ensemble",
        row="SQZ1",
        remedy="The seeds agree with each other: one model does as well, and costs less.",
        evidence={
            "sizes": list(range(1, members + 1)),
            "scores": [each[name] for each in grown],
            "single": [each[name] for each in single],
            "metric": name,
        },
    )

    if text.is_text(task):
        yield from text.samples(context, results)
    outputs, test = yield Outputs(
        label="final score", results=results, split="test", reason="the final score of the recipe"
    )
    averaged = np.asarray(ensemble.average(outputs, task.spec.kind))
    yield from final.mistakes(context, averaged, test)
    yield final.test_score(context, averaged, test, validation=grown[-1][name], members=outputs)
    return Decision(summary=f"The model is the average of {members} seeds.")


def planned(context: Context) -> list[Planned]:
    """The members."""
    return [Planned(context.recipe.members, context.config["train"]["epochs"], 1)]
