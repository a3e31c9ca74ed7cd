"""Gradient descent with momentum (Polyak 1964), or with Nesterov's (Sutskever et al. 2013)."""

import math

import optax

from recipe_jax.optim import base
from recipe_jax.resolve import DecayRate, Limit, NonNegative, Positive


def build(
    *,
    learning_rate: Positive = 0.03,
    momentum: DecayRate = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
    clip_norm: Limit = math.inf,
) -> optax.GradientTransformation:
    """Decay is L2: it joins the gradient, and so the momentum."""
    return base.assembled(
        optax.trace(momentum, nesterov),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
    )
