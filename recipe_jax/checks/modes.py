"""Does the program behave in training as in training, and at evaluation as at evaluation?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.probes import trace
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy, is_float, joined
from recipe_jax.types import Finding

ROW = "SKEL17"
RANDOM = ("random_bits", "threefry2x32", "random_wrap", "random_fold_in", "random_seed")
RATE, FAR = 0.6, 0.85


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C16: dropout at evaluation, or too much of it; G5: its mask never changes; C17: averages
    that are carried but never follow."""
    facts.given("apply")
    yield from _evaluation(facts)
    yield from _masks(facts)
    yield from _rate(facts)
    yield from _averages(facts)


def _outputs(facts: Facts, key: Any, train: bool) -> np.ndarray:
    variables = facts.scattered(0.1)
    return joined(facts.forward(variables, facts.batch.inputs, key, train)[0])


def _keys() -> tuple[Any, Any]:
    return jax.random.key(11), jax.random.key(12)


def _evaluation(facts: Facts) -> Iterator[Finding]:
    one, other = (_outputs(facts, key, False) for key in _keys())
    if np.array_equal(one, other, equal_nan=True):
        yield healthy("evaluation_repeats", "Evaluation does not depend on the key.", row=ROW)
        return
    on_inputs = _on_inputs(facts)
    yield fault(
        "evaluation_repeats",
        "B6" if on_inputs else "C16",
        "At evaluation outputs change with the random key: "
        + ("inputs are still augmented." if on_inputs else "dropout or noise is still on."),
        "Augment training examples only."
        if on_inputs
        else "Pass train=False on to every layer that is random.",
        row=ROW,
        # What is drawn at random on purpose gives several outputs, as an autoencoder's do.
        warn=not on_inputs and facts.known is None,
        explains=("F3", "B6", "C16", "F8", "C17", "A13"),
    )


def _on_inputs(facts: Facts) -> bool:
    """Whether what is random is added to the inputs, or moves them, before any weight."""
    layout, groups = facts.laid_out(train=False)
    origins = layout.origins(groups | {layout.inputs[-1]: "key"})
    moving = ("add", "sub", "gather", "dynamic_slice", "dynamic_update_slice", "add_any")
    for step in layout.steps:
        found = frozenset().union(*(origins.get(v or 0, frozenset()) for v in step.reads))
        apart = any(origins.get(v or 0) == frozenset({"inputs"}) for v in step.reads)
        if step.name in moving and apart and found == frozenset({"inputs", "key"}):
            return True
    return False


def _operations(facts: Facts, train: bool) -> list[str]:
    closed = jax.make_jaxpr(lambda v, x, k: facts.apply(v, x, k, train)[0])(
        facts.variables, facts.batch.inputs, facts.key
    )
    return list(trace.operations(closed))


def _masks(facts: Facts) -> Iterator[Finding]:
    if not set(RANDOM).intersection(_operations(facts, True)):
        return
    one, other = (_outputs(facts, key, True) for key in _keys())
    if not np.isfinite(one).any():
        raise NotGiven("outputs are not finite")
    still = _outputs(facts, facts.key, False)
    after = facts.forward(facts.variables, facts.batch.inputs, facts.key, True)[1]
    again = joined(facts.forward(after, facts.batch.inputs, facts.key, True)[0])
    first = joined(facts.after_apply[0])
    own = not np.array_equal(first, again, equal_nan=True) and _keeps_keys(facts)
    moves = not np.array_equal(one, other, equal_nan=True) or own or np.array_equal(one, still)
    fixed = 0 if _keeps_keys(facts) else _drawn_without_key(facts)
    if moves and not fixed:
        yield healthy("masks_change", "What is random in training changes with the key.", row=ROW)
        return
    yield fault(
        "masks_change",
        "G5",
        f"In training random numbers are drawn from a key that is written in place, {fixed} times: "
        "the mask is the same at every step."
        if moves
        else "Training draws random numbers, and they are the same whatever the key.",
        "Make every key from the one that is passed in: jax.random.fold_in(key, step).",
        row=ROW,
        explains=("C16", "E2", "E11", "F8", "C9"),
    )


def _drawn_without_key(facts: Facts) -> int:
    """How often training, and not evaluation, draws random numbers that depend on nothing.

    What evaluation draws as well, such as fixed random features, is part of the model.
    """

    def count(train: bool) -> int:
        layout, groups = facts.laid_out(train=train)
        origins = layout.origins(groups | {layout.inputs[-1]: "key"})
        return sum(
            step.name in ("random_bits", "threefry2x32") and not origins[step.makes[0]]
            for step in layout.steps
        )

    return max(0, count(True) - count(False))


