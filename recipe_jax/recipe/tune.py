"""Stage tune: search the numbers around what was found; then see whether the rate should fall."""

from recipe_jax.recipe import decay, edges, rounds, searching
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.types import Decision, Finding, Status

EXPECTS = (
    "Some setting near the present one is better, the rate matters most, and a rate that falls at "
    "the end may bring a little more."
)
SEARCHES = True
"""A number that it varies is traced in the whole run, also where it is off."""


def run(context: Context) -> Stage:
    """TUNE1 to TUNE7: a search whose first trial is the present setting; the best few are measured
    again on new seeds. TUNE9, FIT5: the winner with a constant rate beside ones that fall."""
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
    yield from rounds.told(context, searched, winner)
    yield from edges.told(context, searched, winner)
    schedule = yield from decay.decided(context, winner.settings)
    stays = "the present setting, " if winner.settings == searched.settings[0] else ""
    told = f", schedule {schedule['schedule.name']}" if schedule else ""
    return Decision(
        summary=f"Going on with {stays}{searching.words(winner.settings)}{told}.",
        settings={**winner.settings, **schedule},
        candidates=tuple(
            {**each, **schedule} for each in searching.candidates(context, searched, winner)
        ),
    )


def planned(context: Context) -> list[Planned]:
    """The search, the finalists on new seeds, and the schedules."""
    axes = context.axes
    if not axes and not context.search.complete:
        return []
    return [*searching.planned(context, axes), *decay.planned(context)]
