"""Cut the rate when validation stalls; the rest of the time it is constant."""

from recipe_jax.resolve import Count, Fraction
from recipe_jax.types import Plateau


def build(
    num_steps: int, /, *, factor: Fraction = 0.5, patience: Count = 5, floor: Fraction = 0.01
) -> Plateau:
    """After `patience` evaluations without a better score the rate is multiplied by `factor`, and
    again after as many more, down to `floor` of where it began."""
    return Plateau(factor, patience, floor)
