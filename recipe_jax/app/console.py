"""What a person sees while a run goes: a line a finding, and progress where there is a terminal."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from recipe_jax.app.watched import Watched
from recipe_jax.report.numbers import duration
from recipe_jax.types import Asked, Finding, Status

NAMES, FINDINGS = 10, 7
"""Columns that the names of the header's lines take, and the status of a finding."""
STYLES = {Status.PASS: "green", Status.SKIP: "dim", Status.WARN: "yellow", Status.FAIL: "bold red"}


class Counted(NamedTuple):
    """A stage so far: steps planned and made, lanes that are done, that diverged, that stopped;
    `under_way` are the steps and lanes of the group that is training."""

    planned: int = 0
    began: float = 0.0
    finished: int = 0
    done: int = 0
    diverged: int = 0
    stopped: int = 0
    under_way: Watched | None = None

    @property
    def steps(self) -> int:
        """Made by all lanes together."""
        now = self.under_way
        return self.finished + (now.rounds[0] * now.lane_steps if now else 0)

    def plus(self, watched: Watched) -> "Counted":
        """With what is told of a group; at its end it counts as done."""
        if watched.rounds[0] < watched.rounds[1]:
            return self._replace(under_way=watched)
        return self._replace(
            finished=self.finished + watched.rounds[1] * watched.lane_steps,
            done=self.done + watched.lanes,
            diverged=self.diverged + watched.diverged,
            stopped=self.stopped + watched.stopped,
            under_way=watched._replace(rounds=(0, 1)),
        )

    def told(self, now: float) -> str:
        """One line: the best score, lanes, speed, time left."""
        seconds = now - self.began
        live = self.under_way
        parts = [] if live is None or live.best is None else [f"best {live.best:.4g}"]
        parts.append(f"{self.done:,} done")
        parts += [
            f"{count:,} {name}"
            for name, count in (("diverged", self.diverged), ("stopped", self.stopped))
            if count
        ]
        if seconds > 1.0 and self.steps:
            rate = self.steps / seconds
            parts.append(f"{rate:,.0f} lane-steps/s")
            if self.planned > self.steps:
                parts.append(f"{duration((self.planned - self.steps) / rate)} left")
        return " · ".join(parts)


class Console:
    """Prints; decides nothing."""

    def __init__(self) -> None:
        self._rich = RichConsole(highlight=False, soft_wrap=False)
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._counted = Counted()

    def line(self, text: str = "", style: str = "") -> None:
        """One line, user text in it as it is."""
        # A path must stay in one piece, or it cannot be copied.
        self._rich.print(escape(text), style=style or None, soft_wrap=True)

    def tell(self, event: str, **fields: Any) -> bool:
        """Tells a machine; False where a person looks on, who is told in lines instead."""
        return False

    def header(self, title: str, lines: Sequence[str]) -> None:
        """What will be run, and what it will cost."""
        self._rich.print(f"[bold]{escape(title)}[/bold]")
        for text in lines:
            self._beside("  ", escape(text), indent=2 + NAMES)

    def stage(self, name: str, expects: str, *, lane_steps: int = 0) -> None:
        """A stage begins, with what it expects, and how many steps it plans to make."""
        self._rich.print()
        self._beside(
            f"[bold cyan]{escape(name)}[/bold cyan]  ",
            f"[dim]expects:[/dim] {escape(expects)}",
            indent=len(name) + 2,
        )
        self._counted = Counted(planned=lane_steps, began=time.monotonic())
        if self._rich.is_terminal:
            self._progress = Progress(
                TextColumn("  {task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.percentage:>3.0f}%  {task.fields[told]}"),
                console=self._rich,
                transient=True,
            )
            self._progress.start()
            self._bar = self._progress.add_task("getting ready", total=max(1, lane_steps), told="")

    def progress(self, watched: Watched) -> None:
        """How far the stage is, with a group of lanes as it stands."""
        self._counted = counted = self._counted.plus(watched)
        # A signal may take the bar away between any two of these lines.
        progress = self._progress
        if progress is None or self._bar is None:
            return
        # A plan counts steps of the config's own batch size: it may fall short.
        total = max(counted.planned, counted.steps, 1)
        told = counted.told(time.monotonic())
        label = escape(watched.label)
        progress.update(
            self._bar, description=label, total=total, completed=counted.steps, told=told
        )

    def finding(self, finding: Finding) -> None:
        """One line a finding; what to do about it below."""
        style = STYLES[finding.status]
        self._beside(
            f"  [{style}]{finding.status.value:<4}[/{style}] ",
            f"[bold]{escape(finding.row)}[/bold]  {escape(finding.summary)}",
            indent=FINDINGS,
        )
        if finding.remedy:
            remedy = escape(finding.remedy)
            self._beside(" " * FINDINGS + "[dim]->[/dim] ", remedy, indent=FINDINGS + 3)

    def asked(self, asked: Asked) -> None:
        """One line for all questions that were answered well, and one for each other."""
        others = [each for each in asked.findings if each.status != Status.PASS]
        all_of_them, passed = len(asked.findings), len(asked.findings) - len(others)
        if passed:
            style = STYLES[Status.PASS]
            count = f"{passed} of {all_of_them}" if others else f"{passed}"
            self._rich.print(
                f"  [{style}]PASS[/{style}] {count} question{'s' * (all_of_them != 1)} about "
                f"{escape(asked.about)}: {'these' if others else 'all'} passed"
            )
        for each in others:
            self.finding(each)

    def decision(self, summary: str, seconds: float) -> None:
        """A stage ends, with what it decided."""
        self.close()
        self._beside(
            "  [cyan]=>[/cyan] ", f"{escape(summary)} [dim]({seconds:.1f} s)[/dim]", indent=5
        )

    def interrupted(self, name: str) -> None:
        """A signal came: the run saves, then ends."""
        self.close()
        self.line(f"  {name}: saving, then ending; once more to end at once.", "yellow")

    def _beside(self, head: str, body: str, *, indent: int) -> None:
        """Markup that begins with `head`; what does not fit goes on below, indented. Where nobody
        looks it stays one line, for those who search it."""
        if not self._rich.is_terminal:
            self._rich.print(f"{head}{body}", soft_wrap=True)
            return
        lines = Text.from_markup(body).wrap(self._rich, max(20, self._rich.width - indent))
        for place, line in enumerate(lines):
            self._rich.print(" " * indent if place else Text.from_markup(head), line, sep="")

    def close(self) -> None:
        """Takes the progress bars away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
