"""What simple models make of the same data: a ridge on the inputs, and the nearest neighbours.

They are quick, cannot be broken by the program, and tell whether there is anything to learn.
"""

from typing import Any, NamedTuple

import numpy as np
from sklearn import neighbors

from recipe_jax.probes.facts import Facts, NotGiven, as_numpy

MOST_FEATURES = 256
PERMUTATIONS = 1000
MOST_ANSWERS = 16
RIDGE = 1.0
NEIGHBOURS = 5


class Simple(NamedTuple):
    """Results of the simple models.

    p_value: of the ridge's score on examples left out, under permuted labels
    out_of_fold: (n,) skill of the better one on the training examples left out
    held_out: (m,) skill of the better one on validation; None without validation
    features, held_features: standardised, (n, d) and (m, d); columns that hardly vary beside the
        others stay small
    answers: (n, k) targets as the models see them: a column a class, values, or several answers of
        yes or no
    guesses: (n, k) the neighbours' answers, the example itself left out
    """

    p_value: float
    out_of_fold: np.ndarray
    held_out: np.ndarray | None
    features: np.ndarray
    held_features: np.ndarray | None
    answers: np.ndarray
    guesses: np.ndarray


def fit(facts: Facts) -> Simple:
    """Both models on the training examples. NotGiven where every token is a target of its own."""
    meaning = facts.meaning
    if meaning.tokens:
        raise NotGiven("every position of a sequence is a target of its own")
    if len(facts.train.inputs) < 8:
        raise NotGiven("there are fewer than 8 training examples")
    if meaning.kind == "classes" and _several(facts):
        raise NotGiven("an example has several labels")
    features, held = _features(facts)
    answers = _answers(facts, facts.train.targets)
    if not (np.isfinite(features).all() and np.isfinite(answers).all()):
        raise NotGiven("inputs or targets are not finite")
    left_out, smoother, leverage = _ridge(features, answers)
    guesses = _neighbours(features, features, answers, itself=True)
    skills = [_skill(facts, guess, facts.train.targets) for guess in (left_out, guesses)]
    held_out = None
    if held is not None and np.isfinite(held).all():
        targets = facts.validation.targets
        solved = _solve(features, answers)
        mean = answers.mean(0)
        held_out = max(
            _skill(facts, (held @ solved) + mean, targets),
            _skill(facts, _neighbours(features, held, answers, itself=False), targets),
            key=lambda skill: skill.mean(),
        )
    return Simple(
        _p_value(answers, smoother, leverage),
        max(skills, key=lambda skill: skill.mean()),
        held_out,
        features,
        held,
        answers,
        guesses,
    )


def _features(facts: Facts) -> tuple[np.ndarray, np.ndarray | None]:
    own = _flat(facts, facts.train.inputs)
    held = _flat(facts, facts.validation.inputs) if facts.has_validation else None
    with np.errstate(all="ignore"):
        mean, deviation = own.mean(0), own.std(0)
        keep = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-12)
        if not keep.any():
            raise NotGiven("no input varies")
        own = (own - mean)[:, keep] / deviation[keep]
        held = None if held is None else np.clip((held - mean)[:, keep] / deviation[keep], -20, 20)
        # A column that is nearly constant would be blown up: what it holds is chance.
        rare = np.abs(own).max(0)
        own, held = (
            own * np.minimum(1, 8 / rare),
            held if held is None else held * np.minimum(1, 8 / rare),
        )
    if own.shape[1] > MOST_FEATURES:
        random = np.random.default_rng(2).normal(size=(own.shape[1], MOST_FEATURES))
        random /= np.sqrt(own.shape[1])
        own, held = own @ random, None if held is None else held @ random
    return own, held


def _flat(facts: Facts, inputs: Any) -> np.ndarray:
    """One row of numbers an example; of tokens how often each occurs, and the last one."""
    values = as_numpy(inputs)
    if facts.float_inputs or values.ndim != 2 or values.shape[1] < 4:
        return values.reshape(len(values), -1).astype(np.float64)
    top = int(max(values.max(), facts.train.inputs.max())) + 1
    if top > 4096 or values.min() < 0:
        return values.astype(np.float64)
    counts = np.stack([np.bincount(row, minlength=top) for row in values])
    return counts.astype(np.float64)


def _several(facts: Facts) -> bool:
    """Whether an example has more than one label."""
    return facts.meaning.labels(facts.train.targets).size != len(facts.train.inputs)


