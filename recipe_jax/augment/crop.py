"""Pad images with their mean and cut out the old size at a random place (He et al. 2016)."""

from typing import Any

from jaxtyping import Array, Float, Key

from recipe_jax.augment import _pixels, base
from recipe_jax.resolve import NonNegative
from recipe_jax.types import Spec


def build(spec: Spec, /, *, padding: NonNegative = 4.0) -> base.Augment:
    """(key, inputs, targets) -> cropped inputs, the same targets.

    Every side gets floor(`padding`) pixels of 0, the training mean of standardised images; each
    example is cut out at a place of its own, uniform over all.
    """
    base.image_shape(spec, "crop")

    def cropped(padding: Any, key: Any, inputs: Any) -> Array:
        shifts = _pixels.whole_shifts(key, len(inputs), padding)
        return _pixels.shifted(inputs, shifts, outside=0.0)

    def augment(
        key: Key[Array, ""], inputs: Float[Array, "batch height width channels"], targets: Any
    ) -> tuple[Float[Array, "batch height width channels"], Any]:
        return base.unless_off(padding, cropped, key, inputs), targets

    return augment
