"""Successive halving (Jamieson and Talwalkar 2016): the best part of the settings goes on."""

from typing import Annotated

from recipe_jax.prune.base import Bracket, Prune, rungs
from recipe_jax.resolve import Between, Count


def build(*, eta: Annotated[int, Between(2)] = 3, pauses: Count = 2) -> Prune:
    """All settings of a batch begin together; at each of `pauses` rungs the best one in `eta` goes
    on for `eta` times as long. With the defaults a batch costs about a quarter of full runs."""
    return Prune(
        lambda settings, rounds: (
            Bracket(settings, rungs(settings, rounds, eta=eta, count=pauses)),
        )
    )
