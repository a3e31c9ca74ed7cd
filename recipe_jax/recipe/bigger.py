"""What a bigger budget would have bought, from what this one measured."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recipe_jax.recipe import budget as budgets
from recipe_jax.recipe import deciding
from recipe_jax.recipe.base import Context
from recipe_jax.recipe.budget import Budget
from recipe_jax.types import Finding, Status


class Compared(NamedTuple):
    """A change that was compared: over so many seeds, which it needs to be decided (None: no number
    of them would do)."""

    name: str
    seeds: int
    needs: int | None

    @property
    def open(self) -> bool:
        """Whether it is undecided."""
        return self.needs != self.seeds


def examine(context: Context, found: Mapping[str, Any]) -> Finding | None:
    """found: check -> evidence. None where nothing was compared and no budget in seconds given."""
    compared = [
        Compared(*each)
        for evidence in found.values()
        if "needs" in evidence
        for each in zip(evidence["names"], evidence["seeds"], evidence["needs"])
    ]
    if not compared and context.recipe.budget_seconds is None:
        return None
    undecided = [each for each in compared if each.open]
    more = bought(context)
    reach = _reach(context)
    within = sum(each.needs is not None and each.needs <= reach for each in undecided)
    said = [f"--config.{path}={number}" for path, number in context.budget.decided.items()]
    timed = context.recipe.budget_seconds is not None
    told, gains = [_of_changes(compared)], _late_gains(context, found)
    if more:
        words = ", ".join(f"{key} {new} in place of {old}" for key, old, new in more)
        told.append(f"The next budget, {context.budget.bigger}, is {words}")
        if undecided:
            told.append(f"Its up to {reach} seeds would decide about {within or 'none'} of these")
    told += [
        f"The last half of the {what} gained {f'{gain:+.2g}' if gain else 'nothing'}"
        for what, gain in gains.items()
    ]
    return Finding(
        check="budget",
        row="ENV5",
        status=Status.PASS,
        summary=". ".join(told) + ".",
        remedy=f"The same numbers, untimed and on any machine: {' '.join(said)}" if timed else "",
        evidence={
            "numbers": [each[0] for each in more],
            "now": [each[1] for each in more],
            "bigger": [each[2] for each in more],
            "bigger_name": context.budget.bigger,
            "open": [each.name for each in undecided],
            "seeds": [each.seeds for each in undecided],
            "needs": [each.needs for each in undecided],
            "decided": len(compared) - len(undecided),
            "reach": reach,
            "gains": gains,
        },
    )


def bought(context: Context) -> list[tuple[str, int, int]]:
    """(what, its number now, its number by the next budget) of all that would grow."""
    now = budgets.filled(context.config, context.budget)
    return [
        (key, now[section][key], number)
        for path, number in context.budget.would.items()
        for section, _, key in [path.partition(".")]
        if number > now[section][key]
    ]


def last_half(scores: Sequence[float], *, sign: float) -> float:
    """What the second half of a growing ensemble gained; more is better."""
    values = sign * np.asarray(scores, float)
    return float(values[-1] - values[len(values) // 2])


def last_half_of_search(search: Mapping[str, Any], *, sign: float) -> float:
    """What the best of all settings gains over the best of the first half. What ran on part of the
    data tells nothing of what more settings would bring."""
    values = sign * np.asarray([np.nan if s is None else s for s in search["scores"]], float)
    values = values[[told != "coarse" for told in search["status"]]]
    return float(np.nanmax(values) - np.nanmax(values[: max(1, len(values) // 2)]))


def _late_gains(context: Context, found: Mapping[str, Any]) -> dict[str, float]:
    sign, gains = context.objective.score.sign(), {}
    search, several = found.get("search"), found.get("seed_ensemble")
    if search and not context.search.complete:
        gains["trials"] = last_half_of_search(search, sign=sign)
    if several and len(several["scores"]) > 2:
        gains["members"] = last_half(several["scores"], sign=sign)
    return gains


def _reach(context: Context) -> int:
    """The most seeds that a comparison gets by the next budget, or by this last one."""
    decided = context.budget.would or context.budget.decided
    recipe = budgets.filled(context.config, Budget("", decided))["recipe"]
    return recipe["seeds"] * 2 ** (recipe["looks"] - 1)


def _of_changes(compared: Sequence[Compared]) -> str:
    """How many are open, and how many seeds would decide about how many of them."""
    undecided = [each for each in compared if each.open]
    if not compared:
        return "Nothing was compared"
    if not undecided:
        count = len(compared)
        return "The one change is decided" if count == 1 else f"All {count} changes are decided"
    verb = "is" if len(undecided) == 1 else "are"
    told = [f"{len(undecided)} of {len(compared)} changes {verb} open"]
    needs = [each.needs for each in undecided if each.needs is not None]
    for seeds in sorted(set(needs)):
        count = sum(need <= seeds for need in needs)
        told.append(f"{seeds} seeds would decide about {count}")
    never = len(undecided) - len(needs)
    if never:
        told.append(
            f"for {never} not even {deciding.MOST_SEEDS} seeds would do: the gain is too near the "
            "smallest one worth having, or hangs on the validation examples"
        )
    return f"{told[0]}: {'; '.join(told[1:])}"
