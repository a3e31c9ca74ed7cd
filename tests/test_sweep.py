"""python -m experiments.sweep: what it writes, that it resumes, and what it refuses."""

import csv
import json
import shutil
import signal

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from recipe_jax.app import commands
from recipe_jax.types import UserError

CONFIG = {
    "data": {"name": "iris"},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "optim": {"name": "adamw", "learning_rate": 0.03},
    "train": {"batch_size": 16, "epochs": 4, "evaluations": 4},
    "sweep": {"seeds": 2},
    "search": {
        "name": "random",
        "trials": 6,
        "space": [
            ["optim.name", "choice", ["adamw", "sgd"]],
            ["optim.learning_rate", "log", 1e-3, 1e9],
            ["optim.momentum", "uniform", 0.0, 0.9, "optim.name=sgd"],
        ],
    },
}
LISTED = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict({})

def sweep():
    for width, dropout in zip((8, 16), (0.0, 0.1)):
        for rate in (1e-3, 1e-2):
            yield {"model.width": width, "model.dropout": dropout, "optim.learning_rate": rate}
"""


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def swept(folder, *more):
    (folder / "c.json").write_text(json.dumps(CONFIG))
    words = ["--config", str(folder / "c.json"), "--workdir", str(folder / "w"), *more]
    return commands.sweep(["sweep", *words])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    assert swept(folder) == 0
    return folder / "w"


def rows(workdir):
    with (workdir / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def study(workdir):
    storage = JournalStorage(JournalFileBackend(str(workdir / "study.log")))
    return optuna.load_study(study_name="iris accuracy", storage=storage)


def test_every_trial_is_a_row_and_the_first_is_the_config_itself(done):
    search = [row for row in rows(done) if row["request"] == "search"]
    assert len(search) == 6 * 2
    own = search[0]
    assert (own["optim.name"], own["optim.learning_rate"]) == ("adamw", "0.03")
    assert [row["seed"] for row in search[:4]] == ["200", "201", "200", "201"]
    for row in search:
        assert (row["optim.momentum"] != "") == (row["optim.name"] == "sgd")
    # Two optimisers are two programs, and rates of 1e9 diverge without harm to the others.
    assert {row["status"] for row in search} >= {"done"}


def test_the_test_split_stays_sealed(done):
    record = json.loads((done / "run.json").read_text())
    assert record["status"] == "done" and record["test_openings"] == []
    assert not (done / "model").exists()


def test_the_journal_holds_the_search_as_it_was_measured(done):
    found = study(done)
    search = [row for row in rows(done) if row["request"] == "search"][::2]
    assert [trial.user_attrs["trial"] for trial in found.trials] == [r["trial"] for r in search]
    assert found.direction.name == "MAXIMIZE"
    best = max(trial.value for trial in found.trials if trial.value is not None)
    findings = json.loads((done / "findings.json").read_text())
    (evidence,) = [f["evidence"] for f in findings if f["check"] == "search"]
    assert best == max(score for score in evidence["scores"] if score is not None)
    assert found.trials[0].params == {"optim.name": "adamw", "optim.learning_rate": 0.03}


def test_a_sweep_that_was_cut_off_goes_on_to_the_same_bits(done, tmp_path):
    shutil.copytree(done, tmp_path / "w")
    record = json.loads((done / "run.json").read_text())
    (tmp_path / "w" / "run.json").write_text(json.dumps(record | {"status": "running"}))
    for number, folder in enumerate(sorted((tmp_path / "w" / "checkpoints").iterdir())):
        if number % 2:
            shutil.rmtree(folder)
    assert swept(tmp_path) == 0
    for name in ("findings.json", "metrics.jsonl", "trials.csv"):
        assert (tmp_path / "w" / name).read_bytes() == (done / name).read_bytes(), name
    assert [t.values for t in study(tmp_path / "w").trials] == [
        t.values for t in study(done).trials
    ]


def test_a_config_file_may_list_its_settings(tmp_path, capsys):
    (tmp_path / "listed.py").write_text(LISTED)
    words = ["--config", str(tmp_path / "listed.py"), "--workdir", str(tmp_path / "w")]
    assert commands.sweep(["sweep", *words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    # Four settings and the config's own, the best again: of three widths, so three programs.
    assert "20 training runs as lanes of 3 compiled programs" in told, told
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("yield {'model.widht': 8}", "did you mean model.width"),
        ("yield {'model.width': 0}", "out of range"),
        ("yield 3", "every setting is a dict"),
        ("return []", "gives no settings"),
        ("yield {'model.width': 8}\n    yield {'model.width': 8}", "twice"),
        ("yield {'train.batch_size': 10_000}", "training examples"),
        ("raise ValueError('by design')", "by design"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_is_written(tmp_path, body, told):
    text = LISTED[: LISTED.index("def sweep")] + f"def sweep():\n    {body}\n"
    (tmp_path / "listed.py").write_text(text)
    words = ["--config", str(tmp_path / "listed.py"), "--workdir", str(tmp_path / "w")]
    with pytest.raises(UserError, match=told):
        commands.sweep(["sweep", *words])
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hyperopt", "bayesopt", "optuna", "sobol"])
def test_every_search_carries_out_a_real_sweep(name, tmp_path):
    batch = [] if name == "sobol" else ["--config.search.batch=4"]
    words = [f"--config.search.name={name}", "--config.search.trials=9", *batch]
    # Keys of another search are dropped with its name; the axes are said again.
    space = str(tuple(map(tuple, CONFIG["search"]["space"])))
    assert swept(tmp_path, *words, f"--config.search.space={space}") == 0
    assert len({row["trial"] for row in rows(tmp_path / "w") if "search" in row["request"]}) == 18
