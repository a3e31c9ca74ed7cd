"""What do the examples look like: samples, balance, ranges, and what enters the network?"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from recipe_jax.checks._telling import without
from recipe_jax.probes.examples import Examples, column_places, table_columns
from recipe_jax.types import Finding, Split, Status, Task, judge

SHOWN_IMAGES, SHOWN_SEQUENCES, SHOWN_ROWS = 60, 24, 12
MOST_STEPS, MOST_FEATURES = 128, 8
"""Of a long sequence every second, third, ... step is shown, and of many features the first."""

RARE_CLASS_RATIO = 0.1
LISTED = 5


def look(examples: Examples) -> Iterator[Finding]:
    """What is first looked at."""
    yield from audit(examples.task)


def audit(task: Task) -> Iterator[Finding]:
    """Of all examples."""
    yield samples(task)
    yield target_balance(task)
    yield feature_ranges(task)
    yield non_finite(task)
    yield network_input(task)


def samples(task: Task) -> Finding:
    """A few training examples as a person would see them, with their labels and names."""
    counts = {"image": SHOWN_IMAGES, "sequence": SHOWN_SEQUENCES}
    shown = _first_of_each_class(task, counts.get(task.modality, SHOWN_ROWS))
    return Finding(
        check="samples",
        row="DATA1",
        status=Status.PASS,
        summary=f"{len(shown)} of the {len(task.train.targets)} training examples.",
        evidence=_picture(task, shown) | {"classes": list(task.class_names)},
    )


def target_balance(task: Task) -> Finding:
    """How often each class occurs in train and validation, or how the targets are distributed."""
    if task.spec.kind == "regression":
        return _target_distribution(task)
    count = task.spec.num_outputs
    train = np.bincount(task.train.targets, minlength=count)
    validation = np.bincount(task.validation.targets, minlength=count)
    rarest, commonest = int(train.argmin()), int(train.argmax())
    ratio = train[rarest] / max(1, train[commonest])
    told = (
        f"the rarest, {task.class_names[rarest]!r}, has {train[rarest]} training examples, the "
        f"commonest, {task.class_names[commonest]!r}, {train[commonest]}."
    )
    if train[rarest] == train[commonest]:
        told = f"each has {train[rarest]} training examples."
    return judge(
        ratio >= RARE_CLASS_RATIO,
        f"{count} classes; {told}",
        otherwise=Status.WARN,
        check="class_counts",
        row="DATA1 DATA9",
        fault="A12",
        remedy="Try --config.data.balance=oversample, and judge by a score that weighs classes.",
        evidence={"classes": list(task.class_names), "train": train, "validation": validation},
    )


def feature_ranges(task: Task) -> Finding:
    """The range of every feature before normalisation; features without any variation are named."""
    in_own_units = task.modality in ("image", "sequence")
    inputs = np.asarray(
        task.encoder.decode(task.train.inputs) if in_own_units else task.train.inputs
    )
    flat = _flat(task, inputs)
    names = feature_names(task, flat.shape[1])
    constant = np.flatnonzero((flat.max(0) == flat.min(0)) & ~of_encoder(names))
    if task.modality == "image":
        with np.errstate(invalid="ignore"):
            evidence: dict[str, Any] = {
                "mean_image": inputs.mean(0).mean(-1),
                "std_image": inputs.std(0).mean(-1),
            }
    else:
        with np.errstate(invalid="ignore"):
            evidence = {
                "features": names,
                "minimum": flat.min(0),
                "maximum": flat.max(0),
                "mean": flat.mean(0, dtype=np.float64),
                "std": flat.std(0, dtype=np.float64),
            }
    evidence["constant"] = [names[i] for i in constant]
    told = f"{len(constant)} of {flat.shape[1]} features never change{'s' * (len(constant) == 1)}"
    columns = _columns_of(task, evidence["constant"])
    if len(constant) and task.modality != "image":
        told += f": {listed(columns)}"
    return judge(
        not len(constant) or task.modality == "image",
        f"Raw values from {flat.min():.4g} to {flat.max():.4g}; {told}."
        if in_own_units
        else f"After encoding, values from {flat.min():.4g} to {flat.max():.4g}; {told}.",
        otherwise=Status.WARN,
        check="feature_ranges",
        row="DATA1 DATA3",
        fault="A8",
        remedy=f"What never changes carries nothing: {without(task, columns)}",
        evidence=evidence,
    )


def of_encoder(names: Sequence[str]) -> Bool[np.ndarray, " features"]:
    """Which features stand for unknown text: they are the encoder's own, and empty in training."""
    return np.array([name.endswith("=(other)") for name in names], bool)


