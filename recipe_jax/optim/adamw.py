"""AdamW: Adam with decay decoupled from the moments (Loshchilov & Hutter 2019)."""

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
    """Kernels shrink by learning_rate * weight_decay a step, whatever their gradient."""
    return base.assembled(
        optax.scale_by_adam(b1, b2, eps),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        decoupled=True,
    )
