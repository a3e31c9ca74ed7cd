"""Random search: every setting is drawn on its own (Bergstra and Bengio 2012)."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from recipe_jax.resolve import Count
from recipe_jax.search.base import Axis, Search, read_space


def build(*, trials: Count = 64, space: tuple[tuple[Any, ...], ...] = ()) -> Search:
    """A search that draws `trials` settings.

    space: one axis an entry, ("optim.learning_rate", "log", 1e-4, 1e-1), of the kinds log and
    uniform; empty takes the ready-made space of the stage.
    """

    def ask(history: Sequence[Any], key: Key[Array, ""], axes: Sequence[Axis], count: int) -> Any:
        """`count` new settings: the draws that follow those in the history."""
        first = len(history)
        draws = np.asarray(jax.random.uniform(key, (first + count, len(axes))))[first:]
        return [{axis.path: axis.value(float(u)) for axis, u in zip(axes, row)} for row in draws]

    return Search(ask=ask, trials=trials, axes=read_space(space))
