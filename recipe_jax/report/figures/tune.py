"""The search: all settings at once, each axis against the score, and what the best ones did."""

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from recipe_jax.report import numbers
from recipe_jax.report.figures import ODD_EVIDENCE, Drawing, _parallel, _style, _sweeps

MAX_DOTS = 2000


def search(evidence: Mapping[str, Any]) -> list[Drawing]:
    """From all settings to the best few; what the evidence does not hold is left out."""
    drawings: list[Drawing] = []
    for draw in (
        *(_parallel.parallel, _sweeps.importance, _sweeps.history, _slices),
        *(_sweeps.curves, _sweeps.spread, _sweeps.rounds),
    ):
        with contextlib.suppress(*ODD_EVIDENCE):
            drawings += draw(evidence)
    return drawings


def _slices(evidence: Mapping[str, Any]) -> list[Drawing]:
    """One small figure an axis; every setting a dot, the best one ringed."""
    scores = _style.array(evidence["scores"])
    best, winner = evidence.get("best"), evidence.get("winner")
    rings = {"best": best} if winner in (None, best) else {"best": best, "chosen": winner}
    kept, metric = _style.sample(len(scores), MAX_DOTS), evidence.get("metric", "score")
    which = ""
    if len(kept) < len(scores):
        which = f", {numbers.sensible(len(kept))} of {numbers.sensible(len(scores))} settings"
    return [
        _slice(
            axis,
            scores,
            kept=kept,
            status=evidence.get("status") or ["done"] * len(scores),
            maximise=evidence.get("maximise", True),
            rings=rings,
            caption=f"{_style.cut(metric)} by {_style.cut(name, 80)}{which}",
        )
        for name, axis in evidence["axes"].items()
    ]


def _on_log(values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Places on a logarithmic axis, and the axis: 0 stands left of all others, under its name."""
    there = [value for value in values if value is not None]
    positive = [value for value in there if value > 0]
    if not positive:
        return values, {}
    low, high = min(positive), max(positive)
    axis = {**_style.LOG, "dtick": "D2" if high < 30 * low else 1}
    if len(positive) == len(there):
        return values, axis
    zero, decades = low / 4, range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    ticks = [zero, *(10.0**n for n in decades)]
    axis = {"type": "log", "tickvals": ticks, "ticktext": ["0", *(f"1e{n}" for n in decades)]}
    return [zero if value == 0 else value for value in values], axis


def _slice(
    axis: Mapping[str, Any],
    scores: np.ndarray,
    *,
    kept: list[int],
    status: list[str],
    maximise: bool,
    rings: Mapping[str, int | None],
    caption: str,
) -> Drawing:
    """The settings seen from one axis."""
    values = list(axis["values"])
    places, layout = values, {}
    if not _style.are_numbers(values):
        choices = _style.choices(values)
        spots = {str(choice): spot for spot, choice in enumerate(choices)}
        places = [spots.get(str(value)) if value is not None else None for value in values]
        layout = _style.named_axis(choices, limit=14)
    elif axis.get("log"):
        places, layout = _on_log(values)
    finite = np.isfinite(scores)
    worst, best = _style.score_range(scores, maximise=maximise)
    traces = []
    for kind, colour, symbol in (
        ("done", _style.BLUE, "circle"),
        ("stopped", _style.GREY, "circle"),
        ("coarse", _style.GREY, "circle-open"),
        ("diverged", _style.RED, "x"),
    ):
        members = [
            i
            for i in kept
            if status[i] == kind and places[i] is not None and (finite[i] or kind == "diverged")
        ]
        if members:
            traces.append(
                _style.dots(
                    [places[i] for i in members],
                    _style.listed(np.where(finite, scores, worst)[members]),
                    name=kind,
                    colour=colour,
                    marker={"symbol": symbol, "size": 7, "opacity": 0.65},
                    customdata=[[_style.text(values[i])] for i in members],
                    hovertemplate="%{customdata[0]}: %{y:.4g}<extra></extra>",
                )
            )
    for (name, place), colour in zip(rings.items(), (_style.ORANGE, _style.PURPLE)):
        if isinstance(place, int) and finite[place] and places[place] is not None:
            ring = {"symbol": "circle-open", "size": 14, "line": {"width": 2.5}}
            spot = [places[place]], [float(scores[place])]
            traces.append(_style.dots(*spot, name=name, colour=colour, marker=ring))
    return _style.frame(
        *traces,
        caption=caption,
        height=250,
        xaxis=layout,
        yaxis=_sweeps.shown_scores(scores, worst, best),
        showlegend=len(traces) > 1,
    )
