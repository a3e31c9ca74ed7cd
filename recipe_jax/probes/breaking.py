"""Where a training step leaves the finite: which layer, and on which way."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.optim.base import names
from recipe_jax.probes import trace
from recipe_jax.train.step import Moving, StepKeys, make_train_step
from recipe_jax.types import Arrays, Breaking, Experiment


def at(
    experiment: Experiment,
    before: Moving,
    batch: Arrays,
    rate_scale: Any,
    keys: StepKeys,
    *,
    frozen: tuple[str, ...] = (),
) -> Breaking | None:
    """What breaks in the step from `before` on this batch; None where all of it stays finite.

    The weights before the step are looked at first, then the forward pass and the loss in the order
    of their operations, then the gradient and the weights after the step, array by array.
    """
    step = int(before.step)
    seen = Arrays(*experiment.augment(keys.augment, batch.inputs, batch.targets))

    def loss(params: Any, model_state: Any) -> Any:
        outputs, _ = experiment.model.apply(
            params, model_state, seen.inputs, key=keys.model, train=True
        )
        return experiment.objective.loss(outputs, seen.targets).mean()

    named = [_layer(path) for path, _ in jax.tree_util.tree_flatten_with_path(before.params)[0]]
    none = ["" for _ in jax.tree.leaves(before.model_state)]
    fresh, _ = experiment.model.init(jax.random.key(0))
    where, order = trace.first_not_finite(
        loss,
        (before.params, before.model_state),
        (fresh, before.model_state),
        named=[*named, *none],
    )
    if broken := _not_finite(before.params, order):
        return Breaking(step, "weights", broken, _largest(before.params, broken))
    if where is not None:
        return Breaking(step, "forward", where, _largest(before.params, where))
    after, record = make_train_step(experiment, frozen)(before, batch, rate_scale, keys)
    for way, tree in (("gradient", record.gradient), ("update", after.params)):
        if broken := _not_finite(tree, order):
            return Breaking(step, way, broken, _largest(before.params, broken))
    return None


def _not_finite(tree: Any, order: Sequence[str]) -> str:
    """Of the layers with a number that is not finite the last one, where the backward pass begins;
    "" where there is none. order: of the layers in the forward pass."""
    found = {
        _layer(path)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        if not bool(jnp.isfinite(leaf).all())
    }
    return next((layer for layer in reversed(order) if layer in found), min(found, default=""))


def _layer(path: tuple[Any, ...]) -> str:
    """The layer that an array belongs to: all of its names but its own."""
    every = names(path)
    return ".".join(every[:-1] or every)


def _largest(params: Any, layer: str) -> float:
    """The largest absolute value among a layer's finite weights; NaN where it has none."""
    found = [
        np.abs(np.asarray(leaf, np.float64))
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
        if _layer(path) == layer
    ]
    values = np.concatenate([each.ravel() for each in found]) if found else np.zeros(0)
    values = values[np.isfinite(values)]
    return float(values.max()) if values.size else float("nan")
