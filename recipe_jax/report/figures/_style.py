"""How every figure looks: colours, frame, bands over seeds, and user text that stays text.

Figures are drawn in the colours of the light page; the page replaces each by its partner in `DARK`
where the reader's screen is dark.
"""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from recipe_jax.report import numbers

INK, MUTED, RULE, PAPER = "#1f2329", "#5c6570", "#e3e6ea", "#fefefe"
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#2b6cb0",
    "#ad5412",
    "#287a4f",
    "#c23b36",
    "#7655b5",
    "#939ba5",
)
BLUE_BAND, ORANGE_BAND, GREEN_BAND, RED_BAND, PURPLE_BAND, GREY_BAND = (
    "rgba(43,108,176,0.16)",
    "rgba(173,84,18,0.16)",
    "rgba(40,122,79,0.16)",
    "rgba(194,59,54,0.16)",
    "rgba(118,85,181,0.16)",
    "rgba(147,155,165,0.2)",
)
LOW, HIGH = "#f1f4f8", "#1d5a9e"
"""The ends of the scale of a heat map."""

DARK = {
    INK: "#e4e7eb",
    MUTED: "#99a2ad",
    RULE: "#2c323a",
    PAPER: "#14171b",
    BLUE: "#6aabf0",
    ORANGE: "#eb9a55",
    GREEN: "#58bd88",
    RED: "#f2796f",
    PURPLE: "#b196ea",
    GREY: "#7d8793",
    BLUE_BAND: "rgba(106,171,240,0.2)",
    ORANGE_BAND: "rgba(235,154,85,0.2)",
    GREEN_BAND: "rgba(88,189,136,0.2)",
    RED_BAND: "rgba(242,121,111,0.2)",
    PURPLE_BAND: "rgba(177,150,234,0.2)",
    GREY_BAND: "rgba(125,135,147,0.25)",
    LOW: "#1b2027",
    HIGH: "#3b7dc6",
}
BANDS = {
    BLUE: BLUE_BAND,
    ORANGE: ORANGE_BAND,
    GREEN: GREEN_BAND,
    PURPLE: PURPLE_BAND,
    RED: RED_BAND,
    GREY: GREY_BAND,
}
LOG = {"type": "log", "exponentformat": "power", "dtick": 1, "tickfont": {"size": 9}}
"""An axis of powers of ten; plotly sets their letters a quarter larger."""
MAX_POINTS = 300
MAX_TEXT = 36


def frame(
    *traces: go.Scatter | go.Bar | go.Heatmap,
    caption: str = "",
    x_title: str = "",
    height: int = 280,
    **layout: Any,
) -> go.Figure:
    """A figure with the house's axes; `layout` is plotly's, axes included (xaxis_type="log").

    The caption says what the height is, and stands above the figure as text of the page, so that it
    wraps on a phone.
    """
    axis = {
        "gridcolor": RULE,
        "linecolor": RULE,
        "zeroline": False,
        "automargin": True,
        "tickfont": {"size": 11, "color": MUTED},
        "tickcolor": RULE,
    }
    bottom = {**axis, "showgrid": False, "showline": True}
    if x_title:
        title = {"text": x_title, "standoff": 8, "font": {"size": 12, "color": MUTED}}
        bottom["title"] = title
    figure = go.Figure(list(traces))
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 4, "r": 14, "t": 22, "b": 4},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, -apple-system, Segoe UI, sans-serif", "color": INK, "size": 12},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
        hoverlabel={"bgcolor": PAPER, "bordercolor": RULE, "font": {"color": INK, "size": 12}},
        hovermode="closest",
        bargap=0.25,
        xaxis=bottom,
        yaxis=axis,
        meta={"caption": caption[:1].upper() + caption[1:]},
    )
    figure.update_layout(**layout)
    return figure


def text(value: Any, limit: int = MAX_TEXT) -> str:
    """A user's words in a figure, cut short; plotly reads tags in strings, so they are escaped."""
    return html.escape(cut(value, limit), quote=False)


