"""Stage skeleton: prove the pipeline from end to end, and beat dumb baselines."""

import math
from collections.abc import Sequence

import numpy as np

from recipe_jax.checks import (
    baselines,
    exact_evaluation,
    human_baseline,
    input_independent,
    loss_at_init,
    output_bias,
    overfit_one_batch,
)
from recipe_jax.checks.data_audit import label_text
from recipe_jax.recipe import examining, text, watching
from recipe_jax.recipe.base import Context, Planned, Stage, best
from recipe_jax.train import settings
from recipe_jax.types import Decision, Finding, Outputs, Result, Split, Trials

EXPECTS = (
    "The loss starts where theory says, a few examples can be learnt by heart, inputs matter, and "
    "the network beats a constant."
)
READS_ANSWERS = True
FEW = (2, 16)
LEAST_RIGHT = 0.95
"""Share of the tokens learnt by heart that counts as all of them."""
LOOKED = 64
"""Windows of a text that are enough to measure the outputs at the start."""
FACTORS = (0.1, 1.0, 10.0, 100.0)
"""Rates at which a few examples are learnt by heart, as multiples of the configured one."""
HEART_STEPS = 500


def run(context: Context) -> Stage:
    """SKEL1 to SKEL20. Regularisers and augmentation are off in all that is trained."""
    task, quiet = context.task, context.quiet
    seeds = range(context.recipe.seeds)
    plain = [context.trial(seed, quiet) for seed in seeds]
    blind = [context.trial(seed, quiet, show_inputs=False) for seed in seeds]
    has_bias = context.setting("model.prior_bias") is not None
    no_prior = [context.trial(s, quiet | {"model.prior_bias": 0.0}) for s in seeds if has_bias]
    calm = watching.calm(context)
    slow = [context.trial(seed, quiet | calm) for seed in seeds if calm]
    trials = (*plain, *blind, *no_prior, *slow)
    # All of the stage is watched, so that one program serves it.
    watch = watching.examples(context)
    begun = yield Trials(label="start", trials=trials, epochs=0, keep="last", watch=watch)
    begun = begun[: len(plain)]
    is_text = text.is_text(task)
    outputs, split = yield Outputs(
        label="outputs at the start",
        results=begun,
        split="validation",
        first=LOOKED if is_text else None,
    )
    kind, targets, expected = (
        task.spec.kind,
        task.validation.targets,
        context.objective.loss_at_init,
    )
    if is_text:
        # Every token is an example of its own, of as many classes as there are tokens.
        kind, targets, expected = "classification", text.tokens(targets), text.prior_loss(task)
        outputs = outputs[:, split.targets >= 0]
    yield loss_at_init.examine(
        np.array([result.history["validation/loss"][0] for result in begun]),
        outputs,
        targets,
        expected=float(expected),
        kind=kind,
    )
    results: Sequence[Result] = yield Trials(
        label="baselines",
        trials=trials,
        epochs=context.epochs,
        keep="last",
        watch=watch,
    )
    count, end = len(plain), len(results) - len(slow)
    real, zeros, without = results[:count], results[count : 2 * count], results[2 * count : end]
    if without:
        yield output_bias.examine(
            real[0].steps, _curves(real, "train/loss"), _curves(without, "train/loss")
        )
    yield input_independent.examine(
        real[0].steps, _curves(real, "validation/loss"), _curves(zeros, "validation/loss")
    )
    yield watching.examine(context, [real, results[end:]] if slow else [real])
    factors, few = by_heart(context)
    epochs, evaluations = heart_length(context)
    # What is learnt by heart gets worse on validation: the early stop would end it.
    endless = {} if context.config["train"]["patience"] is None else {"train.patience": None}
    memorised = yield Trials(
        label="by heart",
        trials=tuple(
            context.trial(0, quiet | endless | _rate(context, factor), num_examples=size)
            for factor in factors
            for size in few
        ),
        epochs=epochs,
        evaluations=evaluations,
        keep="last",
        watch=watch,
    )
    outputs, split = yield Outputs(
        label="learnt by heart", results=memorised, split="train", first=few[-1]
    )
    yield _one_batch(context, memorised, outputs, split)

    outputs, split = yield Outputs(label="validation", results=real[:1], split="validation")
    last = {
        name.removeprefix("validation/"): float(values[-1])
        for name, values in real[0].history.items()
        if name.startswith("validation/")
    }
    yield exact_evaluation.examine(context.objective, outputs[0], split.targets, compiled=last)
    score = float(np.mean([best(result, context.score_name()) for result in real]))
    found = baselines.scores(task, context.objective, task.validation)
    losses = _curves(real, "validation/loss")
    yield baselines.examine(
        found, score, context.objective, losses=losses, count=len(task.validation.targets)
    )
    told, command = context.human
    yield human_baseline.examine(task, context.objective, told, outputs[0], command=command)
    yield from examining.examined(context)
    return Decision(
        summary=f"The pipeline holds; as configured the network reaches a validation "
        f"{context.objective.score.metric} of {score:.4g}."
    )


