"""Many training steps as one scan: data order and random keys are drawn for all of them at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from recipe_jax import keys, trees
from recipe_jax.feed import balanced, batches, phases, resampling, streams
from recipe_jax.train.step import Moving, StepKeys, make_train_step
from recipe_jax.types import Arrays, Experiment, Model, Sampling, View

WHOLE = Sampling()


class Feed(NamedTuple):
    """What steps are fed with, arrays (steps, ...): rows of the training split; of windows by how
    many tokens they are late, and which of them begin with nothing carried, or None; random keys.
    """

    rows: Any
    late: Any
    begins: Any
    keys: StepKeys


class ChunkRecord(NamedTuple):
    """What the steps report: the mean loss of each batch, the norm of the last one's gradient."""

    losses: Float[Array, " steps"]
    grad_norm: Float[Array, ""]


def make_chunk(
    experiment: Experiment,
    *,
    num_steps: int,
    batch_size: int,
    windows: bool = False,
    sampling: Sampling = WHOLE,
    frozen: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """The pure function (moving, key, view, rate_scale, train) -> (moving, record).

    windows: the examples are the pieces of one text, and batches hold windows of it at the phase of
    the epoch (feed/phases.py); of a model that carries something from batch to batch they read on
    (feed/streams.py). sampling: which examples there are (feed/resampling.py). frozen: weights that
    do not train, by the beginnings of their names.
    """
    train_step, model = make_train_step(experiment, frozen), experiment.model
    feed = make_feed(
        model, num_steps=num_steps, batch_size=batch_size, windows=windows, sampling=sampling
    )

    def chunk(moving: Moving, key: Any, view: View, rate_scale: Any, train: Arrays) -> Any:
        def body(carry: Any, now: Feed) -> Any:
            moving, batch = fed(model, carry[0], now, view, train)
            moving, record = train_step(moving, batch, rate_scale, now.keys)
            return (moving, record.gradient), record.loss

        # The last gradient is carried out of the loop: a norm inside it would be one more reading
        # of all gradients, and a conditional that reads them is not free either.
        none_yet = jax.tree.map(jnp.zeros_like, moving.params)
        every = feed(moving.step, key, view, train)
        (moving, last), losses = jax.lax.scan(body, (moving, none_yet), every)
        return moving, ChunkRecord(losses, optax.tree.norm(last))

    return chunk


def make_feed(
    model: Model, *, num_steps: int, batch_size: int, windows: bool, sampling: Sampling
) -> Callable[..., Feed]:
    """The pure function (step, key, view, train) -> Feed of that step and those after it."""
    if windows and sampling != WHOLE:
        raise ValueError("The windows of one text overlap: no folds and no bootstraps of them.")
    if model.begin and not windows:
        raise ValueError("A model that carries its state on needs the windows of a text.")

    def feed(step: Any, key: Any, view: View, train: Arrays) -> Feed:
        steps = step + jnp.arange(num_steps)
        drawn: dict[str, Any] = {
            "num_steps": num_steps,
            "batch_size": batch_size,
            "num_examples": len(train.targets),
            "limit": view.num_examples,
        }
        late = begins = None
        if model.begin:
            stream_key, window = keys.derive(key, "streams"), train.targets.shape[1]
            reading = streams.chunk_streams(stream_key, step, window=window, **drawn)
            indices, late, begins = reading
        else:
            drawn["num_examples"] -= resampling.held_out(drawn["num_examples"], sampling)
            order, bootstrap = keys.derive(key, "order"), keys.derive(key, "bootstrap")

            def rows_of(examples: Any) -> Any:
                return resampling.rows(bootstrap, examples, view, sampling, len(train.targets))

            if sampling.classes:
                rows = rows_of(jnp.arange(drawn.pop("num_examples"), dtype=jnp.int32))
                drawn |= {"rows": rows, "targets": train.targets, "classes": sampling.classes}
                indices = balanced.chunk_rows(order, step, **drawn)
            else:
                indices = rows_of(batches.chunk_indices(order, step, **drawn))
            if windows:
                phase_key, window = keys.derive(key, "phases"), train.targets.shape[1]
                late = phases.chunk_phases(phase_key, step, window=window, **drawn)
        step_keys = StepKeys(*(_streams(key, name, steps) for name in StepKeys._fields))
        return Feed(indices, late, begins, step_keys)

    return feed


def fed(
    model: Model, moving: Moving, now: Feed, view: View, train: Arrays
) -> tuple[Moving, Arrays]:
    """What one step begins with, its carried state among it, and its batch."""
    if now.late is None:
        batch = Arrays(*(jnp.take(each, now.rows, axis=0, mode="clip") for each in train))
    else:
        batch = phases.late(train, now.rows, now.late)
    inputs = jnp.where(view.show_inputs, batch.inputs, jnp.zeros_like(batch.inputs))
    if now.begins is not None:
        first = model.begun(moving.model_state, len(now.rows))
        state = trees.where(now.begins, first, moving.model_state)
        moving = moving._replace(model_state=state)
    return moving, Arrays(inputs, batch.targets)


def _streams(key: Any, name: str, steps: Any) -> Any:
    """The stream's keys at these steps."""
    first = keys.derive(key, name)
    return jax.vmap(lambda step: jax.random.fold_in(first, step))(steps)
