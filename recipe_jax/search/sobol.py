"""Sobol's sequence, scrambled by the key: points that fill the space evenly (Owen 1998)."""

from collections.abc import Sequence

from jaxtyping import Array, Key
from scipy.stats import qmc

from recipe_jax.resolve import Count
from recipe_jax.search.base import (
    Axis,
    Search,
    Settings,
    Space,
    Told,
    read_space,
    seed_of,
    settings_at,
)


def build(*, trials: Count = 64, space: Space = ()) -> Search:
    """A search over the first `trials` points of one sequence; powers of two are even.

    space: as in search/random.py; choices and whole numbers have equal parts of an axis.
    """

    def ask(
        history: Sequence[Told], key: Key[Array, ""], axes: Sequence[Axis], count: int
    ) -> list[Settings]:
        """`count` new settings: the points that follow those in the history."""
        first, last = len(history), len(history) + count
        if not axes or not count:
            return [{} for _ in range(count)]
        sequence = qmc.Sobol(len(axes), rng=seed_of(key, ()))
        points = sequence.random_base2(max(0, last - 1).bit_length())
        return [settings_at(axes, row) for row in points[first:last]]

    return Search(ask=ask, trials=trials, axes=read_space(space), batch=trials)
