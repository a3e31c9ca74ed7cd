"""A disk that fails anywhere stops the run with one sentence, and it goes on to the same bits."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from disks import failing

from recipe_jax import checkpoint, study, tracking, writers
from recipe_jax.app import commands, disk, lanes
from recipe_jax.types import Measured, UserError

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "tiny.py"
SETTINGS = (
    *("--config.train.epochs=8", "--config.train.evaluations=4"),
    "--config.checkpoint.every_seconds=0",
)
COMPARED = ("metrics.jsonl", "findings.json", "trials.csv", "model/model.json")
SAVED = "checkpoints/training-*"


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def arguments(workdir: pathlib.Path) -> list[str]:
    return ["--config", str(CONFIG), "--workdir", str(workdir), *SETTINGS]


def train(workdir: pathlib.Path) -> int:
    return commands.train(["train", *arguments(workdir)])


def assert_same_run(one: pathlib.Path, other: pathlib.Path) -> None:
    for name in COMPARED:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    with np.load(one / "model/weights.npz") as left, np.load(other / "model/weights.npz") as right:
        assert {k: v.tobytes() for k, v in left.items()} == {
            k: v.tobytes() for k, v in right.items()
        }
    assert json.loads((one / "run.json").read_text())["status"] == "done"


@pytest.fixture
def small_calls(monkeypatch):
    """A save is possible after every round."""
    monkeypatch.setattr(lanes.plan, "rounds_at_once", lambda *_, **__: 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
    """A run that no disk disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert train(folder / "w") == 0
    return folder / "w"


def fails(workdir: pathlib.Path, pattern: str, number: int) -> str:
    """The sentence of a run whose disk fails at `pattern`."""
    with failing(workdir, pattern, number) as found, pytest.raises(UserError) as caught:
        train(workdir)
    assert found.failed, sorted(set(found.seen))
    told = str(caught.value)
    assert "\n" not in told and os.strerror(number) in told and str(workdir) in told
    return told


def test_every_place_that_is_written_is_tried_below(whole, tmp_path):
    """What a run writes, by name: a new file has to be thought of."""
    with failing(tmp_path / "w") as found:
        assert train(tmp_path / "w") == 0
    names = {pathlib.Path(name).name for name in found.seen}
    names = {name.removeprefix(".").partition(".tmp")[0].rstrip("0123456789.") for name in names}
    names = {name.partition(".tfevents")[0] for name in names}
    ours = {"config.json", "run.json", "run.lock", "findings.json", "metrics.jsonl", "trials.csv"}
    ours |= {"tensorboard", "events.out", "model", "model.json", "weights.npz", "model.jaxexport"}
    ours |= {"sha256.json", "report.html", "report.json", "meta.json", "manifest.json"}
    assert ours <= names, ours - names


# --- While it trains -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern, number",
    [
        ("metrics.jsonl", errno.ENOSPC),
        (f"{SAVED}/unfinished-*/meta.json", errno.EROFS),
        *(
            pytest.param(pattern, number, marks=pytest.mark.slow)
            for pattern, number in (
                ("checkpoints", errno.EACCES),
                (f"{SAVED}/unfinished-*/arrays*", errno.ENOSPC),
                (f"{SAVED}/unfinished-*/manifest.json", errno.EDQUOT),
                (f"{SAVED}/[0-9]*", errno.EIO),
                (SAVED, errno.ENOSPC),
            )
        ),
    ],
)
@pytest.mark.usefixtures("small_calls")
def test_a_disk_that_fails_while_it_trains(whole, tmp_path, pattern, number):
    assert "the same command goes on from here" in fails(tmp_path / "w", pattern, number)
    record = json.loads((tmp_path / "w" / "run.json").read_text())
    assert record["status"] in ("new", "running") and record["exit_code"] is None
    assert train(tmp_path / "w") == 0
    assert_same_run(tmp_path / "w", whole)
    assert [p.name for p in (tmp_path / "w").rglob("*") if "unfinished" in p.name] == []


@pytest.mark.slow
@pytest.mark.usefixtures("small_calls")
@pytest.mark.parametrize("name", ["arrays", "meta.json"])
def test_a_disk_that_fails_where_orbax_writes(whole, tmp_path, monkeypatch, name):
    """Small arrays are one file of ours; these are not small."""
    monkeypatch.setattr(checkpoint, "SMALL", 0)
    fails(tmp_path / "w", f"{SAVED}/unfinished-*/{name}", errno.ENOSPC)
    assert train(tmp_path / "w") == 0
    assert_same_run(tmp_path / "w", whole)


