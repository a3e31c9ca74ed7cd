"""Checkpoints: what is read is what was written, or it is named and the one before it is read."""

import errno
import json
import pathlib
import random
import resource
import shutil
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from recipe_jax import checkpoint, config
from recipe_jax.checkpoint import MANIFEST, NPZ, Checkpoints, flatten, unflatten, verify
from recipe_jax.types import UserError


class Inner(NamedTuple):
    kernel: np.ndarray
    empty: dict


def tree(seed: int = 0) -> dict:
    """One of everything that a training state may hold."""
    draw = np.random.default_rng(seed)
    params = {
        "layer 0/dense": Inner(draw.normal(size=(3, 4)).astype(np.float32), {}),
        "half": jnp.asarray(draw.normal(size=7), jnp.bfloat16),
    }
    opt_state = optax.chain(optax.clip(1.0), optax.adamw(1e-3)).init(params)
    return {
        "states": (params, opt_state),
        "flags": draw.random(5) < 0.5,
        "count": np.int32(seed),
        "seeds": draw.integers(0, 2**32, 3, dtype=np.uint32),
        "stopped": np.zeros((4, 0), bool),
        "losses": np.zeros((0,), np.float32),
        "odd": np.array([np.nan, np.inf, -0.0, 1e-45], np.float32),
    }


def same_bits(one, other) -> None:
    one, other = np.asarray(one), np.asarray(other)
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    assert one.tobytes() == other.tobytes()


def two(folder: pathlib.Path) -> Checkpoints:
    """Steps 1 and 2, each a tree of its own."""
    store = Checkpoints(folder / "store")
    for step in (1, 2):
        store.save(step, tree(step), {"finished": False, "step": step})
    return store


@pytest.fixture(scope="module", params=[checkpoint.SMALL, 0], ids=["npz", "orbax"])
def written(request, tmp_path_factory) -> tuple[pathlib.Path, int]:
    """A folder that holds a store with steps 1 and 2, for tests to copy, and the size up to which
    it was written in one file: small trees are, and here by orbax too."""
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checkpoint, "SMALL", request.param)
        two(folder)
    return folder, request.param


@pytest.fixture
def store(written, tmp_path, monkeypatch) -> Checkpoints:
    folder, small = written
    monkeypatch.setattr(checkpoint, "SMALL", small)
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return Checkpoints(tmp_path / "store")


def files(step: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in step.rglob("*") if p.is_file())


def array_file(step: pathlib.Path) -> pathlib.Path:
    """The name of one that holds arrays."""
    return next(p.relative_to(step) for p in files(step) if p.name in (NPZ, "manifest.ocdbt"))


def previous_is_used(store: Checkpoints, *named: str) -> None:
    """Restoring gives step 1, to the bit, and says what is wrong with step 2."""
    found = store.restore()
    assert found is not None and found.step == 1 and found.meta["step"] == 1
    for name, value in flatten(tree(1)).items():
        same_bits(found.arrays[name], value)
    assert len(store.damage) == 1
    for each in (str(store.directory / "2"), *named):
        assert each in store.damage[0]


def test_what_is_read_is_what_was_written(store):
    found = store.restore()
    assert found is not None and store.damage == []
    assert (found.step, found.meta) == (2, {"finished": False, "step": 2})
    wanted = flatten(tree(2))
    assert found.arrays.keys() == wanted.keys()
    assert {v.dtype.name for v in wanted.values()} >= {"bfloat16", "bool", "uint32", "int32"}
    for name, value in wanted.items():
        same_bits(found.arrays[name], value)
        assert isinstance(found.arrays[name], np.ndarray)


def test_structure_comes_back_through_names(store):
    wanted = tree(2)
    like = jax.eval_shape(lambda: wanted["states"])
    back = unflatten(like, store.restore().arrays, "states")
    assert jax.tree.structure(back) == jax.tree.structure(wanted["states"])
    assert isinstance(back[0]["layer 0/dense"], Inner)
    jax.tree.map(same_bits, back, wanted["states"])


