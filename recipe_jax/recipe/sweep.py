"""Stage sweep: many settings on many seeds, and which is best."""

from recipe_jax.recipe import searching
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.recipe.tune import ready_made
from recipe_jax.types import Decision, Finding, Status, UserError

EXPECTS = "Some setting is better than the config's own; the rate matters most."


def run(context: Context) -> Stage:
    """TUNE1 to TUNE4: all that the search asks for, each on `sweep.seeds` seeds; the best few again
    on new seeds. The test split stays sealed."""
    axes = _axes(context)
    searched = yield from searching.search(context, axes, seeds=_seeds(context))
    winner = yield from searching.finals(context, searched)
    yield searching.finding(context, searched, winner)
    if len(searched.results[0]) > 1:
        yield _spread(context, searched)
    # Four digits are as much as a search can tell.
    overrides = " ".join(
        f"--config.{path}={value:.4g}" if isinstance(value, float) else f"--config.{path}={value}"
        for path, value in winner.settings.items()
    )
    same = winner.settings == searched.settings[0]
    return Decision(
        summary="The config's own setting is the best."
        if same
        else f"The best setting: {searching.words(winner.settings)}. Train it with {overrides}",
        settings=winner.settings,
    )


def planned(context: Context) -> list[Planned]:
    """Every setting on every seed, and the finalists."""
    return searching.planned(context, _axes(context), seeds=len(_seeds(context)))


def _axes(context: Context) -> tuple:
    axes = context.search.axes or ready_made(context)
    if not axes and not context.search.complete:
        raise UserError(
            "There is nothing to search over: these plug-ins have no number with a ready-made "
            "range. Set search.space."
        )
    return axes


def _seeds(context: Context) -> tuple[int, ...]:
    return tuple(searching.SEED + i for i in range(context.config["sweep"]["seeds"]))


def _spread(context: Context, searched: searching.Searched) -> Finding:
    """TUNE8: how much of the difference between settings is the seed's."""
    several = [searching.score(context, [each]) for each in searched.results[searched.order[0]]]
    low, high = (context.objective.score.sign() * end for end in (min(several), max(several)))
    return Finding(
        check="seed_spread",
        row="TUNE8",
        status=Status.PASS,
        summary=f"Over {len(several)} seeds the best setting's validation "
        f"{context.objective.score.metric} runs from {low:.4g} to {high:.4g}: smaller differences "
        "between settings may be chance.",
        evidence={"scores": several},
    )
