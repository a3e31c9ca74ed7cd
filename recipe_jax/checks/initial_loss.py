"""Does training begin where a program that knows nothing but the prior would?"""

from collections.abc import Iterator

import numpy as np
from scipy import special

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

ROW = "SKEL1"
WIDE, FAR_TOO_WIDE = 4.0, 10.0
PRIOR = 0.4


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C2: outputs begin far too wide; C3: they ignore a prior that is far from even."""
    facts.given("init", "apply")
    inputs = facts.train.inputs[:256]
    outputs = as_numpy(facts.forward(facts.variables, inputs, facts.key, False)[0])
    meaning = facts.meaning
    if not np.isfinite(outputs).all():
        bad = float((~np.isfinite(outputs)).mean())
        yield fault(
            "initial_outputs",
            "G1",
            f"{bad:.0%} of the outputs are not finite before any step.",
            "Look for a logarithm, a root or a division of zero in the model, and at the init.",
            row=ROW,
            explains=("F8", "E1", "C2", "G3", "C11", "C16"),
        )
        return
    if meaning.kind == "values":
        width = outputs.reshape(len(outputs), -1).std(0) / np.sqrt(meaning.variance)
        spread, unit = float(width.max()), "deviations of the targets"
    elif facts.form == "logits":
        centred = outputs - (outputs.mean(-1, keepdims=True) if meaning.kind == "classes" else 0)
        spread, unit = float(np.sqrt(np.mean(np.square(centred)))), "as logits"
    else:
        raise NotGiven("outputs are probabilities")
    told = f"Outputs begin {spread:.3g} wide ({unit})"
    if spread > WIDE:
        yield fault(
            "initial_outputs",
            "C2",
            f"{told}.",
            "Scale the weights by one over the root of what goes in (LeCun, He), the last ones less.",
            row=ROW,
            certainty="heuristic",
            warn=spread < FAR_TOO_WIDE or _scaled(facts),
            explains=("E1", "E11", "F8", "C8", "C9", "C10", "A2", "E2"),
        )
    else:
        yield healthy("initial_outputs", f"{told}.", row=ROW)
    yield from _prior(facts, outputs)


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
        saved = float(
            np.max(
                np.abs(outputs.reshape(len(outputs), -1).mean(0) - meaning.prior)
                / np.sqrt(meaning.variance)
            )
        )
        told = f"Outputs begin {saved:.2f} deviations away from the mean of the targets"
        bad = saved > 2.0
    elif meaning.tokens:
        return
    else:
        chances = meaning.chances(outputs, facts.form).reshape(-1, max(2, meaning.classes)).mean(0)
        prior = np.pad(meaning.prior, (0, max(0, len(chances) - len(meaning.prior))))[
            : len(chances)
        ]
        saved = float(special.rel_entr(prior, np.maximum(chances, 1e-12)).sum())
        told = f"Knowing the class frequencies alone would save {saved:.2f} nats at the start"
        bad = saved > PRIOR
    if not bad:
        yield healthy("initial_bias", f"{told}.", row=ROW)
        return
    yield fault(
        "initial_bias",
        "C3",
        f"{told}.",
        "Begin the last bias at the log frequencies, or at the mean of the targets.",
        row=ROW,
        certainty="heuristic",
        warn=True,
    )
