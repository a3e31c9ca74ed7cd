"""Adadelta: the gradient times the typical update over the typical gradient (Zeiler 2012)."""

import math

import optax

from recipe_jax.optim import base
from recipe_jax.resolve import DecayRate, Limit, NonNegative, Positive


def build(
    *,
    learning_rate: Positive = 1.0,
    weight_decay: NonNegative = 0.0,
    clip_norm: Limit = math.inf,
    decay: DecayRate = 0.95,
    eps: Positive = 1e-6,
) -> optax.GradientTransformation:
    """Rate 1 is the paper's: the method finds its own scale, from steps of sqrt(eps) upward.

    `decay` is how much of both mean squares is kept a step; weight decay joins the gradient.
    """
    return base.assembled(
        optax.scale_by_adadelta(decay, eps),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
    )
