"""Where a result comes from: command, code and its diff, versions, devices."""

import hashlib
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
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
# Settings of jax, by flag or by environment, that change what a program computes.
NUMERICS = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_threefry_partitionable",
)
VECTORS = re.compile(r"(avx|fma|amx|sve|sme|asimd|neon)\w*")
ROOT = pathlib.Path(__file__).parent
DRAWN = ("report",)
"""Folders of the package that only show what was computed."""


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
            "vectors": vector_units(),
        },
        "numerics": {name: str(getattr(jax.config, name)) for name in NUMERICS},
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


def vector_units() -> str:
    """What the processor has for arithmetic on vectors: XLA compiles for it. Empty where the system
    does not list it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    listed = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    units = {word for word in listed.split() if VECTORS.fullmatch(word)}
    return " ".join([platform.machine(), *sorted(units)])


def plugin_digests(config: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the files of those plug-ins that a config names outside the package, by module."""
    names = (
        part["name"] for part in config.values() if isinstance(part, Mapping) and "name" in part
    )
    found = {}
    for module in sorted({name.partition(":")[0] for name in names if ":" in str(name)}):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin is not None and os.path.isfile(spec.origin):
            found[module] = hashlib.sha256(pathlib.Path(spec.origin).read_bytes()).hexdigest()
    return found


def code_digest(folder: pathlib.Path) -> str:
    """SHA-256 over the Python files of a folder: tells two versions apart where there is no git.
    Pages may be drawn in another way and are left out."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        if file.relative_to(folder).parts[0] in DRAWN:
            continue
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
    try:
        # A diff may be larger than memory, so it goes through a file.
        with tempfile.TemporaryFile() as output:
            subprocess.run(
                ["git", "-C", str(folder), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=GIT_SECONDS,
                check=True,
            )
            output.seek(0)
            return output.read(MAX_DIFF_BYTES + 1000).decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
