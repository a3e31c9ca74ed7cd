"""Do training, validation and test examples look alike?"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from recipe_jax.checks import data_audit, shift
from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.examples import Examples, components
from recipe_jax.probes.facts import NotGiven
from recipe_jax.types import Finding

LEVEL = 1e-6
DISTANCE = 0.1
"""Smaller differences between distributions do no harm, however sure they are."""
AREA = 0.6
MOST_COLUMNS, LEAST = 400, 20
SHOWN = 10


def look(examples: Examples) -> Iterator[Finding]:
    """Column by column by Kolmogorov and Smirnov, at a level divided by the number of columns; all
    columns together by a classifier that tells the splits apart (Lopez-Paz and Oquab, 2017); the
    test split by its means alone. Examples of one group are alike, so that such tests, which count
    each of them, say nothing of splits by groups."""
    task = examples.task
    own, other = (
        np.nan_to_num(split.inputs.reshape(len(split.inputs), -1).astype(np.float64))
        for split in (examples.train, examples.validation)
    )
    if min(len(own), len(other)) < LEAST:
        raise NotGiven(f"a split has fewer than {LEAST} examples")
    chosen = np.linspace(0, own.shape[1] - 1, min(own.shape[1], MOST_COLUMNS)).astype(int)
    names = np.array(data_audit.input_names(task))[chosen]
    distances, p_values = shift.compare(own[:, chosen], other[:, chosen])
    worst = int(distances.argmax())
    far = (p_values * len(p_values) < LEVEL) & (distances > DISTANCE)
    area, doubt = _told_apart(examples)
    moved, test_chance = moved_means(task, examples)
    told = (
        f"Of {len(chosen)} columns, {int(far.sum())} differ between training and validation "
        f"beyond chance (most, by {distances[worst]:.2f}: {names[worst]}); a classifier tells "
        f"the two apart with an area under the curve of {area:.2f}, where 0.5 is a guess; test "
        f"means lie up to {moved:.1f} standard errors away"
    )
    order = np.argsort(-distances, kind="stable")[:SHOWN]
    evidence: dict[str, Any] = {
        "columns": names[order].tolist(),
        "distance": distances[order],
        "p_value": p_values[order],
        "area": area,
    }
    evidence |= _histograms(own[:, chosen[order[0]]], other[:, chosen[order[0]]])
    if task.split == "group":
        told += f"; what is usual between groups of {task.split_by!r} is not known"
    if task.split == "group" or not (
        far.any() or (area > AREA and doubt < LEVEL) or test_chance < LEVEL
    ):
        yield healthy("drift", f"{told}{examples.among}.", row="DATA6 DATA1", **evidence)
        return
    yield fault(
        "drift",
        "A13",
        f"{told}{examples.among}.",
        f"They change along {task.split_by!r}: what is held out is what the next ones may be like; "
        "train on the latest, or leave out what moves."
        if task.split == "order"
        else "Draw all splits from the same examples at random, or say why they differ.",
        row="DATA6 DATA1",
        certainty="statistical",
        warn=True,
        **evidence,
    )


def _told_apart(examples: Examples) -> tuple[float, float]:
    """(area, chance of a larger one where there is no difference: by its normal limit)."""
    rows = components(np.concatenate(examples.both))
    own, other = (len(each) for each in examples.both)
    area = shift.told_apart(rows, np.arange(own + other) >= own)
    error = np.sqrt((own + other + 1) / (12.0 * own * other))
    return area, float(stats.norm.sf((area - 0.5) / error))


def moved_means(task: Any, examples: Examples) -> tuple[float, float]:
    """(largest distance of a test mean from that of training and validation, in standard errors;
    its chance, times the number of columns)."""
    count = task.test.num_examples
    whole = np.concatenate([examples.train.inputs, examples.validation.inputs])
    mean, deviation = whole.mean(0, dtype=np.float64), whole.std(0, dtype=np.float64)
    there, _ = task.test.moments()
    varies = np.isfinite(mean) & np.isfinite(there) & (deviation > 1e-9)
    # The mean of few examples, or of a column that hardly ever varies, is not normal.
    common = (np.abs(whole - mean) > deviation).mean(0) > 0.05
    varies &= common
    if count < LEAST or not varies.any():
        return 0.0, 1.0
    error = deviation[varies] * np.sqrt(1 / count + 1 / len(whole))
    away = float((np.abs(there - mean)[varies] / error).max())
    return away, float(2 * stats.norm.sf(away) * varies.sum())


def _histograms(
    own: Float[np.ndarray, " n"], other: Float[np.ndarray, " m"]
) -> dict[str, np.ndarray]:
    """The column that differs most, in both splits on the same edges."""
    edges = np.histogram_bin_edges(np.concatenate([own, other]), bins=24)
    return {
        "edges": edges,
        "train": np.histogram(own, edges)[0],
        "validation": np.histogram(other, edges)[0],
    }
