"""How are examples split, and does it stay so?"""

from collections.abc import Iterator

import numpy as np

from recipe_jax.checks import data_audit
from recipe_jax.probes.examples import Examples
from recipe_jax.types import Finding, Status, Task, judge


def look(examples: Examples) -> Iterator[Finding]:
    """Sizes and strata of the splits, and the name of the validation split."""
    yield sizes(examples.task)
    yield fixed(examples.task)


def sizes(task: Task) -> Finding:
    """How many examples each split has, none in two of them; classes, or tenths of the quantity,
    have the same shares in training and in validation as far as whole examples allow."""
    names = [{str(name) for name in split.ids} for split in (task.train, task.validation)]
    twice = len(names[0] & names[1])
    counts = {"train": len(names[0]), "validation": len(names[1]), "test": task.test.num_examples}
    strata, table = _strata(task)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    apart = float(np.abs(shares[0] - shares[1]).max())
    # Rounding moves half an example of a stratum, on top of what oversampling repeats.
    told = (
        f"{counts['train']} training, {counts['validation']} validation and {counts['test']} test "
        f"examples; {twice} stand in two splits; the shares of {len(strata)} "
        + ("classes" if task.spec.kind == "classification" else "parts of the target's range")
        + f" differ by at most {apart:.1%} between training and validation"
    )
    return judge(
        not twice,
        f"{told}.",
        check="splits",
        row="DATA6",
        fault="A4",
        remedy="An example is in training and in validation: split anew.",
        evidence={
            "names": list(counts),
            "counts": list(counts.values()),
            "strata": strata,
            "shares": {"train": shares[0], "validation": shares[1]},
        },
    )


def fixed(task: Task) -> Finding:
    """The validation split has a name made of its content: runs that have the same one can be
    compared."""
    named = task.held_fingerprint or task.fingerprint
    return Finding(
        check="fixed_validation",
        row="DATA11",
        status=Status.PASS,
        summary=f"What is held out has the name {named[:12]}: its {len(task.validation.targets)} "
        f"validation and {task.test.num_examples} test examples {_chosen(task)}, whatever the "
        "order of the file and the seed of the training; runs with this name are compared on the "
        "same examples.",
        evidence={
            "held": named,
            "data": task.fingerprint,
            "first": [str(name) for name in task.validation.ids[:12]],
        },
    )


def _chosen(task: Task) -> str:
    """How those held out were chosen."""
    return {
        "hash": "were chosen by the hash of their content",
        "group": f"were chosen by the hash of their {task.split_by!r}, all of one together",
        "order": f"are the last by {task.split_by!r}",
    }[task.split]


def _strata(task: Task) -> tuple[list[str], np.ndarray]:
    """(names, (train and validation, strata) counts)."""
    if task.spec.kind == "classification":
        counts = [
            np.bincount(split.targets, minlength=task.spec.num_outputs)
            for split in (task.train, task.validation)
        ]
        return list(task.class_names), np.stack(counts)
    edges = np.unique(np.quantile(task.train.targets[:, 0], np.linspace(0, 1, 6)[1:-1]))
    ends = [data_audit.label_text(task, [edge]) for edge in edges]
    names = [f"up to {end}" for end in ends] + ([f"over {ends[-1]}"] if ends else ["all"])
    counts = [
        np.bincount(np.searchsorted(edges, split.targets[:, 0]), minlength=len(names))
        for split in (task.train, task.validation)
    ]
    return names, np.stack(counts)