def test_a_bare_array_is_a_tree():
    arrays = flatten({"weights": np.arange(3.0), "weights2": np.zeros(1)})
    same_bits(unflatten(np.zeros(3), arrays, "weights"), np.arange(3.0))


def test_an_empty_store_has_nothing(tmp_path):
    store = Checkpoints(tmp_path / "none")
    assert store.restore() is None and store.steps() == [] and store.damage == []


def test_the_last_two_are_kept_and_order_is_by_number(tmp_path):
    store = Checkpoints(tmp_path, keep=2)
    for step in (8, 9, 10):
        store.save(step, {"x": np.full(3, step)}, {})
    assert store.steps() == [9, 10]
    assert store.restore().step == 10
    store.save(10, {"x": np.full(3, -1)}, {})
    assert store.steps() == [9, 10]
    same_bits(store.restore().arrays["x"], np.full(3, -1))


def test_up_to_a_mebibyte_is_one_file_and_more_is_written_by_orbax(tmp_path):
    store = Checkpoints(tmp_path)
    for step, size in ((1, 2**20), (2, 2**20 + 1)):
        store.save(step, {"x": np.zeros(size, np.uint8)}, {})
        assert (tmp_path / str(step) / NPZ).is_file() == (step == 1)
        assert (tmp_path / str(step) / "arrays").is_dir() == (step == 2)
        assert store.restore().arrays["x"].nbytes == size


def test_fewer_than_two_are_refused():
    assert config.complete({"checkpoint": {"keep": 2}}).checkpoint.keep == 2
    with pytest.raises(UserError, match="keep"):
        config.complete({"checkpoint": {"keep": 1}})


def test_a_finished_result_stands_alone(store):
    (store.directory / "unfinished-3").mkdir()
    store.keep_only(2)
    assert [p.name for p in store.directory.iterdir()] == ["2"]
    assert store.restore().step == 2


# --- Damage ----------------------------------------------------------------------------------


def test_every_flipped_bit_is_found_and_its_file_is_named(store):
    draw, step = random.Random(0), store.directory / "2"
    names = {"meta.json", MANIFEST, str(array_file(step))}
    there = {str(path.relative_to(step)) for path in files(step)}
    assert there == names if NPZ in there else names < there and len(there) > 5
    for path in files(step):
        whole, name = path.read_bytes(), str(path.relative_to(step))
        for _ in range(40 if whole else 0):
            place, bit = draw.randrange(len(whole)), draw.randrange(8)
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(ValueError) as error:
                verify(step)
            assert str(error.value).startswith(name + " "), (name, place, bit)
        path.write_bytes(whole)
        verify(step)


