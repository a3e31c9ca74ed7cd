"""Predictions for fixed examples while a network trains."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from recipe_jax.report.figures import Drawing, _pictures, _style

Evidence = Mapping[str, Any]
NAMED, SHOWN = 4, 8
"""Examples that are told apart in the figure, and that are shown: those whose prediction moved
farthest."""
COLOURS = (_style.RED, _style.ORANGE, _style.PURPLE, _style.GREEN)


def prediction_dynamics(evidence: Evidence) -> list[Drawing]:
    """A line an example, at the configured rate and at a lower one; then the examples, the most
    restless first."""
    curves = [_style.array(each) for each in evidence["curves"]]
    labels = [str(label) for label in evidence["examples"]["labels"]]
    first = np.nan_to_num(curves[0])
    order = np.argsort(-np.abs(np.diff(first, axis=0)).sum(0), kind="stable").tolist()
    finite = np.concatenate([each[np.isfinite(each)] for each in curves])
    ends = [float(finite.min()), float(finite.max())]
    if evidence["what"].startswith("the probability"):
        ends = [0.0, 1.0]
    margin = 0.04 * (ends[1] - ends[0]) or 1.0
    rates = [f" at a rate of {rate:g}" for rate in evidence["rates"]] or [""]
    drawings: list[Drawing] = [
        _lines(
            evidence["epochs"],
            each,
            labels,
            order,
            caption=f"{evidence['what'].rstrip(',')}{rate}",
            span=[ends[0] - margin, ends[1] + margin],
        )
        for each, rate in zip(curves, rates)
    ]
    shown = evidence["examples"]
    order = order[:SHOWN]
    last = [_last(curves[0][:, place]) for place in order]
    captions = [f"{labels[place]}, ends at {value}" for place, value in zip(order, last)]
    if shown.get("kind") in _pictures.DRAWN:
        key, draw = _pictures.DRAWN[shown["kind"]]
        drawings.append(draw([shown[key][place] for place in order], captions))
    else:
        rows = [[labels[place], value] for place, value in zip(order, last)]
        drawings.append(_pictures.table(["label", "at the end"], rows))
    return drawings


def _lines(
    epochs: Any,
    curves: np.ndarray,
    labels: Sequence[str],
    order: Sequence[int],
    *,
    caption: str,
    span: Sequence[float],
) -> go.Figure:
    """curves: (looks, examples); those first in `order` are named, all others are one thin blue."""
    traces = []
    for rank, place in reversed(list(enumerate(order))):
        named = rank < NAMED
        trace = _style.line(
            epochs,
            curves[:, place],
            name=labels[place],
            colour=COLOURS[rank] if named else _style.BLUE,
            showlegend=named,
            hovertemplate="epoch %{x:.3g}: %{y:.3g}<extra>"
            + _style.text(labels[place])
            + "</extra>",
        )
        if not named:
            trace.update(line_width=1, opacity=0.55)
        traces.append(trace)
    figure = _style.frame(*traces, caption=caption, x_title="epoch", yaxis_range=list(span))
    return figure.update_layout(legend_traceorder="reversed")


def _last(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    return f"{finite[-1]:.2g}" if len(finite) else "none"
