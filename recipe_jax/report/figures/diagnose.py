"""What to try next, each as a command to paste."""

from collections.abc import Mapping
from typing import Any

import markupsafe

from recipe_jax.report.figures import _style


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


def _worth(step: Mapping[str, Any], evidence: Mapping[str, Any]) -> str:
    if step.get("gain") is None:
        return ""
    how = "measured" if step.get("measured") else "expected"
    return f", {step['gain']:+.3g} {how} of {_style.cut(evidence.get('metric', 'the score'))}"
