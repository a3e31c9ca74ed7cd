"""Everything a run leaves behind is written here: strict JSON, lines of JSON, CSV, event files.

JSON holds no NaN and no Infinity (null stands for both), whole files appear at once or not at all,
and a file of lines can be cut back to an offset, so that a resumed run leaves the same bytes.
"""

import contextlib
import csv
import dataclasses
import enum
import io
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from recipe_jax.types import UserError

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins with one of these for a formula."""


NO_MEASUREMENTS = ("stage", "request", "trial", "step", "epoch", "split")
"""The keys of a row of metrics.jsonl that say where it belongs."""


@runtime_checkable
class Writer(Protocol):
    """Where measurements go; the method names of clu's MetricWriter, so any clu writer fits."""

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None: ...  # noqa: D102

    def write_images(self, step: int, images: Mapping[str, Any]) -> None: ...  # noqa: D102

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None: ...  # noqa: D102

    def write_histograms(  # noqa: D102
        self, step: int, arrays: Mapping[str, Any], num_buckets: Mapping[str, int] | None = None
    ) -> None: ...

    def write_hparams(self, hparams: Mapping[str, Any]) -> None: ...  # noqa: D102

    def flush(self) -> None: ...  # noqa: D102

    def close(self) -> None: ...  # noqa: D102


def finite_values(
    arrays: Mapping[str, Any], num_buckets: Mapping[str, int] | None
) -> Iterator[tuple[str, np.ndarray, int]]:
    """(name, finite values (n,), buckets) of every array that has any, for a histogram."""
    for name, value in arrays.items():
        array = np.asarray(value, np.float64).ravel()
        finite = array[np.isfinite(array)]
        if finite.size:
            yield name, finite, (num_buckets or {}).get(name, 30)


# --- JSON ------------------------------------------------------------------------------------


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Strict JSON of plain values, arrays, dataclasses, NamedTuples, enums and paths."""
    return json.dumps(plain(value), allow_nan=False, indent=indent)


def plain(value: Any) -> Any:
    """The same content in dicts, lists, strings and finite numbers; non-finite becomes None."""
    if type(value) is float:  # nearly all that there is
        return value if math.isfinite(value) else None
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__array__"):
        return _from_array(np.asarray(value))
    raise TypeError(f"{type(value).__name__} has no form in JSON: {value!r:.80}")


def write_json(path: pathlib.Path, value: Any) -> None:
    """A whole JSON file at once: a reader sees the old content or the new, never a part."""
    write_text(path, to_json(value, indent=1) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """A whole file at once, on disk when this returns."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # A disk that is full while it is written to names no file.
        error.filename = error.filename or os.fspath(path)
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _key(key: Any) -> str:
    """Keys of JSON objects are strings."""
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str(key)
    if isinstance(key, bool | int | float | np.number | np.bool_):
        return str(plain(key))
    raise TypeError(f"A key in JSON is a string or a number, not {type(key).__name__}: {key!r:.80}")


def _from_array(array: np.ndarray) -> Any:
    """Nested lists of an array; one without odd numbers in it takes the short way."""
    if array.dtype.kind in "biuUS":
        return array.astype(str).tolist() if array.dtype.kind == "S" else array.tolist()
    if array.dtype.kind == "O":
        return plain(array.tolist())
    # The small floats that jax brings (bfloat16 and the like) are void to numpy.
    array = array.astype(np.float64) if array.dtype.kind in "fV" else array
    if array.dtype.kind != "f":
        raise TypeError(f"An array of {array.dtype} has no form in JSON")
    return array.tolist() if np.isfinite(array).all() else plain(array.tolist())


# --- Lines of JSON ---------------------------------------------------------------------------


class JsonlWriter:
    """Appends rows to a file of JSON lines, and knows its length in bytes.

    `truncate_to` is an `offset()` remembered by a checkpoint: what was written after it is cut off,
    and will be written again, to the same bytes. Without it, a last line that a kill left
    unfinished is dropped.
    """

    def __init__(self, path: pathlib.Path, *, truncate_to: int | None = None):
        path = pathlib.Path(path)
        size = path.stat().st_size if path.exists() else 0
        end = _whole_lines(path, size) if truncate_to is None else truncate_to
        if end > size:
            raise UserError(
                f"{path} holds {size} bytes, but the checkpoint was made when it held {end}; "
                "restore the file or begin anew with --overwrite."
            )
        self._file = path.open("ab")
        self._file.truncate(end)

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends one row."""
        self._file.write(to_json(row).encode() + b"\n")

    def write_lines(self, lines: Iterable[str]) -> None:
        """Appends rows that are lines of JSON already; they are on disk when this returns."""
        self._file.writelines(line.encode() for line in lines)
        self.flush()

    def cut_back(self, offset: int) -> None:
        """Forgets what was written after an `offset()`."""
        self.flush()
        self._file.truncate(offset)

    def offset(self) -> int:
        """Bytes up to here; they are on disk when this returns."""
        self.flush()
        return os.fstat(self._file.fileno()).st_size

    def flush(self) -> None:
        """Hands everything to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flushes and closes; a second call does nothing."""
        if not self._file.closed:
            self.flush()
            self._file.close()

    def __enter__(self) -> "JsonlWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_jsonl(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON lines; a last line that a kill left unfinished is passed over."""
    if not pathlib.Path(path).exists():
        return
    with pathlib.Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(str(line, "utf-8"))
            except ValueError as error:
                raise UserError(
                    f"{path}, line {number} is not JSON ({error}); remove the line."
                ) from error


