"""Do the classes, their numbers and the outputs fit each other?"""

from collections.abc import Iterator

import numpy as np

from recipe_jax.checks._telling import fault, healthy, percent
from recipe_jax.probes.facts import Facts, NotGiven, as_numpy
from recipe_jax.types import Finding

RARE = 0.1
MOST_SPARE = 8


def diagnose(facts: Facts) -> Iterator[Finding]:
    """B10: numbers out of range; C15: outputs that stand for nothing; A12: rare or missing ones."""
    meaning = facts.meaning
    if meaning.kind == "values":
        raise NotGiven("targets are quantities")
    train = meaning.labels(facts.all_train.targets).ravel()
    held = np.zeros(0, np.int64)
    if facts.program.validation is not None:
        held = meaning.labels(facts.program.validation.targets).ravel()
    yield from _numbers(facts, np.concatenate([train, held]))
    if not meaning.tokens and len(train) == len(facts.all_train.inputs):
        yield from _balance(facts, train[train >= 0], held[held >= 0])


def _numbers(facts: Facts, labels: np.ndarray) -> Iterator[Finding]:
    meaning = facts.meaning
    if meaning.kind == "binary" or facts.program.apply is None:
        return
    width = int(np.shape(facts.outputs)[-1])
    used = np.unique(labels)
    low, high = int(used.min()), int(used.max())
    told = f"Labels run from {low} to {high}, and there are {width} outputs"
    if high >= width:
        fits = high - max(low, 0) + 1 <= width
        yield fault(
            "label_numbers",
            "B10",
            f"{told}: JAX reads out of range without an error.",
            "Number the classes from 0"
            + ("." if fits else f", or give the last layer {high + 1} outputs."),
            row="DATA1 SKEL12",
            explains=("C15", "B10", "D1", "D3", "D7", "G1", "G6", "F8", "F4", "A2"),
        )
        return
    negative = labels < 0
    if negative.any() and not _masked(facts):
        yield fault(
            "label_numbers",
            "D7" if meaning.tokens else "B10",
            f"{told}: {percent(float(negative.mean()))} are negative, and the loss counts them.",
            "Mask what is not asked for, or number the classes from 0.",
            row="DATA1 SKEL12",
            explains=("C15", "D1", "D3", "D7", "G1", "F8"),
        )
        return
    first = int(used[used >= 0].min())
    if not meaning.tokens and first > 0 and high == width - 1 and len(used) == width - first:
        yield fault(
            "label_numbers",
            "B10",
            f"{told}: class {'0 is' if first == 1 else f'0 to {first - 1} are'} never met.",
            "Number the classes from 0.",
            row="DATA1 SKEL12",
            warn=True,
            explains=("C15",),
        )
        return
    if not meaning.tokens and width > high + 1:
        yield fault(
            "output_count",
            "C15",
            f"{told}: {width - high - 1} outputs stand for no class.",
            f"Give the last layer {high + 1} outputs.",
            row="DATA1 SKEL12",
            # A class or two may be missing from the data; hundreds are another data set's.
            warn=width < max(MOST_SPARE * (high + 1), MOST_SPARE**2),
        )
        return
    yield healthy("label_numbers", f"{told}.", row="DATA1 SKEL12")


def _masked(facts: Facts) -> bool:
    """Whether the loss leaves out examples of negative number: its gradient there is zero."""
    try:
        facts.given("loss")
    except NotGiven:
        return True
    targets = facts.all_train.targets
    rows = np.flatnonzero((targets < 0).reshape(len(targets), -1).any(-1))[: facts.batch_size]
    chosen = targets[np.resize(rows, facts.batch_size)]
    shape = np.shape(facts.outputs)
    outputs = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    gradient = as_numpy(facts.loss_gradient(outputs, chosen))
    labels = facts.meaning.labels(chosen).reshape(shape[:-1])
    return bool((gradient[labels < 0] == 0).all())


def _balance(facts: Facts, train: np.ndarray, held: np.ndarray) -> Iterator[Finding]:
    count = max(int(train.max()), int(held.max(initial=0))) + 1
    own = np.bincount(train, minlength=count)
    other = np.bincount(held, minlength=count)
    present = own[own > 0]
    ratio = float(present.min() / present.max())
    told = f"{len(present)} classes, from {present.min()} to {present.max()} training examples"
    missing = np.flatnonzero((own == 0) & (other > 0))
    if len(missing):
        yield fault(
            "class_counts",
            "A12",
            f"{told}; class{'es' * (len(missing) > 1)} {', '.join(map(str, missing[:5]))} of "
            "validation never occur in training.",
            "Split so that every class is in every split.",
            row="DATA9",
            explains=("A13", "F8", "C15"),
        )
        return
    absent = np.flatnonzero((own > 0) & (other == 0))
    expected = own[absent] / own.sum() * other.sum()
    if len(absent) == 1 and float(expected.sum()) > 12:
        yield fault(
            "class_counts",
            "A12",
            f"{told}; class{'es' * (len(absent) > 1)} "
            f"{', '.join(map(str, absent[:5]))} never occur "
            "in validation.",
            "Split so that every class is in every split.",
            row="DATA9",
            explains=("A13",),
        )
        return
    if ratio >= RARE:
        yield healthy("class_counts", f"{told}.", row="DATA9")
        return
    # The rare classes matter where they are asked for more often than they were shown.
    shares = np.where(own > 0, other / max(1, other.sum()) / (own / own.sum() + 1e-12), 0)
    rare = own < RARE * own.max()
    asked = bool(other.sum() and (shares[rare] > 3).any() and other[rare].sum() >= 5)
    lost = _lost(facts, rare)
    yield fault(
        "class_counts",
        "A12",
        f"{told}"
        + ("; validation asks for the rare ones far more often" if asked else "")
        + (
            f"; of the rare ones {percent(lost[0])} are recognised, by neighbours "
            f"{percent(lost[1])}"
            if lost
            else ""
        )
        + ".",
        "Draw rare classes more often, or weigh them in the loss; judge by a score that does too.",
        row="DATA9",
        certainty="statistical" if asked else "heuristic",
        warn=not (asked or (lost is not None and lost[0] < 0.2 and lost[1] > 0.5)),
        explains=("C3", "F8") if asked else ("A13", "C3", "F8"),
    )


def _lost(facts: Facts, rare: np.ndarray) -> tuple[float, float] | None:
    """(share of rare held-out examples that the program gets right, and its neighbours in
    training);
    None where too few are there."""
    try:
        held = facts.validation
        labels = facts.meaning.labels(held.targets).ravel()
        chosen = np.isin(labels, np.flatnonzero(rare))
        if chosen.sum() < 8:
            return None
        outputs, _ = facts.forward(facts.lanes["normal"].last, held.inputs, facts.key, False)
        chances = facts.meaning.chances(as_numpy(outputs), facts.form)
        own = (chances.argmax(-1) == labels)[chosen].mean()
        guesses = facts.simple.guesses.argmax(-1)
        train = facts.meaning.labels(facts.train.targets).ravel()
        among = np.isin(train, np.flatnonzero(rare))
        return float(own), float((guesses == train)[among].mean()) if among.any() else 0.0
    except NotGiven:
        return None
