"""Are held-out examples given in the same form as those of training?"""

from collections.abc import Iterator

import numpy as np
from scipy import optimize

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

ROW = "DATA6"
LEARNT, LOST = 0.6, 0.4
"""Asked where so much is known of training, and under LOST of that of the held-out examples."""
RESTORED = 0.7
"""Of the skill on training: what overfitting or another distribution took away, no turning of
inputs and no renumbering by half of the examples brings back for the other half; a little of it
is overfitting in any program."""
LEAST = 40


def diagnose(facts: Facts) -> Iterator[Finding]:
    """B8: inputs are reversed along an axis; B10: classes are numbered otherwise."""
    facts.given("apply", "loss", "validation")
    if facts.judged_by_loss or facts.meaning.tokens or not facts.float_inputs:
        raise NotGiven("held-out examples could be turned or renumbered in too many ways")
    lane = facts.lanes["normal"]
    learnt, held = lane.learnt, float(lane.best.mean())
    told = f"Skill on training examples is {learnt:.2f}, on held-out ones {held:.2f}"
    alike = learnt < LEARNT or held > LOST * learnt or len(facts.validation.inputs) < 2 * LEAST
    turned = None if alike else _turned(facts, learnt)
    numbers = None if alike or turned else _renumbered(facts, learnt)
    if turned is not None:
        yield fault(
            "held_out_form",
            "B8",
            f"{told}; {turned[1]:.2f} where {turned[0]}.",
            "Read validation by the same code as training: channels, rows and columns in the same "
            "order.",
            row=ROW,
            certainty="statistical",
            explains=("F8", "A13", "A5"),
        )
    elif numbers is not None:
        yield fault(
            "held_out_form",
            "B10",
            f"{told}; {numbers[1]:.2f} where {numbers[0]}: the classes of validation are numbered "
            "otherwise.",
            "Number the classes once, by the names of all of them, for training and validation.",
            row=ROW,
            certainty="statistical",
            explains=("F8", "A12", "A13", "A1", "A2"),
        )
    else:
        yield healthy("held_out_form", f"{told}.", row=ROW)


def _turned(facts: Facts, learnt: float) -> tuple[str, float] | None:
    """(how held-out inputs have to be turned, the skill then) where that restores it."""
    inputs, targets = facts.validation
    ways = {
        f"{_axis(axis, inputs.ndim)} of validation are reversed": np.flip(inputs, axis)
        for axis in range(1, inputs.ndim)
        if inputs.shape[axis] > 1
    }
    if inputs.ndim > 2 and inputs.shape[1] == inputs.shape[2]:
        ways["rows and columns of validation are exchanged"] = np.swapaxes(inputs, 1, 2)
    found = {
        what: float(facts.skill(_outputs(facts, changed), targets).mean())
        for what, changed in ways.items()
    }
    best = max(found, key=lambda what: found[what], default="")
    return (best, found[best]) if best and found[best] > RESTORED * learnt else None


def _axis(axis: int, count: int) -> str:
    """What people call an axis of inputs with so many."""
    names = {2: ("features",), 4: ("rows", "columns", "channels")}
    return f"the {names[count][axis - 1]}" if count in names else f"the numbers of axis {axis}"


def _outputs(facts: Facts, inputs: np.ndarray) -> np.ndarray:
    last = facts.lanes["normal"].last
    return as_numpy(facts.forward(last, np.ascontiguousarray(inputs), facts.key, False)[0])


def _renumbered(facts: Facts, learnt: float) -> tuple[str, float] | None:
    """(which numbers stand for which, the skill then) by the best one-to-one renumbering of half
    of the held-out examples, judged by the other half."""
    meaning, (inputs, targets) = facts.meaning, facts.validation
    labels = meaning.labels(targets).ravel()
    if meaning.kind == "values" or len(labels) != len(inputs) or labels.min() < 0:
        return None
    chances = meaning.chances(_outputs(facts, inputs), facts.form)
    guesses, count = chances.argmax(-1).ravel(), max(chances.shape[-1], int(labels.max()) + 1)
    half = len(labels) // 2
    table = np.zeros((count, count))
    np.add.at(table, (guesses[:half], labels[:half]), 1)
    # Of equally good ones that which leaves most numbers as they are.
    numbers = optimize.linear_sum_assignment(-table - 1e-3 * np.eye(count))[1]
    right = numbers[guesses[half:]] == labels[half:]
    top = np.bincount(labels[half:]).max() / len(right)
    skill = (float(right.mean()) - top) / max(1 - top, 1e-6)
    moved = [k for k in range(count) if numbers[k] != k and table[k].any()]
    if skill <= RESTORED * learnt or not moved:
        return None
    pairs = ", ".join(f"{numbers[k]} stands for class {k}" for k in moved[:3])
    return pairs + (", ..." if len(moved) > 3 else ""), skill
