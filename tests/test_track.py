"""Services that a finished run is told to: what they hold, and what happens without them."""

import json
import struct

import numpy as np
import pytest

from recipe_jax import config, resolve, tracking, writers
from recipe_jax.app import commands, drive
from recipe_jax.track import mlflow, none, wandb
from recipe_jax.track.base import Run
from recipe_jax.types import UserError

TINY = {
    "data": {"name": "iris"},
    "model": {"name": "linear"},
    "train": {"batch_size": 16, "epochs": 2, "evaluations": 1},
}


@pytest.fixture
def run(tmp_path):
    """A finished workdir made by hand."""
    folder = tmp_path / "w"
    (folder / "model").mkdir(parents=True)
    np.savez(folder / "model" / "weights.npz", kernel=np.linspace(-1, 1, 50))
    writers.write_json(folder / "config.json", {"seed": 3, "optim": {"learning_rate": 0.1}})
    finding = {"stage": "data", "row": "DATA1", "status": "PASS", "remedy": "", "summary": "Seen."}
    finding |= {"check": "samples", "evidence": {"images": np.zeros((2, 4, 4)).tolist()}}
    writers.write_json(folder / "findings.json", [finding])
    with writers.JsonlWriter(folder / "metrics.jsonl") as file:
        for step in (0, 5, 10):
            row = {"stage": "tune", "request": "a=b", "trial": "t0", "split": "validation"}
            file.write({**row, "step": step, "loss": 1.0 / (1 + step), "accuracy": None})
    return Run("iris · w", folder)


def remembering(name):
    return lambda self, *given: self.calls.append((name, *given))


class Told:
    """A Writer that remembers."""

    def __init__(self):
        self.calls = []

    write_scalars = remembering("write_scalars")
    write_images = remembering("write_images")
    write_texts = remembering("write_texts")
    write_histograms = remembering("write_histograms")
    write_hparams = remembering("write_hparams")
    flush, close = remembering("flush"), remembering("close")


def test_whatever_opens_a_writer_is_told_all(run):
    told = Told()
    tracking.to_service(lambda run: told, run)
    kinds = [name for name, *_ in told.calls]
    assert kinds[0] == "write_hparams" and kinds[-1] == "close"
    assert told.calls[0][1] == {"seed": 3, "optim.learning_rate": 0.1}
    scalars = [given for name, *given in told.calls if name == "write_scalars"]
    assert scalars[1] == [5, {"tune/a=b/validation/loss/t0": 1 / 6}]
    assert {"write_images", "write_texts", "write_histograms", "flush"} <= {*kinds}


def test_a_writer_is_closed_also_when_telling_fails(run):
    told = Told()
    (run.folder / "findings.json").write_text("{")
    with pytest.raises(UserError):
        tracking.to_service(lambda run: told, run)
    assert told.calls[-1][0] == "close"


def test_nobody_is_told_by_default(run):
    tracking.to_service(none.build(), run)
    assert config.complete({})["track"]["name"] == "none"


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_service_whose_package_is_missing_is_one_sentence(monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(UserError, match=rf"pip install 'recipe_jax\[{name}\]'"):
        resolve.resolve("track", name)()


def carried_out(tmp_path, capsys, *words):
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    given = [f"--config={tmp_path / 'tiny.json'}", f"--workdir={tmp_path / 'w'}", *words]
    code = commands.train(["train", *given])
    return code, capsys.readouterr().out


def fails(run):
    raise RuntimeError("no\nnetwork")


@pytest.mark.slow
def test_a_service_that_fails_costs_a_line_and_not_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(drive, "_opener", lambda config: fails)
    code, said = carried_out(tmp_path, capsys)
    assert code in (0, 1) and "none could not be told of the run: no network" in said
    assert (tmp_path / "w" / "report.html").is_file()
    # Who is told decides no bit: the same run may be told to another.
    monkeypatch.undo()
    code, said = carried_out(tmp_path, capsys, "--config.track.name=none")
    assert "is finished" in said


def test_mlflow_holds_the_run_in_a_file(run, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    uri = "sqlite:///mlflow.db"
    tracking.to_service(mlflow.build(uri=uri, experiment="tests"), run)
    client = MlflowClient(tracking_uri=uri)
    (place,) = [e for e in client.search_experiments() if e.name == "tests"]
    (found,) = client.search_runs([place.experiment_id])
    assert found.info.status == "FINISHED" and found.info.run_name == run.name
    assert found.data.params == {"seed": "3", "optim.learning_rate": "0.1"}
    history = client.get_metric_history(found.info.run_id, "tune/a_b/validation/loss/t0")
    assert [(each.step, each.value) for each in history] == [(0, 1.0), (5, 1 / 6), (10, 1 / 11)]
    files = {each.path for each in client.list_artifacts(found.info.run_id)}
    assert files == {"findings", "histograms", "images"}
    # A second run lies beside it.
    tracking.to_service(mlflow.build(uri=uri, experiment="tests"), run)
    assert len(client.search_runs([place.experiment_id])) == 2


def records(path):
    """The records of an offline file: LevelDB's log format behind seven bytes of wandb's own."""
    from wandb.proto import wandb_internal_pb2

    data, place, held = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        held += data[place + 7 : place + 7 + length]
        place += 7 + length
        # Whole, or the last part of one.
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(held)
            held = b""


def test_wandb_holds_the_run_offline(run, monkeypatch):
    service = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracking.to_service(wandb.build(project="tests"), run)
    service.teardown()
    (file,) = run.folder.rglob("*.wandb")
    rows, settings = [], {}
    for record in records(file):
        if record.HasField("history"):
            rows.append(
                {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            )
        for item in (*record.run.config.update, *record.config.update):
            settings["/".join(item.nested_key) or item.key] = item.value_json
    name = "tune/a=b/validation/loss/t0"
    assert [(row["step"], float(row[name])) for row in rows if name in row] == [
        *(("0", 1.0), ("5", pytest.approx(1 / 6)), ("10", pytest.approx(1 / 11))),
    ]
    assert any("histogram" in value for row in rows for value in row.values())
    assert settings["seed"] == "3" and settings["optim.learning_rate"] == "0.1"


def test_a_writer_of_a_service_is_a_writer():
    for kind in (wandb.WandbWriter, mlflow.MlflowWriter):
        names = [name for name in vars(writers.Writer) if name.startswith(("write_", "flush"))]
        assert all(callable(getattr(kind, name)) for name in [*names, "close"])
