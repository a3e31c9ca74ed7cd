"""Does the program behave in training as in training, and at evaluation as at evaluation?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.probes import trace
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy, is_float
from recipe_jax.types import Finding

ROW = "SKEL16"
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
    return as_numpy(facts.forward(variables, facts.batch.inputs, key, train)[0])


def _keys() -> tuple[Any, Any]:
    return jax.random.key(11), jax.random.key(12)


def _evaluation(facts: Facts) -> Iterator[Finding]:
    one, other = (_outputs(facts, key, False) for key in _keys())
    if np.array_equal(one, other, equal_nan=True):
        yield healthy("evaluation_repeats", "Evaluation does not depend on the key.", row=ROW)
        return
    yield fault(
        "evaluation_repeats",
        "C16",
        "At evaluation outputs change with the random key: dropout or noise is still on.",
        "Pass train=False on to every layer that is random.",
        row=ROW,
        explains=("F3", "B6", "F8", "C17", "A13"),
    )


def _operations(facts: Facts, train: bool) -> list[trace.Operation]:
    closed = jax.make_jaxpr(lambda v, x, k: facts.apply(v, x, k, train)[0])(
        facts.variables, facts.batch.inputs, facts.key
    )
    return list(trace.operations(closed))


def _masks(facts: Facts) -> Iterator[Finding]:
    random = [each for each in _operations(facts, True) if each.name in RANDOM]
    if not random:
        return
    one, other = (_outputs(facts, key, True) for key in _keys())
    still = _outputs(facts, facts.key, False)
    after = facts.forward(facts.variables, facts.batch.inputs, facts.key, True)[1]
    again = as_numpy(facts.forward(after, facts.batch.inputs, facts.key, True)[0])
    first = as_numpy(facts.after_apply[0])
    own = not np.array_equal(first, again, equal_nan=True) and _keeps_keys(facts)
    if not np.array_equal(one, other, equal_nan=True) or own or np.array_equal(one, still):
        yield healthy("masks_change", "What is random in training changes with the key.", row=ROW)
        return
    yield fault(
        "masks_change",
        "G5",
        "Training draws random numbers, and they are the same whatever the key.",
        "Make every key from the one that is passed in: jax.random.fold_in(key, step).",
        row=ROW,
        explains=("C16",),
    )


def _keeps_keys(facts: Facts) -> bool:
    """Whether variables hold random keys, or counts, of their own."""
    return any(not is_float(leaf) for leaf in jax.tree.leaves(facts.variables))


def _rate(facts: Facts) -> Iterator[Finding]:
    """Share that dropout leaves: the number that uniform draws are compared with."""
    kept = []
    closed = jax.make_jaxpr(lambda v, x, k: facts.apply(v, x, k, True)[0])(
        facts.variables, facts.batch.inputs, facts.key
    )
    for each in trace.operations(closed):
        if each.name in ("lt", "le", "gt", "ge") and not each.within[-1:] == ("_threefry",):
            for atom in each.inputs:
                if isinstance(atom, core.Literal) and np.ndim(atom.val) == 0:
                    value = float(atom.val)
                    kept.append(value if each.name in ("lt", "le") else 1 - value)
    random = any(each.name in RANDOM for each in trace.operations(closed))
    kept = [value for value in kept if 0 < value < 1]
    if not random or not kept:
        return
    drops = 1 - min(kept)
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
        as_numpy(facts.forward(jax.tree.unflatten(structure, leaves), inputs, facts.key, False)[0])
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
        outputs = as_numpy(facts.forward(lane.last, inputs, facts.key, train)[0])
        skill[train] = float(facts.meaning.skill(outputs, targets, facts.form).mean())
    told = (
        f"On training examples skill is {skill[True]:.2f} in training's mode and {skill[False]:.2f} "
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
