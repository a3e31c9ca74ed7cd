"""Random search: every setting is drawn on its own (Bergstra and Bengio 2012)."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Key

from recipe_jax.resolve import Count
from recipe_jax.search.base import Axis, Search, Settings, Space, Told, read_space, settings_at


def build(*, trials: Count = 64, space: Space = ()) -> Search:
    """A search that draws `trials` settings.

    space: one axis an entry, ("optim.learning_rate", "log", 1e-4, 1e-1); the kinds are uniform,
    log, int, log_int and choice, and a condition such as "optim.name=sgd" may end an entry
    (search/base.py). An entry may also name a group of published ranges, such as "architecture"
    (recipe/spaces.py). Empty takes the ready-made space of the stage.
    """

    def ask(
        history: Sequence[Told], key: Key[Array, ""], axes: Sequence[Axis], count: int
    ) -> list[Settings]:
        """`count` new settings: the draws that follow those in the history."""
        first = len(history)
        draws = np.asarray(jax.random.uniform(key, (first + count, len(axes))))[first:]
        return [settings_at(axes, row) for row in draws]

    return Search(ask=ask, trials=trials, axes=read_space(space), batch=trials)
