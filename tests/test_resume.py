"""A run that is killed at any moment and begun again leaves the same bits as one left alone."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from recipe_jax import checkpoint, tracking, writers
from recipe_jax.app import commands, drive, export, lanes, lock
from recipe_jax.report import page

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = str(ROOT / "configs" / "tiny.py")
LONG = ("--config.train.epochs=20000", "--config.train.evaluations=40")
EVERY_CALL = "--config.checkpoint.every_seconds=0"
SECONDS = 300
"""A process that takes longer than this hangs."""
COMPARED = ("config.json", "metrics.jsonl", "findings.json", "trials.csv")


def arguments(what: str, workdir: pathlib.Path, *more: str) -> list[str]:
    settings = LONG if what == "train" else ()
    return [f"experiments.{what}", "--config", CONFIG, "--workdir", str(workdir), *settings, *more]


def begin(what: str, workdir: pathlib.Path, *more: str) -> subprocess.Popen:
    """The command as a user gives it, in an environment without this test's settings."""
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments(what, workdir, *more)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> int:
    """Its exit code; a crash shows what it said."""
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode in (0, 1, 130, 143), errors[-3000:]
    return process.returncode


def record(workdir: pathlib.Path) -> dict:
    return json.loads((workdir / "run.json").read_text())


def assert_same_run(one: pathlib.Path, other: pathlib.Path) -> None:
    """All that is not a clock is the same, bit for bit, and the test split was opened once."""
    for name in COMPARED[1:]:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    with np.load(one / "model/weights.npz") as left, np.load(other / "model/weights.npz") as right:
        assert left.files == right.files and left.files
        for name in left.files:
            assert left[name].dtype == right[name].dtype
            assert left[name].tobytes() == right[name].tobytes(), name
    assert (one / "model/model.json").read_bytes() == (other / "model/model.json").read_bytes()
    left, right = record(one), record(other)
    assert left["test_openings"] == right["test_openings"] and len(left["test_openings"]) == 1
    for name in ("status", "exit_code", "written", "widths"):
        assert left[name] == right[name], name
    assert right["status"] == "done"
    assert left["damaged_checkpoints"] == []
    for name in left["written"]:
        assert (one / name).exists(), name
    unfinished = [p for p in one.rglob("*") if "unfinished-" in p.name or p.name.endswith(".tmp")]
    assert unfinished == [] and not (one / lock.NAME).exists()


class Undisturbed:
    """Runs that were left alone, made when first asked for, and how long they took."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.seconds: dict[str, float] = {}

    def __call__(self, what: str) -> pathlib.Path:
        workdir = self.folder / what
        if what not in self.seconds:
            began = time.monotonic()
            assert finish(begin(what, workdir)) == 0
            self.seconds[what] = time.monotonic() - began
        return workdir


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))


# --- SIGKILL ---------------------------------------------------------------------------------


def killed_until_done(what: str, workdir: pathlib.Path, moments: list[float]) -> int:
    """Begins the command again and again, kills it after each moment, then lets it end. Returns how
    many were killed: a process that came to its end before its moment was not."""
    kills = 0
    for seconds in moments:
        process = begin(what, workdir, EVERY_CALL)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        process.communicate()
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0
            return kills
    assert finish(begin(what, workdir, EVERY_CALL)) == 0
    return kills


def stratified(draw: random.Random, count: int, seconds: float) -> list[float]:
    """`count` moments, one in each equal part of the run's duration, in random order."""
    moments = [seconds * (part + draw.random()) / count for part in range(count)]
    return draw.sample(moments, count)


@pytest.mark.slow
@pytest.mark.parametrize("what, count", [("train", 3)])
def test_a_killed_run_ends_with_the_same_bits(undisturbed, tmp_path, what, count):
    whole = undisturbed(what)
    # The first third is imports and compiling: one kill there is enough.
    early, *rest = sorted(stratified(random.Random(7), count, undisturbed.seconds[what]))
    moments, kills, number = [*rest, early], 0, 0
    while not kills:  # a machine that has become quicker comes to the end before its moment
        kills = killed_until_done(what, tmp_path / str(number), moments)
        assert_same_run(tmp_path / str(number), whole)
        moments, number = [0.7 * seconds for seconds in moments], number + 1


@pytest.mark.slow
@pytest.mark.parametrize("what, count", [("train", 10), ("run", 3)])
def test_many_kills_change_no_bit(undisturbed, tmp_path, what, count):
    whole, draw = undisturbed(what), random.Random(11)
    moments = stratified(draw, count, undisturbed.seconds[what])
    kills, number = 0, 0
    while moments:
        done = killed_until_done(what, tmp_path / str(number), moments)
        assert_same_run(tmp_path / str(number), whole)
        shutil.rmtree(tmp_path / str(number))
        kills, number, moments = kills + done, number + 1, moments[done + 1 :]
    while kills < count:  # those that came too late for a run that was already far
        moment = undisturbed.seconds[what] * draw.uniform(0.3, 0.9)
        kills += killed_until_done(what, tmp_path / str(number), [moment])
        assert_same_run(tmp_path / str(number), whole)
        shutil.rmtree(tmp_path / str(number))
        number += 1


# --- SIGTERM and SIGINT ----------------------------------------------------------------------