def one_bit(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def half(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nothing(path: pathlib.Path) -> None:
    path.write_bytes(b"")


def missing(path: pathlib.Path) -> None:
    path.unlink()


def linked(path: pathlib.Path) -> None:
    """The same content, but behind a link that leads out of the run."""
    store = next(folder for folder in path.parents if folder.name == "store")
    outside = store.with_name("elsewhere")
    path.rename(outside)
    path.symlink_to(outside)


@pytest.mark.parametrize("spoil", [one_bit, half, nothing, missing, linked])
def test_a_damaged_file_is_named_and_the_step_before_is_used(store, spoil):
    step, aside = store.directory / "2", store.directory / "aside"
    shutil.copytree(step, aside)
    for path in files(step):
        if not path.stat().st_size and spoil is not missing:
            continue  # an empty marker file has nothing to lose
        spoil(path)
        previous_is_used(Checkpoints(store.directory), str(path.relative_to(step)))
        shutil.rmtree(step)
        shutil.copytree(aside, step)
    assert store.restore().step == 2


def test_what_does_not_belong_is_named(store, tmp_path):
    step = store.directory / "2"
    for folder in {step, (step / array_file(step)).parent}:
        extra = folder / "extra"
        extra.write_text("junk")
        said = f"{extra.relative_to(step)} is not part of it"
        previous_is_used(Checkpoints(store.directory), said)
        extra.unlink()
        extra.symlink_to(tmp_path)
        previous_is_used(Checkpoints(store.directory), said)
        extra.unlink()


def test_arrays_behind_a_link_are_not_read(store, tmp_path):
    (arrays,) = (store.directory / "2").glob("arrays*")
    shutil.move(arrays, tmp_path / arrays.name)
    arrays.symlink_to(tmp_path / arrays.name)
    previous_is_used(store, arrays.name)


def test_a_step_that_is_a_link_is_none(store, tmp_path):
    shutil.move(store.directory / "2", tmp_path / "2")
    (store.directory / "2").symlink_to(tmp_path / "2")
    assert store.steps() == [1]
    assert store.restore().step == 1
    store.save(2, tree(3), {"step": 2})
    assert not (store.directory / "2").is_symlink()
    verify(tmp_path / "2")
    same_bits(store.restore().arrays["count"], np.int32(3))


def test_a_leftover_that_is_a_link_is_not_written_through(store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    (store.directory / "unfinished-3").symlink_to(outside)
    store.save(3, tree(3), {})
    assert [p.name for p in outside.iterdir()] == ["precious"]
    assert store.restore().step == 3


def test_other_names_are_no_steps(store):
    for name in ("007", "²", "٣", "-1", "1.5", "unfinished-9", "notes"):
        (store.directory / name).mkdir()
    (store.directory / "99").write_text("a file")
    assert store.steps() == [1, 2]
    assert store.restore().step == 2
    store.save(99, tree(3), {})
    assert store.steps() == [2, 99]


def test_a_manifest_vouches_for_itself(store):
    step = store.directory / "2"
    path, forged = step / MANIFEST, array_file(step)
    content = json.loads(path.read_text())
    (step / forged).write_bytes(b"forged")
    content["files"][str(forged)] = checkpoint._digest(step / forged)
    path.write_text(json.dumps(content, indent=1))
    previous_is_used(store, MANIFEST)


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"files": {}}', "\xff"])
def test_a_manifest_of_another_kind_is_damage(store, content):
    (store.directory / "2" / MANIFEST).write_bytes(content.encode("latin-1"))
    previous_is_used(store, MANIFEST)


def test_when_all_are_damaged_there_is_none(store):
    for step in ("1", "2"):
        one_bit(store.directory / step / "meta.json")
    assert store.restore() is None
    assert [each.split(": ")[0] for each in store.damage] == [
        str(store.directory / step) for step in ("2", "1")
    ]


# --- A kill while saving ---------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a SIGKILL: nothing after it runs."""


def killed(*_, **__):
    raise Killed


def begun(path, **_):
    """An npz file of which the beginning is written."""
    path.write_bytes(b"PK")
    raise Killed


def kill_at(monkeypatch, moment: str) -> None:
    """Ends the next save at this moment."""
    write = pathlib.Path.write_text
    if moment == "arrays":
        import orbax.checkpoint as ocp

        monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "finalize", killed)
        monkeypatch.setattr(np, "savez", begun)
    elif moment in ("meta.json", MANIFEST):

        def partly(path, text, *rest, **more):
            write(path, text[: len(text) // 2] if path.name == moment else text, *rest, **more)
            if path.name == moment:
                raise Killed

        monkeypatch.setattr(pathlib.Path, "write_text", partly)
    elif moment == "sync":
        monkeypatch.setattr(checkpoint, "_sync", killed)
    elif moment == "rename":
        monkeypatch.setattr(pathlib.Path, "rename", killed)
    else:
        monkeypatch.setattr(Checkpoints, "steps", killed)  # first asked when pruning


MOMENTS = ("arrays", "meta.json", MANIFEST, "sync", "rename", "prune")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_while_saving_loses_nothing(store, monkeypatch, moment):
    with monkeypatch.context() as patched:
        kill_at(patched, moment)
        with pytest.raises(Killed):
            store.save(3, tree(3), {"step": 3})
    found = store.restore()
    assert found.step == found.meta["step"] == (3 if moment == "prune" else 2)
    assert store.damage == []
    store.save(4, tree(4), {"step": 4})
    assert sorted(p.name for p in store.directory.iterdir()) == [str(found.step), "4"]
    assert store.restore().step == 4


def test_a_kill_while_a_step_is_replaced_uses_the_one_before(store, monkeypatch):
    """The newest was damaged, training went on from the one before, and comes to its step again."""
    one_bit(store.directory / "2" / "meta.json")
    assert store.restore().step == 1
    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "rename", killed)
        with pytest.raises(Killed):
            store.save(2, tree(2), {"step": 2})
    assert Checkpoints(store.directory).restore().step == 1


def test_a_save_that_fails_keeps_the_step_before(store, monkeypatch):
    def full(path, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            store.save(3, tree(3), {})
    assert store.restore().step == 2


def test_a_disk_that_takes_no_more_is_an_error_of_the_system(store, capfd):
    """What orbax raises has no errno, and its threads print it; the limit on a file's size stands
    for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(OSError) as error:
            arrays = {f"x{i}": np.random.default_rng(i).random(100_000) for i in range(9)}
            store.save(3, arrays, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.errno == errno.EFBIG
    assert capfd.readouterr().err == ""
    assert sorted(p.name for p in store.directory.iterdir()) == ["1", "2"]
    assert store.restore().step == 2


# --- Memory ----------------------------------------------------------------------------------

SAVES = """
import pathlib, sys
import numpy as np
from recipe_jax.checkpoint import Checkpoints

def highest():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

store = Checkpoints(pathlib.Path(sys.argv[1]))
store.save(0, {"x": np.zeros(2**18)}, {})  # what is imported and started once
arrays = {f"x{i}": np.random.default_rng(i).random(2_000_000) for i in range(8)}
before = highest()
for step in range(1, 4):
    store.save(step, arrays, {})
print((highest() - before) / sum(each.nbytes for each in arrays.values()))
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").is_file(), reason="asks Linux")
def test_saving_takes_next_to_no_memory(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", SAVES, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert float(ran.stdout) < 0.25


# --- Names, shapes, types --------------------------------------------------------------------

LIKE = {"a": np.zeros((2, 3), np.float32), "b": {"c": np.zeros((), np.int32)}}


@pytest.mark.parametrize(
    "stored, message",
    [
        ({"a": LIKE["a"]}, "state.b.c is missing for this program"),
        ({**LIKE, "d": np.zeros(1)}, "state.d is unknown to this program"),
        ({**LIKE, "a": np.zeros((3, 2), np.float32)}, r"state.a is float32\(3, 2\).*\(2, 3\)"),
        ({**LIKE, "a": np.zeros((2, 3))}, r"state.a is float64.*needs float32"),
        ({**LIKE, "b": {"c": np.zeros((), np.uint32)}}, "state.b.c is uint32.*needs int32"),
    ],
)
def test_a_tree_of_another_program_is_refused(stored, message):
    arrays = flatten({"state": stored, "other": np.zeros(2)})
    with pytest.raises(ValueError, match=message):
        unflatten(LIKE, arrays, "state")
    arrays = flatten({"state": LIKE, "other": np.zeros(2)})
    jax.tree.map(same_bits, unflatten(LIKE, arrays, "state"), LIKE)


def test_two_leaves_never_share_a_name():
    with pytest.raises(ValueError, match="one name"):
        flatten({"a": {"b": np.zeros(1)}, "a.b": np.ones(1)})
