"""Where a result comes from: command, code and its diff, versions, devices."""

import hashlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

import jax

MAX_DIFF_BYTES = 200_000
GIT_SECONDS = 20
PACKAGES = (
    "recipe_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "clu",
    "ml-collections",
    "numpy",
    "pandas",
    "scikit-learn",
    "optuna",
    "plotly",
    "jinja2",
    "tensorboardX",
    "absl-py",
)
ROOT = pathlib.Path(__file__).parent


def provenance(argv: Sequence[str]) -> dict[str, Any]:
    """What run.json says about who made the result; nothing in it comes from a clock."""
    devices = jax.devices()
    return {
        "command": list(argv),
        "git": git_state(_repository()),
        "code": code_digest(ROOT),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": {
            "platform": devices[0].platform,
            "kind": devices[0].device_kind,
            "count": len(devices),
            "processes": jax.process_count(),
            "cpus": os.cpu_count(),
        },
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def git_state(folder: pathlib.Path | None) -> dict[str, Any]:
    """Commit, and what differs from it; all None where there is no repository or no git.

    `diff` is against the commit, at most 200 kB of it (`diff_cut` says so); files that git does not
    know are not in it, and are listed as `untracked`.
    """
    status = folder and _git(folder, "status", "--porcelain=v1", "-z")
    if folder is None or status is None:
        return {"commit": None, "dirty": None, "diff": None, "diff_cut": None, "untracked": None}
    entries = [entry for entry in status.split("\0") if entry]
    untracked = [entry[3:] for entry in entries if entry.startswith("?? ")]
    commit = _git(folder, "rev-parse", "--verify", "-q", "HEAD")
    diff = "" if commit is None else _git(folder, "diff", "--no-color", "--no-ext-diff", "HEAD")
    encoded = (diff or "").encode()
    cut = len(encoded) > MAX_DIFF_BYTES
    if cut:
        kept = encoded[:MAX_DIFF_BYTES].decode(errors="ignore").rpartition("\n")[0]
        diff = f"{kept}\n[cut here: only the first {MAX_DIFF_BYTES // 1000} kB are kept]\n"
    return {
        "commit": commit and commit.strip(),
        "dirty": bool(entries),
        "diff": diff,
        "diff_cut": cut,
        "untracked": untracked[:100],
    }


def code_digest(folder: pathlib.Path) -> str:
    """SHA-256 over the Python files of a folder: tells two versions apart where there is no git."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _repository() -> pathlib.Path | None:
    """The repository that holds this package, else the one around the working directory.

    An installed package may lie inside somebody's repository without being part of it, so the
    first counts only if it tracks this file.
    """
    if _git(ROOT, "ls-files", "--error-unmatch", pathlib.Path(__file__).name) is not None:
        return ROOT.parent
    here = pathlib.Path.cwd()
    return None if _git(here, "rev-parse", "--git-dir") is None else here


def _git(folder: pathlib.Path, *command: str) -> str | None:
    """What git prints, a little more than a diff may hold; None when it fails or is missing."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    # A diff may be larger than memory, so it goes through a file.
    with tempfile.TemporaryFile() as output:
        try:
            subprocess.run(
                ["git", "-C", str(folder), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=GIT_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        output.seek(0)
        return output.read(MAX_DIFF_BYTES + 1000).decode(errors="replace")


def _version(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
