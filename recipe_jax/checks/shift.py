"""Do training and validation look alike?"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from scipy import stats
from sklearn import linear_model, metrics, model_selection

from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.facts import Crashed, Facts, NotGiven, as_numpy, guarded
from recipe_jax.types import Arrays, Finding

LEVEL = 1e-6
DISTANCE = 0.25
SEPARABLE = 0.8
FEATURES = 200


def diagnose(facts: Facts) -> Iterator[Finding]:
    """B8: validation is scaled in another way; A13: it is different."""
    facts.given("validation")
    if not facts.float_inputs:
        yield from _tokens(facts)
        return
    own, other = (_flat(facts, split) for split in (_shown(facts), facts.validation))
    if len(other) < 8:
        raise NotGiven("there are fewer than 8 validation examples")
    distances, chance = compare(own, other)
    worst = int(distances.argmax())
    share = float((distances > DISTANCE).mean())
    told = f"The feature that differs most, {worst}, differs by {distances[worst]:.2f}"
    far = chance.min() * len(chance) < LEVEL and distances[worst] > DISTANCE
    if far:
        rescaled, _ = compare(_standard(own), _standard(other))
        ratio = np.median(other.std(0)[own.std(0) > 0] / own.std(0)[own.std(0) > 0])
        cured = float((rescaled > DISTANCE).mean()) < 0.3 * share
        moved = _one_way(own, other)
        off = np.abs(other.mean(0) - own.mean(0)) / np.maximum(own.std(0), 1e-12)
        apart = not 0.67 < ratio < 1.5 or float(np.median(off)) > 2
        if (share > 0.5 and cured and apart) or moved:
            yield fault(
                "split_statistics",
                "B8",
                f"Validation inputs are {ratio:.3g} times as wide as training inputs; "
                "after each is "
                "standardised by itself they agree.",
                "Normalise validation with the statistics of training, the same way.",
                row="DATA6",
                certainty="statistical",
                explains=("A13", "F8", "A5", "A9", "A10", "C17"),
            )
            return
        yield _different(f"{told} of 1 between training and validation (p under {LEVEL:g})", "A13")
        return
    together = _apart_together(facts)
    if together is not None:
        yield together
        return
    targets = _target_shift(facts)
    if targets is not None:
        yield targets
        return
    yield healthy("split_statistics", f"{told} of 1; nothing beyond chance.", row="DATA6")


def _shown(facts: Facts) -> Arrays:
    """Training examples as training shows them where augmentation makes them more like those of
    validation, else as they are."""
    if facts.program.augment is None:
        return facts.train
    try:
        with guarded("augment"):
            inputs, _ = facts.program.augment(facts.key, *map(jnp.asarray, facts.train))
    except Crashed:
        return facts.train
    if np.shape(inputs) != facts.train.inputs.shape:
        return facts.train
    augmented = facts.train._replace(inputs=as_numpy(inputs))
    other = _flat(facts, facts.validation)
    far = [compare(_flat(facts, each), other)[0].max() for each in (facts.train, augmented)]
    return augmented if far[1] < far[0] else facts.train


def _apart_together(facts: Facts) -> Finding | None:
    """Adversarial validation: a linear classifier that tells the two splits apart."""
    try:
        own, other = facts.simple.features, facts.simple.held_features
    except NotGiven:
        return None
    if other is None or min(len(own), len(other)) < 50:
        return None
    inputs = np.concatenate([own, other])
    which = np.arange(len(inputs)) >= len(own)
    area = told_apart(inputs, which)
    if area < SEPARABLE:
        return None
    return _different(
        "A linear classifier tells training from validation inputs (area under the "
        f"curve {area:.2f})",
        "A13",
    )


def told_apart(inputs: np.ndarray, which: np.ndarray) -> float:
    """Area under the curve of a linear model that says, out of fold, where inputs come from."""
    scores = model_selection.cross_val_predict(
        linear_model.Ridge(alpha=float(len(inputs))), inputs, which.astype(float), cv=_folds()
    )
    return float(metrics.roc_auc_score(which, scores))


def _folds() -> model_selection.StratifiedKFold:
    return model_selection.StratifiedKFold(5, shuffle=True, random_state=0)


def _different(told: str, name: str) -> Finding:
    return fault(
        "split_statistics",
        name,
        f"{told}.",
        "Draw both splits from the same examples at random, or say why they differ.",
        row="DATA6",
        certainty="statistical",
        explains=("F8",),
    )


def _target_shift(facts: Facts) -> Finding | None:
    """Targets of another distribution."""
    meaning = facts.known
    if meaning is None or meaning.tokens:
        return None
    if meaning.kind == "values":
        own, other = (
            as_numpy(split.targets).reshape(len(split.targets), -1)
            for split in (facts.train, facts.validation)
        )
        distances, chance = compare(own, other)
        if chance.min() * len(chance) < LEVEL and distances.max() > DISTANCE:
            return _different("Targets of validation are distributed otherwise", "A13")
        return None
    own, other = (
        np.bincount(np.maximum(meaning.labels(split.targets).ravel(), 0), minlength=meaning.classes)
        for split in (facts.train, facts.validation)
    )
    width = max(len(own), len(other))
    table = np.stack([np.pad(each, (0, width - len(each))) for each in (own, other)])
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        return None
    share = table / table.sum(1, keepdims=True)
    apart = float(np.abs(share[0] - share[1]).sum() / 2)
    if stats.chi2_contingency(table).pvalue < LEVEL and apart > DISTANCE:
        return _different(f"{apart:.0%} of the class frequencies moved between the splits", "A13")
    return None


def _flat(facts: Facts, split: object) -> np.ndarray:
    inputs = as_numpy(split.inputs)  # pyright: ignore[reportAttributeAccessIssue]
    flat = inputs.reshape(len(inputs), -1)
    if flat.shape[1] > FEATURES:
        flat = flat[:, np.linspace(0, flat.shape[1] - 1, FEATURES).astype(int)]
    return np.nan_to_num(flat, nan=0.0, posinf=1e30, neginf=-1e30)


def _standard(values: np.ndarray) -> np.ndarray:
    deviation = values.std(0)
    return (values - values.mean(0)) / np.where(deviation > 0, deviation, 1)


def _one_way(own: np.ndarray, other: np.ndarray) -> bool:
    """Every feature moved by the same factor or by the same amount, and not a little."""
    varies = (own.std(0) > 1e-6) & (other.std(0) > 1e-12)
    if varies.sum() < 3:
        return False
    ratio = other.std(0)[varies] / own.std(0)[varies]
    middle = float(np.median(ratio))
    tight = float(np.median(np.abs(ratio / middle - 1))) < 0.15
    return bool(tight and not 0.6 < middle < 1.7)


def compare(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(largest distance of the distributions, its p value) of each feature: Kolmogorov, Smirnov."""
    found = [stats.ks_2samp(a, b, method="asymp") for a, b in zip(own.T, other.T)]
    return (
        np.array([each.statistic for each in found]),  # pyright: ignore
        np.array([each.pvalue for each in found]),  # pyright: ignore
    )


def _tokens(facts: Facts) -> Iterator[Finding]:
    own, other = (as_numpy(split.inputs).ravel() for split in (facts.train, facts.validation))
    if own.min() < 0 or max(own.max(), other.max()) > 100_000:
        raise NotGiven("inputs are whole numbers of unknown meaning")
    width = int(max(own.max(), other.max())) + 1
    share = [np.bincount(each, minlength=width) / each.size for each in (own, other)]
    apart = float(np.abs(share[0] - share[1]).sum() / 2)
    told = f"{apart:.0%} of the token frequencies differ between training and validation"
    if apart < 2 * DISTANCE:
        yield healthy("split_statistics", f"{told}.", row="DATA6")
        return
    yield _different(told, "A13")
