"""A disk that fails on demand: system calls that write under a folder raise what a disk says."""

import builtins
import contextlib
import errno
import fnmatch
import io
import os
import pathlib
from collections.abc import Iterator

import pytest

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Disk:
    """Which writes there were under a folder, and how often one was refused."""

    def __init__(self, folder: pathlib.Path, pattern: str, number: int):
        self.folder, self.pattern, self.number = folder.resolve(), pattern, number
        self.seen: list[str] = []
        self.failed = 0

    def write(self, path: object) -> None:
        """Called before each; raises where its name fits the pattern."""
        with contextlib.suppress(ValueError, TypeError):
            name = str(pathlib.Path(os.path.abspath(os.fspath(path))).relative_to(self.folder))
            self.seen.append(name)
            if fnmatch.fnmatch(name, self.pattern):
                self.failed += 1
                raise OSError(self.number, os.strerror(self.number))


@contextlib.contextmanager
def failing(folder: pathlib.Path, pattern: str = "", number: int = errno.ENOSPC) -> Iterator[Disk]:
    """From now on what is written under `folder` to names like `pattern` fails."""
    disk = Disk(folder, pattern, number)
    real_open, real_os_open, real_fsync = io.open, os.open, os.fsync

    def opened(file, mode="r", *rest, **more):
        if set(mode) & set("wax+"):
            disk.write(file)
        return real_open(file, mode, *rest, **more)

    def os_opened(path, flags, *rest, **more):
        if flags & WRITES:
            disk.write(path)
        return real_os_open(path, flags, *rest, **more)

    def synced(handle):
        disk.write(
            os.readlink(f"/proc/self/fd/{handle if isinstance(handle, int) else handle.fileno()}")
        )
        return real_fsync(handle)

    def to(target):
        def call(source, destination, *rest, **more):
            disk.write(destination)
            return target(source, destination, *rest, **more)

        return call

    def made(path, *rest, real=os.mkdir, **more):
        disk.write(path)
        return real(path, *rest, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(io, "open", opened)
        patched.setattr(builtins, "open", opened)
        patched.setattr(os, "open", os_opened)
        patched.setattr(os, "fsync", synced)
        patched.setattr(os, "mkdir", made)
        for name in ("replace", "rename"):
            patched.setattr(os, name, to(getattr(os, name)))
        yield disk
