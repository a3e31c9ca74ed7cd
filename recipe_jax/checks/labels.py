"""Do the labels belong to the inputs?"""

from collections.abc import Iterator

import numpy as np
from scipy import special

from recipe_jax.checks import shift
from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.probes import places
from recipe_jax.probes import simple as simple_models
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.probes.outcomes import LEAST_SKILL, interval
from recipe_jax.types import Finding

RELATED = 1e-3
NOISE, AGREED, EVEN = 0.12, 0.6, 0.9
WELL, BADLY, LOOSELY = 0.6, 0.3, 0.5
"""Kappas that part a file: before a place at least WELL, after it under BADLY of that, and among
the examples there under LOOSELY of it. On digits a healthy file has 0.94, 0.8 and 0.97."""
SUITS = 0.7
"""Labels of other rows suit where they reach so much of what labels reach before the place; those
of a healthy file reach 0.1."""
DOUBTED = 0.1
"""Where neighbours contradict a smaller share of labels no place is looked for."""
ASIDE = 0.75
"""Area under the curve over which inputs before and after a place differ themselves: then labels
may be harder there by nature."""
MIXED = 0.25
"""So much of the class frequencies may differ before and after: not where a file is sorted."""


def diagnose(facts: Facts) -> Iterator[Finding]:
    """Whether anything can predict the labels, and how many contradict their neighbours."""
    if facts.meaning.tokens:
        yield from _shifted(facts)
        return
    yield from _unrelated(facts)
    if facts.meaning.kind != "values" and facts.simple.p_value <= RELATED:
        place = _place(facts)
        if place is not None and place.lag is not None and _suits(place.lag, place.before):
            yield _lagging(place, place.lag)
        elif facts.meaning.kind == "classes" or place is not None:
            yield from _noise(facts, place)


def _unrelated(facts: Facts) -> Iterator[Finding]:
    """A1: no simple model and not the program itself predicts examples that it did not see."""
    simple = facts.simple
    _, low, high = interval(simple.out_of_fold)
    told = (
        f"A ridge predicts left-out labels better than permuted ones with p = {simple.p_value:.3f}"
    )
    if simple.p_value <= RELATED or low > 0:
        yield healthy("labels_related", f"{told}.", row="DATA1")
        return
    own = _own(facts)
    nothing = _nothing(simple.p_value, interval(simple.out_of_fold), own)
    lag = _all_lag(facts)
    if own is not None and own[1] > 0:
        yield healthy("labels_related", f"{told}, but the program itself predicts.", row="DATA1")
        return
    yield fault(
        "labels_related",
        "A1",
        f"{told}; skill of simple models at most {high:.2f}"
        + (f", of the program at most {own[2]:.2f}" if own is not None else "")
        + (f"; labels of the {_rows(lag.rows)} do fit (kappa {lag.kappa:.2f})." if lag else "."),
        "Look at examples beside their labels: were inputs and labels shuffled or joined apart?"
        if nothing
        else "There is not enough data to tell whether labels belong to inputs: bring more.",
        row="DATA1",
        certainty="statistical",
        warn=not nothing,
        explains=("F8", "A2", "E11", "A13"),
    )


def _nothing(
    p_value: float,
    simple: tuple[float, float, float],
    own: tuple[float, float, float] | None,
) -> bool:
    """Whether there is nothing to be learnt, as far as the data can tell: simple models find
    nothing
    and would have found a tenth, and the program itself finds nothing either."""
    if own is None:
        return simple[2] < LEAST_SKILL
    blind = p_value > 0.05 and simple[2] < 2 * LEAST_SKILL and own[1] <= 0
    return blind or (max(simple[0], own[0]) < LEAST_SKILL and min(simple[2], own[2]) < LEAST_SKILL)


def _own(facts: Facts) -> tuple[float, float, float] | None:
    """The interval of the program's own skill on held-out examples."""
    if not facts.has_validation:
        return None
    try:
        lanes = facts.lanes
    except NotGiven:
        return None
    # At its end, not at its best look: the best of many is above chance by chance.
    ends = [
        lane.held_out[-3:].mean(0) for name, lane in lanes.items() if name in ("normal", "10 x")
    ]
    return interval(max(ends, key=lambda skill: skill.mean()))


