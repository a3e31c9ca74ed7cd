"""Can the outputs reach what is asked?"""

from collections.abc import Iterator

import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.checks.loss_reading import what_it_reads
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

ROW = "SKEL13"
CHECK = "output_range"
NARROW = 3.0
"""Logits that differ by less cannot be sure of anything."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C4: an activation after the last layer keeps outputs inside a range that does not fit."""
    facts.given("apply")
    facts.same_scale()
    low, high, blind = _range(facts)
    told = f"Outputs of many random weights run from {low:.3g} to {high:.3g}"
    name = ""
    if low == high:
        one = low == 1 and np.shape(facts.outputs)[-1:] == (1,)
        yield fault(
            CHECK,
            "C6" if one else "D8",
            f"Every output is {low:.3g}, whatever weights and inputs are"
            + (": a softmax over one output." if one else "."),
            "Use a sigmoid, or two outputs." if one else "Follow the outputs back to the weights.",
            row=ROW,
            explains=(
                "C4",
                "C7",
                "C12",
                "C13",
                "C14",
                "D6",
                "D8",
                "F8",
                "E2",
                "E6",
                "E7",
                "E11",
                "E5",
                "C5",
                "C1",
            ),
        )
        return
    if blind:
        yield fault(
            CHECK,
            "D8",
            "Outputs are the same for every example, whatever the weights: inputs do "
            "not reach them.",
            "Follow the inputs through the model to where they are lost.",
            row=ROW,
            explains=("C6", "C7", "C12", "C13", "F8", "E2", "E11", "A1", "B2"),
        )
        return
    if low >= 0 and high <= 1 and high > 0.9 and low < 0.1:
        name = "a sigmoid"
    elif low >= -1 and high <= 1 and high > 0.9 and low < -0.9:
        name = "a tanh"
    elif low == 0:
        name = "a ReLU"
    elif high == 0:
        name = "a ReLU with its sign turned"
    elif high - low < NARROW and facts.meaning.kind != "values":
        name = "a bounded activation"
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
        "Leave the last layer linear"
        + ("; multiply a cosine by a scale, of 10 or more or learnt." if -1 <= low < 0 else "."),
        row=ROW,
        explains=("F8", "C9", "D7", "E11", "C8", "E2", "C10", "C13", "C5", "A11"),
    )


def _range(facts: Facts) -> tuple[float, float, bool]:
    """(lowest, highest, whether no example differs from another) of all outputs that are finite, at
    several random changes of the weights."""
    found, differ = [], len(np.unique(np.asarray(facts.batch.inputs), axis=0)) < 2
    for number, scale in enumerate((0.0, *(1.0, 3.0, 10.0, 30.0) * 3)):
        variables = facts.scattered(scale, number) if scale else facts.variables
        outputs = as_numpy(facts.forward(variables, facts.batch.inputs, facts.key, False)[0])
        found.append(outputs[np.isfinite(outputs)])
        differ = differ or not np.array_equal(
            outputs, np.broadcast_to(outputs[:1], outputs.shape), equal_nan=True
        )
    values = np.concatenate(found)
    if not values.size:
        raise NotGiven("no output is finite")
    return float(values.min()), float(values.max()), not differ