@pytest.mark.usefixtures("small_calls")
def test_the_last_good_state_is_what_it_goes_on_from(whole, tmp_path, monkeypatch):
    """The second save fails: nothing of the first is trained again."""
    saves = []

    def save(store, step, tree, meta, real=lanes.Checkpoints.save):
        saves.append(step)
        if len(saves) == 2:
            with failing(tmp_path / "w", "*meta.json"):
                return real(store, step, tree, meta)
        return real(store, step, tree, meta)

    with monkeypatch.context() as patched:
        patched.setattr(lanes.Checkpoints, "save", save)
        with pytest.raises(UserError, match="No space left on device"):
            train(tmp_path / "w")
    assert saves == [1, 2]
    first = []

    def fit(*arguments, real=lanes.fit, **more):
        first.append(more["first_round"])
        return real(*arguments, **more)

    monkeypatch.setattr(lanes, "fit", fit)
    assert train(tmp_path / "w") == 0
    assert first == [1]
    assert_same_run(tmp_path / "w", whole)


# --- At its end ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern, number",
    [
        ("run.lock", errno.EROFS),
        (".run.json.*", errno.ENOSPC),
        ("run.json", errno.EIO),
        (".findings.json.*", errno.ENOSPC),
        ("trials.csv", errno.ESTALE),
        (".tensorboard.tmp*", errno.ENOSPC),
        ("tensorboard", errno.EACCES),
        ("model", errno.EROFS),
        ("model/model.jaxexport", errno.EFBIG),
        ("model/weights.npz", errno.ENOSPC),
        ("model/.sha256.json.*", errno.EDQUOT),
        ("model/model.json", errno.ENXIO),
        (".report.json.*", errno.ENOSPC),
        ("report.html", errno.ENOSPC),
    ],
)
def test_a_disk_that_fails_at_the_end(whole, tmp_path, monkeypatch, pattern, number):
    """What was trained is stored, and is not trained again."""
    shutil.copytree(whole, tmp_path / "w")
    shutil.rmtree(tmp_path / "w" / "model")
    shutil.rmtree(tmp_path / "w" / "tensorboard")
    monkeypatch.setattr(lanes, "fit", None)
    told = fails(tmp_path / "w", pattern, number)
    assert "cannot be" in told
    assert train(tmp_path / "w") == 0
    assert_same_run(tmp_path / "w", whole)
    assert [p.name for p in (tmp_path / "w").rglob("*.tmp")] == []


def test_a_journal_that_cannot_be_written(tmp_path):
    words = ["sweep", *arguments(tmp_path / "w"), "--config.train.epochs=1"]
    words += ["--config.train.evaluations=1", "--config.sweep.seeds=1", "--config.search.trials=2"]
    with failing(tmp_path / "w", "study.log*") as found, pytest.raises(UserError) as caught:
        commands.sweep(words)
    assert found.failed and "No space left on device" in str(caught.value)
    assert commands.sweep(words) == 0
    assert sorted(p.name for p in (tmp_path / "w").glob("study*")) == ["study.log"]


def test_a_journal_is_not_waited_for(tmp_path, monkeypatch):
    """Optuna's own lock is a file that a killed process leaves behind, for half a minute each."""
    (tmp_path / "study.log.lock").symlink_to(tmp_path / "study.log")
    monkeypatch.setattr(time, "sleep", None)
    for score in (0.5, float("nan")):
        study.append(
            tmp_path / "study.log",
            Measured(
                name="s",
                axes=(),
                settings=[{"optim.learning_rate": 0.1}],
                scores=[score],
                maximise=True,
                uids=["a"],
            ),
        )
    assert (tmp_path / "study.log").read_text().count("\n") > 2


def test_event_files_on_a_full_disk_are_an_error_and_are_not_waited_for(tmp_path):
    """The thread of tensorboardX would die of it, and its queue of ten would never be emptied."""
    with writers.JsonlWriter(tmp_path / "metrics.jsonl") as file:
        for step in range(100):
            file.write({"stage": "s", "trial": "t", "step": step, "loss": 1.0})
    writer = writers.TensorBoardWriter(tmp_path / "there")
    writer._writer.file_writer.event_writer._ev_writer._py_recordio_writer._writer = Full()
    with pytest.raises(OSError, match="No space left"):
        for row in writers.read_jsonl(tmp_path / "metrics.jsonl"):
            writers.write_row(writer, row)
    writer.close()


