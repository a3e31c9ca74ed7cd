"""Does an example's output depend on the others in its batch, or on what comes after it?"""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes import trace
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy, joined
from recipe_jax.types import Finding

ROW = "SKEL10 SKEL17"
CHECK = "batch_mates"
ALIKE, LITTLE = 1e-4, 1e-2


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C11: information crosses the batch; C17: batch statistics at evaluation; B7: inputs are
    normalised over the batch. Of sequences also: whether outputs know the tokens after them."""
    facts.given("apply")
    if facts.batch_size < 2 or len(joined(facts.any_outputs)) != facts.batch_size:
        raise NotGiven("there is one example a batch, or no output for each")
    variables = facts.scattered(0.1)
    crossed = {train: _crosses(facts, variables, train) for train in (False, True)}
    told = "Replacing one example of a batch changes the outputs of others"
    explains = ("F8", "A13", "C16", "F3", "C3", "F1", "B8", "C15", "C2")
    if crossed[False]:
        how = _how(facts)
        names = {"inputs": "B7", "normalised": "C17", "mixed": "C11"}
        remedies = {
            "inputs": "Normalise with the statistics of all training examples.",
            "normalised": "At evaluation use the running averages: pass train=False on to it.",
            "mixed": "Look for a reshape or a reduction that takes in the first axis.",
        }
        yield fault(
            CHECK,
            names[how],
            f"{told} at evaluation.",
            remedies[how],
            row=ROW,
            explains=tuple(set(names.values()) - {names[how]}) + explains,
        )
    elif crossed[True] and _how(facts, train=True) == "mixed":
        yield fault(
            CHECK,
            "C11",
            f"{told} in training, and not by batch normalisation.",
            "Look for a reshape or a reduction that takes in the first axis.",
            row=ROW,
            warn=True,
            explains=explains,
        )
    else:
        yield healthy(CHECK, "Examples do not see each other at evaluation.", row=ROW)
    if facts.known is not None and facts.known.tokens and _next(facts):
        yield from _future(facts, variables)


def _crosses(facts: Facts, variables: Any, train: bool) -> bool:
    """Whether examples see a neighbour that was replaced."""
    inputs = np.array(facts.batch.inputs)
    half = max(1, len(inputs) // 2)
    other = inputs.copy()
    others = np.asarray(facts.train.inputs)
    other[half:] = others[np.arange(len(others) - (len(inputs) - half), len(others))]
    if facts.float_inputs:
        other[half:] = other[half:] * 1.5 + 0.1
    before, after = (
        joined(facts.forward(variables, jnp.asarray(each), facts.key, train)[0])[:half]
        for each in (inputs, other)
    )
    # Outputs that are all the same may be the mean of the batch: then they move together.
    scale = max(float(np.nanstd(before)), LITTLE * float(np.nanmax(np.abs(before))))
    return bool(np.nanmax(np.abs(after - before)) > ALIKE * scale) if scale > 1e-12 else False


def _how(facts: Facts, *, train: bool = False) -> str:
    """By what examples see each other: a reduction over the batch of what comes from the inputs
    alone, one that a root follows (a normalisation), or anything else."""
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
    return "normalised" if rooted and not _softmax_over(layout) else "mixed"


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
        explains=("A14",),
    )
