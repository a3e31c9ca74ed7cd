"""From raw examples to a task: splitting, normalising and sealing, the same for every dataset.

A dataset file only reads: its `build(...)` gives a Source. Everything that could leak is done here,
once: the splits follow from the content of the examples, and every statistic is fitted on the
training split alone.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np

from recipe_jax.data import (
    _array_encoder,
    _classes,
    _split,
    _standard,
    _stream,
    _table_encoder,
    _text_encoder,
)
from recipe_jax.resolve import Between, Count, OneOf
from recipe_jax.types import Finding, Sealed, Spec, Split, Task, UserError

Raw = np.ndarray | Mapping[str, np.ndarray]
"""Examples as read: an array of numbers (n, ...), or columns by name: float64 with NaN for missing,
or objects that are text, with None for missing."""

Encoder = _array_encoder.ArrayEncoder | _table_encoder.TableEncoder
"""encode(raw) -> float32 inputs, decode(inputs) -> raw, to_json() and from_json(content)."""

Stream = _stream.Stream
"""A dataset that is one long sequence, such as a text: it is split where it stands."""

Modality = Annotated[str, OneOf(("auto", "table", "image", "sequence"))]
_AXES = {
    "table": "axes (examples, features)",
    "image": "axes (examples, height, width) or (examples, height, width, channels)",
    "sequence": "axes (examples, time) or (examples, time, features)",
}
_NUM_AXES = {"table": (2,), "image": (3, 4), "sequence": (2, 3)}

Share = Annotated[float, Between(0.0, 1.0, open_low=True)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A dataset as read, before anything is fitted.

    targets: (n,) int32 class numbers or (n, k) float64 in their own units; ids: what a person can
    find an example by; fit: (training raw, normalize=) -> Encoder; findings: made while reading;
    together: (n,) text, examples with the same one stay in one split; order: (n,) float64, the last
    examples by it are held out; split_by: the name of what `together` or `order` holds.
    """

    name: str
    raw: Any
    targets: np.ndarray
    ids: np.ndarray
    kind: str
    modality: str
    fit: Callable[..., Encoder]
    class_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ("target",)
    findings: tuple[Finding, ...] = ()
    together: np.ndarray | None = None
    order: np.ndarray | None = None
    split_by: str = ""

    @property
    def split(self) -> str:
        """What chooses those held out, as `Task.split` says it."""
        if self.order is not None:
            return "order"
        return "hash" if self.together is None else "group"

    def take(self, index: np.ndarray) -> "Source":
        """The examples at `index`, in that order."""
        return dataclasses.replace(
            self,
            raw=_take(self.raw, index),
            targets=self.targets[index],
            ids=self.ids[index],
            together=None if self.together is None else self.together[index],
            order=None if self.order is None else self.order[index],
        )


def from_arrays(
    name: str,
    inputs: np.ndarray,
    *,
    targets: np.ndarray,
    kind: str,
    modality: Modality = "auto",
    **fields: Any,
) -> Source:
    """A source of numbers: (n, features) is a table, (n, height, width[, channels]) are images,
    (n, time[, features]) are sequences; "auto" is a table or images."""
    if modality == "auto":
        modality = "table" if inputs.ndim == 2 else "image"
    if inputs.ndim not in _NUM_AXES[modality]:
        raise UserError(
            f"data.modality={modality} needs inputs with {_AXES[modality]}, and these have shape "
            f"{inputs.shape}; bring them to that shape, or name another modality."
        )
    if inputs.ndim < max(_NUM_AXES[modality]):
        inputs = inputs[..., None]
    names = fields.pop("feature_names", ())
    if modality == "table" and not names:
        names = tuple(f"x{i}" for i in range(inputs.shape[1]))
    ids = fields.pop("ids", np.arange(len(inputs)))
    _array_encoder.check_finite("inputs", inputs, ids, names)
    _array_encoder.check_finite("targets", targets, ids, fields.get("target_names", ()))
    return Source(
        name=name,
        raw=inputs,
        targets=targets,
        ids=ids,
        kind=kind,
        modality=modality,
        fit=functools.partial(_array_encoder.fit, feature_names=names),
        **fields,
    )


def encoder_from_json(content: Mapping[str, Any]) -> Encoder | _text_encoder.TextEncoder:
    """The encoder whose `to_json()` gave `content`."""
    if content["type"] == "text":
        return _text_encoder.TextEncoder.from_json(content)
    if content["type"] == "array":
        return _array_encoder.ArrayEncoder.from_json(content)
    return _table_encoder.TableEncoder.from_json(content)


