"""The budget of a run: named by the config, or found by timing this machine, once a workdir."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recipe_jax import resolve
from recipe_jax.app import plan, timing
from recipe_jax.app.workdir import read_json
from recipe_jax.recipe import budget as budgets
from recipe_jax.recipe import spaces
from recipe_jax.recipe.base import Context
from recipe_jax.recipe.budget import Budget
from recipe_jax.recipe.settings import Recipe
from recipe_jax.report.numbers import duration
from recipe_jax.search.base import Search
from recipe_jax.types import Task


class Spent(NamedTuple):
    """A budget, and what one in seconds was found from: the seconds asked for, what was timed, and
    what the run should take by it; none for a name."""

    budget: Budget
    timed: Mapping[str, float] = {}

    def as_data(self) -> dict[str, Any]:
        """For run.json, which alone holds what a clock said."""
        return {**self.budget._asdict(), **self.timed}


def spent(
    context: Context, stages: Sequence[Any], workdir: pathlib.Path, *, overwrite: bool = False
) -> Spent:
    """The budget of this run. One in seconds is timed where the workdir holds no run that did: what
    an earlier start found holds to the end. UserError where it is too short."""
    asked = context.config["recipe"]["budget_seconds"]
    if asked is None:
        return Spent(budgets.named(context.config))
    known = None if overwrite else _recorded(workdir, asked)
    if known is not None:
        return known
    speed = timing.measured(context)

    def seconds(decided: Mapping[str, int]) -> float:
        planned = plan.of_stages(stages, with_budget(context, Budget("", decided)))
        return plan.predicted(planned, speed)

    found = budgets.timed(context.config, seconds)
    timed = {"budget_seconds": asked, **speed._asdict()}
    return Spent(found, {**timed, "predicted_seconds": seconds(found.decided)})


def told(spent: Spent, config: Mapping[str, Any], stages: Sequence[Any]) -> list[str]:
    """The numbers that hold, for the console: of one search alone its trials, of one run none."""
    searches = any(getattr(stage, "SEARCHES", False) for stage in stages)
    paths = [*budgets.LADDERS] if any(hasattr(s, "ALWAYS") for s in stages) else ["search.trials"]
    parts = [budgets.words(config, spent.budget, paths if searches else ())]
    if spent.timed:
        parts.append(f"{duration(spent.timed['predicted_seconds'])} by what was timed here")
    words = "; ".join(filter(None, parts))
    return [f"budget    {spent.budget.name}: {words}"] if words else []


def with_budget(context: Context, budget: Budget) -> Context:
    """The same by another budget."""
    whole = budgets.filled(context.config, budget)
    recipe = Recipe(**whole["recipe"])
    return context._replace(recipe=recipe, search=search_of(whole, context.task), budget=budget)


def search_of(config: Mapping[str, Any], task: Task) -> Search:
    """The search of a config that leaves nothing out, with the axes of every group it names."""
    section = dict(config["search"])
    if "space" in section:
        section["space"] = spaces.expanded(section["space"], config, task)
    return resolve.resolve("search", section.pop("name"))(**section)


def _recorded(workdir: pathlib.Path, asked: float) -> Spent | None:
    """What run.json holds of such a budget."""
    if not (workdir / "run.json").is_file():
        return None
    record = read_json(workdir / "run.json")
    found = record.get("plan", {}).get("budget", {}) if isinstance(record, dict) else {}
    if found.get("budget_seconds") != asked:
        return None
    fields = {name: found[name] for name in Budget._fields}
    return Spent(Budget(**fields), {k: v for k, v in found.items() if k not in fields})
