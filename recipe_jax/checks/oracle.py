"""Does one column hold the answer, or the number of the row?"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from recipe_jax.checks import leaks
from recipe_jax.checks._telling import fault, healthy, without
from recipe_jax.probes.examples import Examples, column_places
from recipe_jax.probes.facts import NotGiven
from recipe_jax.types import Finding

MOST_COLUMNS = 2000
SHOWN = 12
EVEN = 1e-3


def look(examples: Examples) -> Iterator[Finding]:
    """Column by column as they were read: numbers as they enter the network, words by what each of
    them tells of the examples of the others."""
    task = examples.task
    if task.modality != "table":
        return  # one pixel or step does not hold an answer by mistake
    flat = examples.train.inputs.astype(np.float64)
    places = column_places(task)
    if len(places) < 2 or flat.shape[1] > MOST_COLUMNS or not np.isfinite(flat).all():
        raise NotGiven("there are too few columns, or too many, to look at one at a time")
    names = list(places)
    told, counts = _by_column(examples, flat)
    order = leaks.ranked(told, counts)
    known = order[(told > leaks.ALL)[order] & counts[order]]
    best = order[0]
    how = leaks.explained(float(told[best]), counts=bool(counts[best]))
    summary = f"The column that tells most, {names[best]}, {how}"
    shown = order[:SHOWN]
    evidence = {"columns": [names[i] for i in shown], "explained": told[shown]}
    numbers = row_numbers(flat, examples.train.ids)
    numbers = [name for name, own in places.items() if own[0] in numbers]
    rising = _rising(examples, flat)
    rising = [name for name, own in places.items() if own[0] in rising]
    if 0 < len(known) <= max(leaks.FEW, len(places) // 10):
        yield fault(
            "oracle",
            "A14",
            f"{summary}: it looks like the answer under another name.",
            f"Unless it is known before the answer is: {without(task, [names[best]])}",
            row="DATA1 DATA6",
            certainty="statistical",
            warn=True,
            **evidence,
        )
    elif single := _one_value(examples):
        name, found = single
        label = task.class_names[found.label]
        yield fault(
            "oracle",
            "A14",
            f"Column {name} is {found.value:g} in all {found.count} examples of class {label!r} "
            "and in no other, and varies there: it looks filled in when the answer was known.",
            f"Unless it is known before the answer is: {without(task, [name])}",
            row="DATA1 DATA6",
            certainty="statistical",
            warn=True,
            **evidence,
        )
    elif numbers:
        yield fault(
            "oracle",
            "A14",
            f"Column {numbers[0]} rises evenly with the number of the row.",
            f"It tells where an example stood, not what it is: {without(task, numbers[:1])}",
            row="DATA1 DATA6",
            certainty="statistical",
            warn=True,
            **evidence,
        )
    elif rising:
        yield fault(
            "oracle",
            "A14",
            f"Column {rising[0]} rises with every row, and the rows are sorted by class.",
            "If it numbers the rows, it tells where an example stood, not what it is: "
            + without(task, rising[:1]),
            row="DATA1 DATA6",
            certainty="statistical",
            warn=True,
            **evidence,
        )
    else:
        yield healthy("oracle", f"{summary}.", row="DATA1 DATA6", **evidence)


def _by_column(
    examples: Examples, flat: Float[np.ndarray, "n inputs"]
) -> tuple[Float[np.ndarray, " columns"], Bool[np.ndarray, " columns"]]:
    """(what each column explains of the target, whether that can make it the answer)."""
    targets = examples.train.targets
    if examples.task.spec.kind == "classification":
        told, counts = leaks.of_classes(flat, targets)
    else:
        told, counts = leaks.of_values(flat, targets), np.ones(flat.shape[1], bool)
    found = []
    for name, own in column_places(examples.task).items():
        cells = examples.columns[name]
        if cells.dtype == object:
            levels = np.array(["" if cell is None else str(cell) for cell in cells])
            found.append((leaks.by_number(levels, examples.answers), True))
        else:
            best = own[leaks.ranked(told[own], counts[own])[0]]
            found.append((told[best], counts[best]))
    return np.array([share for share, _ in found]), np.array([counted for _, counted in found])


def _one_value(examples: Examples) -> tuple[str, leaks.OneValue] | None:
    """The first column that is one number for one class alone, in its own unit."""
    numbers = {name: c for name, c in examples.columns.items() if c.dtype != object}
    if examples.task.spec.kind != "classification" or not numbers:
        return None
    found = leaks.of_one_value(np.stack(list(numbers.values()), 1), examples.train.targets)
    return (list(numbers)[found[0].column], found[0]) if found else None


def _rising(examples: Examples, flat: Float[np.ndarray, "n columns"]) -> np.ndarray:
    """Inputs that rise from row to row of a file that is sorted by class."""
    ids = np.asarray(examples.train.ids)
    if ids.dtype.kind not in "iu" or examples.task.spec.kind != "classification":
        return np.zeros(0, int)
    order = np.argsort(ids)
    return leaks.rising(flat[order], examples.train.targets[order])


def row_numbers(flat: Float[np.ndarray, "n columns"], ids: np.ndarray) -> np.ndarray:
    """Columns that are a number of the row, up to scale and start; none where ids are no number."""
    if np.asarray(ids).dtype.kind not in "iu" or len(ids) < 20:
        return np.zeros(0, int)
    line = (ids - ids.mean()) / max(float(ids.std()), 1e-12)
    spread = flat.std(0)
    slope = (flat * line[:, None]).mean(0)
    left = np.abs(flat - flat.mean(0) - slope * line[:, None]).max(0)
    return np.flatnonzero((spread > 0) & (left < EVEN * spread))
