"""Metrics of one trial over a whole split: sums and counts, exact, whatever the batch size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Shaped

from recipe_jax.feed import batches
from recipe_jax.types import Arrays, Experiment, Objective, PyTree

# Small enough for a processor's cache: with 512 the looks of a convolutional or recurrent network
# take 1.4 to 1.7 times as long on CPU, and those of small ones as long.
EVAL_BATCH, EVAL_TOKENS = 128, 8192
# Windows of a text that evaluation reads on at least: one in so many begins with nothing carried.
WINDOWS_IN_A_ROW = 16


class EvalBatches(NamedTuple):
    """A split cut into equal batches (batches, examples, ...), which read on row by row; mask is
    False on padding."""

    inputs: Any
    targets: Any
    mask: Any


class EvalRows(NamedTuple):
    """Rows of a split that are looked up batch by batch, (batches, examples) as their mask."""

    arrays: Arrays
    rows: Any
    mask: Any


def cut(arrays: Arrays, *, carries: bool = False) -> EvalBatches:
    """A split in batches for evaluation; the last rows are padded. A window counts by its tokens.

    carries: for a model that carries something from window to window, so rows are long.
    """
    tokens = np.issubdtype(arrays.inputs.dtype, np.integer)
    most = max(1, EVAL_TOKENS // arrays.inputs.shape[1]) if tokens else EVAL_BATCH
    rows = len(arrays.targets) // (WINDOWS_IN_A_ROW if carries else 1)
    batch_size = min(most, max(1, rows))
    stacked, mask = batches.eval_batches(arrays, batch_size)
    return EvalBatches(stacked.inputs, stacked.targets, mask)


def evaluate(
    experiment: Experiment,
    params: PyTree,
    model_state: PyTree,
    split: EvalBatches | EvalRows,
    show_inputs: bool | Bool[Array, ""] = True,
) -> dict[str, Array]:
    """Every metric of the objective over the split, the model in evaluation mode."""
    pieces = split if isinstance(split, EvalBatches) else (split.rows, split.mask)

    def one_batch(carried: Any, batch: Any) -> tuple[Any, None]:
        metrics, model_state = carried
        if isinstance(split, EvalRows):
            rows, mask = batch
            found = [jnp.take(each, rows, axis=0) for each in split.arrays]
            batch = EvalBatches(found[0], found[1], mask)
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

    first = experiment.model.begun(model_state, split.mask.shape[1])
    none_yet = experiment.objective.metrics.empty()
    (metrics, _), _ = jax.lax.scan(one_batch, (none_yet, first), pieces)
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
    inputs: Shaped[Array | np.ndarray, "batches batch *example"],
    show_inputs: bool | Bool[Array, ""] = True,
) -> Array:
    """Outputs for every batch, which read on row by row: (batches, batch, ..., outputs)."""

    def one_batch(model_state: Any, batch: Any) -> tuple[Any, Array]:
        outputs, model_state = apply_model(experiment, params, model_state, batch, show_inputs)
        return model_state, outputs

    first = experiment.model.begun(model_state, inputs.shape[1])
    return jax.lax.scan(one_batch, first, inputs)[1]


def example_scores(
    objective: Objective,
    outputs: Shaped[Array, "batch *output"],
    targets: Shaped[Array, "batch *target"],
) -> Shaped[Array, " batch"]:
    """The metric that decides, for every example by itself; NaN where that takes several."""

    def one(outputs: Any, targets: Any) -> Any:
        loss = objective.loss(outputs, targets)
        found = objective.metrics.single_from_model_output(
            outputs=outputs, targets=targets, loss=loss, mask=None
        )
        return found.compute()[objective.score.metric]

    return jax.vmap(one)(outputs[:, None], targets[:, None])


def metrics_of(objective: Objective, outputs: Any, targets: Any) -> dict[str, float]:
    """Every metric of the objective for these outputs, on the host."""
    outputs, targets = jnp.asarray(outputs), jnp.asarray(targets)
    found = objective.metrics.single_from_model_output(
        outputs=outputs, targets=targets, loss=objective.loss(outputs, targets), mask=None
    )
    return {name: float(value) for name, value in found.compute().items()}
