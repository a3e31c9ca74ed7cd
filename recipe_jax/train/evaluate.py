"""Metrics of one trial over a whole split: sums and counts, exact, whatever the batch size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Shaped

from recipe_jax.types import Experiment, Objective, PyTree


class EvalBatches(NamedTuple):
    """A split cut into equal batches (batches, examples, ...), which read on row by row; mask is
    False on padding."""

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

    def one_batch(carried: Any, batch: EvalBatches) -> tuple[Any, None]:
        metrics, model_state = carried
        outputs, model_state = apply_model(
            experiment, params, model_state, batch.inputs, show_inputs
        )
        new = experiment.objective.metrics.single_from_model_output(
            outputs=outputs,
            targets=batch.targets,
            loss=experiment.objective.loss(outputs, batch.targets),
            mask=batch.mask,
        )
        return (metrics.merge(new), model_state), None

    first = experiment.model.begun(model_state, split.inputs.shape[1])
    none_yet = experiment.objective.metrics.empty()
    (metrics, _), _ = jax.lax.scan(one_batch, (none_yet, first), split)
    return metrics.compute()


def apply_model(
    experiment: Experiment,
    params: PyTree,
    model_state: PyTree,
    inputs: Array,
    show_inputs: bool | Bool[Array, ""] = True,
) -> tuple[Array, PyTree]:
    """Outputs in evaluation mode, and the model's state after them. The key is a constant: nothing
    random may happen here."""
    inputs = jnp.where(show_inputs, inputs, jnp.zeros_like(inputs))
    return experiment.model.apply(params, model_state, inputs, key=jax.random.key(0), train=False)


def outputs_over(
    experiment: Experiment,
    params: PyTree,
    model_state: PyTree,
    batches: Shaped[Array | np.ndarray, "batches batch *example"],
    show_inputs: bool | Bool[Array, ""] = True,
) -> Array:
    """Outputs for every batch, which read on row by row: (batches, batch, ..., outputs)."""

    def one_batch(model_state: Any, inputs: Any) -> tuple[Any, Array]:
        outputs, model_state = apply_model(experiment, params, model_state, inputs, show_inputs)
        return model_state, outputs

    first = experiment.model.begun(model_state, batches.shape[1])
    return jax.lax.scan(one_batch, first, batches)[1]


def metrics_of(objective: Objective, outputs: Any, targets: Any) -> dict[str, float]:
    """Every metric of the objective for these outputs, on the host."""
    outputs, targets = jnp.asarray(outputs), jnp.asarray(targets)
    found = objective.metrics.single_from_model_output(
        outputs=outputs, targets=targets, loss=objective.loss(outputs, targets), mask=None
    )
    return {name: float(value) for name, value in found.compute().items()}
