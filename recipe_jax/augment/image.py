"""All that is done to images at once, each with a strength of its own: 0 is off, and costs nothing.

One plug-in, so that a search can set every strength in one compiled program.
"""

from typing import Any

from jaxtyping import Array, Float, Key

from recipe_jax import keys
from recipe_jax.augment import base, crop, cutout, flip, mixup, noise, rotation, shift
from recipe_jax.resolve import Fraction, NonNegative
from recipe_jax.types import Spec


def build(
    spec: Spec,
    /,
    *,
    flip_probability: Fraction = 0.0,
    shift_pixels: NonNegative = 0.0,
    crop_padding: NonNegative = 0.0,
    rotation_degrees: NonNegative = 0.0,
    noise_deviation: NonNegative = 0.0,
    cutout_size: Fraction = 0.0,
    mixup_alpha: NonNegative = 0.0,
) -> base.Augment:
    """(key, inputs, targets) -> both: flip, rotation, shift, crop, noise, cutout and mixup, in this
    order, each as the plug-in of its name does it. Classes come out as probabilities, as mixup
    gives them."""
    base.image_shape(spec, "image")
    changes = {
        "flip": flip.build(spec, probability=flip_probability),
        "rotation": rotation.build(spec, degrees=rotation_degrees),
        "shift": shift.build(spec, pixels=shift_pixels),
        "crop": crop.build(spec, padding=crop_padding),
        "noise": noise.build(spec, deviation=noise_deviation),
        "cutout": cutout.build(spec, size=cutout_size),
        "mixup": mixup.build(spec, alpha=mixup_alpha),
    }

    def augment(
        key: Key[Array, ""], inputs: Float[Array, "batch height width channels"], targets: Any
    ) -> tuple[Float[Array, "batch height width channels"], Any]:
        for name, change in changes.items():
            inputs, targets = change(keys.derive(key, name), inputs, targets)
        return inputs, targets

    return augment
