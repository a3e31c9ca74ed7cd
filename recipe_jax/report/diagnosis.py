"""A diagnosis as one page that opens offline."""

from typing import Any

from recipe_jax.report import page
from recipe_jax.types import Status


def render(diagnosis: Any, name: str = "program") -> str:
    """The page as text: causes first, each with what it explains; then everything that was
    asked."""
    counts = {s.value: sum(f.status == s for f in diagnosis.findings) for s in reversed(Status)}
    asked = [f for f in diagnosis.findings if f.status != Status.SKIP]
    order = list(reversed(Status))
    return page.template("diagnosis.html").render(
        name=name,
        headline=_headline(diagnosis),
        counts=counts,
        causes=diagnosis.causes,
        asked=sorted(asked, key=lambda finding: order.index(finding.status)),
        skipped=[f for f in diagnosis.findings if f.status == Status.SKIP],
        css=page.style(),
        evidence=page.small_evidence,
    )


def _headline(diagnosis: Any) -> str:
    failed = [cause for cause in diagnosis.causes if cause.status == "fail"]
    if failed:
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        return f"Something is wrong: {failed[0].name}{more}."
    if diagnosis.causes:
        return "Nothing is broken; something is worth a look."
    return "Nothing found."
