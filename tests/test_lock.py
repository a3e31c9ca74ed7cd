"""One process at a time writes to a workdir, and no killed process keeps it."""

import contextlib
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from recipe_jax.app import commands, lock
from recipe_jax.types import UserError

ROOT = pathlib.Path(__file__).parent.parent
HOLDER = """
import pathlib, sys, time
from recipe_jax.app import commands, lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def refused(workdir: pathlib.Path) -> str:
    """The sentence that a second process gets; the lock stays as it is."""
    before = (workdir / lock.NAME).read_bytes()
    with pytest.raises(UserError) as caught, lock.held(workdir):
        pass
    assert (workdir / lock.NAME).read_bytes() == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def left_behind(workdir: pathlib.Path, **changes: object) -> None:
    """The record of a process that was killed: this one, but for the changes."""
    workdir.mkdir(exist_ok=True)
    (workdir / lock.NAME).write_text(json.dumps(lock.own_record() | changes))


def taken_over(workdir: pathlib.Path) -> None:
    with lock.held(workdir):
        record = json.loads((workdir / lock.NAME).read_text())
        assert record["pid"] == os.getpid() and record["host"]
    assert not (workdir / lock.NAME).exists()


@pytest.fixture
def no_locks(monkeypatch):
    """A disk that knows no locks, as some of those shared by machines."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)


def test_a_second_holder_is_refused_by_the_name_of_the_first(tmp_path):
    with lock.held(tmp_path / "w"):
        sentence = refused(tmp_path / "w")
        assert f"in use by process {os.getpid()} on " in sentence and " since 2" in sentence
        assert str(tmp_path / "w") in sentence and "choose another --workdir" in sentence
        with lock.held(tmp_path / "other"):
            pass
    taken_over(tmp_path / "w")


def test_it_is_let_go_whatever_ends_the_run(tmp_path):
    for end in (UserError("bad"), KeyboardInterrupt()):
        with pytest.raises(type(end)), lock.held(tmp_path):
            raise end
        assert [*tmp_path.iterdir()] == []


def test_another_process_holds_it_and_a_killed_one_does_not(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    assert f"process {process.pid} on " in refused(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / lock.NAME).exists()
    taken_over(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pid": 1},
        {"boot": "before"},
        {"boot": "before", "pid": 1, "started": None},
        {"host": "a container of this machine"},
    ],
    ids=["own", "reused", "rebooted", "other", "container"],
)
def test_what_a_killed_process_left_is_taken_over(tmp_path, changes):
    left_behind(tmp_path, **changes)
    taken_over(tmp_path)


@pytest.mark.parametrize("locks", [True, False])
def test_another_machine_may_still_hold_it(tmp_path, locks, request):
    if not locks:
        request.getfixturevalue("no_locks")
    left_behind(tmp_path, host="elsewhere", boot="another", pid=7)
    sentence = refused(tmp_path)
    assert "in use by process 7 on elsewhere" in sentence
    assert f"if that process is gone, remove {tmp_path / lock.NAME}" in sentence
    (tmp_path / lock.NAME).unlink()
    taken_over(tmp_path)


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize(
    "changes, free",
    [
        ({}, False),
        ({"started": "another"}, True),  # its number was given to another process
        ({"pid": 2**22 + 1, "started": "1"}, True),
        ({"boot": "before"}, True),
        ({"host": "a container of this machine"}, False),
    ],
    ids=["alive", "reused", "gone", "rebooted", "container"],
)
def test_without_locks_of_the_system_the_record_decides(tmp_path, changes, free):
    left_behind(tmp_path, **changes)
    if free:
        taken_over(tmp_path)
    else:
        sentence = refused(tmp_path)
        assert "in use by process" in sentence
        assert ("remove" in sentence) == ("host" in changes)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_of_the_system_a_second_holder_is_refused_too(tmp_path):
    with lock.held(tmp_path):
        assert f"process {os.getpid()} on " in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 40])
def test_a_record_that_was_never_finished_is_no_holder(tmp_path, content):
    (tmp_path / lock.NAME).write_bytes(content)
    taken_over(tmp_path)


@pytest.mark.parametrize("content", [b"mine", b"[]", b'{"pid": 7}', b"\xff\xfe", b"3"])
def test_somebodys_file_of_that_name_stays(tmp_path, content):
    (tmp_path / lock.NAME).write_bytes(content)
    assert "is not the lock of a run" in refused(tmp_path)


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "precious").write_text("")
    (tmp_path / "w" / lock.NAME).symlink_to(tmp_path / "precious")
    assert "cannot be used" in refused(tmp_path / "w")
    assert (tmp_path / "precious").read_text() == ""


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    for place, said in ((tmp_path / "file", "is a file"), (tmp_path / "file/w", "cannot be used")):
        with pytest.raises(UserError, match=said), lock.held(place):
            pass


def test_of_many_at_once_one_gets_it(tmp_path):
    barrier, got, sentences = threading.Barrier(12), [], []

    def attempt():
        barrier.wait()
        try:
            with lock.held(tmp_path):
                got.append(1)
                barrier.wait()
        except UserError as error:
            sentences.append(str(error))
            barrier.wait()

    threads = [threading.Thread(target=attempt) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and len(sentences) == 11


def test_a_lock_that_was_removed_while_it_was_opened_is_none(tmp_path, monkeypatch):
    """The holder ends between another's open and its flock, and a third is quicker."""
    holders, original = contextlib.ExitStack(), lock._lock
    holders.enter_context(lock.held(tmp_path))

    def slowly(handle):
        monkeypatch.setattr(lock, "_lock", original)
        holders.close()
        holders.enter_context(lock.held(tmp_path))
        return original(handle)

    monkeypatch.setattr(lock, "_lock", slowly)
    with holders:
        assert "in use by process" in refused(tmp_path)


def test_the_start_of_a_process_tells_it_from_others_of_its_number():
    own = lock.own_record()
    assert own == {**lock.own_record(), "since": own["since"]}
    assert own["started"] and own["boot"] and lock._start_of(1) != own["started"]
    assert lock._start_of(2**22 + 1) is None


def test_where_there_is_no_proc_the_system_is_asked(monkeypatch):
    def said(*command):
        return f"said by {command[0]}"

    monkeypatch.setattr(lock, "_said", said)
    monkeypatch.setattr(lock, "PROC", pathlib.Path("/nowhere"))
    own = lock.own_record()
    assert own["started"] == "said by ps" and own["boot"] == "said by sysctl"


@pytest.mark.parametrize("command", [commands.run, commands.train, commands.sweep])
def test_every_command_that_writes_holds_its_workdir(tmp_path, command):
    words = [command.__name__, "--config", str(ROOT / "configs/tiny.py")]
    words += ["--workdir", str(tmp_path / "w")]
    with lock.held(tmp_path / "w"):
        with pytest.raises(UserError, match="in use by process"):
            command(words)
        with pytest.raises(UserError, match="in use by process"):
            command([*words, "--overwrite"])
        assert [p.name for p in (tmp_path / "w").iterdir()] == [lock.NAME]
        assert command([*words, "--dry-run"]) == 0
