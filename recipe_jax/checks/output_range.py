"""Can the outputs reach what is asked?"""

from collections.abc import Iterator

import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.checks.loss_reading import what_it_reads
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

ROW = "SKEL4"
CHECK = "output_range"


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C4: an activation after the last layer keeps outputs inside a range that does not fit."""
    facts.given("apply")
    low, high = _range(facts)
    told = f"Outputs of many random weights run from {low:.3g} to {high:.3g}"
    name = ""
    if low >= 0 and high <= 1:
        name = "a sigmoid"
    elif low >= -1 and high <= 1:
        name = "a tanh"
    elif low == 0:
        name = "a ReLU"
    if facts.meaning.kind == "values":
        wanted = as_numpy(facts.all_train.targets)
        span = float(wanted.max() - wanted.min())
        outside = bool(wanted.min() < low - 0.05 * span or wanted.max() > high + 0.05 * span)
        told += f", targets from {wanted.min():.3g} to {wanted.max():.3g}"
        bad = bool(name) and outside
    else:
        reads = what_it_reads(facts) if facts.program.loss is not None else ""
        bad = bool(name) and reads == "logits" and facts.form == "logits"
        if name == "a sigmoid" and facts.meaning.kind == "binary":
            bad = reads == "logits"
    if not bad:
        yield healthy(CHECK, f"{told}.", row=ROW)
        return
    yield fault(
        CHECK,
        "C4",
        f"{told}: they look like {name} after the last layer, which cannot say what is asked.",
        "Leave the last layer linear.",
        row=ROW,
        explains=("F8", "C9", "D7", "E11", "C8", "E2", "C10", "C13", "C5", "A11"),
    )


def _range(facts: Facts) -> tuple[float, float]:
    """Of all outputs that are finite, at several random changes of the weights."""
    found = []
    for scale in (0.0, 1.0, 3.0, 10.0, 30.0):
        variables = facts.scattered(scale) if scale else facts.variables
        outputs = as_numpy(facts.forward(variables, facts.batch.inputs, facts.key, False)[0])
        found.append(outputs[np.isfinite(outputs)])
    values = np.concatenate(found)
    if not values.size:
        raise NotGiven("no output is finite")
    return float(values.min()), float(values.max())