def planned(context: Context) -> list[Planned]:
    """The plain runs, without inputs, without the prior, at a lower rate, and by heart."""
    kinds = 2 + (context.setting("model.prior_bias") is not None) + bool(watching.calm(context))
    factors, few = by_heart(context)
    return [
        Planned(kinds * context.recipe.seeds, context.epochs, 1),
        Planned(len(factors) * len(few), heart_length(context)[0], 1),
    ]


def by_heart(context: Context) -> tuple[tuple[float, ...], list[int]]:
    """The rates, as multiples of the configured one, and the numbers of examples to learn."""
    few = [size for size in FEW if size <= len(context.task.train.targets)]
    factors = FACTORS if context.setting("optim.learning_rate") is not None else (1.0,)
    return factors, few


def heart_length(context: Context) -> tuple[int, int]:
    """(epochs, evaluations) of at least HEART_STEPS steps, in rounds as long as those of the other
    trainings, so that one program serves both."""
    train = context.config["train"]
    usual = settings.length(
        epochs=context.epochs,
        batch_size=train["batch_size"],
        evaluations=train["evaluations"],
        num_examples=len(context.task.train.targets),
    )
    common = math.gcd(context.epochs, usual.rounds)
    epochs, rounds = context.epochs // common, usual.rounds // common
    times = -(-HEART_STEPS * train["batch_size"] // (epochs * len(context.task.train.targets)))
    return times * epochs, times * rounds


def _curves(results: Sequence[Result], name: str) -> np.ndarray:
    return np.stack([result.history[name] for result in results])


def _rate(context: Context, factor: float) -> dict[str, float]:
    rate = context.setting("optim.learning_rate")
    return {} if rate is None else {"optim.learning_rate": float(f"{rate * factor:.6g}")}


def _one_batch(
    context: Context, memorised: Sequence[Result], outputs: np.ndarray, split: Split
) -> Finding:
    """Labels beside predictions on the larger of the memorised batches, at the configured rate."""
    task, objective = context.task, context.objective
    factors, few = by_heart(context)
    shape = (len(factors), len(few))
    losses = np.stack([result.losses for result in memorised]).reshape(*shape, -1)
    predicted = outputs[factors.index(1.0) * len(few) + len(few) - 1][: few[-1]]
    perfect, numbers = None, task.spec.num_outputs
    if text.is_text(task):
        shown = text.learnt(task, predicted, split.first(few[-1]))
        numbers = task.spec.input_shape[0]
        heads = [split.first(few[i % len(few)]) for i in range(len(outputs))]
        shares = [text.right(each[: len(head.ids)], head) for each, head in zip(outputs, heads)]
        perfect = np.array(shares).reshape(shape)
    else:
        shown = {
            "labels": [label_text(task, each) for each in split.targets[: few[-1]]],
            "predictions": np.asarray(objective.predict(predicted)),
            "classes": list(task.class_names),
        }
    if task.spec.kind == "classification":
        right = outputs.argmax(-1) == split.targets
        perfect = np.stack([each[: few[i % len(few)]].mean() for i, each in enumerate(right)])
        perfect = perfect.reshape(shape)
    elif task.spec.kind == "regression":
        scale, mean = task.spec.target_scale[0], task.spec.target_mean[0]
        shown["labels"] = split.targets[: few[-1], 0] * scale + mean
        shown["predictions"] = shown["predictions"][:, 0]
    return overfit_one_batch.examine(
        losses,
        factors=factors,
        sizes=few,
        perfect=perfect,
        expected=float(objective.loss_at_init),
        capable=[memorised[0].num_params >= size * numbers for size in few],
        shown=shown,
        least_right=LEAST_RIGHT if text.is_text(task) else 1.0,
    )
