"""Do hidden units begin, and stay, alike?"""

from collections.abc import Iterator

import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, as_numpy
from recipe_jax.types import Finding

ROW = "SKEL3"
ALIKE = 1e-6


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C1: the units of a layer have equal weights before training and after it."""
    lanes = facts.lanes
    alike = []
    for place, name, *several in zip(
        facts.places,
        facts.names,
        facts.learnt(facts.variables),
        facts.learnt(lanes["normal"].first),
        facts.learnt(lanes["normal"].last),
    ):
        if not facts.leaves[place].frozen and all(_alike(as_numpy(leaf)) for leaf in several):
            alike.append(name)
    if not alike:
        yield healthy("symmetry", "The units of every layer differ.", row=ROW)
        return
    yield fault(
        "symmetry",
        "C1",
        f"All units of {', '.join(alike[:4])} have the same weights, and training "
        "keeps them alike.",
        "Draw the weights at random.",
        row=ROW,
        explains=("F8", "C13", "E2", "E11", "C9", "C10", "C2", "C12", "C7", "C6"),
        weights=alike,
    )


def _alike(leaf: np.ndarray) -> bool:
    """Columns of a matrix are equal."""
    if leaf.ndim < 2 or leaf.shape[-1] < 2 or leaf.size // leaf.shape[-1] < 2:
        return False
    columns = leaf.reshape(-1, leaf.shape[-1])
    scale = max(float(np.abs(columns).max()), 1e-12)
    return bool(np.abs(columns - columns[:, :1]).max() <= ALIKE * scale)
