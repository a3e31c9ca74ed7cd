"""Gains with their intervals, a row each, beside the smallest gain worth having."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from recipe_jax.report.figures import _style


class Group(NamedTuple):
    """Rows that are drawn alike: their places from below."""

    name: str
    colour: str
    places: Sequence[int]


def gains(
    evidence: Mapping[str, Any],
    names: Sequence[str],
    *,
    groups: Sequence[Group],
    smallest: str,
    caption: str,
    height: int,
    **xaxis: Any,
) -> go.Figure:
    """`difference`, `low` and `high` of the evidence; names and places count from below. smallest:
    what the mark at `smallest_gain` is called; xaxis: of plotly, beside the house's."""
    middle, low, high = (_style.array(evidence[key])[::-1] for key in ("difference", "low", "high"))
    ends = [-0.6, len(names) - 0.4]
    traces: list[Any] = [
        go.Scatter(
            x=[0, 0],
            y=ends,
            mode="lines",
            line={"color": _style.MUTED, "width": 1},
            showlegend=False,
            hoverinfo="skip",
        )
    ]
    if evidence.get("smallest_gain"):
        least = float(evidence["smallest_gain"])
        traces.append(
            _style.upright(least, ends, name=f"{smallest} {least:.3g}", colour=_style.GREY)
        )
    for name, colour, places in groups:
        traces.append(
            _style.dots(
                _style.listed(middle[places]),
                list(places),
                name=name,
                colour=colour,
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": _style.listed((high - middle)[places]),
                    "arrayminus": _style.listed((middle - low)[places]),
                    "color": colour,
                    "thickness": 2,
                    "width": 5,
                },
                hovertemplate="%{x:+.4g}<extra></extra>",
            )
        )
    return _style.frame(
        *traces,
        caption=caption,
        x_title="better →",
        height=height,
        yaxis={**_style.named_rows(names), "range": ends},
        xaxis={"showgrid": True, "tickformat": "+.3~g", **xaxis},
    )
