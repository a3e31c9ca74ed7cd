"""Files that nobody meant to write, for everything that reads files: damaged, lying, odd ones.

A reader gives what it read or one sentence, within a stated time and memory, whatever the file.
"""

import gzip
import io
import json
import pathlib
import shutil
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from recipe_jax import config as configs
from recipe_jax import provenance
from recipe_jax.app import answers, export, watch, workdir
from recipe_jax.data import arrays, base, idx, images, iris, table, text
from recipe_jax.report import content
from recipe_jax.types import UserError

MOST_SECONDS = 5.0
"""For a file of some kilobytes; a reader that takes longer hangs."""
MOST_BYTES, MOST_TIMES = 100 * 2**20, 1100
"""Memory: so much whatever the file, and so many times its size."""
EDGES = (0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)


class Reader(NamedTuple):
    """What is read: by which function of a path, and files to begin from; hashable by name."""

    name: str
    suffix: str
    read: Callable[[pathlib.Path], Any]
    files: st.SearchStrategy[bytes]


def outcome(reader: Reader, content: bytes, folder: pathlib.Path) -> str:
    """ "read" or "refused"; anything else is raised."""
    path = folder / f"file{reader.suffix}"
    path.write_bytes(content)
    tracemalloc.start()
    began = time.monotonic()
    try:
        reader.read(path)
        ended = "read"
    except UserError as error:
        assert str(error) and "\n" not in str(error), f"not one sentence: {error!r}"
        ended = "refused"
    finally:
        took, (_, peak) = time.monotonic() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert took < MOST_SECONDS, f"{took:.1f} s"
    assert peak < MOST_BYTES + MOST_TIMES * len(content), f"{peak / 1e6:.0f} MB"
    return ended