def _columns_of(task: Task, names: Sequence[str]) -> list[str]:
    """The columns that gave these features, each once."""
    if task.modality != "table":
        return list(names)
    features = feature_names(task, task.spec.input_shape[0])
    return [
        column
        for column, own in column_places(task).items()
        if any(features[place] in names for place in own)
    ]


def listed(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}"


def non_finite(task: Task) -> Finding:
    """NaN and infinity in what enters the network, by feature."""
    flat = _flat(task, np.concatenate([task.train.inputs, task.validation.inputs]))
    bad = (~np.isfinite(flat)).sum(0)
    names = feature_names(task, flat.shape[1])
    where = [names[i] for i in np.flatnonzero(bad)]
    return judge(
        not where,
        f"{int(bad.sum())} of {flat.size} input values are NaN or infinite"
        + (f", in {', '.join(where[:5])}." if where else "."),
        check="non_finite",
        row="DATA1",
        fault="A7",
        remedy="Find out where these values come from before training on them.",
        evidence={"columns": where, "counts": bad[bad > 0]} if where else {},
    )


def network_input(task: Task) -> Finding:
    """The array right before the network, beside what it was made of."""
    chosen = np.arange(min(8, len(task.train.targets)))
    entered = task.train.inputs[chosen]
    with np.errstate(invalid="ignore"):
        mean = float(task.train.inputs.mean(dtype=np.float64))
        std = float(task.train.inputs.std(dtype=np.float64))
    if task.modality == "image":
        raw = np.asarray(task.encoder.decode(entered))
        evidence = {"kind": "image", "raw": raw.squeeze(-1) if raw.shape[-1] == 1 else raw}
        evidence |= {"entered": entered.mean(-1)}
    elif task.modality == "sequence":
        raw = np.asarray(task.encoder.decode(entered))
        evidence = {"kind": "sequence", "raw": _shortened(raw), "entered": _shortened(entered)}
    else:
        names = feature_names(task, entered.shape[1])
        evidence = {"kind": "table", "columns": names, "entered": entered}
    return judge(
        0.1 < std < 10 and abs(mean) < 10,
        f"What enters the network has shape {entered.shape[1:]}, mean {mean:.3g} and standard "
        f"deviation {std:.3g} over the training split.",
        otherwise=Status.WARN,
        check="network_input",
        row="SKEL8 DATA3",
        fault="A9",
        remedy="Networks start well on inputs of mean 0 and deviation 1: see data.normalize.",
        evidence=evidence | {"mean": mean, "std": std},
    )


def _target_distribution(task: Task) -> Finding:
    scale, mean = np.asarray(task.spec.target_scale), np.asarray(task.spec.target_mean)
    train = task.train.targets * scale + mean
    validation = task.validation.targets * scale + mean
    edges = np.histogram_bin_edges(np.concatenate([train, validation])[:, 0], bins=24)
    tail, share = _tail(train[:, 0])
    heavy = f"; {tail} of its examples make {share:.0%} of the squares that the error is counted in"
    return Finding(
        check="target_distribution",
        row="DATA1 DATA3",
        status=Status.PASS,
        summary=f"{task.target_names[0]}: mean {mean[0]:.4g}, standard deviation {scale[0]:.4g}, "
        f"from {train[:, 0].min():.4g} to {train[:, 0].max():.4g} in training"
        f"{heavy if tail else ''}.",
        remedy="To be tried: the logarithm of the target in its place, in the data."
        if tail and train[:, 0].min() >= 0
        else "",
        evidence={
            "edges": edges,
            "train": np.histogram(train[:, 0], edges)[0],
            "validation": np.histogram(validation[:, 0], edges)[0],
            "unit": task.target_names[0],
        },
    )