def cut(value: Any, limit: int = MAX_TEXT) -> str:
    """A user's words cut short, for a place that escapes them itself: a caption, an SVG."""
    words = numbers.sensible(value)
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


def labels(paths: Sequence[str]) -> list[str]:
    """Paths by their last part, "optim.learning_rate" as "learning_rate", where that is enough to
    tell them apart; "model.name" is the model."""
    ends = [path.removesuffix(".name").rpartition(".")[2] or path for path in paths]
    return [end if ends.count(end) == 1 else path for end, path in zip(ends, paths)]


def array(values: Any) -> np.ndarray:
    """Numbers with NaN where the evidence has null."""
    return np.array(values, dtype=np.float64)


def lanes(values: Any) -> np.ndarray:
    """Curves as (seeds, points), also when there is one curve alone."""
    return np.atleast_2d(array(values))


def thin(x: Any, y: Any, limit: int = MAX_POINTS) -> tuple[list[Any], list[Any]]:
    """At most `limit` points of a curve: its ends, and every stretch's lowest and highest."""
    x, y = array(x), array(y)
    if len(x) != len(y):
        raise ValueError(f"A curve has {len(x)} places and {len(y)} values.")
    if len(x) > limit:
        keep = {0, len(x) - 1}
        for stretch in np.array_split(np.arange(len(x)), (limit - 2) // 2):
            finite = stretch[np.isfinite(y[stretch])]
            # A stretch without a number stays a gap.
            ends = (
                [finite[y[finite].argmin()], finite[y[finite].argmax()]]
                if len(finite)
                else stretch[:1]
            )
            keep.update(int(end) for end in ends)
        kept = sorted(keep)
        x, y = x[kept], y[kept]
    return listed(x), listed(y)


def listed(values: np.ndarray) -> list[Any]:
    """For plotly: null where there is no number."""
    return [None if not np.isfinite(value) else float(f"{value:.6g}") for value in values]


def line(
    x: Any, y: Any, *, name: str, colour: str, dash: str = "solid", **fields: Any
) -> go.Scatter:
    """One curve, thinned."""
    x, y = thin(x, y)
    style = {"color": colour, "width": 2, "dash": dash}
    return go.Scatter(x=x, y=y, name=text(name), mode="lines", line=style, **fields)


def band(x: Any, curves: Any, *, name: str, colour: str, **fields: Any) -> list[go.Scatter]:
    """The median over seeds, and from the lowest to the highest as a band; `fields` are those of
    the median's `line`."""
    values = lanes(curves)
    # Where no seed has a number there is a gap.
    empty = ~np.isfinite(values).any(0)
    filled = np.where(empty, 0.0, values)
    middle, low, high = (
        np.where(empty, np.nan, of(filled, axis=0)) for of in (np.nanmedian, np.nanmin, np.nanmax)
    )
    traces = [line(x, middle, name=name, colour=colour, **fields)]
    if len(values) > 1:
        traces = [*_area(x, low, high, BANDS[colour]), *traces]
    return traces


def late_range(traces: Sequence[go.Scatter], *, after: float = 0.1) -> dict[str, Any]:
    """The height that curves need after their first tenth, or share `after`, where that shows them
    twice as large.

    The first steps fall or climb so far that what follows would be a flat line; a double click on
    the figure shows them too.
    """
    curves = [array(trace["y"]) for trace in traces]
    values = np.concatenate(curves)
    late = np.concatenate([curve[int(len(curve) * after) + 1 :] for curve in curves])
    values, late = values[np.isfinite(values)], late[np.isfinite(late)]
    if len(late) < 2 or np.ptp(values) < 2 * np.ptp(late) or np.ptp(late) == 0:
        return {}
    margin = 0.08 * float(np.ptp(late))
    return {"range": [float(late.min()) - margin, float(late.max()) + margin]}


def score_range(scores: Any, *, maximise: bool) -> tuple[float, float]:
    """The worst and the best score worth showing: a few that all but diverged would press all the
    others into one line, so the range ends where they begin."""
    values = array(scores)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 0.0
    best = float(values.max() if maximise else values.min())
    short_of = np.abs(values - best)
    limit, farthest = 3 * float(np.quantile(short_of, 0.75)), float(short_of.max())
    if limit > 0 and farthest > 2 * limit:
        farthest = limit
    return (best - farthest, best) if maximise else (best + farthest, best)


def are_numbers(values: Sequence[Any]) -> bool:
    """Whether all that is there can stand on an axis of numbers; yes and no cannot."""
    return all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values if v is not None
    )


