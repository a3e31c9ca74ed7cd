"""What a person who watches is told of training under way."""

from typing import NamedTuple


class Watched(NamedTuple):
    """A group of lanes after a call: rounds done and in all, how many lanes there are and how many
    steps they make a round together, how many have diverged or stopped early; best: validation
    score of the stage so far, None where there is none."""

    label: str
    rounds: tuple[int, int]
    lanes: int
    lane_steps: int
    diverged: int
    stopped: int
    best: float | None
