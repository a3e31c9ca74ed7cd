"""Does the loss read the outputs for what they are?"""

from collections.abc import Iterator

import jax
import numpy as np
from scipy import special

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.probes.meaning import Meaning
from recipe_jax.types import Finding

CHECK = "loss_reading"
ROW = "SKEL12"


def diagnose(facts: Facts) -> Iterator[Finding]:
    """C5: probabilities are squashed again; D5: logits are taken for probabilities."""
    facts.given("loss", "apply")
    meaning, form = facts.meaning, facts.form
    if meaning.kind == "values":
        raise NotGiven("targets are quantities")
    reads = what_it_reads(facts)
    told = f"Outputs are {form}; the loss reads {reads or 'them in a way of its own'}"
    explained = ("C4", "D7", "D5", "D6", "F8", "C2", "E2", "E11", "D3", "C10", "C6")
    if form == "probabilities" and reads == "logits":
        yield fault(
            CHECK,
            "C5",
            f"{told}: it squashes them a second time, and cannot go under {floor(facts):.3g}.",
            "Return logits from the model, or use a loss of probabilities.",
            row=ROW,
            explains=explained,
        )
    elif form == "logits" and reads == "logits" and _squashes_twice(facts):
        yield fault(
            CHECK,
            "C5",
            "Outputs are logits; the loss takes the softmax of them, and that of the result: it "
            f"cannot go under {floor(facts):.3g}.",
            "Give the loss its logits as they are: it takes the softmax itself.",
            row=ROW,
            explains=explained,
        )
    elif form != "probabilities" and reads == "probabilities":
        yield fault(
            CHECK,
            "D5",
            f"{told}: it takes logarithms of numbers that are no probabilities.",
            "Use the loss for logits.",
            row=ROW,
            explains=("G1", "D1", "D6", "D7", "D8", "F8", "E1", "C15", "D3", "G3", "C4", "E3"),
        )
    elif form == "logits" and reads == "log probabilities":
        yield fault(
            CHECK,
            "D5",
            f"{told}: without log_softmax it has no lowest value.",
            "Apply jax.nn.log_softmax to the outputs.",
            row=ROW,
            explains=("D1", "D6", "F8", "G1", "E1", "D3", "C2", "D7"),
        )
    else:
        yield healthy(CHECK, f"{told}.", row=ROW)


def what_it_reads(facts: Facts) -> str:
    """What the loss takes outputs for, by comparing it with the cross entropies of each form, or a
    multiple of them as a sum over answers is; where it is none of them, whether adding a number to
    all outputs of an example changes it."""
    found = [_reading(facts, np.random.default_rng(number)) for number in (7, 8, 17)]
    forms = set.intersection(*(set(each) for each in found))
    for form in ("logits", "probabilities", "log probabilities"):
        if form in forms:
            times = [each[form] for each in found]
            if np.isfinite(times).all() and max(times) <= (1 + 2e-3) * min(times):
                return form
    return ""


def _reading(facts: Facts, draw: np.random.Generator) -> dict[str, float]:
    """By one random draw of outputs, each form that may be read and how many times the cross
    entropy the loss then is; by chance one form may cost what another does."""
    meaning, targets = facts.meaning, facts.batch.targets
    shape = np.shape(facts.outputs)
    logits = (2 * draw.normal(size=shape)).astype(np.float32)
    labels = meaning.labels(targets)
    if (labels < 0).all() or labels.max() >= meaning.classes:
        raise NotGiven("labels are out of range")
    if meaning.kind == "binary":
        chances = special.expit(logits)
        at_chances = _cross_entropy(np.stack([1 - chances, chances], -1).reshape(-1, 2), labels)
        at_logits = _cross_entropy(_two(special.expit(logits)), labels)
        again = _cross_entropy(_two(special.expit(chances)), labels)
        times = _times(_loss(facts, logits), at_logits)
        if np.isfinite(times) and _same(_loss(facts, chances), times * again):
            return {"logits": times}
        return {"probabilities": _times(_loss(facts, chances), at_chances)}
    chances = special.softmax(logits, axis=-1).astype(np.float32)
    entropy = _cross_entropy(chances.reshape(-1, shape[-1]), labels)
    shift = draw.normal(size=(*shape[:-1], 1)).astype(np.float32)
    at_logits, shifted = _loss(facts, logits), _loss(facts, logits + 3 * shift)
    if np.isfinite(at_logits) and abs(shifted - at_logits) <= 1e-4 * max(1, abs(at_logits)):
        moved = _loss(facts, logits[..., ::-1].copy())
        return {"logits": 1.0} if abs(moved - at_logits) > 1e-6 else {}
    # Flatter ones for these: a guard inside the logarithm may be as large as a hundredth.
    chances = special.softmax(0.25 * logits, axis=-1).astype(np.float32)
    entropy = _cross_entropy(chances.reshape(-1, shape[-1]), labels)
    found = {"probabilities": _times(_loss(facts, chances), entropy)}
    logs = np.log(chances)
    times = _times(_loss(facts, logs), entropy)
    if np.isfinite(times) and _same(_loss(facts, logs - 1.0) - _loss(facts, logs), times):
        found["log probabilities"] = times
    return found


def _squashes_twice(facts: Facts) -> bool:
    """Whether the loss is the cross entropy of a softmax of a softmax, at random outputs."""
    if facts.meaning.kind == "binary":
        return False
    labels = facts.meaning.labels(facts.batch.targets)
    shape = np.shape(facts.outputs)
    for number in (7, 8, 17):
        logits = (2 * np.random.default_rng(number).normal(size=shape)).astype(np.float32)
        twice = special.softmax(special.softmax(logits, axis=-1), axis=-1)
        expected = _cross_entropy(twice.reshape(-1, shape[-1]), labels)
        if not _same(_loss(facts, logits), expected):
            return False
    return True


def _times(loss: float, entropy: float) -> float:
    """How many times the cross entropy a loss is; NaN where it is not a number above zero."""
    times = loss / entropy
    return times if np.isfinite(times) and times > 0 else float("nan")


def _two(one: np.ndarray) -> np.ndarray:
    return np.stack([1 - one, one], -1).reshape(-1, 2)


def _loss(facts: Facts, outputs: np.ndarray) -> float:
    return float(facts.compiled_loss(outputs.astype(np.float32), facts.batch.targets))


def _cross_entropy(chances: np.ndarray, labels: np.ndarray) -> float:
    labels = labels.ravel()
    asked = labels >= 0
    return float(-np.log(chances[asked, labels[asked]]).mean())


def _same(one: float, other: float) -> bool:
    """Equal but for rounding and for a guard such as 1e-7 inside the logarithm."""
    return bool(np.isfinite(one)) and abs(one - other) <= 1e-3 * max(1.0, abs(other))


def floor(facts: Facts) -> float:
    """The loss of the best prediction that outputs of this form can say."""
    meaning: Meaning = facts.meaning
    perfect = meaning.perfect(facts.batch.targets, facts.form, np.shape(facts.outputs))
    return float(as_numpy(jax.device_get(facts.compiled_loss(perfect, facts.batch.targets))))
