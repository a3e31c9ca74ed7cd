"""What does the optimiser make of a gradient?"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.probes.facts import Facts, NotGiven, guarded, is_float
from recipe_jax.probes.outcomes import LEAST_SKILL
from recipe_jax.types import Finding

ROW = "SKEL16"
LENGTH, ALONE = 130, 5
TIGHT, OFTEN = 0.1, 0.9
MOST_WORK = 3e8
CRAWL = 1e-4
"""Size of an update beside the weights: a thousandth is usual."""
SLIGHT, SHRINKS = 0.1, 1e-3
"""Decay that is advised: beside the rest of an update, and what a step takes of the weights."""


class Response(NamedTuple):
    """How large updates are, (steps,) each, for one gradient given again and again.

    plain, tenfold, millionth, billionth: for the gradient times 1, 10, 1e-6 and 1e-9
    pulse: given five times, then zeros
    decay: size of what the weights themselves add, over the rest; pull: how far that points to zero
    (cosine); shrink: its size over the weights'
    kept: an array of the state is, long after the pulse, what it was right after it
    proportional: updates of single weights are to each other as their gradients
    """

    plain: np.ndarray
    tenfold: np.ndarray
    millionth: np.ndarray
    billionth: np.ndarray
    pulse: np.ndarray
    decay: float
    pull: float
    shrink: float
    kept: bool
    proportional: bool


def diagnose(facts: Facts) -> Iterator[Finding]:
    """E4: clipping is the rate; E5: decay outweighs the gradient; E8: gradients are never cleared;
    E9: a constant of the optimiser out of its range."""
    facts.given("optimizer", "apply", "loss")
    response = respond(facts)
    if not np.isfinite(response.plain).all():
        raise NotGiven("updates are not finite")
    if not response.plain.any():
        raise NotGiven("the optimiser makes no update")
    yield from _state(facts)
    yield from _clipping(facts, response)
    yield from _memory(facts, response)
    yield from _epsilon(facts, response)
    yield from _decay(facts, response)


def respond(facts: Facts) -> Response:
    """Feeds the optimiser gradients of known sizes, the weights held fixed."""
    variables = facts.variables
    learnt = facts.learnt(variables)
    size = sum(leaf.size for leaf in learnt)
    length = int(min(LENGTH, MOST_WORK / max(1, 6 * size)))
    if length < 40:
        raise NotGiven("the weights are too many to feed the optimiser a hundred times")
    _, gradient = facts.gradient(learnt, variables, *facts.batch, facts.key)
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in gradient):
        raise NotGiven("the gradient is not finite")
    zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if is_float(leaf) else leaf, variables)
    optimizer = facts.program.optimizer
    params = facts.optimised(variables)

    def run(factors: Any, scale: Any) -> Any:
        held = jax.tree.map(lambda p: (p * scale).astype(p.dtype) if is_float(p) else p, params)

        def step(opt_state: Any, factor: Any) -> Any:
            scaled = [(leaf * factor).astype(leaf.dtype) for leaf in gradient]
            grads = facts.optimised(facts.with_learnt(zeros, scaled))
            updates, opt_state = optimizer.update(grads, opt_state, held)
            flat = _flat(facts, updates)
            held_back = [
                jnp.linalg.norm(leaf.astype(jnp.float32).ravel())
                for leaf in jax.tree.leaves(opt_state)
                if is_float(leaf) and leaf.size > 1
            ]
            return opt_state, (jnp.linalg.norm(flat), flat, jnp.stack([*held_back, 0.0]))

        _, (norms, flats, states) = jax.lax.scan(step, optimizer.init(held), factors)
        return norms, flats[ALONE - 1], states

    ones = np.ones(length, np.float32)
    pulse = np.where(np.arange(length) < ALONE, 1, 0).astype(np.float32)
    factors = np.stack([ones, 10 * ones, 1e-6 * ones, 1e-9 * ones, pulse, ones])
    scales = np.array([1, 1, 1, 1, 0, 0], np.float32)
    with guarded("optimizer"):
        run = jax.jit(run)
        found = [run(f, s) for f, s in zip(factors, scales)]
    norms = [np.asarray(norm) for norm, _, _ in found]
    states = np.asarray(found[4][2])
    same = np.abs(states[-1] - states[2 * ALONE]) <= 1e-5 * np.abs(states[-1])
    with_weights, without = np.asarray(found[0][1]), np.asarray(found[5][1])
    added = with_weights - without
    weights = np.concatenate([np.asarray(leaf, np.float32).ravel() for leaf in learnt])
    bottom = max(float(np.linalg.norm(without)), 1e-30)
    length_of = float(np.linalg.norm(added) * np.linalg.norm(weights))
    return Response(
        *norms[:5],
        decay=float(np.linalg.norm(added)) / bottom,
        pull=float(-(added @ weights) / max(length_of, 1e-30)),
        shrink=float(np.linalg.norm(added) / max(np.linalg.norm(weights), 1e-30)),
        kept=bool((same & (states[-1] > 0)).any()),
        proportional=_proportional(gradient, without),
    )


def _proportional(gradient: list[Any], update: np.ndarray) -> bool:
    slope = np.concatenate([np.asarray(leaf, np.float32).ravel() for leaf in gradient])
    large = np.abs(slope) > 0.03 * np.abs(slope).max()
    if large.sum() <= 10:
        return False
    ratio = update[large] / slope[large]
    return bool(ratio.std() < 0.1 * abs(ratio.mean()))


def _flat(facts: Facts, updates: Any) -> Any:
    leaves = [leaf for leaf in jax.tree.leaves(updates) if is_float(leaf)]
    if len(leaves) > len(facts.places):
        leaves = [jax.tree.leaves(updates)[place] for place in facts.places]
    return jnp.concatenate([leaf.astype(jnp.float32).ravel() for leaf in leaves])


def _state(facts: Facts) -> Iterator[Finding]:
    """Whether an update changes the optimiser's state, where it has one."""
    params = facts.optimised(facts.variables)
    ones = jax.tree.map(lambda leaf: jnp.ones_like(leaf) if is_float(leaf) else leaf, params)
    optimizer = facts.program.optimizer
    with guarded("optimizer"):
        state = optimizer.init(params)
        after = jax.jit(optimizer.update)(ones, state, params)[1]
    pairs = list(zip(jax.tree.leaves(state), jax.tree.leaves(after)))
    if not pairs or any(not np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs):
        yield healthy("optimiser_state", "The optimiser's state goes on.", row=ROW)
        return
    yield fault(
        "optimiser_state",
        "E6",
        "An update leaves the optimiser's state as it was: averages and counts stand still.",
        "Return the new state with the updates.",
        row=ROW,
        explains=("E8", "E9", "E1", "E2", "F8", "E3"),
    )


