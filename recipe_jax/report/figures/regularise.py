"""What each change brought, with its interval; what more data would bring."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from recipe_jax.report.figures import _style
from recipe_jax.report.figures._gains import Group, gains


def learning_curve(evidence: Mapping[str, Any]) -> go.Figure:
    """The score over the number of training examples, and where the curve leads."""
    sizes, metric = list(evidence["sizes"]), evidence.get("metric", "score")
    scores = _style.array(evidence["scores"])
    traces = _style.band(sizes, scores.T, name="measured, median of seeds", colour=_style.BLUE)
    traces.append(
        _style.dots(
            np.repeat(sizes, scores.shape[1]).tolist(),
            _style.listed(scores.ravel()),
            name="each seed",
            colour=_style.BLUE,
            marker={"size": 5, "opacity": 0.5},
        )
    )
    if evidence.get("twice"):
        expected = evidence["expected"]
        traces.append(
            go.Scatter(
                x=[sizes[-1], evidence["twice"]],
                y=[float(np.nanmean(scores[-1])), expected],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [0, evidence["high"] - expected],
                    "arrayminus": [0, expected - evidence["low"]],
                    "color": _style.ORANGE,
                },
                mode="lines+markers",
                line={"color": _style.ORANGE, "width": 2, "dash": "dash"},
                name="expected of twice the data",
            )
        )
    places = [*sizes, *([evidence["twice"]] if evidence.get("twice") else [])]
    return _style.frame(
        *traces,
        caption=f"Validation {metric} over the number of training examples",
        x_title="training examples",
        xaxis={"type": "log", "tickvals": places, "ticktext": [f"{n:,}" for n in places]},
    )


def regularisers_together(evidence: Mapping[str, Any]) -> go.Figure:
    """What the kept ones bring together, beside the best of them alone."""
    return regularisers(evidence)


def highway(evidence: Mapping[str, Any]) -> go.Figure:
    """Highway layers beside plain ones."""
    return regularisers(evidence)


def regularisers(evidence: Mapping[str, Any]) -> go.Figure:
    """Gain of each over the same seeds without it: kept where the interval clears the mark."""
    names = list(evidence["names"])[::-1]
    kept = [bool(each) for each in evidence.get("kept") or [False] * len(names)][::-1]
    kinds = ((True, "kept", _style.GREEN), (False, "dropped", _style.GREY))
    groups = [
        Group(name, colour, [place for place, keep in enumerate(kept) if keep is verdict])
        for verdict, name, colour in kinds
        if verdict in kept
    ]
    told = f", over {_counts(evidence['seeds'])} seeds and all examples"
    seeds = told if evidence.get("seeds") else ""
    return gains(
        evidence,
        names,
        groups=groups,
        smallest="smallest gain worth keeping",
        caption=f"Change of {evidence.get('metric', 'the score')}{seeds}, with its interval",
        height=_style.rows_height(len(names)),
    )


def _counts(seeds: Any) -> str:
    """How many, "4 to 8" where some changes had more than others."""
    found = sorted(set(seeds)) if isinstance(seeds, list) else [seeds]
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
