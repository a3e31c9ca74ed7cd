"""Shift images by a few whole pixels: where a thing stands seldom changes what it is."""

from typing import Any

from jaxtyping import Array, Float, Key

from recipe_jax.augment import _pixels, base
from recipe_jax.resolve import NonNegative
from recipe_jax.types import Spec


def build(spec: Spec, /, *, pixels: NonNegative = 1.0) -> base.Augment:
    """(key, inputs, targets) -> shifted inputs, the same targets.

    Every example has its own shift, each direction uniform over -pixels ... pixels in whole steps;
    what comes in from outside repeats the image's edge, so a background of any shade goes on.
    """
    base.image_shape(spec, "shift")

    def moved(pixels: Any, key: Any, inputs: Any) -> Array:
        shifts = _pixels.whole_shifts(key, len(inputs), pixels)
        return _pixels.shifted(inputs, shifts, outside=None)

    def augment(
        key: Key[Array, ""], inputs: Float[Array, "batch height width channels"], targets: Any
    ) -> tuple[Float[Array, "batch height width channels"], Any]:
        return base.unless_off(pixels, moved, key, inputs), targets

    return augment
