"""One process at a time writes to a workdir: it holds the file `run.lock` there while it lives.

The system itself holds the lock (flock) and lets go of it when the process ends, however it ends,
so what a killed process leaves behind is taken over without a word. The record in the file is for
the sentence that names the holder, and decides where the disk is shared by machines, or knows no
locks at all.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

from recipe_jax.types import UserError

NAME = "run.lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
"""What flock says on a disk without locks."""
MOST_BYTES = 10_000
ATTEMPTS = 100
"""Every one but the last finds that the holder has removed the file just then."""
PROC = pathlib.Path("/proc")


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
    """Holds the workdir, made where it is not there; UserError names who else does."""
    workdir = workdir.resolve()
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir {workdir} is a file; name a folder.")
    path = workdir / NAME
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        handle = _take(path)
    except OSError as error:
        raise UserError(f"--workdir {workdir} cannot be used: {error.strerror}.") from error
    try:
        yield
    finally:
        # Removed while it is held: whoever opened it meanwhile finds that it is no more.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(handle)


def own_record() -> dict[str, Any]:
    """Who holds a lock that this process takes: pid, host, the start of the machine and of the
    process, None where the system does not tell, and when it was, for people."""
    pid = os.getpid()
    return {
        "pid": pid,
        "host": platform.node(),
        "boot": _boot(),
        "started": _start_of(pid),
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def _take(path: pathlib.Path) -> int:
    """The open file of the lock, once it is this process's."""
    for _ in range(ATTEMPTS):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            free = _lock(handle)
            found = _read(handle, path)
            if free is False or (found and not _is_stale(found, locks=free is not None)):
                raise UserError(_sentence(path, found, certain=free is False))
            if _is_at(handle, path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(own_record()).encode(), 0)
                os.fsync(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise UserError(f"{path} comes and goes; see what removes it, or choose another --workdir.")


def _lock(handle: int) -> bool | None:
    """Whether the lock is this process's now; None where the disk knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _is_at(handle: int, path: pathlib.Path) -> bool:
    """Whether the open file still is the one of that name: its last holder may have removed it."""
    try:
        there, here = os.stat(path, follow_symlinks=False), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _read(handle: int, path: pathlib.Path) -> dict[str, Any]:
    """The record, empty where none was finished; UserError where it is somebody's other file."""
    content = os.pread(handle, MOST_BYTES, 0).strip(b"\0")
    if not content:
        return {}
    try:
        found = json.loads(content)
        if found["pid"] and found["host"]:
            return found
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path} is not the lock of a run; move it away, or choose another --workdir.")


def _is_stale(found: Mapping[str, Any], *, locks: bool) -> bool:
    """Whether the process of a record, whose lock was free or is not known, is gone for certain.

    locks: the system keeps locks here, which settles it on the machine where that process was.
    """
    own = own_record()
    rebooted = found.get("boot") != own["boot"]
    if found["host"] != own["host"] and (rebooted or not locks):
        return False  # another machine may hold a lock that is not seen from here
    if locks or rebooted:
        return True
    return found.get("started") is None or _start_of(found["pid"]) != found["started"]


def _sentence(path: pathlib.Path, found: Mapping[str, Any], *, certain: bool) -> str:
    """Who holds a workdir; certain: the system says that its process lives."""
    who = f"process {found['pid']} on {found['host']}" if found else "another process"
    since = f" since {found['since']}" if "since" in found else ""
    used = f"--workdir {path.parent} is in use by {who}{since}; "
    if certain or found["host"] == platform.node():
        return used + "wait for its end, or choose another --workdir."
    return used + f"if that process is gone, remove {path} and repeat the command."


def _boot() -> str | None:
    """A name of this start of the machine."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _said("sysctl", "-n", "kern.bootsessionuuid")


def _start_of(pid: int) -> str | None:
    """When a process started, in the system's own words; None where there is none of that pid."""
    try:
        # The name before ")" may hold anything; the start is the 22nd field of the line.
        return (PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return _said("ps", "-o", "lstart=", "-p", str(pid))


def _said(*command: str) -> str | None:
    """What a small program of the system prints, in the same words for everybody; None where it
    fails or says nothing."""
    plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True, env=plain
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
