"""Are all numbers finite, and read where they are?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes import trace
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy, joined
from recipe_jax.types import Finding

ROW = "SKEL12 SKEL14"
MOST_NUMBERS, MOST_COLUMNS = 64, 16


def diagnose(facts: Facts) -> Iterator[Finding]:
    """G1: training leaves the finite; G3: only the gradient does; G6: indices out of bounds; B10:
    sums in whole numbers of eight bits."""
    facts.given("apply")
    yield from _indices(facts)
    if not facts.float_inputs:
        yield from _merged(facts)
    yield from _eight_bits(facts)
    if facts.program.loss is not None:
        yield from _gradient(facts)
        yield from _training(facts)


def _gradient(facts: Facts) -> Iterator[Finding]:
    batches = {"a batch": facts.batch, "another batch": facts.more(1)}
    if facts.float_inputs:
        zeros = jnp.zeros_like(facts.batch.inputs)
        batches["inputs of zero"] = facts.batch._replace(inputs=zeros)
        alike = jnp.broadcast_to(facts.batch.inputs[:1], facts.batch.inputs.shape)
        batches["equal inputs"] = facts.batch._replace(inputs=alike)
    for name, batch in batches.items():
        (loss, _), gradient = facts.gradient(
            facts.learnt(facts.variables), facts.variables, *batch, facts.key
        )
        bad = [n for n, g in zip(facts.names, gradient) if not np.isfinite(as_numpy(g)).all()]
        if bad and np.isfinite(float(loss)):
            yield fault(
                "finite_gradient",
                "G3",
                f"On {name} the loss is {float(loss):.3g}, and the gradient of {bad[0]} is not "
                "finite.",
                "A root, norm or division at zero: choose a safe input with where before it, not "
                "after.",
                row=ROW,
                # What no example is does no harm yet.
                warn=name == "inputs of zero" and not _has_zeros(facts),
                explains=("G1", "F8", "E1", "C10"),
            )
            return
    yield healthy("finite_gradient", "Gradients are finite, at inputs of zero too.", row=ROW)


def _has_zeros(facts: Facts) -> bool:
    """Whether an example is zero throughout."""
    splits = [facts.all_train, *([facts.program.validation] if facts.has_validation else [])]
    return any(
        not as_numpy(split.inputs).reshape(len(split.inputs), -1).any(1).all()  # pyright: ignore
        for split in splits
    )


def _training(facts: Facts) -> Iterator[Finding]:
    try:
        lanes = facts.lanes
    except NotGiven:
        return
    normal = lanes["normal"]
    if normal.finite:
        yield healthy("finite_training", "Every loss of training is finite.", row=ROW)
        return
    step = int(np.flatnonzero(~np.isfinite(normal.losses))[0])
    yield fault(
        "finite_training",
        "G1",
        f"The loss is not finite from step {step} on.",
        "Look at the rate first, then for logarithms and divisions of zero.",
        row=ROW,
        # A slower lane tells; where there is none, that it began well.
        certainty="outcome"
        if (lanes["0.1 x"].finite if "0.1 x" in lanes else step > 0)
        else "exact",
        explains=("F8", "E1", "C9", "C10"),
    )


def _indices(facts: Facts) -> Iterator[Finding]:
    """Whether rows are read from tables of weights that have no such row."""
    out: list[str] = []
    chosen: list[Any] = []

    def is_gather(eqn: Any) -> bool:
        if eqn.primitive.name == "gather":
            chosen.append(eqn)
            return True
        return False

    run = trace.watched(lambda v, x: facts.apply(v, x, facts.key, False)[0], is_gather)

    @jax.jit
    def places(variables: Any, inputs: Any) -> list[Any]:
        chosen.clear()
        return [(jnp.shape(given[0]), given[1]) for given, _ in run(variables, inputs)[1]]

    for arrays in (facts.train, facts.validation if facts.has_validation else facts.train):
        seen = places(
            facts.variables, jnp.asarray(np.resize(arrays.inputs, (256, *arrays.inputs.shape[1:])))
        )
        for eqn, (shape, indices) in zip(chosen, seen):
            bounds = [int(bound) for bound in shape]
            numbers = eqn.params["dimension_numbers"]
            sizes = eqn.params["slice_sizes"]
            for column, axis in enumerate(numbers.start_index_map):
                found = np.asarray(indices)[..., column]
                if found.size and (found.max() > bounds[axis] - sizes[axis] or found.min() < 0):
                    worst = int(
                        found.max() if found.max() > bounds[axis] - sizes[axis] else found.min()
                    )
                    out.append(f"row {worst} of {bounds[axis]}")
    if not out:
        return
    yield fault(
        "indices",
        "G6",
        f"The model reads {out[0]}: out of bounds, JAX gives another row, or NaN, and no error.",
        "Make the table as large as the highest number, or check the numbers.",
        row="SKEL12 SKEL14",
        explains=("G1", "F8", "C12", "C13", "A7", "A2", "D8"),
    )


def _merged(facts: Facts) -> Iterator[Finding]:
    """G6: numbers of tokens, or categories, that are taken for one another before they are read."""
    inputs = np.array(facts.batch.inputs)
    if inputs.ndim != 2 or len(inputs) < 2:
        return
    columns = range(inputs.shape[1]) if inputs.shape[1] <= MOST_COLUMNS else [0]
    for column in columns:
        everywhere = inputs.shape[1] > MOST_COLUMNS
        seen = np.asarray(facts.train.inputs)
        used = np.unique(seen if everywhere else seen[:, column])
        if not 3 <= len(used) <= MOST_NUMBERS:
            continue
        found = []
        for number in used:
            changed = np.repeat(inputs[:1], len(inputs), 0)
            changed[:, slice(None) if everywhere else column] = number
            found.append(
                joined(facts.forward(facts.scattered(0.1), changed, facts.key, False)[0])[0]
            )
        outputs = np.stack([each.ravel() for each in found])
        # The highest numbers, as clipping leaves them.
        alike = (outputs == outputs[-1]).all(1)
        if alike.all() or alike.sum() < 2 or not alike[-int(alike.sum()) :].all():
            continue
        first = used[len(used) - int(alike.sum())]
        where = "" if everywhere else f" of column {column}"
        yield fault(
            "merged_numbers",
            "G6",
            f"The numbers from {first} to {used[-1]}{where} give the same outputs: they are taken "
            "for one.",
            "Make the table as large as the highest number, and do not clip.",
            row="SKEL12 SKEL14",
            explains=("F8", "C12", "C13", "A2", "E11", "D8"),
        )
        return


def _eight_bits(facts: Facts) -> Iterator[Finding]:
    """Sums of inputs that wrap around at 256."""
    if facts.train.inputs.dtype.itemsize != 1 or facts.train.inputs.dtype.kind not in "iu":
        return
    layout = trace.flat(
        lambda x: facts.apply(facts.variables, x, facts.key, False)[0], facts.batch.inputs
    )
    for step in layout.steps:
        if step.name in ("add", "sub", "mul", "neg"):
            kind = step.eqn.outvars[0].aval.dtype
            if kind.itemsize == 1 and jnp.issubdtype(kind, jnp.integer):
                yield fault(
                    "eight_bits",
                    "B10",
                    f"The model computes ({step.name}) in {kind}, which wraps around.",
                    "Convert inputs to float32 first.",
                    row="SKEL12 SKEL14",
                    explains=("F8", "A9"),
                )
                return
