"""What a person sees while a run goes: a line a finding, and progress where there is a terminal."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from recipe_jax.types import Finding, Status

STYLES = {Status.PASS: "green", Status.SKIP: "dim", Status.WARN: "yellow", Status.FAIL: "bold red"}


class Console:
    """Prints; decides nothing."""

    def __init__(self) -> None:
        self._rich = RichConsole(highlight=False, soft_wrap=False)
        self._progress: Progress | None = None
        self._bars: dict[str, Any] = {}
        self._began = time.monotonic()

    def line(self, text: str = "", style: str = "") -> None:
        """One line, user text in it as it is."""
        # A path must stay in one piece, or it cannot be copied.
        self._rich.print(escape(text), style=style or None, soft_wrap=True)

    def header(self, title: str, lines: Sequence[str]) -> None:
        """What will be run, and what it will cost."""
        self._rich.print(f"[bold]{escape(title)}[/bold]")
        for text in lines:
            self._rich.print(f"  {escape(text)}")

    def stage(self, name: str, expects: str) -> None:
        """A stage begins, with what it expects."""
        self._rich.print(
            f"\n[bold cyan]{escape(name)}[/bold cyan]  [dim]expects:[/dim] {escape(expects)}"
        )
        if self._rich.is_terminal:
            self._progress = Progress(
                TextColumn("  {task.description}"),
                BarColumn(bar_width=30),
                TextColumn("{task.percentage:>3.0f}%  {task.fields[rate]}"),
                TimeElapsedColumn(),
                console=self._rich,
                transient=True,
            )
            self._progress.start()
            self._bars = {}

    def progress(
        self, stage: str, label: str, *, done: int, total: int, lane_steps: int = 0, **_: object
    ) -> None:
        """How far a piece of training is; `lane_steps` of work are in one round of it."""
        # A signal may take the bars away between any two of these lines.
        progress = self._progress
        if progress is None:
            return
        if label not in self._bars:
            bar = progress.add_task(escape(label), total=max(1, total), rate="")
            self._bars[label] = (bar, time.monotonic(), done)
        bar, began, first = self._bars[label]
        seconds = time.monotonic() - began
        rate = f"{(done - first) * lane_steps / seconds:,.0f} lane-steps/s" if seconds > 0.5 else ""
        progress.update(bar, completed=max(1, total) if done >= total else done, rate=rate)

    def finding(self, finding: Finding) -> None:
        """One line a finding; what to do about it below."""
        style = STYLES[finding.status]
        self._rich.print(
            f"  [{style}]{finding.status.value:<4}[/{style}] [bold]{escape(finding.row)}[/bold]  "
            f"{escape(finding.summary)}"
        )
        if finding.remedy:
            self._rich.print(f"       [dim]->[/dim] {escape(finding.remedy)}")

    def decision(self, summary: str, seconds: float) -> None:
        """A stage ends, with what it decided."""
        self.close()
        self._rich.print(f"  [cyan]=>[/cyan] {escape(summary)} [dim]({seconds:.1f} s)[/dim]")

    def interrupted(self, name: str) -> None:
        """A signal came: the run saves, then ends."""
        self.close()
        self.line(f"  {name}: saving, then ending; once more to end at once.", "yellow")

    def close(self) -> None:
        """Takes the progress bars away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
