"""The idx format of MNIST, gzipped or not: images in one file, labels in another."""

import gzip
import math
import pathlib
import zlib
from typing import Any

import numpy as np

from recipe_jax.data import _files, _targets, base
from recipe_jax.types import UserError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Deflate cannot expand beyond this, so a larger claim is false whatever the file holds.
_MOST_EXPANSION = 1032


def build(*, path: str = "", labels: str = "") -> base.Source:
    """path: the images file, or a folder (its training files are taken where there are several
    sets); labels: the labels file, by default the one beside the images with the matching name."""
    found = _files.locate(path, key="data.path", folder=True)
    images_file = _images_in(found) if found.is_dir() else found
    labels_file = (
        _files.locate(labels, key="data.labels") if labels else _labels_beside(images_file)
    )
    images, classes = read(images_file), read(labels_file)
    if classes.ndim != 1 or classes.dtype.kind == "f":
        raise UserError(
            f"{labels_file} holds {classes.dtype} of shape {classes.shape}, and labels are one "
            "whole number an image; set data.labels to the labels file."
        )
    if images.ndim not in (2, 3, 4):
        raise UserError(
            f"{images_file} holds shape {images.shape}, and images are (number, height, width); "
            "set data.path to the images file."
        )
    if len(images) != len(classes):
        raise UserError(
            f"{images_file} holds {len(images)} images and {labels_file} {len(classes)} labels; "
            "use files that belong together."
        )
    targets = _targets.interpret(classes, task="classification", name="label")
    return base.from_arrays(
        "idx",
        images,
        targets=targets.values,
        kind=targets.kind,
        class_names=targets.class_names,
        target_names=("label",),
    )


def read(path: pathlib.Path) -> np.ndarray:
    """The array of one idx file; its declared size is held against the bytes before allocating."""
    size = path.stat().st_size
    with path.open("rb") as start:
        zipped = start.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            return _read(file, path, most=size * _MOST_EXPANSION if zipped else size)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged or truncated ({error}); fetch it again.") from error


def _read(file: Any, path: pathlib.Path, *, most: int) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
        raise UserError(
            f"{path} does not begin as an idx file does (0, 0, type, dimensions) but with "
            f"{magic.hex(' ')}; name an idx file."
        )
    dtype, num_axes = np.dtype(_TYPES[magic[2]]), magic[3]
    header = file.read(4 * num_axes)
    if len(header) < 4 * num_axes:
        raise UserError(f"{path} is truncated in its header; fetch it again.")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    declared = math.prod(shape) * dtype.itemsize
    if declared == 0:
        raise UserError(f"{path} declares the shape {shape}, which holds nothing; fetch it again.")
    # One byte more than declared shows whether anything follows.
    content = file.read(declared + 1) if declared <= most else b""
    if len(content) != declared:
        there = "fewer" if len(content) < declared else "more"
        raise UserError(
            f"{path} declares {declared} bytes for shape {shape} and holds {there}; "
            "it is truncated or damaged, so fetch it again."
        )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _images_in(folder: pathlib.Path) -> pathlib.Path:
    files = sorted(f for f in folder.iterdir() if "images" in f.name and "idx" in f.name)
    if not files:
        raise UserError(
            f"data.path: {folder} holds no idx images (a name such as train-images-idx3-ubyte.gz)."
        )
    training = [f for f in files if f.name.startswith("train")] or files
    sets = {f.name.removesuffix(".gz") for f in training}
    if len(sets) > 1:
        raise UserError(
            f"data.path: {folder} holds several sets ({', '.join(sorted(sets))}); name one file."
        )
    return training[0]


def _labels_beside(images: pathlib.Path) -> pathlib.Path:
    stem = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    for name in (stem, f"{stem}.gz"):
        if (images.parent / name).is_file() and name != images.name:
            return images.parent / name
    raise UserError(f"There is no labels file {stem} beside {images}; set data.labels to it.")