def _late(norms: np.ndarray) -> float:
    """Size of an update a few steps in, at its largest (accumulating optimisers rest between)."""
    return float(norms[: 4 * ALONE].max())


def _clipping(facts: Facts, response: Response) -> Iterator[Finding]:
    if _has(facts, "nu", "sum_of_squares", "mean_of_squares"):
        yield from _one_size(facts)
        return  # adaptive: clipping the gradient changes no size
    small, tiny, one = map(_late, (response.millionth, response.billionth, response.plain))
    if not small or abs(tiny / small / 1e-3 - 1) > 0.2:
        return  # not proportional to small gradients: signs, or a trust ratio
    factor = one / (1e6 * small)
    try:
        norms = facts.lanes["normal"].norms
    except NotGiven:
        norms = np.ones(1)
    start = float(norms[0])
    limit = factor * start
    often = float(np.mean(norms > 1.01 * limit))
    middle = limit / max(float(np.median(norms[np.isfinite(norms)])), 1e-30)
    if factor > 0.9:
        yield healthy("clipping", "Updates are proportional to gradients.", row="FIT7")
        return
    told = f"Gradients are clipped to {limit:.3g}; {percent(often)} of all steps are beyond that"
    if often < OFTEN or middle > TIGHT:
        yield healthy("clipping", f"{told}.", row="FIT7")
        return
    yield fault(
        "clipping",
        "E4",
        f"{told}, by a factor of {1 / middle:.0f}: the limit is the rate.",
        "Raise the limit to what gradients usually measure.",
        row="FIT7",
        certainty="heuristic",
        warn=True,
        explains=("E2", "E11", "F8"),
    )


