"""A search from coarse to fine: where each round looked, and whether its ranking held."""

import contextlib
from collections.abc import Mapping
from typing import Any

from recipe_jax.report import numbers
from recipe_jax.report.figures import ODD_EVIDENCE, Drawing, _style
from recipe_jax.report.figures.regularise import regularisers

MAX_DOTS = 500


def search_rounds(evidence: Mapping[str, Any]) -> list[Drawing]:
    """One small figure an axis, a row a round; then the scores on part of the data and on more."""
    drawings: list[Drawing] = []
    for path, axis in evidence["axes"].items():
        with contextlib.suppress(*ODD_EVIDENCE):
            drawings.append(_narrowing(path, axis, evidence["rounds"]))
    for agreed in evidence.get("agreement") or []:
        with contextlib.suppress(*ODD_EVIDENCE):
            drawings.append(_agreement(agreed, evidence.get("metric", "score")))
    return drawings


def schedules(evidence: Mapping[str, Any]) -> Drawing:
    """What each schedule brings beside the one that stands."""
    return regularisers(evidence)


def _narrowing(path: str, axis: Mapping[str, Any], rounds: list[Mapping[str, Any]]) -> Drawing:
    """The range of an axis by round, its settings as dots; what goes on is marked."""
    tried, there, chosen = axis["rounds"], [], axis.get("chosen")
    layout: dict[str, Any] = {"showgrid": True}
    spots: dict[str, int] = {}
    every = [value for values in tried for value in values]
    if not _style.are_numbers(every):
        choices = _style.choices(every)
        spots = {str(choice): spot for spot, choice in enumerate(choices)}
        layout |= _style.named_axis(choices, limit=14)
    elif axis.get("log"):
        wide = max(every) < 30 * min(every)
        layout |= {**_style.LOG, "dtick": "D2" if wide else 1}

    def place(value: Any) -> Any:
        return spots.get(str(value)) if spots else value

    traces = []
    for row, values in enumerate(tried):
        places = [place(value) for value in values]
        if places and not spots:
            bar = _style.line(
                [min(places), max(places)],
                [row, row],
                name="range",
                colour=_style.BLUE_BAND,
                showlegend=False,
                hoverinfo="skip",
            )
            traces.append(bar.update(line_width=14))
        there += [(places[i], row) for i in _style.sample(len(places), MAX_DOTS)]
    traces.append(
        _style.dots(
            [x for x, _ in there],
            [row for _, row in there],
            name="setting",
            colour=_style.BLUE,
            marker={"size": 6, "opacity": 0.6},
            showlegend=False,
            hovertemplate="%{x}<extra></extra>",
        )
    )
    ends = [len(tried) - 0.4, -0.6]
    if chosen is not None and place(chosen) is not None:
        traces.append(
            _style.upright(
                place(chosen),
                ends,
                name=f"goes on: {_style.text(numbers.sensible(chosen), 14)}",
                colour=_style.ORANGE,
            )
        )
    names = [
        "all of the data" if each["share"] >= 1 else f"{each['share']:.0%} of the data"
        for each in rounds
    ]
    return _style.frame(
        *traces,
        caption=f"{_style.cut(_style.labels([path])[0], 60)} by round",
        height=_style.rows_height(len(tried), minimum=140),
        yaxis={**_style.named_rows(names), "range": ends},
        xaxis=layout,
    )


def _agreement(agreed: Mapping[str, Any], metric: str) -> Drawing:
    """Settings that ran in both rounds: the coarse score across, the finer one up."""
    first, then = (f"{share:.0%}" for share in agreed["shares"])
    rank = agreed["correlation"]
    told = f", rank correlation {rank:.2f}" if rank is not None else ""
    return _style.frame(
        _style.dots(
            agreed["coarse"],
            agreed["fine"],
            name="setting",
            colour=_style.BLUE,
            hovertemplate="%{x:.4g}, then %{y:.4g}<extra></extra>",
        ),
        caption=f"{_style.cut(metric)} on {then} of the data over that on {first}{told}",
        x_title=f"{_style.text(metric)} on {first} of the data",
        height=250,
        xaxis={"showgrid": True},
    )
