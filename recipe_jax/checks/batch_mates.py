"""Does an example's output depend on the others in its batch, on its place there, or on what comes
after it?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.checks.modes import RANDOM
from recipe_jax.probes import trace
from recipe_jax.probes.facts import (
    Facts,
    NotGiven,
    as_numpy,
    is_float,
    joined,
    outputs_of,
)
from recipe_jax.types import Finding

ROW = "SKEL10 SKEL17"
CHECK = "batch_mates"
ALIKE, LITTLE = 1e-4, 1e-2
PLACED, ROUNDED = 1e-3, 0.1
"""Change of outputs, over their deviation, when examples change places: the rounding of a product
of matrices differs from row to row by 1e-6 of it in float32, and by some hundredths in 16 bits."""
DRAWS, COPIED = 2, 8
"""Random weights that a place must matter with, and examples that are tried among copies."""
REMEDIES = {
    "inputs": "Normalise with the statistics of all training examples.",
    "normalised": "At evaluation use the running averages: pass train=False on to it.",
    "alone": "Look first for a normalisation over axis 0: no averages are carried that evaluation "
    "could use instead. Normalise each example over its features (axis=-1).",
    "mixed": "Look for a reshape, a reduction or a loop that takes in the first axis.",
}
OUTCOMES = ("F8", "E1", "E2", "E11")
"""What becomes of training says nothing of the rate, or its length, where this is wrong."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C11: information crosses the batch, or outputs depend on a place in it; C17: batch statistics
    at evaluation; B7: inputs are normalised over the batch. Of sequences also: whether outputs know
    the tokens after them."""
    facts.given("apply")
    if facts.batch_size < 2 or len(joined(facts.any_outputs)) != facts.batch_size:
        raise NotGiven("there is one example a batch, or no output for each")
    variables = facts.scattered(0.1)
    told = "Replacing one example of a batch changes the outputs of others"
    explains = (*OUTCOMES, "A13", "C16", "F3", "C3", "F1", "B8", "C15", "C2")
    if _crosses(facts, variables, False) or _from_before(facts, variables):
        how = _how(facts)
        name = {"inputs": "B7", "normalised": "C17"}.get(how, "C11")
        yield fault(
            CHECK,
            name,
            f"{told} at evaluation.",
            REMEDIES[how],
            row=ROW,
            explains=tuple({"B7", "C11", "C17"} - {name}) + explains,
        )
    elif _crosses(facts, variables, True) and _how(facts, train=True) == "mixed":
        yield fault(
            CHECK,
            "C11",
            f"{told} in training, and not by batch normalisation.",
            REMEDIES["mixed"],
            row=ROW,
            warn=True,
            explains=explains,
        )
    elif _placed(facts):
        yield fault(
            CHECK,
            "C11",
            "The outputs depend on an example's place in the batch: the same examples in another "
            "order have others.",
            "Index positions by time, not by example: look for a table added along axis 0, and for "
            "batch and time in each other's place (batch_first).",
            row=ROW,
            explains=(*explains, "G6", "G1"),
        )
    else:
        yield healthy(CHECK, "Examples do not see each other at evaluation.", row=ROW)
    if facts.known is not None and facts.known.tokens and _next(facts):
        yield from _future(facts, variables)


def _crosses(facts: Facts, variables: Any, train: bool) -> bool:
    """Whether examples see a later neighbour that was replaced."""
    half = max(1, facts.batch_size // 2)
    kept = np.arange(facts.batch_size) < half
    return _moved(*_beside(facts, variables, train, kept))


def _from_before(facts: Facts, variables: Any) -> bool:
    """Whether examples see an earlier neighbour, as a loop over the batch shows it to them: by a
    slope too, since room that earlier ones take up (experts of a limited capacity) has none."""
    if not facts.float_inputs:
        return False
    half = max(1, facts.batch_size // 2)
    kept = np.arange(facts.batch_size) >= half
    if not _moved(*_beside(facts, variables, False, kept)):
        return False

    def told(inputs: Any) -> Any:
        outputs = facts.apply(variables, inputs, facts.key, False)[0]
        leaves = [leaf[half:].astype(jnp.float32) for leaf in outputs_of(outputs)]
        return sum(jnp.sum(leaf * jax.random.normal(facts.key, leaf.shape)) for leaf in leaves)

    return bool(np.abs(as_numpy(jax.grad(told)(facts.batch.inputs)))[:half].max() > 0)


def _beside(
    facts: Facts, variables: Any, train: bool, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of the kept examples of the batch, as it is and with all others replaced."""
    inputs = np.array(facts.batch.inputs)
    other = inputs.copy()
    others = np.asarray(facts.train.inputs)
    other[~kept] = others[len(others) - int((~kept).sum()) :]
    if facts.float_inputs:
        other[~kept] = other[~kept] * 1.5 + 0.1
    before, after = (
        joined(facts.forward(variables, jnp.asarray(each), facts.key, train)[0])[kept]
        for each in (inputs, other)
    )
    return before, after


def _moved(before: np.ndarray, after: np.ndarray, least: float = ALIKE) -> bool:
    # Outputs that are all the same may be the mean of the batch: then they move together.
    scale = max(float(np.nanstd(before)), LITTLE * float(np.nanmax(np.abs(before))))
    return bool(np.nanmax(np.abs(after - before)) > least * scale) if scale > 1e-12 else False


