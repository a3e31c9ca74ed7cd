"""What each change brought, with its interval; what more data would bring."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from recipe_jax.report.figures import Drawing, _style
from recipe_jax.report.figures._gains import Group, gains

MOST_INPUTS = 40


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


def pretrained(evidence: Mapping[str, Any]) -> go.Figure:
    """Weights trained elsewhere beside drawn ones."""
    return regularisers(evidence)


def fewer_inputs(evidence: Mapping[str, Any]) -> go.Figure:
    """Without the inputs that bring nothing, beside all of them."""
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


def input_importance(evidence: Mapping[str, Any]) -> list[Drawing]:
    """What each input brings, with its interval, the most on top; of images, where it lies."""
    metric = evidence.get("metric", "the score")
    caption = f"{metric} lost where the input is another example's"
    middle = _style.array(evidence["difference"])
    if evidence.get("patches"):
        return [_map(middle.reshape(evidence["patches"]), caption)]
    order = np.argsort(-middle, kind="stable")[:MOST_INPUTS]
    shown = {
        name: _style.array(evidence[name])[order].tolist() for name in ("difference", "low", "high")
    }
    useful = np.array(shown["low"])[::-1] > 0
    kinds = ((True, "seen to matter", _style.BLUE), (False, "not seen to", _style.GREY))
    left_out = len(middle) - len(order)
    return [
        gains(
            shown,
            [evidence["names"][place] for place in order[::-1]],
            groups=[
                Group(name, colour, np.flatnonzero(useful == verdict).tolist())
                for verdict, name, colour in kinds
                if verdict in useful
            ],
            smallest="",
            caption=caption + (f" ({left_out} more in report.json)" if left_out else ""),
            height=_style.rows_height(len(order), each=22),
        ).update_xaxes(title_text="matters more →")
    ]


def first_layer(evidence: Mapping[str, Any]) -> list[Drawing] | None:
    """The first layer at the start and after training: its units as pictures, as columns over
    features, or tokens in a plane."""
    if evidence.get("tokens"):
        return [_tokens(evidence)]
    if not evidence.get("after"):
        return None
    told = {"before": "at the start", "after": "after training"}
    if not evidence.get("features"):
        return [
            _weights(
                _mosaic(_style.array(evidence[name])), f"Units {words}, each on a scale of its own"
            )
            for name, words in told.items()
        ]
    names = list(evidence["features"])[::-1]
    most = max(float(np.abs(_style.array(evidence[name])).max()) for name in told)
    return [
        _weights(
            _style.array(evidence[name])[::-1],
            f"Weights {words}, a row an input and a column a unit",
            most=most,
            x_title="unit",
            height=_style.rows_height(len(names), each=18),
            yaxis=_style.named_rows(names),
        )
        for name, words in told.items()
    ]


def _weights(values: np.ndarray, caption: str, most: float = 1.0, **layout: Any) -> go.Figure:
    """Weights by sign and size; NaN is a gap."""
    drawn = go.Heatmap(
        z=[_style.listed(row) for row in values],
        zmin=-most,
        zmax=most,
        colorscale=[[0.0, _style.BLUE], [0.5, _style.PAPER], [1.0, _style.ORANGE]],
        showscale=bool(layout),
        colorbar={"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 10}},
        hoverinfo="z",
    )
    if layout:
        return _style.frame(drawn, caption=caption, **layout)
    return _bare(drawn, caption, height=360)


def _mosaic(pictures: np.ndarray) -> np.ndarray:
    """Pictures (units, height, width) in a square, a gap between them."""
    units, height, width = pictures.shape
    across = int(np.ceil(np.sqrt(units)))
    gap = max(1, min(height, width) // 8)
    laid = np.full((-(-units // across) * (height + gap), across * (width + gap)), np.nan)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, across)
        top, left = row * (height + gap), column * (width + gap)
        laid[top : top + height, left : left + width] = picture
    return laid[:-gap, :-gap]


def _map(values: np.ndarray, caption: str) -> go.Figure:
    """Where in the picture the score comes from."""
    drawn = go.Heatmap(
        z=[_style.listed(row) for row in values],
        colorscale=[[0.0, _style.LOW], [1.0, _style.HIGH]],
        zmin=0.0,
        texttemplate="%{z:.2~g}",
        hoverinfo="z",
        xgap=2,
        ygap=2,
        showscale=False,
    )
    return _bare(drawn, caption, height=300)


def _bare(drawn: go.Heatmap, caption: str, *, height: int) -> go.Figure:
    """A picture: square dots, the first row on top, no axes."""
    hidden: dict[str, Any] = {"visible": False}
    rows = {**hidden, "scaleanchor": "x", "autorange": "reversed"}
    return _style.frame(drawn, caption=caption, height=height, yaxis=rows, xaxis=hidden)


def _tokens(evidence: Mapping[str, Any]) -> go.Figure:
    """Tokens where their vectors lie."""
    plane = _style.array(evidence["plane"])
    drawn = go.Scatter(
        x=_style.listed(plane[:, 0]),
        y=_style.listed(plane[:, 1]),
        mode="text",
        text=[
            _style.text(repr(str(token))[1:-1].strip() or "␣", 12) for token in evidence["tokens"]
        ],
        textfont={"color": _style.BLUE, "size": 13},
        hoverinfo="text",
    )
    share = float(evidence.get("explained", np.nan))
    caption = f"The commonest tokens by their vectors: two components, {share:.0%} of the variance"
    return _style.frame(drawn, caption=caption, height=360)


def _counts(seeds: Any) -> str:
    """How many, "4 to 8" where some changes had more than others."""
    found = sorted(set(seeds)) if isinstance(seeds, list) else [seeds]
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
