"""Stage data: look at the examples before anything is trained on them."""

from recipe_jax.checks import data_audit, text_audit
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.types import Decision

EXPECTS = "The data are what their description says: no bad values, no leak between the splits."


def run(context: Context) -> Stage:
    """DATA1, DATA3, DATA6, DATA9, SKEL8: findings about the examples; nothing is trained."""
    task = context.task
    yield from task.notes
    yield from (text_audit if task.modality == "text" else data_audit).audit(task)
    train, validation = len(task.train.targets), len(task.validation.targets)
    return Decision(
        summary=f"{task.name}: {train} training and {validation} validation examples go on; "
        f"{task.test.num_examples} test examples stay sealed."
    )


def planned(context: Context) -> list[Planned]:
    """Nothing is trained."""
    return []