def _placed(facts: Facts) -> bool:
    """Whether examples have other outputs in another order though no neighbour matters, with each
    of several random weights, and where evaluation draws nothing by chance."""
    order = np.random.default_rng(0).permutation(facts.batch_size)
    batch = np.asarray(facts.batch.inputs)
    for draw in range(DRAWS):
        variables = _carried_alike(facts, facts.scattered(0.1, draw))
        before, after = (
            joined(facts.forward(variables, jnp.asarray(each), facts.key, False)[0])
            for each in (batch, batch[order])
        )
        if not _differ(before[order], after, PLACED):
            return False
    layout, _ = facts.laid_out(False)
    names = {name for step in layout.steps for name in _inside(step)}
    low = any(
        is_float(v.aval) and v.aval.dtype.itemsize < 4 for s in layout.steps for v in s.eqn.outvars
    )
    least = ROUNDED if low else PLACED
    if names.intersection(RANDOM) or not _differ(before[order], after, least):
        return False
    return not _sees_copies(facts, variables, least)


def _sees_copies(facts: Facts, variables: Any, least: float) -> bool:
    """Whether an example among copies of itself, at the same place, has other outputs: copies take
    up the room of experts of a limited capacity first."""
    batch = np.asarray(facts.batch.inputs)
    own = joined(facts.forward(variables, jnp.asarray(batch), facts.key, False)[0])
    scale = float(np.std(own, where=np.isfinite(own)))
    for place in np.linspace(0, len(batch) - 1, COPIED).astype(int):
        copies = np.repeat(batch[place : place + 1], len(batch), 0)
        among = joined(facts.forward(variables, jnp.asarray(copies), facts.key, False)[0])
        if not np.allclose(among[place], own[place], 0, least * scale, equal_nan=True):
            return True
    return False


def _carried_alike(facts: Facts, variables: Any) -> Any:
    """The variables; of what is carried for every row of a batch the first row for all."""
    flat, structure = jax.tree.flatten(variables)
    for place in facts.carried:
        if flat[place].shape[:1] == (facts.batch_size,):
            flat[place] = jnp.broadcast_to(flat[place][:1], flat[place].shape)
    return jax.tree.unflatten(structure, flat)


def _differ(before: np.ndarray, after: np.ndarray, least: float) -> bool:
    finite = np.isfinite(before)
    if not np.array_equal(finite, np.isfinite(after)):
        return True
    return bool(finite.any()) and _moved(before[finite], after[finite], least)


def _inside(step: trace.Step) -> Iterator[str]:
    """The names of an operation and of all that a loop repeats."""
    yield step.name
    for part in step.eqn.params.values():
        if hasattr(part, "eqns") or hasattr(part, "jaxpr"):
            yield from trace.operations(part)


def _how(facts: Facts, *, train: bool = False) -> str:
    """By what examples see each other: a reduction over the batch of what comes from the inputs
    alone, one that a root follows (a normalisation, "alone" where no averages are carried), or
    anything else."""
    inputs = facts.batch.inputs
    layout, groups = facts.laid_out(train)
    origins = layout.origins(groups)
    over = [
        step
        for step in layout.steps
        if step.name in ("reduce_sum", "reduce_max", "reduce_min", "cumsum", "reduce_precision")
        and 0 in step.eqn.params.get("axes", ())
        and step.eqn.invars[0].aval.shape[:1] == (len(inputs),)
        and "inputs" in origins.get(step.reads[0] or 0, ())
    ]
    if any(origins[step.reads[0] or 0] == frozenset({"inputs"}) for step in over):
        return "inputs"
    reduced = {value: f"reduced {i}" for i, step in enumerate(over) for value in step.makes}
    after = layout.origins(reduced)
    rooted = any(
        step.name in ("rsqrt", "sqrt") and any(after.get(v) for v in step.reads if v)
        for step in layout.steps
    )
    if not rooted or _softmax_over(layout):
        return "mixed"
    return "normalised" if facts.carried else "alone"


def _softmax_over(layout: trace.Flat) -> bool:
    makers = layout.makers()
    return any(
        step.name == "reduce_sum"
        and 0 in step.eqn.params.get("axes", ())
        and (makers.get(step.reads[0] or 0) or step).name == "exp"
        for step in layout.steps
    )


def _next(facts: Facts) -> bool:
    """Whether targets are the tokens that follow."""
    inputs, targets = as_numpy(facts.train.inputs), as_numpy(facts.train.targets)
    if facts.float_inputs or inputs.shape != targets.shape or inputs.shape[1] < 4:
        return False
    return bool((inputs[:, 1:] == targets[:, :-1])[targets[:, :-1] >= 0].mean() > 0.9)


def _future(facts: Facts, variables: Any) -> Iterator[Finding]:
    inputs = np.array(facts.batch.inputs)
    middle = inputs.shape[1] // 2
    other = inputs.copy()
    other[:, middle:] = np.asarray(facts.train.inputs)[-len(inputs) :, middle:]
    before, after = (
        joined(facts.forward(variables, jnp.asarray(each), facts.key, False)[0])[:, :middle]
        for each in (inputs, other)
    )
    if np.abs(after - before).max() <= ALIKE * max(float(before.std()), 1e-12):
        yield healthy("causality", "Outputs do not know the tokens after them.", row=ROW)
        return
    yield fault(
        "causality",
        "C11",
        "Outputs change with the tokens after their place: the answer is in sight.",
        "Mask attention, and pad convolutions, so that each place sees only what came before.",
        row=ROW,
        explains=(*OUTCOMES, "A14"),
    )
