"""The curves of all that was trained in a stage, from metrics.jsonl."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from recipe_jax.report.figures import _style


def runs(curves: Sequence[Mapping[str, Any]], limit: int = 9) -> list[go.Figure]:
    """One small figure a request: the median loss over its trials, lowest to highest as a band."""
    # One evaluation alone, such as a look at the start, is no curve.
    curves = [
        curve
        for curve in curves
        if len(curve["steps"]) > 1 and curve["split"] in ("train", "validation")
    ]
    requests = list(dict.fromkeys(curve["request"] for curve in curves))[:limit]
    drawings = []
    for request in requests:
        members = [curve for curve in curves if curve["request"] == request]
        traces = [
            trace
            for split, colour in (("train", _style.BLUE), ("validation", _style.ORANGE))
            for curve in members
            if curve["split"] == split
            for trace in _style.band(
                curve["steps"],
                [curve["median"], curve["low"], curve["high"]],
                name=split,
                colour=colour,
            )
        ]
        count = max(curve["trials"] for curve in members)
        caption = f"{request}: loss of {count} runs" if count > 1 else f"{request}: loss"
        drawings.append(
            _style.frame(
                *traces,
                caption=caption,
                x_title="step",
                height=230,
                yaxis=_style.late_range(traces),
            )
        )
    return drawings
