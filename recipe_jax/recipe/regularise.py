"""Stage regularise: give up some training loss for validation, only where it is seen to help."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from recipe_jax.assembly import FAMILIES
from recipe_jax.recipe import deciding, fewer_inputs, first_layer, learning_curve
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.recipe.deciding import Change, Decided
from recipe_jax.resolve import OneOf, keywords, resolve
from recipe_jax.types import Decision, Finding, Result, Status, Trials

EXPECTS = "Dropout or weight decay helps when the model over-fits; each is kept only if it does."
STRENGTHS = {
    "model.dropout": (0.1, 0.3, 0.5),
    "optim.weight_decay": (1e-3, 1e-2, 1e-1),
}
NOISES = (0.1, 0.3)
"""Deviations of the noise that is added to inputs, in those of the data."""
NOISY = {"none": "deviation", "noise": "deviation", "image": "noise_deviation"}
"""Augmentations beside which there may be noise, and what its deviation is called there."""


def run(context: Context) -> Stage:
    """REG1: what more data would bring. REG6, REG7, REG9, REG11: every strength against none, then
    what helped alone together. REG3: a pretrained start. REG4: training without the inputs that
    bring nothing. REG10: what the first layer has learnt."""
    yield (yield from learning_curve.measured(context))
    tried = changes(context)
    none = Change("none", context.quiet)
    kept: Sequence[Change] = ()
    if tried:
        rows = "REG6 REG7 REG9 REG11 ENV5" if _beside(context) else "REG6 REG7 REG11 ENV5"
        alone = yield from deciding.decide(context, tried, base=none, label="regularisers")
        yield deciding.finding(context, alone, check="regularisers", row=rows, base=none)
        kept = yield from _together(context, _best_of_each(alone), none)
        runs: Sequence[Result] = alone.runs
    else:
        yield Finding(
            check="regularisers",
            row="REG9 REG11",
            status=Status.SKIP,
            summary="Neither the model nor the optimiser has a regulariser to try.",
        )
        runs = yield _plain(context, none)
    settings = {path: value for each in kept for path, value in each.settings.items()}
    started = yield from _pretrained(context, {**none.settings, **settings})
    settings |= started
    found, fewer = yield from fewer_inputs.measured(context, runs, {**none.settings, **settings})
    yield from found
    yield (yield from first_layer.measured(context, runs))
    words = [each.name for each in kept] + ["fewer inputs"] * bool(fewer)
    if started.get("start.path"):
        words.append("the pretrained start")
    summary = "No regulariser is kept: no difference was found."
    if not tried:
        summary = "Nothing to regularise with."
    return Decision(
        summary=f"Kept: {' and '.join(words)}." if words else summary,
        settings=dict.fromkeys(_strengths(context), 0.0) | settings | fewer,
    )


def changes(context: Context) -> list[Change]:
    """What is tried alone: every strength, and what stands beside these."""
    return [
        Change(f"{path} {strength:g}", {path: strength})
        for path in _strengths(context)
        for strength in STRENGTHS[path]
    ] + _beside(context)


def planned(context: Context) -> list[Planned]:
    """The learning curve; no change and every change, over the seeds; all inputs and fewer."""
    seeds, beside = context.recipe.seeds, _beside(context)
    programs = 1 + len({tuple(each.settings) for each in beside if _is_static(each)})
    curve = Planned(len(learning_curve.PARTS) * seeds, context.epochs, 0)
    wanted = [curve, deciding.planned(context, len(changes(context)), programs=programs)]
    if context.config["start"]["path"]:
        wanted.append(deciding.planned(context, 1, programs=2))
    if fewer_inputs.retrains(context.task):
        wanted.append(deciding.planned(context, 1, programs=2))
    return wanted


def _strengths(context: Context) -> list[str]:
    return [path for path in STRENGTHS if context.setting(path) is not None]


def _beside(context: Context) -> list[Change]:
    """REG9: noise on inputs that are quantities, and batch normalisation, where there is none."""
    found = []
    augment = context.setting("augment.name")
    if context.task.spec.input_dtype == "float32" and augment in NOISY:
        named = {"augment.name": "noise"} if augment == "none" else {}
        found = [
            Change(f"input noise {noise:g}", {**named, f"augment.{NOISY[augment]}": noise})
            for noise in NOISES
        ]
    build = resolve(FAMILIES["model"], context.setting("model.name"))
    known = keywords(build).get("normalization")
    offered = known.range.values if known and isinstance(known.range, OneOf) else ()
    if "batch" in offered and context.setting("model.normalization") == "none":
        found.append(Change("batch normalisation", {"model.normalization": "batch"}))
    return found


def _is_static(change: Change) -> bool:
    """Whether it takes a program of its own."""
    return any(isinstance(value, str) for value in change.settings.values())


def _together(
    context: Context, kept: Sequence[Change], none: Change
) -> Generator[Any, Any, Sequence[Change]]:
    """REG11: what helped alone, together beside the best of it; what is kept of it."""
    if len(kept) < 2:
        return kept
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
    return kept if decided.kept else [best]


def _pretrained(
    context: Context, settings: Mapping[str, Any]
) -> Generator[Any, Any, dict[str, Any]]:
    """REG3: weights trained elsewhere beside drawn ones. They fit the model as configured, so what
    an earlier stage made of that is taken back for them."""
    path = context.config["start"]["path"]
    if not path:
        yield Finding(
            check="pretrained",
            row="REG3",
            status=Status.SKIP,
            summary="No pretrained weights are named; --config.start.path=WORKDIR, of a finished "
            "run on other data, is compared with a start from scratch.",
        )
        return {}
    shape = {
        key: context.config["model"][key.partition(".")[2]]
        for key in context.carried
        if key.startswith("model.")
    }
    own = {key: value for key, value in shape.items() if key not in settings}
    change = Change("a pretrained start", {**own, "start.path": path})
    base = Change("a start from scratch", settings)
    decided = yield from deciding.decide(context, [change], base=base, label="pretrained start")
    yield deciding.finding(context, decided, check="pretrained", row="REG3 ENV5", base=base)
    return dict(change.settings) if decided.kept else {"start.path": ""}


def _plain(context: Context, none: Change) -> Trials:
    """Runs to look at, where no comparison left any."""
    trials = [
        context.trial(deciding.FIRST_SEED + seed, none.settings)
        for seed in range(context.recipe.seeds)
    ]
    return Trials(label="plain runs", trials=tuple(trials), epochs=context.epochs, keep="best")


def _best_of_each(decided: Decided) -> Sequence[Change]:
    """For each knob that helps its best strength; the knob that helps most comes first."""
    found: dict[Any, Change] = {}
    for verdict in decided.kept:
        found.setdefault(tuple(verdict.change.settings), verdict.change)
    return list(found.values())
