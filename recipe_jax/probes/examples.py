"""A task's examples as rows of numbers, and what neighbours and a linear model say of them.

Each is computed when the first check asks for it, and once.
"""

import functools
import warnings
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn import linear_model

from recipe_jax.probes import neighbours
from recipe_jax.probes.facts import NotGiven
from recipe_jax.types import Spec, Split, Task

MOST_TRAIN, MOST_HELD = 8000, 2000
"""Of more examples the first are looked at: splits stand in a fixed order in which every beginning
is a fair sample."""
LEAST = 20
NEIGHBOURS = 10
COMPONENTS = 50
FOLDS = 3
FARTHEST = 20.0


class Examples:
    """What checks of data ask of a task."""

    def __init__(self, task: Task):
        self.task = task

    @functools.cached_property
    def train(self) -> Split:
        """Training examples, each once also where small classes were oversampled."""
        split = self.task.train.first(2 * MOST_TRAIN)
        first = np.sort(np.unique([str(name) for name in split.ids], return_index=True)[1])
        return Split(*(each[first[:MOST_TRAIN]] for each in split))

    @functools.cached_property
    def validation(self) -> Split:
        """Validation examples."""
        return self.task.validation.first(MOST_HELD)

    @property
    def among(self) -> str:
        """Says, at the end of a sentence, where not all examples are looked at."""
        total, looked = len(self.task.train.targets), len(self.train.targets)
        return "" if total <= MOST_TRAIN else f", among the first {looked} of {total}"

    @property
    def classes(self) -> int:
        """How many; NotGiven where the target is no class."""
        if self.task.spec.kind != "classification":
            raise NotGiven("the target is no class")
        return self.task.spec.num_outputs

    @functools.cached_property
    def both(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and validation examples as rows of float32, on one scale."""
        if self.task.modality == "text":
            raise NotGiven("examples are windows of one text")
        return comparable(
            self.train.inputs, self.validation.inputs, by_column=self.task.modality == "table"
        )

    @functools.cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Training examples of a table column by column in their own units: float64 with NaN for
        missing, or objects. NotGiven where examples are no table."""
        if self.task.modality != "table":
            raise NotGiven("examples are no table")
        return table_columns(self.task, self.train.inputs)

    @functools.cached_property
    def near(self) -> neighbours.Nearest:
        """Of each training example its nearest others."""
        rows = self.both[0]
        if len(rows) < LEAST:
            raise NotGiven(f"there are fewer than {LEAST} training examples")
        return neighbours.nearest(rows, rows, NEIGHBOURS, itself=True)

    @functools.cached_property
    def held_near(self) -> neighbours.Nearest:
        """Of each validation example the nearest training examples."""
        return neighbours.nearest(*self.both, NEIGHBOURS)

    @functools.cached_property
    def answers(self) -> Float[np.ndarray, "train answers"]:
        """Training targets: a column a class, or standardised values."""
        targets = self.train.targets
        if self.task.spec.kind == "classification":
            return np.eye(self.classes, dtype=np.float32)[targets]
        return np.asarray(targets, np.float32)

    @functools.cached_property
    def by_neighbours(self) -> Float[np.ndarray, "train answers"]:
        """The mean answer of the neighbours; the example itself is not among them."""
        return self.answers[self.near.places].mean(1)

    @functools.cached_property
    def by_line(self) -> Float[np.ndarray, "train answers"]:
        """Out of fold: class probabilities of a logistic regression, or values of a ridge, on the
        leading principal components."""
        return out_of_fold(components(self.both[0]), self.train.targets, self.answers)


def table_columns(task: Task, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of a table as columns by name, in their own units."""
    raw = task.encoder.decode(inputs)
    if not isinstance(raw, Mapping):
        names = task.feature_names or tuple(f"feature {i}" for i in range(raw.shape[1]))
        raw = dict(zip(names, np.asarray(raw, np.float64).T))
    return {name: each if each.dtype == object else _as_read(each) for name, each in raw.items()}


def column_places(task: Task) -> dict[str, list[int]]:
    """Which inputs of a table each of its columns gives, by the name of the column."""
    columns = getattr(task.encoder, "columns", None)
    if columns is None:
        names = task.feature_names or [f"feature {i}" for i in range(task.spec.input_shape[0])]
        return {name: [i] for i, name in enumerate(names)}
    ends = np.cumsum([len(column.feature_names) for column in columns]).tolist()
    return {
        column.name: list(range(end - len(column.feature_names), end))
        for column, end in zip(columns, ends)
    }


def _as_read(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Without the digits that float32 made up: whole numbers are whole again."""
    largest = np.max(np.abs(values), where=np.isfinite(values), initial=0.0)
    if not 1e-290 < largest < 1e290:
        return values
    return np.round(values, int(6 - np.ceil(np.log10(largest))))


def comparable(
    own: np.ndarray, held: np.ndarray, *, by_column: bool
) -> tuple[Float[np.ndarray, "own features"], Float[np.ndarray, "held features"]]:
    """Rows of float32 on the scale of `own`: of all numbers together, or column by column.

    What is not finite is 0, which another check tells. A column that hardly ever varies would be
    blown up by its own scale: its rare values are held back. NotGiven where nothing varies.
    """
    flat, other = (
        np.nan_to_num(each.reshape(len(each), -1).astype(np.float64), posinf=0.0, neginf=0.0)
        for each in (own, held)
    )
    mean = flat.mean(0) if by_column else flat.mean()
    deviation = flat.std(0) if by_column else np.full(flat.shape[1], flat.std())
    keep = deviation > 1e-9 * np.maximum(np.abs(mean), 1e-12)
    if not keep.any():
        raise NotGiven("no input varies")
    scaled = [((each - mean)[:, keep] / deviation[keep]) for each in (flat, other)]
    if by_column:
        rare = np.maximum(np.abs(scaled[0]).max(0), 1e-12)
        scaled = [each * np.minimum(1.0, 8.0 / rare) for each in scaled]
    clipped = [np.clip(each, -FARTHEST, FARTHEST).astype(np.float32) for each in scaled]
    return neighbours.narrowed(clipped[0]), neighbours.narrowed(clipped[1])


def components(rows: Float[np.ndarray, "rows features"]) -> Float[np.ndarray, "rows components"]:
    """The leading principal components, on one scale."""
    centred = rows - rows.mean(0)
    if centred.shape[1] > COMPONENTS:
        _, vectors = np.linalg.eigh(centred.T @ centred)
        # A vector's sign is free: fixed here, so that it is the same everywhere.
        vectors = vectors[:, ::-1][:, :COMPONENTS]
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(COMPONENTS)])
        centred = centred @ vectors
    return centred / max(float(centred.std()), 1e-12)


