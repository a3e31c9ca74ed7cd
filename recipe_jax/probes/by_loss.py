"""Skill of outputs whose meaning is not known, by the program's own loss.

0 is what the best constant outputs cost, 1 what outputs cost that suit every example. A loss that
falls without end, as a likelihood does where the variance is predicted too, has no such bottom:
there a unit is one deviation of the constant's loss from example to example.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from recipe_jax.probes.facts import Crashed, Facts, NotGiven, as_numpy

STEPS = 400
FALLING = 0.02
"""Of all that was gained, in the last quarter of the way: then there is no bottom."""


def endless(facts: Facts) -> bool:
    """Whether the loss falls in proportion to how far outputs go: ten times as far, ten times as
    much. A likelihood falls with the logarithm only."""
    targets, outputs = jnp.asarray(facts.batch.targets), _begin(facts)
    moved, _ = facts.free_outputs
    begin = float(facts.compiled_loss(outputs, targets))

    def beyond(times: float) -> float:
        far = jax.tree.map(lambda a, b: a + times * (b - a), outputs, moved)
        return begin - float(facts.compiled_loss(far, targets))

    first, second, third = (beyond(times) for times in (10.0, 100.0, 1000.0))
    return bool(np.isfinite([first, second, third]).all()) and (
        first > 0 and second > 5 * first and third > 5 * second
    )


class Scale(NamedTuple):
    """What outputs are judged by.

    row: the best constant outputs of one example, a tree; unit: how much less than they cost makes
    a skill of 1; groups: examples that the loss has to see together
    """

    row: Any
    unit: float
    groups: int


def skill(facts: Facts, outputs: Any, targets: Any) -> np.ndarray:
    """(n,) skill of each example; of a loss that couples examples, that of its group."""
    scale = facts.loss_scale
    cost = costs(facts, outputs, targets, scale.groups)
    constant = _spread(scale.row, len(targets))
    gained = (costs(facts, constant, targets, scale.groups) - cost) / scale.unit
    return np.clip(np.where(np.isfinite(gained), gained, -10.0), -10.0, 10.0)


def measure(facts: Facts) -> Scale:
    """The constant's cost and the bottom, found by Adam on outputs alone. NotGiven where constant
    outputs cost no more than any."""
    targets, outputs = jnp.asarray(facts.batch.targets), _begin(facts)
    size = sum(leaf.size for leaf in jax.tree.leaves(outputs))
    if size > 200_000:
        raise NotGiven("the outputs are too many")
    first = jax.tree.map(lambda leaf: leaf.mean(0), outputs)
    one, path = _descend(facts, first, targets, lambda row: _spread(row, len(targets)))
    _, free = facts.free_outputs
    constant, bottom = float(np.nanmin(path)), float(np.nanmin(free))
    groups = 1 if _apart(facts, outputs, targets) else len(targets)
    each = costs(facts, _spread(one, len(targets)), targets, groups)
    late = free[3 * len(free) // 4] - bottom
    endless = late > FALLING * (constant - bottom)
    unit = float(np.std(each)) if endless and groups == 1 else constant - bottom
    if not np.isfinite(unit) or unit <= 1e-6 * max(1.0, abs(constant)):
        raise NotGiven("constant outputs cost no more than any others")
    return Scale(one, unit, groups)


def descend_freely(facts: Facts) -> tuple[Any, np.ndarray]:
    """(the outputs that suit every example of the batch, (steps,) the loss on the way there)."""
    targets = jnp.asarray(facts.batch.targets)
    return _descend(facts, _begin(facts), targets, lambda outputs: outputs)


def _begin(facts: Facts) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), facts.any_outputs)


def costs(facts: Facts, outputs: Any, targets: Any, groups: int) -> np.ndarray:
    """(n,) the loss of each example, or of its group."""
    count = len(targets)
    if groups == 1:
        return as_numpy(facts.single_losses(outputs, jnp.asarray(targets)))
    found = np.zeros(count)
    for first in range(0, count, groups):
        last = min(first + groups, count)
        # Of a rest too short the last whole group.
        begin = max(0, last - groups)
        part = jax.tree.map(lambda leaf, b=begin, e=last: leaf[b:e], outputs)
        found[first:last] = float(facts.compiled_loss(part, targets[begin:last]))
    return found


def _apart(facts: Facts, outputs: Any, targets: Any) -> bool:
    """Whether the loss of a batch is the mean, or the sum, of its examples' losses."""
    ratios = []
    for number in range(2):
        draw = np.random.default_rng(30 + number)
        several = jax.tree.map(
            lambda leaf, draw=draw: leaf + draw.normal(size=leaf.shape).astype(np.float32), outputs
        )
        try:
            single = float(np.mean(as_numpy(facts.single_losses(several, targets))))
        except Crashed:
            return False
        ratios.append(float(facts.compiled_loss(several, targets)) / (single or np.nan))
    return bool(np.isfinite(ratios).all() and abs(ratios[0] / ratios[1] - 1) < 1e-3)


def _spread(row: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), row)


def _descend(facts: Facts, begin: Any, targets: Any, outputs_of: Any) -> tuple[Any, np.ndarray]:
    """(where the loss is lowest, (steps,) the loss on the way)."""
    size = max(float(jnp.std(leaf)) for leaf in jax.tree.leaves(facts.any_outputs))
    spread = float(np.std(np.asarray(targets, np.float64))) if targets.dtype.kind == "f" else 1.0
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1 * max(size, spread, 0.1), STEPS))

    @jax.jit
    def run(begin: Any) -> Any:
        def step(state: Any, _: None) -> Any:
            point, opt_state, best, least = state
            loss, slope = jax.value_and_grad(lambda p: facts.loss(outputs_of(p), targets))(point)
            better = loss < least
            best = jax.tree.map(lambda b, p: jnp.where(better, p, b), best, point)
            updates, opt_state = optimizer.update(slope, opt_state)
            moved = optax.apply_updates(point, updates)
            return (moved, opt_state, best, jnp.where(better, loss, least)), loss

        state = (begin, optimizer.init(begin), begin, jnp.float32(jnp.inf))
        (_, _, best, _), losses = jax.lax.scan(step, state, None, length=STEPS)
        return best, losses

    best, losses = run(begin)
    losses = as_numpy(losses)
    return best, np.minimum.accumulate(np.where(np.isfinite(losses), losses, np.inf))
