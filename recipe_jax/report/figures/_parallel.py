"""Parallel coordinates as inline SVG: a line a setting, over its axes and the score.

Plotly draws them by WebGL, which not every reader has; page.js adds brushing and pointing.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import markupsafe
import numpy as np

from recipe_jax.report import numbers
from recipe_jax.report.figures import Drawing, _scales, _style

Evidence = Mapping[str, Any]
MAX_LINES, MAX_BEST, MAX_AXES = 500, 100, 14
LEFT, RIGHT, TOP, BOTTOM, WIDTH = 82, 116, 32, 318, 900
DENSE = 150
"""More lines than this are drawn fainter, or they would be one area."""
SHADES = 8
"""Colours from the worst to the best; page.css has them."""
HINT = (
    "Point at a line to read its setting. Drag along an axis to keep the lines of a range; "
    "click it to drop the range."
)


class Axis(NamedTuple):
    """A named axis: settings' places (0 at the bottom, 1 on top, NaN where the axis is not there),
    ticks as (place, words), and values for the reader."""

    name: str
    label: str
    places: np.ndarray
    ticks: Sequence[tuple[float, str]]
    values: Sequence[Any]


def parallel(evidence: Evidence) -> list[Drawing]:
    """All settings at once; of many the best, and an even sample of the others."""
    scores, maximise = _style.array(evidence["scores"]), evidence.get("maximise", True)
    paths, caption = _paths(evidence)
    if not paths or not len(scores):
        return []
    axes = []
    for path, label in zip(paths, _style.labels(paths)):
        given = evidence["axes"][path]
        values = given["values"]
        axes.append(Axis(path, label, *_scales.scale(values, log=given.get("log", False)), values))
    metric = evidence.get("metric") or "score"
    axes.append(Axis(metric, metric, *_scales.score_scale(scores, maximise), evidence["scores"]))
    ranking = [int(i) for i in np.argsort(-scores if maximise else scores, kind="stable")]
    marked = {evidence.get("winner"): "chosen", evidence.get("best"): "best"}
    marks = {i: name for i, name in marked.items() if i in ranking and np.isfinite(scores[i])}
    kept = _kept(ranking, list(marks))
    if len(kept) < len(scores):
        caption += (
            f" Drawn are {numbers.sensible(len(kept))} of {numbers.sensible(len(scores))}: the "
            f"best {MAX_BEST} and an even sample of the others."
        )
    svg = _svg(axes, [i for i in kept if i not in marks], marks, scores)
    return [
        markupsafe.Markup(
            '<figure class="parallel"><figcaption>{}</figcaption><div class="scroll">{}</div>'
            '<p class="readout" aria-live="polite">{}</p></figure>'
        ).format(caption, svg, HINT)
    ]


def _paths(evidence: Evidence) -> tuple[list[str], str]:
    """The axes that there is room for, and the caption."""
    paths, shares = list(evidence["axes"]), evidence.get("importance") or {}
    caption = "Every setting a line, the better the bluer; what diverged is red."
    if len(paths) > MAX_AXES:
        caption += (
            f" The {MAX_AXES} {'most important' if shares else 'first'} of {len(paths)} axes."
        )
        first = set(sorted(paths, key=lambda path: -(shares.get(path) or 0))[:MAX_AXES])
        paths = [path for path in paths if path in first]
    return paths, caption


def _kept(ranking: Sequence[int], marked: Sequence[int]) -> list[int]:
    """The settings that are drawn, the worst first so that the best lies on top."""
    order = list(dict.fromkeys([*marked, *ranking]))
    others = order[MAX_BEST:]
    chosen = {*order[:MAX_BEST]}
    chosen |= {others[place] for place in _style.sample(len(others), MAX_LINES - MAX_BEST)}
    return [i for i in reversed(ranking) if i in chosen]


def _svg(
    axes: Sequence[Axis],
    plain: Sequence[int],
    marks: Mapping[int, str],
    scores: np.ndarray,
) -> markupsafe.Markup:
    """The drawing: lines from the worst to the best, and above them the axes with their words."""
    spacing = min(230, max(98, (WIDTH - LEFT - RIGHT) / max(1, len(axes) - 1)))
    across = [LEFT + spacing * i for i in range(len(axes))]
    down = np.array([BOTTOM - (BOTTOM - TOP) * axis.places for axis in axes])
    # Colours by rank: by score, a few bad ones would leave all the others one colour.
    finite = [i for i in plain if np.isfinite(scores[i])]
    shades = {i: f"shade{SHADES * place // len(finite)}" for place, i in enumerate(finite)}
    kinds = {i: shades.get(i, "diverged") for i in plain}
    lines = [_line(axes, i, kind, across, down[:, i]) for i, kind in (kinds | dict(marks)).items()]
    width = round(across[-1] + RIGHT)
    words = ", ".join(_style.cut(axis.name) for axis in axes)
    return markupsafe.Markup(
        '<svg{} viewBox="0 0 {} {}" style="min-width:{}px;max-width:{}px" role="group" '
        'aria-label="{}" data-top="{}" data-bottom="{}">{}<path class="pointed"/>{}{}</svg>'
    ).format(
        markupsafe.Markup(' class="dense"') if len(lines) > DENSE else "",
        width,
        BOTTOM + 12,
        round(0.8 * width),
        round(1.2 * width),
        f"Parallel coordinates of {len(lines)} settings: {words}",
        TOP,
        BOTTOM,
        markupsafe.Markup("").join(lines),
        markupsafe.Markup("").join(
            _axis(axis, x, room=int(spacing / 6.5)) for axis, x in zip(axes, across)
        ),
        _labels(marks, across[-1], down[-1], scores),
    )


def _line(
    axes: Sequence[Axis], i: int, kind: str, across: Sequence[float], down: np.ndarray
) -> markupsafe.Markup:
    """One setting; an axis that is not there is passed by, as a paler stretch."""
    solid, bridges, before = "", "", None
    for j, (x, y) in enumerate(zip(across, down)):
        if not np.isfinite(y):
            continue
        point = f"{x:.4g},{y:.1f}"
        if before is not None and before[0] < j - 1:
            bridges += f"M{before[1]}L{point}"
        solid += f"{'L' if before is not None and before[0] == j - 1 else 'M'}{point}"
        before = j, point
    values = [None if axis.values[i] is None else _style.cut(axis.values[i]) for axis in axes]
    return markupsafe.Markup(
        '<g class="line {}" data-setting="{}" data-values="{}"><path d="{}"/>{}</g>'
    ).format(
        kind,
        i,
        json.dumps(values, ensure_ascii=False),
        solid,
        markupsafe.Markup('<path class="bridge" d="{}"/>').format(bridges) if bridges else "",
    )


def _axis(axis: Axis, x: float, *, room: int) -> markupsafe.Markup:
    """An axis with its ticks; a slider for who uses no pointer."""
    ticks = markupsafe.Markup("").join(
        markupsafe.Markup('<text x="{}" y="{:.1f}">{}</text>').format(
            f"{x - 6:.4g}", BOTTOM - (BOTTOM - TOP) * place + 4, words
        )
        for place, words in axis.ticks
    )
    return markupsafe.Markup(
        '<g class="axis" data-x="{x}" data-name="{name}" tabindex="0" role="slider" '
        'aria-orientation="vertical" aria-valuemin="0" aria-valuemax="100" aria-valuenow="50" '
        'aria-valuetext="all" aria-label="{name}: arrows move a range, + and - size it, Escape '
        'drops it"><title>{name}</title><line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>{ticks}'
        '<text class="name" x="{x}" y="{above}">{label}</text><rect class="brush" x="{left}" '
        'width="14" y="0" height="0"/><rect class="grip" x="{far}" width="40" y="{top}" '
        'height="{height}"/></g>'
    ).format(
        x=f"{x:.4g}",
        name=_style.cut(axis.name, 80),
        label=_style.cut(axis.label, room),
        ticks=ticks,
        top=TOP,
        bottom=BOTTOM,
        height=BOTTOM - TOP,
        above=TOP - 14,
        left=f"{x - 7:.4g}",
        far=f"{x - 20:.4g}",
    )


def _labels(
    marks: Mapping[int, str], x: float, down: np.ndarray, scores: np.ndarray
) -> markupsafe.Markup:
    """The best and the chosen setting by name, right of their scores; never over each other."""
    parts, taken = [], []
    for i in sorted(marks, key=lambda i: down[i]):
        y = max([float(down[i]), *(other + 15 for other in taken)])
        taken.append(y)
        parts.append(
            markupsafe.Markup('<text class="mark {}" x="{}" y="{:.1f}">{} {}</text>').format(
                marks[i], f"{x + 10:.4g}", y + 4, marks[i], numbers.sensible(float(scores[i]))
            )
        )
    return markupsafe.Markup("").join(parts)
