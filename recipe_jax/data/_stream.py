"""One long sequence to a task: cut into splits where it stands, then into windows.

Neighbours in a sequence tell of each other, so nothing is shuffled before splitting: training comes
first, then validation, then test, and neither a window nor a target crosses a border.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int32

from recipe_jax.types import Arrays, Finding, Sealed, Spec, Split, Status, Task, UserError, judge

NOT_ASKED = -1
TRACE = 1e-3
"""Up to this share of symbols that training never held, nothing is wrong."""
MOST_LISTED = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stream:
    """A sequence as read, before anything is fitted.

    raw: (length,) symbols; fit: training raw -> encoder, with encode, decode, num_tokens, names,
    has_unknown (token 0 stands for what training never held) and to_json; unit: what a symbol is
    called.
    """

    name: str
    raw: np.ndarray
    window: int
    fit: Callable[[np.ndarray], Any]
    unit: str = "character"
    modality: str = "text"


def prepare(
    stream: Stream, *, fraction: float, max_examples: int | None, validation: float, test: float
) -> Task:
    """The task: the model is asked for every symbol but a split's first.

    max_examples keeps the first so many windows of the sequence, fraction the first part of the
    training windows. Training windows are whole; the last one of validation and of test is filled
    up with targets that are not asked.
    """
    raw, window = stream.raw, stream.window
    if max_examples is not None:
        raw = raw[: max_examples * window]
    count = {"validation": round(validation * len(raw)), "test": round(test * len(raw))}
    count["training"] = len(raw) - count["validation"] - count["test"]
    _check(stream, count, {"validation": validation, "test": test}, total=len(raw))
    kept = max(1, round(fraction * ((count["training"] - 1) // window)))
    start = {"training": 0, "validation": count["training"]}
    start["test"] = start["validation"] + count["validation"]
    count["training"] = kept * window + 1

    symbols = {name: raw[start[name] : start[name] + count[name]] for name in start}
    if len(np.unique(symbols["training"])) == 1:
        raise UserError(
            f"{stream.name} holds one {stream.unit} only, over and over, for training: there is "
            "nothing to learn; use another text."
        )
    encoder = stream.fit(symbols["training"])
    tokens = {name: encoder.encode(part) for name, part in symbols.items()}
    splits = {name: _split(part, window, start[name]) for name, part in tokens.items()}
    prior = np.bincount(splits["training"].targets.ravel(), minlength=encoder.num_tokens)
    return Task(
        name=stream.name,
        spec=Spec(
            kind="next_token",
            input_shape=(window,),
            num_outputs=encoder.num_tokens,
            prior=tuple((prior / prior.sum()).tolist()),
            input_dtype="int32",
        ),
        train=splits["training"],
        validation=splits["validation"],
        test=Sealed(splits["test"]),
        modality=stream.modality,
        encoder=encoder,
        feature_names=(),
        class_names=encoder.names,
        target_names=(f"next {stream.unit}",),
        fingerprint=_fingerprint(encoder, tokens),
        notes=_unseen(encoder, symbols, tokens),
    )


def windows(tokens: Int32[np.ndarray, " length"], window: int) -> Arrays:
    """Inputs and targets (windows, window): every token but the first is asked exactly once.

    The last window is filled up with inputs 0 and targets that are not asked.
    """
    asked = len(tokens) - 1
    num_windows = -(-asked // window)
    inputs = np.zeros(num_windows * window, np.int32)
    targets = np.full(num_windows * window, NOT_ASKED, np.int32)
    inputs[:asked], targets[:asked] = tokens[:-1], tokens[1:]
    return Arrays(inputs.reshape(-1, window), targets.reshape(-1, window))


def _split(tokens: np.ndarray, window: int, start: int) -> Split:
    inputs, targets = windows(tokens, window)
    return Split(inputs, targets, start + window * np.arange(len(inputs)))


def _check(
    stream: Stream, count: Mapping[str, int], shares: Mapping[str, float], *, total: int
) -> None:
    unit = stream.unit
    if count["training"] < stream.window + 1:
        raise UserError(
            f"{stream.name} holds {total} {unit}s, of which {count['training']} are for training, "
            f"and a window of {stream.window} needs {stream.window + 1}; use a longer text or a "
            "smaller data.window."
        )
    for name, share in shares.items():
        if count[name] < 2:
            raise UserError(
                f"{stream.name} holds {total} {unit}s, and data.{name}={share:g} leaves "
                f"{count[name]} of them, where 2 are needed; use a longer text or a larger "
                f"data.{name}."
            )


def _fingerprint(encoder: Any, tokens: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the encoder and of the tokens of every split."""
    content = hashlib.sha256(repr(sorted(encoder.to_json().items())).encode())
    for name, part in tokens.items():
        content.update(f"{name} {len(part)}".encode())
        content.update(part.astype("<i4").tobytes())
    return content.hexdigest()


def _unseen(
    encoder: Any, symbols: Mapping[str, np.ndarray], tokens: Mapping[str, np.ndarray]
) -> tuple[Finding, ...]:
    """What validation and test hold and training does not; nothing where that cannot be."""
    if not encoder.has_unknown:
        return ()
    held = ("validation", "test")
    unseen = np.concatenate([symbols[name][tokens[name] == 0] for name in held])
    total = sum(len(tokens[name]) for name in held)
    distinct, counts = np.unique(unseen, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_LISTED]
    told = (
        f"{len(unseen)} of the {total} {encoder.unit}s in validation and test never occur in "
        f"training ({len(distinct)} different ones); they are read as unknown."
        if len(unseen)
        else f"All {total} {encoder.unit}s in validation and test occur in training too."
    )
    finding = judge(
        len(unseen) <= TRACE * total,
        told,
        otherwise=Status.WARN,
        check="unseen_symbols",
        row="DATA1",
        fault="A7",
        remedy="Is it text of another kind or language? Take more of it, or data.unit='byte'.",
        evidence={
            "symbols": [chr(symbol) for symbol in distinct[order]],
            "codes": [f"U+{symbol:04X}" for symbol in distinct[order]],
            "counts": counts[order],
        },
    )
    return (finding,)
