"""Checkpoints: arrays and a SHA-256 manifest, renamed into place when complete.

Large ones are written by orbax, small ones as one npz file: orbax takes 15 to 60 ms for the
smallest, and a short run stores dozens of results. Orbax does not protect the payload of its array
files: one flipped bit restores wrong weights without a word. So every file of a checkpoint is
hashed when it is written and compared when it is read; a damaged checkpoint is named and passed
over, and the one before it is used.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from recipe_jax.resolve import Between, NonNegative
from recipe_jax.types import PyTree

MANIFEST, META, ARRAYS, NPZ = "manifest.json", "meta.json", "arrays", "arrays.npz"
SMALL = 2**20
"""Bytes up to which arrays go into one npz file."""
STEP = re.compile(r"0|[1-9][0-9]*")


class Checkpoint(NamedTuple):
    """The `checkpoint` section. every_seconds: least time between two saves of training under way;
    keep: how many of them stay (two at least, so that there is always one to fall back to)."""

    every_seconds: NonNegative = 30.0
    keep: Annotated[int, Between(2)] = 2


class Restored(NamedTuple):
    """A checkpoint read back: arrays by name, and the JSON data saved beside them."""

    step: int
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints of one piece of training, in one directory: `<directory>/<step>/`."""

    def __init__(self, directory: pathlib.Path, *, keep: int = 2):
        self.directory = directory
        self.keep = keep
        self.damage: list[str] = []

    def save(self, step: int, tree: PyTree, meta: dict[str, Any]) -> None:
        """Writes a checkpoint; it exists under its step once it is complete and on disk. Older ones
        than the last `keep` are removed after that."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for leftover in self.directory.glob("unfinished-*"):
            _remove(leftover)
        unfinished = self.directory / f"unfinished-{step}"
        final = self.directory / str(step)
        unfinished.mkdir()
        arrays = flatten(tree)
        if sum(leaf.nbytes for leaf in arrays.values()) <= SMALL:
            np.savez(unfinished / NPZ, **arrays)  # pyright: ignore[reportArgumentType]
        else:
            _to_orbax(unfinished / ARRAYS, arrays)
        shapes = {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in arrays.items()}
        (unfinished / META).write_text(json.dumps({"arrays": shapes, "meta": meta}))
        files = sorted(p for p in unfinished.rglob("*") if p.is_file())
        manifest = {str(p.relative_to(unfinished)): _digest(p) for p in files}
        (unfinished / MANIFEST).write_text(_signed(manifest))
        for path in (*files, unfinished / MANIFEST, *_folders(unfinished)):
            _sync(path)
        _remove(final)
        unfinished.rename(final)
        _sync(self.directory)
        for old in self.steps()[: -self.keep]:
            _remove(self.directory / str(old))

    def restore(self) -> Restored | None:
        """The newest checkpoint that is whole; None when there is none. `damage` says what was
        passed over and why."""
        for step in reversed(self.steps()):
            folder = self.directory / str(step)
            try:
                return self._read(step, folder)
            except Exception as error:  # orbax raises ValueError, KeyError, bare Exception, ...
                self.damage.append(f"{folder}: {' '.join(str(error).split())}")
        return None

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, oldest first."""
        if not self.directory.is_dir():
            return []
        return sorted(
            int(p.name)
            for p in self.directory.iterdir()
            if STEP.fullmatch(p.name) and p.is_dir() and not p.is_symlink()
        )

    def keep_only(self, step: int) -> None:
        """Removes all others: the training they belong to is finished, and its result is stored."""
        for other in self.directory.iterdir():
            if other.name != str(step):
                _remove(other)

    def remove(self) -> None:
        """Takes all of them away."""
        if self.directory.is_dir():
            _remove(self.directory)

    def _read(self, step: int, folder: pathlib.Path) -> Restored:
        verify(folder)
        described = json.loads((folder / META).read_text())
        like = {name: np.empty(shape, kind) for name, (shape, kind) in described["arrays"].items()}
        if not (folder / NPZ).is_file():
            return Restored(step, _from_orbax(folder / ARRAYS, like), described["meta"])
        with np.load(folder / NPZ) as stored:
            # The small floats that jax brings (bfloat16 and the like) are void to numpy.
            arrays = {name: stored[name].view(leaf.dtype) for name, leaf in like.items()}
        return Restored(step, arrays, described["meta"])


