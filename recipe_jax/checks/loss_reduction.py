"""Does every example count once, and by itself?"""

from collections.abc import Iterator

import numpy as np

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes import trace
from recipe_jax.probes.facts import Crashed, Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

ROW = "SKEL12"
CHECK = "loss_reduction"


def diagnose(facts: Facts) -> Iterator[Finding]:
    """D4: shapes broadcast against each other; D3: the wrong axis; D2: a sum."""
    facts.given("loss", "apply")
    facts.same_scale()
    shape, targets = np.shape(facts.outputs), np.asarray(facts.batch.targets)
    if not shape or shape[0] != len(targets):
        raise NotGiven("outputs do not have an example along their first axis")
    outputs = np.random.default_rng(8).normal(size=shape).astype(np.float32)
    if facts.form in ("probabilities", "log probabilities") and facts.meaning.kind == "classes":
        outputs = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
        outputs = np.log(outputs) if facts.form == "log probabilities" else outputs
    elif facts.form == "probabilities":
        outputs = 1 / (1 + np.exp(-outputs))
    if facts.meaning.kind == "values":
        outputs = outputs * np.sqrt(facts.meaning.variance).mean() + facts.meaning.prior.mean()
        outputs = outputs.astype(np.float32)
    if len(targets) > 1:
        together = _together(facts, outputs, targets)
        perfect = facts.meaning.perfect(targets, facts.form, shape)
        right = float(facts.compiled_loss(perfect, targets))
        usual = float(facts.compiled_loss(outputs, targets))
        if right > 0.05 * abs(usual) and (together or _broadcast(facts, right, perfect, targets)):
            yield _mixed(facts, right, perfect, targets)
            return
    value = np.shape(facts.program.loss(outputs, targets))  # pyright: ignore[reportOptionalCall]
    if value not in ((), (1,)):
        yield healthy(CHECK, "The loss gives one number an example.", row=ROW)
        return
    once = float(facts.compiled_loss(outputs, targets))
    twice = float(facts.compiled_loss(np.concatenate([outputs] * 2), np.concatenate([targets] * 2)))
    ratio = twice / once if once else 1.0
    told = f"The loss of every example twice is {ratio:.3g} times that of every one once"
    if abs(ratio - 1) < 1e-3:
        yield healthy(CHECK, f"{told}.", row=ROW)
        return
    yield fault(
        CHECK,
        "D2",
        f"{told}: the step depends on the size of the batch.",
        "Take the mean over the examples.",
        row=ROW,
        warn=True,
        certainty="heuristic",
        explains=("E1", "E2", "E4", "F8", "E9", "E11", "G1", "C15", "C2", "D3"),
    )


def _together(facts: Facts, outputs: np.ndarray, targets: np.ndarray) -> bool:
    """Whether changing one example's outputs turns the gradient of another's: a common factor, as
    the root of a mean gives, does not."""
    other = outputs.copy()
    half = len(outputs) // 2
    draw = np.random.default_rng(9)
    if facts.form == "logits" or facts.meaning.kind == "values":
        other[half:] += 2 * draw.normal(size=other[half:].shape).astype(np.float32) * outputs.std()
    else:
        other[half:] = other[half:][::-1]
        other[-1] = other[-1][..., ::-1] if other.ndim > 1 else other[-1]
    # Their targets too: what is broadcast reads every target for every output.
    others = targets.copy()
    others[half:] = others[half:][::-1]
    if facts.meaning.kind == "values":
        others[half:] = 2 * others[half:] + np.sqrt(facts.meaning.variance).mean()
    elif facts.meaning.kind == "binary":
        others[half:] = 1 - others[half:]
    one = as_numpy(facts.loss_gradient(outputs, targets))[:half].ravel()
    two = as_numpy(facts.loss_gradient(other, others))[:half].ravel()
    if not (np.isfinite(one).all() and np.isfinite(two).all()) or not one.any():
        return False
    factor = float(one @ two / max(one @ one, 1e-30))
    return bool(np.abs(two - factor * one).max() > 1e-3 * np.abs(two).max())


def _broadcast(facts: Facts, right: float, perfect: np.ndarray, targets: np.ndarray) -> bool:
    """Whether perfect outputs cost nothing once they have the targets' shape."""
    if perfect.shape == targets.shape or perfect.size != targets.size:
        return False
    try:
        alike = float(facts.loss(perfect.reshape(targets.shape), targets))
    except Crashed:
        return False
    return abs(alike) < 1e-2 * abs(right)


def _all_pairs(facts: Facts) -> bool:
    """Whether the loss of one number an example makes a table of all pairs of examples."""
    count, outputs = facts.batch_size, np.asarray(facts.outputs, np.float32)
    if outputs.size != count or count < 2:
        return False
    layout = trace.flat(facts.loss, outputs, facts.batch.targets)
    return any(step.eqn.outvars[0].aval.shape[-2:] == (count, count) for step in layout.steps)


def _mixed(facts: Facts, right: float, perfect: np.ndarray, targets: np.ndarray) -> Finding:
    """Which of the two it is: reshaping the outputs to the targets' shape heals a broadcast."""
    told = f"The loss of one example depends on the others, and perfect outputs cost {right:.3g}"
    spread = 2 * float(np.mean(facts.meaning.variance))
    by_pairs = facts.meaning.kind == "values" and 0.5 < right / spread < 2
    broadcast = by_pairs or _all_pairs(facts) or _broadcast(facts, right, perfect, targets)
    explains = ("F8", "D1", "D6", "D7", "E11", "C15", "C3", "D2", "C2", "E2", "C5", "D5")
    if broadcast:
        return fault(
            CHECK,
            "D4",
            f"{told}: outputs of shape {perfect.shape} and targets of shape {targets.shape} are "
            "broadcast against each other, all pairs of examples.",
            "Give both one shape before subtracting.",
            row=ROW,
            explains=("D3", *explains),
        )
    return fault(
        CHECK,
        "D3",
        f"{told}: it is reduced, or normalised, along the axis of the examples.",
        "Take softmax over the last axis, and the mean over the examples.",
        row=ROW,
        explains=("D4", *explains),
    )
