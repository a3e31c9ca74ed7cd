"""Fitting: which rate, and how large a model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from recipe_jax.report import numbers
from recipe_jax.report.figures import Drawing, _style, regularise

Evidence = Mapping[str, Any]


def range_test(evidence: Evidence) -> list[Drawing]:
    """Loss reached by rate, with the rates it suggests and the one in use."""
    caption = "Loss after a short training at each rate"
    drawings: list[Drawing] = [
        _by_rate(evidence, "rates", "losses", seeds=evidence.get("by_seed"), caption=caption)
    ]
    if evidence.get("ramp_rates"):
        caption = "Loss while the rate is raised step by step"
        drawings.append(_by_rate(evidence, "ramp_rates", "ramp_losses", caption=caption))
    return drawings


def model_ladder(evidence: Evidence) -> list[Drawing]:
    """Training loss and validation score of models of growing size."""
    rungs, chosen = evidence["rungs"], evidence.get("chosen")
    sizes = evidence.get("num_params") or [None] * len(rungs)
    names = [
        name if size is None else f"{name} · {numbers.sensible(size)}"
        for name, size in zip(rungs, sizes)
    ]
    drawings: list[Drawing] = []
    for key, caption, colour in (
        ("train_loss", "Training loss", _style.BLUE),
        ("validation_score", f"Validation {evidence.get('metric', 'score')}", _style.ORANGE),
    ):
        if not evidence.get(key):
            continue
        cells = [np.atleast_1d(_style.array(values)) for values in evidence[key]]
        middles = [float(np.median(cell)) if len(cell) else None for cell in cells]
        traces = [
            _style.dots(
                [place for place, cell in enumerate(cells) for _ in cell],
                [value for cell in cells for value in _style.listed(cell)],
                name="each seed",
                colour=colour,
                marker={"size": 6, "opacity": 0.5},
            ),
            go.Scatter(
                x=list(range(len(rungs))),
                y=middles,
                mode="lines",
                name="median",
                line={"color": colour, "width": 2},
            ),
        ]
        if chosen is not None:
            ring = {"symbol": "circle-open", "size": 14, "line": {"width": 2}}
            traces.append(
                _style.dots(
                    [chosen], [middles[chosen]], name="chosen", colour=_style.INK, marker=ring
                )
            )
        drawings.append(
            _style.frame(
                *traces,
                caption=caption,
                x_title="model · parameters",
                xaxis={**_style.named_axis(names), "range": [-0.4, len(rungs) - 0.6]},
            )
        )
    if not drawings:
        raise KeyError("train_loss")
    return drawings


def gradient_norms(evidence: Evidence) -> go.Figure:
    """Norms over the steps, and the limits at which clipping fires or would."""
    steps = list(evidence["steps"])
    name = "norm, median of seeds"
    traces = _style.band(steps, evidence["norms"], name=name, colour=_style.BLUE)
    colour = _style.RED if evidence["on"] else _style.GREY
    for limit, share in zip(evidence["limits"], evidence["shares"]):
        mark = f"{'clipped' if evidence['on'] else 'a clip'} at {limit:g}: {share:.0%}"
        traces.append(_style.level(limit, steps, name=mark, colour=colour))
    return _style.frame(
        *traces,
        caption="Norm of the gradient at the last step of each round, before clipping",
        x_title="step",
        yaxis={**_style.LOG, "showgrid": True},
    )


def safe_default(evidence: Evidence) -> go.Figure:
    """Adam at 3e-4 beside what is configured."""
    return regularise.regularisers(evidence)


def changes(evidence: Evidence) -> go.Figure:
    """Each named change alone."""
    return regularise.regularisers(evidence)


def changes_together(evidence: Evidence) -> go.Figure:
    """One change more upon those that are kept."""
    return regularise.regularisers(evidence)


def batch_sizes(evidence: Evidence) -> go.Figure:
    """Each batch size beside the configured one, at equal numbers of examples seen."""
    return regularise.regularisers(evidence)


def _by_rate(evidence: Evidence, x: str, y: str, *, caption: str, seeds: Any = None) -> go.Figure:
    """A curve over rates on a log axis, with marks; a rate that diverged is a cross at the top.
    seeds: what it is the median of, for a band from the lowest to the highest."""
    rates, losses = evidence[x], evidence[y]
    finite = [value for value in losses if value is not None]
    # How far a rate blew up says nothing, and would press the rest of the curve flat.
    top = min(max(finite), 1.5 * (evidence.get("initial") or max(finite)))
    bottom = min(finite)
    margin = 0.06 * (top - bottom) or 0.1
    curve = _style.line(rates, losses, name="loss", colour=_style.BLUE, showlegend=False)
    curve.hovertemplate = "rate %{x:.2e}: loss %{y:.4g}<extra></extra>"
    if len(rates) <= 60:
        curve.update(mode="lines+markers", marker={"color": _style.BLUE, "size": 6})
    traces = [curve]
    if seeds is not None and len(seeds) > 1:
        # The band ends where the figure does.
        shown = np.minimum(_style.lanes(seeds), top)
        traces = [*_style.band(rates, shown, name="", colour=_style.BLUE)[:-1], curve]
    diverged = [rate for rate, loss in zip(rates, losses) if loss is None]
    if diverged:
        cross = {"symbol": "x", "size": 8}
        heights = [top] * len(diverged)
        traces.append(
            _style.dots(diverged, heights, name="diverged", colour=_style.RED, marker=cross)
        )
    for key, name, colour, dash in (
        ("configured", "in the config", _style.INK, "solid"),
        ("tenth", "a tenth of the largest stable", _style.GREEN, "dash"),
        ("steepest", "steepest", _style.ORANGE, "dot"),
        ("chosen", "chosen", _style.PURPLE, "solid"),
    ):
        if evidence.get(key) is not None:
            mark = f"{name} {numbers.sensible(evidence[key], 3)}"
            ends = [bottom - margin, top + margin]
            traces.append(_style.upright(evidence[key], ends, name=mark, colour=colour, dash=dash))
    return _style.frame(
        *traces,
        caption=caption,
        x_title="learning rate",
        height=340,
        xaxis=_style.LOG,
        yaxis_range=[bottom - margin, top + margin],
    )
