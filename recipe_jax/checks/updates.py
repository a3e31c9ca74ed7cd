"""Do steps change what they should, downhill?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.checks.parameters import listed
from recipe_jax.probes import runs
from recipe_jax.probes.facts import Facts, as_numpy
from recipe_jax.types import Finding

ROW = "SKEL16"
FIRST = 15
UPHILL, FAR_UPHILL, FEW_NUMBERS = -0.1, -0.3, 32
SELDOM = 0.5
KEPT = 0.3


def diagnose(facts: Facts) -> Iterator[Finding]:
    """E7: nothing changes; E6: some weights do not, or frozen ones do; E10: steps go uphill; G2:
    updates are lost in rounding; and of a step of the program's own whether its state goes on, its
    loss is fresh (F7), and no other term rules it (D9)."""
    facts.given("apply", "loss")
    lane = facts.lanes["normal"]
    nothing = ("F8", "E2", "E11", "C13", "C1", "E6", "F7", "E10", "C9", "G2")
    finite = lane.finite
    moved = [_moved(a, b) for a, b in zip(facts.learnt(lane.begin), facts.learnt(lane.last))]
    low = [leaf.dtype.itemsize < 4 for leaf in facts.learnt(facts.variables)]
    names = facts.names
    frozen = [facts.leaves[place].frozen for place in facts.places]
    has_slope = [bool(slope) for slope in _slopes(facts)]
    if finite and not any(moved) and any(has_slope):
        yield fault(
            "weights_change",
            "G2" if all(low) and lane.norms.any() and facts.program.step is None else "E7",
            f"No weight changes in {len(lane.losses)} steps, though gradients are not zero.",
            "Use what the update returns: params = optax.apply_updates(params, updates).",
            row=ROW,
            explains=nothing,
        )
        return
    asked = [i for i in range(len(names)) if not frozen[i] and has_slope[i]]
    still = [i for i in asked if not moved[i]]
    if all(low[i] for i in still) and _kept(facts, lane, low) <= KEPT:
        still = []  # told as lost in rounding
    thawed = [i for i in range(len(names)) if frozen[i] and moved[i]]
    if still and finite:
        yield fault(
            "weights_change",
            "E6",
            f"{len(still)} of {len(asked)} arrays never change, though they have gradients: "
            f"{listed(names, still)}.",
            "Give the optimiser all weights, or name these in frozen=.",
            row=ROW,
            explains=("F8", "E2", "E11", "C1", "G2"),
            weights=[names[i] for i in still],
        )
    elif thawed:
        yield fault(
            "weights_change",
            "E6",
            f"{listed(names, thawed)} should be frozen, and change.",
            "Mask them in the optimiser: optax.multi_transform with optax.set_to_zero.",
            row=ROW,
        )
    else:
        yield healthy("weights_change", f"All {len(asked)} arrays change.", row=ROW)
    yield from _rounding(facts, lane, low)
    yield from _direction(facts, lane)
    yield from _seldom(facts, lane)
    if facts.program.step is not None:
        yield from _own_step(facts)


def _slopes(facts: Facts) -> list[bool]:
    """Whether each array has a gradient on some batch."""
    found = [False] * len(facts.names)
    for number in range(3):
        _, gradient = facts.gradient(
            facts.learnt(facts.variables), facts.variables, *facts.more(number), facts.key
        )
        found = [f or bool(as_numpy(g).any()) for f, g in zip(found, gradient)]
    return found


def _moved(before: Any, after: Any) -> bool:
    return not np.array_equal(as_numpy(before), as_numpy(after))


def _rounding(facts: Facts, lane: runs.Lane, low: list[bool]) -> Iterator[Finding]:
    if not any(low) or not lane.finite:
        return
    share = _kept(facts, lane, low)
    told = f"Of weights of low precision {percent(share)} changed in {lane.looks[1]} steps"
    if share > KEPT:
        yield healthy("rounding", f"{told}.", row="SKEL16")
        return
    yield fault(
        "rounding",
        "G2",
        f"{told}: updates are smaller than their last digit.",
        "Keep weights in float32, and compute in low precision only.",
        row="SKEL16",
        certainty="statistical",
        explains=("E2", "E7", "E11", "F8", "E6"),
    )


def _kept(facts: Facts, lane: runs.Lane, low: list[bool]) -> float:
    """Share of the weights of low precision that the first steps changed."""
    kept, count = 0, 0
    for is_low, before, after in zip(low, facts.learnt(lane.begin), facts.learnt(lane.first)):
        if is_low and before.ndim >= 2:
            kept += int((as_numpy(before) != as_numpy(after)).sum())
            count += before.size
    return kept / count if count else 1.0


def _direction(facts: Facts, lane: runs.Lane) -> Iterator[Finding]:
    """E10: updates that point up the gradient, all together or those of one array."""
    agreements = lane.agreements[:FIRST]
    moving = np.isfinite(agreements) & (lane.sizes[:FIRST] > 0)
    if moving.sum() < 3:
        return
    mean = float(agreements[moving].mean())
    told = f"The cosine of the first updates and the negative gradient is {mean:.2f}"
    each = lane.each[:FIRST][moving][:, :-1].mean(0)
    weighed = [p for p, leaf in enumerate(facts.learnt(lane.begin)) if leaf.size >= FEW_NUMBERS]
    lowest = min(weighed, key=lambda place: each[place], default=0)
    if mean > UPHILL and each[lowest] < FAR_UPHILL and weighed:
        told = f"{told}, but that of {facts.names[lowest]} alone {each[lowest]:.2f}"
    elif mean > UPHILL:
        yield healthy("direction", f"{told}.", row=ROW)
        return
    yield fault(
        "direction",
        "E10",
        f"{told}: steps go uphill.",
        "Subtract the gradient: optax updates are added, and carry the minus already.",
        row=ROW,
        explains=("F8", "E1", "G1", "E2", "E11", "D1", "C9", "C8", "C10"),
    )


def _seldom(facts: Facts, lane: runs.Lane) -> Iterator[Finding]:
    """E7: most steps change nothing, and nothing gathers their gradients."""
    moving = float(np.mean(lane.sizes[np.isfinite(lane.sizes)] > 0))
    optimizer = facts.program.optimizer
    state = facts.program.state
    if optimizer is not None:
        state = optimizer.init(facts.optimised(facts.variables))
    if moving > SELDOM or not moving or not lane.finite or _gathers(state):
        return
    yield fault(
        "weights_change",
        "E7",
        f"Only {percent(moving)} of the steps change a weight, and the optimiser gathers no "
        "gradients in between.",
        "Use what every update returns, or gather gradients with optax.MultiSteps.",
        row=ROW,
        certainty="heuristic",
        warn=True,
        explains=("E2", "E11", "F8"),
    )


def _own_step(facts: Facts) -> Iterator[Finding]:
    step = runs.own_step(facts)
    state = facts.program.state
    reported, own, counts = [], [], []
    for number in range(12):
        variables = runs.variables_in(facts, state)
        key = jax.random.fold_in(facts.key, number)
        loss, _ = facts.gradient(facts.learnt(variables), variables, *facts.batch, key)[0]
        own.append(float(loss))
        counts.append(_counts(state))
        state, told = step(state, tuple(facts.batch), key)
        reported.append(float(jnp.mean(jnp.asarray(told, jnp.float32))))
    own_values, said = np.array(own), np.array(reported)
    if not (np.isfinite(own_values).all() and np.isfinite(said).all()):
        return
    changes = float(np.ptp(own_values))
    if np.ptp(said) == 0 and changes > 1e-4 * abs(own_values[0]):
        yield fault(
            "fresh_loss",
            "F7",
            "The loss that step reports never changes, though weights do.",
            "Compute the loss with the weights as they are now.",
            row="SKEL17",
            explains=("E7",),
        )
    elif _stale(said, own_values):
        yield fault(
            "fresh_loss",
            "F7",
            "The loss that step reports follows that of the weights as they are only in part, "
            "and keeps a part of the first one.",
            "Compute the loss with the weights as they are now.",
            row="SKEL17",
            certainty="statistical",
        )
    names = [name for name, value in counts[0].items() if value == counts[-1][name]]
    # An optimiser that gathers gradients first counts seldom.
    if names and changes and not _gathers(state):
        yield fault(
            "optimiser_state",
            "E6",
            f"The optimiser's count ({names[0]}) stands still: its state does not go on.",
            "Return the new opt_state with the new weights.",
            row=ROW,
            explains=("E1", "E2", "E9", "F8", "E8"),
        )
    extra = float(np.median(said - own_values))
    if extra > max(1.0, 2.0 * abs(float(np.median(own_values)))):
        yield fault(
            "other_terms",
            "D9",
            f"The loss that step reports is {extra:.3g} more than that of outputs and targets.",
            "Lower what is added to the loss: it should be a small part of it.",
            row="SKEL12",
            certainty="heuristic",
            warn=True,
            explains=("E5", "F8", "E11", "E2", "C9", "E10"),
        )


def _stale(said: np.ndarray, own: np.ndarray) -> bool:
    """Whether what is reported is a mixture of the loss and of the loss at the start."""
    if np.ptp(own) < 1e-2 * abs(own[0]) or np.ptp(said) == 0:
        return False
    slope, level = np.polyfit(own, said, 1)
    fits = np.corrcoef(own, said)[0, 1] > 0.98
    kept = abs(level - (1 - slope) * own[0]) < 0.1 * np.ptp(own)
    return bool(fits and 0.1 < slope < 0.8 and kept)


def _gathers(state: Any) -> bool:
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
    return any("mini_step" in path for path in paths)


def _counts(state: Any) -> dict[str, int]:
    found = {}
    for path, leaf in jax.tree.leaves_with_path(state):
        name = jax.tree_util.keystr(path)
        whole = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.integer)
        if whole and np.ndim(leaf) == 0 and name.endswith(".count"):
            found[name] = int(leaf)
    return found
