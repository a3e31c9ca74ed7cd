"""Columns: how they are distributed, what they tell, and how they differ between the splits."""

from collections.abc import Mapping, Sequence
from typing import Any

import markupsafe
import plotly.graph_objects as go

from recipe_jax.report.figures import Drawing, _pictures, _style, data

Evidence = Mapping[str, Any]


def distributions(evidence: Evidence) -> markupsafe.Markup:
    """A row a column with its histogram; of words, the commonest."""
    told = evidence["columns"]
    numbers = [column for column in told if "levels" not in column]
    words = [column for column in told if "levels" in column]
    drawings: list[markupsafe.Markup] = []
    if numbers:
        drawings.append(
            _pictures.table(
                ["column", "distribution", "lowest", "median", "highest", "distinct", "missing"],
                [
                    [
                        column["column"],
                        _pictures.spark(column["counts"]),
                        *(column.get(name) for name in ("lowest", "median", "highest")),
                        column["distinct"],
                        column["missing"],
                    ]
                    for column in numbers
                ],
                sortable=True,
                most_rows=len(numbers),
            )
        )
    if words:
        drawings.append(
            _pictures.table(
                ["column", "the commonest", "levels", "missing"],
                [
                    [column["column"], _levels(column), column["distinct"], column["missing"]]
                    for column in words
                ],
                sortable=True,
                most_rows=len(words),
            )
        )
    return markupsafe.Markup("").join(drawings)


def oracle(evidence: Evidence) -> go.Figure:
    """How much each column by itself tells of the target."""
    names, told = list(evidence["columns"]), _style.array(evidence["explained"])
    figure = _style.bars(
        names[::-1],
        [float(f"{value:.3g}") for value in told[::-1]],
        caption="Share of the target that a column by itself explains",
        colour=_style.BLUE,
    )
    figure.update_xaxes(range=[0, 1.12], tickformat=".0%")
    return figure


def drift(evidence: Evidence) -> list[Drawing]:
    """The column that differs most, and the list of those that differ."""
    name = evidence["columns"][0]
    most = data.target_distribution({**evidence, "unit": name})
    most.update_layout(meta={"caption": "The column that differs most, as it enters the network"})
    rows = list(zip(evidence["columns"], evidence["distance"], evidence["p_value"]))
    return [
        most,
        _pictures.table(["column", "distance of distributions", "p"], rows, sortable=True),
    ]


def _levels(column: Mapping[str, Any]) -> str:
    """The commonest levels with their counts."""
    listed: Sequence[Any] = list(zip(column["levels"], column["counts"]))[:5]
    rest = ", …" if column["distinct"] > len(listed) else ""
    return ", ".join(f"{_style.cut(level, 20)} ({count})" for level, count in listed) + rest


def normalisation(evidence: Evidence) -> markupsafe.Markup:
    """Mean and deviation of each column in its own unit, as it enters, and in validation."""
    rows = [
        [
            column["column"],
            _pictures.spark(column["counts"]),
            *column["before"],
            *column["after"],
            column["lowest"],
            column["highest"],
            *column["validation"],
        ]
        for column in evidence["columns"]
    ]
    head = ["column", "before", "mean", "sd", "enters: mean", "sd", "lowest", "highest"]
    head += ["validation: mean", "sd"]
    return _pictures.table(head, [_rounded(row) for row in rows], sortable=True)


def columns(evidence: Evidence) -> markupsafe.Markup | None:
    """Each column as it is, as it enters the network, and in the form to be tried."""
    if not evidence.get("columns"):
        return None
    rows = [
        [
            each["column"],
            each["looks"],
            _pictures.spark(each["before"]),
            "{:.2g} to {:.2g}".format(*each["enters_range"]),
            _pictures.spark(each["after"]),
            each["try"].format(column=each["column"]),
        ]
        for each in evidence["columns"]
    ]
    head = ["column", "looks", "as it is", "enters from", "after that", "to be tried"]
    return _pictures.table(head, rows)


def _rounded(row: Sequence[Any]) -> list[Any]:
    """Rounding leaves means of 1e-9, which are read as 0."""
    return [0.0 if isinstance(v, float) and abs(v) < 1e-6 else v for v in row]
