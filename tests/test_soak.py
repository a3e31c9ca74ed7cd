"""scripts/soak.py: what it draws is a config, and what it compares it can tell apart."""

import json
import os
import pathlib
import random
import shutil
from collections import Counter

import fuzzing
import numpy as np
import pytest

from recipe_jax import checkpoint
from recipe_jax import config as configs
from scripts import soak

asked_for = pytest.mark.skipif(
    "SOAK" not in os.environ, reason="they break processes at random for minutes: say SOAK=1"
)


def test_every_config_that_is_drawn_is_one():
    drawn = [soak.draw_run(random.Random(seed)) for seed in range(60)]
    for each in drawn:
        configs.complete(each.config)
    assert {each.what for each in drawn} == {"train", "sweep", "run"}
    assert len({json.dumps(each.config) for each in drawn}) == 60
    assert soak.draw_run(random.Random(3)) == drawn[3]


@pytest.fixture
def two(tmp_path) -> tuple[pathlib.Path, pathlib.Path]:
    """Two workdirs with nothing between them."""
    one = tmp_path / "one"
    (one / "model").mkdir(parents=True)
    for name in soak.COMPARED:
        (one / name).write_text("same")
    np.savez(one / "model/weights.npz", a=np.zeros(3, np.float32), b=np.ones(2))
    record = {"status": "done", "exit_code": 0, "written": [], "widths": {"x": 4}}
    (one / "run.json").write_text(json.dumps({**record, "test_openings": [], "nonbitwise": []}))
    return one, pathlib.Path(shutil.copytree(one, tmp_path / "other"))


def test_equal_workdirs_differ_in_nothing(two):
    assert soak.differences(*two) == []


def another_bit(folder):
    np.savez(folder / "model/weights.npz", a=np.array([0, -0.0, 0], np.float32), b=np.ones(2))


def another_width(folder):
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"widths": {"x": 2}}))


@pytest.mark.parametrize(
    "spoil, told",
    [
        *((lambda f, n=name: (f / n).write_text("other"), f"{name} d") for name in soak.COMPARED),
        (lambda f: (f / "trials.csv").unlink(), "trials.csv is there once"),
        (another_bit, "weights a differ"),
        (another_width, "widths of run.json"),
        (lambda f: (f / "run.lock").touch(), "run.lock is left over"),
        (lambda f: (f / "unfinished-3").mkdir(), "unfinished-3 is left over"),
    ],
)
def test_any_difference_is_told(two, spoil, told):
    spoil(two[1])
    (found,) = soak.differences(*two)
    assert told in found


def test_a_bit_is_flipped_in_every_file_and_noticed(tmp_path):
    counts = soak.flips(random.Random(0), tmp_path)
    newer = max((tmp_path / "store").iterdir())
    files = [p for p in newer.rglob("*") if p.is_file() and p.stat().st_size]
    assert counts == Counter({"bits flipped in checkpoints": 3 * len(files)})


def test_a_store_that_does_not_look_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "verify", lambda folder: None)
    with pytest.raises(soak.Broken):
        soak.flips(random.Random(0), tmp_path)


def test_what_was_read_back_is_held_against_what_was_written():
    good = checkpoint.Restored(3, checkpoint.flatten(soak.tree(3)), {})
    assert soak.whole(good)
    assert not soak.whole(None) and not soak.whole(good._replace(step=4))


def test_what_is_not_as_promised_is_counted_and_kept(tmp_path, monkeypatch, capsys):
    def broken(draw, folder):
        (folder / "trace").touch()
        raise soak.Broken("other bits")

    def fine(draw, folder):
        return Counter(rounds=1)

    monkeypatch.setattr(soak, "PARTS", {"fine": fine, "broken": broken})
    monkeypatch.setattr(soak, "rounds", lambda minutes: iter(range(4)))
    counts, wrong = soak.soak(["fine", "broken"], minutes=None, seed=0, out=tmp_path)
    assert counts == Counter(rounds=2) and len(wrong) == 2 and "other bits" in wrong[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1-broken", "3-broken"]
    assert (tmp_path / "1-broken" / "trace").exists()
    assert "NOT AS PROMISED" in capsys.readouterr().out


@pytest.mark.slow
@asked_for
def test_odd_files_are_counted_and_a_bad_reader_is_told(tmp_path, monkeypatch):
    counts = soak.fuzz(random.Random(0), tmp_path)
    assert counts.keys() == {"odd files read", "odd files refused"}
    assert sum(counts.values()) >= 200 * len(fuzzing.READERS)

    def crash(path):
        raise KeyError("x")

    bad = fuzzing.READERS[0]._replace(name="bad", read=crash)
    monkeypatch.setattr(fuzzing, "READERS", (bad,))
    with pytest.raises(soak.Broken, match="bad: KeyError"):
        soak.fuzz(random.Random(0), tmp_path)


@pytest.mark.slow
@asked_for
def test_processes_that_save_are_killed(tmp_path):
    assert sum(soak.saves(random.Random(1), tmp_path).values()) == 10


@pytest.mark.slow
@asked_for
def test_a_config_is_stopped_again_and_again(tmp_path):
    counts = soak.kills(random.Random(5), tmp_path)
    assert sum(counts.values()) > 1
