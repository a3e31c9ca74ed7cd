"""What targets and outputs mean: classes, one probability, or values; and how good outputs are."""

from typing import Any, NamedTuple

import numpy as np
from scipy import special

from recipe_jax.types import Arrays

CERTAIN = 12.0
"""Logits of a perfect prediction: high enough that what is left of a cross entropy is nothing."""
CAUTION = 0.05
"""So much of the prior is mixed into every prediction before it is scored: one example that was
certain and wrong does not outweigh all others."""
FEW = 8
"""So many values of an example are quantities of their own; more are one picture or series."""


class Meaning(NamedTuple):
    """How outputs answer targets.

    kind: "classes" (targets are class numbers, or rows with a one at the class; outputs have an
    axis of classes last), "binary" (one output for two classes) or "values" (outputs and targets
    are quantities)
    classes: how many outputs stand for classes; for "values" how many values an example has
    prior: frequencies of the classes in training; for "values" the mean of each
    variance: for "values", of each
    tokens: every position of a sequence has a target
    yes: of several answers of yes or no, how often each is yes in training, in the order of one
        example's targets; else empty
    """

    kind: str
    classes: int
    prior: np.ndarray
    variance: np.ndarray
    tokens: bool
    yes: np.ndarray = np.zeros(0)

    @property
    def deviation(self) -> np.ndarray:
        """(values,) standard deviations; of many values, as the pixels of an image are, that of all
        of them together, since some hardly vary."""
        if len(self.variance) <= FEW:
            return np.sqrt(self.variance)
        return np.full(len(self.variance), np.sqrt(self.variance.mean()))

    def away(self, means: Any) -> float:
        """How many deviations these means are from those of the targets; of few values the worst,
        of many the root mean square."""
        off = np.abs(means - self.prior) / self.deviation
        return float(off.max() if len(self.variance) <= FEW else np.sqrt(np.mean(off**2)))

    def labels(self, targets: Any) -> np.ndarray:
        """Class numbers; negative where nothing is asked."""
        targets = np.asarray(targets)
        if self.kind == "classes" and targets.dtype.kind not in "biu":
            if targets.ndim >= 2 and targets.shape[-1] == self.classes:
                return targets.argmax(-1)
            return np.round(targets).astype(np.int64).reshape(targets.shape)
        wide = targets.ndim >= 2 and targets.shape[-1] == self.classes and not self.tokens
        if self.kind == "classes" and wide and (targets.sum(-1) == 1).all():
            return targets.argmax(-1)
        if self.kind == "binary":
            return np.round(targets.astype(np.float64)).astype(np.int64).ravel()
        if not self.tokens and targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        return targets.astype(np.int64)

    def form(self, several: list[np.ndarray]) -> str:
        """What outputs are, by those of several sets of weights."""
        if self.kind == "values":
            return "values"
        several = [each[np.isfinite(each)] if self.kind == "binary" else each for each in several]
        if self.kind == "binary":
            inside = all(((each >= 0) & (each <= 1)).all() for each in several)
            return "probabilities" if inside else "logits"
        if all(_on_simplex(each) for each in several):
            return "probabilities"
        if all(_normalised(each) for each in several):
            return "log probabilities"
        return "logits"

    def perfect(self, targets: Any, form: str, shape: tuple[int, ...]) -> np.ndarray:
        """The outputs, of this shape, of a program that knows the answer."""
        targets = np.asarray(targets)
        if self.kind == "values":
            return targets.astype(np.float32).reshape(shape)
        sure = special.expit(CERTAIN)
        if self.kind == "binary":
            right = self.labels(targets).reshape(shape)
            chance = np.where(right == 1, sure, 1 - sure)
            return (special.logit(chance) if form == "logits" else chance).astype(np.float32)
        labels = self.labels(targets)
        right = np.arange(shape[-1]) == np.maximum(labels, 0)[..., None]
        return self.of_probabilities(np.where(right, sure, (1 - sure) / (shape[-1] - 1)), form)

    def of_probabilities(self, chances: np.ndarray, form: str) -> np.ndarray:
        """Outputs of this form that say these probabilities."""
        if form == "probabilities":
            return chances.astype(np.float32)
        logs = np.log(chances)
        if form == "logits" and self.kind == "binary":
            logs = special.logit(chances)
        elif form == "logits":
            logs = logs - logs.mean(-1, keepdims=True)
        return logs.astype(np.float32)

    def chances(self, outputs: np.ndarray, form: str) -> np.ndarray:
        """Probabilities of all classes, last axis; of "binary" outputs both."""
        outputs = np.asarray(outputs, np.float64)
        if self.kind == "binary":
            one = outputs.ravel()
            one = one if form == "probabilities" else special.expit(one)
            return np.stack([1 - one, one], axis=-1)
        if form == "probabilities":
            return outputs
        return special.softmax(outputs, axis=-1)

    def skill(self, outputs: Any, targets: Any, form: str) -> np.ndarray:
        """How good each answer is: 0 for the constant that fits training best, 1 for perfect.

        Of classes the better one, on average, of two scores: share of right answers beyond the
        commonest class, and log probability beyond the prior. Of values how much smaller the
        squared error is than that of the mean of training, over the mean of the latter.
        Outputs that are not finite are as bad as a wrong answer can be.
        """
        outputs = np.asarray(outputs, np.float64)
        if self.kind == "values":
            targets = np.asarray(targets, np.float64)
            targets = targets.reshape(len(targets), -1)
            with np.errstate(over="ignore", invalid="ignore"):
                error = np.square(outputs.reshape(targets.shape) - targets)
            error = np.where(np.isfinite(error), error, np.inf)
            # Every quantity in its own deviations, but those that hardly vary.
            weight = 1 / np.maximum(self.variance, 1e-2 * self.variance.max())
            # Against the constant example by example: what both find hard is no noise then.
            constant = (np.square(self.prior - targets) * weight).sum(-1)
            with np.errstate(invalid="ignore"):
                gained = (constant - (error * weight).sum(-1)) / max(float(constant.mean()), 1e-12)
            return np.maximum(gained, -10.0)
        labels = self.labels(targets).ravel()
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            chances = self.chances(outputs, form).reshape(len(labels), -1)
        if self.yes.size:
            return self._yes_or_no(chances, labels)
        width = max(chances.shape[-1], len(self.prior))
        chances = np.pad(chances, ((0, 0), (0, width - chances.shape[-1])))
        prior = np.pad(self.prior, (0, width - len(self.prior)))
        asked = (labels >= 0) & (labels < width)
        labels, chances = labels[asked], chances[asked]
        sound = np.asarray(np.isfinite(chances).all(-1, keepdims=True))
        chances = np.where(sound, np.clip(chances, 0, 1), 0.0)
        right = (chances.argmax(-1) == labels) & sound[:, 0]
        top = prior.max()
        by_class = (right - top) / max(1 - top, 1e-6)
        mixed = (1 - CAUTION) * chances[range(len(labels)), labels] + CAUTION * prior[labels]
        floor = CAUTION * np.maximum(prior[labels], 1e-3)
        told = np.log(np.maximum(mixed, floor)) - np.log(np.maximum(prior[labels], 1e-3))
        by_chance = told / max(special.entr(prior).sum(), 1e-6)
        return by_class if by_class.mean() > by_chance.mean() else by_chance

    def _yes_or_no(self, chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The same for several answers, each beside its own frequency."""
        often = np.resize(self.yes, len(labels))
        prior = np.where(labels == 1, often, 1 - often)
        top = np.maximum(often, 1 - often)
        sound = np.isfinite(chances).all(-1)
        told = np.where(sound, chances[range(len(labels)), np.clip(labels, 0, 1)], 0.0)
        right = (chances.argmax(-1) == labels) & sound
        by_class = (right - top) / max(float(1 - top.mean()), 1e-6)
        prior = np.maximum(prior, 1e-3)
        mixed = np.maximum((1 - CAUTION) * told + CAUTION * prior, CAUTION * prior)
        entropy = float((special.entr(often) + special.entr(1 - often)).mean())
        by_chance = (np.log(mixed) - np.log(prior)) / max(entropy, 1e-6)
        return by_class if by_class.mean() > by_chance.mean() else by_chance


def read(train: Arrays, shape: tuple[int, ...] | None, task: str | None) -> Meaning | None:
    """The meaning of targets, given the shape of the outputs for a batch and what was declared."""
    targets = np.asarray(train.targets)
    floats = targets.dtype.kind not in "biu"
    values = targets.astype(np.float64) if floats else targets
    per_example = int(np.prod(shape[1:])) if shape is not None else None
    same = shape is not None and shape[1:] == targets.shape[1:]
    fits = per_example is None or per_example == int(np.prod(targets.shape[1:]))
    two = bool(np.isin(values, (0, 1)).all())
    if task == "regression" or (task is None and floats and not two):
        simplex = (
            task is None
            and same
            and targets.ndim >= 2
            and targets.shape[-1] > 1
            and _on_simplex(values)
        )
        if not simplex:
            # Weights beside the targets, or outputs that say more than a value, are the loss's own.
            return _values(values) if fits else None
    if task is None and not floats and same and not two and per_example == 1:
        return _values(values.astype(np.float64))
    one_column = targets.size == len(targets)
    if one_column and (per_example == 1 or (shape is None and two)):
        if two:
            share = float(values.mean())
            return Meaning("binary", 2, np.array([1 - share, share]), np.ones(1), tokens=False)
        if per_example == 1 and task is None:
            return _values(values.astype(np.float64))
    hot = targets.ndim >= 2 and targets.shape[-1] > 1 and _on_simplex(values.astype(np.float64))
    if hot and task != "next_token":
        prior = values.reshape(-1, values.shape[-1]).mean(0)
        return Meaning("classes", values.shape[-1], prior, np.ones(1), tokens=targets.ndim > 2)
    if two and same and targets.ndim >= 2 and targets.shape[-1] > 1 and task != "next_token":
        share = float(values.mean())  # several independent answers of yes or no
        prior, yes = np.array([1 - share, share]), values.reshape(len(values), -1).mean(0)
        return Meaning("binary", 2, prior, np.ones(1), tokens=False, yes=yes)
    if floats and not np.array_equal(values, np.round(values)):
        return None
    if shape is not None and len(shape) < 2:
        return None
    labels = np.round(values).astype(np.int64)
    tokens = targets.ndim >= 2 and targets.shape[-1] > 1
    known = labels[labels >= 0]
    if not known.size:
        return None
    classes = shape[-1] if shape is not None else int(known.max()) + 1
    counts = np.bincount(np.minimum(known, max(classes, int(known.max()) + 1) - 1))
    return Meaning("classes", int(classes), counts / counts.sum(), np.ones(1), tokens=tokens)


def _values(values: np.ndarray) -> Meaning:
    flat = values.reshape(len(values), -1)
    with np.errstate(all="ignore"):
        mean, variance = np.nanmean(flat, 0), np.maximum(np.nanvar(flat, 0), 1e-12)
    return Meaning("values", flat.shape[1], mean, variance, tokens=False)


def _on_simplex(outputs: np.ndarray) -> bool:
    """Rows of numbers from 0 to 1 that sum to 1."""
    if outputs.ndim < 2 or outputs.shape[-1] < 2:
        return False
    with np.errstate(invalid="ignore"):
        inside = (outputs >= -1e-6).all() and (outputs <= 1 + 1e-6).all()
    return bool(inside and np.abs(outputs.sum(-1) - 1).max() < 2e-2)


def _normalised(outputs: np.ndarray) -> bool:
    """Rows of logarithms of numbers that sum to 1."""
    if outputs.ndim < 2 or outputs.shape[-1] < 2 or (outputs > 1e-3).any():
        return False
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.abs(special.logsumexp(outputs, axis=-1)).max() < 2e-2)
