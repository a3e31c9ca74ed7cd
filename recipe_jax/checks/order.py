"""In what order do examples come?"""

from collections.abc import Iterator

import numpy as np
from scipy import special, stats

from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

LEVEL = 1e-6
SAME = 0.5
TURNS = 4
"""Sorted values cross their median once; those of a series again and again."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """B2: batches of one class; B3: the same order every epoch; A15: arrays in order of the
    label."""
    if facts.program.batches is not None:
        yield from _batches(facts)
        yield from _epochs(facts)
    elif facts.known is not None and not facts.known.tokens:
        yield from _file(facts)


def _quantity(facts: Facts, targets: np.ndarray) -> np.ndarray:
    """One number an example that order can be seen in."""
    if facts.meaning.kind == "values":
        return as_numpy(targets).reshape(len(targets), -1)[:, 0]
    if facts.meaning.tokens:
        raise NotGiven("every position of a sequence is a target of its own")
    labels = facts.meaning.labels(targets).ravel()
    if len(labels) != len(targets):
        raise NotGiven("an example has several labels")
    return labels.astype(float)


def _mixture(values: list[np.ndarray], *, classes: bool) -> float:
    """Mean entropy of the labels, or variance of the values, within a batch."""
    if not classes:
        return float(np.mean([batch.var() for batch in values]))
    counts = [np.unique(batch, return_counts=True)[1] for batch in values]
    return float(np.mean([special.entr(count / count.sum()).sum() for count in counts]))


def _batches(facts: Facts) -> Iterator[Finding]:
    values = [_quantity(facts, batch.targets) for batch in facts.epochs[0]]
    values = [batch for batch in values if len(batch) > 1]
    if len(values) < 3:
        raise NotGiven("there are fewer than three batches of more than one example")
    classes = facts.meaning.kind != "values"
    own, together = _mixture(values, classes=classes), np.concatenate(values)
    draw, cuts = np.random.default_rng(6), np.cumsum([len(batch) for batch in values])[:-1]
    mixed = np.array(
        [_mixture(np.split(draw.permutation(together), cuts), classes=classes) for _ in range(200)]
    )
    deviation = max(float(mixed.std()), 1e-9)
    away = (own - mixed.mean()) / deviation
    told = (
        f"Within a batch labels vary {own / max(mixed.mean(), 1e-9):.0%} as much as in mixed ones"
    )
    if away > -5 or own > 0.85 * mixed.mean():
        yield healthy("batch_mixture", f"{told}.", row="DATA7")
        return
    yield fault(
        "batch_mixture",
        "B2",
        f"{told} ({-away:.0f} deviations away): examples are not shuffled.",
        "Shuffle all training examples before every epoch.",
        row="DATA7",
        certainty="statistical",
        explains=("F8", "E1", "E2", "E11", "A1", "A15", "B3", "A13", "A12", "C17"),
    )


def _epochs(facts: Facts) -> Iterator[Finding]:
    """Whether the second epoch comes in another order than the first."""
    first, second = ([batch.inputs.tobytes() for batch in _rows(epoch)] for epoch in facts.epochs)
    distinct = len(set(first))
    if distinct < 0.2 * len(first) and len(first) > 8:
        yield fault(
            "epoch_order",
            "B3",
            f"An epoch of {len(first)} examples shows only {distinct} different ones.",
            "Go through all examples once an epoch.",
            row="DATA7",
            explains=("F8", "A6", "E11"),
        )
        return
    places = {row: place for place, row in enumerate(first)}
    both = [(place, places[row]) for place, row in enumerate(second) if row in places]
    if len(both) < 10:
        return
    count = min(len(first), len(second))
    same = float(np.mean([a == b for a, b in both]))
    correlation = float(stats.spearmanr(*zip(*both)).statistic)  # pyright: ignore
    told = f"{percent(same)} of the examples come at the same place in the second epoch"
    if same > SAME or (correlation > SAME and count > 50):
        yield fault(
            "epoch_order",
            "B3",
            f"{told} (rank correlation {correlation:.2f}).",
            "Shuffle anew for every epoch, with a buffer as large as the data.",
            row="DATA7",
            warn=True,
            certainty="statistical",
        )
        return
    yield healthy("epoch_order", f"{told}.", row="DATA7")


def _rows(epoch: list) -> Iterator:
    for batch in epoch:
        for inputs, targets in zip(batch.inputs, batch.targets):
            yield type(batch)(np.asarray(inputs), targets)


def _file(facts: Facts) -> Iterator[Finding]:
    """Neighbours in the arrays have the same label more often than chance."""
    values = _quantity(facts, facts.all_train.targets)
    if len(values) < 20 or np.all(values == values[0]):
        raise NotGiven("there are too few examples, or one class alone")
    if facts.meaning.kind == "values":
        correlation = float(stats.spearmanr(values[1:], values[:-1]).statistic)  # pyright: ignore
        away = correlation * np.sqrt(len(values))
        # What rises and falls again is in the order of time: a forecast is split so on purpose.
        turns = float(np.mean(np.diff(np.sign(_smooth(values) - np.median(values))) != 0))
        strong = correlation > 0.8 and turns * len(values) < TURNS
        told = f"Targets of neighbouring rows are correlated by {correlation:.2f}"
    else:
        same = float(np.mean(values[1:] == values[:-1]))
        counts = np.unique(values, return_counts=True)[1] / len(values)
        chance = float(np.sum(counts**2))
        away = (same - chance) / np.sqrt(chance * (1 - chance) / len(values))
        strong = same > chance + 0.5 * (1 - chance)
        told = (
            f"{percent(same)} of the rows have the label of the row before, "
            f"{percent(chance)} by chance"
        )
    if away > -stats.norm.ppf(LEVEL) and strong:
        yield fault(
            "file_order",
            "A15",
            f"{told}: the arrays are in the order of the labels.",
            "Shuffle before splitting and before every epoch.",
            row="DATA7",
            certainty="statistical",
            warn=not _torn(facts),
            explains=("A12", "A13", "F8", "B8"),
        )
        return
    yield healthy("file_order", f"{told}.", row="DATA7")


def _smooth(values: np.ndarray) -> np.ndarray:
    """Means over a twentieth of the rows."""
    width = max(1, len(values) // 20)
    return np.convolve(values, np.ones(width) / width, mode="valid")


def _torn(facts: Facts) -> bool:
    """Whether the split was taken in that order: validation has other targets."""
    if not facts.has_validation:
        return False
    own, other = (_quantity(facts, split.targets) for split in (facts.train, facts.validation))
    return bool(stats.ks_2samp(own, other).pvalue < LEVEL)  # pyright: ignore
