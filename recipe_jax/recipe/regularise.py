"""Stage regularise: give up some training loss for validation, only where it is seen to help."""

from collections.abc import Sequence
from typing import Any

from recipe_jax.recipe import deciding, learning_curve
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.recipe.deciding import Change, Decided
from recipe_jax.types import Decision, Finding, Status

EXPECTS = "Dropout or weight decay helps when the model over-fits; each is kept only if it does."
STRENGTHS = {
    "model.dropout": (0.1, 0.3, 0.5),
    "optim.weight_decay": (1e-3, 1e-2, 1e-1),
}


def run(context: Context) -> Stage:
    """REG1: what more data would bring. REG6, REG7, REG11: every strength against none, then what
    helped alone together."""
    yield (yield from learning_curve.measured(context))
    names = [path for path in STRENGTHS if context.setting(path) is not None]
    changes = [
        Change(f"{path} {strength:g}", {path: strength})
        for path in names
        for strength in STRENGTHS[path]
    ]
    if not changes:
        yield Finding(
            check="regularisers",
            row="REG11",
            status=Status.SKIP,
            summary="Neither the model nor the optimiser has a regulariser to try.",
        )
        return Decision(summary="Nothing to regularise with.")
    none = Change("none", context.quiet)
    alone = yield from deciding.decide(context, changes, base=none, label="regularisers")
    yield deciding.finding(
        context, alone, check="regularisers", row="REG6 REG7 REG11 ENV5", base=none
    )
    kept = _best_of_each(alone)
    if len(kept) > 1:
        best, *others = kept
        base = Change(best.name, {**none.settings, **best.settings})
        together = Change(
            " and ".join(each.name for each in kept),
            {path: value for each in others for path, value in each.settings.items()},
        )
        decided = yield from deciding.decide(
            context, [together], base=base, label="regularisers together"
        )
        yield deciding.finding(
            context, decided, check="regularisers_together", row="REG11 FIT4", base=base
        )
        if not decided.kept:
            kept = [best]
    settings = {path: value for each in kept for path, value in each.settings.items()}
    words = " and ".join(each.name for each in kept)
    return Decision(
        summary=f"Kept: {words}." if kept else "No regulariser is kept: no difference was found.",
        settings={path: 0.0 for path in names} | settings,
    )


def planned(context: Context) -> list[Planned]:
    """The learning curve; no change and every change, over the seeds."""
    changes = sum(len(STRENGTHS[p]) for p in STRENGTHS if context.setting(p) is not None)
    seeds = context.recipe.seeds
    curve = Planned(len(learning_curve.PARTS) * seeds, context.epochs, 0)
    return [curve, Planned((1 + changes) * seeds, context.epochs, 1)]


def _best_of_each(decided: Decided) -> Sequence[Change]:
    """For each knob that helps its best strength; the knob that helps most comes first."""
    found: dict[Any, Change] = {}
    for verdict in decided.kept:
        found.setdefault(tuple(verdict.change.settings), verdict.change)
    return list(found.values())
