"""Population-based training (Jaderberg et al. 2017): the worst take over from the best."""

from typing import Annotated

from recipe_jax.prune.base import Bracket, Prune, Rung
from recipe_jax.resolve import Between, Count


def build(
    *,
    pauses: Count = 4,
    replaced: Annotated[float, Between(0.0, 0.5, open_low=True)] = 0.25,
    factor: Annotated[float, Between(0.0, 1.0, open_low=True, open_high=True)] = 0.8,
) -> Prune:
    """A batch of settings trains side by side; at each of up to `pauses` equal distances the worst
    part `replaced` goes on from the weights and optimiser states of the best, its numbers
    multiplied or divided by `factor`, within their axes. Choices and whole numbers stay."""

    def brackets(settings: int, rounds: int) -> tuple[Bracket, ...]:
        # Equal distances are whole calls of one compiled program.
        count = max(n for n in range(1, pauses + 2) if rounds % n == 0)
        moved = min(settings // 2, max(1, round(replaced * settings)))
        places = (rounds // count * number for number in range(1, count))
        return (Bracket(settings, tuple(Rung(place, settings, moved) for place in places)),)

    return Prune(brackets, factors=(factor, 1.0 / factor))
