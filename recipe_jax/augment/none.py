"""No augmentation: every example as it is."""

from collections.abc import Callable
from typing import Any

from recipe_jax.types import Spec


def build(spec: Spec, /) -> Callable[..., Any]:
    """(key, inputs, targets) -> the same inputs and targets."""
    return lambda key, inputs, targets: (inputs, targets)
