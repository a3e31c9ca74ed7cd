"""A folder of class folders of images: cats/1.png and dogs/7.jpg are a cat and a dog."""

import io
import math
import pathlib
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from recipe_jax.data import _files, base
from recipe_jax.resolve import Count, OneOf
from recipe_jax.types import UserError

# What Pillow may decode. Others can run programs (EPS), or are no pictures.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
)
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N")
_REFUSED = ("I", "F")
# As float32 inputs they take four times as much.
_MOST_BYTES = 2 * 2**30
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)

Colour = Annotated[str, OneOf(("auto", "grey", "rgb"))]
Size = tuple[Count, ...]


class _Header(NamedTuple):
    """What a file says before it is decoded; the size as it will stand, (height, width)."""

    size: tuple[int, int]
    mode: str


def build(*, path: str = "", colour: Colour = "auto", size: Size = ()) -> base.Source:
    """path: the folder; its folders are the classes, and an example's id is its path from there.

    colour "auto" is grey where every image is, else rgb; what is transparent is seen on white.
    size: (height, width) to bring all images to, whatever their proportions (bilinear,
    antialiased); () leaves them as they are, and then they must be of one size. Images are turned
    as their camera says. Names that begin with a dot are passed over. Pixels stay uint8.
    """
    root = _files.locate(path, key="data.path", folder=True)
    if not root.is_dir():
        raise UserError(f"data.path: {path} is a file; name a folder of class folders.")
    _check_wanted(size)
    folders = _class_folders(root)
    files, classes = [], []
    for number, folder in enumerate(folders):
        found = _images_in(folder)
        files += found
        classes += [number] * len(found)
    names = [str(file.relative_to(root).as_posix()) for file in files]
    return base.from_arrays(
        "images",
        _pixels(files, colour=colour, size=size),
        targets=np.array(classes, np.int32),
        kind="classification",
        ids=np.array(names),
        class_names=tuple(folder.name for folder in folders),
        target_names=("class",),
    )


def read(path: pathlib.Path, *, channels: int, size: Size) -> tuple[np.ndarray, list[str]]:
    """New examples: one image, or all in a folder and in its folders, as (images, height, width,
    channels) uint8, and their names; `size` as in `build`."""
    if path.is_dir():
        inside = (f.relative_to(path) for f in path.rglob("*") if f.suffix.lower() in _SUFFIXES)
        names = sorted(f.as_posix() for f in inside if not _hidden(f))
        if not names:
            raise UserError(f"{path} holds no images ({' '.join(_SUFFIXES)}).")
        files = [path / name for name in names]
    else:
        files, names = [path], [path.name]
    return _pixels(files, colour="grey" if channels == 1 else "rgb", size=size), names


def is_image(path: pathlib.Path) -> bool:
    """Whether a path is a folder, or has the name of an image."""
    return path.is_dir() or path.suffix.lower() in _SUFFIXES


def _class_folders(root: pathlib.Path) -> list[pathlib.Path]:
    entries = _visible(root)
    stray = [entry for entry in entries if not entry.is_dir()]
    if len(stray) == len(entries):
        there = f"no folders, and {len(stray)} files" if stray else "nothing"
        raise UserError(
            f"data.path: {root} holds {there}; give it one folder of images for each class."
        )
    if stray:
        raise UserError(
            f"data.path: {stray[0]} lies beside the class folders; move it into one, or away."
        )
    return entries


def _images_in(folder: pathlib.Path) -> list[pathlib.Path]:
    files = _visible(folder)
    for file in files:
        if file.is_dir():
            raise UserError(f"data.path: {file} is a folder in a class folder; move its images up.")
        if file.suffix.lower() not in _SUFFIXES:
            raise UserError(f"data.path: {file} is no image ({' '.join(_SUFFIXES)}); move it away.")
    if not files:
        raise UserError(f"data.path: {folder} holds no images; add some, or remove the folder.")
    return files


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """What stands in a folder, ordered by name."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        for entry in entries:
            entry.name.encode()
    except OSError as error:
        raise UserError(f"data.path: {folder} cannot be read ({error.strerror}).") from error
    except UnicodeEncodeError as error:
        raise UserError(f"data.path: a name in {folder} is not UTF-8; rename {entry!r}.") from error
    return entries


def _hidden(path: pathlib.Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _pixels(files: Sequence[pathlib.Path], *, colour: str, size: Size) -> np.ndarray:
    """(images, height, width, 1 or 3) uint8; nothing is allocated before all headers are read."""
    headers = [_opened(file, _header) for file in files]
    height, width = size or _common_size(files, headers)
    grey = colour == "grey" or (colour == "auto" and all(h.mode in _GREY for h in headers))
    shape = (len(files), height, width, 1 if grey else 3)
    if (needed := math.prod(shape)) > _MOST_BYTES:
        raise UserError(
            f"{len(files)} images of {height} x {width} pixels take {needed / 2**30:.1f} GiB, and "
            f"at most {_MOST_BYTES / 2**30:.0f} GiB are read; set a smaller data.size=(h, w)."
        )
    pixels = np.empty(shape, np.uint8)
    for i, file in enumerate(files):
        pixels[i] = _opened(file, lambda image: _decoded(image, height, width, grey=grey))
    return pixels


def _opened(file: pathlib.Path, use: Any) -> Any:
    """`use(image)`; UserError with the file's name where it is damaged or a decompression bomb."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Of bytes that are there: a decoder takes the memory that a file says it is long.
            with Image.open(io.BytesIO(file.read_bytes()), formats=_FORMATS) as image:
                return use(image)
    except UserError as error:
        raise UserError(f"{file} {error}") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(
            f"{file} would unpack to more than {Image.MAX_IMAGE_PIXELS} pixels; make it smaller."
        ) from error
    except Exception as error:  # a decoder may raise anything at damaged bytes
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UserError(f"{file} cannot be read as an image ({reason}); save it again.") from error


def _header(image: Image.Image) -> _Header:
    # Telephones put several views of one scene into a JPEG (MPO); the first is the photograph.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise UserError(f"holds {frames} pictures; save one of them.")
    if image.mode in _REFUSED:
        raise UserError(f"holds 32-bit numbers (mode {image.mode}); save it with 8 or 16 bits.")
    width, height = image.size
    turned = _says_orientation(image) and image.getexif().get(_ORIENTATION) in _TURNED
    return _Header((width, height) if turned else (height, width), image.mode)


def _common_size(files: Sequence[pathlib.Path], headers: Sequence[_Header]) -> tuple[int, int]:
    first = headers[0].size
    for file, header in zip(files, headers):
        if header.size != first:
            raise UserError(
                f"{files[0]} has {first[0]} x {first[1]} pixels and {file} {header.size[0]} x "
                f"{header.size[1]} (height x width); set data.size=(h, w) to bring all to one size."
            )
    return first


def _says_orientation(image: Image.Image) -> bool:
    """Whether its header may say how to turn it; Pillow would unpack a PNG to look behind it."""
    return image.format != "PNG" or "exif" in image.info


def _decoded(image: Image.Image, height: int, width: int, *, grey: bool) -> np.ndarray:
    image = ImageOps.exif_transpose(image) if _says_orientation(image) else image
    if image.mode.startswith("I;16"):
        # Pillow would cut everything above 255 off.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if grey else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(height, width, -1)


def _check_wanted(size: Size) -> None:
    if size and len(size) != 2:
        raise UserError(f"data.size={size} has {len(size)} numbers; give (height, width), or ().")
