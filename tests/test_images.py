"""Images in class folders: what is read, how colours and sizes are made one, what is refused."""

import contextlib
import pathlib
import tracemalloc
import warnings

import numpy as np
import pytest
from PIL import Image

from recipe_jax.app import predict
from recipe_jax.data import base, images
from recipe_jax.types import UserError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RED = np.zeros((3, 4, 3), np.uint8) + np.array([255, 0, 0], np.uint8)


def save(path, pixels=GREY, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    """Two classes of six images each, of 3 x 4 pixels, all different."""
    for number, name in enumerate(("cat", "dog")):
        for i in range(6):
            save(tmp_path / "root" / name / f"{i}.png", GREY + np.uint8(6 * number + i))
    return tmp_path / "root"


def refused(root, **options):
    with pytest.raises(UserError) as caught:
        images.build(path=str(root), **options)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith((".", "?"))
    return sentence


def one(folder, name, pixels, **options):
    """The pixels of one image as they are read."""
    return images.read(save(folder / name, pixels), channels=1, size=(), **options)[0][0, ..., 0]


def test_folders_are_classes_and_paths_are_ids(root):
    source = images.build(path=str(root))
    assert source.raw.shape == (12, 3, 4, 1) and source.raw.dtype == np.uint8
    np.testing.assert_array_equal(source.raw[7, ..., 0], GREY + 7)
    assert source.class_names == ("cat", "dog") and list(source.targets) == [0] * 6 + [1] * 6
    assert list(source.ids[[0, 11]]) == ["cat/0.png", "dog/5.png"]
    task = base.prepare(source)
    assert task.modality == "image" and task.spec.input_shape == (3, 4, 1)
    place = list(source.ids).index(task.train.ids[0])
    decoded = task.encoder.decode(task.train.inputs)[0]
    np.testing.assert_allclose(decoded, source.raw[place], atol=1e-4)


def test_the_order_is_that_of_the_names_whatever_the_disk_says(root, monkeypatch):
    expected = images.build(path=str(root))
    listed = pathlib.Path.iterdir
    monkeypatch.setattr(pathlib.Path, "iterdir", lambda self: reversed(sorted(listed(self))))
    found = images.build(path=str(root))
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.raw, expected.raw)


def test_hidden_names_are_passed_over_and_links_followed(root, tmp_path):
    (root / ".DS_Store").write_bytes(b"x")
    (root / "cat" / "._0.png").write_bytes(b"x")
    (root / ".git").mkdir()
    assert len(images.build(path=str(root)).ids) == 12
    (root / "dog" / "linked.png").symlink_to(save(tmp_path / "elsewhere.png", GREY))
    assert "dog/linked.png" in images.build(path=str(root)).ids


@pytest.mark.parametrize(
    "colour, extra, channels",
    [
        ("auto", None, 1),
        ("auto", "RGB", 3),
        ("auto", "P", 3),
        ("auto", "1", 1),
        ("auto", "LA", 1),
        ("grey", "RGB", 1),
        ("rgb", None, 3),
    ],
)
def test_colours_are_made_one(root, colour, extra, channels):
    if extra:
        save(root / "cat" / "9.png", Image.fromarray(RED).convert(extra))
    source = images.build(path=str(root), colour=colour)
    assert source.raw.shape[1:] == (3, 4, channels)
    if channels == 3:
        np.testing.assert_array_equal(source.raw[0], np.stack([GREY] * 3, axis=-1))
    if extra in ("RGB", "P"):
        # Red is 299 of 1000 parts of brightness (ITU-R 601).
        expected = RED if channels == 3 else np.full((3, 4, 1), 76)
        np.testing.assert_array_equal(source.raw[6], expected)


def test_pixels_by_hand(tmp_path):
    deep = np.array([[0, 255, 256, 65535]], np.uint16)
    np.testing.assert_array_equal(one(tmp_path, "deep.png", deep), [[0, 0, 1, 255]])
    half = Image.fromarray(np.array([[[0, 0], [0, 255], [100, 51]]], np.uint8), "LA")
    # Seen on white: 255, 0, and 100 * 0.2 + 255 * 0.8.
    np.testing.assert_array_equal(one(tmp_path, "glass.png", half), [[255, 0, 224]])
    cyan = Image.new("CMYK", (2, 1), (255, 0, 0, 0))
    found, _ = images.read(save(tmp_path / "c.tif", cyan), channels=3, size=())
    np.testing.assert_array_equal(found[0, 0, 0], [0, 255, 255])