def _all_lag(facts: Facts) -> places.Lag | None:
    """The labels of other rows that suit all inputs, where their own do not."""
    if facts.meaning.kind == "values" or not _one_label(facts):
        return None
    lag = places.of_all(facts)
    return lag if lag is not None and _suits(lag, WELL) else None


def _one_label(facts: Facts) -> bool:
    labels = facts.meaning.labels(facts.train.targets).ravel()
    return len(labels) == len(facts.train.inputs) >= 100 and bool((labels >= 0).all())


def _place(facts: Facts) -> places.Place | None:
    """From where on labels contradict what neighbours among the rows before know; None where
    there is no such place, or the inputs differ there too."""
    if not _one_label(facts):
        return None
    labels = facts.meaning.labels(facts.train.targets).ravel()
    if (facts.simple.guesses.argmax(-1) != labels).mean() < DOUBTED:
        return None
    place = places.of_labels(facts)
    if place is None or place.before < WELL or place.after > BADLY * place.before:
        return None
    if place.lag is not None and _suits(place.lag, place.before):
        return place
    if not place.within < LOOSELY * place.before:
        return None
    mixes = [
        np.bincount(labels[part], minlength=labels.max() + 1) / part.sum()
        for part in (place.later, ~place.later)
    ]
    if np.abs(mixes[0] - mixes[1]).sum() / 2 > MIXED:
        return None
    return place if shift.told_apart(facts.simple.features, place.later) < ASIDE else None


def _suits(lag: places.Lag, usual: float) -> bool:
    """Whether labels of other rows suit where the own ones do not."""
    return lag.kappa > SUITS * usual and lag.own < BADLY * usual


def _rows(lag: int) -> str:
    """Which rows those are that lie so many further on."""
    side = "after" if lag > 0 else "before"
    return f"row {side}" if abs(lag) == 1 else f"row {abs(lag)} {side}"


def _lagging(place: places.Place, lag: places.Lag) -> Finding:
    """B1: from a row on labels are those of another row."""
    return fault(
        "label_noise",
        "B1",
        f"From about row {place.row} on the labels are those of the {_rows(-lag.rows)}: neighbours "
        f"among the rows up to there know the label of the {_rows(lag.rows)} (kappa "
        f"{lag.kappa:.2f}), not the own one ({lag.own:.2f}).",
        "Look at the file around that row: a line was lost or added in inputs or labels alone.",
        row="DATA1",
        certainty="statistical",
        explains=("F8", "E11", "A1", "A2", "A13"),
    )


def _noise(facts: Facts, place: places.Place | None) -> Iterator[Finding]:
    """A2: labels that their neighbours contradict, evenly over the classes, as mistakes are, or
    from a row of the file on."""
    simple, labels = facts.simple, facts.meaning.labels(facts.train.targets).ravel()
    counts = np.bincount(labels[labels >= 0])
    classes = int((counts > 0).sum())
    if (classes < 3 and place is None) or len(labels) < 100:
        return
    top = simple.guesses.argmax(-1)
    sure = simple.guesses.max(-1) >= AGREED
    against = sure & (top != labels)
    share = float(against.sum() / max(1, sure.sum()))
    confusion = np.zeros((len(counts), len(counts)))
    np.add.at(confusion, (top[against], np.minimum(labels[against], len(counts) - 1)), 1)
    even = _evenness(confusion)
    told = (
        f"Of {int(sure.sum())} examples whose neighbours agree on a class, {percent(share)} "
        f"carry another label"
    )
    random = share >= NOISE and even >= EVEN and not _refuted(facts, share)
    if not random and place is None:
        yield healthy("label_noise", f"{told}.", row="DATA1")
        return
    if random:
        told += f", any other class alike (evenness {even:.2f} of 1): as random mistakes do"
    remedy = "Look at the examples listed and correct their labels."
    if place is not None:
        told += (
            f". They begin at about row {place.row}: neighbours among the rows up to there know "
            f"labels before it (kappa {place.before:.2f}), not those after it ({place.after:.2f})"
        )
        remedy = "Look at the file around that row: which source do the rows after it come from?"
    yield fault(
        "label_noise",
        "A2",
        f"{told}.",
        remedy,
        row="DATA1",
        certainty="statistical",
        warn=not random,
        explains=("F8", "E11"),
        examples=np.flatnonzero(against)[:50],
    )


