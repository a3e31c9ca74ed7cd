"""Lion: the sign of a momentum, one size of step for every weight (Chen et al. 2023)."""

import math

import optax

from recipe_jax.optim import base
from recipe_jax.resolve import DecayRate, Limit, NonNegative, Positive


def build(
    *,
    learning_rate: Positive = 1e-4,
    weight_decay: NonNegative = 0.0,
    clip_norm: Limit = math.inf,
    b1: DecayRate = 0.9,
    b2: DecayRate = 0.99,
) -> optax.GradientTransformation:
    """Steps by the sign of b1 * momentum + (1 - b1) * gradient; b2 is what the momentum keeps.

    Decay is decoupled. The paper takes rates 3 to 10 times smaller than AdamW's, and as many times
    more decay.
    """
    return base.assembled(
        optax.scale_by_lion(b1, b2),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        decoupled=True,
    )
