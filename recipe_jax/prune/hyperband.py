"""Hyperband (Li et al. 2018): brackets of halving that begin with more settings or longer runs."""

from typing import Annotated

from recipe_jax.prune.base import Bracket, Prune, rungs
from recipe_jax.resolve import Between, Count


def build(*, eta: Annotated[int, Between(2)] = 3, pauses: Count = 2) -> Prune:
    """Brackets with 0 to `pauses` rungs, each of which costs about as much: where the first rounds
    say little about the last, the brackets with fewer rungs find what halving throws away."""

    def brackets(settings: int, rounds: int) -> tuple[Bracket, ...]:
        shares = [eta**count * (pauses + 1) / (count + 1) for count in range(pauses + 1)]
        ends, found = (
            [round(settings * sum(shares[: i + 1]) / sum(shares)) for i in range(len(shares))],
            [],
        )
        for count, (first, last) in enumerate(zip([0, *ends], ends)):
            if last > first:
                of = last - first
                found.append(Bracket(of, rungs(of, rounds, eta=eta, count=count)))
        return tuple(found)

    return Prune(brackets)
