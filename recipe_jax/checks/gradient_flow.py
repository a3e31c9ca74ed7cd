"""Do all layers get gradients of a like size?"""

from collections.abc import Iterator

import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.checks.parameters import _begun
from recipe_jax.probes.facts import Facts, as_numpy
from recipe_jax.types import Finding

APART = 1e3


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C10: gradients that vanish or explode from layer to layer."""
    facts.given("apply", "loss")
    variables = _begun(facts)
    _, gradient = facts.gradient(facts.learnt(variables), variables, *facts.batch, facts.key)
    sizes = {}
    for name, leaf, slope in zip(facts.names, facts.learnt(variables), gradient):
        slope, leaf = as_numpy(slope), as_numpy(leaf)
        if leaf.ndim >= 2 and slope.any() and np.isfinite(slope).all() and leaf.any():
            sizes[name] = float(np.sqrt(np.mean(slope**2)) * np.sqrt(np.mean(leaf**2)))
    if len(sizes) < 3:
        return
    low, high = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    ratio = sizes[high] / max(sizes[low], 1e-30)
    told = f"Gradients (times weights) of {high} are {ratio:.3g} times those of {low}"
    if ratio < APART:
        yield healthy("gradient_flow", f"{told}.", row="SKEL14", layers=sizes)
        return
    yield fault(
        "gradient_flow",
        "C10",
        f"{told}.",
        "Use ReLUs, scaled initial weights, normalisation or residual paths.",
        row="SKEL14",
        certainty="heuristic",
        warn=True,
        explains=("E2", "E11", "F8", "C8"),
        layers=sizes,
    )
