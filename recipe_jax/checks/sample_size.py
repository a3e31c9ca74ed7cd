"""How much of the data is trained on, and what would less of it cost?"""

from collections.abc import Iterator

import numpy as np
from sklearn import linear_model

from recipe_jax.probes import neighbours
from recipe_jax.probes.examples import (
    Examples,
    by_constant,
    components,
    right_of,
)
from recipe_jax.probes.facts import NotGiven
from recipe_jax.types import Finding, Status

PARTS = (0.125, 0.25, 0.5, 1.0)
LEAST, NEIGHBOURS = 20, 5


def look(examples: Examples) -> Iterator[Finding]:
    """Simple models on the beginnings of the training split, which are fair samples of it: the
    better of neighbours and a ridge regression, judged on validation."""
    task = examples.task
    rows, held = examples.both
    if len(rows) < 2 * LEAST or len(held) < LEAST:
        raise NotGiven(f"a smaller sample would have fewer than {LEAST} examples")
    sizes = sorted({max(LEAST, round(part * len(rows))) for part in PARTS})
    scores = [_score(examples, size) for size in sizes]
    measure = "accuracy" if task.spec.kind == "classification" else "r2"
    half = sizes.index(round(0.5 * len(rows))) if round(0.5 * len(rows)) in sizes else -2
    told = (
        f"Simple models reach a validation {measure} of {scores[-1]:.3g} with all of them, "
        f"{scores[half]:.3g} with {sizes[half]}, {scores[0]:.3g} with {sizes[0]}"
    )
    yield Finding(
        check="sample_size",
        row="DATA8 REG1",
        status=Status.PASS,
        summary=f"{_used(examples)}. {told}.",
        remedy=f"To search faster, at a cost of {scores[-1] - scores[half]:.2g} to simple models: "
        "--config.data.fraction=0.5."
        if scores[-1] > scores[half]
        else "To search faster, at no cost to simple models: --config.data.fraction=0.5.",
        evidence={
            "sizes": sizes,
            "scores": scores,
            "measure": measure,
            "chance": by_constant(task.spec, examples.validation.targets),
        },
    )


def _used(examples: Examples) -> str:
    """How many of the examples that were read take part."""
    task = examples.task
    train = len({str(name) for name in task.train.ids})
    used = train + len(task.validation.targets) + task.test.num_examples
    if task.available in (0, used):
        return f"All examples take part, {train} of them in training"
    return (
        f"{used} of {task.available} examples take part ({used / task.available:.0%}), {train} of "
        "them in training; the rest is left out by data.fraction, data.classes, "
        "data.class_fractions or data.max_examples"
    )


def _score(examples: Examples, size: int) -> float:
    (rows, held), answers = examples.both, examples.answers[:size]
    found = neighbours.nearest(rows[:size], held, NEIGHBOURS)
    both = components(np.concatenate([rows, held]))
    line = linear_model.Ridge(alpha=1.0).fit(both[:size], answers)
    guesses = (answers[found.places].mean(1), line.predict(both[len(rows) :]))
    spec, targets = examples.task.spec, examples.validation.targets
    return max(
        float(right_of(spec, each.reshape(-1, answers.shape[1]), targets).mean())
        for each in guesses
    )
