"""One change at a time: named changes, each alone beside what stands, then one upon another."""

import ast
import re
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import jax

from recipe_jax import assembly
from recipe_jax.recipe import deciding
from recipe_jax.recipe.base import Context, Planned
from recipe_jax.recipe.deciding import Change
from recipe_jax.types import Finding, Status, UserError

EXAMPLE = "write 'model.depth=3', or 'optim.name=lion optim.learning_rate=1e-4'"
WORD = re.compile(r"(\w+\.\w+)=(.+)", re.DOTALL)
BETWEEN = re.compile(r"\s+(?=\w+\.\w+=)")
DEEPER = {"model.depth", "model.channels", "model.blocks"}
"""How the models that have layers to add say how many there are."""
LEAST_SIDE = 16
"""Pixels of an image that may be halved: digits of 8 are small pictures already."""


def read(texts: Sequence[str]) -> list[Change]:
    """The changes of `recipe.changes`, named by their own text; UserError where one cannot be read.

    A value is a Python literal (3, 1e-4, (16, 32), True), and a word where it is none.
    """
    changes: list[Change] = []
    for text in texts:
        settings: dict[str, Any] = {}
        for word in BETWEEN.split(text.strip()):
            match = WORD.fullmatch(word)
            if match is None:
                raise UserError(f"recipe.changes: {text!r} is no change; {EXAMPLE}.")
            if match[1] in settings:
                raise UserError(f"recipe.changes: {text!r} sets {match[1]} twice; keep one.")
            settings[match[1]] = _value(match[2])
        if any(each.settings == settings for each in changes):
            raise UserError(f"recipe.changes: {text!r} is there twice; keep one.")
        changes.append(Change(" ".join(text.split()), settings))
    return changes


def changes_of(context: Context) -> list[Change]:
    """What the config names; else what there is to offer: a layer less (REG5), a layer more, and of
    pictures smaller ones. What stands already is no change."""
    named = read(context.recipe.changes) or [*_depths(context), *_smaller(context)]
    return [
        each
        for each in named
        if any(context.setting(path) != value for path, value in each.settings.items())
    ]


def planned(context: Context) -> list[Planned]:
    """Every change alone, and what they are beside; what helped together is not known before."""
    count = len(changes_of(context))
    return [deciding.planned(context, count, programs=1 + count)] if count else []


def carried_out(context: Context) -> Generator[Any, Any, dict[str, Any]]:
    """FIT4, REG5: yields findings and what they need; returns the settings that are kept.

    Each change is tried alone beside what stands, regularisers off. Of those that are kept the best
    goes on; the others are then tried one by one, the next best first, beside what is kept so far,
    unless they set what one of these has set.
    """
    changes, stands = changes_of(context), Change("what stands", context.quiet)
    if not changes:
        yield Finding(
            check="changes",
            row="FIT4 REG5",
            status=Status.SKIP,
            summary=f"The model {context.setting('model.name')!r} has no layers to add or to take "
            "away; name changes with --config.recipe.changes=\"('train.batch_size=16',)\".",
        )
        return {}
    alone = yield from deciding.decide(context, changes, base=stands, label="changes")
    yield deciding.finding(context, alone, check="changes", row="FIT4 REG5 ENV5", base=stands)
    if not alone.kept:
        return {}
    first, *others = (verdict.change for verdict in alone.kept)
    kept = dict(first.settings)
    for change in others:
        if kept.keys() & change.settings.keys():
            continue
        base = Change("what is kept so far", {**stands.settings, **kept})
        decided = yield from deciding.decide(
            context, [change], base=base, label=f"{change.name}, upon others"
        )
        yield deciding.finding(
            context, decided, check="changes_together", row="FIT4 ENV5", base=base
        )
        if decided.kept:
            kept |= change.settings
    return kept


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return {"true": True, "false": False}.get(text, text)


def _depths(context: Context) -> list[Change]:
    """A layer, or a stage of channels, less and more, where the model can be built so."""
    found = []
    for path in sorted(DEEPER):
        value = context.setting(path)
        # A width that heads or stages share stays as it is; lists of words are no layers.
        if isinstance(value, int):
            found += [Change(f"depth {n}", {path: n}) for n in (value - 1, value + 1)]
        elif isinstance(value, tuple) and value:
            last = 1 if path == "model.blocks" else 2 * value[-1]
            found += [
                Change(f"{path.partition('.')[2]} {each}", {path: each})
                for each in (value[:-1], (*value, last))
            ]
    return [each for each in found if _builds(context, each.settings)]


def _smaller(context: Context) -> list[Change]:
    """Pictures of half the height and width, where they are not small already."""
    sides = context.task.spec.input_shape[:2]
    if context.task.modality != "image" or min(sides) < LEAST_SIDE:
        return []
    settings = {"train.resolution": context.setting("train.resolution") / 2}
    return [Change("half the resolution", settings)] if _builds(context, settings) else []


def _builds(context: Context, settings: Mapping[str, Any]) -> bool:
    """Whether there is such a model for these examples. One without hidden layers is linear, and
    stands among the baselines."""
    if not all(settings.values()):
        return False
    try:
        built = assembly.of_config(
            context.config, context.task.spec, {**context.carried, **settings}
        )
    except UserError:
        return False
    jax.eval_shape(built.model.init, jax.random.key(0))
    return True
