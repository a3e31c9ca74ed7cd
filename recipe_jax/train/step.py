"""One training step of one trial on one batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from recipe_jax.optim import base as optim_base
from recipe_jax.train import starting
from recipe_jax.types import Arrays, Experiment, PyTree


class Moving(NamedTuple):
    """What a training step changes."""

    step: Int[Array, ""]
    params: PyTree
    model_state: PyTree
    opt_state: PyTree


class StepKeys(NamedTuple):
    """The random keys of one step."""

    augment: Key[Array, ""]
    model: Key[Array, ""]


class StepRecord(NamedTuple):
    """What a training step reports: the mean loss of the batch, and its gradient."""

    loss: Float[Array, ""]
    gradient: PyTree


def make_train_step(
    experiment: Experiment, frozen: Sequence[str] = ()
) -> Callable[..., tuple[Moving, StepRecord]]:
    """The pure step (moving, batch, rate_scale, keys) -> (moving, record).

    keys: of the augmentation and of the model. The objective's l2 enters as its gradient,
    l2 * weights, so the reported loss stays the loss of the data. `rate_scale` and the schedule's
    height multiply the finished update. frozen: beginnings of the names of weights that stay: their
    gradient counts as zero, and nothing moves them, decay included.
    """
    model, objective, optimizer, schedule, augment = experiment

    def mean_loss(params: PyTree, model_state: PyTree, batch: Arrays, key: Key[Array, ""]) -> Any:
        outputs, model_state = model.apply(params, model_state, batch.inputs, key=key, train=True)
        return objective.loss(outputs, batch.targets).mean(), model_state

    def step(
        moving: Moving,
        batch: Arrays,
        rate_scale: Float[Array, ""],
        keys: StepKeys,
    ) -> tuple[Moving, StepRecord]:
        batch = Arrays(*augment(keys.augment, batch.inputs, batch.targets))
        (loss, model_state), grads = jax.value_and_grad(mean_loss, has_aux=True)(
            moving.params, moving.model_state, batch, keys.model
        )
        if frozen:
            stays = starting.held(moving.params, frozen)
            grads = jax.tree.map(lambda g, held: jnp.zeros_like(g) if held else g, grads, stays)
        penalised = _penalised(grads, moving.params, objective.l2)
        updates, opt_state = optimizer.update(penalised, moving.opt_state, moving.params)
        height = schedule(moving.step) * rate_scale
        if frozen:
            updates = jax.tree.map(lambda u, held: jnp.zeros_like(u) if held else u, updates, stays)
        params = jax.tree.map(
            lambda w, u: w + jnp.asarray(height * u, w.dtype), moving.params, updates
        )
        return Moving(moving.step + 1, params, model_state, opt_state), StepRecord(loss, grads)

    return step


def _penalised(grads: PyTree, params: PyTree, l2: Any) -> PyTree:
    """The gradients with the penalty's own. Off, it is left out: reading the weights once more for
    every moment costs a wide sweep a tenth of its step."""
    if isinstance(l2, float) and l2 == 0.0:
        return grads
    return jax.tree.map(
        lambda g, w, decays: g + l2 * w if decays else g, grads, params, optim_base.decayed(params)
    )
