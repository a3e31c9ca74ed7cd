"""Is a right answer cheaper than a wrong one, and how cheap can it be?"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.checks.loss_reading import what_it_reads
from recipe_jax.probes import by_loss
from recipe_jax.probes.facts import Facts, as_numpy
from recipe_jax.types import Finding

ROW = "SKEL12"
CERTAIN_ENOUGH, RIGHT = 0.55, 0.8
WEIGHTS = 50.0
FLAT = 0.1
"""Of what an answer costs that says nothing: a loss that asks less of the right and of the wrong
answer is not monotone. A healthy one asks more of the wrong answer than of none."""
PREFERRED = 0.6
"""So probable the lowest loss makes another class than the right one where classes are
renumbered. A loss of the wrong sign makes all others alike."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """D1: the sign; D6: a loss of another task; D7: smoothing, weights and masks; D8: no slope."""
    facts.given("loss", "apply")
    if facts.known is None:
        yield from _bottom(facts)
        return
    facts.same_scale()
    meaning = facts.meaning
    shape, targets = np.shape(facts.outputs), facts.batch.targets
    perfect = meaning.perfect(targets, facts.form, shape)
    wrong = meaning.perfect(_others(facts), facts.form, shape)
    middle = (perfect + wrong) / 2
    right, worse, between = (
        float(facts.compiled_loss(outputs, targets)) for outputs in (perfect, wrong, middle)
    )
    told = f"Perfect outputs cost {right:.3g}, wrong ones {worse:.3g}"
    if not np.isfinite([right, worse]).any():
        yield fault(
            "loss_order",
            "G1",
            f"{told}: the loss of plain outputs is not finite.",
            "Look for a logarithm or a division of zero in the loss.",
            row=ROW,
            explains=("F8", "D8"),
        )
        return
    slope = as_numpy(facts.loss_gradient(middle, targets))
    if right == worse == between and not slope.any():
        yield fault(
            "loss_order",
            "D6" if meaning.kind == "values" and shape[-1:] == (1,) else "D8",
            f"{told}: the loss does not depend on the outputs.",
            "Look at what the loss does with its first argument (a softmax over one output is 1).",
            row=ROW,
            explains=("D6", "D8", "C13", "F8", "E2", "E7", "E11", "E6"),
        )
        return
    if (
        not slope.any()
        and not as_numpy(facts.loss_gradient(np.asarray(facts.outputs, np.float32), targets)).any()
    ):
        yield fault(
            "loss_order",
            "D8",
            f"{told}, but its gradient is zero: nothing can be learnt from it.",
            "Look for stop_gradient, argmax or round in the loss.",
            row=ROW,
            explains=("C13", "C14", "F8", "E2", "E6", "E7", "E11"),
        )
        return
    misread = _place(facts) or (_renumbered(facts) if right > 0.5 * worse else None)
    if misread is not None:
        yield misread
        return
    if meaning.kind != "values":
        even = meaning.of_probabilities(np.full_like(perfect, 1 / meaning.classes), facts.form)
        nothing = float(facts.compiled_loss(even, targets))
        if max(abs(right), abs(worse)) < FLAT * nothing:
            yield fault(
                "loss_order",
                "D7",
                f"{told}, and those that say nothing {nothing:.3g}: not monotone, the loss falls "
                "again as the right class gets less likely.",
                "Let the loss rise from a right answer to a wrong one: a focal loss weighs by "
                "(1 - p) ** g, not by p ** g.",
                row=ROW,
                explains=("F8", "E11", "E2", "E10", "D1", "D6", "D3", "C15", "C2", "F4"),
            )
            return
    if right > worse + 1e-6 * abs(worse):
        yield fault(
            "loss_order",
            "D1",
            f"{told}: a right answer costs more than a wrong one.",
            "Turn the sign of the loss.",
            row=ROW,
            explains=("F8", "E10", "D7", "D6", "G1", "E1", "D3", "C15", "C2", "F4"),
        )
        return
    yield healthy("loss_order", f"{told}.", row=ROW)
    if meaning.kind == "values":
        yield from _values(facts, right, worse)
    else:
        yield from _certainty(facts)


def _place(facts: Facts) -> Finding | None:
    """Of sequences whose targets are the next tokens already: which output the loss judges by the
    target of a place."""
    inputs, targets = (np.asarray(each) for each in facts.batch)
    shape = np.shape(facts.outputs)
    if not facts.meaning.tokens or inputs.shape != targets.shape or targets.ndim != 2:
        return None
    if targets.shape[1] < 4 or shape[:-1] != targets.shape or facts.float_inputs:
        return None
    asked = targets[:, :-1] >= 0
    if not asked.any() or (inputs[:, 1:] == targets[:, :-1])[asked].mean() < 0.99:
        return None
    place = targets.shape[1] // 2
    other = targets.copy()
    there = targets[:, place] >= 0
    other[there, place] = (targets[there, place] + 1) % facts.meaning.classes
    outputs = np.random.default_rng(15).normal(size=shape).astype(np.float32)
    one, two = (as_numpy(facts.loss_gradient(outputs, each)) for each in (targets, other))
    (moved,) = np.nonzero((one != two).any((0, 2)))
    if len(moved) != 1 or moved[0] == place:
        return None
    ahead = int(place - moved[0])
    which = {1: "the token after the next", -1: "the token at its own place"}
    return fault(
        "loss_order",
        "B1",
        f"Targets are the next tokens already, and the loss judges place t by targets[t "
        f"{'+' if ahead > 0 else '-'} {abs(ahead)}]: "
        f"{which.get(ahead, f'the token {ahead + 1} places on')}.",
        "Shift once: in the targets or in the loss.",
        row=ROW,
        explains=("F8", "E11", "E2", "D1", "D3", "D6", "D7", "A14", "C2"),
    )


def _renumbered(facts: Facts) -> Finding | None:
    """Whether the loss is lowest for another class than the right one, of each class its own."""
    meaning, targets = facts.meaning, facts.batch.targets
    if meaning.kind != "classes" or meaning.tokens or facts.form != "logits":
        return None
    labels = meaning.labels(targets).ravel()
    chances = meaning.chances(facts.lowest, "logits").reshape(len(labels), -1)
    sound = np.isfinite(chances).all(-1) & (labels >= 0)
    labels, chances = labels[sound], chances[sound]
    present = np.unique(labels)
    if len(present) < 3:
        return None
    means = np.stack([chances[labels == each].mean(0) for each in present])
    liked = means.argmax(-1)
    if means.max(-1).min() < PREFERRED or len(set(liked)) < len(liked):
        return None
    if (liked == present).mean() > 0.5:
        return None
    steps = np.unique((liked - present) % meaning.classes)
    if len(steps) == 1:
        step = int(steps[0]) if steps[0] <= meaning.classes / 2 else int(steps[0]) - meaning.classes
        size = "one" if abs(step) == 1 else str(abs(step))
        what = f"class y {'+' if step > 0 else '-'} {abs(step)} (a shift by {size})"
    else:
        pairs = ", ".join(f"{a} for {b}" for a, b in list(zip(liked, present))[:3])
        what = f"another class, of each its own ({pairs}, ...)"
    return fault(
        "loss_order",
        "B10",
        f"The loss is lowest for {what}, not for the right one, y.",
        "The targets are shifted or renumbered on their way to the loss: give it the numbers that "
        "stand in the data.",
        row=ROW,
        explains=("F8", "E11", "E2", "E10", "D1", "D3", "D6", "D7", "C2", "C15", "F4"),
    )


def _bottom(facts: Facts) -> Iterator[Finding]:
    """Of outputs of unknown meaning: whether the loss has a bottom."""
    if not by_loss.endless(facts):
        yield healthy("loss_order", "The loss of outputs alone has a lowest value.", row=ROW)
        return
    yield fault(
        "loss_order",
        "D1",
        "The loss falls without end, in proportion to the outputs.",
        "Turn the sign of the loss, or of the term that falls; are logits taken for logarithms of "
        "probabilities?",
        row=ROW,
        certainty="statistical",
        explains=("F8", "E10", "D7", "D6", "G1", "E1", "D5", "C9", "C8"),
    )


def _others(facts: Facts) -> np.ndarray:
    """Targets of which every one is wrong."""
    targets, meaning = np.asarray(facts.batch.targets), facts.meaning
    if meaning.kind == "values":
        spread = np.sqrt(meaning.variance).reshape(targets.shape[1:])
        return (
            targets
            + 3 * np.where(targets > meaning.prior.reshape(targets.shape[1:]), -spread, spread)
        ).astype(np.float32)
    if meaning.kind == "binary":
        return 1 - targets
    labels = meaning.labels(targets)
    other = np.where(labels >= 0, (labels + 1) % meaning.classes, labels)
    if labels.shape == targets.shape:
        return other
    if labels.size == targets.size:
        return other.reshape(targets.shape)
    return np.eye(targets.shape[-1], dtype=targets.dtype)[other]


def _values(facts: Facts, right: float, worse: float) -> Iterator[Finding]:
    """Where the loss of one example's outputs is lowest must be its target."""
    best = facts.lowest
    targets = np.asarray(facts.batch.targets, np.float64)
    spread = np.sqrt(facts.meaning.variance).reshape(targets.shape[1:])
    if not np.isfinite(best).all():
        return
    off = float(np.median(np.abs(best.reshape(targets.shape) - targets) / spread))
    # Quantiles and margins are left alone: their lowest point is near enough.
    if off > 1.0 and right > 0.5 * worse:
        yield fault(
            "loss_target",
            "D6",
            f"The loss is lowest {off:.2f} deviations away from the target.",
            "Use a loss for quantities, such as the squared error.",
            row=ROW,
            certainty="statistical",
            explains=("F8", "E11"),
        )


