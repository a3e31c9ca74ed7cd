"""Does every weight matter to the loss, and does the gradient reach it?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes import trace
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

ROW = "SKEL15"
CHECK = "gradient_reaches"
BATCHES = 3
STEPS = ("round", "floor", "ceil", "sign", "argmax", "argmin", "nextafter")
"""Operations without a slope."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C12: unused weights; C13: detached ones; C14: an operation without a slope is in the way."""
    facts.given("apply", "loss")
    variables = begun(facts)
    names = facts.names
    if not names:
        yield fault(
            CHECK,
            "C13",
            "The variables hold no weights to learn.",
            "Return arrays of floats from init.",
            row=ROW,
        )
        return
    silent = _silent(facts, variables)
    frozen = [facts.leaves[place].frozen for place in facts.places]
    asked = [i for i in range(len(names)) if silent[i] and not frozen[i]]
    if all(frozen):
        yield fault(
            CHECK,
            "C13",
            f"All {len(names)} arrays of weights are declared frozen: nothing can be learnt.",
            "Name in frozen= only what is meant to stay as it is.",
            row=ROW,
            warn=True,
            certainty="heuristic",
            explains=("F8",),
        )
        return
    if not asked:
        yield healthy(CHECK, f"The gradient reaches all {len(names)} arrays of weights.", row=ROW)
        return
    layout, origins = laid_out(facts, variables)
    used = frozenset().union(
        *(origins.get(value, frozenset()) for value in layout.outputs if value)
    )
    unused = [i for i in asked if str(i) not in used]
    read = [i for i in unused if _read_at_evaluation(facts, i)]
    if read:
        yield fault(
            CHECK,
            "C17",
            f"Training neither learns nor updates {listed(names, read)}, which evaluation reads.",
            "Return the updated averages from apply.",
            row=ROW,
            explains=("F8", "C12", "A13", "E6", "C16", "C13", "E2", "E11"),
        )
        unused = [i for i in unused if i not in read]
        asked = [i for i in asked if i not in read]
    if unused:
        yield fault(
            CHECK,
            "C12",
            f"Unused weights: {listed(names, unused)}. The loss is computed without them.",
            "Remove them, or use them; name them in frozen= if they are meant to wait.",
            row=ROW,
            explains=("C13", "E6", "C1", "C10"),
            weights=[names[i] for i in unused],
        )
    cut: dict[str, list[int]] = {"C13": [], "C14": []}
    operations = set()
    everything = len(asked) == len(names)
    for i in asked:
        if i in unused:
            continue
        small, large = (_moves(facts, variables, i, size) for size in (1e-2, 1.0))
        stepped = [
            step.name
            for step in layout.steps
            if no_slope(step) and any(str(i) in origins.get(v, ()) for v in step.reads if v)
        ]
        stepped += _in_loops(layout, origins, i)
        if stepped and (small or large):
            operations |= set(stepped)
            cut["C14"].append(i)
        elif small:
            cut["C13"].append(i)
    explains = ("F8", "E6", "C1", "C10", "E2", "E11", "C6", "C9", "D8", "C2", "G4")
    if cut["C14"]:
        yield fault(
            CHECK,
            "C14",
            f"{', '.join(sorted(operations))} stand{'s' * (len(operations) == 1)} between the loss "
            f"and {listed(names, cut['C14'])}: the gradient there is zero, though they matter.",
            "Use a smooth operation, or pass the gradient straight through.",
            row=ROW,
            explains=("C13", "E7", *explains),
        )
    if cut["C13"]:
        yield fault(
            CHECK,
            "C13",
            f"{'No' if everything else 'Some'} weights are reached: the gradient is zero for "
            f"{listed(names, cut['C13'])}, though the loss depends on them.",
            "Look for stop_gradient and for copies of values; name what is meant in frozen=.",
            row=ROW,
            explains=("C14", "E7", *explains),
            weights=[names[i] for i in cut["C13"]],
        )


def begun(facts: Facts) -> Any:
    """The variables after a few steps: what begins at zero hides what stands before it."""
    try:
        first = facts.lanes["normal"].first
        finite = all(np.isfinite(as_numpy(leaf)).all() for leaf in facts.learnt(first))
        return first if finite else facts.variables
    except NotGiven:
        return facts.variables


def _silent(facts: Facts, variables: Any) -> list[bool]:
    """Whether the gradient of each array is exactly zero on several batches."""
    silent = [True] * len(facts.names)
    for number in range(BATCHES):
        batch = facts.more(number)
        for begin in (variables, facts.variables):
            _, gradient = facts.gradient(facts.learnt(begin), begin, *batch, facts.key)
            silent = [s and not as_numpy(g).any() for s, g in zip(silent, gradient)]
    return silent


def laid_out(facts: Facts, variables: Any) -> tuple[trace.Flat, dict[int, frozenset[str]]]:
    """The computation of the loss, and which weights every value of it depends on."""
    learnt, batch = facts.learnt(variables), facts.batch
    layout = trace.flat(
        lambda learnt: facts.objective(learnt, variables, *batch, facts.key)[0], learnt
    )
    return layout, layout.origins({value: str(i) for i, value in enumerate(layout.inputs)})


def _read_at_evaluation(facts: Facts, place: int) -> bool:
    """Whether outputs at evaluation change with one array."""
    learnt = facts.learnt(facts.variables)
    changed = [*learnt]
    changed[place] = learnt[place] + 1
    one, other = (
        as_numpy(
            facts.forward(
                facts.with_learnt(facts.variables, each), facts.batch.inputs, facts.key, False
            )[0]
        )
        for each in (learnt, changed)
    )
    return not np.array_equal(one, other, equal_nan=True)


def no_slope(step: trace.Step) -> bool:
    """Whether an operation goes in steps: its slope is zero, or nothing."""
    if step.name == "convert_element_type":
        before, after = step.eqn.invars[0].aval.dtype, step.eqn.outvars[0].aval.dtype
        return jnp.issubdtype(before, jnp.floating) and jnp.issubdtype(after, jnp.integer)
    return step.name in STEPS


def _in_loops(layout: trace.Flat, origins: dict[int, frozenset[str]], place: int) -> list[str]:
    found = []
    for step in layout.steps:
        if step.name in ("scan", "while", "cond") and any(
            str(place) in origins.get(v, ()) for v in step.reads if v
        ):
            inner = [p for p in step.eqn.params.values() if hasattr(p, "eqns")]
            found += [name for j in inner for name in trace.operations(j) if name in STEPS]
    return found


def _moves(facts: Facts, variables: Any, place: int, size: float) -> bool:
    """Whether the loss of a batch changes when one array is changed by a share of its own size."""
    learnt = facts.learnt(variables)
    leaf = learnt[place]
    scale = size * max(float(jnp.sqrt(jnp.mean(jnp.square(leaf.astype(jnp.float32))))), 0.1)
    noise = scale * jax.random.normal(jax.random.key(place), leaf.shape)
    changed = [*learnt]
    changed[place] = (leaf + noise).astype(leaf.dtype)
    before, after = (
        float(facts.gradient(each, variables, *facts.batch, facts.key)[0][0])
        for each in (learnt, changed)
    )
    return abs(after - before) > 1e-6 * max(1.0, abs(before))


def listed(names: list[str], chosen: list[int]) -> str:
    """The first names of those chosen, and how many more."""
    shown = ", ".join(names[i] for i in chosen[:4])
    return shown + (f" and {len(chosen) - 4} more" if len(chosen) > 4 else "")
