"""How examples are split, fed and weighed, how many there are, and what leaves their labels."""

from collections.abc import Mapping
from typing import Any

import markupsafe
import numpy as np
import plotly.graph_objects as go

from recipe_jax.report.figures import Drawing, _pictures, _style

Evidence = Mapping[str, Any]
VERDICTS = {
    "keeps labels": _style.GREEN,
    "unclear": _style.GREY,
    "destroys labels": _style.RED,
    "misleads": _style.RED,
}


def symmetries(evidence: Evidence) -> list[Drawing]:
    """How well transformed examples are known, beside raw ones and a guess; and what they look
    like."""
    changes = evidence["changes"][::-1]
    names = [each["name"] for each in changes]
    places = list(range(len(names)))
    traces = [
        _style.dots(
            [each["kept"] if each["verdict"] == verdict else None for each in changes],
            places,
            name=verdict,
            colour=colour,
            marker={"size": 10},
            hovertemplate="%{x:.3g}<extra>" + verdict + "</extra>",
        )
        for verdict, colour in VERDICTS.items()
        if any(each["verdict"] == verdict for each in changes)
    ]
    ends = [-0.5, len(names) - 0.5]
    raw, chance = (
        _style.upright(evidence[key], ends, name=name, colour=colour)
        for key, name, colour in (
            ("raw", "as they are", _style.BLUE),
            ("chance", "a guess", _style.GREY),
        )
    )
    dots = _style.frame(
        raw,
        chance,
        *traces,
        caption=f"{evidence['measure']} of neighbours on transformed validation examples",
        height=_style.rows_height(len(names), minimum=190) + 30,
        yaxis=_style.named_rows(names, limit=30),
        xaxis_showgrid=True,
    )
    drawings: list[Drawing] = [dots]
    if evidence.get("after"):
        drawings.append(_changed(evidence))
    return drawings


def splits(evidence: Evidence) -> list[Drawing]:
    """The sizes, and the share of every stratum."""
    sizes = _style.bars(
        evidence["names"][::-1],
        evidence["counts"][::-1],
        caption="Examples in each split",
        colour=_style.BLUE,
    )
    places = list(range(len(evidence["strata"])))
    shares = _style.frame(
        *(
            go.Bar(
                x=places,
                y=_style.listed(_style.array(evidence["shares"][split])),
                name=split,
                marker={"color": colour},
                hovertemplate="%{y:.1%}<extra>" + split + "</extra>",
            )
            for split, colour in (("train", _style.BLUE), ("validation", _style.ORANGE))
        ),
        caption="Share of each class, or of each part of the target's range",
        xaxis=_style.named_axis(evidence["strata"], limit=14),
        yaxis_tickformat=".0%",
    )
    return [sizes, shares]


def fixed_validation(evidence: Evidence) -> markupsafe.Markup:
    """The name in full, and by which examples it can be recognised."""
    rows = [
        ["held out", evidence["held"]],
        ["all data, as split", evidence["data"]],
        ["first validation examples", ", ".join(map(str, evidence["first"]))],
    ]
    return _pictures.table(["", ""], rows)


def feed_order(evidence: Evidence) -> go.Figure:
    """Which example comes when, in two epochs: a cloud without a pattern."""
    first, second = evidence["epochs"]
    traces = [
        _style.dots(
            evidence["positions"],
            epoch,
            name=name,
            colour=colour,
            marker={"size": 4, "opacity": 0.75},
            hovertemplate="place %{x}: example %{y}<extra></extra>",
        )
        for epoch, name, colour in (
            (first, "first epoch", _style.BLUE),
            (second, "second epoch", _style.ORANGE),
        )
    ]
    return _style.frame(
        *traces, caption="Example by its place in the epoch", x_title="place in the epoch"
    )


def sample_size(evidence: Evidence) -> go.Figure:
    """What simple models reach with so many training examples."""
    curve = go.Scatter(
        x=evidence["sizes"],
        y=evidence["scores"],
        mode="lines+markers",
        name="simple models",
        line={"color": _style.BLUE, "width": 2},
        marker={"size": 7},
        hovertemplate="%{x} examples: %{y:.3g}<extra></extra>",
    )
    guess = _style.level(evidence["chance"], evidence["sizes"], name="a guess", colour=_style.GREY)
    return _style.frame(
        curve,
        guess,
        caption=f"Validation {evidence['measure']}",
        x_title="training examples",
        xaxis={
            "type": "log",
            "tickvals": evidence["sizes"],
            "ticktext": [str(size) for size in evidence["sizes"]],
        },
    )


def balance_effect(evidence: Evidence) -> go.Figure:
    """The recall of every class, the rarest first, with and without weights."""
    order = np.argsort(_style.array(evidence["counts"]), kind="stable")
    names = [f"{evidence['classes'][i]} ({evidence['counts'][i]})" for i in order]
    places = list(range(len(order)))
    return _style.frame(
        *(
            go.Bar(
                x=places,
                y=[evidence[key][i] for i in order],
                name=name,
                marker={"color": colour},
                hovertemplate="%{y:.1%}<extra>" + name + "</extra>",
            )
            for key, name, colour in (
                ("plain", "as they are", _style.BLUE),
                ("weighed", "weighed evenly", _style.ORANGE),
            )
        ),
        caption="Share of each class (training examples) that a logistic regression recognises",
        xaxis=_style.named_axis(names, limit=18),
        yaxis_tickformat=".0%",
    )


def _changed(evidence: Evidence) -> markupsafe.Markup:
    """The same examples before and after every change."""
    _, draw = _pictures.DRAWN[evidence["kind"]]
    rows = [("as they are", evidence["before"])]
    rows += [(each["name"], shown) for each, shown in zip(evidence["changes"], evidence["after"])]
    groups = [name for name, shown in rows for _ in shown]
    return draw([each for _, shown in rows for each in shown], [""] * len(groups), groups=groups)
