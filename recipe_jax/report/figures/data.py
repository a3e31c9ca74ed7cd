"""What the data looks like: examples, classes, targets, features, and what enters the network."""

from collections.abc import Mapping, Sequence
from typing import Any

import markupsafe
import numpy as np
import plotly.graph_objects as go

from recipe_jax.report.figures import Drawing, _pictures, _style

Evidence = Mapping[str, Any]


def samples(evidence: Evidence) -> markupsafe.Markup:
    """A few examples of every class; windows of a text, each with its place in it."""
    if evidence["kind"] == "text":
        captions = [f"from {place}" for place in evidence.get("ids", [])]
        return _pictures.passages(evidence["texts"], captions=captions)
    if evidence["kind"] in _pictures.DRAWN:
        key, draw = _pictures.DRAWN[evidence["kind"]]
        labels, ids = evidence.get("labels", []), evidence.get("ids", [])
        captions = _named(ids, len(evidence[key]))
        order = sorted(range(len(evidence[key])), key=_class_order(labels, evidence))
        return draw(
            [evidence[key][i] for i in order],
            [captions[i] for i in order],
            groups=[labels[i] for i in order] if labels else [],
        )
    columns, rows = list(evidence["columns"]), [list(row) for row in evidence["rows"]]
    for name in ("labels", "ids"):
        if evidence.get(name):
            columns.insert(0, {"labels": "target", "ids": "row"}[name])
            rows = [[value, *row] for value, row in zip(evidence[name], rows)]
    return _pictures.table(columns, rows, sortable=True)


def class_counts(evidence: Evidence) -> go.Figure:
    """Share of each class, train beside validation."""
    classes = evidence["classes"]
    places = list(range(len(classes)))
    traces = []
    for split, colour in (("train", _style.BLUE), ("validation", _style.ORANGE)):
        if evidence.get(split):
            traces.append(
                go.Bar(
                    x=places,
                    y=_shares(evidence[split]),
                    name=split,
                    marker={"color": colour},
                    customdata=list(evidence[split]),
                    hovertemplate="%{customdata} examples, %{y:.1%}<extra>" + split + "</extra>",
                )
            )
    return _style.frame(
        *traces,
        caption="Share of each class",
        xaxis=_style.named_axis(classes, limit=14),
        yaxis_tickformat=".0%",
    )


def target_distribution(evidence: Evidence) -> go.Figure:
    """Histogram of the target, train and validation on the same edges."""
    edges = _style.array(evidence["edges"])
    middles = _style.listed((edges[1:] + edges[:-1]) / 2)
    traces: list[Any] = []
    if evidence.get("train"):
        traces.append(
            go.Bar(
                x=middles,
                y=_shares(evidence["train"]),
                width=_style.listed(np.diff(edges)),
                name="train",
                marker={"color": _style.BLUE},
                opacity=0.45,
                hovertemplate="%{x:.4g}: %{y:.1%}<extra>train</extra>",
            )
        )
    if evidence.get("validation"):
        traces.append(
            go.Scatter(
                x=middles,
                y=_shares(evidence["validation"]),
                mode="lines",
                name="validation",
                line={"color": _style.ORANGE, "width": 2, "shape": "hvh"},
                hovertemplate="%{x:.4g}: %{y:.1%}<extra>validation</extra>",
            )
        )
    return _style.frame(
        *traces,
        caption="Share of examples by target",
        x_title=_style.text(evidence.get("unit") or "target"),
        bargap=0,
        yaxis_tickformat=".0%",
    )