# --- Damage ----------------------------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn, *seeds: bytes) -> bytes:
    """One of the files, with up to four wounds."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(("flip", "put", "cut", "drop", "twice", "number")))
        if kind == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "put":
            content[place:place] = draw(st.binary(max_size=8))
        elif kind == "cut":
            del content[place:]
        elif kind == "drop":
            del content[place : place + draw(st.integers(1, 40))]
        elif kind == "twice":
            content[place:place] = content[place : place + draw(st.integers(1, 200))]
        else:
            number, size = draw(st.sampled_from(EDGES)), draw(st.sampled_from("BHIQ"))
            order = draw(st.sampled_from("<>"))
            packed = struct.pack(f"{order}{size}", number % 256 ** struct.calcsize(size))
            content[place : place + len(packed)] = packed
    return bytes(content)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(("mlp", "../x", "<b>", "=1+1", "inf", "my:build", 2**70, -1, 0.5, "iris")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn, document: Any) -> bytes:
    """A JSON document with up to three of its nodes replaced, taken away or added to."""
    document = json.loads(json.dumps(document))
    root = {"": document}
    for _ in range(draw(st.integers(0, 3))):
        node: Any = root
        key: Any = ""
        while isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 4)):
            node = node[key]
            keys = sorted(node) if isinstance(node, dict) else range(len(node))
            key = draw(st.sampled_from(keys))
        kind = draw(st.sampled_from(("replace", "replace", "drop", "add")))
        if kind == "drop" and node is not root:
            del node[key]
        elif kind == "add" and isinstance(node, dict) and node is not root:
            node[draw(st.text(max_size=5))] = draw(JSON)
        else:
            node[key] = draw(JSON)
    return json.dumps(root[""]).encode()


def json_files(document: Any) -> st.SearchStrategy[bytes]:
    return (
        changed(document)
        | damaged(json.dumps(document).encode())
        | JSON.map(lambda value: json.dumps(value).encode())
    )


# --- Whole files to begin from ---------------------------------------------------------------

ROWS = [f"{i}.5,{'' if i % 7 == 3 else i % 5},{'abc'[i % 3]},{'ny'[i % 2]}" for i in range(40)]
CSV = ("size,weight,colour,label\n" + "\n".join(ROWS) + "\n").encode()
CELL = st.text(max_size=6) | st.sampled_from(("", "NA", "1e400", "-0", "1_0", '"', "\r", "\0", "٣"))


def csv_files(mark: str) -> st.SearchStrategy[bytes]:
    drawn = st.lists(st.lists(CELL, max_size=4).map(mark.join), max_size=12).map(
        lambda rows: (
            "\n".join(["size", *rows]).replace("size", mark.join(("a", "b", "label"))).encode()
        )
    )
    return damaged(CSV.replace(b",", mark.encode())) | drawn


def saved(save: Callable[[io.BytesIO], Any]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


X, Y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 3
TEXTS = np.array(["yes", "no", "perhaps"] * 4)
NPZ = (
    saved(lambda f: np.savez(f, x=X, y=Y)),
    saved(lambda f: np.savez_compressed(f, inputs=X.astype(np.float16), targets=TEXTS)),
    saved(lambda f: np.savez(f, x=X, y=np.array([{}] * 12))),
)
NPY = tuple(saved(lambda f, a=a: np.save(f, a)) for a in (X, np.asfortranarray(X), TEXTS, Y > 0))


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """An .npy with a header of its own making."""
    shape = tuple(draw(st.lists(st.sampled_from((*EDGES, -1)), max_size=4)))
    kind = draw(
        st.sampled_from(("<f8", "|O", "<U9", "|V7", ">i2", "<c16", "<M8[s]", "|S0", "f8,i4"))
    )
    told = draw(
        st.sampled_from(
            (f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}", "{" * 90)
        )
    )
    version = draw(st.sampled_from(((1, 0), (2, 0), (3, 0), (9, 9))))
    size = struct.pack(
        "<H" if version == (1, 0) else "<I", draw(st.sampled_from((len(told), 65535)))
    )
    body = draw(st.binary(max_size=64))
    return b"\x93NUMPY" + bytes(version) + size + told.encode() + body


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """An .npz with members of any name and content, as `../../x.npy` or much of nothing."""
    file = io.BytesIO()
    with zipfile.ZipFile(
        file, "w", draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    ) as to:
        for name in draw(
            st.lists(st.sampled_from(("x", "y", "../x", "/y", "x\0", "")), max_size=3, unique=True)
        ):
            to.writestr(f"{name}.npy", draw(headers() | st.sampled_from((*NPY, bytes(300_000)))))
    return draw(damaged(file.getvalue()))


def packed(array: np.ndarray, code: int) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


IDX = (
    packed(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), 0x08),
    packed(X.astype(">f4"), 0x0D),
    gzip.compress(packed(np.zeros((9, 28, 28), np.uint8), 0x08)),
)
PARQUET = tuple(
    saved(
        lambda f, o=o: parquet.write_table(pa.table({"a": X[:, 0], "b": TEXTS, "label": Y}), f, **o)
    )
    for o in ({}, {"compression": "none", "use_dictionary": False}, {"compression": "gzip"})
)
PICTURES = tuple(
    saved(
        lambda f, k=k: Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(f, k)
    )
    for k in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
)
CONFIG = {
    "seed": 3,
    "data": {"name": "iris"},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "optim": {"name": "adamw", "learning_rate": 0.01, "clip_norm": "inf"},
    "train": {"batch_size": 16, "epochs": 3, "patience": None, "extend": []},
    "search": {"name": "random", "trials": 4, "space": [["optim.learning_rate", "log", 1e-4, 1]]},
}
WHOLE = configs.to_data(configs.as_dict(configs.complete(CONFIG)))
YAML = b"""
seed: 3
model: &own {name: mlp, width: 8}
optim: {name: adamw, learning_rate: 1e-2}
train: {batch_size: 16, epochs: 3}
search:
  space: [[optim.learning_rate, log, 1e-4, 1]]
