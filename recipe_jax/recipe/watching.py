"""Predictions for a few fixed validation examples, watched while networks train."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from recipe_jax.checks import prediction_dynamics
from recipe_jax.checks.data_audit import picture
from recipe_jax.recipe import text
from recipe_jax.recipe.base import Context
from recipe_jax.types import Finding, Result

WATCHED = 16
"""Examples, or tokens of a text."""
CALM = 0.1
"""The rate with which the configured one is compared, as a share of it."""


def calm(context: Context) -> dict[str, float]:
    """The settings to compare with; none where the optimiser has no rate."""
    rate = context.setting("optim.learning_rate")
    return {} if rate is None else {"optim.learning_rate": float(f"{rate * CALM:.6g}")}


def examples(context: Context) -> int:
    """How many validation examples are watched; of a text one window, which has many tokens."""
    return 1 if text.is_text(context.task) else min(WATCHED, len(context.task.validation.targets))


def examine(context: Context, groups: Sequence[Sequence[Result]]) -> Finding:
    """What every lane predicts for the watched examples, by rate: the configured one first."""
    task, spec = context.task, context.task.spec
    outputs = np.stack([[np.asarray(each.watched, float) for each in group] for group in groups])
    head = task.validation.first(outputs.shape[3])
    if spec.kind == "regression":
        curves, what = outputs[..., 0], "a prediction, in standard deviations of the target,"
        shown = picture(task, head, np.arange(len(head.ids)))
    else:
        chances = special.softmax(outputs, axis=-1)
        what = "the probability of the right class"
        if text.is_text(task):
            what = "the probability of the right token"
            asked = np.argwhere(head.targets >= 0)
            asked = asked[np.unique(np.linspace(0, len(asked) - 1, WATCHED).astype(int))]
            rows, places = asked.T
            answers = head.targets[rows, places]
            curves = chances[:, :, :, rows, places, answers]
            shown = {"kind": "text", "labels": [repr(task.class_names[each]) for each in answers]}
        else:
            curves = chances[..., np.arange(len(head.targets)), head.targets]
            shown = picture(task, head, np.arange(len(head.ids)))
    rate = context.setting("optim.learning_rate")
    per_epoch = len(task.train.targets) / context.config["train"]["batch_size"]
    return prediction_dynamics.examine(
        groups[0][0].steps / per_epoch,
        curves,
        rates=[] if rate is None else [rate, *calm(context).values()][: len(groups)],
        diverged=np.array([[each.status == "diverged" for each in group] for group in groups]),
        what=what,
        shown=shown,
    )