def lines(path: pathlib.Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


@pytest.mark.parametrize(
    "number, code",
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_saves_and_the_run_goes_on_from_there(undisturbed, tmp_path, number, code):
    whole, workdir = undisturbed("train"), tmp_path / "run"
    process = begin("train", workdir)
    while lines(workdir / "metrics.jsonl") <= 4 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    assert finish(process) == code
    # Nothing was due yet: what is stored was saved because of the signal.
    (stored,) = workdir.glob("checkpoints/*")
    found = checkpoint.Checkpoints(stored).restore()
    assert found is not None and 0 < found.step <= 40
    assert record(workdir)["status"] == "running"
    before = lines(workdir / "metrics.jsonl")
    assert 4 < before <= lines(whole / "metrics.jsonl")
    assert finish(begin("train", workdir)) == 0
    assert_same_run(workdir, whole)


WAITING = """
import time
from recipe_jax.app.signals import Signals
signals = Signals(lambda name: print(name, flush=True))
signals.install()
print("ready", flush=True)
time.sleep(60)
"""


def waiting() -> subprocess.Popen:
    """A process that listens, and hears nothing for a minute."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_second_signal_ends_at_once():
    process = waiting()
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "SIGTERM\n"
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130
    process.stdout.close()


def test_a_signal_sent_twice_is_one_wish():
    """As `timeout` and `uv run` do it."""
    process = waiting()
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    assert process.stdout.readline() == "SIGTERM\n"
    process.kill()
    process.communicate()


# --- The end of a run: model, record, report --------------------------------------------------


class Killed(BaseException):
    """Stands for a SIGKILL: nothing after it runs."""


def killed(*_, **__):
    raise Killed


def half(path, *_, **__):
    """A file that a kill cuts off."""
    pathlib.Path(path).write_bytes(b"PK")
    raise Killed


@pytest.fixture
def quiet_signals():
    """Puts the process's own handlers back: a run in this process installs others."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def trained(undisturbed, tmp_path, quiet_signals) -> pathlib.Path:
    """A copy of a finished training run."""
    shutil.copytree(undisturbed("train"), tmp_path / "run")
    return tmp_path / "run"


def again(workdir: pathlib.Path, monkeypatch=None) -> int:
    """The same command in this process, which must not train."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lanes, "fit", killed)
        return commands.train(arguments("train", workdir))


ENDS = {
    "program": (pathlib.Path, "write_bytes"),
    "description": (writers, "write_json"),
    "tensorboard": (tracking, "to_tensorboard"),
    "report": (page, "build_report"),
    "page": (page, "render"),
}


@pytest.mark.parametrize("moment", [*ENDS, "weights"])
def test_a_kill_at_the_end_is_made_good(undisturbed, trained, monkeypatch, moment):
    """The model, the record and the report of a run that was killed while it wrote them."""
    shutil.rmtree(trained / "model")
    (trained / "report.html").unlink()
    with monkeypatch.context() as patched:
        if moment == "weights":
            patched.setattr(export.np, "savez", half)
        elif moment == "description":

            def described(path, value, write=writers.write_json):
                killed() if path.name == "model.json" else write(path, value)

            patched.setattr(writers, "write_json", described)
        else:
            patched.setattr(*ENDS[moment], killed)
        with pytest.raises(Killed):
            again(trained)
    assert not (trained / "report.html").exists()
    if moment not in ("report", "page"):
        # Event files tell of the model's weights, so it is there before them.
        assert (trained / "model" / "model.json").exists() == (moment == "tensorboard")
        assert record(trained)["status"] == "running"
    assert again(trained) == 0
    assert_same_run(trained, undisturbed("train"))
    export.load_model(trained / "model")


def test_a_kill_while_a_model_is_written_anew_leaves_none(trained, monkeypatch):
    """The old description must not vouch for new weights that are half there."""
    (trained / "trials.csv").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(export.np, "savez", half)
        with pytest.raises(Killed):
            again(trained)
    with pytest.raises(drive.UserError, match="no trained model"):
        export.load_model(trained / "model")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*drive.WRITTEN, *(f"model/{name}" for name in export.FILES), "model"]
)
def test_what_was_deleted_is_written_again(undisturbed, trained, name):
    gone = trained / name
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert again(trained) == 0
    assert_same_run(trained, undisturbed("train"))


def test_what_a_kill_left_half_written_is_swept_up(undisturbed, trained):
    """A file is written beside its place and moved there: a kill between the two leaves it."""
    for name in (".findings.json.999.tmp", ".run.json.7.tmp", "model/.model.json.999.tmp"):
        (trained / name).write_text("[{")
    (trained / "checkpoints/somewhere/unfinished-7/arrays").mkdir(parents=True)
    (trained / "mine.tmp").touch()
    assert again(trained) == 0
    (trained / "mine.tmp").unlink()
    assert_same_run(trained, undisturbed("train"))


def test_a_finished_run_is_left_alone(trained):
    def times():
        return {p: p.stat().st_mtime_ns for p in trained.rglob("*") if p.is_file()}

    before = times()
    assert again(trained) == 0
    assert times() == before


def test_a_lost_result_is_trained_again(undisturbed, trained):
    """The stored result is damaged: named, and made once more to the same bits."""
    (stored,) = (p for p in trained.glob("checkpoints/*/*") if "-states" not in p.parent.name)
    (stored / "meta.json").write_text("{}")
    (trained / "report.html").unlink()
    assert commands.train(arguments("train", trained)) == 0
    damage = record(trained)["damaged_checkpoints"]
    assert len(damage) == 1 and "meta.json is damaged" in damage[0]
    for name in COMPARED[1:]:
        assert (trained / name).read_bytes() == (undisturbed("train") / name).read_bytes()