def _keeps_keys(facts: Facts) -> bool:
    """Whether variables hold random keys, or counts, of their own."""
    return any(not is_float(leaf) for leaf in jax.tree.leaves(facts.variables))


def _rate(facts: Facts) -> Iterator[Finding]:
    """Share that dropout drops: zeros that come and go with the key."""
    variables, inputs = facts.variables, facts.batch.inputs

    def masks(eqn: Any) -> bool:
        kind = eqn.outvars[0].aval
        floats = jnp.issubdtype(kind.dtype, jnp.floating)
        return eqn.primitive.name in ("select_n", "mul") and floats and kind.ndim >= 2

    run = jax.jit(trace.watched(lambda k: facts.apply(variables, inputs, k, True)[0], masks))
    one, other = (run(key)[1] for key in _keys())
    drops = max((_dropped(a, b) for a, b in zip(one, other)), default=0.0)
    if not drops:
        return
    told = f"Dropout drops {percent(drops)}"
    if drops < RATE:
        yield healthy("dropout_rate", f"{told}.", row="REG6")
        return
    yield fault(
        "dropout_rate",
        "C16",
        f"{told}: is the rate meant to be the share that is kept?",
        "Drop half at most.",
        row="REG6",
        certainty="heuristic",
        warn=drops < FAR,
        explains=("F8", "E2", "E11"),
    )


def _dropped(one: Any, other: Any) -> float:
    """Share of the numbers that one operation sets to zero, if they are others for another key."""
    (given, (made, *_)), (_, (second, *_)) = one, other
    made, second = as_numpy(made), as_numpy(second)
    values = [as_numpy(each) for each in given if np.shape(each) == made.shape and is_float(each)]
    whole = np.max([np.abs(each) for each in values], axis=0) > 0 if values else made != 0
    gone, also = (made == 0) & whole, (second == 0) & whole
    if not gone.any() or (gone == also).all():
        return 0.0
    return float(gone.sum() / max(1, whole.sum()))


def _averages(facts: Facts) -> Iterator[Finding]:
    """Floats that are carried: training must change them, and evaluation must read them."""
    if not facts.carried:
        return
    after = facts.after_apply[1]
    before, behind = jax.tree.leaves(facts.variables), jax.tree.leaves(after)
    still = [p for p in facts.carried if np.array_equal(as_numpy(before[p]), as_numpy(behind[p]))]
    names = [facts.leaves[p].name for p in still if not facts.leaves[p].frozen]
    if len(still) < len(facts.carried) or not names:
        yield from _gap(facts)
        return
    flat, structure = jax.tree.flatten(facts.variables)
    changed = [leaf + 1.0 if p in still else leaf for p, leaf in enumerate(flat)]
    inputs = facts.batch.inputs
    one, other = (
        joined(facts.forward(jax.tree.unflatten(structure, leaves), inputs, facts.key, False)[0])
        for leaves in (flat, changed)
    )
    if np.array_equal(one, other, equal_nan=True) and np.ptp(one) > 0:
        yield healthy("averages_follow", "What is carried does not enter the outputs.", row=ROW)
        return
    yield fault(
        "averages_follow",
        "C17",
        f"Training never changes {', '.join(names[:3])}, which evaluation reads.",
        "Return the updated collection from apply (Linen: mutable=['batch_stats']).",
        row=ROW,
        explains=("F8", "C12", "A13", "E6", "C16"),
    )


def _gap(facts: Facts) -> Iterator[Finding]:
    """Whether the trained program does at evaluation what it does in training."""
    try:
        lane = facts.lanes["normal"]
    except NotGiven:
        return
    if not lane.finite:
        return
    inputs, targets = (jnp.asarray(a[:256]) for a in facts.train)
    skill = {}
    for train in (False, True):
        outputs, _ = facts.forward(lane.last, inputs, facts.key, train)
        skill[train] = float(facts.skill(outputs, targets).mean())
    told = (
        f"On training examples skill is {skill[True]:.2f} in training's mode and "
        f"{skill[False]:.2f} "
        "at evaluation"
    )
    if skill[True] - skill[False] < 0.4 or skill[False] > 0.5 * skill[True]:
        yield healthy("averages_follow", f"{told}.", row=ROW)
        return
    yield fault(
        "averages_follow",
        "C17",
        f"{told}.",
        "Look at how averages are carried, at their momentum, and at the size of the batch.",
        row=ROW,
        certainty="statistical",
        explains=("F8", "E11"),
    )
