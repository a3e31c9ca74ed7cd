"""Runs beside one another: their curves on one figure, and how far each is from the first."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from recipe_jax.report.figures import _style

COLOURS = (
    *(_style.BLUE, _style.ORANGE, _style.GREEN),
    *(_style.PURPLE, _style.RED, _style.GREY),
)
DASHES = ("solid", "dash", "dot", "dashdot")


def curves(told: Mapping[str, Any]) -> list[go.Figure]:
    """A figure for each metric and split: the median over seeds of every run, lowest to highest as
    a band."""
    names = [run["name"] for run in told["runs"]]
    wanted = dict.fromkeys(
        (split, metric) for metric in (told["metric"], "loss") for split in ("validation", "train")
    )
    drawings = []
    for split, metric in wanted:
        members = [
            curve
            for curve in told["curves"]
            if curve["split"] == split and curve["metric"] == metric
        ]
        traces = [
            trace
            for curve in members
            for trace in _style.band(
                curve["epochs"],
                [curve["median"], curve["low"], curve["high"]],
                name=_title(curve, members),
                colour=COLOURS[names.index(curve["run"]) % len(COLOURS)],
                dash=DASHES[names.index(curve["run"]) // len(COLOURS) % len(DASHES)],
            )
        ]
        if traces:
            drawings.append(
                _style.frame(
                    *traces,
                    caption=f"{'training' if split == 'train' else split} {metric}",
                    x_title="epoch",
                    hovermode="x unified",
                    yaxis=_style.late_range(traces),
                )
            )
    return drawings


def differences(
    told: Mapping[str, Any], score: Mapping[str, Any], caption: str
) -> go.Figure | None:
    """One score of every run less that of the first: each seed, and the interval of the mean; None
    where no run has an interval."""
    names = [run["name"] for run in told["runs"]]
    rows = [
        (names[place], place, each)
        for place, each in enumerate(score["differences"])
        if each is not None and each["interval"]["low"] is not None
    ]
    if not rows:
        return None
    traces: list[go.Scatter] = []
    for row, (_, place, each) in enumerate(reversed(rows)):
        colour = COLOURS[place % len(COLOURS)]
        interval = each["interval"]
        traces.append(
            go.Scatter(
                x=[interval["low"], interval["high"]],
                y=[row] * 2,
                mode="lines",
                line={"color": colour, "width": 4},
                opacity=0.45,
                hoverinfo="skip",
            )
        )
        seeds = [value for value in each["by_seed"] if value is not None]
        traces.append(
            _style.dots(
                seeds,
                [row - 0.3] * len(seeds),
                name="a seed",
                colour=_style.GREY,
                marker={"size": 6, "opacity": 0.7},
                hovertemplate="a seed: %{x:.4g}<extra></extra>",
            )
        )
        traces.append(
            _style.dots(
                [interval["mean"]],
                [row],
                name="mean",
                colour=colour,
                marker={"size": 10},
                hovertemplate="mean: %{x:.4g}<extra></extra>",
            )
        )
    traces.append(
        go.Scatter(
            x=[0, 0],
            y=[-0.6, len(rows) - 0.4],
            mode="lines",
            line={"color": _style.INK, "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
        )
    )
    ends = [0.0, *(value for *_, each in rows for value in each["interval"].values())]
    ends += [value for *_, each in rows for value in each["by_seed"] if value is not None]
    margin = 0.06 * (max(ends) - min(ends)) or 1.0
    return _style.frame(
        *traces,
        caption=caption,
        xaxis_range=[min(ends) - margin, max(ends) + margin],
        height=_style.rows_height(len(rows), minimum=140, each=44),
        yaxis={
            **_style.named_rows([name for name, _, _ in reversed(rows)]),
            "range": [-0.7, len(rows) - 0.3],
        },
        xaxis_showgrid=True,
        showlegend=False,
    )


def _title(curve: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> str:
    """The run, its stage where there are several, and how many seeds the band is of."""
    stages = {each["stage"] for each in members}
    stage = f", {curve['stage']}" if len(stages) > 1 else ""
    count = curve["trials"]
    return f"{curve['run']}{stage}" + (f" ({count} seeds)" if count > 1 else "")