def _whole_lines(path: pathlib.Path, size: int) -> int:
    """Bytes up to the end of the last finished line."""
    if not size:
        return 0
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


# --- CSV -------------------------------------------------------------------------------------


def write_trials_csv(path: pathlib.Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One row a trial, columns in order of first appearance; numbers stay numbers.

    Text that a spreadsheet would run as a formula gets a quote character in front.
    """
    rows = [plain(row) for row in rows]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([_cell(column) for column in columns])
    table.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    write_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    """What stands in one cell."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else to_json(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


# --- TensorBoard -----------------------------------------------------------------------------


class TensorBoardWriter:
    """Event files for TensorBoard, without TensorFlow."""

    def __init__(self, logdir: pathlib.Path):
        import tensorboardX

        # The name of an event file has a clock of one second in it, and opening empties the file.
        number = len(_event_files(pathlib.Path(logdir)))
        self._writer = tensorboardX.SummaryWriter(
            str(logdir), filename_suffix=f".{os.getpid()}.{number}"
        )
        # Its thread would keep to itself what a full disk says, and be waited for without end.
        events: Any = self._writer.file_writer.event_writer  # pyright: ignore[reportOptionalMemberAccess]
        events.add_event = events._ev_writer.write_event

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """One point a name."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, float(value), global_step=step)

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        """One image (height, width, channels), or several stacked, a name."""
        for name, value in images.items():
            array = np.asarray(value)
            named = {name: array}
            if array.ndim == 4:
                named = {f"{name}/{i}": image for i, image in enumerate(array)}
            for tag, image in named.items():
                self._writer.add_image(tag, image, global_step=step, dataformats="HWC")

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """One text a name, shown as markdown."""
        for name, value in texts.items():
            self._writer.add_text(name, value, global_step=step)

    def write_histograms(
        self, step: int, arrays: Mapping[str, Any], num_buckets: Mapping[str, int] | None = None
    ) -> None:
        """The distribution of each array's finite values."""
        for name, values, bins in finite_values(arrays, num_buckets):
            self._writer.add_histogram(name, values, global_step=step, bins=bins)  # pyright: ignore[reportArgumentType]

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """The settings as a row of the HPARAMS tab."""
        self._add_hparams(
            hparams, {}, ("_hparams_/session_start_info", "_hparams_/session_end_info")
        )

    def write_columns(self, hparams: Mapping[str, Any], metrics: Iterable[str]) -> None:
        """The columns of the HPARAMS tab, settings by an example of each; rows are in the folders
        below this one."""
        self._add_hparams(hparams, dict.fromkeys(metrics, 0.0), ("_hparams_/experiment",))

    def _add_hparams(
        self, hparams: Mapping[str, Any], metrics: Mapping[str, float], tags: Sequence[str]
    ) -> None:
        from tensorboardX import summary

        values = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in hparams.items()
            if value is not None
        }
        for part in summary.hparams(values, metrics):
            if part.value[0].tag in tags:
                self._writer.file_writer.add_summary(part)  # pyright: ignore[reportOptionalMemberAccess]

    def flush(self) -> None:
        """Hands everything to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Flushes and closes."""
        self._writer.close()


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The points of one row of metrics.jsonl: "stage/request/split/metric/trial" -> value."""
    places = [row.get(name) for name in ("stage", "request", "split")]
    front = "/".join(str(place) for place in places if place not in (None, ""))
    back = "" if row.get("trial") in (None, "") else f"/{row['trial']}"
    return {
        f"{front}/{name}{back}" if front else f"{name}{back}": float(value)
        for name, value in row.items()
        if name not in NO_MEASUREMENTS and isinstance(value, int | float)
    }


def write_row(writer: Writer, row: Mapping[str, Any]) -> None:
    """One row of metrics.jsonl to any writer; a measurement that is null leaves a gap."""
    writer.write_scalars(int(row.get("step") or 0), scalars(row))


def _event_files(logdir: pathlib.Path) -> list[pathlib.Path]:
    """What TensorBoard reads of a folder."""
    return sorted(logdir.glob("events.out.tfevents.*"))
