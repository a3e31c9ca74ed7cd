"""Raw number arrays to inputs and back: standardised by what the training split held."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from recipe_jax.data import _columns, _standard
from recipe_jax.types import UserError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ArrayEncoder:
    """Inputs are (raw - mean) / scale; mean and scale broadcast against one example."""

    input_shape: tuple[int, ...]
    feature_names: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray

    def encode(self, raw: np.ndarray | _columns.Columns) -> np.ndarray:
        """Raw numbers (examples, ...), or columns by feature name, as float32 inputs."""
        values = np.asarray(self._stack(raw) if self.feature_names else raw)
        if values.dtype.kind not in "biuf":
            raise UserError(f"The examples are {values.dtype}, and must be real numbers.")
        if values.shape[1:] != self.input_shape and values.shape[1:] == self.input_shape[:-1]:
            values = values[..., None]
        if values.shape[1:] != self.input_shape:
            raise UserError(
                f"An example has shape {values.shape[1:]}, and the model was trained on "
                f"{self.input_shape}; bring the examples to that shape."
            )
        check_finite("inputs", values, np.arange(len(values)), self.feature_names)
        return _standard.standardise(values, self.mean, self.scale)

    def decode(self, inputs: np.ndarray) -> np.ndarray:
        """Inputs in their own units."""
        return _standard.restore(inputs, self.mean, self.scale)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {
            "type": "array",
            "input_shape": list(self.input_shape),
            "feature_names": list(self.feature_names),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ArrayEncoder":
        """The encoder that gave `content`."""
        return cls(
            input_shape=tuple(content["input_shape"]),
            feature_names=tuple(content["feature_names"]),
            mean=np.asarray(content["mean"], np.float64),
            scale=np.asarray(content["scale"], np.float64),
        )

    def _stack(self, raw: Any) -> Any:
        """Columns by name as one array; an array is left as it is."""
        if isinstance(raw, np.ndarray):
            return raw
        columns = []
        for name in self.feature_names:
            if name not in raw:
                raise UserError(
                    f"There is no column {name!r}, which the model was trained on; add it."
                )
            numbers, text = _columns.as_numbers(list(raw[name]))
            if len(text):
                raise UserError(
                    f"Row {text[0] + 1} holds {raw[name][text[0]]!r} in column {name!r}; "
                    "the model was trained on numbers there, so correct that cell."
                )
            columns.append(numbers)
        return np.stack(columns, axis=1)


def fit(raw: np.ndarray, *, normalize: str, feature_names: tuple[str, ...] = ()) -> ArrayEncoder:
    """Statistics of the training examples `raw`: per feature, or over all but the last axis."""
    if normalize == "auto":
        normalize = "channel" if raw.ndim > 2 else "feature"
    shape = raw.shape[1:]
    if normalize == "none":
        mean, scale = np.zeros(shape[-1]), np.ones(shape[-1])
    else:
        axes = (0,) if normalize == "feature" else tuple(range(raw.ndim - 1))
        mean, scale = _standard.moments(raw, axes)
    return ArrayEncoder(input_shape=shape, feature_names=feature_names, mean=mean, scale=scale)


def check_finite(
    what: str, values: np.ndarray, ids: np.ndarray, names: tuple[str, ...] = ()
) -> None:
    """Refuses NaN and infinity (beyond float32 counts as infinite), counted and named."""
    if values.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    bad = ~np.isfinite(narrow)
    if not bad.any():
        return
    first = np.argwhere(bad)[0]
    place = f"row {ids[first[0]]}"
    if len(names) > 1 and len(first) == 2:
        place += f" column {names[first[1]]!r}"
    elif len(first) > 1:
        place += f" at {tuple(int(i) for i in first[1:])}"
    nans = int(np.isnan(narrow).sum())
    raise UserError(
        f"The {what} hold {nans} NaN and {int(bad.sum()) - nans} infinite values, first in "
        f"{place}; correct or remove those examples."
    )
