"""NumPy and idx files: what they hold arrives, and no false claim in a header is believed."""

import gzip
import io
import os
import pathlib
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from recipe_jax.data import arrays, base, idx
from recipe_jax.types import UserError

ROOT = pathlib.Path(__file__).resolve().parents[1]
MNIST = pathlib.Path(os.environ.get("RECIPE_JAX_DATA", ROOT.parent / "shared" / "data"))

X = np.random.default_rng(0).normal(size=(30, 4))
Y = np.arange(30) % 3


def npz(folder, save=np.savez, **members):
    save(folder / "data.npz", **members)
    return str(folder / "data.npz")


def npy(folder, name, array, **options):
    np.save(folder / name, array, **options)
    return str(folder / name)


@pytest.mark.parametrize(
    "pair", [("inputs", "targets"), ("x", "y"), ("X", "y"), ("data", "target")]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_by_any_usual_names(tmp_path, pair, save):
    source = arrays.build(path=npz(tmp_path, save, **{pair[0]: X, pair[1]: Y, "other": X}))
    np.testing.assert_array_equal(source.raw, X)
    np.testing.assert_array_equal(source.targets, Y)
    assert source.class_names == ("0", "1", "2") and source.modality == "table"
    assert base.prepare(source).feature_names == ("x0", "x1", "x2", "x3")


@pytest.mark.parametrize("names", [("inputs",), ("x", "y"), ("other", "X"), ("features",)])
def test_new_examples_need_no_targets(tmp_path, names):
    wanted = np.arange(6.0).reshape(3, 2)
    known = {name: wanted if name not in ("y", "other") else np.zeros(9) for name in names}
    np.savez(tmp_path / "new.npz", **known)
    np.testing.assert_array_equal(arrays.load_inputs(tmp_path / "new.npz"), wanted)


def test_archives_without_inputs_are_told(tmp_path):
    np.savez(tmp_path / "new.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(UserError, match="holds a, b, and should hold an array named inputs"):
        arrays.load_inputs(tmp_path / "new.npz")


def test_two_npy_files(tmp_path):
    inputs = npy(tmp_path, "x.npy", np.asfortranarray(X.astype(np.float32)))
    source = arrays.build(path=inputs, targets=npy(tmp_path, "y.npy", X[:, :2]))
    np.testing.assert_array_equal(source.raw, X.astype(np.float32))
    np.testing.assert_array_equal(source.targets, X[:, :2])
    assert source.kind == "regression" and source.target_names == ("target 0", "target 1")


@pytest.mark.parametrize(
    "targets, task, kind, names",
    [
        (np.array(["b", "a", "c"] * 10), "auto", "classification", ("a", "b", "c")),
        (np.array([b"b", b"a"] * 15), "auto", "classification", ("a", "b")),
        (np.array([True, False] * 15), "auto", "classification", ("False", "True")),
        (Y[:, None].astype(np.float32), "auto", "classification", ("0", "1", "2")),
        (np.arange(30), "auto", "regression", ()),
        (Y, "regression", "regression", ()),
        (np.arange(30), "classification", "classification", tuple(map(str, range(30)))),
        (X[:, 0], "auto", "regression", ()),
    ],
)
def test_targets_by_what_they_look_like(tmp_path, targets, task, kind, names):
    source = arrays.build(path=npz(tmp_path, x=X, y=targets), task=task)
    assert source.kind == kind and source.class_names == names


@pytest.mark.parametrize("shape, expected", [((30, 5, 4), (5, 4, 1)), ((30, 5, 4, 3), (5, 4, 3))])
def test_images_have_channels(tmp_path, shape, expected):
    images = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    task = base.prepare(arrays.build(path=npz(tmp_path, x=images, y=Y)))
    assert task.modality == "image" and task.spec.input_shape == expected
    back = task.encoder.decode(task.train.inputs)
    np.testing.assert_allclose(back, images.reshape(30, *expected)[task.train.ids], atol=1e-3)


def header_claims(shape):
    """An .npy whose header declares more than the file holds."""
    file = io.BytesIO()
    content = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, content)
    return file.getvalue() + bytes(64)


def header_file(folder, shape):
    (folder / "x.npy").write_bytes(header_claims(shape))
    return str(folder / "x.npy")


def zip_of(folder, **members):
    with zipfile.ZipFile(folder / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return str(folder / "data.npz")


def bomb(folder):
    """100 MB of zeros in an archive of 100 kB."""
    return npz(folder, np.savez_compressed, x=np.zeros((30, 450_000)), y=Y)


def damaged(folder):
    path = pathlib.Path(npz(folder, np.savez_compressed, x=X, y=Y))
    content = bytearray(path.read_bytes())
    content[200:220] = bytes(20)
    path.write_bytes(bytes(content))
    return str(path)


def beheaded(folder):
    """Its places in the file are counted from before its first byte."""
    path = pathlib.Path(npz(folder, x=X, y=Y))
    path.write_bytes(path.read_bytes()[1:])
    return str(path)


def braces(folder):
    """A header that is no Python, in the way that NumPy does not expect."""
    (folder / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 90) + b"{" * 90)
    return str(folder / "x.npy")


def begins(content):
    """An .npy that begins so."""

    def make(folder):
        (folder / "x.npy").write_bytes(b"\x93NUMPY" + content)
        return str(folder / "x.npy")

    return make


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda d: npz(d, x=X), "holds x, and should hold arrays named inputs and targets"),
        (lambda d: npz(d, x=X, y=Y[:29]), "30 inputs and 29 targets"),
        (lambda d: npz(d, x=X.astype(object), y=Y), r"\[x\] holds pickled Python objects"),
        (lambda d: npz(d, x=X, y=np.array([{}] * 30)), r"\[y\] holds pickled Python objects"),
        (lambda d: npz(d, x=X.astype(str), y=Y), "inputs are <U32, and must be real"),
        (lambda d: npz(d, x=X + 1j, y=Y), "inputs are complex128"),
        (lambda d: npz(d, x=X, y=Y + 1j), "targets are complex128"),
        (lambda d: npz(d, x=X[:0], y=Y[:0]), r"inputs have shape \(0, 4\)"),
        (lambda d: npz(d, x=X[None, None, None], y=Y), "inputs have shape"),
        (lambda d: npz(d, x=np.where(X > 2, np.nan, X), y=Y), "inputs hold 1 NaN and 0 infinite"),
        (lambda d: npz(d, x=X, y=np.where(X > 2, np.inf, X)), "targets hold 0 NaN and 1 inf"),
        (lambda d: npy(d, "x.npy", X), r"data\.targets is empty"),
        (lambda d: npy(d, "x.npy", X.astype(object), allow_pickle=True), "pickled Python objects"),
        (lambda d: zip_of(d, x=header_claims((10**9, 10**9)), y=b""), r"\[x\] declares 8000000"),
        (lambda d: zip_of(d, x=b"nothing", y=b""), r"\[x\] is no NumPy array file"),
        (bomb, "unpack to more than 200 times its size"),
        (damaged, "is damaged"),
        (beheaded, r"is damaged \(.*\); save it again"),
        (braces, "is no NumPy array file"),
        (begins(b"\x09\x09" + bytes(20)), r"no NumPy array file \(its version is \(9, 9\)"),
        (begins(b"\x02\x00\xff\xff\xff\x7f{}"), "no NumPy array file"),
        (lambda d: header_file(d, (-1, 2)), r"no NumPy array file \(its shape is \(-1, 2\)"),
    ],
)
def test_bad_arrays_are_one_sentence(tmp_path, make, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        arrays.build(path=make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_truncated_npy_is_refused_before_allocating(tmp_path):
    (tmp_path / "x.npy").write_bytes(header_claims((10**12, 8)))
    with pytest.raises(UserError, match="declares 64000000000000 bytes"):
        arrays.build(path=str(tmp_path / "x.npy"))


def test_a_header_that_says_it_is_long_takes_no_memory_for_it(tmp_path):
    make = begins(b"\x02\x00\xff\xff\xff\x0f{'descr'")
    tracemalloc.start()
    try:
        with pytest.raises(UserError):
            arrays.load_npy(pathlib.Path(make(tmp_path)))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_an_object_array_runs_nothing(tmp_path):
    class Trap:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "sprung",)

    with pytest.raises(UserError, match="pickled"):
        arrays.build(path=npz(tmp_path, x=np.array([Trap()]), y=Y))
    assert not (tmp_path / "sprung").exists()


IMAGES = np.random.default_rng(0).integers(0, 256, (30, 6, 5)).astype(np.uint8)


def packed(array, code=0x08, shape=None):
    shape = array.shape if shape is None else shape
    return struct.pack(f">4B{len(shape)}I", 0, 0, code, len(shape), *shape) + array.tobytes()


def write_idx(folder, images, labels, *, stem="train", end="", pack=lambda content: content):
    for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
        (folder / f"{stem}-{kind}-ubyte{end}").write_bytes(pack(content))
    return folder / f"{stem}-images-idx3-ubyte{end}"


@pytest.mark.parametrize("pack, end", [(gzip.compress, ".gz"), (lambda content: content, "")])
def test_idx_from_a_folder_or_a_file(tmp_path, pack, end):
    labels = packed((Y + 4).astype(np.uint8))
    file = write_idx(tmp_path, packed(IMAGES), labels, end=end, pack=pack)
    write_idx(tmp_path, packed(IMAGES[:6]), packed(Y[:6].astype(np.uint8)), stem="t10k")
    for path in (tmp_path, file):
        source = idx.build(path=str(path))
        np.testing.assert_array_equal(source.raw, IMAGES[..., None])
        np.testing.assert_array_equal(source.targets, Y)
        assert source.class_names == ("4", "5", "6") and source.modality == "image"


def test_labels_can_be_named_and_numbers_are_big_endian(tmp_path):
    file = write_idx(tmp_path, packed((IMAGES.astype(int) - 300).astype(">i2"), 0x0B), b"other")
    (tmp_path / "mine").write_bytes(packed(Y.astype(">i4"), 0x0C))
    source = idx.build(path=str(file), labels=str(tmp_path / "mine"))
    np.testing.assert_array_equal(source.raw[..., 0], IMAGES.astype(int) - 300)
    np.testing.assert_array_equal(source.targets, Y)


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


LABELS = packed(Y.astype(np.uint8))


@pytest.mark.parametrize(
    "images, labels, sentence",
    [
        (packed(IMAGES)[:-1], LABELS, "declares 900 bytes .* and holds fewer"),
        (packed(IMAGES) + b"x", LABELS, "declares 900 bytes .* and holds more"),
        (packed(IMAGES, shape=(2**31, 2**31, 5)), LABELS, "holds fewer"),
        (packed(IMAGES, shape=(0, 6, 5)), LABELS, "holds nothing"),
        (packed(IMAGES)[:9], LABELS, "truncated in its header"),
        (b"PNG" + packed(IMAGES), LABELS, "does not begin as an idx file"),
        (packed(IMAGES), LABELS[:3], "does not begin as an idx file"),
        (gzip.compress(packed(IMAGES))[:-60], LABELS, "damaged or truncated"),
        (flipped(gzip.compress(packed(IMAGES)), 500), LABELS, "damaged or truncated"),
        (gzip.compress(packed(IMAGES, shape=(2**31, 2**31, 5))), LABELS, "holds fewer"),
        (packed(IMAGES[:29]), LABELS, "29 images and .* 30 labels"),
        (packed(IMAGES), packed(IMAGES), "labels are one whole number"),
        (packed(Y.astype(np.uint8)), LABELS, r"images are \(number, height, width\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_idx_files_are_one_sentence(tmp_path, images, labels, sentence):
    file = write_idx(tmp_path, images, labels)
    with pytest.raises(UserError, match=sentence) as caught:
        idx.build(path=str(file))
    assert "\n" not in str(caught.value)


def test_missing_idx_files_are_named(tmp_path):
    with pytest.raises(UserError, match="holds no idx images"):
        idx.build(path=str(tmp_path))
    file = write_idx(tmp_path, packed(IMAGES), LABELS, stem="one")
    write_idx(tmp_path, packed(IMAGES), LABELS, stem="two")
    with pytest.raises(UserError, match="holds several sets"):
        idx.build(path=str(tmp_path))
    (tmp_path / "one-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="no labels file one-labels-idx1-ubyte"):
        idx.build(path=str(file))


@pytest.mark.skipif(
    not (MNIST / "t10k-images-idx3-ubyte.gz").is_file(), reason="MNIST is not on this machine"
)
def test_mnist():
    source = idx.build(path=str(MNIST / "t10k-images-idx3-ubyte.gz"))
    assert source.raw.shape == (10_000, 28, 28, 1) and source.raw.dtype == np.uint8
    np.testing.assert_array_equal(source.targets[:10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9])
    task = base.prepare(source, max_examples=1000, normalize="channel")
    # The published mean and deviation of MNIST pixels are 0.1307 and 0.3081 of 255.
    assert abs(task.encoder.mean[0] / 255 - 0.1307) < 0.005
    assert abs(task.encoder.scale[0] / 255 - 0.3081) < 0.005
