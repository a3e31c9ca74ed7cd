"""Uses what was trained: new examples in, predictions out."""

import csv
import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recipe_jax import writers
from recipe_jax.app import export, predict_text
from recipe_jax.data import arrays, idx, images, table
from recipe_jax.types import UserError

BATCH = 1024


def predict(
    workdir: pathlib.Path,
    data: pathlib.Path,
    out: pathlib.Path,
    *,
    length: int = 0,
    temperature: float = 0.8,
) -> int:
    """Writes one row an example to `out` (CSV); how many. For text a row a character, or, with a
    `length`, the text and as many characters more that the model writes (predict_text.py)."""
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"--out {out} must be a file in a folder that is there.")
    if out.exists() and data.exists() and out.samefile(data):
        raise UserError(f"--out {out} is the file of --data, which would be lost; name another.")
    if not 0.0 <= temperature < float("inf"):
        raise UserError(f"--temperature={temperature} must be a number of 0 or more.")
    described, encoder, program = export.load_model(workdir / "model")
    if described["modality"] == "text":
        if length:
            told = {"length": length, "temperature": temperature}
            _write(out, predict_text.going_on(data, encoder, program, **told))
            return length
        table_of_nats, count = predict_text.surprise(data, encoder, program)
        _write(out, table_of_nats)
        return count
    if length:
        raise UserError(f"--length is for models of text; this one takes {described['modality']}s.")
    trained_on = _trained_on(workdir)
    if trained_on.get("name") == "images" and images.is_image(data):
        size = tuple(trained_on["size"])
        raw, names = images.read(data, channels=described["input_shape"][-1], size=size)
        inputs = _encoded(data, encoder, raw)
    else:
        inputs, names = _read(data, described, encoder), []
    found = [
        np.asarray(program(_filled(inputs[first : first + BATCH])))[: len(inputs) - first]
        for first in range(0, len(inputs), BATCH)
    ]
    _write(out, _as_csv(described, np.concatenate(found), names))
    return len(inputs)


def _write(out: pathlib.Path, content: str) -> None:
    try:
        writers.write_text(out, content)
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}.") from error


def _filled(inputs: np.ndarray) -> np.ndarray:
    """Batches of one size, so that the program is compiled once."""
    rows = np.arange(BATCH) % len(inputs) if len(inputs) < BATCH else np.arange(BATCH)
    return inputs[rows]


def _read(data: pathlib.Path, described: Mapping[str, Any], encoder: Any) -> np.ndarray:
    """Encoded inputs from a table, an npy or npz file, or an idx file."""
    if not data.is_file():
        raise UserError(f"--data {data} is not there.")
    by_name = bool(described["feature_names"])
    if data.suffix == ".npy":
        raw: Any = arrays.load_npy(data)
    elif data.suffix == ".npz":
        raw = arrays.load_inputs(data)
    elif "idx" in data.name:
        raw = idx.read(data)
    elif by_name:
        raw = table.read(str(data))
    else:
        raise UserError(
            f"{data}: this model takes {described['modality']}s; give an .npy or .npz file, "
            "or an idx file of images."
        )
    if described["encoder"]["type"] == "table" and isinstance(raw, np.ndarray):
        raise UserError(
            f"{data}: this model takes columns by name; give a .csv, .tsv or .parquet file."
        )
    return _encoded(data, encoder, raw)


def _trained_on(workdir: pathlib.Path) -> Mapping[str, Any]:
    """The config's data section; empty where a model was put into a folder by itself."""
    try:
        return json.loads((workdir / "config.json").read_text())["data"]
    except (OSError, ValueError, LookupError):
        return {}


def _encoded(data: pathlib.Path, encoder: Any, raw: Any) -> np.ndarray:
    try:
        inputs = encoder.encode(raw)
    except UserError as error:
        raise UserError(f"{data}: {error}") from error
    if not len(inputs):
        raise UserError(f"{data} holds no examples.")
    return inputs


def _as_csv(
    described: Mapping[str, Any], predictions: np.ndarray, files: Sequence[str] = ()
) -> str:
    """A row an example; the first column is its file where each example has one."""
    if described["kind"] == "classification":
        names = described["class_names"]
        header = ["prediction", *(f"probability of {name}" for name in names)]
        rows = [[names[int(row.argmax())], *(f"{p:.6g}" for p in row)] for row in predictions]
    else:
        header = described["target_names"]
        rows = [[f"{value:.8g}" for value in row] for row in predictions]
    if files:
        header, rows = ["file", *header], [[file, *row] for file, row in zip(files, rows)]
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue()