def _refuted(facts: Facts, share: float) -> bool:
    """Whether the program gets more held-out labels right than so much noise would let it, and
    those contradict their neighbours as often: then neighbours are no judges here."""
    try:
        own, guesses = _own(facts), simple_models.of_held_out(facts)
    except NotGiven:
        return False
    if own is None or guesses is None:
        return False
    labels = facts.meaning.labels(facts.validation.targets).ravel()
    sure = guesses.max(-1) >= AGREED
    held = float((guesses.argmax(-1) != labels)[sure].mean()) if sure.any() else 0.0
    top = float(facts.meaning.prior.max())
    return held > 0.85 * share and own[0] > (1 - share - top) / max(1 - top, 1e-6)


def _evenness(confusion: np.ndarray) -> float:
    """Entropy of the mistakes of each class over the other classes, 1 when even; corrected for how
    few there are (Miller and Madow)."""
    np.fill_diagonal(confusion, 0)
    used = confusion.sum(0) + confusion.sum(1) > 0
    others = int(used.sum()) - 1
    if others < 2:
        return 0.0
    rows = confusion[confusion.sum(1) >= 5]
    if not len(rows):
        return 0.0
    entropies = []
    for row in rows:
        share = row / row.sum()
        limit = np.log(min(others, row.sum()))
        bias = (np.count_nonzero(row) - 1) / (2 * row.sum())
        entropies.append(min(1.0, (special.entr(share).sum() + bias) / limit))
    return float(np.average(entropies, weights=rows.sum(1)))


def _shifted(facts: Facts) -> Iterator[Finding]:
    """A1 of sequences: targets must have to do with the tokens before them, and not be them."""
    inputs, targets = as_numpy(facts.train.inputs), as_numpy(facts.train.targets)
    if inputs.shape != targets.shape or facts.float_inputs:
        raise NotGiven("inputs and targets are not sequences of tokens of one length")
    asked = targets >= 0
    same = float((inputs == targets)[asked].mean())
    following = float((inputs[:, 1:] == targets[:, :-1])[asked[:, :-1]].mean())
    if same > 0.99:
        yield fault(
            "targets_follow",
            "A14",
            "Every target is the token at its own place: the answer is in the input.",
            "Shift the targets by one: targets[t] = inputs[t + 1].",
            row="DATA1",
        )
        return
    if following > 0.99:
        yield healthy("targets_follow", "Every target is the next token.", row="DATA1")
        return
    related = _information(inputs[asked], targets[asked])
    draw = np.random.default_rng(4)
    chance = max(_information(inputs[asked], draw.permutation(targets[asked])) for _ in range(20))
    own = _own(facts)
    if related > 1.2 * chance or (own is not None and own[1] > 0):
        yield healthy("targets_follow", "Targets depend on the tokens before them.", row="DATA1")
        return
    yield fault(
        "targets_follow",
        "A1",
        f"Targets tell no more about the token before them ({related:.3f} nats) than permuted ones "
        f"({chance:.3f}).",
        "Look at inputs beside targets: were they shuffled apart?",
        row="DATA1",
        certainty="statistical",
        explains=("F8", "E11"),
    )


def _information(left: np.ndarray, right: np.ndarray) -> float:
    """Mutual information in nats of two rows of small whole numbers."""
    joint = np.zeros((int(left.max()) + 1, int(right.max()) + 1))
    np.add.at(joint, (left, right), 1)
    joint /= joint.sum()
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    used = joint > 0
    return float((joint[used] * np.log(joint[used] / outer[used])).sum())
