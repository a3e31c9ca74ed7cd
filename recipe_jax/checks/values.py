"""Are the numbers that go in what a network can take?"""

from collections.abc import Iterator

import numpy as np

from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.checks.rates import skill_at_end
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.probes.outcomes import interval
from recipe_jax.types import Finding

CONSTANT = 0.3
SMALL, LARGE, MIXED = 0.05, 8.0, 100.0
HELPS = 0.1
LITTLE = 0.2
FAR = 10.0
"""Outputs that begin so wide show that the scale does harm."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """Values that are not finite, stand-ins for missing ones, constants, scales; of targets too."""
    sound = True
    for finding in (*_finite(facts), *_stand_ins(facts)):
        sound = sound and finding.status == "PASS"
        yield finding
    if facts.float_inputs:
        yield from _constant(facts)
        if sound:
            yield from _scale(facts)
    if facts.known is not None and facts.known.kind == "values" and sound:
        yield from _targets(facts)


def _splits(facts: Facts) -> dict[str, np.ndarray]:
    found = {"training": as_numpy(facts.all_train.inputs)}
    if facts.program.validation is not None:
        found["validation"] = as_numpy(facts.program.validation.inputs)
    return found


def _finite(facts: Facts) -> Iterator[Finding]:
    """A7: NaN or infinity."""
    for name, inputs in _splits(facts).items():
        bad = np.asarray(~np.isfinite(inputs.reshape(len(inputs), -1)).all(-1))
        if bad.any():
            yield fault(
                "finite_inputs",
                "A7",
                f"{int(bad.sum())} of {len(bad)} {name} examples hold NaN or infinity.",
                "Impute or leave out what is missing before training.",
                row="DATA1",
                explains=("G1", "G3", "F8", "A9", "E1"),
                examples=np.flatnonzero(bad)[:50],
            )
    targets = as_numpy(facts.all_train.targets)
    bad = np.asarray(~np.isfinite(targets.reshape(len(targets), -1)).all(-1))
    if bad.any():
        yield fault(
            "finite_targets",
            "A7",
            f"{int(bad.sum())} of {len(bad)} training targets are NaN or infinite.",
            "Leave out examples without a target.",
            row="DATA1",
            explains=("G1", "F8", "A11"),
            examples=np.flatnonzero(bad)[:50],
        )
    else:
        yield healthy("finite_inputs", "All inputs and targets are finite.", row="DATA1")


def _stand_ins(facts: Facts) -> Iterator[Finding]:
    """A7: one value far from all others that occurs again and again, such as -999."""
    inputs = as_numpy(facts.all_train.inputs)
    if not facts.float_inputs or inputs.ndim not in (2, 3):
        return
    # Of series every channel, at all times.
    inputs = inputs.reshape(-1, inputs.shape[-1])
    named = stand_ins(inputs)
    if not named:
        return
    column, value, count = named[0]
    yield fault(
        "stand_ins",
        "A7",
        f"{len(named)} feature{'s' * (len(named) > 1)} hold one value far outside all others again "
        f"and again: feature {column} is {value:g} {count} times.",
        "This looks like a mark for missing values: impute them.",
        row="DATA1",
        certainty="statistical",
        explains=("A9", "A13", "F8"),
        features=[column for column, _, _ in named],
    )


def stand_ins(inputs: np.ndarray) -> list[tuple[int, float, int]]:
    """(column, value, how often) where one value far from all others occurs again and again."""
    named = []
    for column, values in enumerate(inputs.T):
        for extreme in (np.nanmin(values), np.nanmax(values)):
            at = values == extreme
            others = values[~at & np.isfinite(values)]
            if not 2 <= at.sum() < 0.5 * len(values) or len(np.unique(others)) < 5:
                continue
            low, high = np.percentile(others, (5, 95))
            quarter, middle = np.percentile(others, (25, 75))
            if middle == quarter or at.sum() < 0.005 * len(values):
                continue  # most are one value: what is rare is far from it by nature
            if min(abs(extreme - low), abs(extreme - high)) > 4 * (high - low):
                named.append((column, float(extreme), int(at.sum())))
    return named


def _constant(facts: Facts) -> Iterator[Finding]:
    """A8: features, or whole examples, without any variation."""
    inputs = as_numpy(facts.all_train.inputs)
    flat = inputs.reshape(len(inputs), -1)
    with np.errstate(invalid="ignore"):
        # A value that is met everywhere at a position of a series or an image is a constant too.
        features = float((flat.max(0) == flat.min(0)).mean())
        examples = float((flat.max(1) == flat.min(1)).mean()) if flat.shape[1] > 1 else 0.0
    told = f"{percent(features)} of the features never vary, {percent(examples)} of the examples"
    if features < CONSTANT and examples < 0.05:
        yield healthy("constant_values", f"{told}.", row="DATA3")
        return
    yield fault(
        "constant_values",
        "A8",
        f"{told}.",
        "Look at what was read: columns or images that are all one value carry nothing.",
        row="DATA3",
        certainty="heuristic",
        warn=features < 0.6 and examples < 0.5,
        explains=("A2", "A6", "A3", "A4", "A5", "F8"),
    )


def _scale(facts: Facts) -> Iterator[Finding]:
    """A9 and A10: inputs far from order one, told by what standardising them does."""
    inputs = as_numpy(facts.train.inputs)
    axes = tuple(range(inputs.ndim - 1)) if inputs.ndim > 1 else (0,)
    deviation = inputs.std(axes)
    deviation = deviation[deviation > 0]
    if not deviation.size:
        return
    size = float(np.sqrt(np.mean(inputs**2)))
    # By the largest value of each column: a pixel that is seldom lit varies little by nature.
    largest = np.abs(inputs).max(axes)
    largest = largest[largest > 0]
    ratio = float(np.percentile(largest, 95) / np.percentile(largest, 5))
    spread = float(np.median(deviation))
    told = (
        f"Inputs have size {size:.3g}, deviations from {deviation.min():.3g} to "
        f"{deviation.max():.3g}"
    )
    name = "A10" if size < SMALL else "A9" if size > LARGE or ratio > MIXED else ""
    if name == "" and spread < 0.02 * size:
        name = "A9"
    if not name:
        yield healthy("input_scale", f"{told}.", row="DATA3")
        return
    helps, begins = _helps(facts), _begins(facts)
    cure = (
        ""
        if helps is None
        else f"; standardised, skill on held-out examples changes by {helps:+.2f}"
    )
    yield fault(
        "input_scale",
        name,
        f"{told}{cure}.",
        "Scale every feature to mean 0 and deviation 1 with the statistics of training, once.",
        row="DATA3",
        certainty="statistical" if helps is not None and helps > HELPS else "heuristic",
        warn=(helps is None or helps <= HELPS) and begins < FAR,
        explains=("F8", "C2", "C8", "C9", "C10", "E1", "E2", "E9", "E11", "G1", "A6"),
    )


def _begins(facts: Facts) -> float:
    """How wide the outputs begin, in logits or in deviations of the targets."""
    if facts.program.apply is None or facts.program.init is None or facts.known is None:
        return 0.0
    outputs = as_numpy(facts.outputs)
    if facts.meaning.kind == "values":
        return float(outputs.std() / np.sqrt(facts.meaning.variance).max())
    return float(outputs.std()) if facts.form == "logits" else 0.0


def _helps(facts: Facts) -> float | None:
    """How much standardising the inputs gains; None where it was not tried."""
    try:
        lanes = facts.lanes
    except NotGiven:
        return None
    if "standardised" not in lanes:
        return None
    with_it, without = lanes["standardised"].best, lanes["normal"].best
    # Early skill counts as well: in a long training even badly scaled inputs are learnt in the end.
    half = len(lanes["normal"].looks) // 3
    early = lanes["standardised"].held_out[half].mean() - lanes["normal"].held_out[half].mean()
    _, low, _ = interval(with_it - without)
    gain = float((with_it - without).mean())
    on_own = (lanes["standardised"].trained - lanes["normal"].trained)[1:].mean(0)
    fits = float(on_own.mean()) if interval(on_own)[1] > 0 else 0.0
    early = float(early) if early > 2 * HELPS else 0.0
    return max(gain if low > 0 else 0.0, early, fits)


def _targets(facts: Facts) -> Iterator[Finding]:
    """A11: targets far from mean 0 and deviation 1, which the outputs begin at."""
    mean, deviation = facts.meaning.prior, facts.meaning.deviation
    off = facts.meaning.away(0.0)
    extreme = float(np.max(np.maximum(deviation, 1 / deviation)))
    told = f"Targets have mean {mean[0]:.3g} and deviation {deviation[0]:.3g}"
    if (off < 3 and extreme < 10) and not ((off >= 1.5 or extreme >= 4) and _lost(facts)):
        yield healthy("target_scale", f"{told}.", row="DATA3")
        return
    try:
        outputs = as_numpy(facts.outputs).reshape(facts.batch_size, -1)
        begins = facts.meaning.away(outputs.mean(0))
    except NotGiven:
        begins = off
    # An output whose bias begins at the mean needs no standardised target of its own.
    aware = begins < 0.5 * off and off >= 1.5
    yield (healthy if aware else _unscaled)(
        "target_scale", f"{told}; outputs begin {begins:.3g} deviations away.", row="DATA3"
    )


def _lost(facts: Facts) -> bool:
    """Whether training as configured hardly learns: then a little off may be too much."""
    try:
        return skill_at_end(facts.lanes["normal"], facts.program.num_steps) < LITTLE
    except NotGiven:
        return False


def _unscaled(check: str, summary: str, *, row: str) -> Finding:
    return fault(
        check,
        "A11",
        summary,
        "Standardise the targets with the statistics of training, or begin the bias at their mean.",
        row=row,
        certainty="heuristic",
        warn=True,
        explains=("F8", "C3", "C2", "E2", "E11", "E1", "E4", "E9", "C4"),
    )
