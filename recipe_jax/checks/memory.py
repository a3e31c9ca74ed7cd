"""Is what a step hands on as large after it as before?"""

from collections.abc import Iterator
from typing import Any

import jax

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, guarded
from recipe_jax.probes.runs import own_step
from recipe_jax.types import Finding

ROW = "SKEL18"


def diagnose(facts: Facts) -> Iterator[Finding]:
    """G8: results that are kept in what is handed from step to step, which grows and is compiled
    anew. The first step may still add what the others keep."""
    if facts.program.step is not None:
        step, state = own_step(facts), facts.program.state
        sizes = []
        for number in range(3):
            state, _ = step(state, tuple(facts.batch), jax.random.fold_in(facts.key, number))
            sizes.append(_bytes(state))
    else:
        facts.given("optimizer")
        optimizer, params = facts.program.optimizer, facts.optimised(facts.variables)

        def updated(opt_state: Any) -> Any:
            return optimizer.update(params, opt_state, params)[1]

        with guarded("optimizer"):
            opt_state = jax.eval_shape(updated, jax.eval_shape(optimizer.init, params))
            sizes = [_bytes(opt_state)]
            for _ in range(2):
                opt_state = jax.eval_shape(updated, opt_state)
                sizes.append(_bytes(opt_state))
        sizes = [_bytes(facts.variables) + size for size in sizes]
    if sizes[2] > sizes[1] > sizes[0]:
        yield fault(
            "memory",
            "G8",
            f"What a step hands on grows by {sizes[2] - sizes[1]:,} bytes every step.",
            "Keep results as numbers outside of the state: float(loss), in a list.",
            row=ROW,
            warn=True,
            sizes=sizes,
        )
    else:
        yield healthy(
            "memory",
            f"A step hands on {sizes[2]:,} bytes, whatever went before: memory stays flat.",
            row=ROW,
            sizes=sizes,
        )


def _bytes(tree: Any) -> int:
    """Of all arrays of a tree, or of their shapes."""
    return sum(
        leaf.size * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
        if hasattr(leaf, "dtype") and hasattr(leaf, "size")
    )