def _tail(values: np.ndarray) -> tuple[int, float]:
    """(how many values lie farthest from the mean, the share of all squared deviations that they
    make) where a hundredth of them makes more than half of it; else (0, 0.0)."""
    squares = np.sort(np.square(values - values.mean()))
    few = max(1, len(values) // 100)
    share = float(squares[-few:].sum() / max(squares.sum(), np.finfo(float).tiny))
    return (few, share) if len(values) >= 100 and share > 0.5 else (0, 0.0)


def picture(task: Task, split: Split, chosen: np.ndarray) -> dict[str, Any]:
    """Examples as a person sees them: images, sequences, or rows of a table, with labels and
    names."""
    inputs = split.inputs[chosen]
    shown: dict[str, Any] = {
        "labels": [label_text(task, target) for target in split.targets[chosen]],
        "ids": [str(name) for name in split.ids[chosen]],
    }
    if task.modality == "image":
        images = np.asarray(task.encoder.decode(inputs))
        return shown | {
            "kind": "image",
            "images": images.squeeze(-1) if images.shape[-1] == 1 else images,
        }
    if task.modality == "sequence":
        raw = np.asarray(task.encoder.decode(inputs))
        return shown | {"kind": "sequence", "sequences": _shortened(raw)}
    columns = table_columns(task, inputs)
    cells = [[_cell(value) for value in column] for column in columns.values()]
    return shown | {"kind": "table", "columns": list(columns), "rows": list(zip(*cells))}


def _cell(value: Any) -> Any:
    """A cell in its own unit, without the digits that float32 made up."""
    if value is None or isinstance(value, str):
        return value
    return float(f"{value:.6g}") if np.isfinite(value) else None


def label_text(task: Task, target: Any) -> str:
    """A target in words: the class name, or the value in its own unit."""
    if task.spec.kind == "classification":
        return task.class_names[int(target)]
    value = np.asarray(target) * np.asarray(task.spec.target_scale) + task.spec.target_mean
    return ", ".join(f"{each:.4g}" for each in np.atleast_1d(value))


def _picture(task: Task, chosen: np.ndarray) -> dict[str, Any]:
    return picture(task, task.train, chosen)


def _first_of_each_class(task: Task, count: int) -> np.ndarray:
    """Examples in turn from every class; simply the first ones for regression."""
    if task.spec.kind == "regression":
        return np.arange(min(count, len(task.train.targets)))
    each = max(1, count // task.spec.num_outputs)
    found = [
        np.flatnonzero(task.train.targets == label)[:each]
        for label in range(min(task.spec.num_outputs, count))
    ]
    return np.concatenate(found)


def _flat(task: Task, inputs: np.ndarray) -> np.ndarray:
    """Rows of features: a row an example, or of a sequence a row a step."""
    return inputs.reshape(-1 if task.modality == "sequence" else len(inputs), _columns(task))


def _columns(task: Task) -> int:
    shape = task.spec.input_shape
    return shape[-1] if task.modality == "sequence" else int(np.prod(shape))


def _shortened(sequences: np.ndarray) -> np.ndarray:
    """What is shown of sequences (examples, time, features)."""
    return sequences[:, :: -(-sequences.shape[1] // MOST_STEPS), :MOST_FEATURES]


def feature_names(task: Task, count: int) -> list[str]:
    """The names of so many features, or their numbers."""
    if len(task.feature_names) == count:
        return list(task.feature_names)
    return [f"feature {i}" for i in range(count)]


def input_names(task: Task) -> list[str]:
    """A name for every number of an input, flattened."""
    shape = task.spec.input_shape
    if task.modality == "image":
        named = (f"row {r}, column {c}, channel {k}" for r, c, k in np.ndindex(*shape))
        return [name.removesuffix(", channel 0") if shape[2] == 1 else name for name in named]
    if task.modality == "sequence":
        names = feature_names(task, shape[1])
        return [f"{names[feature]} at step {step}" for step, feature in np.ndindex(*shape)]
    return feature_names(task, int(np.prod(shape)))
