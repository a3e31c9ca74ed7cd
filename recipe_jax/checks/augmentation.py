"""Does augmentation change examples anew each time, and leave the answer alone?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes import runs, simple
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy, guarded
from recipe_jax.probes.outcomes import interval
from recipe_jax.types import Finding

ROW = "REG2"
LEFT, NOTHING, HURTS = 0.35, 0.1, 0.15
"""Of the skill on raw examples. Shifts of images by one pixel, which do no harm, leave 0.4 of
it."""
BLENDS, EXACT, APART = 5, 1e-3, 0.2
"""So many examples must be blends of two of their batch, up to an error of EXACT, with shares that
lie APART, before their targets are held against them."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """B4: the same whatever the key; B5: it destroys what the label says."""
    facts.given("augment")
    inputs, targets = facts.batch
    augment: Any = facts.program.augment

    def augmented(key: int, x: Any, y: Any) -> tuple[np.ndarray, Any]:
        with guarded("augment"):
            changed, answers = augment(jax.random.key(key), jnp.asarray(x), jnp.asarray(y))
        return as_numpy(changed), answers

    one, other = (augmented(key, inputs, targets)[0] for key in (1, 2))
    if one.shape != np.shape(inputs):
        raise NotGiven("augmentation changes the shape of the inputs")
    if np.array_equal(one, as_numpy(inputs)) and np.array_equal(other, as_numpy(inputs)):
        yield healthy("augmentation_varies", "Augmentation leaves inputs as they are.", row=ROW)
        return
    if np.array_equal(one, other):
        yield fault(
            "augmentation_varies",
            "B4",
            "Augmentation does the same whatever the key.",
            "Draw from the key that is passed in.",
            row=ROW,
            explains=("B5",),
        )
    else:
        alike = np.broadcast_to(as_numpy(inputs)[:1], inputs.shape).astype(inputs.dtype)
        same = augmented(3, alike, jnp.broadcast_to(targets[:1], targets.shape))[0]
        if not np.array_equal(same, alike) and (same == same[:1]).all():
            yield fault(
                "augmentation_varies",
                "B4",
                "All examples of a batch are changed in the same way.",
                "Split the key, one for each example: jax.vmap over jax.random.split(key, n).",
                row=ROW,
                warn=True,
            )
        else:
            yield healthy("augmentation_varies", "Every example and every key differs.", row=ROW)
    yield from _answers(facts, augmented)


def _answers(facts: Facts, augmented: Any) -> Iterator[Finding]:
    """Whether simple models and the program itself still know augmented examples."""
    train, batch = facts.train, facts.batch
    _, answers = augmented(4, *batch)
    if np.shape(answers) != batch.targets.shape or not np.array_equal(
        as_numpy(answers), as_numpy(batch.targets)
    ):
        yield from _blended(facts, augmented)
        return
    changed, _ = augmented(4, *train)
    if facts.known is None or facts.known.tokens:
        yield from _by_training(facts)
        return
    known = simple.of_changed(facts, changed)
    raw = float(facts.simple.out_of_fold.mean())
    told = (
        f"Neighbours among the raw examples know augmented ones with skill {known:.2f}, "
        f"raw ones {raw:.2f}"
    )
    hurts = _hurts(facts)
    if hurts is not None:
        told += f"; without augmentation held-out skill changes by {_signed(hurts)}"
    harmful = known < NOTHING * raw if hurts is None else _harmful(hurts)
    if raw < 0.2 or (known > LEFT * raw and not harmful):
        yield healthy("augmentation_keeps", f"{told}.", row=ROW)
        return
    yield fault(
        "augmentation_keeps",
        "B5",
        f"{told}: it destroys what the label says.",
        "Look at augmented examples beside their labels, and make it milder.",
        row=ROW,
        certainty="statistical",
        warn=not harmful,
        explains=("F8", "E11", "E2"),
    )


def _blended(facts: Facts, augmented: Any) -> Iterator[Finding]:
    """Of augmentation that changes targets too, as mixup does: whether they are blended as their
    inputs are, and else what training says."""
    found = [_blends(facts, augmented, key) for key in (5, 6, 7)]
    own, turned, apart = (np.concatenate(each) for each in zip(*found))
    told = f"Of {len(own)} examples that are blends of two of their batch"
    if len(own) >= BLENDS and turned.mean() > 0.9:
        share = float(own[np.argsort(own)[len(own) // 2]])
        yield fault(
            "augmentation_blends",
            "B5",
            f"Targets are blended the other way round than inputs: inputs by {share:.2f} and "
            f"{1 - share:.2f}, their targets by {1 - share:.2f} and {share:.2f}.",
            "Give inputs and targets the same share: lam * x + (1 - lam) * x[other], and "
            "lam * y + (1 - lam) * y[other].",
            row=ROW,
            explains=("F8", "E11", "E2"),
        )
        return
    if len(own) >= BLENDS and apart.mean() > 0.5:
        yield fault(
            "augmentation_blends",
            "B5",
            f"{told} {int(apart.sum())} have targets that are blended with those of a third one.",
            "Draw the partners once, for inputs and targets alike.",
            row=ROW,
            explains=("F8", "E11", "E2"),
        )
        return
    if len(own) >= BLENDS:
        yield healthy("augmentation_blends", f"{told} targets are blended alike.", row=ROW)
    hurts = _hurts(facts)
    if hurts is not None:
        yield _judged_by_training(hurts, blended=True)


def _blends(
    facts: Facts, augmented: Any, key: int
) -> tuple[Float[np.ndarray, " b"], Bool[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
    """Of each example of a batch that is a x_i + b x_j, a + b = 1, with another target: (a, whether
    its target is b y_i + a y_j, whether it is a y_i + b y_k of a third one)."""
    none = np.zeros(0), np.zeros(0, bool), np.zeros(0, bool)
    inputs, targets = facts.batch
    changed, answers = augmented(key, inputs, targets)
    plain = runs.in_form_of(targets, answers)
    if plain is None or not facts.float_inputs:
        return none
    rows, new = (as_numpy(each).reshape(len(inputs), -1) for each in (inputs, changed))
    wanted, got = (as_numpy(each).reshape(len(inputs), -1) for each in (plain, answers))
    # x' - x_i = b (x_j - x_i), of all pairs at once.
    steps = rows[None] - rows[:, None]
    moved = (new - rows)[:, None]
    lengths = np.square(steps).sum(-1)
    share = (steps * moved).sum(-1) / np.maximum(lengths, 1e-12)
    left = np.square(moved - share[..., None] * steps).sum(-1)
    left = np.where(lengths > 1e-12, left, np.inf)
    partner = left.argmin(1)
    own = np.arange(len(rows))
    b = share[own, partner]
    whole = left[own, partner] <= EXACT**2 * np.square(moved[:, 0]).sum(-1)
    other = wanted[partner] - wanted
    size = _length(other)
    clear = np.minimum(b, 1 - b) > 0.05
    used = np.flatnonzero(whole & clear & (np.abs(1 - 2 * b) > APART) & (size > 1e-6))
    off = _length(got - wanted - b[:, None] * other) / np.maximum(size, 1e-6)
    turned = _length(got - wanted - (1 - b)[:, None] * other) / np.maximum(size, 1e-6)
    blends = wanted[:, None] + b[:, None, None] * (wanted[None] - wanted[:, None])
    third = _length(got[:, None] - blends).min(1) / np.maximum(size, 1e-6)
    wrong = np.abs(1 - 2 * b) / 2
    return (
        1 - b[used],
        ((turned < wrong / 2) & (off > wrong))[used],
        ((third < b / 4) & (off > b / 2))[used],
    )


def _length(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(rows).sum(-1))


def _by_training(facts: Facts) -> Iterator[Finding]:
    """Where no simple model can be asked: whether training without augmentation does better."""
    hurts = _hurts(facts)
    if hurts is None:
        raise NotGiven("augmentation can be judged by training alone, which was not done")
    yield _judged_by_training(hurts, blended=False)


def _judged_by_training(hurts: tuple[float, float, float], *, blended: bool) -> Finding:
    """Blended targets slow training down by nature: of them a short training is no proof."""
    told = f"Without augmentation held-out skill changes by {_signed(hurts)}"
    if not _harmful(hurts):
        return healthy("augmentation_keeps", f"{told}.", row=ROW)
    return fault(
        "augmentation_keeps",
        "B5",
        f"{told}." if blended else f"{told}: it destroys what the targets say.",
        "Look at augmented examples beside their targets, and blend less."
        if blended
        else "Move targets as inputs are moved, and look at augmented examples beside them.",
        row=ROW,
        certainty="statistical",
        warn=blended,
        explains=() if blended else ("F8", "E11", "E2"),
    )


def _hurts(facts: Facts) -> tuple[float, float, float] | None:
    """How much better held-out examples are known without augmentation, and its interval."""
    try:
        lanes = facts.lanes
    except NotGiven:
        return None
    if "not augmented" not in lanes:
        return None
    return interval(lanes["not augmented"].best - lanes["normal"].best)


def _harmful(hurts: tuple[float, float, float]) -> bool:
    mean, low, _ = hurts
    return low > 0 and mean > HURTS


def _signed(hurts: tuple[float, float, float]) -> str:
    mean, low, high = hurts
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