def verify(folder: pathlib.Path) -> None:
    """Raises ValueError that names the first file of a checkpoint that is not as it was written."""
    manifest = _manifest(folder)
    files = (p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    there = {str(p.relative_to(folder)) for p in files} - {MANIFEST}
    for name in sorted(there ^ manifest.keys()):
        raise ValueError(f"{name} is {'missing' if name in manifest else 'not part of it'}")
    for name, digest in manifest.items():
        if (folder / name).is_symlink() or _digest(folder / name) != digest:
            raise ValueError(f"{name} is damaged: its SHA-256 is not the one in {MANIFEST}")


def flatten(tree: PyTree) -> dict[str, np.ndarray]:
    """The leaves of a tree by their path ("state.params.kernel")."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    arrays = {_name(path): np.asarray(leaf) for path, leaf in leaves}
    if len(arrays) < len(leaves):
        raise ValueError("two leaves of the tree have one name: a key has a dot in it")
    return arrays


def unflatten(like: PyTree, arrays: dict[str, np.ndarray], prefix: str) -> PyTree:
    """The tree shaped as `like` out of the arrays under `prefix`. Every leaf must be there, none
    may be left over, and shape and dtype must agree: ValueError names the first that does not."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path({prefix: like})
    names = [_name(path) for path, _ in leaves]
    stored = {name for name in arrays if f"{name}.".startswith(f"{prefix}.")}
    for name in sorted(stored ^ set(names)):
        raise ValueError(
            f"{name} is {'unknown to' if name in stored else 'missing for'} this program"
        )
    for name, (_, leaf) in zip(names, leaves):
        found = arrays[name]
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise ValueError(
                f"{name} is {found.dtype}{found.shape}, this program needs {leaf.dtype}{leaf.shape}"
            )
    return jax.tree.unflatten(treedef, [arrays[name] for name in names])[prefix]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _signed(files: dict[str, str]) -> str:
    """The text of a manifest: every file's digest, and the digest of these."""
    own = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return json.dumps({"files": files, "sha256": own}, indent=1)


def _manifest(folder: pathlib.Path) -> dict[str, str]:
    """The digests by file name; the manifest vouches for itself to the last byte."""
    content = (folder / MANIFEST).read_bytes()
    try:
        files = json.loads(content)["files"]
        whole = _signed(files).encode() == content and not (folder / MANIFEST).is_symlink()
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise ValueError(f"{MANIFEST} is damaged")
    return files


def _to_orbax(folder: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes all that are not empty, which orbax refuses."""
    import orbax.checkpoint as ocp

    try:
        with _quiet(), ocp.Checkpointer(_handler()) as saver:
            filled = {name: leaf for name, leaf in arrays.items() if leaf.size}
            saver.save(folder.resolve(), args=ocp.args.PyTreeSave(filled))
    except ValueError as error:
        _remove(folder.parent)
        raise _system_error(error, folder.parent) from error


def _from_orbax(folder: pathlib.Path, like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reads them back, of the same shapes and types."""
    import orbax.checkpoint as ocp

    filled = {name: leaf for name, leaf in like.items() if leaf.size}
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        found = reader.restore(folder.resolve(), args=ocp.args.StandardRestore(filled))
    return {name: np.asarray(found.get(name, leaf)) for name, leaf in like.items()}


def _system_error(error: ValueError, path: pathlib.Path) -> Exception:
    """What the system said (no space left, read-only): orbax hands it on as words alone."""
    number = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(path)) if number else error


def _handler() -> Any:
    """Writes arrays as they lie in memory, with no copy of them: nothing changes them meanwhile.
    Compressed they would take a tenth less of the disk, and two and a half times their size in
    memory, of which as much as their size stays with the process."""
    import orbax.checkpoint as ocp

    as_they_lie = ocp.type_handlers.NumpyHandler(deepcopy_host_arrays=False)
    known = ocp.type_handlers.create_type_handler_registry((np.ndarray, as_they_lie))
    return ocp.PyTreeCheckpointHandler(use_compression=False, type_handler_registry=known)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax prints what its threads raise before it raises it, and those that had not ended by then
    find their event loop closed: who calls tells of it, once."""
    logger, hook = logging.getLogger("absl"), sys.unraisablehook

    def without_loops(told: Any) -> None:
        if "Event loop is closed" not in str(told.exc_value):
            hook(told)

    before, logger.disabled, sys.unraisablehook = logger.disabled, True, without_loops
    try:
        yield
        sys.unraisablehook = hook
    finally:
        logger.disabled = before


def _remove(path: pathlib.Path) -> None:
    """Takes away a file, a folder, or a link but never what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _folders(top: pathlib.Path) -> list[pathlib.Path]:
    return [*(p for p in top.rglob("*") if p.is_dir()), top]


def _digest(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: pathlib.Path) -> None:
    """The file's or directory's content reaches the disk, not only the page cache."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
