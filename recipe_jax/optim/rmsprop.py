"""RMSProp: the gradient over the root of its mean square (Tieleman & Hinton 2012)."""

import math

import optax

from recipe_jax.optim import base
from recipe_jax.resolve import DecayRate, Limit, NonNegative, Positive


def build(
    *,
    learning_rate: Positive = 3e-4,
    weight_decay: NonNegative = 0.0,
    clip_norm: Limit = math.inf,
    decay: DecayRate = 0.9,
    eps: Positive = 1e-8,
) -> optax.GradientTransformation:
    """`decay` is how much of the mean square is kept a step; weight decay joins the gradient."""
    return base.assembled(
        optax.scale_by_rms(decay, eps),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
    )
