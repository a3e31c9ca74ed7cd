"""Does the same key give the same numbers, and another key others?"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, as_numpy, guarded
from recipe_jax.types import Finding

ROW = "ENV4"
MANY = 16


def diagnose(facts: Facts) -> Iterator[Finding]:
    """G7: hidden randomness; G5: two layers drawn from one key; G8: compiled anew every step."""
    facts.given("init", "apply")
    init: Any = facts.program.init
    with guarded("init"):
        again = init(facts.key)
    same = all(
        np.array_equal(as_numpy(a), as_numpy(b), equal_nan=True)
        for a, b in zip(facts.learnt(facts.variables), facts.learnt(again))
    )
    inputs = facts.batch.inputs[:2] if facts.batch_size > 1 else facts.batch.inputs
    runs_equal = True
    for train in (False, True):
        one, two = (
            jax.tree.leaves(facts.apply(facts.variables, inputs, facts.key, train)[0])
            for _ in range(2)
        )
        runs_equal &= all(
            np.array_equal(as_numpy(a), as_numpy(b), equal_nan=True) for a, b in zip(one, two)
        )
    if not (same and runs_equal):
        yield fault(
            "repeatable",
            "G7",
            f"{'apply' if same else 'init'} gives other numbers for the same arguments.",
            "Draw all that is random from the key that is passed in, not from numpy or Python.",
            row=ROW,
            explains=("C16", "F3", "G5"),
        )
    else:
        yield healthy("repeatable", "The same key gives the same weights and outputs.", row=ROW)
    yield from _twins(facts)
    if facts.program.step is not None:
        yield from _compiled(facts)


def _twins(facts: Facts) -> Iterator[Finding]:
    """Arrays that begin with the same random numbers, whatever their scale."""
    seen: dict[bytes, str] = {}
    for place, name, leaf in zip(facts.places, facts.names, facts.learnt(facts.variables)):
        values = as_numpy(leaf).ravel()[:MANY]
        if len(values) < MANY or np.ptp(values) == 0 or facts.leaves[place].frozen:
            continue
        digest = np.round(values / np.abs(values).max(), 4).tobytes()
        if digest in seen:
            yield fault(
                "different_keys",
                "G5",
                f"{name} and {seen[digest]} begin with the same random numbers.",
                "Split the key: one for every layer.",
                row="SKEL3",
                warn=True,
            )
            return
        seen[digest] = name


def _compiled(facts: Facts) -> Iterator[Finding]:
    """Of a step that is jitted: whether every call compiles it again."""
    step: Any = facts.program.step
    size = getattr(step, "_cache_size", None)
    if size is None:
        return
    state = jax.tree.map(lambda leaf: leaf, facts.program.state)
    sizes = []
    for number in range(4):
        with guarded("step"):
            copied = jax.tree.map(lambda x: x.copy() if hasattr(x, "copy") else x, state)
            state, _ = step(copied, tuple(facts.batch), jax.random.fold_in(facts.key, number))[:2]
        sizes.append(int(size()))
    if sizes[-1] > sizes[1] + 1:
        yield fault(
            "compiled_once",
            "G8",
            "Every call of step compiles it again.",
            "Pass what changes as arrays, and keep shapes and types.",
            row="SKEL18",
            warn=True,
        )
