"""Are examples there twice: within training, with another label, or in both splits?"""

import hashlib
from collections.abc import Iterator

import numpy as np
from sklearn import neighbors

from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

MANY, NEARLY_ALL, SHARED, CONFLICTING = 0.1, 0.8, 0.01, 0.02
NEAR, NEAR_SHARE = 0.15, 0.05
NATURAL = 0.2
"""From so many expected pairs on, rows of few different values repeat by nature."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """Equal inputs by their bytes, nearly equal ones by distance."""
    train = _digests(facts.all_train.inputs)
    count = len(train)
    distinct, place = np.unique(train, return_inverse=True)
    twice = 1 - len(distinct) / count
    counts = np.bincount(place)
    twins = float((counts > 1)[place].mean())
    natural = by_chance(as_numpy(facts.all_train.inputs), count - len(distinct))
    # Short sequences of few tokens repeat by nature.
    if twice > (MANY if facts.float_inputs else 3 * MANY) and not natural:
        yield fault(
            "repeated_examples",
            "A6",
            f"{percent(twice)} of the training examples repeat another one: {len(distinct)} of "
            f"{count} are different.",
            "Leave repeats out before splitting, unless they were drawn on purpose.",
            row="DATA1 DATA6",
            certainty="heuristic",
            warn=twice < NEARLY_ALL,
            explains=("F8", "E11", "A13"),
        )
    else:
        yield healthy(
            "repeated_examples", f"{len(distinct)} of {count} are different.", row="DATA1 DATA6"
        )
    if facts.known is not None and not facts.known.tokens:
        yield from _conflicts(facts, place, natural)
    if facts.has_validation:
        yield from _across(facts, set(train.tolist()), natural=natural, twins=twins)


def _conflicts(facts: Facts, place: np.ndarray, natural: bool) -> Iterator[Finding]:
    """A3: equal inputs with different labels."""
    if facts.meaning.kind == "values":
        answers = as_numpy(facts.all_train.targets).reshape(len(place), -1)[:, 0]
        scale = float(np.sqrt(facts.meaning.variance[0]))
        different = 0.1 * scale
    else:
        answers, different = facts.meaning.labels(facts.all_train.targets).ravel(), 0
        if len(answers) != len(place):
            return  # an example has several labels
    low = np.full(place.max() + 1, np.inf)
    high = np.full(place.max() + 1, -np.inf)
    np.minimum.at(low, place, answers)
    np.maximum.at(high, place, answers)
    torn = (high - low > different)[place]
    share = float(torn.mean())
    if not share:
        return
    told = f"{int(torn.sum())} training examples have a twin with another label"
    if share < CONFLICTING or natural:
        yield healthy("conflicting_labels", f"{told}.", row="DATA1", examples=np.flatnonzero(torn))
        return
    yield fault(
        "conflicting_labels",
        "A3",
        f"{told} ({percent(share)}).",
        "Look at them: keep one of each pair, or say what tells them apart.",
        row="DATA1",
        explains=("A2", "A6", "E11"),
        examples=np.flatnonzero(torn)[:50],
    )


def _across(facts: Facts, train: set[bytes], *, natural: bool, twins: float) -> Iterator[Finding]:
    """A4 and F2: validation examples that are in training; A5: nearly so.

    natural: rows repeat by chance; twins: share of training examples that have a twin in training.
    Where repeats are as common there, as short sequences have them, the split is not to blame.
    """
    held = _digests(facts.program.validation.inputs)  # pyright: ignore[reportOptionalMemberAccess]
    both = np.array([digest in train for digest in held.tolist()])
    share = float(both.mean())
    natural = natural or share < 2 * twins
    remedy = "Split before copying or augmenting, and put equal examples into one split."
    if share >= 0.9 and not natural:
        yield fault(
            "shared_examples",
            "F2",
            f"{percent(share)} of the validation examples are training examples.",
            "Judge by examples that were not trained on.",
            row="DATA1 DATA6",
            explains=("A4", "A5", "A6"),
        )
        return
    if share >= SHARED and both.sum() >= 3 and not natural:
        yield fault(
            "shared_examples",
            "A4",
            f"{int(both.sum())} of {len(held)} validation examples ({percent(share)}) are in "
            "training too.",
            remedy,
            row="DATA1 DATA6",
            explains=("A5", "A6", "F2"),
            examples=np.flatnonzero(both)[:50],
        )
        return
    yield healthy(
        "shared_examples",
        f"{int(both.sum())} validation examples are in training.",
        row="DATA1 DATA6",
    )
    yield from _near(facts, remedy)


def _near(facts: Facts, remedy: str) -> Iterator[Finding]:
    simple = facts.simple
    features, held = simple.features, simple.held_features
    if held is None or features.shape[1] < 4 or not facts.float_inputs:
        return
    finder = neighbors.NearestNeighbors(n_neighbors=2).fit(features)
    own = finder.kneighbors(features)[0][:, 1]
    other = finder.kneighbors(held, n_neighbors=1)[0][:, 0]
    usual = float(np.median(own))
    if usual == 0:
        return
    # In the inputs' own units as well, where noise on a column that hardly varies is small.
    raw, held_raw = (
        as_numpy(split.inputs).reshape(len(split.inputs), -1)
        for split in (facts.train, facts.validation)
    )
    finder = neighbors.NearestNeighbors(n_neighbors=2).fit(raw)
    raw_own = finder.kneighbors(raw)[0][:, 1]
    raw_other = finder.kneighbors(held_raw, n_neighbors=1)[0][:, 0]
    if float((raw_other < NEAR * np.median(raw_own)).mean()) > float((other < NEAR * usual).mean()):
        own, other, usual = raw_own, raw_other, float(np.median(raw_own))
    near, expected = float((other < NEAR * usual).mean()), float((own < NEAR * usual).mean())
    told = (
        f"{percent(near)} of the validation examples lie closer to a training example "
        f"than {NEAR:g} "
        f"times the usual distance; of training examples {percent(expected)}"
    )
    if near < NEAR_SHARE or near < 3 * expected + 0.02:
        # Copies on both sides make twins within training too: then most of both are near.
        yield healthy("near_examples", f"{told}.", row="DATA1 DATA6")
        return
    yield fault(
        "near_examples",
        "A5",
        f"{told}.",
        remedy,
        row="DATA1 DATA6",
        certainty="statistical",
        explains=("A13", "A6"),
        examples=np.flatnonzero(other < NEAR * usual)[:50],
    )


def by_chance(inputs: np.ndarray, repeats: int) -> bool:
    """Whether so many of these rows repeat because their columns take few values.

    Of two rows column j agrees with the chance sum(p_v^2) over its values v; columns that depend on
    each other agree together more often than the product says.
    """
    inputs = inputs.reshape(len(inputs), -1)
    agree = 0.0
    for column in inputs.T:
        share = np.unique(column, return_counts=True)[1] / len(column)
        # A column of quantities agrees with itself alone.
        agree += np.log(max(float((share**2).sum()) - 1 / len(column), 1e-12))
    expected = np.exp(agree) * len(inputs) * (len(inputs) - 1) / 2
    return bool(expected > max(NATURAL, 0.03 * repeats))


def _digests(inputs: np.ndarray) -> np.ndarray:
    if not len(inputs):
        raise NotGiven("there are no examples")
    flat = np.ascontiguousarray(inputs).reshape(len(inputs), -1)
    return np.array([hashlib.sha1(row.tobytes()).digest() for row in flat], dtype="S20")
