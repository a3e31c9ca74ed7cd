"""Does one column hold the answer, or the number of the row?"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from recipe_jax.checks import data_audit, leaks
from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.examples import Examples
from recipe_jax.probes.facts import NotGiven
from recipe_jax.types import Finding

MOST_COLUMNS = 2000
SHOWN = 12
EVEN = 1e-3


def look(examples: Examples) -> Iterator[Finding]:
    """Column by column of what enters the network, as the diagnosis of programs does."""
    task = examples.task
    if task.modality != "table":
        return  # one pixel or step does not hold an answer by mistake
    flat = examples.train.inputs.astype(np.float64)
    if not 2 <= flat.shape[1] <= MOST_COLUMNS or not np.isfinite(flat).all():
        raise NotGiven("there are too few columns, or too many, to look at one at a time")
    names = np.array(data_audit.feature_names(task, flat.shape[1]))
    if task.spec.kind == "classification":
        told = leaks.of_classes(flat, examples.train.targets)
    else:
        told = leaks.of_values(flat, examples.train.targets)
    known = np.flatnonzero(told > leaks.ALL)
    order = np.argsort(-told, kind="stable")[:SHOWN]
    best = names[order[0]]
    summary = f"The column that tells most, {best}, explains {told[order[0]]:.1%} of the target"
    evidence = {"columns": names[order].tolist(), "explained": told[order]}
    numbers = names[row_numbers(flat, examples.train.ids)]
    if 0 < len(known) <= max(leaks.FEW, flat.shape[1] // 10):
        yield fault(
            "oracle",
            "A14",
            f"{summary}: it looks like the answer under another name.",
            f"Unless it is known before the answer is: --config.data.drop=\"('{best}',)\".",
            row="DATA1 DATA6",
            certainty="statistical",
            warn=True,
            **evidence,
        )
    elif len(numbers):
        yield fault(
            "oracle",
            "A14",
            f"Column {numbers[0]} rises evenly with the number of the row.",
            "It tells where an example stood, not what it is: "
            f"--config.data.drop=\"('{numbers[0]}',)\".",
            row="DATA1 DATA6",
            certainty="statistical",
            warn=True,
            **evidence,
        )
    else:
        yield healthy("oracle", f"{summary}.", row="DATA1 DATA6", **evidence)


def row_numbers(flat: Float[np.ndarray, "n columns"], ids: np.ndarray) -> np.ndarray:
    """Columns that are a number of the row, up to scale and start; none where ids are no number."""
    if np.asarray(ids).dtype.kind not in "iu" or len(ids) < 20:
        return np.zeros(0, int)
    line = (ids - ids.mean()) / max(float(ids.std()), 1e-12)
    spread = flat.std(0)
    slope = (flat * line[:, None]).mean(0)
    left = np.abs(flat - flat.mean(0) - slope * line[:, None]).max(0)
    return np.flatnonzero((spread > 0) & (left < EVEN * spread))
