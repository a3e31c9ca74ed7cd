"""What a machine is told while a run goes: one JSON object a line on stdout, and nothing else."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from recipe_jax import writers
from recipe_jax.app.console import Console, Counted
from recipe_jax.app.watched import Watched
from recipe_jax.types import Asked, Finding

EVERY_SECONDS = 1.0
"""Between two objects about progress."""


class JsonConsole(Console):
    """In place of lines for a person: {"event": ..., ...}, with these events.

    config      settings                            what --dry-run shows
    plan        title, lines                        what will be run, and what it will cost
    stage       stage, expects                      a stage begins
    progress    stage, request, lanes, steps, best  at most once a second
    finding     stage, row, check, status, summary, remedy, fault
    decision    stage, summary, run_seconds         a stage ends
    diagnosis   name, status, causes                what doctor found, before its findings
    comparison  what comparison.html shows
    signal      name                                it saves, then ends
    note        text                                all else that a person would read
    result      exit_code, and workdir, report, page or error where there is one; always the last
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._stage, self._said_at = clock, "", -float("inf")

    def tell(self, event: str, **fields: Any) -> bool:
        """One object, at once."""
        print(writers.to_json({"event": event, **fields}), flush=True)
        return True

    def line(self, text: str = "", style: str = "") -> None:
        """What a person would read; empty lines are for the eye."""
        if text.strip():
            self.tell("note", text=text.strip())

    def header(self, title: str, lines: Sequence[str]) -> None:
        """What will be run, and what it will cost."""
        self.tell("plan", title=title, lines=lines)

    def stage(self, name: str, expects: str, *, lane_steps: int = 0) -> None:
        """A stage begins."""
        self._stage, self._counted = name, Counted(planned=lane_steps, began=self._clock())
        self.tell("stage", stage=name, expects=expects, planned_steps=lane_steps)

    def progress(self, watched: Watched) -> None:
        """How far the stage is; what comes within a second of the last is left out."""
        self._counted = counted = self._counted.plus(watched)
        now = self._clock()
        if now - self._said_at < EVERY_SECONDS:
            return
        self._said_at = now
        seconds = now - counted.began
        self.tell(
            "progress",
            stage=self._stage,
            request=watched.label,
            steps=counted.steps,
            planned_steps=counted.planned,
            lanes_done=counted.done,
            lanes_diverged=counted.diverged,
            lanes_stopped=counted.stopped,
            best=watched.best,
            run_seconds=seconds,
            steps_per_second=counted.steps / seconds if seconds > 0 else None,
        )

    def finding(self, finding: Finding) -> None:
        """What was found; its evidence lies in findings.json."""
        self.tell(
            "finding",
            stage=self._stage,
            row=finding.row,
            check=finding.check,
            status=finding.status,
            summary=finding.summary,
            remedy=finding.remedy,
            fault=finding.fault,
        )

    def asked(self, asked: Asked) -> None:
        """Every question is a finding."""
        for finding in asked.findings:
            self.finding(finding)

    def decision(self, summary: str, seconds: float) -> None:
        """A stage ends, with what it decided."""
        self.tell("decision", stage=self._stage, summary=summary, run_seconds=seconds)

    def interrupted(self, name: str) -> None:
        """A signal came: the run saves, then ends."""
        self.tell("signal", name=name)

    def close(self) -> None:
        """There is no bar to take away."""
