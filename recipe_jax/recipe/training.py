"""Stage training: one run with the config as it is, and its score."""

from recipe_jax.recipe import broken, extending, final, text
from recipe_jax.recipe.base import Context, Planned, Stage, best
from recipe_jax.types import Blend, Decision, Outputs, Trials

EXPECTS = "The configured model trains."
EXTENDS = True
"""It goes on from the last state of a finished run."""


def run(context: Context) -> Stage:
    """ENV2, DATA6, SQZ2: a population of one; the test split is opened once, at the end."""
    asked = Trials(
        label="train",
        trials=(context.trial(0),),
        epochs=context.config["train"]["epochs"],
        keep="best",
    )
    results = yield from extending.train(context, asked)
    model = Blend(results)
    yield final.curves(context, results)
    yield from broken.told(results)
    yield from extending.findings(context, results)
    if text.is_text(context.task):
        yield from text.samples(context, model)
    outputs, test = yield Outputs(
        label="final score",
        results=results,
        split="test",
        reason=f"the final score of the training run{extending.told(context)}",
    )
    yield from final.mistakes(context, outputs[0], test)
    validation = best(results[0], context.score_name())
    yield final.test_score(context, outputs[0], test, validation=validation)
    return Decision(
        summary=f"The model is the run's best evaluation, at step {results[0].best_step}.",
        model=model,
    )


def planned(context: Context) -> list[Planned]:
    """One run."""
    return [Planned(1, extending.epochs(context), 1)]
