"""What stages say of text: what was learnt by heart, where it is hard, what the model writes."""

import collections
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from recipe_jax import assembly
from recipe_jax.checks import text_audit
from recipe_jax.objectives.next_token import nats
from recipe_jax.recipe.base import Context, Interval
from recipe_jax.types import Blend, Finding, Samples, Split, Status, Task, judge

WORST = 12
PROMPT, PROMPTS = 24, 3
"""Characters of the validation text that samples go on from, and at how many places of it."""
EARLY = 8
"""Positions of a window at which there is hardly any context."""
LEAST_GAIN = 0.02
"""A context that is worth less than this share of the nats is worth nothing."""
DRAWS = 200


def is_text(task: Task) -> bool:
    """Whether the model is asked for the next token at every position."""
    return task.spec.kind == "next_token"


def prior_loss(task: Task) -> float:
    """Nats of the training prior on the validation text, whose symbols need not be those of the
    training text in their proportions: it is another part of the text."""
    outputs = task.spec.prior_outputs
    surprise = np.log(np.exp(outputs).sum()) - outputs
    return float(surprise[tokens(task.validation.targets)].mean())


def tokens(targets: Int[np.ndarray, "examples window"]) -> Int[np.ndarray, " tokens"]:
    """The targets that are asked, in a row."""
    return targets[targets >= 0]


def right(outputs: Float[np.ndarray, "examples window tokens"], split: Split) -> float:
    """The share of right tokens of what a perfect memory gets right: where two windows begin alike
    and go on differently, nobody can tell which one it is."""
    follows: dict[bytes, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    for inputs, targets in zip(split.inputs, split.targets):
        for place, target in enumerate(targets):
            follows[inputs[: place + 1].tobytes()][int(target)] += 1
    possible = sum(max(counts.values()) for counts in follows.values())
    return float((outputs.argmax(-1) == split.targets).sum() / possible)


def learnt(task: Task, outputs: np.ndarray, split: Split) -> dict[str, Any]:
    """Targets beside predictions, as text."""
    predicted = outputs.argmax(-1)
    return {
        "kind": "text",
        "labels": [text_audit.asked(task, row) for row in split.targets],
        "predictions": [
            task.encoder.decode(row[row_targets >= 0])
            for row, row_targets in zip(predicted, split.targets)
        ],
    }


def samples(context: Context, model: Blend) -> Iterator[Samples | Finding]:
    """What the finished model writes, from the prompts of the config."""
    recipe = context.recipe
    prompts = tuple(map(str, recipe.prompts)) or first_words(context.task)
    texts = yield Samples(
        label="samples",
        model=model,
        prompts=prompts,
        length=recipe.sample_length,
        temperature=recipe.temperature,
    )
    yield Finding(
        check="written",
        row="SQZ1 ENV2",
        status=Status.PASS,
        summary=f"{len(texts)} samples of {recipe.sample_length} {context.task.encoder.unit}s, at "
        f"temperature {recipe.temperature:g}.",
        evidence={
            "kind": "text",
            "prompts": list(prompts),
            "texts": [text[len(prompt) :] for text, prompt in zip(texts, prompts)],
        },
    )


def first_words(task: Task) -> tuple[str, ...]:
    """Beginnings of validation windows, spread over the text."""
    split = task.validation
    places = np.unique(np.linspace(0, len(split.inputs) - 1, PROMPTS + 1).astype(int)[:PROMPTS])
    found = (text_audit.shown(task, split.inputs[i], split.targets[i])[:PROMPT] for i in places)
    return tuple(dict.fromkeys(found))


def _gain_of_context(surprise: np.ndarray, asked: np.ndarray) -> tuple[float, float]:
    """Nats that the first positions cost more than those after them, and the standard error of
    that over windows; NaN where windows are too few or too short to tell."""
    whole = asked.all(1)
    if whole.sum() < 2 or surprise.shape[1] <= EARLY:
        return float("nan"), float("nan")
    gains = surprise[whole, :EARLY].mean(1) - surprise[whole, EARLY:].mean(1)
    return float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))


def _carries(context: Context) -> bool:
    """Whether a window begins with what the model carries over from the one before."""
    built = assembly.of_config(context.config, context.task.spec, context.carried)
    return built.model.begin is not None


def mistakes(context: Context, outputs: np.ndarray, test: Split) -> Iterator[Finding]:
    """Loss by position in the window, and the windows with the largest loss."""
    task = context.task
    surprise = np.asarray(nats(outputs, test.targets), np.float64)
    asked = test.targets >= 0
    by_position = surprise.sum(0) / np.maximum(asked.sum(0), 1)
    seen = asked.any(0)
    early, late = by_position[seen][:EARLY].mean(), by_position[seen][EARLY:]
    later = float(late.mean()) if len(late) else float("nan")
    # Windows differ: only where they leave no doubt that context is worth nothing is it said so.
    gain, error = _gain_of_context(surprise, asked)
    yield judge(
        not gain + 2.0 * error < LEAST_GAIN * later or _carries(context),
        f"{early:.3f} nats at the first {EARLY} positions of a window, {later:.3f} after them.",
        otherwise=Status.WARN,
        check="loss_by_position",
        row="DATA10",
        fault="F8",
        remedy="More context does not help the model: does it carry anything along the window?",
        evidence={"positions": np.flatnonzero(seen), "nats": by_position[seen]},
    )
    means = surprise.sum(1) / np.maximum(asked.sum(1), 1)
    worst = np.argsort(-means, kind="stable")[:WORST]
    predicted = outputs[worst].argmax(-1)
    yield Finding(
        check="worst",
        row="DATA10",
        status=Status.PASS,
        summary=f"The {len(worst)} test windows with the largest loss, from "
        f"{means[worst[0]]:.3g} nats a {task.encoder.unit} down.",
        evidence=text_audit.picture(task, test, worst)
        | {
            "predicted": [
                task.encoder.decode(row[test.targets[i] >= 0]) for i, row in zip(worst, predicted)
            ],
            "losses": means[worst],
        },
    )


def score_interval(context: Context, outputs: np.ndarray, test: Split, value: float) -> Interval:
    """95 % by resampling windows, each with the weight of its tokens (Efron 1979)."""
    sums = np.asarray(nats(outputs, test.targets), np.float64).sum(1)
    counts = (test.targets >= 0).sum(1)
    draws = np.random.default_rng(context.config["seed"]).integers(0, len(sums), (DRAWS, len(sums)))
    low, high = np.percentile(sums[draws].sum(1) / counts[draws].sum(1), [2.5, 97.5])
    return Interval(value, float(low), float(high))
