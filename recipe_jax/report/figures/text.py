"""Text: what a model writes, which symbols it never saw, where in a window it errs."""

from collections.abc import Mapping
from typing import Any

import markupsafe
import plotly.graph_objects as go

from recipe_jax.report.figures import _pictures, _style

Evidence = Mapping[str, Any]


def written(evidence: Evidence) -> markupsafe.Markup:
    """Samples: each prompt, and in the colour of the model what it went on with."""
    return _pictures.passages(evidence["texts"], before=evidence["prompts"])


def unseen_symbols(evidence: Evidence) -> markupsafe.Markup | None:
    """The commonest symbols that training never held."""
    rows = list(zip(evidence["symbols"], evidence["codes"], evidence["counts"]))
    return _pictures.table(["symbol", "code", "how often"], rows) if rows else None


def loss_by_position(evidence: Evidence) -> go.Figure:
    """Nats at each place of the window: context lowers them."""
    curve = _style.line(evidence["positions"], evidence["nats"], name="test", colour=_style.BLUE)
    return _style.frame(curve, caption="Nats by position in the window", x_title="position")
