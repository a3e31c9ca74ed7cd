"""Which published form the model is, and how it stands beside a plain linear one."""

import inspect
from typing import Any

from recipe_jax.recipe.base import Context
from recipe_jax.resolve import resolve
from recipe_jax.types import Finding, Status

PLAIN = {"image": "cnn", "sequence": "rnn", "text": "rnn", "table": "mlp"}
"""The plain published form for each kind of example."""


def examine(context: Context) -> Finding:
    """FIT1: nothing is trained; the scores are those of stage skeleton."""
    name, modality = context.setting("model.name"), context.task.modality
    common: dict[str, Any] = {"check": "architecture", "row": "FIT1"}
    beside = _beside_linear(context)
    if ":" in name:
        plain = PLAIN[modality]
        return Finding(
            status=Status.SKIP,
            summary=f"The model {name!r} is a module of your own; the plain published form to "
            f"compare it with is {plain!r}.{beside}",
            remedy=f"Run this config once with --config.model.name={plain}.",
            **common,
        )
    source = (inspect.getmodule(resolve("models", name)).__doc__ or "").strip().partition("\n")[0]
    return Finding(
        status=Status.PASS,
        summary=f"The model {name!r} is a known form: {source.rstrip('.')}.{beside}",
        **common,
    )


def _beside_linear(context: Context) -> str:
    """A sentence with both scores, where stage skeleton has measured them."""
    for each in context.findings:
        if each.check == "baselines" and "linear" in each.evidence.get("names", ()):
            scores = dict(zip(each.evidence["names"], each.evidence["scores"]))
            metric = context.objective.score.metric
            return (
                f" Validation {metric} {scores['network']:.4g}, of a plain linear model "
                f"{scores['linear']:.4g}."
            )
    return ""
