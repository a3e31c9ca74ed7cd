"""Handwritten digits: 1797 images of 8 by 8 pixels, the ten classes nearly even."""

from typing import Any

import numpy as np
from sklearn import datasets

from recipe_jax.data import base


def build() -> base.Source:
    """Pixels are counts from 0 to 16."""
    bunch: Any = datasets.load_digits()
    return base.from_arrays(
        "digits",
        bunch.images[..., None].astype(np.float32),
        targets=bunch.target.astype(np.int32),
        kind="classification",
        class_names=tuple(map(str, range(10))),
        target_names=("digit",),
    )
