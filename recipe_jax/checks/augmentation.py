"""Does augmentation change examples anew each time, and leave the answer alone?"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes import simple
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy, guarded
from recipe_jax.probes.outcomes import interval
from recipe_jax.types import Finding

ROW = "REG2"
LEFT, NOTHING, HURTS = 0.35, 0.1, 0.15


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
    train = facts.train
    changed, answers = augmented(4, train.inputs, train.targets)
    if np.shape(answers) != train.targets.shape or not np.array_equal(
        as_numpy(answers), as_numpy(train.targets)
    ):
        return  # labels are changed too, as mixup does
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
        told += f"; without augmentation held-out skill changes by {hurts:+.2f}"
    harmful = known < NOTHING * raw if hurts is None else hurts > HURTS
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


def _by_training(facts: Facts) -> Iterator[Finding]:
    """Where no simple model can be asked: whether training without augmentation does better."""
    hurts = _hurts(facts)
    if hurts is None:
        raise NotGiven("augmentation can be judged by training alone, which was not done")
    told = f"Without augmentation held-out skill changes by {hurts:+.2f}"
    if hurts <= HURTS:
        yield healthy("augmentation_keeps", f"{told}.", row=ROW)
        return
    yield fault(
        "augmentation_keeps",
        "B5",
        f"{told}: it destroys what the targets say.",
        "Move targets as inputs are moved, and look at augmented examples beside them.",
        row=ROW,
        certainty="statistical",
        explains=("F8", "E11", "E2"),
    )


def _hurts(facts: Facts) -> float | None:
    try:
        lanes = facts.lanes
    except NotGiven:
        return None
    if "not augmented" not in lanes:
        return None
    gain = lanes["not augmented"].best - lanes["normal"].best
    return float(gain.mean()) if interval(gain)[1] > 0 else 0.0
