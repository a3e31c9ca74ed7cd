"""Is there anything between the layers?"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, NotGiven, joined
from recipe_jax.types import Finding

TOLERANCE = 1e-3


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C7: several layers in a row that are one linear map."""
    facts.given("apply")
    if not facts.float_inputs:
        raise NotGiven("inputs are tokens")
    inputs = np.asarray(facts.batch.inputs, np.float32)
    if len(inputs) < 3:
        raise NotGiven("a batch has fewer than three examples")
    layers = _layers(facts)
    # Small inputs see any activation as a line: these are large, and so are the weights.
    inputs = 10 * (inputs - inputs.mean()) / max(float(inputs.std()), 1e-30)
    off = float(np.max([_bent(facts, inputs, scale) for scale in (0.5, 3.0)]))
    told = f"Outputs of sums of inputs differ from sums of outputs by {off:.2g} deviations"
    if not np.isfinite(off):
        raise NotGiven("outputs are not finite")
    if not np.ptp(joined(facts.forward(facts.scattered(0.5), inputs, facts.key, False)[0])):
        raise NotGiven("every output is the same")
    if off > TOLERANCE or layers < 2:
        yield healthy("linear_stack", f"{told}; {layers} layers of weights.", row="SKEL15")
        return
    yield fault(
        "linear_stack",
        "C7",
        f"{layers} layers of weights make one linear map.",
        "Put an activation between them.",
        row="SKEL15",
        explains=("F8", "E11", "C10", "E2"),
    )


def _bent(facts: Facts, inputs: np.ndarray, scale: float) -> float:
    """How far outputs of sums are from sums of outputs, at weights scattered by `scale`."""
    one, two, three = inputs, np.roll(inputs, 1, 0), np.roll(inputs, 2, 0)
    variables = facts.scattered(scale)

    def outputs(each: np.ndarray) -> np.ndarray:
        found = joined(facts.forward(variables, jnp.asarray(each), facts.key, False)[0])
        if (
            facts.known is not None
            and facts.form == "probabilities"
            and facts.known.kind == "classes"
        ):
            found = np.log(np.maximum(found, 1e-30))
            found = found - found[..., :1]
        return found

    apart = outputs(one) + outputs(two) - outputs(three) - outputs(one + two - three)
    return float(np.abs(apart).max()) / max(float(outputs(one).std()), 1e-12)


def _layers(facts: Facts) -> int:
    """Products of something that comes from the inputs with weights."""
    layout, groups = facts.laid_out(train=False)
    origins = layout.origins(groups)
    plain = frozenset({"weights"})
    return sum(
        step.name in ("dot_general", "conv_general_dilated")
        and any(origins.get(value or 0) == plain for value in step.reads)
        for step in layout.steps
    )
