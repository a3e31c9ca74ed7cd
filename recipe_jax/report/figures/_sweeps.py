"""Parts of a search's drawing: what mattered, how it went, and how sure its best settings are."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from recipe_jax.report import numbers
from recipe_jax.report.figures import Drawing, _style

Evidence = Mapping[str, Any]
MAX_BARS = 16
MAX_DOTS = 2000
MAX_ROWS = 12
CURVES = (_style.ORANGE, _style.BLUE, _style.GREEN)
"""The best settings' colours; the best one is orange as in the other drawings."""


def importance(evidence: Evidence) -> list[Drawing]:
    """How much of the differences in score each axis explains."""
    shares = {path: share for path, share in (evidence.get("importance") or {}).items()}
    paths = sorted((path for path in shares if shares[path] is not None), key=shares.__getitem__)
    if not paths:
        return []
    caption = f"Share of the variance of {_metric(evidence)} that an axis explains (fANOVA)"
    if len(paths) > MAX_BARS:
        caption += f"; the {MAX_BARS} largest of {len(paths)}"
    # Rows are counted from below, and the largest is to be on top.
    names, paths = dict(zip(paths, _style.labels(paths))), paths[-MAX_BARS:]
    figure = _style.bars(
        [names[path] for path in paths],
        [float(f"{shares[path]:.3g}") for path in paths],
        caption=caption,
        colour=_style.BLUE,
    )
    return [figure.update_xaxes(rangemode="tozero")]


def history(evidence: Evidence) -> list[Drawing]:
    """The best score so far, above every setting's own in the order of asking."""
    scores, maximise = _style.array(evidence["scores"]), evidence.get("maximise", True)
    finite = np.isfinite(scores)
    if len(scores) < 2 or not finite.any():
        return []
    kept = [i for i in _style.sample(len(scores), MAX_DOTS) if finite[i]]
    best = np.maximum if maximise else np.minimum
    so_far = best.accumulate(np.where(finite, scores, -np.inf if maximise else np.inf))
    steps = [i for i in range(len(scores)) if finite[i] and (i == 0 or so_far[i] != so_far[i - 1])]
    steps = list(dict.fromkeys([*steps, len(scores) - 1]))
    settings = _style.dots(
        kept,
        _style.listed(scores[kept]),
        name="setting",
        colour=_style.GREY,
        marker={"size": 6, "opacity": 0.6},
        hovertemplate="setting %{x}: %{y:.4g}<extra></extra>",
    )
    line = _style.line(steps, so_far[steps], name="best so far", colour=_style.ORANGE)
    line.update(line_shape="hv", hovertemplate="best after setting %{x}: %{y:.4g}<extra></extra>")
    caption = f"Best {_metric(evidence)} so far"
    if len(scores) > MAX_DOTS:
        caption += f"; dots of {numbers.sensible(MAX_DOTS)} of {numbers.sensible(len(scores))}"
    span = shown_scores(scores, *_style.score_range(scores, maximise=maximise))
    return [
        _style.frame(
            settings,
            line,
            caption=caption,
            x_title="setting, in the order of asking",
            yaxis=span,
        )
    ]


def curves(evidence: Evidence) -> list[Drawing]:
    """Train and validation of the best few over the epochs."""
    given = evidence.get("curves") or {}
    settings, epochs = given.get("settings") or [], given.get("epochs") or []
    if not settings or len(epochs) < 2:
        return []
    quiet: dict[str, Any] = {"showlegend": False, "hoverinfo": "skip"}
    traces = []
    for place in range(len(CURVES), len(settings)):
        middle = _style.band(
            epochs, given["validation"][place], name="others", colour=_style.GREY, **quiet
        )[-1]
        middle.update(line_width=1, opacity=0.7)
        traces.append(middle)
    if traces:
        first, last = len(CURVES) + 1, len(settings)
        traces[0].update(showlegend=True, name=f"{first}th to {last}th" if last > first else "4th")
    # The best one last, on top of the others.
    for place in reversed(range(min(len(CURVES), len(settings)))):
        colour, group = CURVES[place], {"legendgroup": str(place)}
        name = _name(evidence, settings[place])
        train = _style.band(
            epochs,
            given["train"][place],
            name=f"{name}, train",
            colour=colour,
            dash="dot",
            showlegend=False,
            **group,
        )
        # One band a setting: two of them over each other could not be told apart.
        traces += train[-1:]
        traces += _style.band(epochs, given["validation"][place], name=name, colour=colour, **group)
    return [
        _style.frame(
            *traces,
            caption=f"{_metric(evidence)} of the best settings: validation, and train dotted",
            x_title="epoch",
            yaxis=_style.late_range(traces, after=0.35),
            legend_traceorder="reversed",
        )
    ]


