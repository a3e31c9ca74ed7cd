"""Weights to start from, as they lie in files."""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from recipe_jax.app import export
from recipe_jax.train import starting
from recipe_jax.train.starting import Loaded, Start
from recipe_jax.types import Model, UserError


def start_of(config: Mapping[str, Any], model: Model) -> Loaded | None:
    """What the `start` section names, checked against this model; None for a start from scratch."""
    start = Start(**config["start"])
    if not start.path:
        if start.names or start.frozen:
            raise UserError(
                "start.names and start.frozen are for weights that are loaded; say whose with "
                "--config.start.path."
            )
        return None
    theirs, file = _read(pathlib.Path(start.path))
    like = jax.eval_shape(model.init, jax.random.key(0))
    arrays = starting.matched(theirs, like, start)
    return Loaded(arrays, start.frozen, hashlib.sha256(file.read_bytes()).hexdigest())


def _read(path: pathlib.Path) -> tuple[Mapping[str, np.ndarray], pathlib.Path]:
    """(arrays by name, the file that they are in); of an ensemble the first member."""
    # Not path.is_dir(), which raises where a name is longer than a name can be.
    if os.path.isdir(path):
        folder = path / "model" if (path / "model").is_dir() else path
        described, arrays = export.load_weights(folder)
        part, row = described["members"][0]["weights"]
        # Weights and model state are the two of a pair, in one part or in several.
        several = any(name.startswith("part0.") for name in arrays)
        fronts = [f"part{part}.{half}." if several else f"{half}." for half in (0, 1)]
        found = {
            name.removeprefix(front): array[row]
            for front in fronts
            for name, array in arrays.items()
            if name.startswith(front)
        }
        return found, folder / export.WEIGHTS
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored), path
    except Exception as error:
        raise UserError(
            f"start.path={str(path)!r} cannot be read ({' '.join(str(error).split())}); name a "
            "finished run's workdir, or a .npz file of named arrays."
        ) from error
