"""What a group measured as lines of metrics.jsonl.

A sweep writes hundreds of thousands of them, so what a line shares with its neighbours is turned
into text once.
"""

import json
from collections.abc import Iterator, Mapping

import numpy as np

from recipe_jax import writers
from recipe_jax.app.groups import Curves, Group

SPLITS = ("train", "validation")


def of_curves(
    group: Group, curves: Curves, place: Mapping[str, str], first: int, num_examples: int
) -> Iterator[str]:
    """A line for every look from look `first` on, every lane that still trains, and both splits.

    place: what all lines begin with, stage and request; num_examples: of an epoch.
    """
    per = group.kind.length.steps_per_round
    front = writers.to_json(place)[:-1]
    begins = [f'{front}, "trial": {json.dumps(trial.uid)}' for trial in group.trials]
    named = {
        split: [
            (f', "{name.removeprefix(split + "/")}": ', _numbers(history[:, first:]))
            for name, history in curves.history.items()
            if name.startswith(split + "/")
        ]
        for split in SPLITS
    }
    named["train"] += [
        (f', "{name}": ', column) for name, column in _of_steps(curves, per, first).items()
    ]
    for look in range(first, curves.rounds + 1):
        step = look * per
        epoch = round(step * group.kind.batch_size / num_examples, 6)
        middles = {
            split: f', "step": {step}, "epoch": {json.dumps(epoch)}, "split": "{split}"'
            for split in SPLITS
        }
        for lane, begin in enumerate(begins):
            if look and curves.stopped[lane, look - 1]:
                continue
            for split, middle in middles.items():
                told = "".join(
                    name + column[lane][look - first]
                    for name, column in named[split]
                    if column[lane][look - first]
                )
                yield f"{begin}{middle}{told}}}\n"


def _of_steps(curves: Curves, per: int, first: int) -> dict[str, list[list[str]]]:
    """What the steps before each look measured, as JSON (lanes, looks); before the first look there
    are none, and nothing is said."""
    lanes, skipped = len(curves.losses), max(0, first - 1)
    taken = curves.losses[:, skipped * per :].reshape(lanes, -1, per)
    with np.errstate(over="ignore", invalid="ignore"):
        # In order, one by one: numpy's own mean rounds as the array lies in memory.
        means = (np.cumsum(taken, axis=2, dtype=np.float64)[:, :, -1] / per).astype(np.float32)
    none_yet = [] if first else [""]
    return {
        "batch_loss": [[*none_yet, *row] for row in _numbers(means)],
        "grad_norm": [[*none_yet, *row] for row in _numbers(curves.grad_norms[:, skipped:])],
    }


def _numbers(array: np.ndarray) -> list[list[str]]:
    """Numbers as JSON; null where there is none."""
    return [
        [repr(value) if finite else "null" for value, finite in zip(row, kept)]
        for row, kept in zip(array.astype(np.float64).tolist(), np.isfinite(array).tolist())
    ]
