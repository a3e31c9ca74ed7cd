"""Where in a file labels stop suiting their inputs, and whether those of other rows suit better.

Neighbours among the rows before a place answer for the rows after it. The score is Cohen's kappa:
1 where all answers are the labels, 0 where they agree as often as by chance.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from sklearn import neighbors

from recipe_jax.probes.facts import Facts

NEAR, VOTERS = 60, 5
"""So many neighbours are looked up, so that enough of them lie before an early place."""
PLACES = 19
LAGS = (1, -1, 2, -2)
LEAST = 40
"""So many examples must be judged for a score to count."""


class Lag(NamedTuple):
    """Labels of other rows: those `rows` further on score `kappa` where the own ones score
    `own`."""

    rows: int
    kappa: float
    own: float


class Place(NamedTuple):
    """A place in the file.

    row: the first row from which on labels are others; before, after: how well neighbours before it
    know the labels before and after; within: how well those after it know each other
    later: (n,) which of the training examples come after; lag: the labels that suit them best
    """

    row: int
    before: float
    after: float
    within: float
    later: Bool[np.ndarray, " n"]
    lag: Lag | None


def of_labels(facts: Facts) -> Place | None:
    """The place that parts labels most; None where there are too few examples."""
    near = _near(facts)
    labels = _labels(facts, facts.train.targets)
    order = np.sort(facts.rows)
    found = []
    for cut in np.unique(order[np.linspace(0, len(order), PLACES + 2).astype(int)[1:-1]]):
        later = facts.rows >= cut
        votes = _votes(near, labels, ~later)
        before, after = (_known(votes, labels, part, ~later) for part in (~later, later))
        found.append((before - after, cut, before, after))
    found = [each for each in found if np.isfinite(each[0])]
    if not found:
        return None
    _, cut, before, after = max(found)
    votes = _votes(near, labels, facts.rows < cut)
    row = _turn(facts.rows, votes == labels)
    later = facts.rows >= cut
    within = _known(_votes(near, labels, later), labels, later, later)
    return Place(row, before, after, within, later, _lag(facts, votes, later))


def of_all(facts: Facts) -> Lag | None:
    """Which other rows' labels suit the inputs best, by neighbours that have those labels too."""
    near, everywhere = _near(facts), np.ones(len(facts.rows), bool)
    labels = _labels(facts, facts.train.targets)
    own = _kappa(_votes(near, labels, everywhere), labels)
    found = []
    for lag in LAGS:
        there, others = _of_rows(facts, facts.rows + lag)
        votes = _votes(near, others, there)
        chosen = there & (votes >= 0)
        if chosen.sum() >= LEAST:
            found.append(Lag(lag, _kappa(votes[chosen], others[chosen]), own))
    return max(found, key=lambda lag: lag.kappa, default=None)


def _lag(facts: Facts, votes: np.ndarray, later: np.ndarray) -> Lag | None:
    """Which other rows' labels the answers for later examples are."""
    found = []
    for lag in LAGS:
        there, others = _of_rows(facts, facts.rows + lag)
        chosen = there & later & (votes >= 0)
        if chosen.sum() >= LEAST:
            own = _labels(facts, facts.train.targets)[chosen]
            kappas = (_kappa(votes[chosen], each) for each in (others[chosen], own))
            found.append(Lag(lag, *kappas))
    return max(found, key=lambda lag: lag.kappa, default=None)


def _labels(facts: Facts, targets: np.ndarray) -> Int[np.ndarray, " n"]:
    return facts.meaning.labels(targets).ravel()


def _near(facts: Facts) -> Int[np.ndarray, "n near"]:
    """The nearest other examples of each, the nearest first."""
    features = facts.simple.features
    count = min(NEAR, len(features) - 1)
    return (
        neighbors.NearestNeighbors(n_neighbors=count)
        .fit(features)
        .kneighbors(return_distance=False)
    )


def _votes(
    near: Int[np.ndarray, "n near"],
    labels: Int[np.ndarray, " n"],
    inside: Bool[np.ndarray, " n"],
) -> Int[np.ndarray, " n"]:
    """The commonest label of the nearest VOTERS that are inside, -1 where none is."""
    used = inside[near]
    used &= used.cumsum(1) <= VOTERS
    counts = np.zeros((len(near), int(labels.max()) + 1))
    who, which = np.nonzero(used)
    np.add.at(counts, (who, labels[near[who, which]]), 1)
    return np.where(used.any(1), counts.argmax(1), -1)


def _known(votes: np.ndarray, labels: np.ndarray, asked: np.ndarray, inside: np.ndarray) -> float:
    """Kappa of the votes for those that are asked, of labels which several voters have: a class
    that is not met on one side is no contradiction."""
    met = np.bincount(labels[inside], minlength=int(labels.max()) + 1) >= VOTERS
    chosen = asked & (votes >= 0) & met[labels]
    if chosen.sum() < LEAST:
        return float("nan")
    return _kappa(votes[chosen], labels[chosen])


def _kappa(votes: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    classes = int(max(votes.max(), labels.max())) + 1
    shares = (np.bincount(each, minlength=classes) / len(each) for each in (votes, labels))
    chance = float(np.prod(list(shares), axis=0).sum())
    return (float((votes == labels).mean()) - chance) / max(1 - chance, 1e-6)


def _turn(rows: Int[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> int:
    """The row from which on answers are wrong that were right before: where the sum of what right
    ones are above the mean is highest."""
    order = np.argsort(rows, kind="stable")
    above = np.cumsum(right[order] - right.mean())
    return int(rows[order[min(int(above.argmax()) + 1, len(rows) - 1)]])


def _of_rows(facts: Facts, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whether there is a training example of this row, its label)."""
    every = facts.all_rows
    order = np.argsort(every, kind="stable")
    place = order[np.minimum(np.searchsorted(every[order], rows), len(every) - 1)]
    return every[place] == rows, np.maximum(_labels(facts, facts.all_train.targets)[place], 0)
