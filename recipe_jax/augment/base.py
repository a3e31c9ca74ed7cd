"""What augmentations share: what they can be used on, and work that is skipped at strength 0."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from recipe_jax import gate
from recipe_jax.types import Spec, UserError

Augment = Callable[..., tuple[Any, Any]]
"""(key, inputs (batch, ...), targets) -> both. Every example draws for itself."""


def image_shape(spec: Spec, name: str) -> tuple[int, int, int]:
    """Height, width and channels; UserError where examples are no images."""
    if len(spec.input_shape) != 3:
        raise UserError(
            f"augment.name={name} changes images (height, width, channels), and these examples "
            f"have shape {spec.input_shape}; use augment.name=none."
        )
    height, width, channels = spec.input_shape
    return height, width, channels


def check_numbers(spec: Spec, name: str) -> None:
    """UserError where examples are tokens."""
    if spec.input_dtype != "float32":
        raise UserError(
            f"augment.name={name} changes numbers, and these examples are tokens; "
            "use augment.name=none."
        )


def unless_off(
    strength: float | Float[Array, ""],
    change: Callable[..., Array],
    key: Key[Array, ""],
    inputs: Float[Array, "batch *shape"],
) -> Float[Array, "batch *shape"]:
    """`change(strength, key, inputs)`, and `inputs` themselves, bit for bit, at strength 0."""

    def changed(strength: Array, key: Key[Array, ""], inputs: Array) -> Array:
        return jnp.where(strength > 0.0, change(strength, key, inputs), inputs)

    gated = gate.gated(
        lambda strength, key, inputs: strength > 0.0, changed, lambda strength, key, inputs: inputs
    )
    return gated(jnp.asarray(strength, jnp.float32), key, inputs)