class Full:
    """A file on a full disk."""

    def write(self, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self):
        """So that what remains of the writer can end."""

    close = flush


def test_a_workdir_that_vanishes_is_told(tmp_path, monkeypatch):
    def gone(workdir):
        shutil.rmtree(workdir)
        (workdir / "tensorboard").mkdir()

    monkeypatch.setattr(tracking, "to_tensorboard", gone)
    with pytest.raises(UserError, match=r"--workdir .* is gone; bring it back"):
        train(tmp_path / "w")
    assert not (tmp_path / "w").exists()


# --- Other places ----------------------------------------------------------------------------


def test_a_place_outside_the_workdir_is_named(tmp_path):
    (tmp_path / "run.json").touch()
    error = OSError(errno.ENOSPC, "No space left on device", "/elsewhere/x")
    assert disk.sentence(error, tmp_path).startswith("/elsewhere/x cannot be written")
    error.filename = str(tmp_path / "x")
    assert disk.sentence(error, tmp_path).startswith(f"--workdir {tmp_path} cannot be written")
    assert disk.sentence(OSError(errno.ECHILD, "No child"), tmp_path) is None


def test_other_commands_say_it_too(whole, tmp_path, capsys, monkeypatch):
    shutil.copytree(whole, tmp_path / "w")
    monkeypatch.setattr(sys, "argv", ["report", "--workdir", str(tmp_path / "w")])
    before = (tmp_path / "w" / "report.html").read_bytes()
    monkeypatch.setattr(commands, "use_all_cores", lambda: None)
    with failing(tmp_path / "w", "*report.html*"), pytest.raises(SystemExit) as ended:
        commands.main(commands.report)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert "report.html" in told and "No space left on device" in told
    assert (tmp_path / "w" / "report.html").read_bytes() == before


def test_a_file_that_cannot_be_moved_is_named_and_cleaned_up(tmp_path):
    (tmp_path / "a.json").write_text("old")
    with failing(tmp_path, "a.json"), pytest.raises(OSError) as caught:
        writers.write_json(tmp_path / "a.json", {})
    assert caught.value.filename == str(tmp_path / "a.json")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


# --- Room ------------------------------------------------------------------------------------


def test_too_little_room_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    monkeypatch.setattr(lanes, "fit", None)
    with pytest.raises(UserError, match=r"has 1 MB free, and this run needs 3\d MB at least"):
        train(tmp_path / "w")


def test_what_is_needed_grows_with_weights_and_lanes(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    words = ["--config.model.width=1000", "--config.sweep.seeds=1"]
    # 4 -> 1000 -> 3 are 8,003 numbers of 4 bytes, in two checkpoints of four copies each.
    size = 2 * 4 * 4 * 8003
    told = []
    for trials in (5_000, 10_000):
        given = ["sweep", *arguments(tmp_path / f"{trials}"), f"--config.search.trials={trials}"]
        with pytest.raises(UserError, match="needs") as caught:
            commands.sweep([*given, *words])
        told.append(int(str(caught.value).split("needs ")[1].split(" MB")[0].replace(",", "")))
        assert told[-1] >= trials * size / 1e6
    assert 1.8 * told[0] < told[1] < 2.0 * told[0]


# --- A real one ------------------------------------------------------------------------------


def begin(workdir: pathlib.Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.train", *arguments(workdir)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 MiB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 20_000, 100_000])
def test_a_disk_that_is_really_full(whole, small_disk, left):
    """Somebody else fills it while the run goes; `left` bytes are free then."""
    workdir, ballast = small_disk / "w", small_disk / "ballast"
    process = begin(workdir)
    while not (workdir / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    free = shutil.disk_usage(small_disk).free
    # The run may be quicker to the last bytes.
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        file.write(b"x" * max(0, free - left - 8192))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors[-2000:]
    assert errors.startswith("error: ") and errors.count("\n") == 1, errors[:2000]
    assert "No space left on device" in errors
    ballast.unlink()
    process = begin(workdir)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-2000:]
    subprocess_bits = json.loads((workdir / "run.json").read_text())["widths"]
    assert subprocess_bits == json.loads((whole / "run.json").read_text())["widths"]
    assert_same_run(workdir, whole)
