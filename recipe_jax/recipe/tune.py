"""Stage tune: search the numbers around what was found, all settings in one compiled sweep."""

from recipe_jax.recipe import searching
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.types import Decision, Finding, Status

EXPECTS = "Some setting near the present one is better; the rate matters most."
SEARCHES = True
"""A number that it varies is traced in the whole run, also where it is off."""


def run(context: Context) -> Stage:
    """TUNE1, TUNE4: a search whose first trial is the present setting; the best few are measured
    again on new seeds."""
    axes = context.axes
    if not axes and not context.search.complete:
        yield Finding(
            check="search",
            row="TUNE1",
            status=Status.SKIP,
            summary="No number of these plug-ins has a ready-made range: set search.space.",
        )
        return Decision(summary="Going on with what is there.")
    searched = yield from searching.search(context, axes)
    winner = yield from searching.finals(context, searched)
    yield searching.finding(context, searched, winner)
    stays = "the present setting, " if winner.settings == searched.settings[0] else ""
    return Decision(
        summary=f"Going on with {stays}{searching.words(winner.settings)}.",
        settings=winner.settings,
        candidates=searching.candidates(context, searched, winner),
    )


def planned(context: Context) -> list[Planned]:
    """The search, and the finalists on new seeds."""
    axes = context.axes
    if not axes and not context.search.complete:
        return []
    return searching.planned(context, axes)