def _certainty(facts: Facts) -> Iterator[Finding]:
    """What the loss would have outputs say of the right class, by going downhill on outputs
    alone."""
    meaning, targets = facts.meaning, facts.batch.targets
    labels = meaning.labels(targets).ravel()
    shape = np.shape(facts.outputs)
    reads = what_it_reads(facts)
    if facts.form != "logits":
        return
    if meaning.kind == "binary" and shape[-1:] > (1,) and _shared(facts):
        yield fault(
            "loss_certainty",
            "D6",
            "Adding a number to all outputs of an example changes nothing: its answers share one "
            "softmax, and several of them may be yes.",
            "Use one sigmoid an answer: optax.sigmoid_binary_cross_entropy.",
            row=ROW,
            explains=("F8", "E11", "E2", "D7", "C3", "A12"),
        )
        return
    best = facts.lowest
    if not reads:
        yield from _right_class(facts, best, labels)
        return
    chances = meaning.chances(best, "logits").reshape(len(labels), -1)
    flat = as_numpy(facts.loss_gradient(np.zeros(shape, np.float32), targets))
    slope = np.abs(flat.reshape(len(labels), -1)).sum(-1)
    asked = labels >= 0
    silent = asked & (slope == 0)
    told = (
        float(np.median(chances[asked & ~silent, labels[asked & ~silent]]))
        if (asked & ~silent).any()
        else 1.0
    )
    if silent.any():
        missing = set(labels[silent]) - set(labels[asked & ~silent])
        what = (
            f"Class{'es' * (len(missing) > 1)} "
            f"{', '.join(map(str, sorted(missing)[:5]))} do not count in the loss"
            if missing
            else f"{int(silent.sum())} of {int(asked.sum())} examples do not count in the loss"
        )
        padding = meaning.tokens and _one_token(labels[silent], labels)
        if not padding:
            yield fault(
                "loss_certainty",
                "D7",
                f"{what}: its gradient there is zero.",
                "Look at masks and class weights: one means that it counts.",
                row=ROW,
                explains=("F8", "A12", "E11", "A2"),
            )
            return
    if told < CERTAIN_ENOUGH:
        yield fault(
            "loss_certainty",
            "D7",
            f"The loss is lowest where the right class has probability {told:.2f}.",
            "Smooth labels by 0.1 or less.",
            row=ROW,
            warn=told > 0.4,
            certainty="exact" if told <= 0.4 else "heuristic",
            explains=("F8", "E11", "E2", "C2"),
        )
        return
    yield from _weights(facts, labels, slope)
    if meaning.tokens:
        yield from _padding(facts)
    yield healthy(
        "loss_certainty", f"It is lowest where the right class has probability {told:.2f}.", row=ROW
    )


