"""A person beside the network, on the same examples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from recipe_jax.report import numbers
from recipe_jax.report.figures import Drawing, _pictures, _style

Evidence = Mapping[str, Any]


def human_baseline(evidence: Evidence) -> list[Drawing]:
    """Scores with their intervals, who was right where, and the examples on which they differ."""
    drawings: list[Drawing] = [_scores(evidence)]
    if evidence.get("targets"):
        drawings.append(_beside_the_truth(evidence))
    else:
        drawings.append(_agreement(evidence))
    differing = dict(evidence["differing"])
    if len(evidence["people"]) == 1:
        differing.pop("person")
    rows = list(zip(*differing.values()))
    if rows:
        drawings.append(
            _pictures.table(
                list(differing),
                rows,
                caption="Where the person left a note, and where they differ most",
                sortable=True,
            )
        )
    return drawings


def _scores(evidence: Evidence) -> go.Figure:
    rows, colours, scores = [], [], []
    several = len(evidence["people"]) > 1
    # The first row is the lowest.
    for each in reversed(evidence["people"]):
        same = f"network ({each['name']})" if several else "network, same examples"
        for name, score, colour in (
            (same, each["network"], _style.BLUE),
            (each["name"], each["score"], _style.PURPLE),
        ):
            if score["value"] is not None:
                rows.append(name)
                scores.append(score)
                colours.append(colour)
    places = list(range(len(rows)))
    values = [score["value"] for score in scores]
    traces = [
        go.Scatter(
            x=[score["low"], score["high"]],
            y=[place, place],
            mode="lines",
            line={"color": colour, "width": 4},
            opacity=0.45,
            hoverinfo="skip",
        )
        for place, score, colour in zip(places, scores, colours)
        if score["low"] is not None
    ]
    ends = [v for s in scores for v in s.values() if v is not None]
    low, high = min(ends), max(ends)
    margin = 0.08 * (high - low) or 0.1
    points = _style.dots(
        values,
        places,
        name="score",
        colour=_style.BLUE,
        marker={"color": colours, "size": 10},
        hovertemplate="%{x:.4g}<extra></extra>",
    )
    points.update(mode="markers+text", textposition="top center", cliponaxis=False)
    points.text = [numbers.sensible(float(value)) for value in values]
    return _style.frame(
        *traces,
        points,
        caption=f"{evidence.get('metric', 'Score')} on the examples that were answered, with 95 % "
        "intervals",
        height=_style.rows_height(len(rows), minimum=170, each=40),
        yaxis={**_style.named_rows(rows), "range": [-0.6, len(rows) - 0.3]},
        xaxis={"showgrid": True, "range": [low - margin, high + margin]},
        showlegend=False,
    )


def _agreement(evidence: Evidence) -> Drawing:
    """How many examples each got right, alone or both."""
    columns = {
        "": "name",
        "both": "both_right",
        "person": "ahead",
        "network": "behind",
        "neither": "both_wrong",
    }
    rows = [[each[key] for key in columns.values()] for each in evidence["people"]]
    return _pictures.table(
        list(columns), rows, caption="Examples right for both, for one alone, for neither"
    )


def _beside_the_truth(evidence: Evidence) -> go.Figure:
    truth = _style.array(evidence["targets"])
    known = truth[np.isfinite(truth)]
    ends = [float(known.min()), float(known.max())]
    traces = [
        _style.dots(
            _style.listed(truth),
            _style.listed(_style.array(evidence[key])),
            name=name,
            colour=colour,
            marker={"size": 7, "opacity": 0.75},
        )
        for key, name, colour in (
            ("network_said", "network", _style.BLUE),
            ("person_said", "person", _style.PURPLE),
        )
    ]
    return _style.frame(
        _style.line(ends, ends, name="exact", colour=_style.INK, dash="dash"),
        *traces,
        caption="What was said by what is true",
        x_title=f"truth {_style.text(evidence.get('unit') or '')}",
    )
