"""Whether the program's own loss and metric read outputs as their form suggests.

Numbers of classes beside rows of outputs are mostly logits; but five ranks may be told by four
thresholds, and one number an example may be a distance. The loss knows. A loss that prefers wrong
answers as we read them has the wrong sign, or another reading, and the metric tells which.
"""

import numpy as np

from recipe_jax.probes.facts import Crashed, Facts, NotGiven, as_numpy

FAR = 100.0


def contradicted(facts: Facts) -> str:
    """Why the usual meaning is not that of this program; "" where nothing speaks against it."""
    program = facts.program
    if program.loss is None or program.apply is None or program.task is not None:
        return ""
    try:
        if not _reads_targets(facts) and _one_value(facts):
            return "the loss does not read the targets, and they are all the same"
        return _other_reading(facts)
    except (Crashed, NotGiven):
        return ""


def _one_value(facts: Facts) -> bool:
    targets = as_numpy(facts.all_train.targets)
    return bool((targets == targets.reshape(-1)[0]).all())


def _reads_targets(facts: Facts) -> bool:
    """Whether other targets of the same kind change the loss."""
    outputs, targets = _random(facts, 0), np.asarray(facts.batch.targets)
    other = targets[::-1] if not _one_value(facts) else targets + np.ones_like(targets)
    one, two = (float(facts.compiled_loss(outputs, each)) for each in (targets, other))
    return not (one == two or (np.isnan(one) and np.isnan(two)))


def _random(facts: Facts, number: int) -> np.ndarray:
    draw = np.random.default_rng(20 + number)
    return draw.normal(size=np.shape(facts.outputs)).astype(np.float32)


def _other_reading(facts: Facts) -> str:
    """The loss prefers answers to other examples' targets, has a lowest point, and the metric calls
    that point right and our answers wrong."""
    meaning, targets = facts.usual_meaning, np.asarray(facts.batch.targets)
    shape, reason = np.shape(facts.outputs), "the loss reads outputs in a way of its own"
    if _thresholds(facts):
        return reason
    right = meaning.perfect(targets, facts.form, shape)
    orders = [np.random.default_rng(number).permutation(len(targets)) for number in range(8)]
    cost = float(facts.compiled_loss(right, targets))
    others = [float(facts.compiled_loss(right[order], targets)) for order in orders]
    if not np.isfinite([cost, *others]).all() or cost < min(others):
        return ""
    lowest = facts.lowest
    bottom = float(facts.compiled_loss(lowest, targets))
    beyond = float(facts.compiled_loss((FAR * lowest).astype(np.float32), targets))
    if not np.isfinite(lowest).all() or beyond < bottom - abs(bottom):
        return ""  # it falls without end, as a loss of the wrong sign does
    judged = [_metric(facts, outputs) for outputs in (right, lowest)]
    if None not in judged:
        (ours, even), (theirs, also_even) = judged  # pyright: ignore
        if even != also_even:
            return reason if also_even else ""
        if even and {ours, theirs} == {0.0, 1.0}:
            return reason if theirs > ours else ""
    return reason if _distances(facts) else ""


def _thresholds(facts: Facts) -> bool:
    """One output fewer than ranks, and the highest rank has a loss and a gradient: those of a class
    out of range are not finite, or zero."""
    meaning, targets = facts.usual_meaning, np.asarray(facts.batch.targets)
    if meaning.kind != "classes" or meaning.tokens:
        return False
    labels = meaning.labels(targets)
    top = labels == np.shape(facts.outputs)[-1]
    if not top.any() or labels.max() > np.shape(facts.outputs)[-1] or len(labels) != len(top):
        return False
    highest = targets[np.resize(np.flatnonzero(top), len(targets))]
    slope = as_numpy(facts.loss_gradient(_random(facts, 1), highest))
    whole = np.isfinite(float(facts.compiled_loss(_random(facts, 1), highest)))
    return bool(whole and slope.reshape(len(slope), -1).any(1).all())


def _metric(facts: Facts, outputs: np.ndarray) -> tuple[float, bool] | None:
    """(mean over examples, whether it is the same for all of them), example by example."""
    metric = facts.program.metric
    if metric is None:
        return None
    targets = np.asarray(facts.batch.targets)
    try:
        values = np.array(
            [
                float(np.mean(metric(outputs[i : i + 1], targets[i : i + 1])))
                for i in range(len(targets))
            ]
        )
    except Exception:
        return None
    return float(values.mean()), bool(np.ptp(values) < 1e-3 * max(1.0, float(np.abs(values).max())))


def _distances(facts: Facts) -> bool:
    """One number an example that is never negative, whatever the weights, and no probability."""
    if facts.usual_meaning.kind != "binary" or facts.form == "probabilities":
        return False
    several = [
        as_numpy(facts.forward(facts.scattered(scale), facts.batch.inputs, facts.key, False)[0])
        for scale in (1.0, 3.0, 10.0)
    ]
    return all(bool((each >= 0).all()) for each in several)
