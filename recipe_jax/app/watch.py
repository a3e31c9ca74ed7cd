"""A run's growing report on a page that this machine alone can open; the workdir is only read."""

import contextlib
import csv
import json
import os
import pathlib
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from recipe_jax import writers
from recipe_jax.app import localhost
from recipe_jax.app.console import Console
from recipe_jax.report import content, live
from recipe_jax.types import UserError

LEAST_SECONDS = 2.0
"""Between two drawings of the page, however quickly it is drawn."""
SHARE, SHARE_IN_RUN = 0.5, 0.1
"""The part of the time that drawing may take, by itself and in the process of the run."""
LOOKED_SECONDS, LAST_SECONDS = 10.0, 5.0
"""A page that asked so lately is looked at; so long it may take to fetch how the run ended."""
POLL_SECONDS = 0.1
DIGESTS = re.compile(r"/state\?have=((?:[0-9a-f]{16}(?:\.[0-9a-f]{16})*)?)")
MISSING = (UserError, OSError, ValueError, csv.Error)
"""What reading raises while a file is being written, or is damaged."""

Stamp = tuple[tuple[int, int, int] | None, ...]


class Read(NamedTuple):
    """metrics.jsonl so far: which file it is, the bytes that were read, and what they say."""

    file: int = 0
    offset: int = 0
    progress: live.Progress = live.Progress()


class Watched:
    """A workdir as a page, drawn again when what it shows has changed.

    share: the part of the time that drawing may take; clock: seconds that only grow; now: seconds
    as files have them.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        share: float = SHARE,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ):
        self.workdir, self.share, self.clock, self.now = workdir, share, clock, now
        self._lock = threading.Lock()
        self._read = Read()
        self._stamp: Stamp | None = None
        self._page: live.Page | None = None
        self._next = -float("inf")
        self._run: Mapping[str, Any] = {}

    def page(self) -> live.Page:
        """The page as it stands."""
        with self._lock:
            self._run = self._run_now()
            return self._drawn()

    def state(self, have: Collection[str]) -> dict[str, Any]:
        """What runs now, and what a reader needs who has parts of these digests."""
        with self._lock:
            self._run = self._run_now()
            self._read = read_on(self._read, self.workdir / "metrics.jsonl")
            changed = last_change(stamp(self.workdir))
            quiet = None if changed is None else max(0.0, self.now() - changed)
            told = live.now(self._run, self._read.progress, quiet or 0.0)
            return {**live.changes(self._drawn(), have), **told, "quiet_seconds": quiet}

    def _run_now(self) -> Mapping[str, Any]:
        with contextlib.suppress(*MISSING):
            return content.read(self.workdir / "run.json", {})
        return self._run

    def _drawn(self) -> live.Page:
        """Drawn anew where that is due; the end of a run always is."""
        found, began = stamp(self.workdir), self.clock()
        due = began >= self._next or live.has_ended(self._run)
        if self._page is None or (found != self._stamp and due):
            try:
                told, self._stamp = content.collect(self.workdir), found
            except MISSING:
                # A page that is there is better than one without the file; it is tried again.
                told = None if self._page else content.collect(self.workdir, lenient=True)
            if told is not None:
                self._page = live.draw(told, self._page)
            took = self.clock() - began
            self._next = self.clock() + max(LEAST_SECONDS, took * (1 / self.share - 1))
        assert self._page is not None, "the first page is drawn at once"
        return self._page


class Server(localhost.Server):
    """Serves a workdir's page; closes: it ends with the run. `told_end` is set once a reader has
    been told that the run has ended."""

    def __init__(self, port: int, watched: Watched, *, closes: bool = False):
        super().__init__(port, Handler)
        self.watched, self.closes = watched, closes
        self.asked_at, self.told_end = -float("inf"), threading.Event()


class Handler(localhost.Handler):
    """Answers GET / and /state; nothing else is there."""

    server: Server

    def do_GET(self) -> None:
        """The page, or what has changed in it."""
        if not self.from_here():
            return
        server, asked = self.server, DIGESTS.fullmatch(self.path)
        if self.path == "/":
            return self.send(200, server.watched.page().text, "text/html")
        if asked is None:
            return self.say(404, "There is nothing here.")
        server.asked_at = server.watched.clock()
        told = server.watched.state(asked[1].split(".")) | {"closes": server.closes}
        self.send(200, writers.to_json(told), "application/json")
        if told["ended"]:
            server.told_end.set()

    def policy(self) -> str:
        """That of the page."""
        return live.policy()


def serve(workdir: pathlib.Path, *, port: int, console: Console) -> None:
    """Serves the page of a workdir until Ctrl-C."""
    watched = Watched(workdir)
    with localhost.listening(lambda at: Server(at, watched), port) as server:
        console.line(f"Open {server.address} to watch {workdir} (Ctrl-C ends)")
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(POLL_SECONDS)


@contextlib.contextmanager
def beside(workdir: pathlib.Path, console: Console) -> Iterator[None]:
    """Serves the page of a run in this process for as long as it goes; a page that is looked at
    then gets a moment to fetch how it ended."""
    watched = Watched(workdir, share=SHARE_IN_RUN)
    with localhost.listening(lambda at: Server(at, watched, closes=True), 0) as server:
        console.line(f"  watch at  {server.address}")
        threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
        try:
            yield
            if watched.clock() - server.asked_at < LOOKED_SECONDS:
                server.told_end.wait(LAST_SECONDS)
        finally:
            server.shutdown()


def stamp(workdir: pathlib.Path) -> Stamp:
    """Of each file that a page is drawn from, what changes when it is written: (file, bytes, time
    in ns), None where there is none."""
    found = []
    for name in content.FILES:
        try:
            status = (workdir / name).stat()
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            found.append(None)
    return tuple(found)


def last_change(found: Stamp) -> float | None:
    """When one of the files was written last, in seconds; None without files."""
    return max((each[2] / 1e9 for each in found if each), default=None)


def read_on(before: Read, path: pathlib.Path) -> Read:
    """With the whole lines that were added since; anew where it is another file or was cut back."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino != before.file or status.st_size < before.offset:
                before = Read(status.st_ino)
            file.seek(before.offset)
            text = file.read()
    except OSError:
        return Read()
    whole = text[: text.rfind(b"\n") + 1]
    rows = []
    for line in whole.splitlines():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    progress = live.followed(before.progress, (row for row in rows if isinstance(row, dict)))
    return Read(before.file, before.offset + len(whole), progress)
