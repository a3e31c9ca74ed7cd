"""Do validation examples have near copies in training?"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from recipe_jax.checks import data_audit
from recipe_jax.checks._telling import percent
from recipe_jax.probes.examples import NEIGHBOURS, Examples
from recipe_jax.probes.facts import NotGiven
from recipe_jax.types import Finding, Split, Status, judge

CLOSE = 0.15
"""Of the usual distance to the nearest training example."""
LEVEL, CHANCE = 1e-3, 1e-4
LEAST_COLUMNS, LEAST_COPIES, LEAST_SHARE = 4, 3, 0.01
SHOWN = 10


def look(examples: Examples) -> Iterator[Finding]:
    """A near copy is so much closer than the neighbours after it that chance has no part in it.

    In a cloud of dimension D the share r of the nearest distance in that of neighbour k is as small
    with probability 1 - (1 - r^D)^(k - 1); D is read off the training examples (as in Facco et al.,
    2017). One in a thousand is taken for a copy by chance, or as many as among training examples:
    a binomial test says whether there are more.
    """
    rows, _ = examples.both
    if rows.shape[1] < LEAST_COLUMNS:
        raise NotGiven(f"among fewer than {LEAST_COLUMNS} columns examples are close by chance")
    near, held = examples.near.distances, examples.held_near.distances
    count = near.shape[1]
    if count < NEIGHBOURS:
        raise NotGiven(f"there are fewer than {NEIGHBOURS} neighbours")
    usual = float(np.median(near[:, 0]))
    if usual == 0:
        raise NotGiven("most training examples have an equal one")
    dimension = dimension_of(near)
    copies = apart(held, dimension, LEVEL) & (held[:, 0] < CLOSE * usual)
    # Equal examples are another check's to tell.
    copies &= held[:, 0] > 0
    found = np.flatnonzero(copies)[np.argsort(held[copies, 0], kind="stable")]
    share = len(found) / len(held)
    # Rows of few values lie close by nature, and then training examples do so among each other.
    own = apart(near, dimension, LEVEL) & (near[:, 0] < CLOSE * usual) & (near[:, 0] > 0)
    natural = max(LEVEL, (own.sum() + 1) / len(near))
    chance = float(stats.binom.sf(len(found) - 1, len(held), natural))
    yield judge(
        len(found) < max(LEAST_COPIES, LEAST_SHARE * len(held)) or chance > CHANCE,
        f"{len(found)} of {len(held)} validation examples ({percent(share)}) are near copies of a "
        f"training example: closer than {CLOSE:g} times the usual distance, {usual:.3g}, and far "
        "closer than chance brings them.",
        otherwise=Status.WARN,
        check="near_copies",
        row="DATA1 DATA6",
        fault="A5",
        certainty="statistical",
        remedy="The score on validation is flattered: put what was copied, cut or augmented from "
        "one original into one split, or leave copies out.",
        evidence=_pairs(examples, found[:SHOWN])
        | {
            "copies": len(found),
            "dimension": dimension,
            "own": _histogram(near[:, 0] / usual),
            "held": _histogram(held[:, 0] / usual),
        },
    )


def dimension_of(distances: Float[np.ndarray, "rows neighbours"]) -> float:
    """The dimension in which the median share of the nearest distance in the farthest is as it
    is."""
    share = np.median(distances[:, 0] / np.maximum(distances[:, -1], 1e-12))
    half = 1.0 - 0.5 ** (1.0 / (distances.shape[1] - 1))
    return float(np.log(half) / np.log(np.clip(share, 1e-6, 1.0 - 1e-6)))


def apart(
    distances: Float[np.ndarray, "rows neighbours"], dimension: float, level: float
) -> Bool[np.ndarray, " rows"]:
    """Rows whose nearest neighbour is closer, beside the farthest one, than chance brings it."""
    share = distances[:, 0] / np.maximum(distances[:, -1], 1e-12)
    others = distances.shape[1] - 1
    return -np.expm1(others * np.log1p(-np.clip(share**dimension, 0.0, 1.0 - 1e-12))) < level


def _pairs(examples: Examples, found: np.ndarray) -> dict:
    """Each copy beside its original."""
    if not len(found):
        return {}
    originals = examples.held_near.places[found, 0]
    chosen = [
        Split(*(each[rows] for each in split))
        for split, rows in ((examples.validation, found), (examples.train, originals))
    ]
    # One after the other: copy, original, copy, ...
    order = np.arange(2 * len(found)).reshape(2, -1).T.ravel()
    both = Split(*(np.concatenate(pair)[order] for pair in zip(*chosen)))
    return data_audit.picture(examples.task, both, np.arange(len(order))) | {
        "group": np.repeat(np.arange(len(found)), 2),
        "split": ["validation", "train"] * len(found),
        "distance": np.repeat(examples.held_near.distances[found, 0], 2),
    }


def _histogram(values: np.ndarray) -> np.ndarray:
    return np.histogram(np.clip(values, 0.0, 2.0), bins=20, range=(0.0, 2.0))[0]
