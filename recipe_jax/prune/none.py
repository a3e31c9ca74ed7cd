"""No pruning: every setting is trained to its end."""

from recipe_jax.prune.base import Bracket, Prune


def build() -> Prune:
    """One bracket without rungs."""
    return Prune(lambda settings, rounds: (Bracket(settings, ()),))
