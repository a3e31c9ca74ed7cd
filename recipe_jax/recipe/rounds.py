"""From coarse to fine, told: what each round of a search ran on, how the ranges narrowed, and
whether the coarse ranking held."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from recipe_jax.recipe import measuring
from recipe_jax.recipe.base import Context, standard_error
from recipe_jax.recipe.searching import Searched, Winner
from recipe_jax.search.base import Settings
from recipe_jax.types import Finding, Status

FEWEST = 4
"""Settings that ran in both: of fewer no rank correlation is told."""
AGREES, PARTLY = 0.7, 0.3
"""Rank correlations from which a coarse look agrees with the fine one, wholly and in part."""
NOISE = 4
"""Standard errors of the validation score: settings that lie closer together in full have no ranks
that a coarse look could miss."""


def told(context: Context, searched: Searched, winner: Winner) -> Iterator[Finding]:
    """TUNE5, TUNE7: the rounds of a search, of which the first ran on a part of the data.

    The correlation is Spearman's, over settings from the best to the worst of the coarse round: it
    says whether the coarse look tells good from bad, not whether it finds the very best.
    """
    if len(searched.rounds) < 2:
        return
    looks = [measuring.look(context, each.share) for each in searched.rounds]
    whole, found = measuring.look(context, 1.0), agreement(context, searched)
    words = [
        f"round {i} measured {_varied(each.settings)} in {len(each.settings)} settings on "
        + (
            "all examples and epochs"
            if each.share >= 1.0
            else f"{look.examples} of {whole.examples} examples for {look.epochs} of "
            f"{whole.epochs} epochs"
        )
        for i, (each, look) in enumerate(zip(searched.rounds, looks), 1)
    ]
    axes = {
        axis.path: {
            "log": axis.log,
            "rounds": [
                [each[axis.path] for each in one.settings if axis.path in each]
                for one in searched.rounds
            ],
            "chosen": winner.settings.get(axis.path, context.setting(axis.path)),
        }
        for axis in searched.axes
    }
    narrowed = [
        f"{path.partition('.')[2]} from {_span(ends[0])} to {_span(ends[-1])}"
        for path, axis in axes.items()
        if len(ends := _ends(axis["rounds"])) > 1
    ]
    text = "; ".join(words)
    misled = any(
        each["differ"] and each["correlation"] is not None and each["correlation"] < PARTLY
        for each in found
    )
    yield Finding(
        check="search_rounds",
        row="TUNE5 TUNE7",
        status=Status.WARN if misled else Status.PASS,
        summary=f"{text[0].upper()}{text[1:]}. "
        + (f"Narrowed: {', '.join(narrowed)}. " if narrowed else "")
        + " ".join(_words(each) for each in found),
        remedy=_remedy(context) if misled else "",
        certainty="heuristic" if misled else "",
        evidence={
            "rounds": [
                {"share": each.share, "settings": len(each.settings), **look._asdict()}
                for each, look in zip(searched.rounds, looks)
            ],
            "axes": axes,
            "agreement": found,
            "metric": context.objective.score.metric,
        },
    )


def agreement(context: Context, searched: Searched) -> list[dict[str, Any]]:
    """For every two rounds that share settings: the shares of the data, the scores in both,
    Spearman's rank correlation (None where settings are few or all score the same), and whether
    the finer scores differ by more than chance would make them."""
    metric, count = context.objective.score, len(context.task.validation.targets)
    found = []
    for shares in dict.fromkeys(each.shares for each in searched.both):
        scores = np.array([each.scores for each in searched.both if each.shares == shares])
        scores = scores[np.isfinite(scores).all(1)]
        told = len(scores) >= FEWEST and (np.ptp(scores, axis=0) > 0).all()
        spread = float(np.ptp(scores[:, 1])) if len(scores) else 0.0
        middle = metric.sign() * float(scores[:, 1].mean()) if len(scores) else 0.0
        found.append(
            {
                "shares": list(shares),
                "coarse": metric.sign() * scores[:, 0],
                "fine": metric.sign() * scores[:, 1],
                "correlation": float(np.asarray(stats.spearmanr(*scores.T))[0]) if told else None,
                "spread": spread,
                "differ": spread > NOISE * standard_error(middle, metric.metric, None, count),
            }
        )
    return found


def _words(agreed: Mapping[str, Any]) -> str:
    count, rank = len(agreed["coarse"]), agreed["correlation"]
    shares = " and ".join(f"{share:.0%}" for share in agreed["shares"])
    if rank is None:
        return f"Whether the ranks on {shares} of the data agree cannot be told from {count} runs."
    verdict = "agree" if rank >= AGREES else "agree in part" if rank >= PARTLY else "do not agree"
    little = "" if agreed["differ"] else ", hardly more than chance, so there is little to rank"
    return (
        f"Over {count} settings that ran on {shares} of the data the ranks {verdict} "
        f"({rank:.2f}); in the end they differ by {agreed['spread']:.2g}{little}."
    )


def _remedy(context: Context) -> str:
    if "coarse" not in context.config["search"]:
        return "Measure every setting on all of the data: --config.search.name=random."
    part = min(1.0, 2 * context.config["search"]["coarse"])
    return f"Take more of the data for the coarse round: --config.search.coarse={part:g}."


def _varied(settings: Sequence[Settings]) -> str:
    """The names of what a round varied."""
    paths = dict.fromkeys(path for each in settings for path in each)
    return ", ".join(path.partition(".")[2] for path in paths) or "nothing"


def _ends(rounds: Sequence[Sequence[Any]]) -> list[tuple[float, float]]:
    """The lowest and the highest number of every round that varied an axis."""
    return [
        (min(values), max(values))
        for values in rounds
        if values and all(type(each) in (int, float) for each in values)
    ]


def _span(ends: tuple[float, float]) -> str:
    low, high = (f"{end:.2g}" if isinstance(end, float) else str(end) for end in ends)
    return f"[{low}, {high}]"
