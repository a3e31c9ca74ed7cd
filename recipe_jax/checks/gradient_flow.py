"""Do all layers get gradients of a like size?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.checks.parameters import begun
from recipe_jax.probes import trace
from recipe_jax.probes.facts import Facts, as_numpy
from recipe_jax.types import Finding

APART = 1e3
LAYERS, GROWTH, STEEP = 5, 1e3, 10.0


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C10: gradients that vanish or explode from layer to layer."""
    facts.given("apply", "loss")
    variables = begun(facts)
    yield from _growth(facts)
    _, gradient = facts.gradient(facts.learnt(variables), variables, *facts.batch, facts.key)
    sizes = {}
    weights, slopes = map(as_numpy, facts.learnt(variables)), map(as_numpy, gradient)
    for name, leaf, slope in zip(facts.names, weights, slopes):
        # The bias of attention's keys changes nothing, and has no gradient but rounding.
        matrix = leaf.ndim >= 2 and "bias" not in name.lower()
        if matrix and slope.any() and np.isfinite(slope).all() and leaf.any():
            sizes[name] = float(np.sqrt(np.mean(slope**2)) * np.sqrt(np.mean(leaf**2)))
    if len(sizes) < 3:
        return
    low, high = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    ratio = sizes[high] / max(sizes[low], 1e-30)
    told = f"Gradients (times weights) of {high} are {ratio:.3g} times those of {low}"
    if ratio < APART:
        yield healthy("gradient_flow", f"{told}.", row="SKEL15", layers=sizes)
        return
    yield fault(
        "gradient_flow",
        "C10",
        f"{told}.",
        "Use ReLUs, scaled initial weights, normalisation or residual paths.",
        row="SKEL15",
        certainty="heuristic",
        warn=True,
        explains=("E2", "E11", "F8", "C8"),
        layers=sizes,
    )


def _growth(facts: Facts) -> Iterator[Finding]:
    """Signals that grow, or shrink, from layer to layer before any step is made."""

    def layers(eqn: Any) -> bool:
        shape = eqn.outvars[0].aval.shape
        return eqn.primitive.name in ("dot_general", "conv_general_dilated") and shape[:1] == (
            facts.batch_size,
        )

    def sizes(variables: Any, inputs: Any) -> list[Any]:
        run = trace.watched(lambda v, x: facts.apply(v, x, facts.key, False)[0], layers)
        return [
            jnp.sqrt(jnp.mean(jnp.square(made.astype(jnp.float32))))
            for _, (made, *_) in run(variables, inputs)[1]
        ]

    found = np.array(jax.jit(sizes)(facts.variables, facts.batch.inputs), np.float64)
    found = found[np.isfinite(found) & (found > 0)]
    if len(found) < LAYERS:
        return
    ratio = float(found[-2] / found[0])
    each = ratio ** (1 / (len(found) - 2))
    if 1 / GROWTH < ratio < GROWTH or not 1 / STEEP < each < STEEP:
        return
    yield fault(
        "signal_flow",
        "C10",
        f"Through {len(found)} layers signals change {ratio:.3g}-fold, {each:.3g}-fold in each.",
        "Scale initial weights by one over the root of what goes in, or normalise.",
        row="SKEL15",
        certainty="heuristic",
        warn=True,
        explains=("C2", "C3", "E1", "E2", "E11", "F8", "G1", "C8", "C9"),
        layers=found,
    )
