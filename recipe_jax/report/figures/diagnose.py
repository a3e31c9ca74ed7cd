"""What to try next, each as a command to paste."""

from collections.abc import Mapping
from typing import Any

import markupsafe

from recipe_jax.report.figures import _pictures, _style


def verdict(evidence: Mapping[str, Any]) -> markupsafe.Markup | None:
    """The next steps, best first: what each is worth, and how to take it."""
    steps = evidence.get("next")
    if not steps:
        return None
    rows = markupsafe.Markup("").join(
        markupsafe.Markup("<li><b>{}</b>{}<pre><code>{}</code></pre></li>").format(
            _style.cut(step["name"], 80), _worth(step, evidence), str(step["command"])
        )
        for step in steps
    )
    return markupsafe.Markup('<ol class="next">{}</ol>').format(rows)


def budget(evidence: Mapping[str, Any]) -> list[markupsafe.Markup] | None:
    """The numbers now and by the next budget, and the changes that are open."""
    tables = []
    if evidence["numbers"]:
        rows = zip(evidence["numbers"], evidence["now"], evidence["bigger"])
        columns = ["", "now", _style.cut(evidence["bigger_name"], 40)]
        tables.append(_pictures.table(columns, list(rows)))
    if evidence["open"]:
        needs = ["no number" if each is None else each for each in evidence["needs"]]
        rows = zip(evidence["open"], evidence["seeds"], needs)
        tables.append(_pictures.table(["open", "seeds so far", "would take"], list(rows)))
    return tables or None


def _worth(step: Mapping[str, Any], evidence: Mapping[str, Any]) -> str:
    if step.get("gain") is None:
        return ""
    how = "measured" if step.get("measured") else "expected"
    return f", {step['gain']:+.3g} {how} of {_style.cut(evidence.get('metric', 'the score'))}"
