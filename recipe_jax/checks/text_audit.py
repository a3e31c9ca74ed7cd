"""What a text looks like: windows as they are read, how often each symbol occurs, repetitions."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from recipe_jax.types import Finding, Split, Status, Task, judge

SHOWN = 8
MOST_REPEATED = 0.05
"""Up to this share of validation windows that stand in training too, nothing is wrong."""


def audit(task: Task) -> Iterator[Finding]:
    """All that is asked of a text before training."""
    yield samples(task)
    yield symbol_counts(task)
    yield repeated_passages(task)
    yield network_input(task)
    yield fixed(task)


def fixed(task: Task) -> Finding:
    """Validation is a part of the text that no seed moves: runs that have its name can be
    compared."""
    first, last = task.validation.ids[0], task.validation.ids[-1]
    return Finding(
        check="fixed_validation",
        row="DATA6 DATA11",
        status=Status.PASS,
        summary=f"The data are {task.fingerprint[:12]}: validation is the text from "
        f"{task.encoder.unit} {first} to the window at {last}, after training and before test, "
        "whatever the seed; no window crosses a border.",
        evidence={
            "held": f"from {first} to the window at {last}",
            "data": task.fingerprint,
            "first": [str(name) for name in task.validation.ids[:12]],
        },
    )


def samples(task: Task) -> Finding:
    """Windows from all over the training text, as a person reads them."""
    count = len(task.train.inputs)
    chosen = np.unique(np.linspace(0, count - 1, min(SHOWN, count)).astype(int))
    return Finding(
        check="samples",
        row="DATA1",
        status=Status.PASS,
        summary=f"{len(chosen)} of the {count} training windows of {task.spec.input_shape[0]}.",
        evidence=picture(task, task.train, chosen),
    )


def symbol_counts(task: Task) -> Finding:
    """How often each symbol is asked for in training and in validation, the commonest first."""
    tokens = task.spec.num_outputs
    train, validation = (
        np.bincount(split.targets[split.targets >= 0], minlength=tokens)
        for split in (task.train, task.validation)
    )
    order = np.argsort(-train, kind="stable")
    order = order[(train + validation)[order] > 0]
    rare = int((train[order] < 10).sum())
    entropy = -np.sum(train[train > 0] / train.sum() * np.log(train[train > 0] / train.sum()))
    return Finding(
        check="class_counts",
        row="DATA1 DATA9",
        status=Status.PASS,
        summary=f"{len(order)} different symbols among {train.sum()} of training; the commonest, "
        f"{task.class_names[order[0]]!r}, is {train[order[0]] / train.sum():.1%} of them, {rare} "
        f"occur less than ten times; one alone tells {entropy:.3f} nats.",
        evidence={
            "classes": [task.class_names[i] for i in order],
            "train": train[order],
            "validation": validation[order],
        },
    )


def repeated_passages(task: Task) -> Finding:
    """Validation windows that stand in the training text too, at any place of it."""
    whole = (task.validation.targets >= 0).all(1)
    windows = task.validation.inputs[whole]
    stream = np.append(task.train.inputs.ravel(), task.train.targets[-1, -1])
    repeated = _occurs(windows, stream)
    share = float(repeated.mean()) if len(repeated) else 0.0
    where = task.validation.ids[whole][repeated][:20]
    return judge(
        share <= MOST_REPEATED,
        f"{int(repeated.sum())} of {len(windows)} validation windows ({share:.1%}) stand word for "
        "word in the training text.",
        otherwise=Status.WARN,
        check="duplicates",
        row="DATA1 DATA6",
        fault="A4",
        remedy="The score on validation is flattered: take repeated passages out of the text.",
        evidence={
            "across_splits": int(repeated.sum()),
            "share": share,
            "pairs": [[str(place)] for place in where],
        },
    )


def network_input(task: Task) -> Finding:
    """The numbers right before the network beside the text that they were made of; every target
    must be the input one place later."""
    inputs, targets = task.train.inputs, task.train.targets
    tokens = task.spec.num_outputs
    shifted = bool((inputs[:, 1:] == targets[:, :-1]).all())
    inside = bool(inputs.min() >= 0 and inputs.max() < tokens and targets.max() < tokens)
    first = inputs[0, :24]
    return judge(
        shifted and inside,
        f"What enters the network are {inputs.shape[1]} numbers from {inputs.min()} to "
        f"{inputs.max()}, of {tokens}; each target is "
        + ("the input one place later." if shifted else "NOT the input one place later."),
        check="network_input",
        row="SKEL8 DATA3",
        fault="B1",
        remedy="Inputs and targets are not aligned: look at how windows are cut.",
        evidence={
            "kind": "table",
            "columns": [task.class_names[token] for token in first],
            "entered": [first, targets[0, :24]],
        },
    )


def picture(task: Task, split: Split, chosen: np.ndarray) -> dict[str, Any]:
    """Windows as text: what was read, and what was asked after it."""
    return {
        "kind": "text",
        "texts": [shown(task, split.inputs[i], split.targets[i]) for i in chosen],
        "labels": [asked(task, split.targets[i]) for i in chosen],
        "ids": [str(name) for name in split.ids[chosen]],
    }


def shown(task: Task, inputs: np.ndarray, targets: np.ndarray) -> str:
    """The inputs of a window, without what fills it up."""
    return task.encoder.decode(inputs[targets >= 0])


def asked(task: Task, targets: np.ndarray) -> str:
    """The text that the targets of a window spell."""
    return task.encoder.decode(targets[targets >= 0])


def _occurs(
    windows: Int[np.ndarray, "windows window"], stream: Int[np.ndarray, " length"]
) -> Bool[np.ndarray, " windows"]:
    """Whether each window is a run of the stream, by a polynomial hash of 64 bits."""
    window = windows.shape[1]
    if len(stream) < window:
        return np.zeros(len(windows), bool)

    def add(hashed: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return hashed * np.uint64(0x9E3779B97F4A7C15) + tokens.astype(np.uint64) + np.uint64(1)

    runs = np.zeros(len(stream) - window + 1, np.uint64)
    wanted = np.zeros(len(windows), np.uint64)
    for place in range(window):
        runs = add(runs, stream[place : place + len(runs)])
        wanted = add(wanted, windows[:, place])
    return np.isin(wanted, runs)
