"""The configured optimiser beside the one that is known to be safe: Adam at 3e-4, constant."""

import dataclasses
from collections.abc import Generator
from typing import Any

from recipe_jax.recipe import deciding
from recipe_jax.recipe.base import Context, Planned
from recipe_jax.recipe.deciding import Change
from recipe_jax.resolve import keywords, resolve
from recipe_jax.types import Finding, Status

SAME_STEP = ("adam", "adamw")
"""Without decay, which is off in this comparison, both take the same step."""


def planned(context: Context) -> list[Planned]:
    """What stands, and the default: another program, or another rate in the same one."""
    safe = _safe(context)
    if not safe:
        return []
    # In the same program it is the one of the ladder.
    programs = 0 if set(safe) <= {"optim.learning_rate"} else 2
    return [deciding.planned(context, 1, programs=programs)]


def measured(context: Context) -> Generator[Any, Any, Finding]:
    """FIT2: a WARN where the default is surely better. It is not adopted: what is configured may be
    meant so, and its regularisers are still to come."""
    safe = _safe(context)
    common: dict[str, Any] = {"check": "safe_default", "row": "FIT2"}
    if not safe:
        return Finding(
            status=Status.PASS,
            summary="What goes on is Adam at a constant 3e-4 itself, the safe default.",
            **common,
        )
    rate = context.setting("optim.learning_rate")
    stands = Change(
        context.setting("optim.name") + ("" if rate is None else f" at {rate:.2g}"), context.quiet
    )
    change = Change("Adam at a constant 3e-4", safe)
    decided = yield from deciding.decide(context, [change], base=stands, label="safe default")
    found = deciding.finding(context, decided, base=stands, **common)
    (verdict,) = decided.verdicts
    gain, metric = verdict.gain, context.objective.score.metric
    told = (
        f"{change.name}, beside {stands.name} with {metric} {decided.score:.4g}: "
        f"{deciding.signed(gain, decided.score)} over {len(verdict.by_seed)} seeds"
    )
    if not verdict.kept:
        told += (
            "; the safe default is worse."
            if gain.high < 0
            else "; it is not better by more than is worth a change."
        )
        return dataclasses.replace(found, summary=told)
    words = {"optim.name": "adam", "optim.learning_rate": "3e-4"}
    if "schedule.name" in safe:
        words["schedule.name"] = "constant"
    flags = " ".join(f"--config.{path}={value}" for path, value in words.items())
    return dataclasses.replace(
        found,
        status=Status.WARN,
        summary=f"{told}; the safe default is better.",
        remedy=f"Begin with {flags}, and come back to the other once that works.",
    )


def _safe(context: Context) -> dict[str, Any]:
    """The settings of the default that do not stand already."""
    wanted = {
        f"optim.{name}": keyword.default
        for name, keyword in keywords(resolve("optim", "adam")).items()
    }
    if context.setting("optim.name") not in SAME_STEP:
        wanted["optim.name"] = "adam"
    if context.setting("schedule.name") != "constant":
        wanted["schedule.name"] = "constant"
    quiet = context.quiet
    return {
        path: value
        for path, value in wanted.items()
        if quiet.get(path, context.setting(path)) != value
    }
