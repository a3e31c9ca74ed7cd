"""Does one feature hold the answer?"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import stats

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

ALL = 0.98
FEW = 3
MOST = 2000
MOST_COLUMNS, OF_CATEGORIES = 32, 0.9
OF_CLASS, ELSEWHERE = 20, 10
"""Examples of a class that hold one number, and different numbers of the others: by chance that is
rarer than one in a hundred million."""


class OneValue(NamedTuple):
    """A column that is `value` in all `count` examples of class `label`, and in no other."""

    column: int
    value: float
    label: int
    count: int


def diagnose(facts: Facts) -> Iterator[Finding]:
    """A14: a feature that is the target under another name, or the number of the row."""
    meaning = facts.meaning
    if meaning.tokens:
        raise NotGiven("every position of a sequence is a target of its own")
    if not facts.float_inputs:
        yield from _categories(facts)
        return
    inputs = as_numpy(facts.train.inputs)
    flat = inputs.reshape(len(inputs), -1)
    if not 2 <= flat.shape[1] <= MOST or not np.isfinite(flat).all():
        raise NotGiven("there are too many features, or too few, to look at one at a time")
    if meaning.kind == "values":
        told = of_values(flat, as_numpy(facts.train.targets).reshape(len(flat), -1))
        apart, together = np.ones(len(told), bool), np.zeros(0, int)
    else:
        labels = meaning.labels(facts.train.targets).ravel()
        if len(labels) != len(flat):
            raise NotGiven("an example has several labels")
        told, apart = of_classes(flat, labels)
        together = marks(flat, labels, told, apart)
    order = ranked(told, apart)
    known, best = order[(told > ALL)[order] & apart[order]], int(order[0])
    how = explained(float(told[best]), counts=bool(apart[best]))
    summary = f"The feature that tells most, {best}, {how}"
    rows, single = _row_numbers(facts), _one_value(facts, flat)
    if 0 < len(known) <= max(FEW, flat.shape[1] // 10):
        yield fault(
            "leaking_feature",
            "A14",
            f"{summary}: it is the answer under another name.",
            f"Leave feature {best} out, unless it is known before the answer is.",
            row="DATA1 DATA6",
            certainty="statistical",
            explains=("A9", "A13"),
            features=known,
        )
    elif len(together):
        yield fault(
            "leaking_feature",
            "A14",
            f"Features {', '.join(map(str, together[:FEW]))}{', ...' * (len(together) > FEW)} mark "
            "whole classes, and together tell every two classes apart: they are the answer under "
            "another name.",
            "Leave these features out, unless they are known before the answer is.",
            row="DATA1 DATA6",
            certainty="statistical",
            warn=True,
            features=together,
        )
    elif single:
        yield fault(
            "leaking_feature",
            "A14",
            f"Feature {single.column} is {single.value:g} in all {single.count} examples of class "
            f"{single.label} and in no other, and varies there.",
            f"Leave feature {single.column} out, unless it is known before the answer is.",
            row="DATA1 DATA6",
            certainty="statistical",
            warn=True,
            features=np.array([single.column]),
        )
    elif len(rows):
        yield fault(
            "leaking_feature",
            "A14",
            f"Feature {rows[0]} is the number of the row.",
            "Leave it out: it tells where an example stood, not what it is.",
            row="DATA1 DATA6",
            certainty="statistical",
            explains=("A9", "A13", "A15"),
            features=rows,
        )
    elif len(rising := _rising(facts)):
        yield fault(
            "leaking_feature",
            "A14",
            f"Feature {rising[0]} rises with every row, and the rows are sorted by class.",
            "Leave it out if it numbers the rows: it tells where an example stood, not what it is.",
            row="DATA1 DATA6",
            certainty="statistical",
            warn=True,
            features=rising,
        )
    else:
        yield healthy("leaking_feature", f"{summary}.", row="DATA1 DATA6")


def _categories(facts: Facts) -> Iterator[Finding]:
    """Columns of whole numbers: how well the mean target of each number tells targets left out."""
    inputs, meaning = np.asarray(facts.train.inputs), facts.meaning
    if inputs.ndim != 2 or inputs.shape[1] > MOST_COLUMNS:
        raise NotGiven("inputs are tokens")
    if meaning.kind == "values":
        answers = as_numpy(facts.train.targets).reshape(len(inputs), -1)
    else:
        labels = meaning.labels(facts.train.targets).ravel()
        if len(labels) != len(inputs):
            raise NotGiven("an example has several labels")
        answers = np.eye(int(labels.max()) + 1)[np.maximum(labels, 0)]
    told = np.array([by_number(column, answers) for column in inputs.T])
    best = int(told.argmax())
    summary = f"The column that tells most, {best}, explains {told[best]:.1%} of the target"
    alone = told[best] > OF_CATEGORIES and np.sort(told)[-2:][0] < 0.5 * told[best]
    if len(told) < 2 or not alone:
        yield healthy("leaking_feature", f"{summary}.", row="DATA1 DATA6")
        return
    yield fault(
        "leaking_feature",
        "A14",
        f"{summary}, no other half as much: it looks like the answer under another name.",
        f"Leave column {best} out, unless it is known before the answer is.",
        row="DATA1 DATA6",
        certainty="statistical",
        features=np.array([best]),
    )


def by_number(column: Shaped[np.ndarray, " n"], answers: Float[np.ndarray, "n answers"]) -> float:
    """Share of the targets' variance that the numbers or levels of a column explain, each example
    left out of its own mean; 0 where they explain nothing."""
    _, place = np.unique(column, return_inverse=True)
    counts = np.bincount(place)[place][:, None]
    if (counts == 1).mean() > 0.5:
        return 0.0
    sums = np.stack([np.bincount(place, each) for each in answers.T], 1)[place]
    left_out = (sums - answers) / np.maximum(counts - 1, 1)
    error = np.where(counts > 1, np.square(answers - left_out), answers.var(0))
    return max(0.0, float(1 - error.mean(0).sum() / max(answers.var(0).sum(), 1e-12)))


def of_classes(
    flat: Float[np.ndarray, "n features"], labels: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " features"], Bool[np.ndarray, " features"]]:
    """(share of each feature's variance that lies between the classes, whether it tells every two
    classes apart). A mark of a single class among several has a high share by nature."""
    total = flat.var(0)
    within = np.zeros_like(total)
    classes = np.unique(labels)
    for label in classes:
        chosen = flat[labels == label]
        within += chosen.var(0) * len(chosen) / len(flat)
    with np.errstate(all="ignore"):
        share = np.where(total > 1e-12, 1 - within / total, 0.0)
    apart = np.ones(flat.shape[1], bool)
    for column in np.flatnonzero(share > ALL):
        means = np.sort([flat[labels == label, column].mean() for label in classes])
        gap = np.diff(means).min() if len(means) > 1 else 0
        apart[column] = gap > 3 * np.sqrt(within[column]) + 1e-9
    return share, apart


def marks(
    flat: Float[np.ndarray, "n features"],
    labels: Int[np.ndarray, " n"],
    told: Float[np.ndarray, " features"],
    apart: Bool[np.ndarray, " features"],
) -> Int[np.ndarray, " marks"]:
    """Features that mark classes and tell every two of them apart together, as the ones and zeros
    of the class do: no more of them than classes. told, apart: as `of_classes` finds them."""
    columns, classes = np.flatnonzero((told > ALL) & ~apart), np.unique(labels)
    if not 2 <= len(columns) <= len(classes):
        return columns[:0]
    chosen = flat[:, columns]
    means = np.stack([chosen[labels == label].mean(0) for label in classes])
    within = np.sqrt(np.maximum(1 - told[columns], 0) * chosen.var(0))
    differ = (np.abs(means[:, None] - means[None]) > 3 * within + 1e-9).any(-1)
    return columns if differ.sum() == len(classes) * (len(classes) - 1) else columns[:0]


def of_one_value(
    flat: Float[np.ndarray, "n features"], labels: Int[np.ndarray, " n"]
) -> list[OneValue]:
    """Columns that are one number for a whole class and for no other, and many numbers there: they
    were filled in when the answer was known. A column of few numbers may simply be what the class
    means."""
    found = []
    for label in np.unique(labels):
        own, other = flat[labels == label], flat[labels != label]
        if label < 0 or len(own) < OF_CLASS:
            continue
        alone = (own == own[0]).all(0) & ~(other == own[0]).any(0)
        found += [
            OneValue(column, float(own[0, column]), int(label), len(own))
            for column in np.flatnonzero(alone).tolist()
            if len(np.unique(other[np.isfinite(other[:, column]), column])) >= ELSEWHERE
        ]
    return found


def ranked(
    told: Float[np.ndarray, " columns"], counts: Bool[np.ndarray, " columns"]
) -> Int[np.ndarray, " columns"]:
    """Columns by what they tell; first those that are the answer, where any is."""
    return np.lexsort((-told, ~((told > ALL) & counts)))


def explained(told: float, *, counts: bool) -> str:
    """What one column tells, and whether that makes it the answer."""
    more = "" if counts else ", but does not tell every two classes apart"
    return f"explains {told:.1%} of the target{more}"


def of_values(flat: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Largest squared rank correlation of each feature with any target."""
    best = np.zeros(flat.shape[1])
    ranks = stats.rankdata(flat, axis=0)
    for target in targets.T:
        order = stats.rankdata(target)
        with np.errstate(all="ignore"):
            both = np.array([np.corrcoef(column, order)[0, 1] for column in ranks.T])
        best = np.maximum(best, np.nan_to_num(both) ** 2)
    return best