def _answers(facts: Facts, targets: Any) -> np.ndarray:
    if facts.meaning.kind == "values" or _several(facts):
        return as_numpy(targets).reshape(len(targets), -1).astype(np.float64)
    labels = facts.meaning.labels(targets).ravel()
    width = max(int(labels.max()) + 1, len(facts.meaning.prior))
    return (labels[:, None] == np.arange(width)).astype(np.float64)


def _skill(facts: Facts, answers: np.ndarray, targets: Any) -> np.ndarray:
    """Skill of answers as `_answers` gives them (only which class is highest counts)."""
    meaning = facts.meaning
    if meaning.kind == "values":
        return meaning.skill(answers, targets, "values")
    if _several(facts):
        return meaning.skill(np.clip(answers, 1e-3, 1 - 1e-3), targets, "probabilities")
    labels = meaning.labels(targets).ravel()
    top = meaning.prior.max()
    return ((answers.argmax(-1) == labels) - top) / max(1 - top, 1e-6)


def _solve(features: np.ndarray, answers: np.ndarray) -> np.ndarray:
    penalty = RIDGE * np.eye(features.shape[1]) * np.sqrt(len(features))
    return np.linalg.solve(
        features.T @ features + penalty, features.T @ (answers - answers.mean(0))
    )


def _ridge(features: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(answers for examples left out, the smoother's matrix, its diagonal)."""
    penalty = RIDGE * np.eye(features.shape[1]) * np.sqrt(len(features))
    smoother = features @ np.linalg.solve(features.T @ features + penalty, features.T)
    smoother += 1 / len(features)
    leverage = np.minimum(np.diag(smoother), 0.999)[:, None]
    return (smoother @ answers - leverage * answers) / (1 - leverage), smoother, leverage


def _p_value(answers: np.ndarray, smoother: np.ndarray, leverage: np.ndarray) -> float:
    """Share of permutations of the labels that the ridge answers at least as well."""
    draw = np.random.default_rng(3)
    if answers.shape[1] > MOST_ANSWERS:
        answers = answers @ draw.normal(size=(answers.shape[1], MOST_ANSWERS))
    smoother = smoother.astype(np.float32)
    diagonal = leverage.astype(np.float32)

    def errors(several: np.ndarray) -> np.ndarray:
        """(n, permutations, k) -> squared error left out, of each permutation."""
        n, count, k = several.shape
        flat = several.reshape(n, -1)
        left_out = (smoother @ flat - diagonal * flat) / (1 - diagonal)
        return np.square(left_out - flat).reshape(n, count, k).mean((0, 2))

    own = float(errors(answers[:, None].astype(np.float32))[0])
    better, pieces = 0, 10
    for _ in range(pieces):
        orders = np.stack([draw.permutation(len(answers)) for _ in range(PERMUTATIONS // pieces)])
        several = answers[orders].astype(np.float32).transpose(1, 0, 2)
        better += int((errors(several) <= own * (1 + 1e-6)).sum())
    return (1 + better) / (1 + PERMUTATIONS)


def _neighbours(
    features: np.ndarray, asked: np.ndarray, answers: np.ndarray, *, itself: bool
) -> np.ndarray:
    """The mean answer of the nearest training examples, the example itself left out."""
    count = min(NEIGHBOURS + itself, len(features))
    found = neighbors.NearestNeighbors(n_neighbors=count).fit(features)
    places = found.kneighbors(asked, return_distance=False)
    if itself:
        places = np.array([[p for p in row if p != i][:NEIGHBOURS] for i, row in enumerate(places)])
    return answers[places].mean(1)


def of_held_out(facts: Facts) -> np.ndarray | None:
    """(m, k) the neighbours' answers for validation; None without validation."""
    held = facts.simple.held_features
    if held is None:
        return None
    return _neighbours(facts.simple.features, held, facts.simple.answers, itself=False)


def of_changed(facts: Facts, inputs: np.ndarray) -> float:
    """Mean skill of the neighbours for training examples whose inputs were changed, each itself
    among those that may be found."""
    own = _flat(facts, facts.train.inputs)
    scale = np.where(own.std(0) > 1e-6, own.std(0), 1.0)
    answers = facts.simple.answers
    guesses = _neighbours(own / scale, _flat(facts, inputs) / scale, answers, itself=False)
    return float(_skill(facts, guesses, facts.train.targets).mean())