def test_cameras_held_sideways_are_turned(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned right by a quarter
    path = save(tmp_path / "root" / "a" / "1.png", GREY, exif=turned)
    found, _ = images.read(path, channels=1, size=())
    np.testing.assert_array_equal(found[0, ..., 0], np.rot90(GREY, -1))
    # Their size is that of the turned image: no two sizes here.
    save(tmp_path / "root" / "b" / "2.png", GREY.T)
    assert images.build(path=str(tmp_path / "root")).raw.shape == (2, 4, 3, 1)


def test_size_brings_all_to_one(root):
    save(root / "cat" / "big.png", np.full((30, 10), 77, np.uint8))
    source = images.build(path=str(root), size=(6, 5))
    assert source.raw.shape == (13, 6, 5, 1)
    np.testing.assert_array_equal(source.raw[list(source.ids).index("cat/big.png")], 77)
    # Halving averages over what a pixel covers.
    edges = np.repeat(np.array([[0, 200]], np.uint8), 8, axis=0).repeat(8, axis=1)
    found, _ = images.read(save(root.parent / "e.png", edges), channels=1, size=(4, 8))
    np.testing.assert_array_equal(found[0, 0, [0, 1, 6, 7], 0], [0, 0, 200, 200])


def test_different_sizes_name_two_files_and_the_remedy(root):
    save(root / "dog" / "3.png", np.zeros((5, 7), np.uint8))
    sentence = refused(root)
    assert f"{root}/cat/0.png has 3 x 4 pixels and {root}/dog/3.png 5 x 7" in sentence
    assert "data.size=(h, w)" in sentence


def test_a_size_is_two_numbers(root):
    assert "data.size=(8,) has 1 numbers" in refused(root, size=(8,))


def test_what_lies_elsewhere_is_named(root, tmp_path):
    (root / "empty").mkdir()
    assert f"{root}/empty holds no images" in refused(root)
    (root / "empty" / "deeper").mkdir()
    assert "deeper is a folder in a class folder" in refused(root)
    (root / "empty" / "deeper").rmdir()
    (root / "empty" / "notes.txt").write_text("x")
    assert "notes.txt is no image" in refused(root)
    (root / "labels.csv").write_text("x")
    assert f"{root}/labels.csv lies beside the class folders" in refused(root)
    assert "holds no folders, and 6 files" in refused(root / "cat")
    (tmp_path / "bare").mkdir()
    assert "holds nothing" in refused(tmp_path / "bare")
    assert "is a file; name a folder" in refused(root / "cat" / "0.png")
    assert "data.path is empty" in refused("")


def damaged(root, content):
    (root / "dog" / "4.png").write_bytes(content)
    sentence = refused(root)
    assert f"{root}/dog/4.png cannot be read as an image" in sentence
    return sentence


def test_damaged_images_are_named(root):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    whole = save(root / "dog" / "4.png", noise).read_bytes()
    for count in (0, 10, 60, len(whole) // 2, len(whole) - 40):
        (root / "dog" / "4.png").write_bytes(whole[:count])
        assert f"{root}/dog/4.png cannot be read as an image" in refused(root, size=(3, 4))
    damaged(root, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    damaged(root, b"no image at all")


def test_several_pictures_in_one_file_and_32_bits_are_refused(root):
    frames = [Image.fromarray(GREY + np.uint8(i)) for i in range(3)]
    save(root / "cat" / "film.gif", frames[0], save_all=True, append_images=frames[1:])
    assert "cat/film.gif holds 3 pictures" in refused(root)
    (root / "cat" / "film.gif").unlink()
    save(root / "cat" / "wide.tif", GREY.astype(np.float32))
    assert "cat/wide.tif holds 32-bit numbers (mode F)" in refused(root)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(root, monkeypatch):
    save(root / "dog" / "bomb.png", np.zeros((30, 40), np.uint8))
    for most in (1000, 100):  # Pillow warns above the limit, and refuses above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with monkeypatch.context() as patch, warnings.catch_warnings():
            patch.setattr(Image.Image, "load", lambda self: pytest.fail("unpacked"))
            warnings.simplefilter("error")
            sentence = refused(root, size=(3, 4))
        assert f"bomb.png would unpack to more than {most} pixels" in sentence


def test_a_file_that_says_it_is_long_takes_no_memory_for_it(root):
    file = next(path for path in sorted(root.rglob("*.png")))
    content = file.read_bytes()
    place = content.index(b"IDAT") - 4
    file.write_bytes(content[:place] + (2**27).to_bytes(4, "big") + content[place + 4 :])
    tracemalloc.start()
    try:
        with contextlib.suppress(UserError):
            images.build(path=str(root))
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_memory_is_counted_before_it_is_taken(root, monkeypatch):
    monkeypatch.setattr(images, "_decoded", lambda *_, **__: pytest.fail("decoded"))
    assert "12 images of 16000 x 12000 pixels take 2.1 GiB, and at most 2 GiB" in refused(
        root, size=(16000, 12000)
    )


def test_new_images_are_named_and_brought_to_the_trained_size(root):
    save(root / "dog" / "deep" / "x.jpg", RED)
    (root / ".hidden.png").write_bytes(b"x")
    found, names = images.read(root, channels=3, size=(6, 5))
    assert found.shape == (13, 6, 5, 3) and found.dtype == np.uint8
    assert names[0] == "cat/0.png" and names[-1] == "dog/deep/x.jpg"
    (root / "none").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        images.read(root / "none", channels=3, size=())


def test_predictions_of_files_name_them():
    described = {"kind": "classification", "class_names": ["cat", "dog"]}
    text = predict._as_csv(described, np.array([[0.25, 0.75]]), ["a, b.png"])
    assert text.splitlines() == [
        "file,prediction,probability of cat,probability of dog",
        '"a, b.png",dog,0.25,0.75',
    ]
