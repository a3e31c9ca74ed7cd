"""Ctrl-C and SIGTERM: the first one asks for a save and a clean end, the second ends at once."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

# `timeout`, `uv run` and job managers send one signal twice; that is still one wish to end.
GRACE_SECONDS = 1.0
LISTENED = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The run ended because a signal asked for it, after saving."""

    def __init__(self, number: int):
        self.exit_code = 128 + number
        super().__init__(f"stopped by {signal.Signals(number).name}")


class Signals:
    """Remembers the signal that asked this process to stop; `tell` is called with its name."""

    def __init__(self, tell: Callable[[str], None] = lambda name: None) -> None:
        self.number = 0
        self.tell = tell

    @property
    def received(self) -> bool:
        """Somebody asked for an end."""
        return self.number != 0

    def install(self) -> None:
        """Listens for SIGINT and SIGTERM from now on."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        threading.Thread(target=_end_at_the_second, args=(reading,), daemon=True).start()
        for number in LISTENED:
            signal.signal(number, self._note)

    def leave(self) -> None:
        """Ends the run, what is needed having been saved."""
        raise Interrupted(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number = number
            self.tell(signal.Signals(number).name)


def _end_at_the_second(reading: int) -> None:
    """Watches beside the main thread, which hears nothing while compiled code keeps it waiting."""
    first = None
    while True:
        number = os.read(reading, 1)[0]
        if number not in LISTENED:
            continue
        first = first or time.monotonic()
        if time.monotonic() - first > GRACE_SECONDS:
            os._exit(128 + number)
