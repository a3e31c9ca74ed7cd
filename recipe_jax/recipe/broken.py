"""Where runs that diverged left the finite."""

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from recipe_jax.types import Breaking, Broken, Finding, Result, Status

LARGE = 1e3
"""A weight of that size has run away; healthy ones are of size 1."""


def told(results: Sequence[Result]) -> Generator[Any, Any, None]:
    """DIAG3: of the run that broke first, by its steps, where; nothing where all stayed finite.

    A PASS: that a run diverged is judged where it matters, and here it is explained.
    """
    diverged = [each for each in results if each.first_bad_step is not None]
    if not diverged:
        return
    first = min(diverged, key=lambda each: each.first_bad_step or 0)
    broke: Breaking | None = yield Broken(result=first)
    many = f"{len(diverged)} of {len(results)} runs diverged" if len(results) > 1 else "It diverged"
    which = f"trial {first.trial.uid} first, " if len(diverged) > 1 else ""
    yield Finding(
        check="broken",
        row="DIAG3 SKEL14",
        status=Status.PASS,
        summary=f"{many}, {which}at step {first.first_bad_step}"
        + (_where(broke) if broke else "; trained again alone it stays finite there")
        + ".",
        evidence={
            "trial": first.trial.uid,
            "settings": dict(first.trial.settings),
            "first_bad_step": first.first_bad_step,
            "trials": [each.trial.uid for each in diverged],
            "steps": [each.first_bad_step for each in diverged],
            **({} if broke is None else broke._asdict()),
        },
    )


def _where(broke: Breaking) -> str:
    """The layer and the way, for the sentence."""
    layer = broke.layer or "the loss"
    told = {
        "forward": f": {layer} is the first to give numbers that are not finite",
        "gradient": f": the loss is finite, and the gradient of {layer} is not",
        "update": f": gradients are finite, and the update of {layer} is not",
        "weights": f": weights of {layer} were not finite any more",
    }[broke.way]
    if np.isfinite(broke.largest) and broke.largest >= LARGE:
        told += f"; its weights had grown to {broke.largest:.2g}"
    elif np.isfinite(broke.largest) and broke.way in ("forward", "gradient"):
        told += f", with weights of {broke.largest:.2g} at most"
    return told
