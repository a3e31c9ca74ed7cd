"""Train on blends of two examples and of their targets (Zhang et al. 2018)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from recipe_jax import gate
from recipe_jax.augment import base
from recipe_jax.resolve import NonNegative
from recipe_jax.types import Spec, UserError


def build(spec: Spec, /, *, alpha: NonNegative = 0.2) -> base.Augment:
    """(key, inputs, targets) -> blended inputs and targets.

    Every example keeps a share of its own, drawn from Beta(alpha, alpha), and has the rest from the
    example after it in the batch, whose order is random already; alpha 0 blends nothing. Classes
    come out as probabilities, float32 (batch, classes); quantities stay (batch, outputs).
    """
    base.check_numbers(spec, "mixup")
    if spec.kind not in ("classification", "regression"):
        raise UserError(
            f"augment.name=mixup blends classes or quantities, and this task is {spec.kind}; "
            "use augment.name=none."
        )

    def shares(alpha: Any, like: Any, key: Any) -> Array:
        drawn = jax.random.beta(key, jnp.maximum(alpha, 1e-3), jnp.maximum(alpha, 1e-3), like.shape)
        return jnp.where(alpha > 0.0, drawn, 1.0)

    gated = gate.gated(lambda alpha, like, key: alpha > 0.0, shares, lambda alpha, like, key: like)

    def augment(
        key: Key[Array, ""], inputs: Float[Array, "batch *shape"], targets: Any
    ) -> tuple[Float[Array, "batch *shape"], Any]:
        if spec.kind == "classification":
            targets = jax.nn.one_hot(targets, spec.num_outputs)
        kept = gated(jnp.asarray(alpha, jnp.float32), jnp.ones(len(inputs)), key)

        def blended(x: Array) -> Array:
            share = kept.reshape(-1, *[1] * (x.ndim - 1))
            # Chosen, not computed, where nothing is blended: 0 times an infinity is NaN.
            return jnp.where(share < 1.0, x + (1.0 - share) * (jnp.roll(x, 1, axis=0) - x), x)

        return blended(inputs), blended(targets)

    return augment