def choices(values: Sequence[Any]) -> list[Any]:
    """What is there, each once: lists of numbers by size, words by the alphabet."""

    def order(value: Any) -> Any:
        sizes = isinstance(value, list) and are_numbers(value) and None not in value
        return (0, value, "") if sizes else (1, [], str(value))

    return sorted({str(v): v for v in values if v is not None}.values(), key=order)


def sample(count: int, limit: int) -> list[int]:
    """At most `limit` of the places 0 to count - 1, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(int)).tolist()


def dots(x: Any, y: Any, *, name: str, colour: str, **fields: Any) -> go.Scatter:
    """Single measurements."""
    marker = {"color": colour, "size": 8, **fields.pop("marker", {})}
    return go.Scatter(x=x, y=y, name=text(name), mode="markers", marker=marker, **fields)


def upright(
    x: float, y: Sequence[Any], *, name: str, colour: str, dash: str = "dash"
) -> go.Scatter:
    """A marked place on the x axis; a trace and not a shape, so that its name is in the legend."""
    ends = array(y)
    ends = ends[np.isfinite(ends)]
    style = {"color": colour, "width": 1.5, "dash": dash}
    return go.Scatter(
        x=[x, x],
        y=[float(ends.min()), float(ends.max())],
        name=text(name),
        mode="lines",
        line=style,
    )


def level(y: float, x: Sequence[Any], *, name: str, colour: str, dash: str = "dash") -> go.Scatter:
    """A marked height on the y axis."""
    style = {"color": colour, "width": 1.5, "dash": dash}
    return go.Scatter(x=[x[0], x[-1]], y=[y, y], name=text(name), mode="lines", line=style)


def named_axis(names: Sequence[Any], limit: int = 24) -> dict[str, Any]:
    """Positions 0, 1, … with names; so that two long names with one beginning stay two."""
    step = max(1, -(-len(names) // 40))
    places = list(range(0, len(names), step))
    return {"tickvals": places, "ticktext": [text(names[place], limit) for place in places]}


def _area(x: Any, low: np.ndarray, high: np.ndarray, colour: str) -> list[go.Scatter]:
    """From low to high, filled; two thinned edges."""
    quiet: dict[str, Any] = {"mode": "lines", "showlegend": False, "hoverinfo": "skip"}
    edges = [thin(x, edge) for edge in (low, high)]
    return [
        go.Scatter(x=edges[0][0], y=edges[0][1], line={"width": 0}, **quiet),
        go.Scatter(
            x=edges[1][0],
            y=edges[1][1],
            line={"width": 0},
            fill="tonexty",
            fillcolor=colour,
            **quiet,
        ),
    ]


def bars(names: Sequence[Any], values: Sequence[Any], *, caption: str, colour: Any) -> go.Figure:
    """Lying bars with their numbers at the end; names need room, and have it this way."""
    bar = go.Bar(
        x=list(values),
        y=list(range(len(names))),
        orientation="h",
        marker={"color": colour},
        text=[numbers.sensible(value) for value in values],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{x}<extra></extra>",
    )
    height = rows_height(len(names))
    return frame(bar, caption=caption, height=height, yaxis=named_rows(names), margin_r=48)


def named_rows(names: Sequence[Any], limit: int = 24) -> dict[str, Any]:
    """As `named_axis`, for the upright axis."""
    return {**named_axis(names, limit), "showgrid": False}


def rows_height(rows: int, *, minimum: int = 150, each: int = 30) -> int:
    """Enough for every row, and no more than a screen."""
    return max(minimum, min(720, 70 + each * rows))
