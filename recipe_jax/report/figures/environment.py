"""The run as a whole: its settings, its parts, and which expectation held."""

from collections.abc import Mapping
from typing import Any

import markupsafe

from recipe_jax.report.figures import _pictures

Evidence = Mapping[str, Any]
MOST_WORDS = 320
MARKS = {"held": "✓ held", "did not hold": "✗ did not hold", "open": "? open"}


def settings(evidence: Evidence) -> markupsafe.Markup | None:
    """What differs from the defaults, beside them; nothing is drawn where nothing does."""
    if not evidence["changed"]:
        return None
    rows = [*zip(evidence["changed"], evidence["values"], evidence["defaults"])]
    return _pictures.table(["setting", "here", "default"], rows, caption="Not at their defaults")


def parts(evidence: Evidence) -> markupsafe.Markup:
    """Which file each part comes from."""
    rows = [*zip(evidence["section"], evidence["name"], evidence["file"])]
    return _pictures.table(["part", "name", "file"], rows)


def expectations(evidence: Evidence) -> markupsafe.Markup:
    """Every expectation, what became of it, and the finding that says so."""
    told = zip(*(evidence[key] for key in ("stages", "claims", "verdicts", "why")))
    rows = [
        [stage, f"{claim[0].upper()}{claim[1:]}", MARKS[verdict], _words(why)]
        for stage, claim, verdict, why in told
    ]
    told = _pictures.table(["stage", "expected", "what came", "because"], rows)
    return markupsafe.Markup('<div class="wrap">{}</div>').format(told)


def _words(text: Any) -> markupsafe.Markup:
    """A sentence, which may be longer than a cell usually is."""
    words = str(text)
    cut = words if len(words) <= MOST_WORDS else f"{words[: MOST_WORDS - 1]}…"
    return markupsafe.Markup("{}").format(cut)
