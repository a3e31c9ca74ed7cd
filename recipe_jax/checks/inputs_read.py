"""Does the network read its inputs, or leave most of them out?"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, NotGiven, joined
from recipe_jax.types import Finding

ROW = "SKEL13"
CHECK = "inputs_read"
LEAST, SHARE = 4, 0.5
"""Of fewer parts nothing is said, nor of a smaller share unread: crops and borders are usual."""
MOST_PARTS, MOST_RUNS = 512, 16
"""More features are asked in neighbouring groups: so many, and so many for every example of a
batch."""
SCALES = (0.0, 0.3, 1.0, 3.0)
"""Noise added to weights, over their own size: what a dead unit hides, other weights show."""
FAR = 3.0
"""Size of a change of inputs, in their deviations."""


class Parts(NamedTuple):
    """Parts of an example: what they are called, and the places of each, laid out flat."""

    name: str
    places: Sequence[Int[np.ndarray, " places"]]


def diagnose(facts: Facts) -> Iterator[Finding]:
    """D8: features, time steps or rows of which no output knows, whatever weights and inputs are,
    in training or out of it."""
    facts.given("apply")
    if facts.batch_size < 2 or len(joined(facts.any_outputs)) != facts.batch_size:
        raise NotGiven("there is one example a batch, or no output for each")
    for parts in _parts(facts):
        asked = _asked(facts, parts)
        if len(asked) < LEAST:
            continue
        unread = _unread(facts, [parts.places[part] for part in asked])
        # Where nothing at all is read the range of the outputs tells.
        if unread.all() or unread.mean() < SHARE or not _silent(facts, parts, asked[unread]):
            continue
        yield _told(facts, parts, asked, unread)
        return
    yield healthy(CHECK, "Outputs know most of the inputs.", row=ROW)


def _parts(facts: Facts) -> Iterator[Parts]:
    shape = facts.train.inputs.shape[1:]
    places = np.arange(int(np.prod(shape))).reshape(shape)
    most = min(MOST_PARTS, MOST_RUNS * facts.batch_size)
    names = {1: ("features" if facts.float_inputs else "positions",)}
    names |= {2: ("time steps", "features")}
    for axis, name in enumerate(names.get(len(shape), ("rows", "columns")) if shape else ()):
        groups = np.array_split(np.arange(shape[axis]), min(shape[axis], most))
        yield Parts(name, [np.take(places, group, axis).ravel() for group in groups])


def _asked(facts: Facts, parts: Parts) -> Int[np.ndarray, " asked"]:
    """The parts that vary from example to example, and are not hidden on purpose."""
    flat = _flat(facts.train.inputs)
    varies = (flat != flat[:1]).any(0)
    varies[list(facts.program.unseen)] = False
    return np.array([n for n, group in enumerate(parts.places) if varies[group].any()], int)


def _unread(facts: Facts, groups: Sequence[np.ndarray]) -> Bool[np.ndarray, " groups"]:
    """Which groups of places change no output of an example, each changed alone."""
    unread = np.ones(len(groups), bool)
    batch = np.asarray(facts.batch.inputs)
    for draw, scale in enumerate(SCALES):
        variables = facts.scattered(scale, draw)
        before = _outputs(facts, variables, batch, False)
        for kind in range(2):
            changed = _changed(facts, 2 * draw + kind)
            left = np.flatnonzero(unread)
            for start in range(0, len(left), len(batch)):
                some = left[start : start + len(batch)]
                inputs = _flat(batch).copy()
                # An example each; another one in every round.
                rows = (np.arange(len(some)) + 7 * draw + kind) % len(batch)
                for row, group in zip(rows, some):
                    inputs[row, groups[group]] = changed[row, groups[group]]
                after = _outputs(facts, variables, inputs.reshape(batch.shape), False)
                unread[some] = _same(before, after)[rows]
            if unread.mean() < SHARE:
                return unread
    return unread


def _silent(facts: Facts, parts: Parts, chosen: np.ndarray) -> bool:
    """Whether all these parts together, in all examples and in both modes, change no output: not
    even what is not a number spreads from them, as it does through the faintest memory."""
    batch = np.asarray(facts.batch.inputs)
    places = np.concatenate([parts.places[part] for part in chosen])
    for draw, scale in enumerate((*SCALES, *SCALES)):
        variables = facts.scattered(scale, 10 + draw)
        others = [_changed(facts, 20 + draw)]
        if facts.float_inputs:
            others.append(np.full_like(others[0], np.nan))
        for train in (False, True):
            before = _outputs(facts, variables, batch, train)
            for other in others:
                inputs = _flat(batch).copy()
                inputs[:, places] = other[:, places]
                after = _outputs(facts, variables, inputs.reshape(batch.shape), train)
                if not _same(before, after).all():
                    return False
    return True


def _told(
    facts: Facts, parts: Parts, asked: np.ndarray, unread: Bool[np.ndarray, " asked"]
) -> Finding:
    told = (
        f"{unread.sum()} of {len(asked)} {parts.name} ({_runs(asked[unread])}) change no output, "
        "whatever the weights"
    )
    table = np.ndim(facts.train.inputs) == 2 and facts.float_inputs
    alone = (~unread).sum() == 1
    # A model may look at a window, or crop, on purpose: then it works.
    if not alone and not table and not _fails(facts):
        return healthy(CHECK, f"{told}; training works without them.", row=ROW)
    return fault(
        CHECK,
        "D8",
        f"{told}.",
        "Look for an index or a slice that drops them, such as the first state of a loop for its "
        "last; leave out of the data what is not meant to be read.",
        row=ROW,
        certainty="exact" if alone or table else "heuristic",
        warn=not (alone or table),
        explains=("F8", "E1", "E2", "E11", "C12", "C13", "E6", "A1", "C7", "C10"),
    )


def _fails(facts: Facts) -> bool:
    try:
        return bool(facts.outcome.failures)
    except NotGiven:
        return False


def _changed(facts: Facts, draw: int) -> np.ndarray:
    """Other inputs for the batch, laid out flat: those of other examples, or far from all."""
    random = np.random.default_rng(draw)
    flat, train = _flat(np.asarray(facts.batch.inputs)), _flat(facts.train.inputs)
    other = train[random.integers(0, len(train), flat.shape), np.arange(flat.shape[1])]
    for _ in range(LEAST):
        again = train[random.integers(0, len(train), flat.shape), np.arange(flat.shape[1])]
        other = np.where(other == flat, again, other)
    if not facts.float_inputs or draw % 2:
        return other
    size = FAR * max(float(np.nanstd(train.astype(np.float64))), 1e-6)
    return (flat + size * random.normal(size=flat.shape)).astype(flat.dtype)


def _flat(inputs: Any) -> np.ndarray:
    return np.asarray(inputs).reshape(len(inputs), -1)


def _outputs(facts: Facts, variables: Any, inputs: np.ndarray, train: bool) -> np.ndarray:
    outputs = joined(facts.forward(variables, jnp.asarray(inputs), facts.key, train)[0])
    return outputs.reshape(len(inputs), -1)


def _same(before: np.ndarray, after: np.ndarray) -> Bool[np.ndarray, " examples"]:
    return ((before == after) | (np.isnan(before) & np.isnan(after))).all(1)


def _runs(numbers: np.ndarray) -> str:
    """Whole numbers in order, neighbours together: "0 to 6, 9"."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    told = [f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return ", ".join(told[:LEAST]) + (" and more" if len(told) > LEAST else "")