def folds(count: int) -> list[tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]]:
    """(trained on, left out), by chance and always the same way."""
    part = np.random.default_rng(7).permutation(count) % FOLDS
    return [(part != fold, part == fold) for fold in range(FOLDS)]


def out_of_fold(
    rows: Float[np.ndarray, "n components"],
    targets: np.ndarray,
    answers: Float[np.ndarray, "n answers"],
) -> Float[np.ndarray, "n answers"]:
    """What a linear model that did not see an example answers for it."""
    found = np.zeros(answers.shape, np.float32)
    for trained, left_out in folds(len(rows)):
        if targets.ndim == 1:
            found[left_out] = chances(
                rows[trained], targets[trained], rows[left_out], answers.shape[1]
            )
        else:
            line = linear_model.Ridge(alpha=1.0).fit(rows[trained], answers[trained])
            found[left_out] = np.reshape(line.predict(rows[left_out]), (-1, answers.shape[1]))
    return found


def chances(
    rows: Float[np.ndarray, "n features"],
    labels: Int[np.ndarray, " n"],
    asked: Float[np.ndarray, "asked features"],
    classes: int,
    *,
    weights: str | None = None,
) -> Float[np.ndarray, "asked classes"]:
    """Class probabilities of a logistic regression; weights: "balanced" or none."""
    found = np.zeros((len(asked), classes), np.float32)
    there = np.unique(labels)
    if len(there) == 1:
        found[:, there[0]] = 1.0
        return found
    with warnings.catch_warnings():
        # One that has not converged still has an opinion.
        warnings.simplefilter("ignore")
        line = linear_model.LogisticRegression(max_iter=60, tol=1e-2, class_weight=weights)
        found[:, there] = line.fit(rows, labels).predict_proba(asked)
    return found


def right_of(spec: Spec, guesses: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of every example: 1 where the class is right; of quantities what is explained, so that the
    mean is r2."""
    if spec.kind == "classification":
        return (guesses.argmax(1) == targets).astype(float)
    spread = float(np.square(targets - targets.mean(0)).mean())
    return 1.0 - np.square(guesses - targets).mean(1) / max(spread, 1e-12)


def by_constant(spec: Spec, targets: np.ndarray) -> float:
    """What the best constant reaches."""
    if spec.kind != "classification":
        return 0.0
    return float(np.bincount(targets).max() / len(targets))
