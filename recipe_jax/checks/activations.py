"""What do the hidden units do with real examples?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.probes import trace
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

ROW = "SKEL14 SKEL15"
LOOKED = 256
MANY, NEARLY_ALL = 0.4, 0.9
SATURATED, SHARE = 5.0, 0.5


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C9: ReLUs that are never on; C8: tanh and sigmoid at their ends; C6: a softmax inside."""
    facts.given("apply")
    yield from _units(facts)
    yield from _softmax(facts)


def _units(facts: Facts) -> Iterator[Finding]:
    try:
        states = [facts.variables, facts.lanes["normal"].last]
    except NotGiven:
        states = [facts.variables]
    states = [v for v in states if all(np.isfinite(as_numpy(x)).all() for x in facts.learnt(v))]
    inputs = jnp.asarray(facts.train.inputs[:LOOKED])
    names: list[str] = []

    def chosen(eqn: Any) -> bool:
        shape = eqn.outvars[0].aval.shape
        layer = len(shape) >= 2 and shape[0] == len(inputs) and shape[-1] > 1
        keep = layer and (_is_relu(eqn) or eqn.primitive.name in ("tanh", "logistic"))
        if keep:
            names.append(eqn.primitive.name)
        return keep

    def measured(variables: Any) -> list[Any]:
        names.clear()
        run = trace.watched(lambda v, x: facts.apply(v, x, facts.key, False)[0], chosen)
        found = []
        for (given, *_), (made, *_) in run(variables, inputs)[1]:
            axes = tuple(range(made.ndim - 1))
            found.append(
                (
                    jnp.mean(jnp.max(made, axes) <= 0),
                    jnp.mean(jnp.abs(given.astype(jnp.float32)) > SATURATED),
                )
            )
        return found

    compiled = jax.jit(measured)
    shares = np.array([[(float(a), float(b)) for a, b in compiled(v)] for v in states])
    if not shares.size:
        return
    kind = np.array(names)
    dead = shares[..., 0][:, kind == "max"]
    if dead.size:
        yield from _dead(dead)
    ends = shares[..., 1][:, kind != "max"]
    if ends.size:
        worst = float(ends.max())
        told = (
            f"In the worst layer {percent(worst)} of the inputs to tanh or sigmoid lie "
            f"beyond {SATURATED:g}"
        )
        if worst > SHARE:
            yield fault(
                "saturation",
                "C8",
                f"{told}: their slope is nearly zero.",
                "Scale inputs and weights down, or normalise before the activation.",
                row=ROW,
                certainty="heuristic",
                warn=True,
                explains=("C10", "F8", "E2", "E11"),
                layers=ends.max(0),
            )
        else:
            yield healthy("saturation", f"{told}.", row=ROW)


def _dead(dead: np.ndarray) -> Iterator[Finding]:
    """dead: (states, layers) share of the units that are off for every example."""
    worst = float(dead.max())
    where = int(dead.max(0).argmax())
    when = "at the start" if dead[0].max() >= worst else "after training"
    told = (
        f"{percent(worst)} of the units of ReLU {where + 1} of {dead.shape[1]} are never "
        f"on ({when})"
    )
    if worst <= MANY:
        yield healthy("dead_units", f"{told}.", row=ROW)
        return
    yield fault(
        "dead_units",
        "C9",
        f"{told}.",
        "Begin with biases of zero and a lower rate; look at the scale of what goes in.",
        row=ROW,
        certainty="exact" if worst >= 0.999 else "heuristic",
        warn=worst <= NEARLY_ALL,
        explains=("F8", "C13", "E2", "E11", "C10", "D8", "E6", "E7", "C6"),
        layers=dead.max(0),
    )


def _is_relu(eqn: Any) -> bool:
    """max(x, 0)."""
    return eqn.primitive.name == "max" and any(
        isinstance(atom, core.Literal) and np.ndim(atom.val) == 0 and float(atom.val) == 0.0
        for atom in eqn.invars
    )


def _softmax(facts: Facts) -> Iterator[Finding]:
    """C6: exp / sum that goes straight into a matrix of weights; in attention it weighs values that
    come from the inputs."""
    layout, groups = facts.laid_out(train=False)
    origins = layout.origins(groups)
    makers = layout.makers()
    places = 0
    for step in layout.steps:
        if step.name != "dot_general" or None in step.reads:
            continue
        for one, other in (step.reads, step.reads[::-1]):
            plain = origins.get(other or 0) == frozenset({"weights"})
            if plain and "inputs" in origins.get(one or 0, ()) and _from_softmax(one, makers):
                places += 1
    if not places:
        yield healthy("hidden_softmax", "No layer reads probabilities.", row=ROW)
        return
    outcome = facts.outcome
    good = outcome.skill > 0.9 or (outcome.skill > outcome.simple + 0.05 and outcome.learnt > 0.95)
    yield fault(
        "hidden_softmax",
        "C6",
        f"{places} layer{'s read' if places > 1 else ' reads'} the probabilities of a softmax: all "
        "that passes sums to one.",
        "Use a ReLU or the like between layers; softmax belongs after the last.",
        row=ROW,
        certainty="heuristic",
        warn=good,
        explains=("F8", "C10", "E2", "E11", "C8", "E5"),
    )


PASSING = ("reshape", "convert_element_type", "transpose", "copy", "squeeze", "broadcast_in_dim")


def _from_softmax(value: int | None, makers: dict[int, trace.Step]) -> bool:
    step = makers.get(value or 0)
    while step is not None and step.name in PASSING:
        step = makers.get(step.reads[0] or 0)
    if step is None or step.name != "div":
        return False
    top = makers.get(step.reads[0] or 0)
    return top is not None and top.name == "exp"