def feature_ranges(evidence: Evidence) -> list[Drawing] | go.Figure:
    """Where each feature lies: lowest, mean with one standard deviation, highest."""
    if "mean_image" in evidence:
        pictures = [evidence[name] for name in ("mean_image", "std_image") if evidence.get(name)]
        names = ["mean of each dot", "standard deviation of each dot"]
        return [_pictures.gallery([picture], [name]) for picture, name in zip(pictures, names)]
    names = evidence["features"]
    low, high, mean, std = (
        _style.array(evidence[name]) for name in ("minimum", "maximum", "mean", "std")
    )
    reach = (high - low)[np.isfinite(high - low) & (high > low)]
    if len(reach) and reach.max() > 100 * reach.min():
        # On one axis the small ones would be a dot.
        rows = [[*row] for row in zip(names, *map(_style.listed, (low, mean, std, high)))]
        return [
            _pictures.table(["feature", "lowest", "mean", "sd", "highest"], rows, sortable=True)
        ]
    margin = 0.03 * (np.nanmax(high) - np.nanmin(low)) or 1.0
    places = list(range(len(names)))
    span = go.Scatter(
        x=[x for pair in zip(low, high) for x in (*map(_number, pair), None)],
        y=[y for place in places for y in (place, place, None)],
        mode="lines",
        line={"color": _style.GREY, "width": 2},
        name="lowest to highest",
        hoverinfo="skip",
    )
    centre = _style.dots(
        _style.listed(mean),
        places,
        name="mean ± standard deviation",
        colour=_style.BLUE,
        error_x={"type": "data", "array": _style.listed(std), "color": _style.BLUE, "width": 4},
        customdata=[
            [_style.text(name), *map(_number, numbers)]
            for name, *numbers in zip(names, low, high, std)
        ],
        hovertemplate="%{customdata[0]}: mean %{x:.4g}, sd %{customdata[3]:.4g}, "
        "%{customdata[1]:.4g} to %{customdata[2]:.4g}<extra></extra>",
    )
    return _style.frame(
        span,
        centre,
        caption="Range of each feature, in its own units",
        height=_style.rows_height(len(names)),
        yaxis=_style.named_rows(names),
        xaxis={"showgrid": True, "range": [np.nanmin(low) - margin, np.nanmax(high) + margin]},
    )


def non_finite(evidence: Evidence) -> go.Figure | None:
    """How many cells of each column hold no number."""
    columns, counts = evidence["columns"], evidence["counts"]
    found = [(name, count) for name, count in zip(columns, counts) if count]
    if not found:
        return None
    names, counts = zip(*sorted(found, key=lambda item: item[1]))
    return _style.bars(names, counts, caption="Cells without a number", colour=_style.RED)


def network_input(evidence: Evidence) -> list[Drawing]:
    """The same examples before and after preparation."""
    pictures = np.ndim(evidence["entered"]) >= 3
    _, draw = _pictures.DRAWN.get(evidence.get("kind") or "image", _pictures.DRAWN["image"])
    drawings: list[Drawing] = []
    for key, name in (("raw", "as it lies in the data"), ("entered", "as it enters the network")):
        values = evidence.get(key)
        if values is None:
            continue
        low, high = _pictures.extent(values)
        caption = f"{name}: {low:.3g} to {high:.3g}"
        if pictures:
            drawings.append(draw(values[:8], [""] * 8, groups=[caption] * min(8, len(values))))
        else:
            rows = values if np.ndim(values[0]) else [values]
            columns = evidence.get("columns") or [str(i) for i in range(len(rows[0]))]
            drawings.append(_pictures.table(columns, rows, caption=caption))
    return drawings


def _shares(counts: Sequence[Any]) -> list[Any]:
    """Counts as parts of their sum: splits of unlike size can be compared."""
    found = _style.array(counts)
    return _style.listed(found / max(np.nansum(found), 1))


def _named(ids: Sequence[Any], count: int) -> list[str]:
    """Captions that let an example be found again."""
    return [str(name) for name in ids] or [""] * count


def _class_order(labels: Sequence[Any], evidence: Evidence) -> Any:
    """Sorts examples as the classes are listed."""
    places = {str(name): place for place, name in enumerate(evidence.get("classes") or [])}
    return lambda i: places.get(str(labels[i]), len(places)) if labels else i


def _number(value: float) -> float | None:
    """A number, or the gap that stands for none."""
    return float(value) if np.isfinite(value) else None
