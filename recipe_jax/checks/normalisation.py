"""Do inputs and targets enter with mean 0 and deviation 1, by the statistics of training alone?"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from recipe_jax.checks import data_audit
from recipe_jax.checks._telling import fault, healthy
from recipe_jax.checks.distributions import counts_of
from recipe_jax.probes.examples import Examples
from recipe_jax.types import Finding, Task

EXACT, TINY = 1e-3, 1e-6
MOST_COLUMNS = 60


def look(examples: Examples) -> Iterator[Finding]:
    """Before and after, column by column; the mean of the training split after it is 0 to rounding,
    and that of training and validation together is not: so the statistics are training's own.

    Columns of no variance enter as 0; those whose deviation is tiny beside their mean are named.
    """
    task = examples.task
    # All examples: those that statistics were fitted on, oversampled ones as often as they train.
    own, held = (by_feature(task, split.inputs) for split in (task.train, task.validation))
    raw = by_feature(task, _raw(task, task.train.inputs))
    names = np.array(data_audit.feature_names(task, own.shape[1]))
    if task.modality == "image":
        names = np.array([f"channel {i}" for i in range(own.shape[1])])
    what = {"image": "channels", "sequence": "features"}.get(task.modality, "columns")
    mean, deviation = own.mean(0), own.std(0)
    constant, tiny = guarded(raw)
    varies = ~constant
    off = float(np.abs(mean[varies]).max(initial=0.0))
    wide = float(np.abs(deviation[varies] - 1.0).max(initial=0.0))
    own_levels = data_audit.of_encoder(names.tolist())
    never = names[constant & ~own_levels].tolist()
    told = (
        f"Over the training split the {len(names)} {what} that enter have means up to {off:.2g} "
        f"and deviations within {wide:.2g} of 1; "
        + _never(never, levels=bool((constant & own_levels).any()))
        + (f"; {', '.join(names[tiny][:3])} hardly vary beside their means" if tiny.any() else "")
        + _targets(task)
    )
    evidence = _evidence(
        names, raw=raw, own=own, held=held, constant=constant & ~own_levels, tiny=tiny
    )
    both = np.concatenate([own, held])
    if off > EXACT and float(np.abs(both.mean(0)[varies]).max(initial=0.0)) < 0.01 * off:
        yield fault(
            "normalisation",
            "B9",
            f"{told}; together with validation the means are 0.",
            "Statistics were fitted on validation as well: fit them on the training split alone.",
            row="DATA3",
            warn=False,
            **evidence,
        )
        return
    yield healthy("normalisation", f"{told}.", row="DATA3", **evidence)


def guarded(raw: Float[np.ndarray, "n columns"]) -> tuple[np.ndarray, np.ndarray]:
    """Columns that never vary, and those that vary by less than float32 can tell of their mean."""
    with np.errstate(invalid="ignore"):
        constant = raw.max(0) == raw.min(0)
        tiny = ~constant & (raw.std(0) < TINY * np.abs(raw.mean(0)))
    return constant, tiny


def _never(names: list[str], *, levels: bool) -> str:
    """Says what never varies; levels: whether some stand for words that no example has."""
    if not names:
        return "all vary" + ", but for the levels of unknown words" * levels
    ends = ("never varies and enters", "never vary and enter")[len(names) > 1]
    return f"{data_audit.listed(names)} {ends} as 0"


def by_feature(task: Task, inputs: np.ndarray) -> Float[np.ndarray, "rows columns"]:
    """A column for what is normalised together where that is the default: a feature of a table or a
    sequence, a channel of an image."""
    columns = inputs.shape[-1] if task.modality != "table" else int(np.prod(inputs.shape[1:]))
    return inputs.reshape(-1, columns).astype(np.float64)


def _raw(task: Task, inputs: np.ndarray) -> np.ndarray:
    """As it was before; of a table with words, what they were turned into."""
    encoder = task.encoder
    if not isinstance(raw := encoder.decode(inputs), dict):
        return np.asarray(raw)
    return inputs.astype(np.float64) * encoder.scale + encoder.mean


def _targets(task: Task) -> str:
    if task.spec.kind != "regression":
        return ""
    return (
        "; targets enter as (value - mean) / deviation, "
        + ", ".join(
            f"{name} with {mean:.4g} and {scale:.4g}"
            for name, mean, scale in zip(
                task.target_names, task.spec.target_mean, task.spec.target_scale
            )
        )
        + ", and predictions and errors are told in its own unit"
    )


def _evidence(
    names: np.ndarray,
    *,
    raw: np.ndarray,
    own: np.ndarray,
    held: np.ndarray,
    constant: np.ndarray,
    tiny: np.ndarray,
) -> dict[str, Any]:
    rows = []
    for place, name in list(enumerate(names))[:MOST_COLUMNS]:
        column = raw[:, place]
        rows.append(
            {
                "column": name,
                "before": [column.mean(), column.std()],
                "after": [own[:, place].mean(), own[:, place].std()],
                "validation": [held[:, place].mean(), held[:, place].std()],
                "lowest": own[:, place].min(),
                "highest": own[:, place].max(),
                "counts": counts_of(_thinned(column)) if np.isfinite(column).all() else [],
            }
        )
    return {
        "columns": rows,
        "constant": names[constant].tolist(),
        "tiny": names[tiny].tolist(),
    }


def _thinned(column: np.ndarray) -> np.ndarray:
    """Enough values for a histogram."""
    return column[:: max(1, len(column) // 100_000)]
