"""One trial: its start, a round of training and looking, and the loop that yields after each."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from recipe_jax import keys, trees
from recipe_jax.feed.resampling import looked_at
from recipe_jax.train import starting
from recipe_jax.train.chunk import WHOLE, make_chunk
from recipe_jax.train.evaluate import EvalBatches, EvalRows, evaluate, outputs_over
from recipe_jax.train.step import Moving
from recipe_jax.types import (
    Arrays,
    Best,
    Experiment,
    Lane,
    Plateau,
    Sampling,
    Score,
    TrainState,
)


class Data(NamedTuple):
    """What training reads. `seen` is a fixed part of the training split, as many examples as
    validation has, so that both curves are taken in the same way."""

    train: Arrays
    seen: EvalBatches
    validation: EvalBatches


class Record(NamedTuple):
    """What a round reports: the losses of its batches, the norm of the last one's gradient,
    "split/metric" of the look after them, whether the lane was frozen before it, and the outputs
    for the examples that are watched, where some are. A call that does several stacks them:
    (rounds, ...)."""

    losses: Float[Array, "*rounds steps"]
    grad_norms: Float[Array, "*rounds"]
    metrics: dict[str, Float[Array, "*rounds"]]
    stopped: Bool[Array, "*rounds"]
    watched: Array | None = None


def make_start(
    build: Callable[..., Experiment],
    *,
    seed: int,
    batch_size: int | None = None,
    sampling: Sampling = WHOLE,
    watch: int = 0,
    loaded: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[..., Any]:
    """The pure function (lane, data) -> (state, record of the evaluation at step 0).

    batch_size: of training, asked by models that carry something from batch to batch; watch: the
    record holds the outputs for so many validation examples; loaded: the weights that take the
    place of drawn ones, by their names (train/starting.py).
    """

    def start(lane: Lane, data: Data) -> tuple[TrainState, Record]:
        experiment = build(lane.numbers)
        params, model_state = experiment.model.init(
            keys.derive(keys.lane_key(seed, lane.seed), "init")
        )
        if loaded:
            params, model_state = (starting.put_in(each, loaded) for each in (params, model_state))
        metrics = _look(experiment, (params, model_state), data, lane, sampling)
        worst = jnp.float32(-jnp.inf)
        state = TrainState(
            step=jnp.int32(0),
            params=params,
            model_state=experiment.model.begun(model_state, batch_size or 1),
            opt_state=experiment.optimizer.init(params),
            rate_scale=jnp.float32(1.0),
            stalled=jnp.int32(0),
            since_cut=jnp.int32(0),
            stopped=jnp.bool_(False),
            best=Best(worst, -worst, jnp.int32(0), params, model_state),
        )
        state = _observe(state, metrics, experiment, patience=None)
        watched = _watched(experiment, (params, model_state), data, lane, watch)
        return state, Record(jnp.zeros(0), jnp.zeros(0), metrics, state.stopped, watched)

    return start


def make_round(
    build: Callable[..., Experiment],
    *,
    seed: int,
    num_steps: int,
    batch_size: int,
    patience: int | None,
    windows: bool = False,
    sampling: Sampling = WHOLE,
    watch: int = 0,
    frozen: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """The pure function (lane, state, data) -> (state, record): steps, then a look.

    windows: the training examples are the pieces of one text; sampling: which there are
    (train/chunk.py); watch: the record holds the outputs for so many validation examples; frozen:
    beginnings of the names of weights that do not train.
    """

    def one_round(lane: Lane, state: TrainState, data: Data) -> tuple[TrainState, Record]:
        experiment = build(lane.numbers)
        chunk = make_chunk(
            experiment,
            num_steps=num_steps,
            batch_size=batch_size,
            windows=windows,
            sampling=sampling,
            frozen=frozen,
        )
        moving = Moving(state.step, state.params, state.model_state, state.opt_state)
        moving, steps = chunk(
            moving, keys.lane_key(seed, lane.seed), lane.view, state.rate_scale, data.train
        )
        weights = moving.params, moving.model_state
        metrics = _look(experiment, weights, data, lane, sampling)
        watched = _watched(experiment, weights, data, lane, watch)
        moved = _observe(
            state._replace(
                step=moving.step,
                params=moving.params,
                model_state=moving.model_state,
                opt_state=moving.opt_state,
            ),
            metrics,
            experiment,
            patience=patience,
        )
        record = Record(steps.losses, steps.grad_norm, metrics, state.stopped, watched)
        if patience is None:
            return moved, record
        return trees.where(state.stopped, state, moved), record

    return one_round


def repeated(one_round: Callable[..., Any], rounds: int) -> Callable[..., Any]:
    """`rounds` of them as one loop, their records stacked along a new first axis.

    The compiler does not see how often the loop runs: it would dissolve a loop of one round, and
    round otherwise than in a loop of more. So a round has the same bits in a call of any size.
    """
    one_round = jax.jit(one_round)  # traced once for its records' shapes and for the loop

    def many(lane: Lane, state: TrainState, data: Data) -> tuple[TrainState, Record]:
        _, one = jax.eval_shape(one_round, lane, state, data)
        records = jax.tree.map(lambda leaf: jnp.zeros((rounds, *leaf.shape), leaf.dtype), one)

        def body(number: Any, carried: Any) -> Any:
            now, record = one_round(lane, carried[0], data)
            return now, jax.tree.map(lambda old, new: old.at[number].set(new), carried[1], record)

        until = jax.lax.optimization_barrier(jnp.int32(rounds))
        return jax.lax.fori_loop(0, until, body, (state, records))

    return many


def fit(
    advance: Callable[..., Any], states: Any, *, first_round: int, num_rounds: int, at_once: int = 1
) -> Iterator[tuple[int, Any, Any]]:
    """Yields (rounds done, states, records) after every call of `advance`, which does `at_once`
    rounds; the caller logs, saves, stops."""
    for done in range(first_round + at_once, num_rounds + 1, at_once):
        states, records = advance(states)
        yield done, states, records


def _look(
    experiment: Experiment,
    weights: tuple[Any, Any],
    data: Data,
    lane: Lane,
    sampling: Sampling,
) -> Any:
    metrics, splits = {}, (data.seen, data.validation)
    if sampling.folds:
        most = data.validation.mask.shape[1]
        seen, held, mask = looked_at(lane.view, sampling, len(data.train.targets), most)
        splits = tuple(EvalRows(data.train, rows, mask) for rows in (seen, held))
    for name, split in zip(("train", "validation"), splits):
        found = evaluate(experiment, *weights, split, lane.view.show_inputs)
        metrics |= {f"{name}/{metric}": jnp.float32(value) for metric, value in found.items()}
    return metrics


def _watched(
    experiment: Experiment, weights: tuple[Any, Any], data: Data, lane: Lane, watch: int
) -> Array | None:
    """Outputs for the first `watch` validation examples: (examples, ...); None for 0."""
    if not watch:
        return None
    # An evaluation's rows read on from batch to batch (feed/batches.py).
    places = np.arange(watch)
    batches = len(data.validation.mask)
    inputs = data.validation.inputs[places % batches, places // batches]
    return outputs_over(experiment, *weights, inputs[None], lane.view.show_inputs)[0]


def _observe(
    state: TrainState, metrics: dict[str, Any], experiment: Experiment, *, patience: int | None
) -> TrainState:
    """Keeps the best weights, cuts the rate on a plateau, stops a lane that is out of patience."""
    rule: Score = experiment.objective.score
    score = rule.sign() * metrics[f"validation/{rule.metric}"]
    loss = metrics["validation/loss"]
    tie = (score == state.best.score) & (loss < state.best.loss)
    better = (score > state.best.score) | tie
    model_state = experiment.model.kept(state.model_state)
    now = Best(score, loss, state.step, state.params, model_state)
    stalled = jnp.where(better, 0, state.stalled + 1)
    since_cut = jnp.where(better, 0, state.since_cut + 1)
    rate_scale = state.rate_scale
    if isinstance(experiment.schedule, Plateau):
        cut = since_cut > experiment.schedule.patience
        smaller = jnp.maximum(rate_scale * experiment.schedule.factor, experiment.schedule.floor)
        rate_scale = jnp.where(cut, smaller, rate_scale).astype(jnp.float32)
        since_cut = jnp.where(cut, 0, since_cut)
    return state._replace(
        best=trees.where(better, now, state.best),
        stalled=stalled,
        since_cut=since_cut,
        rate_scale=rate_scale,
        stopped=state.stopped if patience is None else state.stopped | (stalled >= patience),
    )
