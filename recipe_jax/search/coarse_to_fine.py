"""From coarse to fine: rounds that narrow every axis around the best setting of the one before."""

from collections.abc import Sequence
from typing import Annotated

import jax
import numpy as np
from jaxtyping import Array, Key

from recipe_jax.resolve import Between, Count
from recipe_jax.search.base import (
    Axis,
    Search,
    Settings,
    Space,
    Told,
    losses,
    read_space,
    settings_at,
)

RATE = "optim.learning_rate"


def build(
    *,
    trials: Count = 64,
    rounds: Count = 2,
    narrow: Annotated[float, Between(0.0, 1.0, open_low=True)] = 0.4,
    coarse: Annotated[float, Between(0.0, 1.0, open_low=True)] = 0.25,
    rate_first: bool = True,
    space: Space = (),
) -> Search:
    """A random search in `rounds` batches.

    After n rounds that varied it an axis of numbers is `narrow` ** n of its whole width, around the
    best setting of the round before; a choice is the best one's in the last round.
    The first round trains on the part `coarse` of the examples and of the epochs, the last on all,
    those between on parts that grow evenly on a log scale. rate_first: the first round varies the
    learning rate alone, the rest as it stands. space: as in search/random.py.
    """
    batch = -(-trials // rounds)

    def ask(
        history: Sequence[Told], key: Key[Array, ""], axes: Sequence[Axis], count: int
    ) -> list[Settings]:
        """`count` new settings: those of the round that follows the history."""
        number = len(history) // batch
        alone = [axis for axis in axes if axis.path == RATE]
        staged = bool(rate_first and alone and rounds > 1)
        wide = alone if staged and number == 0 else list(axes)
        points = np.array(
            jax.random.uniform(jax.random.fold_in(key, len(history)), (count, len(wide)))
        )
        if number:
            last = history[(number - 1) * batch : number * batch]
            best = last[int(np.argmin(losses(last)))].settings
            for column, axis in enumerate(wide):
                if axis.path not in best:
                    continue
                if axis.kind == "choice":
                    if number == rounds - 1:
                        points[:, column] = axis.place(best[axis.path])
                    continue
                # The first round, of the rate alone, did not vary the other axes.
                width = narrow ** (number - (staged and axis.path != RATE))
                first = min(max(axis.place(best[axis.path]) - width / 2, 0.0), 1.0 - width)
                points[:, column] = first + width * points[:, column]
        return [settings_at(wide, row) for row in points]

    def share(told: int) -> float:
        """The part of examples and epochs for the batch after so many settings."""
        left = rounds - 1 - min(told // batch, rounds - 1)
        return coarse ** (left / max(1, rounds - 1))

    axes = read_space(space)
    row = "TUNE1 TUNE5 TUNE7"
    return Search(ask=ask, trials=trials, axes=axes, batch=batch, share=share, row=row)
