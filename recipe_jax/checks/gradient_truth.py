"""Is the gradient the slope of the loss?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.checks.parameters import laid_out, no_slope
from recipe_jax.probes import trace
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

OFF, STEADY, MISSING = 0.3, 0.05, 0.03
SIZES = (3e-4, 1e-3, 3e-3)
"""Changes of the loss, as shares of it, that a step is made for: a slope is the same at all."""
CHECK = "gradient_truth"


def diagnose(facts: Facts) -> Iterator[Finding]:
    """G4: a custom rule is wrong; C13: a part of the way back is cut."""
    facts.given("apply", "loss")
    # Away from biases of zero, where every unit of small inputs stands at its kink.
    variables = facts.scattered(0.3)
    learnt = facts.learnt(variables)
    if any(leaf.dtype != jnp.float32 for leaf in learnt):
        raise NotGiven("weights are not float32: differences would be lost in rounding")
    layout, origins = laid_out(facts, variables)
    if any(
        no_slope(step) and any(origins.get(v or 0) for v in step.reads) for step in layout.steps
    ):
        raise NotGiven("the loss goes in steps, whose slope is meant to be another")
    value = jax.jit(lambda learnt: facts.objective(learnt, variables, *facts.batch, facts.key)[0])
    (loss, _), gradient = facts.gradient(learnt, variables, *facts.batch, facts.key)
    loss = float(loss)
    norms = [float(jnp.linalg.norm(slope)) for slope in gradient]
    total = max(norms, default=0.0)
    if not np.isfinite(loss) or not total or not np.isfinite(total):
        raise NotGiven("the gradient is zero or not finite")
    worst, where = 1.0, ""
    for i, (name, norm) in enumerate(zip(facts.names, norms)):
        if norm < 1e-2 * total:
            if norm and _missing(value, learnt, gradient, i, total=total, loss=loss) > MISSING:
                worst, where = float("inf"), name
                break
            continue
        ratios = [_ratio(value, learnt, gradient, i, size * max(loss, 0.1)) for size in SIZES]
        steady = max(ratios) - min(ratios) < STEADY * max(abs(ratios[0]), 0.5)
        if steady and abs(ratios[0] - 1) > abs(worst - 1):
            worst, where = ratios[0], name
    told = f"The loss changes by {worst:.2f} times what the gradient says"
    if not np.isfinite(worst):
        told = "The loss changes far more than the gradient says"
    if abs(worst - 1) < OFF:
        yield healthy(CHECK, f"{told}, at worst.", row="SKEL14")
        return
    custom = any(name.startswith("custom_vjp") for name in _operations(facts))
    yield fault(
        CHECK,
        "G4" if custom else "C13",
        f"{told} along {where}.",
        "Check the custom rule against jax.test_util.check_grads."
        if custom
        else "Look for stop_gradient on one of several ways to these weights.",
        row="SKEL14",
        certainty="exact",
        explains=("E10", "F8", "E2", "E11", "C10", "C13", "D1", "E1"),
    )


def _missing(
    value: Any, learnt: list[Any], gradient: list[Any], place: int, *, total: float, loss: float
) -> float:
    """Slope of the loss along an array's small gradient that the gradient does not tell, as a share
    of the whole gradient; the smallest of several steps, since a slope is the same at all."""
    slope = as_numpy(gradient[place])
    norm = float(np.sqrt((slope**2).sum()))
    found = []
    for size in SIZES:
        length = size * max(loss, 0.1) / total

        def at(sign: float, length: float = length) -> float:
            moved = [*learnt]
            step = sign * length / norm * slope
            moved[place] = (learnt[place] + step).astype(learnt[place].dtype)
            return float(value(moved))

        found.append(abs((at(1.0) - at(-1.0)) / (2 * length) - norm) / total)
    return min(found)


def _operations(facts: Facts) -> set[str]:
    closed = jax.make_jaxpr(
        lambda learnt: facts.objective(learnt, facts.variables, *facts.batch, facts.key)[0]
    )(facts.learnt(facts.variables))
    return set(trace.operations(closed))


def _ratio(value: Any, learnt: list[Any], gradient: list[Any], place: int, change: float) -> float:
    """Measured over predicted change of the loss, a step both ways along one array's gradient."""
    slope = as_numpy(gradient[place])
    norm = float(np.sqrt((slope**2).sum()))
    step = change / norm**2 * slope

    def at(sign: float) -> float:
        moved = [*learnt]
        moved[place] = (learnt[place] + sign * step).astype(learnt[place].dtype)
        return float(value(moved))

    return (at(1.0) - at(-1.0)) / (2 * change)
