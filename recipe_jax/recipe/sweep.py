"""Stage sweep: many settings on many seeds, and which is best."""

from typing import Any

from recipe_jax.recipe import broken, edges, measuring, rounds, searching
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.types import Decision, Finding, Status, UserError

EXPECTS = "Some setting is better than the config's own; the rate matters most."
SEARCHES = True
"""A number that it varies is traced in the whole run, also where it is off."""


def run(context: Context) -> Stage:
    """TUNE1 to TUNE7: all that the search asks for, each on `sweep.seeds` seeds; the best few again
    on new seeds. The test split stays sealed."""
    axes = _axes(context)
    searched = yield from searching.search(context, axes, repeats=_repeats(context))
    winner = yield from searching.finals(context, searched)
    yield searching.finding(context, searched, winner)
    yield from broken.told([result for each in searched.tried for result in each.results])
    yield from rounds.told(context, searched, winner)
    yield from edges.told(context, searched, winner)
    if len(searched.tried[0].results) > 1:
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
    return searching.planned(context, _axes(context), repeats=len(_repeats(context)))


def _axes(context: Context) -> tuple:
    axes = context.axes
    if not axes and not context.search.complete:
        raise UserError(
            "There is nothing to search over: these plug-ins have no number with a ready-made "
            "range. Set search.space."
        )
    return axes


def _repeats(context: Context) -> list[dict[str, Any]]:
    """How each setting is measured several times: on seeds, on folds, on bootstraps."""
    asked = context.config["sweep"]
    folds = asked["folds"]
    if context.task.spec.kind == "next_token" and (folds or asked["bootstrap"]):
        raise UserError(
            "The windows of one text overlap, so sweep.folds and sweep.bootstrap would show a "
            "model what it is judged on; leave both off for text."
        )
    if folds == 1 or folds > len(context.task.train.targets) // 2:
        raise UserError(
            f"sweep.folds={folds}: take 2 or more, and at most one for two of the "
            f"{len(context.task.train.targets)} training examples."
        )
    return [
        {"seed": searching.SEED + i}
        | ({"fold": (fold, folds)} if folds else {})
        | ({"resampled": True} if asked["bootstrap"] else {})
        for i in range(asked["seeds"])
        for fold in range(max(1, folds))
    ]


def _spread(context: Context, searched: searching.Searched) -> Finding:
    """TUNE8: how much of the difference between settings is the seed's, or the fold's."""
    results = searched.tried[searched.order[0]].results
    several = [measuring.score(context, [each]) for each in results]
    low, high = (context.objective.score.sign() * end for end in (min(several), max(several)))
    asked = context.config["sweep"]
    what = "seeds" if not asked["folds"] else "folds" if asked["seeds"] == 1 else "seeds and folds"
    return Finding(
        check="seed_spread",
        row="TUNE8",
        status=Status.PASS,
        summary=f"Over {len(several)} {what} the best setting's validation "
        f"{context.objective.score.metric} runs from {low:.4g} to {high:.4g}: smaller differences "
        "between settings may be chance.",
        evidence={"scores": several},
    )