def prepare(
    source: Source | Stream,
    *,
    fraction: Share = 1.0,
    max_examples: Count | None = None,
    classes: tuple[str, ...] = (),
    class_fractions: tuple[Share, ...] = (),
    validation: Share = 0.2,
    test: Share = 0.2,
    normalize: Annotated[str, OneOf(("auto", "feature", "channel", "none"))] = "auto",
    balance: Annotated[str, OneOf(("none", "oversample", "batch", "weights"))] = "none",
    split_seed: int = 0,
) -> Task:
    """Splits, fits the encoder on the training split, encodes, and seals the test split.

    classes: keep only these class names; class_fractions: keep that share of every class, in the
    order of the classes, as if some were rarer; max_examples: keep a stratified sample of so many.
    These come before splitting, so all splits shrink; fraction: keep that share of the training
    split alone, the rest is unused, and validation and test stay as they are. normalize "auto" is
    per feature for tables, per channel for images, and for sequences per feature over all steps
    ("channel"). Oversampling repeats training examples of the smaller classes until all classes are
    even; statistics are those of the training split as it will be trained on. By batch nothing is
    repeated beforehand: every batch is filled with equal shares of the classes (feed/balanced.py),
    and the prior is even as it is there. With weights the loss counts every class as much, whatever
    its share.

    A stream is split where it stands: max_examples and fraction keep its beginning, and nothing is
    stratified or normalised.
    """
    _check(source, validation=validation, test=test, balance=balance)
    if isinstance(source, Stream):
        _check_stream(classes=classes, class_fractions=class_fractions, normalize=normalize)
        return _stream.prepare(
            source, fraction=fraction, max_examples=max_examples, validation=validation, test=test
        )
    available = len(source.targets)
    source = _keep_classes(source, tuple(map(str, classes)))
    digests = _split.digests(source.raw, split_seed)
    # From here on examples stand in the order of their content: file order is forgotten.
    order = np.lexsort((*np.atleast_2d(source.targets.T), digests[:, 1], digests[:, 0]))
    source, digests = source.take(order), digests[order]
    if class_fractions:
        kept = _thinned(source, class_fractions)
        source, digests = source.take(kept), digests[kept]
    if max_examples is not None and max_examples < len(digests):
        kept = np.sort(_split.interleave(_members(source, digests))[:max_examples])
        source, digests = source.take(kept), digests[kept]
    _classes.check_size(source.targets, source.class_names)

    group = _groups(digests)
    if source.together is not None:
        group = _groups(_split.digests({source.split_by: source.together}, split_seed))
    if source.order is not None:
        parts = _split.cut_in_order(source.order, validation=validation, test=test)
    else:
        parts = _split.cut(_strata(source, group), validation=validation, test=test)[group]
    placed = {}
    for name, part in _split.PARTS.items():
        inside = parts == part
        _classes.check_split(name, source.targets[inside], source.class_names, _why(source))
        placed[name] = [m[inside[m]] for m in _members(source, digests) if inside[m].any()]
    placed["training"] = _resize(placed["training"], fraction=fraction, balance=balance)
    index = {name: _split.interleave(members) for name, members in placed.items()}
    if source.together is not None:
        # Folds and samples of the training split are parts of it in a row: they take whole groups.
        chosen = index["training"]
        index["training"] = chosen[np.argsort(group[chosen], kind="stable")]
    task = _encode(source, digests, index=index, normalize=normalize)
    spec = task.spec
    if balance == "weights":
        present = np.maximum(np.asarray(spec.prior), 1e-12)
        even = np.where(np.asarray(spec.prior) > 0, 1.0 / present / len(present), 0.0)
        spec = dataclasses.replace(spec, class_weights=tuple(even.tolist()))
    if balance == "batch":
        there = np.asarray(spec.prior) > 0
        spec = dataclasses.replace(spec, prior=tuple((there / there.sum()).tolist()))
    return dataclasses.replace(task, spec=spec, available=available)


def _encode(
    source: Source, digests: np.ndarray, *, index: dict[str, np.ndarray], normalize: str
) -> Task:
    """The task: inputs and targets in the units that the training split sets."""
    training = source.take(index["training"])
    encoder = source.fit(training.raw, normalize=normalize)
    if source.kind == "classification":
        mean, scale = np.zeros(0), np.ones(0)
        prior = np.bincount(training.targets, minlength=len(source.class_names))
        prior = tuple((prior / prior.sum()).tolist())
    else:
        mean, scale = _standard.moments(training.targets, (0,))
        prior = (0.0,) * training.targets.shape[1]
    splits = {}
    for name, chosen in index.items():
        part = source.take(chosen)
        targets = part.targets
        if source.kind == "regression":
            targets = _standard.standardise(targets, mean, scale)
        splits[name] = Split(encoder.encode(part.raw), targets, part.ids)
    return Task(
        name=source.name,
        spec=Spec(
            kind=source.kind,
            input_shape=splits["training"].inputs.shape[1:],
            num_outputs=len(prior),
            prior=prior,
            target_mean=tuple(mean.tolist()),
            target_scale=tuple(scale.tolist()),
        ),
        train=splits["training"],
        validation=splits["validation"],
        test=Sealed(splits["test"]),
        modality=source.modality,
        encoder=encoder,
        feature_names=encoder.feature_names,
        class_names=source.class_names,
        target_names=source.target_names,
        fingerprint=_fingerprint(source, digests, index=index, normalize=normalize),
        held_fingerprint=_fingerprint(
            source,
            digests,
            index={name: index[name] for name in ("validation", "test")},
            normalize="",
        ),
        notes=source.findings,
        split=source.split,
        split_by=source.split_by,
    )