"""
HOSTILE_YAML = (
    b"!!python/object/apply:os.system ['true']",
    b"a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b]\nseed: *c\n",
    b"seed: 2026-01-01\n",
    b"? [seed]\n: 3\n",
    b"- " * 3000,
    b"model: &m {name: mlp, other: *m}\n",
)
FINDING = {
    "stage": "data",
    "row": "DATA1 SKEL2",
    "check": "odd",
    "fault": "A1",
    "status": "WARN",
    "summary": "one sentence",
    "evidence": {"numbers": [1.0, None, 2.0], "names": ["a", "b", "c"]},
    "remedy": "mend it",
}
ROW = {
    "stage": "tune",
    "request": "search",
    "trial": "ab",
    "step": 3,
    "split": "train",
    "loss": 0.5,
}
ANSWERED = base.prepare(iris.build())
ANSWER = {
    "fingerprint": ANSWERED.fingerprint,
    "person": "you",
    "place": 3,
    "example": "7",
    "answer": ANSWERED.class_names[0],
    "note": "",
    "spent_seconds": 1.0,
}


def record() -> dict[str, Any]:
    """A run.json."""
    return {
        "what": "train",
        "name": "iris · mlp",
        "status": "running",
        "exit_code": None,
        "written": [],
        "extended": [],
        "overrides": {"train.epochs": 3},
        **provenance.provenance(["train"]),
        # Of somebody's repository this may be long.
        "git": {"commit": "c0de", "dirty": True, "diff": "- a\n+ b\n", "untracked": ["x.py"]},
        "plugins": {},
        "data": {"name": "iris", "fingerprint": "f", "examples": {"train": 90}},
        "stages": [{"name": "data", "state": "done", "expects": "x", "decision": "y"}],
        "test_openings": [{"stage": "training", "reason": "why"}],
        "nonbitwise": [],
        "answers": [],
        "plan": {"stages": [], "lanes": 3, "programs": 1, "lane_steps": 90, "budget": {}},
    }


# --- Readers ---------------------------------------------------------------------------------


def read_images(path: pathlib.Path) -> None:
    """A folder of two classes, one image of which is the file."""
    root = path.parent / "images"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name / "fine.png")
    shutil.copy(path, root / "a" / "odd.png")
    images.build(path=str(root))


def read_config(path: pathlib.Path) -> None:
    configs.complete(configs.load(str(path)))


def of_workdir(name: str) -> Callable[[pathlib.Path], Any]:
    """Reads a workdir in which one file is the odd one, as every command that reads it does."""

    def read(path: pathlib.Path) -> None:
        folder = path.parent / "w"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "model").mkdir(parents=True)
        if name.startswith("model/"):
            for file in (export.WEIGHTS, export.PROGRAM):
                (folder / "model" / file).write_bytes(NPZ[0])
            digests = export._digests(folder / "model")
            (folder / "model" / export.DIGESTS).write_text(json.dumps(digests))
        shutil.copy(path, folder / name)
        content.collect(folder, lenient=True)
        watch.read_on(watch.Read(), folder / "metrics.jsonl")
        if name.startswith("model/"):
            export.load_weights(folder / "model")
        content.collect(folder)

    return read


def resumed(name: str) -> Callable[[pathlib.Path], Any]:
    """Goes on in a workdir in which one file is the odd one."""
    now = record()
    given = configs.as_dict(configs.complete(CONFIG))

    def read(path: pathlib.Path) -> None:
        folder = path.parent / "w"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(now))
        (folder / "config.json").write_text(json.dumps(configs.to_data(given)))
        shutil.copy(path, folder / name)
        workdir.open_workdir(folder, config=given, record=now, overwrite=False)

    return read


READERS = (
    Reader("csv", ".csv", lambda p: table.build(path=str(p), target="label"), csv_files(",")),
    Reader("tsv", ".txt", lambda p: table.build(path=str(p), target="label"), csv_files("\t")),
    Reader(
        "parquet", ".parquet", lambda p: table.build(path=str(p), target="label"), damaged(*PARQUET)
    ),
    Reader("npz", ".npz", lambda p: arrays.build(path=str(p)), damaged(*NPZ) | archives()),
    Reader("npy", ".npy", arrays.load_npy, damaged(*NPY) | headers()),
    Reader("idx", "", idx.read, damaged(*IDX)),
    Reader("images", ".bin", read_images, damaged(*PICTURES)),
    Reader(
        "text",
        ".txt",
        lambda p: text.read(str(p), "data.path"),
        damaged("Größe, 3 ≤ x\r\n".encode()),
    ),
    Reader("config.json", ".json", read_config, json_files(CONFIG)),
    Reader("config.yaml", ".yaml", read_config, damaged(YAML, *HOSTILE_YAML) | json_files(CONFIG)),
    Reader("resumed run.json", ".json", resumed("run.json"), json_files(record())),
    Reader("resumed config.json", ".json", resumed("config.json"), json_files(WHOLE)),
    Reader("run.json", ".json", of_workdir("run.json"), json_files(record())),
    Reader("findings.json", ".json", of_workdir("findings.json"), json_files([FINDING, FINDING])),
    Reader(
        "metrics.jsonl",
        ".jsonl",
        of_workdir("metrics.jsonl"),
        st.lists(json_files(ROW), max_size=4).map(lambda lines: b"\n".join([*lines, b""])),
    ),
    Reader(
        "trials.csv",
        ".csv",
        of_workdir("trials.csv"),
        damaged(b"stage,trial,lr\ntune,a,0.1\n") | csv_files(","),
    ),
    Reader(
        "model.json", ".json", of_workdir("model/model.json"), json_files({"modality": "table"})
    ),
    Reader(
        "human.jsonl",
        ".jsonl",
        lambda p: answers.read(p, ANSWERED),
        st.lists(json_files(ANSWER), max_size=4).map(lambda lines: b"\n".join([*lines, b""])),
    ),
)
