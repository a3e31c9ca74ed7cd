"""Where a run that diverged left the finite: trained again to there, then step by step."""

from typing import Any

import jax
import jax.numpy as jnp

from recipe_jax import keys, trees
from recipe_jax.app.lanes import Lanes
from recipe_jax.probes import breaking
from recipe_jax.train.chunk import fed, make_feed
from recipe_jax.train.fit import make_round
from recipe_jax.train.step import Moving, make_train_step
from recipe_jax.types import Breaking, Result


def find(lanes: Lanes, result: Result) -> Breaking | None:
    """The step, the layer and the way in which a trial of a request of these lanes broke.

    It is trained by the program of its lanes up to the last call before; what is left is a program
    of one round and one of a step, which may round differently. None where nothing breaks in that
    round then.
    """
    rounds, step = result.rounds[0], result.first_bad_step
    if step is None or not rounds:
        return None
    # A result that a search keeps has its losses no more.
    broken = min(step // int(result.steps[1]), rounds - 1)
    ready, trained = lanes.until(result, broken)
    kind, numbers = ready.group.kind, ready.group.numbers[0]
    frozen = lanes.start.frozen if lanes.start and kind.start else ()
    lane, data = lanes.alone(ready)
    state = jax.tree.map(jnp.asarray, trees.take(trained.states, 0))
    seed, windows = lanes.config["seed"], lanes.task.spec.kind == "next_token"
    common: dict[str, Any] = {
        "batch_size": kind.batch_size,
        "windows": windows,
        "sampling": kind.sampling,
    }
    one_round = jax.jit(
        make_round(
            ready.build,
            seed=seed,
            num_steps=kind.length.steps_per_round,
            patience=kind.patience,
            frozen=frozen,
            **common,
        )
    )
    for _ in range(ready.until, broken):
        state, _ = one_round(lane, state, data)
    experiment = ready.build({name: jnp.float32(value) for name, value in numbers.items()})
    feed = make_feed(experiment.model, num_steps=1, **common)
    train_step, lane_key = make_train_step(experiment, frozen), keys.lane_key(seed, lane.seed)

    @jax.jit
    def one_step(moving: Moving) -> Any:
        now = trees.take(feed(moving.step, lane_key, lane.view, data.train), 0)
        before, batch = fed(experiment.model, moving, now, lane.view, data.train)
        after, record = train_step(before, batch, state.rate_scale, now.keys)
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params)])
        return before, batch, now.keys, after, finite.all() & jnp.isfinite(record.loss)

    moving = Moving(state.step, state.params, state.model_state, state.opt_state)
    for _ in range(kind.length.steps_per_round):
        before, batch, drawn, moving, healthy = one_step(moving)
        if not healthy:
            return breaking.at(experiment, before, batch, state.rate_scale, drawn, frozen=frozen)
    return None