def _shared(facts: Facts) -> bool:
    """Whether the loss does not see what is added to all outputs of an example."""
    draw = np.random.default_rng(13)
    shape, targets = np.shape(facts.outputs), facts.batch.targets
    outputs = draw.normal(size=shape).astype(np.float32)
    added = outputs + draw.normal(size=(*shape[:-1], 1)).astype(np.float32)
    one, two = (float(facts.compiled_loss(each, targets)) for each in (outputs, added))
    return bool(np.isfinite(one)) and abs(one - two) <= 1e-5 * max(1.0, abs(one))


def _right_class(facts: Facts, best: np.ndarray, labels: np.ndarray) -> Iterator[Finding]:
    """Of a loss that is no cross entropy: whether its lowest outputs say the class."""
    chances = facts.meaning.chances(best, "logits").reshape(len(labels), -1)
    asked = labels >= 0
    right = float((chances.argmax(-1) == labels)[asked].mean())
    told = (
        f"The outputs at which the loss is lowest name the right class in {right:.0%} of "
        "the examples"
    )
    if right > RIGHT or not np.isfinite(chances).all():
        yield healthy("loss_certainty", f"{told}.", row=ROW)
        return
    yield fault(
        "loss_certainty",
        "D6",
        f"{told}.",
        "Use a loss for classes, such as optax.softmax_cross_entropy_with_integer_labels.",
        row=ROW,
        explains=("F8", "E11", "E2", "D7"),
    )


