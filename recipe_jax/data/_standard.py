"""Mean and scale of training inputs, in float64 and in blocks, so that large sets fit in memory."""

from collections.abc import Iterator

import numpy as np

_BLOCK = 4096


def moments(values: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(mean, scale) over `axes`, axis 0 among them; scale is the standard deviation, or 1 where
    all values are equal, so that a constant feature becomes 0 rather than NaN."""
    mean = values.mean(axis=axes, dtype=np.float64)
    count = np.prod([values.shape[axis] for axis in axes])
    squares = sum(((block - mean) ** 2).sum(axis=axes) for block in blocks(values))
    scale = np.sqrt(squares / count)
    # Rounding leaves equal values a tiny deviation, and the squares of tiny ones underflow.
    constant = values.max(axis=axes) == values.min(axis=axes)
    scale = np.where(constant | (scale == 0), 1.0, scale)
    return mean, scale


def standardise(values: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(values - mean) / scale as float32."""
    result = np.empty(values.shape, np.float32)
    for start, block in zip(range(0, len(values), _BLOCK), blocks(values)):
        result[start : start + len(block)] = (block - mean) / scale
    return result


def restore(inputs: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """What `standardise` was given, as float64; a zero comes back as zero."""
    values = np.asarray(inputs, np.float64) * scale + mean
    # The rounding of float32, which -5e-08 in place of an empty pixel would show.
    return np.where(np.abs(values) <= np.abs(mean) * np.finfo(np.float32).eps, 0.0, values)


def blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Consecutive rows, a few thousand at a time, as float64."""
    for start in range(0, len(values), _BLOCK):
        yield values[start : start + _BLOCK].astype(np.float64)
