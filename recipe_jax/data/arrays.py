"""NumPy files: one .npz with inputs and targets, or two .npy files."""

import io
import pathlib
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import IO, Annotated

import numpy as np

from recipe_jax.data import _files, _targets, base
from recipe_jax.resolve import OneOf
from recipe_jax.types import UserError

_PAIRS = (("inputs", "targets"), ("x", "y"), ("X", "y"), ("data", "target"))
# What an archive may unpack to: this many times its own size, and never refused below the floor.
_MOST_EXPANSION = 200
_ALWAYS_ALLOWED = 64 * 2**20
# Of a header, which says how long it is; NumPy takes no longer one.
_MOST_HEADER = 12 + 2**16
# What readers of headers raise at bytes that nobody meant to write: those of an .npy are Python.
_DAMAGED = (
    *(OSError, EOFError, ValueError, LookupError, OverflowError, RecursionError, struct.error),
    *(SyntaxError, TypeError, tokenize.TokenError),
)


def build(
    *,
    path: str = "",
    targets: str = "",
    task: Annotated[str, OneOf(("auto", "classification", "regression"))] = "auto",
    modality: base.Modality = "auto",
) -> base.Source:
    """path: an .npz with inputs and targets (or x and y, X and y, data and target), or an .npy of
    inputs, whose targets are the .npy that `targets` names. task "auto": text, bool or at most 20
    distinct integers are classes, other numbers are quantities. modality "auto": (examples,
    features) is a table and (examples, height, width) are images; "sequence" takes the same for
    (examples, time), one feature, and for (examples, time, features)."""
    file = _files.locate(path, key="data.path")
    if zipfile.is_zipfile(file):
        inputs, wanted = load_npz(file)
    else:
        inputs = load_npy(file)
        wanted = load_npy(_files.locate(targets, key="data.targets"))
    if inputs.ndim == 1:
        inputs = inputs[:, None]
    _check(file, inputs, wanted)
    found = _targets.interpret(wanted, task=task, name="target")
    outputs = found.values.shape[1] if found.kind == "regression" else 1
    names = ("target",) if outputs == 1 else tuple(f"target {i}" for i in range(outputs))
    return base.from_arrays(
        "arrays",
        inputs,
        targets=found.values,
        kind=found.kind,
        modality=modality,
        class_names=found.class_names,
        target_names=names,
    )


def load_npz(file: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of an archive; sizes are read from headers before anything is loaded."""

    def pair(there: Sequence[str]) -> Sequence[str]:
        found = next((p for p in _PAIRS if p[0] in there and p[1] in there), None)
        if found is None:
            raise UserError(
                f"{file} holds {', '.join(there) or 'nothing'}, and should hold arrays named "
                "inputs and targets (or x and y)."
            )
        return found

    inputs, targets = _load_members(file, pair)
    return inputs, targets


def load_inputs(file: pathlib.Path) -> np.ndarray:
    """The inputs of an archive, whatever else is in it; one array alone may have any name."""

    def one(there: Sequence[str]) -> Sequence[str]:
        known = [name for name, _ in _PAIRS if name in there] or (there if len(there) == 1 else [])
        if not known:
            raise UserError(
                f"{file} holds {', '.join(there) or 'nothing'}, and should hold an array named "
                "inputs (or x)."
            )
        return known[:1]

    return _load_members(file, one)[0]


def _load_members(
    file: pathlib.Path, choose: Callable[[Sequence[str]], Sequence[str]]
) -> list[np.ndarray]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            chosen = choose(list(members))
            most = max(_ALWAYS_ALLOWED, _MOST_EXPANSION * file.stat().st_size)
            if sum(members[name].file_size for name in chosen) > most:
                raise UserError(
                    f"{file} would unpack to more than {_MOST_EXPANSION} times its size; "
                    "save it again with np.savez, uncompressed."
                )
            loaded = []
            for name in chosen:
                with archive.open(members[name]) as member:
                    loaded.append(_load(member, f"{file}[{name}]", size=members[name].file_size))
            return loaded
    except UserError:
        raise
    except (*_DAMAGED, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"{file} is damaged ({' '.join(str(error).split())}); save it again with np.savez."
        ) from error


def load_npy(file: pathlib.Path) -> np.ndarray:
    """The array of one .npy file, its declared size held against the bytes before allocating."""
    with file.open("rb") as opened:
        return _load(opened, str(file), size=file.stat().st_size)


def _load(file: IO[bytes] | io.BufferedIOBase, name: str, *, size: int) -> np.ndarray:
    start = io.BytesIO(file.read(_MOST_HEADER))
    try:
        shape, dtype = _header(start)
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{name} is no NumPy array file ({reason}); save it with np.save."
        ) from error
    if dtype.hasobject:
        raise UserError(
            f"{name} holds pickled Python objects, which could run code when loaded; "
            "save plain numbers or text instead, sequences padded or cut to one length."
        )
    declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if start.tell() + declared > size:
        raise UserError(
            f"{name} declares {declared} bytes for shape {shape} and holds fewer; "
            "it is truncated, so save it again."
        )
    file.seek(0)
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except _DAMAGED as error:
        raise UserError(
            f"{name} is damaged ({' '.join(str(error).split())}); save it again with np.save."
        ) from error


def _header(start: io.BytesIO) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, dtype) that the first bytes of a file declare; what NumPy raises, and ValueError,
    where they cannot be."""
    version = np.lib.format.read_magic(start)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(start)
    elif version in ((2, 0), (3, 0)):
        # They differ in the letters that names of fields may have.
        shape, _, dtype = np.lib.format.read_array_header_2_0(start)
    else:
        raise ValueError(f"its version is {version}")
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return shape, dtype


def _check(file: pathlib.Path, inputs: np.ndarray, targets: np.ndarray) -> None:
    if inputs.dtype.kind not in "biuf":
        raise UserError(f"{file}: the inputs are {inputs.dtype}, and must be real numbers.")
    if inputs.ndim not in (2, 3, 4) or 0 in inputs.shape:
        raise UserError(
            f"{file}: the inputs have shape {inputs.shape}; give (examples, features), "
            "(examples, time, features) or (examples, height, width, channels), none of them 0."
        )
    if targets.dtype.kind not in "biufUS" or targets.ndim not in (1, 2) or 0 in targets.shape:
        raise UserError(
            f"{file}: the targets are {targets.dtype} of shape {targets.shape}; give one class, or "
            "one row of real numbers, an example."
        )
    if len(inputs) != len(targets):
        raise UserError(
            f"{file}: there are {len(inputs)} inputs and {len(targets)} targets; "
            "they must be equally many."
        )
