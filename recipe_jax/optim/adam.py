"""Adam: momentum over the root of the mean squared gradient (Kingma & Ba 2015)."""

import math

import optax

from recipe_jax.optim import base
from recipe_jax.resolve import DecayRate, Limit, NonNegative, Positive


def build(
    *,
    learning_rate: Positive = 3e-4,
    weight_decay: NonNegative = 0.0,
    clip_norm: Limit = math.inf,
    b1: DecayRate = 0.9,
    b2: DecayRate = 0.999,
    eps: Positive = 1e-8,
) -> optax.GradientTransformation:
    """Decay is L2: it joins the gradient, and so the moments; adamw decouples it."""
    return base.assembled(
        optax.scale_by_adam(b1, b2, eps),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
    )
