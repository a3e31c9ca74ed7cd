"""What do the rare classes lose, and what would weighing them give?"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from recipe_jax.probes.examples import Examples, chances, components
from recipe_jax.probes.facts import NotGiven
from recipe_jax.types import Finding, Status

UNEVEN = 0.4
LEAST = 20


def look(examples: Examples) -> Iterator[Finding]:
    """Only where the rarest class has less than 0.4 of the commonest: the recall of every class by
    a logistic regression on validation, with and without weights."""
    task = examples.task
    if task.spec.kind != "classification" or task.modality == "text":
        return
    names = [str(name) for name in task.train.ids]
    first = np.unique(names, return_index=True)[1]
    counts = np.bincount(task.train.targets[first], minlength=task.spec.num_outputs)
    if counts.min() >= UNEVEN * counts.max():
        return
    rows, held = examples.both
    if len(rows) < LEAST or len(held) < LEAST:
        raise NotGiven(f"a split has fewer than {LEAST} examples")
    both = components(np.concatenate([rows, held]))
    targets, labels = examples.validation.targets, examples.train.targets
    found = [
        chances(both[: len(rows)], labels, both[len(rows) :], len(counts), weights=weights)
        for weights in (None, "balanced")
    ]
    recalls = [recall(each.argmax(1), targets, len(counts)) for each in found]
    accuracy = [float((each.argmax(1) == targets).mean()) for each in found]
    majority = float(np.bincount(targets, minlength=len(counts))[counts.argmax()] / len(targets))
    rare, common = int(counts.argmin()), int(counts.argmax())
    plain, weighed = (float(np.nanmean(each)) for each in recalls)
    yield Finding(
        check="balance_effect",
        row="DATA9",
        status=Status.PASS,
        summary=f"{task.class_names[common]!r} has {counts[common]} training examples, "
        f"{task.class_names[rare]!r} {counts[rare]}: always saying the first is right in "
        f"{majority:.1%} of validation. A logistic regression recalls {plain:.1%} of a class on "
        f"average and is right in {accuracy[0]:.1%}; with classes weighed evenly {weighed:.1%} and "
        f"{accuracy[1]:.1%}.",
        remedy="Weighing helps the rare classes: try --config.data.balance=weights "
        "(or batch, or oversample) where they matter more than the share of right answers."
        if weighed > plain + 0.01
        else "",
        evidence={
            "classes": list(task.class_names),
            "counts": counts,
            "plain": recalls[0],
            "weighed": recalls[1],
            "majority": majority,
        },
    )


def recall(
    guessed: Int[np.ndarray, " n"], targets: Int[np.ndarray, " n"], classes: int
) -> Float[np.ndarray, " classes"]:
    """Of every class the share that is recognised; NaN where there is none of it."""
    right = np.bincount(targets[guessed == targets], minlength=classes)
    there = np.bincount(targets, minlength=classes)
    return np.where(there > 0, right / np.maximum(there, 1), np.nan)