def _why(source: Source) -> str:
    """Why a split may lack what the data have."""
    return {
        "hash": "because equal inputs stay together",
        "group": f"because examples of one {source.split_by!r} stay together",
        "order": f"because the last by {source.split_by!r} are held out",
    }[source.split]


def _fingerprint(
    source: Source, digests: np.ndarray, *, index: dict[str, np.ndarray], normalize: str
) -> str:
    """SHA-256 of the content of every example, in its split; free of file order and rounding."""
    content = hashlib.sha256(repr((source.kind, source.class_names, normalize)).encode())
    for name, chosen in index.items():
        content.update(f"{name} {len(chosen)}".encode())
        content.update(digests[chosen].astype("<u8").tobytes())
        content.update(np.ascontiguousarray(source.targets[chosen]).astype("<f8").tobytes())
    return content.hexdigest()


def _take(raw: Raw, index: np.ndarray) -> Raw:
    if isinstance(raw, Mapping):
        return {name: column[index] for name, column in raw.items()}
    return raw[index]


def _groups(digests: np.ndarray) -> np.ndarray:
    """Equal inputs get one number; numbers ascend with the hash."""
    return np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1)


def _strata(source: Source, group: np.ndarray) -> np.ndarray:
    if source.kind == "classification":
        return _split.class_strata(group, source.targets)
    return _split.quantity_strata(group, source.targets[:, 0])


def _members(source: Source, digests: np.ndarray) -> list[np.ndarray]:
    """The examples of each class (or bin of the quantity), in the order of their content."""
    if source.kind == "classification":
        return _split.by_value(source.targets)
    group = _groups(digests)
    return _split.by_value(_strata(source, group)[group])


def _resize(members: list[np.ndarray], *, fraction: float, balance: str) -> list[np.ndarray]:
    """The training examples of each stratum: its first `fraction`, then repeated if balanced."""
    members = [m[: max(1, round(fraction * len(m)))] for m in members]
    if balance == "oversample":
        most = max(map(len, members))
        members = [np.resize(m, most) for m in members]
    return members


def _keep_classes(source: Source, classes: tuple[str, ...]) -> Source:
    if not classes:
        return source
    if source.kind != "classification":
        raise UserError("data.classes is for classification, and the target here is a quantity.")
    chosen = _classes.choose(source.class_names, classes)
    kept = source.take(np.flatnonzero(np.isin(source.targets, chosen)))
    return dataclasses.replace(
        kept,
        targets=np.searchsorted(chosen, kept.targets).astype(np.int32),
        class_names=tuple(source.class_names[i] for i in chosen),
    )


def _thinned(source: Source, shares: tuple[float, ...]) -> np.ndarray:
    """Positions of the first `shares` of each class, ascending."""
    _classes.check_shares(shares, source.class_names)
    members = (np.flatnonzero(source.targets == i) for i in range(len(shares)))
    kept = [each[: max(1, round(share * len(each)))] for each, share in zip(members, shares)]
    return np.sort(np.concatenate(kept))


def _check_stream(
    *, classes: tuple[str, ...], class_fractions: tuple[float, ...], normalize: str
) -> None:
    for key, value, default in (
        ("classes", classes, ()),
        ("class_fractions", class_fractions, ()),
        ("normalize", normalize, "auto"),
    ):
        if value != default:
            raise UserError(f"data.{key}={value!r} means nothing for text; leave it {default!r}.")


def _check(source: Source | Stream, *, validation: float, test: float, balance: str) -> None:
    if validation + test >= 1.0:
        raise UserError(
            f"data.validation={validation:g} and data.test={test:g} leave nothing to train on; "
            "their sum must be less than 1."
        )
    stream = isinstance(source, Stream)
    if balance != "none" and (stream or source.kind != "classification"):
        what = "this is a text" if stream else "the target here is a quantity"
        raise UserError(
            f"data.balance={balance!r} is for classification, and {what}; set data.balance='none'."
        )
