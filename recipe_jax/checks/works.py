"""Does training work at all?"""

from collections.abc import Iterator

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts
from recipe_jax.types import Finding

ROW = "SKEL20"


def diagnose(facts: Facts) -> Iterator[Finding]:
    """F8: held-out examples are predicted no better than by a constant, or a batch is not learnt.

    An outcome, not a cause: what else was found explains it.
    """
    outcome = facts.outcome
    told = (
        f"Skill on held-out examples {outcome.skill:.2f} [{outcome.low:.2f}, "
        f"{outcome.high:.2f}] of "
        f"1, on training {outcome.learnt:.2f}, on one batch alone {outcome.by_heart:.2f}"
    )
    if not outcome.failures:
        yield healthy("works", f"{told}.", row=ROW)
        return
    yield fault(
        "works",
        "F8",
        f"{told}: {'; '.join(outcome.failures)}.",
        "Make it smaller until it works: fewer examples, a plainer model, no regulariser.",
        row=ROW,
        certainty="outcome",
        warn=not outcome.fails,
        explains=("E11",),
    )