def _one_token(silent: np.ndarray, labels: np.ndarray) -> bool:
    """Everything that does not count is one token, which always does not count: padding."""
    token = np.unique(silent)
    return len(token) == 1 and int((labels == token[0]).sum()) == len(silent)


def _weights(facts: Facts, labels: np.ndarray, slope: np.ndarray) -> Iterator[Finding]:
    """Class weights that favour the frequent."""
    if facts.meaning.tokens:
        return
    classes = np.unique(labels[labels >= 0])
    weight = np.array([slope[labels == each].mean() for each in classes])
    if weight.max() < WEIGHTS * weight.min():
        share = facts.meaning.prior[classes]
        if len(classes) < 2 or weight.max() < 3 * weight.min() or share.max() < 2 * share.min():
            return
        if np.corrcoef(np.log(weight), np.log(share))[0, 1] < 0.8:
            return
    commonest = int(classes[facts.meaning.prior[classes].argmax()])
    counts = weight * facts.meaning.prior[classes]
    skewed = counts.max() > WEIGHTS * counts.min()
    yield fault(
        "class_weights",
        "D7",
        f"Class {int(classes[weight.argmax()])} counts {weight.max() / weight.min():.0f} times as "
        f"much as class {int(classes[weight.argmin()])}; the commonest is {commonest}.",
        "Weigh classes by the inverse of their frequency, and mildly.",
        row=ROW,
        warn=True,
        certainty="heuristic",
        # Weights that undo an imbalance leave every class as much as any other.
        explains=("A12", "F8", "E2", "E11") if skewed else ("A12",),
    )


def _padding(facts: Facts) -> Iterator[Finding]:
    """A token that ends sequences, alone and in runs, and counts."""
    targets = np.asarray(facts.train.targets)
    if targets.ndim != 2 or targets.shape[1] < 4:
        return
    last = targets[:, -1]
    token = int(np.bincount(np.maximum(last, 0)).argmax())
    runs = (targets[:, ::-1] == token).cumprod(1).sum(1)
    within = int((targets == token).sum() - runs.sum())
    if token < 0 or (runs >= 2).mean() < 0.2 or within > 0.02 * runs.sum():
        return
    rows = np.flatnonzero(runs >= 2)
    chosen = targets[np.resize(rows, facts.batch_size)]
    outputs = np.zeros(np.shape(facts.outputs), np.float32)
    slope = as_numpy(facts.loss_gradient(outputs, jnp.asarray(chosen)))
    ends = (
        np.arange(targets.shape[1])
        >= targets.shape[1] - runs[np.resize(rows, facts.batch_size)][:, None] + 1
    )
    if np.abs(slope[ends]).any():
        yield fault(
            "padding",
            "D7",
            f"Sequences end in runs of token {token}, which is nowhere else, and the loss counts "
            "them.",
            "Mask the padding in the loss.",
            row=ROW,
            certainty="statistical",
            explains=("F8",),
        )
