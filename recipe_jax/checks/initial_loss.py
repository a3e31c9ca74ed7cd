"""Does training begin where a program that knows nothing but the prior would?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes import trace
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy, joined
from recipe_jax.types import Finding

ROW = "SKEL1"
WIDE, FAR_TOO_WIDE = 4.0, 10.0
PRIOR = 0.4

NOT_FINITE = (
    "F8", "E1", "C2", "C4", "C7", "C8", "C9", "C11", "C12", "C13", "C16", "C17", "E6", "E7", "G3",
    "G5",
)  # fmt: skip
"""What else is said of outputs that are not finite."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C2: outputs begin far too wide; C3: they ignore a prior that is far from even."""
    facts.given("init", "apply")
    inputs = facts.train.inputs[:256]
    outputs = joined(facts.forward(facts.variables, inputs, facts.key, False)[0])
    if not np.isfinite(outputs).all():
        bad = float((~np.isfinite(outputs)).mean())
        yield fault(
            "initial_outputs",
            "G1",
            f"{bad:.0%} of the outputs are not finite before any step" + _where(facts, inputs),
            "Look for a logarithm, a root or a division of zero in the model, and at the init.",
            row=ROW,
            explains=NOT_FINITE,
        )
        return
    facts.same_scale()
    meaning = facts.meaning
    if meaning.kind == "values":
        width = outputs.reshape(len(outputs), -1).std(0) / meaning.deviation
        spread, unit = float(width.max()), "deviations of the targets"
    elif facts.form == "logits":
        centred = outputs - (outputs.mean(-1, keepdims=True) if meaning.kind == "classes" else 0)
        # Around their mean over examples: what all share is the bias, judged by itself.
        spread, unit = float(centred.std(0).max()), "as logits"
    else:
        raise NotGiven("outputs are probabilities")
    told = f"Outputs begin {spread:.3g} wide ({unit})"
    if spread > WIDE:
        yield fault(
            "initial_outputs",
            "C2",
            f"{told}.",
            "Scale the weights by one over the root of what goes in (LeCun, He), the "
            "last ones less.",
            row=ROW,
            certainty="heuristic",
            warn=spread < FAR_TOO_WIDE or _scaled(facts),
            explains=("E1", "E11", "F8", "C8", "C9", "C10", "A2", "E2"),
        )
    else:
        yield healthy("initial_outputs", f"{told}.", row=ROW)
    yield from _prior(facts, outputs)
    yield from _weights(facts)


def _where(facts: Facts, inputs: Any) -> str:
    """Of the operations in order, the first whose results are not all finite."""
    names: list[str] = []

    def floats(eqn: Any) -> bool:
        kind = eqn.outvars[0].aval
        chosen = hasattr(kind, "dtype") and jnp.issubdtype(kind.dtype, jnp.floating)
        if chosen:
            names.append(f"{eqn.primitive.name}, of shape {tuple(kind.shape)}")
        return chosen

    @jax.jit
    def sound(variables: Any, inputs: Any) -> list[Any]:
        names.clear()
        run = trace.watched(lambda v, x: facts.apply(v, x, facts.key, False)[0], floats)
        return [jnp.isfinite(made).all() for _, (made, *_) in run(variables, inputs)[1]]

    found = sound(facts.variables, inputs)
    first = next((name for name, ok in zip(names, found) if not bool(ok)), "")
    return f": first after {first}." if first else "."


def _scaled(facts: Facts) -> bool:
    """Whether inputs or targets are of an odd scale, which explains the outputs as well."""
    if facts.meaning.kind == "values":
        deviation = np.sqrt(facts.meaning.variance)
        if deviation.min() < 0.1:
            return True
    values = as_numpy(facts.train.inputs)
    return facts.float_inputs and float(np.sqrt(np.mean(np.nan_to_num(values) ** 2))) > 5


def _prior(facts: Facts, outputs: np.ndarray) -> Iterator[Finding]:
    """C3: how much of the loss at the start a bias would save."""
    meaning = facts.meaning
    if meaning.kind == "values":
        saved = meaning.away(outputs.reshape(len(outputs), -1).mean(0))
        told = f"Outputs begin {saved:.2f} deviations away from the mean of the targets"
        bad, far = saved > 2.0, saved > 4.0 and not _scaled(facts)
    elif meaning.tokens:
        return
    else:
        chances = meaning.chances(outputs, facts.form).reshape(-1, max(2, meaning.classes)).mean(0)
        prior = np.pad(meaning.prior, (0, max(0, len(chances) - len(meaning.prior))))[
            : len(chances)
        ]
        saved = float(special.rel_entr(prior, np.maximum(chances, 1e-12)).sum())
        told = f"Knowing the class frequencies alone would save {saved:.2f} nats at the start"
        # Of even classes only a bias that is far off is wrong: random weights do that much.
        uneven = np.log(np.count_nonzero(prior)) - special.entr(prior).sum() > 0.3
        far = saved > max(1.5, np.log(max(2, meaning.classes)))
        bad = far or (uneven and saved > PRIOR)
    if not bad:
        yield healthy("initial_bias", f"{told}.", row="SKEL2")
        return
    yield fault(
        "initial_bias",
        "C3",
        f"{told}.",
        "Begin the last bias at the log frequencies, or at the mean of the targets.",
        row="SKEL2",
        certainty="heuristic",
        warn=not far,
        explains=("E11", "E2", "E1", "F8", "A11", "C9"),
    )


LITTLE = 0.05


def _weights(facts: Facts) -> Iterator[Finding]:
    """C2: matrices so small that nothing gets through, where no normalisation makes up for it."""
    sizes = {}
    for name, leaf in zip(facts.names, facts.learnt(facts.variables)):
        values = as_numpy(leaf)
        if values.ndim >= 2 and values.any() and min(values.shape[-2:]) > 1:
            fan_in = values.size // values.shape[-1]
            sizes[name] = float(values.std() * np.sqrt(fan_in))
    normalises = any(
        name == "rsqrt"
        for name in trace.operations(
            jax.make_jaxpr(lambda v, x: facts.apply(v, x, facts.key, True)[0])(
                facts.variables, facts.batch.inputs
            )
        )
    )
    little = [name for name, size in sizes.items() if size < LITTLE]
    if len(sizes) < 2 or 2 * len(little) < len(sizes) or normalises:
        return
    yield fault(
        "initial_weights",
        "C2",
        f"{', '.join(little[:3])} begin so small that what comes out is {min(sizes.values()):.2g} "
        "times what goes in.",
        "Scale the weights by one over the root of what goes in (LeCun, He).",
        row="SKEL3",
        certainty="heuristic",
        warn=True,
        explains=("F8", "E2", "E11", "C10", "C9", "C7", "E5"),
    )
