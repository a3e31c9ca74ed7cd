"""The search: each axis against the score."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from recipe_jax.report.figures import Drawing, _style


def search(evidence: Mapping[str, Any]) -> list[Drawing]:
    """One small figure an axis; every trial a dot, the best one ringed."""
    scores, best = _style.array(evidence["scores"]), evidence.get("best")
    winner, metric = evidence.get("winner"), evidence.get("metric", "score")
    status = evidence.get("status") or ["done"] * len(scores)
    maximise = evidence.get("maximise", True)
    rings = {"best": best} if winner in (None, best) else {"best": best, "chosen": winner}
    return [
        _slice(
            axis,
            scores,
            status=status,
            maximise=maximise,
            rings=rings,
            caption=f"{metric} by {name}",
        )
        for name, axis in evidence["axes"].items()
    ]


def _on_log(values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Places on a logarithmic axis, and the axis: 0 stands left of all others, under its name."""
    positive = [value for value in values if value is not None and value > 0]
    if not positive:
        return values, {}
    low, high = min(positive), max(positive)
    axis = {**_style.LOG, "dtick": "D2" if high < 30 * low else 1}
    if len(positive) == len(values):
        return values, axis
    zero, decades = low / 4, range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    ticks = [zero, *(10.0**n for n in decades)]
    axis = {"type": "log", "tickvals": ticks, "ticktext": ["0", *(f"1e{n}" for n in decades)]}
    return [value or zero for value in values], axis


def _slice(
    axis: Mapping[str, Any],
    scores: np.ndarray,
    *,
    status: list[str],
    maximise: bool,
    rings: Mapping[str, int | None],
    caption: str,
) -> Drawing:
    """The trials seen from one axis."""
    values = list(axis["values"])
    words = not all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values if v is not None
    )
    choices = sorted({str(value) for value in values}) if words else []
    places = [choices.index(str(value)) for value in values] if words else values
    layout: dict[str, Any] = _style.named_axis(choices, limit=14) if words else {}
    if axis.get("log") and not words:
        places, layout = _on_log(values)
    finite = np.isfinite(scores)
    worst = scores[finite].min() if maximise else scores[finite].max()
    traces = []
    for kind, colour, symbol in (
        ("done", _style.BLUE, "circle"),
        ("stopped", _style.GREY, "circle"),
        ("diverged", _style.RED, "x"),
    ):
        members = [
            i for i, each in enumerate(status) if each == kind and (finite[i] or kind == "diverged")
        ]
        if members:
            traces.append(
                _style.dots(
                    [places[i] for i in members],
                    [float(scores[i]) if finite[i] else float(worst) for i in members],
                    name=kind,
                    colour=colour,
                    marker={"symbol": symbol, "size": 7, "opacity": 0.65},
                    customdata=[[_style.text(values[i])] for i in members],
                    hovertemplate="%{customdata[0]}: %{y:.4g}<extra></extra>",
                )
            )
    for (name, place), colour in zip(rings.items(), (_style.ORANGE, _style.PURPLE)):
        if isinstance(place, int):
            ring = {"symbol": "circle-open", "size": 14, "line": {"width": 2.5}}
            spot = [places[place]], [float(scores[place])]
            traces.append(_style.dots(*spot, name=name, colour=colour, marker=ring))
    return _style.frame(
        *traces, caption=caption, height=250, xaxis=layout, showlegend=len(traces) > 1
    )
