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
from recipe_jax.sweep.plan import Speed
from recipe_jax.types import Task


class Spent(NamedTuple):
    """A budget, and what one in seconds was found from: the seconds asked for, how fast the machine
    is, and what the run should take by that; None for a name."""

    budget: Budget
    asked: float | None = None
    speed: Speed | None = None
    predicted: float | None = None

    def as_data(self) -> dict[str, Any]:
        """For run.json, which alone holds what a clock said."""
        whole = self.budget._asdict()
        if self.speed is None:
            return whole
        timed = {"budget_seconds": self.asked, "predicted_seconds": self.predicted}
        return {**whole, **timed, **self.speed._asdict()}


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
    # The network as it is, and the largest that the run may go on with: until it is known which one
    # that is, the dearest is planned for, and what it does not take is left for the last stages.
    rising = [hasattr(stage, "ladder") for stage in stages]
    known_until = rising.index(True) if any(rising) else len(stages)
    largest = [stage.ladder(context)[-1] for stage in stages[known_until:][:1]]
    speed = timing.measured(context, [{}, *filter(None, largest)])
    parts = (
        (stages[:known_until], plan.cost(context).multiply_adds),
        (stages[known_until:], speed.multiply_adds[-1]),
    )

    def seconds(decided: Mapping[str, int]) -> float:
        tried = with_budget(context, Budget("", decided))
        return plan.before(speed) + sum(
            plan.predicted(plan.of_stages(part, tried, multiply_adds=size), speed)
            for part, size in parts
        )

    found = budgets.timed(context.config, seconds)
    return Spent(found, asked, speed, seconds(found.decided))


def settled(
    spent: Spent, stages: Sequence[Any], number: int, context: Context, work: Mapping[int, int]
) -> dict[str, int]:
    """What is decided again of a budget in seconds when stage `number` begins, "section.key" ->
    number: what no stage before it has spent. It follows from what was timed once and what was
    trained since, never from a clock, so it is the same after a kill.

    work: multiply-adds of a network's forward pass -> its lane-steps so far.
    """
    speed, asked = spent.speed, spent.asked
    now = plan.name_of(stages[number])
    if speed is None or asked is None or now not in budgets.LATE:
        return {}
    later = [*map(plan.name_of, stages[number:])]
    paths = {path for name in later for path in budgets.LATE.get(name, ())}
    paths &= {*context.budget.decided}
    size = plan.cost(context).multiply_adds
    done = plan.of_stages(stages[:number], context, multiply_adds=size)
    gone = plan.before(speed) + plan.beside(done, speed) + plan.taken(work, speed)

    def seconds(decided: Mapping[str, int]) -> float:
        tried = with_budget(context, Budget("", decided))
        planned = plan.of_stages(stages[number:], tried, multiply_adds=size)
        return plan.predicted(planned, speed)

    found = budgets.left(context.config, context.budget, paths, asked - gone, seconds)
    return {path: found[path] for path in sorted(paths)}


def told(spent: Spent, config: Mapping[str, Any], stages: Sequence[Any]) -> list[str]:
    """The numbers that hold, for the console: of one search alone its trials, of one run none."""
    searches = any(getattr(stage, "SEARCHES", False) for stage in stages)
    paths = [*budgets.LADDERS] if any(hasattr(s, "ALWAYS") for s in stages) else ["search.trials"]
    parts = [budgets.words(config, spent.budget, paths if searches else ())]
    if spent.predicted is not None:
        parts.append(f"{duration(spent.predicted)} by what was timed here")
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
    """What run.json holds of such a budget; None where another release wrote it in another way,
    which is then refused for its code."""
    if not (workdir / "run.json").is_file():
        return None
    record = read_json(workdir / "run.json")
    found = record.get("plan", {}).get("budget", {}) if isinstance(record, dict) else {}
    if found.get("budget_seconds") != asked:
        return None
    try:
        speed = Speed(
            multiply_adds=tuple(found["multiply_adds"]),
            step_seconds=tuple(found["step_seconds"]),
            program_seconds=found["program_seconds"],
            timing_seconds=found["timing_seconds"],
        )
        budget = Budget(**{name: found[name] for name in Budget._fields})
        return Spent(budget, asked, speed, found["predicted_seconds"])
    except (KeyError, TypeError):
        return None
