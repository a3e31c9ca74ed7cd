"""Examples worth a look: equal ones, near copies, doubtful labels, strange and broken ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import markupsafe
import plotly.graph_objects as go

from recipe_jax.report import numbers
from recipe_jax.report.figures import Drawing, _pictures, _style

Evidence = Mapping[str, Any]
SHORT = {"validation": "held-out"}
"""Under a small picture there is room for so much."""


def duplicates(evidence: Evidence) -> markupsafe.Markup | None:
    """Examples that are the same: those that belong together side by side."""
    if evidence.get("group"):
        return _together(evidence, "equal inputs")
    pairs = evidence.get("pairs") or []
    if not pairs:
        return None
    return _pictures.table(
        ["examples that are equal"], [[", ".join(map(str, pair))] for pair in pairs]
    )


def near_copies(evidence: Evidence) -> list[Drawing]:
    """Each copy beside its original, and how far validation examples lie from training ones."""
    drawings: list[Drawing] = [_together(evidence, "near copy")] if evidence.get("group") else []
    return [*drawings, _distances(evidence)]


def label_errors(evidence: Evidence) -> Drawing | None:
    """Examples with the label that they have and the one that others suggest."""
    if not evidence.get("ids"):
        return None
    return _listed(
        evidence,
        {
            "id": evidence["ids"],
            "given": evidence["labels"],
            "suggested": evidence["suggested"],
            "doubt": evidence["margin"],
        },
        "{given} or rather {suggested}?\n{id}",
    )


def outliers(evidence: Evidence) -> Drawing:
    """The strangest examples, the strangest first."""
    return _listed(
        evidence,
        {
            "id": evidence["ids"],
            "label": evidence["labels"],
            "times the usual distance": evidence["times"],
        },
        "{label}, {times the usual distance} ×\n{id}",
    )


def corrupt(evidence: Evidence) -> Drawing | None:
    """Broken examples, or the columns with a mark for what is missing."""
    if evidence.get("column"):
        rows = list(zip(evidence["column"], evidence["value"], evidence["count"]))
        return _pictures.table(["column", "value", "how often"], rows, sortable=True)
    if not evidence.get("ids"):
        return None
    head = {"id": evidence["ids"], "label": evidence["labels"], "what": evidence["reason"]}
    return _listed(evidence, head, "{what}\n{id}")


def _listed(
    evidence: Evidence,
    head: Mapping[str, Sequence[Any]],
    caption: str,
    *,
    groups: Sequence[str] = (),
) -> markupsafe.Markup:
    """Pictures or curves with captions; rows of a table behind the columns of `head`, which can be
    sorted."""
    count = min(len(values) for values in head.values())
    if evidence["kind"] in _pictures.DRAWN:
        key, draw = _pictures.DRAWN[evidence["kind"]]
        words = [
            caption.format(**{k: numbers.sensible(values[i], 3) for k, values in head.items()})
            for i in range(count)
        ]
        return draw(evidence[key][:count], words, groups=groups)
    rows = [[*(values[i] for values in head.values()), *evidence["rows"][i]] for i in range(count)]
    return _pictures.table([*head, *evidence["columns"]], rows, sortable=True)


def _together(evidence: Evidence, what: str) -> markupsafe.Markup:
    """Examples group by group."""
    head = {
        "": [f"{what} {number + 1}" for number in evidence["group"]],
        "split": [SHORT.get(name, name) for name in evidence["split"]],
        "id": evidence["ids"],
        "label": evidence["labels"],
    }
    if evidence.get("distance"):
        head["distance"] = evidence["distance"]
    return _listed(evidence, head, "{label}\n{split} {id}", groups=head[""])


def _distances(evidence: Evidence) -> go.Figure:
    """How far training and validation examples lie from the nearest other training example."""
    shares = [_style.array(evidence[name]) for name in ("own", "held")]
    middles = [0.1 * i + 0.05 for i in range(len(shares[0]))]
    traces = []
    for counts, label, colour in zip(
        shares, ("training", "validation"), (_style.BLUE, _style.ORANGE)
    ):
        traces.append(
            go.Scatter(
                x=middles,
                y=_style.listed(counts / max(counts.sum(), 1)),
                mode="lines",
                name=label,
                line={"color": colour, "width": 2, "shape": "hvh"},
                hovertemplate="%{x:.2f}: %{y:.1%}<extra>" + label + "</extra>",
            )
        )
    return _style.frame(
        *traces,
        caption="Share of examples by the distance to the nearest training example, in usual ones",
        x_title="times the usual distance (2 and more in the last)",
        yaxis_tickformat=".0%",
    )