def _one_value(facts: Facts, flat: Float[np.ndarray, "n features"]) -> OneValue | None:
    """The first such feature of the examples looked at, where it is one of all examples."""
    if facts.meaning.kind == "values" or facts.train.inputs.ndim != 2:
        return None
    found = of_one_value(flat, facts.meaning.labels(facts.train.targets).ravel())
    if not found:
        return None
    everywhere = as_numpy(facts.all_train.inputs)[:, [found[0].column]]
    again = of_one_value(everywhere, facts.meaning.labels(facts.all_train.targets).ravel())
    return again[0]._replace(column=found[0].column) if again else None


def _row_numbers(facts: Facts) -> np.ndarray:
    """Features that rise with every row of the data as given."""
    if facts.program.train is None:
        return np.zeros(0, int)
    inputs = as_numpy(facts.program.train.inputs)
    if inputs.ndim != 2 or len(inputs) < 20:
        return np.zeros(0, int)
    steps = np.diff(inputs, axis=0)
    even = np.abs(steps - steps.mean(0)) <= 1e-3 * np.abs(steps.mean(0))
    return np.flatnonzero((steps > 0).all(0) & even.all(0))


def _rising(facts: Facts) -> np.ndarray:
    """Features that rise with every row of the data as given, where those are sorted by class."""
    if facts.program.train is None or facts.meaning.kind == "values":
        return np.zeros(0, int)
    inputs, targets = facts.program.train
    labels = facts.meaning.labels(targets).ravel()
    if np.ndim(inputs) != 2 or len(labels) != len(inputs):
        return np.zeros(0, int)
    return rising(as_numpy(inputs), labels)


def rising(
    flat: Float[np.ndarray, "n features"], labels: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " rising"]:
    """Features that rise from each row to the next, where every class stands in one piece: whatever
    their steps, one threshold a class is all that there is to learn. A few at most: where most
    rise, the rows are a line that was drawn on purpose."""
    pieces = 1 + np.count_nonzero(np.diff(labels))
    if len(labels) < 2 * OF_CLASS or not 1 < pieces == len(np.unique(labels)):
        return np.zeros(0, int)
    found = np.flatnonzero((np.diff(flat, axis=0) > 0).all(0))
    return found if len(found) <= flat.shape[1] // 2 else found[:0]
