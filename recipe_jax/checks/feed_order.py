"""Does every epoch show all examples once, in a new order?"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from scipy import stats

from recipe_jax.feed import order
from recipe_jax.probes.examples import Examples
from recipe_jax.types import Finding, judge

EPOCHS, SHOWN = 3, 400
MOST = 50_000
LEVEL = 1e-6


def look(examples: Examples) -> Iterator[Finding]:
    """The feed itself, asked for three epochs on as many examples as there are."""
    task = examples.task
    count = len(task.train.targets)
    positions = jnp.arange(EPOCHS * count, dtype=jnp.uint32)
    shown = np.asarray(order.order(jax.random.key(0), positions, count)).reshape(EPOCHS, count)
    labels = task.train.targets if task.spec.kind == "classification" else None
    yield examine(shown, labels)


def examine(
    epochs: Int[np.ndarray, "epochs examples"], labels: Int[np.ndarray, " examples"] | None
) -> Finding:
    """Without replacement; no order like another one or like that of the data; labels mixed."""
    count = epochs.shape[1]
    whole = bool((np.sort(epochs, 1) == np.arange(count)).all())
    alike = max(_alike(epochs[0], epochs[1]), _alike(epochs[0], np.arange(count)))
    told = (
        f"An epoch shows each of the {count} training examples "
        + ("once" if whole else "NOT just once")
        + f"; two epochs, and an epoch and the data, agree in order by {alike:.2f} (rank "
        "correlation, 0 by chance)"
    )
    mixed = True
    evidence = {"positions": _thinned(count), "epochs": epochs[:2, _thinned(count)]}
    if labels is not None and len(np.unique(labels)) > 1:
        first = labels[epochs[0]]
        same, chance = float((first[1:] == first[:-1]).mean()), _same_by_chance(labels)
        error = np.sqrt(chance * (1.0 - chance) / max(count - 1, 1))
        mixed = bool(2 * stats.norm.sf(abs(same - chance) / max(error, 1e-12)) > LEVEL)
        told += f"; {same:.1%} have the label of the one before, {chance:.1%} by chance"
    # The standard error of a rank correlation is 1 / sqrt(n - 1).
    fresh = alike * np.sqrt(max(count - 1, 1)) < -stats.norm.ppf(LEVEL) or count < 8
    return judge(
        whole and fresh and mixed,
        f"{told}.",
        check="feed_order",
        row="DATA7",
        fault="B3" if whole and mixed else "B2",
        certainty="statistical",
        remedy="Shuffle all training examples anew before every epoch.",
        evidence=evidence,
    )


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation of two orders of 0, 1, ..., n - 1: of the places of the same example."""
    if len(one) < 3:
        return 0.0
    first, second = (np.argsort(each)[:MOST].astype(float) for each in (one, other))
    return abs(float(np.corrcoef(first, second)[0, 1]))


def _same_by_chance(labels: np.ndarray) -> float:
    share = np.bincount(labels) / len(labels)
    return float((share**2).sum())


def _thinned(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, SHOWN)).astype(int))