def spread(evidence: Evidence) -> list[Drawing]:
    """Every seed of the best settings: differences smaller than the seeds' spread are luck."""
    seeds, scores = evidence.get("seeds") or [], _style.array(evidence["scores"])
    sign = -1 if evidence.get("maximise", True) else 1
    rows = [int(i) for i in np.argsort(sign * scores, kind="stable") if np.isfinite(scores[i])]
    rows = rows[:MAX_ROWS]
    if not seeds or len(rows) < 2 or max(len(seeds[i]) for i in rows) < 2:
        return []
    values = [(row, value) for row, i in enumerate(rows) for value in seeds[i] if value is not None]
    means = [float(np.nanmean(_style.array(seeds[i]))) for i in rows]
    singles = _style.dots(
        [value for _, value in values],
        [row for row, _ in values],
        name="seed",
        colour=_style.BLUE,
        marker={"size": 7, "opacity": 0.6},
        hovertemplate="%{x:.4g}<extra></extra>",
    )
    mean = _style.dots(
        means,
        list(range(len(rows))),
        name="mean",
        colour=_style.INK,
        marker={"symbol": "line-ns", "size": 14, "line": {"width": 2.5, "color": _style.INK}},
        hovertemplate="mean %{x:.4g}<extra></extra>",
    )
    names = [_name(evidence, i) for i in rows]
    return [
        _style.frame(
            singles,
            mean,
            caption=f"{_metric(evidence)} of every seed, the {len(rows)} best settings",
            height=_style.rows_height(len(rows), each=24),
            xaxis_showgrid=True,
            yaxis={**_style.named_rows(names), "range": [len(rows) - 0.4, -0.6]},
        )
    ]


def rounds(evidence: Evidence) -> list[Drawing]:
    """How many settings were trained for at least so long, where some were given up earlier."""
    lengths = _style.array(evidence.get("rounds") or [])
    lengths = np.sort(lengths[np.isfinite(lengths)])
    if len(np.unique(lengths)) < 2:
        return []
    places, first = np.unique(lengths, return_index=True)
    line = _style.line(
        [0, *places], [len(lengths), *(len(lengths) - first)], name="settings", colour=_style.BLUE
    )
    line.update(line_shape="vh", hovertemplate="%{y} settings for %{x} rounds<extra></extra>")
    total = evidence.get("of_rounds")
    return [
        _style.frame(
            line,
            caption="Settings that were trained for at least so many rounds"
            + (f", of {total}" if isinstance(total, int) else ""),
            x_title="rounds",
            height=220,
            yaxis_rangemode="tozero",
        )
    ]


def shown_scores(scores: np.ndarray, worst: float, best: float) -> dict[str, Any]:
    """An upright axis from `_style.score_range`, where some scores lie beyond it; a double click
    shows those too."""
    beyond = scores < worst if worst < best else scores > worst
    if worst == best or not beyond.any():
        return {}
    margin = 0.08 * (best - worst)
    return {"range": sorted([worst - margin, best + margin])}


def _metric(evidence: Evidence) -> str:
    return _style.cut(evidence.get("metric") or "score")


def _name(evidence: Evidence, setting: int) -> str:
    """A setting by its number, and what it is."""
    roles = [
        role
        for role, key in (("best", "best"), ("chosen", "winner"))
        if evidence.get(key) == setting
    ]
    return ", ".join([f"setting {setting}", *roles])
