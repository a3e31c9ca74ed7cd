"""The last of tuning: whether a rate that falls beats the constant one it was tuned with."""

import dataclasses
from collections.abc import Generator, Mapping
from typing import Any, NamedTuple

from recipe_jax.recipe import deciding
from recipe_jax.recipe.base import Context, Planned
from recipe_jax.recipe.deciding import Change
from recipe_jax.train import settings as train_settings
from recipe_jax.types import Finding, Status

CONSTANT = "constant"
FACTOR, STRETCH, STALL = 0.5, 0.2, 0.1
"""What a cut multiplies the rate by; shares of the run: a stretch of the step schedule, and looks
without a better score before the plateau cuts."""


class Compared(NamedTuple):
    """What is compared, with a schedule that the config has from the start or none."""

    base: Change
    changes: list[Change]


def compared(context: Context) -> Compared | None:
    """TUNE9, FIT5: halving on a stall, halving every few epochs and a cosine, each beside the
    constant rate; of a config with a schedule of its own the constant rate beside that one.

    None where there is nothing to compare: no rate, or a search that varied the schedule itself.
    """
    if context.setting("optim.learning_rate") is None:
        return None
    if any(path.startswith("schedule.") for path in context.varied):
        return None
    own = context.setting("schedule.name")
    if own != CONSTANT:
        return Compared(Change(own), [Change(CONSTANT, {"schedule.name": CONSTANT})])
    train, examples = context.config["train"], len(context.task.train.targets)
    looks = train_settings.of_config(train, examples).rounds
    plateau = {"schedule.factor": FACTOR, "schedule.patience": max(1, round(STALL * looks))}
    step = {"schedule.factor": FACTOR, "schedule.every": STRETCH}
    return Compared(
        Change(CONSTANT),
        [
            Change("plateau", {"schedule.name": "plateau", **plateau}),
            Change("step", {"schedule.name": "step", **step}),
            Change("cosine", {"schedule.name": "cosine"}),
        ],
    )


def decided(
    context: Context, settings: Mapping[str, Any]
) -> Generator[Any, Any, Mapping[str, Any]]:
    """The schedule's settings that go on with the winner's `settings`; none where what stands
    does. Finite runs of all seeds are paired, each at its best look (deciding.py)."""
    asked = compared(context)
    if asked is None:
        yield Finding(
            check="schedules",
            row="TUNE9 FIT5",
            status=Status.SKIP,
            summary="The search varied the schedule itself."
            if context.setting("optim.learning_rate") is not None
            else "The optimiser has no rate that could fall.",
        )
        return {}
    base, changes = asked
    found = yield from deciding.decide(
        context._replace(carried={**context.carried, **settings}),
        changes,
        base=base,
        label="schedules",
        epochs=context.config["train"]["epochs"],
    )
    finding = deciding.finding(context, found, check="schedules", row="TUNE9 FIT5 ENV5", base=base)
    kept = found.kept[0].change if found.kept else None
    evidence = {
        **finding.evidence,
        "settings": {each.name: each.settings for each in (base, *changes)},
    }
    yield dataclasses.replace(
        finding, summary=f"{finding.summary} {_told(base, kept)}", evidence=evidence
    )
    return {} if kept is None else kept.settings


def planned(context: Context) -> list[Planned]:
    """What stands and every change, over the seeds."""
    asked = compared(context)
    if asked is None:
        return []
    count, epochs = len(asked.changes), context.config["train"]["epochs"]
    return [deciding.planned(context, count, programs=count, epochs=epochs)]


def _told(base: Change, kept: Change | None) -> str:
    goes_on = f"The schedule {base.name} stays" if kept is None else f"{kept.name} goes on"
    if base.name == CONSTANT:
        return f"{goes_on[0].upper()}{goes_on[1:]}; the rate was tuned without any decay."
    return (
        f"{goes_on[0].upper()}{goes_on[1:]}. The config lets the rate fall from the start; the "
        "advice is a constant rate until the end of tuning: --config.schedule.name=constant."
    )
