"""Where do mistakes come from: which training examples are like them?"""

from typing import Any

import numpy as np
from jaxtyping import Int

from recipe_jax.checks import data_audit
from recipe_jax.probes import neighbours
from recipe_jax.probes.examples import MOST_TRAIN, comparable
from recipe_jax.probes.facts import NotGiven
from recipe_jax.types import Split, Task

EACH = 3


def of_mistakes(task: Task, split: Split, worst: Int[np.ndarray, " worst"]) -> dict[str, Any]:
    """The training examples nearest to each of these, as a person sees them: `near_ids` and
    `near_labels` (worst, each), and their pictures one after the other; nothing where no input
    varies."""
    train = task.train.first(MOST_TRAIN)
    try:
        rows, asked = comparable(
            train.inputs, split.inputs[worst], by_column=task.modality == "table"
        )
    except NotGiven:
        return {}
    # Oversampling repeats examples: each stands once among the nearest.
    names = np.array([str(name) for name in train.ids])
    first = np.sort(np.unique(names, return_index=True)[1])
    places = first[neighbours.nearest(rows[first], asked, EACH).places]
    shown = data_audit.picture(task, train, places.ravel())
    drawn = {key: shown[key] for key in ("images", "sequences") if key in shown}
    return {f"near_{key}": value for key, value in drawn.items()} | {
        "near_ids": names[places].tolist(),
        "near_labels": np.reshape(shown["labels"], places.shape).tolist(),
    }
