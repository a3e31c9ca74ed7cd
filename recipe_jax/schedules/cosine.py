"""Half a cosine down to a floor: most of the run at high rates, a gentle end."""

from collections.abc import Callable
from typing import Any

from recipe_jax.resolve import Fraction
from recipe_jax.schedules import base


def build(num_steps: int, /, *, floor: Fraction = 0.0) -> Callable[..., Any]:
    """Height 1 at step 0, `floor` at the end (Loshchilov & Hutter 2017, without restarts)."""
    return lambda step: base.half_cosine(step, num_steps, floor)
