"""Which labels do other examples contradict?"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from recipe_jax.checks import data_audit
from recipe_jax.checks._telling import percent
from recipe_jax.probes.examples import Examples
from recipe_jax.types import Finding, Status, judge

SURE, RELIABLE = 0.8, 0.5
NOISE, LEAST = 0.035, 8
SHOWN, LISTED = 24, 200
FAR, BEYOND = 8.0, 3.0
"""Of a quantity: so many deviations from what its neighbours and a line say, and so many times as
far as all but a fiftieth."""


class Suspects(NamedTuple):
    """Examples whose labels are doubtful, the most doubtful first, what they should be, and how
    much likelier that is."""

    places: Int[np.ndarray, " suspects"]
    suggested: Int[np.ndarray, " suspects"]
    margin: Float[np.ndarray, " suspects"]


def look(examples: Examples) -> Iterator[Finding]:
    """By confident learning, out of fold; of quantities by what is left over."""
    if examples.task.spec.kind == "regression":
        yield _targets(examples)
        return
    labels = examples.train.targets
    both = (examples.by_neighbours + examples.by_line) / 2.0
    found = suspects(both, labels)
    share, sure = contradicted(examples.by_neighbours, examples.by_line, labels)
    wrong = share >= NOISE and share * sure >= LEAST
    told = (
        f"{len(found.places)} of {len(labels)} training labels ({percent(_of(found, labels))}) are "
        "contradicted by models that did not see them"
    )
    if wrong:
        told += f"; of {sure} examples whose neighbours agree, {percent(share)} carry another label"
    yield judge(
        not wrong,
        f"{told}{examples.among}.",
        otherwise=Status.WARN,
        check="label_errors",
        row="DATA1 DATA2",
        fault="A2",
        certainty="statistical",
        remedy="Look at the examples listed, the most doubtful first, and correct their labels.",
        evidence={"count": len(found.places), "contradicted": share, "sure": sure}
        | (_evidence(examples, found) if len(found.places) else {}),
    )


def _evidence(examples: Examples, found: Suspects) -> dict[str, Any]:
    """The most doubtful examples as a person sees them, and more of them by name."""
    names, labels = examples.task.class_names, examples.train.targets
    suggested = [names[i] for i in found.suggested[:LISTED]]
    return data_audit.picture(examples.task, examples.train, found.places[:SHOWN]) | {
        "suggested": suggested[:SHOWN],
        "margin": found.margin[:SHOWN],
        "all_ids": [str(i) for i in examples.train.ids[found.places[:LISTED]]],
        "all_labels": [names[i] for i in labels[found.places[:LISTED]]],
        "all_suggested": suggested,
    }


def suspects(chances: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> Suspects:
    """Off the diagonal of the confident joint (Northcutt, Jiang and Chuang, 2021).

    A class counts where its chance reaches the mean chance of that class among its own examples;
    the likeliest of those that count is suggested.
    """
    classes = chances.shape[1]
    usual = np.array(
        [chances[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(classes)]
    )
    counts = chances >= usual
    likeliest = np.where(counts, chances, -1.0).argmax(1)
    places = np.flatnonzero(counts.any(1) & (likeliest != labels))
    margin = chances[places, likeliest[places]] - chances[places, labels[places]]
    order = np.argsort(-margin, kind="stable")
    return Suspects(places[order], likeliest[places][order], margin[order])


def contradicted(
    neighbours: Float[np.ndarray, "n classes"],
    line: Float[np.ndarray, "n classes"],
    labels: Int[np.ndarray, " n"],
) -> tuple[float, int]:
    """(share with another label, of how many) of the examples about which neighbours are sure and
    the line does not say otherwise.

    Zero where that is less than half: then they are no judges of labels. Where a class is
    swamped by a common one its examples lie among that one's by nature; so only labels of the
    common classes, which hold half of the examples, are judged.
    """
    against = (line.max(1) >= SURE) & (line.argmax(1) != neighbours.argmax(1))
    agreed = (neighbours.max(1) >= SURE) & ~against
    if agreed.mean() < RELIABLE:
        return 0.0, 0
    asked = agreed & _common(labels)
    wrong = neighbours.argmax(1) != labels
    return float(wrong[asked].mean()) if asked.any() else 0.0, int(asked.sum())


def _common(labels: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Whether an example is of one of the commonest classes, which make up half of all."""
    counts = np.bincount(labels)
    order = np.argsort(-counts, kind="stable")
    enough = int(np.searchsorted(np.cumsum(counts[order]), len(labels) / 2)) + 1
    # Classes as common as the last one of these are common too.
    return counts[labels] >= counts[order][enough - 1]


def _of(found: Suspects, labels: np.ndarray) -> float:
    return len(found.places) / max(1, len(labels))


def _targets(examples: Examples) -> Finding:
    """A quantity far from what both models say, in deviations of what they usually leave over."""
    task = examples.task
    scale = np.asarray(task.spec.target_scale)
    guesses = np.stack([examples.by_neighbours, examples.by_line])
    left = examples.answers - guesses
    # The nearer one counts: a target that one of them explains is no error.
    left = np.take_along_axis(left, np.abs(left).argmin(0)[None], 0)[0]
    usual = 1.4826 * np.median(np.abs(left - np.median(left, 0)), 0)
    away = np.abs(left / np.maximum(usual, 1e-9)).max(1)
    order = np.argsort(-away, kind="stable")[:SHOWN]
    far = int((away > max(FAR, BEYOND * float(np.quantile(away, 0.98)))).sum())
    told = guesses.mean(0)[order] * scale + task.spec.target_mean
    return judge(
        far < max(3, 0.001 * len(away)),
        f"{far} of {len(away)} training targets lie far from what "
        f"neighbours and a linear model say; the farthest, of example "
        f"{examples.train.ids[order[0]]}, {away[order[0]]:.1f} deviations{examples.among}.",
        otherwise=Status.WARN,
        check="label_errors",
        row="DATA1 DATA2",
        fault="A2",
        certainty="heuristic",
        remedy="Look at the examples listed: a slip of the comma, another unit? Or a heavy tail, "
        "which a logarithm tames.",
        evidence=data_audit.picture(task, examples.train, order)
        | {"suggested": [f"{each:.4g}" for each in told[:, 0]], "margin": away[order]},
    )
