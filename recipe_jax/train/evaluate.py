"""Metrics of one trial over a whole split: sums and counts, exact, whatever the batch size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from recipe_jax.types import Arrays, Experiment, Objective, PyTree


class EvalBatches(NamedTuple):
    """A split cut into equal batches (batches, examples, ...); mask is False on padding."""

    inputs: Any
    targets: Any
    mask: Any


def evaluate(
    experiment: Experiment,
    params: PyTree,
    model_state: PyTree,
    split: EvalBatches,
    show_inputs: bool | Bool[Array, ""] = True,
) -> dict[str, Array]:
    """Every metric of the objective over the split, the model in evaluation mode."""

    def one_batch(metrics: Any, batch: EvalBatches) -> tuple[Any, None]:
        outputs = apply_model(experiment, params, model_state, batch.inputs, show_inputs)
        new = experiment.objective.metrics.single_from_model_output(
            outputs=outputs,
            targets=batch.targets,
            loss=experiment.objective.loss(outputs, batch.targets),
            mask=batch.mask,
        )
        return metrics.merge(new), None

    metrics, _ = jax.lax.scan(one_batch, experiment.objective.metrics.empty(), split)
    return metrics.compute()


def apply_model(
    experiment: Experiment,
    params: PyTree,
    model_state: PyTree,
    inputs: Array,
    show_inputs: bool | Bool[Array, ""] = True,
) -> Array:
    """Outputs in evaluation mode. The key is a constant: nothing random may happen here."""
    inputs = jnp.where(show_inputs, inputs, jnp.zeros_like(inputs))
    outputs, _ = experiment.model.apply(
        params, model_state, inputs, key=jax.random.key(0), train=False
    )
    return outputs


def outputs_over(
    experiment: Experiment,
    params: PyTree,
    model_state: PyTree,
    split: Arrays | EvalBatches,
    show_inputs: bool | Bool[Array, ""] = True,
) -> Array:
    """Outputs for every batch of a split, padding included: (batches, batch, outputs)."""
    return jax.lax.map(
        lambda inputs: apply_model(experiment, params, model_state, inputs, show_inputs),
        split.inputs,
    )


def metrics_of(objective: Objective, outputs: Any, targets: Any) -> dict[str, float]:
    """Every metric of the objective for these outputs, on the host."""
    outputs, targets = jnp.asarray(outputs), jnp.asarray(targets)
    found = objective.metrics.single_from_model_output(
        outputs=outputs, targets=targets, loss=objective.loss(outputs, targets), mask=None
    )
    return {name: float(value) for name, value in found.compute().items()}
