"""What pruning is: brackets of settings, each with rungs at which it is decided who goes on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Rung(NamedTuple):
    """After `rounds` rounds the best `keep` settings go on; of these, the worst `replaced` take
    over the states of as many of the best, with numbers changed by one of Prune.factors."""

    rounds: int
    keep: int
    replaced: int = 0


class Bracket(NamedTuple):
    """So many settings that are trained side by side, and their rungs in order."""

    settings: int
    rungs: tuple[Rung, ...]


class Prune(NamedTuple):
    """brackets: (settings, rounds of a full run) -> the brackets they are dealt to, in order;
    factors: by which a number is multiplied when a state is taken over."""

    brackets: Callable[[int, int], tuple[Bracket, ...]]
    factors: tuple[float, ...] = ()


def rungs(settings: int, rounds: int, *, eta: int, count: int) -> tuple[Rung, ...]:
    """Up to `count` rungs, each after about `eta` times the rounds of the one before, the last
    after a part 1 / eta of all; at each of them one in `eta` settings goes on.

    All lie at multiples of the first, so that training from one to the next is whole calls.
    """
    first = _divisor(rounds, rounds / eta**count)
    found: list[Rung] = []
    for number in range(count):
        place = first * max(1, round(rounds / eta ** (count - number) / first))
        keep = max(1, round(settings / eta ** (len(found) + 1)))
        before = found[-1] if found else Rung(0, settings)
        if before.rounds < place < rounds and keep < before.keep:
            found.append(Rung(place, keep))
    return tuple(found)


def lane_rounds(brackets: Sequence[Bracket], rounds: int) -> int:
    """Rounds that all settings train together, of `rounds` each without pruning."""
    total = 0
    for bracket in brackets:
        going, done = bracket.settings, 0
        for rung in bracket.rungs:
            total += going * (rung.rounds - done)
            going, done = rung.keep, rung.rounds
        total += going * (rounds - done)
    return total


def _divisor(rounds: int, wanted: float) -> int:
    """The divisor of `rounds` nearest to `wanted` on a logarithmic scale."""
    divisors = [n for n in range(1, rounds + 1) if rounds % n == 0] or [1]
    return min(divisors, key=lambda n: max(n / wanted, wanted / n))
