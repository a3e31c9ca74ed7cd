"""Is the rate what was meant, from the first step to the last?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.probes.facts import Facts, NotGiven, guarded, is_float
from recipe_jax.types import Finding

ROW = "FIT5"
CHECK = "schedule"
MOST = 5000
EARLY = 0.9
EXPLAINS = ("F8", "E2", "E6", "E7", "E11", "E4", "C1", "E1", "E10", "E9")


def diagnose(facts: Facts) -> Iterator[Finding]:
    """E3: a rate that ends early, never reaches its top, or is zero; E11: how long, how large."""
    yield from _rates(facts)
    yield from _standstill(facts)
    yield from _length(facts)


def _rates(facts: Facts) -> Iterator[Finding]:
    steps = facts.program.num_steps
    if facts.program.schedule is not None:
        with guarded("schedule"):
            count = min(4 * (steps or 250), 40_000)
            grid = np.unique(np.linspace(0, count - 1, 2000).astype(int))
            rates = np.array([float(facts.program.schedule(jnp.asarray(s))) for s in grid])
    elif facts.program.optimizer is not None:
        grid, rates = measured(facts)
    else:
        return
    within = grid < steps if steps else np.ones(len(grid), bool)
    planned = rates[within]
    if not np.isfinite(planned).all() or (planned < 0).any():
        yield _wrong("The rate is not a positive number everywhere.")
        return
    top = float(planned.max())
    if top == 0:
        yield _wrong(f"The rate is zero at every {'planned ' if steps else ''}step.")
        return
    if steps is None:
        yield healthy(CHECK, f"The rate is at most {top:.3g}.", row=ROW)
        return
    last = int(grid[within][np.flatnonzero(planned > 1e-6 * top)[-1]])
    mean = float(planned.mean()) / top
    later = float(rates.max())
    told = f"In {steps} steps the rate averages {percent(mean)} of its highest, {top:.3g}"
    if last + 1 < EARLY * steps - 1:
        yield _wrong(f"The rate is zero after step {last} of {steps}.")
    elif later > 1.5 * top and np.argmax(planned) >= len(planned) - 2:
        yield _wrong(
            f"The rate never reaches its top: after {steps} steps it is {top:.3g}, and would rise "
            f"to {later:.3g}."
        )
    elif mean < 0.05:
        yield fault(
            CHECK,
            "E3",
            f"{told}.",
            "Count the schedule in steps, not in epochs.",
            row=ROW,
            certainty="heuristic",
            warn=True,
            explains=EXPLAINS,
        )
    else:
        yield healthy(CHECK, f"{told}.", row=ROW, steps=grid[within], rates=planned)


def _standstill(facts: Facts) -> Iterator[Finding]:
    """E3 as a training shows it: after some step, long before the planned end, nothing moves."""
    try:
        sizes = facts.lanes["normal"].sizes[: facts.program.num_steps or 0]
    except NotGiven:
        return
    moving = np.flatnonzero(sizes > 0)
    if not len(moving) or not np.isfinite(sizes).all() or moving[-1] + 1 >= EARLY * len(sizes) - 1:
        return
    yield _wrong(f"Weights stand still after step {moving[-1]} of {len(sizes)} that were followed.")


def _wrong(summary: str) -> Finding:
    return fault(
        CHECK,
        "E3",
        summary,
        "Count the schedule in steps, not in epochs; decay_steps includes the warm-up.",
        row=ROW,
        explains=EXPLAINS,
    )


def measured(facts: Facts) -> tuple[np.ndarray, np.ndarray]:
    """(steps, size of updates at each) for one gradient of ones, weights held at zero: the schedule
    inside the optimiser. Where it rests between updates, the larger of its neighbours."""
    steps = facts.program.num_steps or 250
    size = sum(leaf.size for leaf in facts.learnt(facts.variables))
    count = min(2 * steps, MOST)
    if size * count > 4e8:
        raise NotGiven("the weights are too many to follow the optimiser's rate")
    params = jax.tree.map(
        lambda leaf: jnp.zeros_like(leaf) if is_float(leaf) else leaf,
        facts.optimised(facts.variables),
    )
    ones = jax.tree.map(lambda leaf: jnp.ones_like(leaf) if is_float(leaf) else leaf, params)
    optimizer = facts.program.optimizer

    def step(opt_state: Any, _: None) -> Any:
        updates, opt_state = optimizer.update(ones, opt_state, params)
        leaves = [leaf for leaf in jax.tree.leaves(updates) if is_float(leaf)]
        return opt_state, sum(jnp.sum(jnp.abs(leaf.astype(jnp.float32))) for leaf in leaves) / size

    with guarded("optimizer"):
        sizes = jax.jit(lambda: jax.lax.scan(step, optimizer.init(params), None, length=count))()[1]
    rates = np.asarray(sizes, np.float64)
    wide = max(1, steps // 20)
    padded = np.pad(rates, (wide, 0), mode="edge")
    return np.arange(count), np.array([padded[i : i + wide + 1].max() for i in range(count)])


def _length(facts: Facts) -> Iterator[Finding]:
    """E11: less than an epoch, or batches of one or of everything."""
    steps, size = facts.program.num_steps, facts.program.batch_size
    count = len(facts.all_train.inputs)
    if size is not None and count > 64 and (size == 1 or size >= count):
        yield fault(
            "batch_size",
            "E11",
            f"A batch has {size} of {count} examples.",
            "Take 16 to 256 examples a batch.",
            row="FIT8",
            certainty="heuristic",
            warn=True,
            explains=("F8", "E2", "E1"),
        )
    if steps is None:
        return
    epochs = steps * (size or facts.batch_size) / count
    told = f"{steps} steps are {epochs:.3g} epochs"
    gained = _more(facts)
    if gained is None or (gained < 0.15 and epochs >= 1):
        yield healthy("training_length", f"{told}.", row="FIT9")
        return
    yield fault(
        "training_length",
        "E11",
        f"{told}; going on as long again changes skill by {gained:+.2f}.",
        "Train for longer.",
        row="FIT9",
        # By the loss alone a skill has no unit.
        certainty="statistical" if gained > 0.3 and not facts.judged_by_loss else "heuristic",
        warn=gained <= 0.3 or facts.judged_by_loss,
        explains=("F8", "E2"),
    )


def _more(facts: Facts) -> float | None:
    """Skill that training beyond the planned end gains; None where it was not followed so far."""
    try:
        lane = facts.lanes["normal"]
    except NotGiven:
        return None
    steps = facts.program.num_steps or 0
    if not lane.finite or steps * 1.5 > lane.looks[-1]:
        return None
    means = lane.held_out.mean(-1)
    return float(means.max() - means[lane.looks <= steps].max())
