"""Which inputs the score rests on: each is permuted in turn; then training without the others."""

import itertools
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from recipe_jax.probes.examples import column_places
from recipe_jax.recipe import deciding
from recipe_jax.recipe.base import Context
from recipe_jax.recipe.deciding import Change
from recipe_jax.types import Finding, Result, Scores, Status, Task

PATCHES = 4
"""An image is judged in so many rows and columns of patches."""
EXAMPLES, FEWEST = 20_000, 200
"""Predictions of one model: inputs times examples; and examples at least."""
LISTED = 3


class Inputs(NamedTuple):
    """What belongs together: its name, and its places in an example laid out flat."""

    name: str
    places: tuple[int, ...]


def retrains(task: Task) -> bool:
    """Whether leaving inputs out is tried: not for pixels and words, and not for one alone."""
    return task.modality in ("table", "sequence") and len(grouped(task)) > 1


def measured(
    context: Context, results: Sequence[Result], settings: dict[str, Any]
) -> Generator[Any, Any, tuple[list[Finding], dict[str, Any]]]:
    """REG4: (findings, what to go on with).

    results: trained models with their weights, whose inputs are permuted; settings: beside which
    those that are not seen to help are left out.
    """
    inputs = grouped(context.task)
    healthy = [result for result in results if result.status != "diverged"]
    if not inputs or not healthy:
        return [_skipped("The runs diverged." if inputs else _WORDS)], {}
    scores = yield Scores(
        label="permuted inputs",
        results=healthy,
        split="validation",
        permuted=((), *(each.places for each in inputs)),
        first=max(FEWEST, EXAMPLES // len(inputs)),
    )
    found = importance(context, inputs, scores)
    if not retrains(context.task):
        return [found], {}
    useless = _useless(np.array(found.evidence["difference"]), np.array(found.evidence["low"]))
    if not len(useless):
        return [found], {}
    hidden = sorted({*context.setting("train.hidden"), *_places(inputs, useless)})
    change = Change(_without(inputs, useless), {"train.hidden": tuple(hidden)})
    base = Change("all inputs", settings)
    decided = yield from deciding.decide(context, [change], base=base, label="fewer inputs")
    told = deciding.finding(context, decided, check="fewer_inputs", row="REG4 ENV5", base=base)
    return [found, told], dict(change.settings) if decided.kept else {}


def importance(context: Context, inputs: Sequence[Inputs], scores: np.ndarray) -> Finding:
    """scores: (models, 1 + inputs, examples), the first of them with nothing permuted. What each
    input brings is the score that goes where it is taken from another example (Breiman 2001). The
    level is shared out among the inputs (Bonferroni)."""
    scores = context.objective.score.sign() * scores
    level = 1 - deciding.LEVEL / len(inputs)
    brought = [
        deciding.crossed_interval(scores[:, 0] - scores[:, 1 + i], level)
        for i in range(len(inputs))
    ]
    order = sorted(range(len(inputs)), key=lambda i: -brought[i].mean)
    useful = [i for i in order if brought[i].low > 0]
    metric, task = context.objective.score.metric, context.task
    listed = ", ".join(
        f"{inputs[i].name} {brought[i].mean:.3g} [{brought[i].low:.3g}, {brought[i].high:.3g}]"
        for i in order[:LISTED]
    )
    what = "patches of the image" if task.modality == "image" else "inputs"
    evidence: dict[str, Any] = {
        "names": [each.name for each in inputs],
        "difference": [each.mean for each in brought],
        "low": [each.low for each in brought],
        "high": [each.high for each in brought],
        "metric": metric,
        "models": len(scores),
    }
    if task.modality == "image":
        height, width, _ = task.spec.input_shape
        evidence["patches"] = (min(PATCHES, height), min(PATCHES, width))
    return Finding(
        check="input_importance",
        row="REG4",
        status=Status.PASS,
        summary=f"Taken from another example, {len(useful)} of {len(inputs)} {what} cost {metric}, "
        f"each by its interval, over {len(scores)} models; the most: {listed}.",
        evidence=evidence,
    )


def grouped(task: Task) -> list[Inputs]:
    """The columns of a table as they were read, features of sequences over all of their time,
    patches of images; none of text."""
    shape = task.spec.input_shape
    places = np.arange(int(np.prod(shape))).reshape(shape)
    if task.modality == "image":
        rows, columns = (np.array_split(np.arange(n), min(PATCHES, n)) for n in shape[:2])
        return [
            Inputs(
                f"rows {r[0] + 1}-{r[-1] + 1}, columns {c[0] + 1}-{c[-1] + 1}",
                tuple(places[np.ix_(r, c)].ravel().tolist()),
            )
            for r, c in itertools.product(rows, columns)
        ]
    if task.modality == "sequence":
        names = task.feature_names or tuple(f"feature {i + 1}" for i in range(shape[-1]))
        return [Inputs(name, tuple(places[:, i].tolist())) for i, name in enumerate(names)]
    if task.modality == "table":
        return [Inputs(name, tuple(own)) for name, own in column_places(task).items()]
    return []


_WORDS = "The inputs of a text are words at every place: there is no column to leave out."


def _useless(means: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Those not seen to bring anything, but for what seems to bring as much as one that surely
    does; where none is sure, as where each can stand in for another, the lower half."""
    sure = low > 0
    if not sure.any():
        return np.argsort(means, kind="stable")[: len(low) // 2]
    return np.flatnonzero(~sure & (means < means[sure].min()))


def _places(inputs: Sequence[Inputs], chosen: np.ndarray) -> list[int]:
    return [place for i in chosen for place in inputs[i].places]


def _without(inputs: Sequence[Inputs], chosen: np.ndarray) -> str:
    names = [inputs[i].name for i in sorted(chosen)]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"without {', '.join(names[:LISTED])}{more}"


def _skipped(why: str) -> Finding:
    return Finding(check="input_importance", row="REG4", status=Status.SKIP, summary=why)
