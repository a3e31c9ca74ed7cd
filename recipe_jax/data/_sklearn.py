"""The small tables that scikit-learn carries, as sources."""

from collections.abc import Callable
from typing import Any

import numpy as np

from recipe_jax.data import base


def table(
    name: str, load: Callable[..., Any], *, kind: str, target_name: str, **options: Any
) -> base.Source:
    """The table that `load(**options)` gives; classes by name, quantities in their own units."""
    bunch = load(**options)
    if kind == "classification":
        targets = bunch.target.astype(np.int32)
        class_names = tuple(map(str, bunch.target_names))
    else:
        targets = bunch.target.astype(np.float64)[:, None]
        class_names = ()
    return base.from_arrays(
        name,
        bunch.data.astype(np.float64),
        targets=targets,
        kind=kind,
        feature_names=tuple(map(str, bunch.feature_names)),
        class_names=class_names,
        target_names=(target_name,),
    )
