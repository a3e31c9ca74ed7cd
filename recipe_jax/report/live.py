"""The report of a run that is still going: its parts, which of them changed, and what runs now."""

import functools
import hashlib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from recipe_jax.report import numbers, page
from recipe_jax.types import ENDED

PART = re.compile(
    r"<(header|nav)\b.*?</\1>|<(section) id=\"(?P<id>[^\"]+)\".*?</section>", re.DOTALL
)
FIGURE = re.compile(r'data-figure="(\w+)"')
DECIDING = {"nats_per_char": min, "accuracy": max, "mse": min, "loss": min}
"""What scores are told in, the first that is measured; and which of two is better."""
QUIET_SECONDS = 120
"""Without a change for longer, a run may have been stopped."""


class Part(NamedTuple):
    """A piece of the page as HTML, named by its digest."""

    html: str
    digest: str


class Page(NamedTuple):
    """The page as text, its parts in order by their id, and what is drawn in them."""

    text: str
    parts: Mapping[str, Part]
    canvas: page.Canvas

    @property
    def version(self) -> str:
        """Changes when and only when a part does."""
        return _digest(f"{name} {part.digest}" for name, part in self.parts.items())


class Progress(NamedTuple):
    """What metrics.jsonl says of the stage that wrote last.

    request, epoch: the last ones; training: trials of that request; before: those of earlier ones;
    best: (metric, its best value on validation), None where none was measured.
    """

    stage: str = ""
    request: str = ""
    epoch: float = 0.0
    training: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    best: tuple[str, float] | None = None


def draw(told: Mapping[str, Any], before: Page | None = None) -> Page:
    """The report's page with a line about what runs now, and a script that follows the run.

    before: the page until now; what has not changed is not drawn again.
    """
    canvas = page.Canvas(before.canvas if before else None)
    text = page.render(told, canvas, {"style": _style(), "script": _script()})
    return Page(text, parts(text), canvas)


def parts(text: str) -> dict[str, Part]:
    """The header, the contents and the sections of a page; what lies around them never changes."""
    body = text[text.index("<body>") : text.index('<script type="application/json"')]
    found = {match["id"] or match[1]: match[0] for match in PART.finditer(body)}
    return {name: Part(html, _digest([html])) for name, html in found.items()}


def changes(shown: Page, have: Collection[str]) -> dict[str, Any]:
    """What a reader needs who has parts of these digests: every part by its name, in order, with
    its HTML where it is new, and the figures of new parts."""
    new = {name: part for name, part in shown.parts.items() if part.digest not in have}
    named = {figure for part in new.values() for figure in FIGURE.findall(part.html)}
    return {
        "version": shown.version,
        "parts": [
            {"name": name, "digest": part.digest} | ({"html": part.html} if name in new else {})
            for name, part in shown.parts.items()
        ],
        "figures": {name: shown.canvas.figures[name] for name in sorted(named)},
    }


@functools.cache
def policy() -> str:
    """The Content-Security-Policy of the page, as a header."""
    hashes = page.scripts(page.Canvas(), before=[_script()])["hashes"]
    return page.policy(hashes, connects=True) + "; frame-ancestors 'none'"


def followed(progress: Progress, rows: Iterable[Mapping[str, Any]]) -> Progress:
    """With more rows of metrics.jsonl."""
    stage, request, epoch, *_ = progress
    training, before, best = set(progress.training), set(progress.before), progress.best
    for row in rows:
        if row.get("stage") != stage:
            stage, request, best = row.get("stage") or "", "", None
            training, before = set(), set()
        if row.get("request") != request:
            request, before, training = row.get("request") or "", before | training, set()
        training.add(str(row.get("trial")))
        epoch = row.get("epoch") or 0.0
        if row.get("split") == "validation":
            best = _better(best, row)
    return Progress(
        str(stage), str(request), epoch, frozenset(training), frozenset(before - training), best
    )


def has_ended(run: Mapping[str, Any]) -> bool:
    """run.json says that the run came to its end."""
    return run.get("status") in ENDED


def now(run: Mapping[str, Any], progress: Progress, quiet_seconds: float) -> dict[str, Any]:
    """The line at the top: {ended, state, words}; quiet_seconds: since the last change."""
    if not run:
        return {"ended": False, "state": "Waiting", "words": ["no run is recorded here yet"]}
    if has_ended(run):
        took = numbers.duration(run.get("total_seconds"))
        code = run.get("exit_code")
        words = [f"in {took}"] if took else []
        words += [] if code is None else [f"exit code {code}"]
        words += ["a gate closed"] if run["status"] == "gate closed" else []
        return {"ended": True, "state": "The run has ended", "words": words}
    stages = [*(run.get("stages") or [])]
    going = [place for place, stage in enumerate(stages) if stage.get("state") == "running"]
    if not going:
        return {"ended": False, "state": "Running", "words": ["getting ready"]}
    place = going[-1]
    name = stages[place]["name"]
    words = [f"{name} ({place + 1} of {len(stages)})"]
    if progress.stage == name:
        words += _training(progress, _planned(run, place))
    state = "Running" if quiet_seconds < QUIET_SECONDS else "Quiet: at something long, or stopped"
    return {"ended": False, "state": state, "words": words}


def _training(progress: Progress, planned: int) -> list[str]:
    """The request, its lanes, and the best score of the stage."""
    training, done = len(progress.training), len(progress.before)
    words = [progress.request] if progress.request else []
    # A plan cannot know what open comparisons add.
    among = f" of {numbers.sensible(planned)}" if done + training <= planned else ""
    words.append(f"{numbers.sensible(done)}{among} lane{'s' * (among != '' or done != 1)} done")
    epoch = numbers.sensible(float(progress.epoch), 3)
    words.append(f"{numbers.sensible(training)} at epoch {epoch}")
    if progress.best is not None:
        metric, value = progress.best
        words.append(f"best validation {metric} {numbers.sensible(value)}")
    return words


def _planned(run: Mapping[str, Any], place: int) -> int:
    stages = (run.get("plan") or {}).get("stages") or []
    return stages[place].get("lanes", 0) if place < len(stages) else 0


def _better(best: tuple[str, float] | None, row: Mapping[str, Any]) -> tuple[str, float] | None:
    """The better of a score and that of a row, by the metric that was met first."""
    for metric in DECIDING if best is None else best[:1]:
        value = row.get(metric)
        if isinstance(value, int | float) and math.isfinite(value):
            return metric, value if best is None else DECIDING[metric](best[1], value)
    return best


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


@functools.cache
def _style() -> str:
    return page.text("live.css")


@functools.cache
def _script() -> str:
    return page.text("live.js")