def _one_size(facts: Facts) -> Iterator[Finding]:
    """E4: every update of a training has one and the same norm, and larger ones learn far
    better, or it is so small that nothing is learnt."""
    lanes = facts.lanes
    sizes = lanes["normal"].sizes
    middle = float(np.median(sizes))
    alike = float(np.mean(np.abs(sizes - middle) < 1e-3 * middle))
    larger = max(lanes[name].best.mean() for name in ("10 x", "100 x"))
    own = lanes["normal"].best.mean()
    weights = np.sqrt(sum(float(np.sum(np.square(w))) for w in facts.learnt(facts.variables)))
    crawls = own < LEAST_SKILL and middle < CRAWL * weights
    if alike < OFTEN or (larger - own < 0.15 and not crawls):
        return
    yield fault(
        "clipping",
        "E4",
        f"{percent(alike)} of all updates measure {middle:.3g}, {middle / weights:.1e} of the "
        "weights: they are clipped to that, and "
        + ("nothing is learnt." if crawls else "a larger limit learns more."),
        "Raise the limit, or clip gradients before the optimiser, not updates after it.",
        row="FIT7",
        certainty="heuristic",
        warn=not crawls,
        explains=("E2", "E11", "F8"),
    )


def _memory(facts: Facts, response: Response) -> Iterator[Finding]:
    top = float(response.pulse[: 4 * ALONE].max())
    rest = float(response.pulse[-10:].max())
    growth = _late(response.plain[::-1]) / max(_late(response.plain), 1e-30)
    told = (
        f"{percent(rest / max(top, 1e-30))} of an update remain "
        f"{len(response.pulse) - ALONE} steps after the last gradient"
    )
    by_sign = _late(response.tenfold) < 3 * _late(response.plain) and not _has(facts, "nu")
    # The sign of a small rest is as large as any other.
    if rest <= 0.5 * top or (by_sign and not response.kept):
        yield healthy("optimiser_memory", f"{told}.", row=ROW)
        return
    momentum = not response.kept and _has(facts, "trace", "mu")
    yield fault(
        "optimiser_memory",
        "E9" if momentum else "E8",
        f"{told}, and updates grow {growth:.1f}-fold under one and the same gradient.",
        "Use a momentum of 0.9 or so." if momentum else "Clear gradients after every update.",
        row=ROW,
        explains=("E1", "E8", "E9", "F8", "G1", "E10", "C9", "E5"),
    )


def _has(facts: Facts, *names: str) -> bool:
    state = facts.program.optimizer.init(facts.optimised(facts.variables))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
    return any(f".{name}" in path for path in paths for name in names)


def _epsilon(facts: Facts, response: Response) -> Iterator[Finding]:
    if not _has(facts, "nu", "sum_of_squares", "mean_of_squares"):
        return
    ratio = _late(response.tenfold) / max(_late(response.plain), 1e-30)
    told = f"A gradient ten times as large makes an update {ratio:.1f} times as large"
    if ratio < 1.5 and response.proportional:
        yield fault(
            "clipping",
            "E4",
            f"{told}, yet updates are proportional to gradients: they are clipped to less than "
            "epsilon.",
            "Raise the limit to what gradients usually measure.",
            row="FIT7",
            certainty="heuristic",
            warn=True,
            explains=("E2", "E11", "F8"),
        )
        return
    if ratio < 5:
        yield healthy("epsilon", f"{told}.", row=ROW)
        return
    yield fault(
        "epsilon",
        "E9",
        f"{told}: epsilon, not the size of the gradient, is what it is divided by.",
        "Set epsilon to 1e-8.",
        row=ROW,
        certainty="heuristic",
        warn=True,
        explains=("E2", "E11", "F8"),
    )


def _decay(facts: Facts, response: Response) -> Iterator[Finding]:
    if response.pull < 0.5 or not 0 < response.decay < 1e9:
        return
    told = (
        f"The decay of the weights is {response.decay:.3g} times the rest of an update, and takes "
        f"{percent(response.shrink)} of them a step"
    )
    if response.decay < 1 and response.shrink < 0.02:
        yield healthy("decay", f"{told}.", row="REG7")
        return
    fold = max(response.decay / SLIGHT, response.shrink / SHRINKS)
    yield fault(
        "decay",
        "E5",
        f"{told}.",
        f"Lower weight_decay {float(f'{fold:.1g}'):g}-fold, or put it before the rate in the chain "
        "if it stands after it: a step then takes only the rate times weight_decay of the weights. "
        "Leave biases and norms out.",
        row="REG7",
        certainty="heuristic",
        warn=response.shrink < 0.1,
        explains=("F8", "E1", "E2", "E11", "C9", "C10", "E7"),
    )
