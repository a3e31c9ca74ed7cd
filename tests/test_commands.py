"""Commands from the outside: exit codes, one sentence for bad input, and nothing written then."""

import dataclasses
import errno
import gzip
import html
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys

import numpy as np
import pytest

from recipe_jax import config
from recipe_jax.app import commands, console, drive, signals, workdir
from recipe_jax.data import base as data_base
from recipe_jax.data import iris
from recipe_jax.recipe import data, skeleton, training
from recipe_jax.types import UserError

ROOT = pathlib.Path(__file__).parent.parent
FAST = {
    "data": {"name": "iris"},
    "model": {"name": "mlp", "width": 16, "depth": 1},
    "optim": {"name": "adamw", "learning_rate": 0.03},
    "train": {"batch_size": 16, "epochs": 20, "evaluations": 5},
    # So many that a network which learns nothing can be told from one with bad luck.
    "recipe": {"seeds": 8},
}
ROWS = "".join(f"{i},{i % 7},{'ab'[i % 2]}\n" for i in range(60))


def shuffled() -> data_base.Source:
    """Irises with labels that belong to other flowers: nothing can be learnt from them."""
    source = iris.build()
    targets = np.random.default_rng(0).permutation(source.targets)
    return dataclasses.replace(source, targets=targets)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder as the working directory; signal handlers as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast.json").write_text(json.dumps(FAST))
    yield tmp_path
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a finished training run; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "fast.json").write_text(json.dumps(FAST))
    words = ["--config", str(folder / "fast.json"), "--workdir", str(folder / "w")]
    assert commands.train(["train", *words]) == 0
    return folder / "w"


def contents(folder="."):
    """Every file under a folder with its bytes."""
    files = sorted(p for p in pathlib.Path(folder).rglob("*"))
    return {str(p): p.read_bytes() if p.is_file() else None for p in files}


def fast(*words):
    return ["program", "--config", "fast.json", *words]


def refused(command, argv):
    """The one sentence that a command is refused with; nothing was written."""
    before = contents()
    with pytest.raises(UserError) as caught:
        command(argv)
    assert "\n" not in str(caught.value)
    assert contents() == before
    return str(caught.value)


def process(module, *words):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# --- Processes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module, words",
    [
        ("run", ["--config", "nowhere.py"]),
        ("train", ["--config", "configs/tiny.py", "--config.train.epochs=many"]),
        ("predict", ["--workdir", "nowhere", "--data", "nowhere.csv"]),
        ("report", ["--workdir", "nowhere"]),
    ],
)
def test_bad_input_is_exit_code_2_and_one_line(tmp_path, module, words):
    given = words if "--workdir" in words else [*words, "--workdir", tmp_path / "w"]
    done = process(module, *given)
    assert done.returncode == 2
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr) and done.stdout == ""
    assert not (tmp_path / "w").exists()


def ends_with(code):
    def command(argv):
        if isinstance(code, BaseException):
            raise code
        return code

    return command


@pytest.mark.parametrize(
    "end, code, said",
    [
        (0, 0, ""),
        (1, 1, ""),
        (UserError("Mend it."), 2, "error: Mend it.\n"),
        (KeyboardInterrupt(), 130, ""),
        (signals.Interrupted(signal.SIGINT), 130, "stopped by SIGINT; the same command goes on"),
        (signals.Interrupted(signal.SIGTERM), 143, "stopped by SIGTERM; the same command goes on"),
        (ValueError("a bug"), 70, "Traceback"),
    ],
)
def test_every_end_has_its_exit_code(monkeypatch, capsys, end, code, said):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as caught:
        commands.main(ends_with(end))
    assert caught.value.code == code
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    "command",
    [
        *(commands.run, commands.train, commands.sweep),
        *(commands.predict, commands.human, commands.report),
    ],
)
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_the_flags_and_writes_nothing(capsys, command, word):
    before = contents()
    assert command(["program", "--config", "nowhere.py", word]) == 0
    text = capsys.readouterr().out
    assert f"python -m experiments.{command.__name__} " in text and "Exit codes: 0 done" in text
    assert "--workdir" in text and max(map(len, text.splitlines())) <= 100
    if command in (commands.run, commands.train, commands.sweep):
        for part in ("--config FILE", "--config.SECTION.KEY=VALUE", "--dry-run", "--overwrite"):
            assert part in text
    assert contents() == before


def test_help_as_a_process():
    done = process("run", "--help")
    assert done.returncode == 0 and "--dry-run" in done.stdout and done.stderr == ""


# --- Bad data --------------------------------------------------------------------------------


def table(text):
    pathlib.Path("d.csv").write_text(text)
    return [
        *("--config.data.name=table", "--config.data.path=d.csv", "--config.data.target=label"),
        *("--config.train.batch_size=4",),
    ]


def saved(**arrays):
    np.savez("d.npz", **arrays)
    return ["--config.data.name=arrays", "--config.data.path=d.npz"]


def idx(content):
    pathlib.Path("train-images-idx3-ubyte.gz").write_bytes(content)
    labels = struct.pack(">BBBBI", 0, 0, 8, 1, 2) + b"\0\1"
    pathlib.Path("train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return ["--config.data.name=idx", "--config.data.path=."]


X, Y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 3
IMAGES = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 4, 4) + bytes(32)


def spoilt(value):
    inputs = X.copy()
    inputs[7, 1] = value
    return inputs


BAD_DATA = {
    "missing file": (
        lambda: [*table("a,label\n" + ROWS), "--config.data.path=dd.csv"],
        "there is no file 'dd.csv'; the nearest is d.csv",
    ),
    "no file": (lambda: [*table(""), "--config.data.path="], "data.path is empty"),
    "folder": (lambda: [*table(""), "--config.data.path=."], "is a folder"),
    "empty": (lambda: table(""), "d.csv is empty"),
    "header only": (lambda: table("a,b,label\n"), "no rows"),
    "ragged": (lambda: table(f"a,b,label\n{ROWS}1,2\n"), "line 62 has 2 cells and the header 3"),
    "no target column": (
        lambda: [*table(f"a,b,label\n{ROWS}"), "--config.data.target=labl"],
        "no column 'labl'; did you mean label?",
    ),
    "no target": (lambda: [*table(f"a,b,label\n{ROWS}"), "--config.data.target="], "a, b, label"),
    "rare class": (lambda: table(f"a,b,label\n{ROWS}1,2,c\n"), "Class 'c' has 1 example"),
    "one class": (lambda: table("a,label\n" + "1,x\n2,x\n" * 9), "one class only"),
    "text": (lambda: table(f"a,b,label\n{ROWS}x,2,a\n"), "line 62 holds 'x' in column 'a'"),
    "infinity": (lambda: table(f"a,b,label\n{ROWS}inf,2,a\n"), "'a' holds 1 infinite"),
    "pickled": (lambda: saved(x=X.astype(object), y=Y), "pickled Python objects"),
    "nan": (lambda: saved(x=spoilt(np.nan), y=Y), "NaN"),
    "infinite": (lambda: saved(x=spoilt(-np.inf), y=Y), "infinite"),
    "infinite target": (lambda: saved(x=X, y=spoilt(np.inf)[:, 1]), "infinite"),
    "uneven": (lambda: saved(x=X, y=Y[:50]), "60 inputs and 50 targets"),
    "names": (lambda: saved(a=X, b=Y), "a, b"),
    "truncated idx": (lambda: idx(gzip.compress(IMAGES[:-5])), "holds fewer"),
    "truncated gzip": (lambda: idx(gzip.compress(IMAGES)[:-9]), "damaged or truncated"),
    "no idx": (lambda: idx(b"\x89PNG and more"), "does not begin as an idx file"),
    "batch": (lambda: ["--config.train.batch_size=91"], "the 90 training examples; use at most 90"),
    "objective": (lambda: ["--config.objective.name=regression"], "objective.name=classification"),
    "quantities": (lambda: ["--config.data.name=diabetes"], "objective.name=regression"),
    "one-hot": (
        lambda: [*saved(x=X, y=np.eye(3)[Y]), "--config.data.task=classification"],
        "targets.argmax(-1)",
    ),
    "no classes": (
        lambda: [*saved(x=X, y=X[:, 0]), "--config.data.task=classification"],
        "say data.task=regression",
    ),
    "class": (lambda: ["--config.data.classes=setoza"], "did you mean setosa?"),
    "no image": (lambda: ["--config.model.name=cnn"], "use model.name=mlp"),
    "no sequence": (lambda: ["--config.model.name=rnn"], "use model.name=mlp"),
    "heads": (
        lambda: [
            *saved(x=np.arange(600.0).reshape(60, 5, 2), y=Y),
            *("--config.data.modality=sequence", "--config.model.name=transformer"),
            "--config.model.heads=5",
        ],
        "use a width that is a multiple of 5",
    ),
    "tokens": (
        lambda: [
            *("--config.data.name=text", "--config.objective.name=next_token"),
            *("--config.model.name=mlp", "--config.model.width=8"),
        ],
        "use model.name=rnn or model.name=transformer",
    ),
    "block": (lambda: ["--config.sweep.block=3"], "one of 0, 1, 2, 4"),
    "splits": (lambda: ["--config.data.test=0.9"], "leave nothing to train on"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_are_one_sentence_and_nothing_is_written(case):
    make, expected = BAD_DATA[case]
    assert expected in refused(commands.run, fast(*make()))


def test_the_bad_tables_have_a_good_one(capsys):
    assert commands.run(fast(*table(f"a,b,label\n{ROWS}"), "--dry-run")) == 0


@pytest.mark.parametrize(
    "space, expected",
    [
        ("3", "search.space: 3 is no axis; write ("),
        ("('optim.learning_rate',)", "there is no group 'optim.learning_rate'; there are rate"),
        ("(('optim.learning_rate', 'log', 1e-4),)", "is no axis"),
        ("(('optim.learning_rate', 'cubic', 1e-4, 1),)", "is no axis"),
        ("(('optim.learning_rate', 'log', '1e-4', 1),)", "is no axis"),
        ("((3, 'log', 1e-4, 1),)", "is no axis"),
        ("(('optim.learning_rate', 'log', 1, 1),)", "empty range from 1 to 1"),
        ("(('optim.learning_rate', 'log', 1, 0.1),)", "empty range from 1 to 0.1"),
        ("(('optim.learning_rate', 'log', 1e-4, 1e999),)", "empty range"),
        ("(('optim.weight_decay', 'log', 0, 1),)", "must be above 0"),
        ("(('optim.learning_rte', 'log', 1e-4, 1),)", "did you mean optim.learning_rate?"),
        ("(('train.epochs', 'uniform', 1, 5),)", "there is no setting 'train.epochs'"),
        ("(('model.width', 'uniform', 1, 5),)", "model.width is a whole number"),
        ("(('model.activation', 'uniform', 1, 5),)", "model.activation is text, not for 'uniform'"),
        ("(('model.dropout', 'uniform', 0, 1.5),)", "config.model.dropout=1.5 is out of range"),
        ("(('optim.learning_rate', 'uniform', 0, 1),)", "learning_rate=0.0 is out of range"),
        ("(('optim.b1', 'uniform', 0, 1), ('optim.b1', 'uniform', 0, 1))", "optim.b1 is there 2"),
    ],
)
def test_a_bad_search_space_is_refused(space, expected):
    assert expected in refused(commands.run, fast(f"--config.search.space={space}"))


# --- The workdir -----------------------------------------------------------------------------


def test_a_dry_run_prints_the_config_and_the_plan_and_writes_nothing(capsys):
    before = contents()
    assert commands.run(fast("--dry-run", "--config.model.dropout=0.25")) == 0
    text = capsys.readouterr().out
    assert '"dropout": 0.25' in text and '"label_smoothing": 0.0' in text
    assert "experiments.run would carry out" in text and "90 train" in text
    assert re.search(r"plan +\d+ training runs", text)
    assert contents() == before


def test_a_file_or_a_foreign_folder_is_no_workdir(place):
    (place / "file").write_text("mine")
    assert "is a file" in refused(commands.train, fast("--workdir=file"))
    (place / "mine").mkdir()
    (place / "mine" / "thesis.tex").write_text("mine")
    for words in ([], ["--overwrite"]):
        sentence = refused(commands.train, fast("--workdir=mine", *words))
        assert "thesis.tex" in sentence
    assert "cannot be used" in refused(commands.train, fast("--workdir=file/below"))
    assert "cannot be used" in refused(commands.train, fast("--workdir=/proc/none"))


def test_files_with_the_names_of_a_run_are_not_removed_unasked(place):
    (place / "mine" / "model").mkdir(parents=True)
    (place / "mine" / "model" / "weights.npz").write_text("mine")
    assert "no record of a run" in refused(commands.train, fast("--workdir=mine"))
    (place / "mine" / "config.json").write_text("{}")
    assert "no record of a run" in refused(commands.train, fast("--workdir=mine"))


def opened(path, *, overwrite=False, config=None):
    return workdir.open_workdir(path, config=config or FAST, record={"a": 1}, overwrite=overwrite)


def test_a_run_killed_before_its_record_was_written_begins_again(place):
    folder = place / "w"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(FAST))
    (folder / ".run.json.123.tmp").write_text('{"wh')
    with pytest.raises(UserError, match="no record of a run"):
        opened(folder, config={**FAST, "seed": 5})
    assert not opened(folder).resumed
    assert {p.name for p in folder.iterdir()} == {"config.json", "run.json"}


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(place):
    folder = place / "w"
    opened(folder)
    for name in workdir.OURS:
        if not (folder / name).exists():
            (folder / name).mkdir()
    (folder / "study.log" / "old").touch()
    (folder / ".tensorboard.tmp").mkdir()
    (folder / "notes.txt").write_text("mine")
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "kept").touch()
    (folder / "model").rmdir()
    (folder / "model").symlink_to(place / "elsewhere")
    opened(folder, overwrite=True)
    assert {p.name for p in folder.iterdir()} == {"config.json", "run.json", "notes.txt"}
    assert (place / "elsewhere" / "kept").exists()


def copied(trained, place):
    """The finished workdir, changed freely by a test."""
    shutil.copytree(trained, place / "w")
    return place / "w"


def test_a_finished_run_says_so_and_keeps_its_exit_code(trained, place, capsys):
    folder = copied(trained, place)
    before = contents(folder)
    for code, status in ((0, "done"), (1, "gate closed")):
        record = json.loads(before[str(folder / "run.json")])
        (folder / "run.json").write_text(
            json.dumps({**record, "status": status, "exit_code": code})
        )
        given = contents(folder)
        assert commands.train(fast("--workdir=w")) == code
        text = " ".join(capsys.readouterr().out.split())
        assert f"This run is finished ({status})" in text and "report.html" in text
        assert contents(folder) == given


def test_another_config_command_or_version_is_refused_with_the_difference(trained, place):
    folder = copied(trained, place)
    words = fast("--workdir=w", "--config.seed=4", "--config.optim.learning_rate=0.5")
    sentence = refused(commands.train, words)
    assert "seed: 0 -> 4" in sentence and "optim.learning_rate: 0.03 -> 0.5" in sentence
    assert "--overwrite" in sentence
    assert "made by experiments.train" in refused(commands.run, fast("--workdir=w"))
    record = json.loads((folder / "run.json").read_text())
    for change, expected in (
        ({"packages": {**record["packages"], "jax": "0.0.1"}}, "jax 0.0.1 -> "),
        ({"devices": {**record["devices"], "kind": "abacus"}}, "device abacus -> "),
        ({"data": {**record["data"], "fingerprint": "other"}}, "data have changed"),
    ):
        (folder / "run.json").write_text(json.dumps({**record, **change}))
        assert expected in refused(commands.train, fast("--workdir=w"))


@pytest.mark.parametrize("name", ["run.json", "config.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\xff"])
def test_a_damaged_record_is_refused(trained, place, name, text):
    folder = copied(trained, place)
    (folder / name).write_bytes(text.encode("latin-1"))
    assert name in refused(commands.train, fast("--workdir=w"))


def test_overwrite_starts_anew(trained, place):
    folder = copied(trained, place)
    (folder / "notes.txt").write_text("mine")
    words = fast("--workdir=w", "--overwrite", "--config.seed=4", "--config.train.epochs=1")
    assert commands.train(words) == 0
    assert json.loads((folder / "config.json").read_text())["seed"] == 4
    record = json.loads((folder / "run.json").read_text())
    assert record["overrides"] == {"seed": 4, "train.epochs": 1} and record["status"] == "done"
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_full_disk_is_one_sentence_and_the_run_can_go_on(monkeypatch, place):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(drive.writers, "write_trials_csv", full)
        with pytest.raises(UserError, match=r"No space left on device.*goes on from here"):
            commands.train(fast("--workdir=w"))
    record = json.loads((place / "w" / "run.json").read_text())
    assert record["status"] == "running"


def test_a_bug_is_not_called_bad_input(monkeypatch):
    def broken(context):
        raise OSError(errno.ECHILD, "No child processes")
        yield

    monkeypatch.setattr(training, "run", broken)
    with pytest.raises(OSError, match="No child processes"):
        commands.train(fast("--workdir=w"))


# --- A gate that closes ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_healthy_task_keeps_the_gates_open(place):
    completed = config.as_dict(config.complete(FAST))
    code = drive.execute(
        what="run",
        stages=(data, skeleton),
        config=completed,
        overrides={},
        workdir=place / "w",
        argv=[],
        console=console.Console(),
    )
    assert code == 0 and json.loads((place / "w" / "run.json").read_text())["status"] == "done"


def test_a_closed_gate_is_exit_code_1_with_a_report(place, capsys):
    words = fast("--workdir=w", f"--config.data.name={__name__}:shuffled")
    assert commands.run(words) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "FAIL" in text and "The gate is closed" in text and "--config.recipe.force" in text
    record = json.loads((place / "w" / "run.json").read_text())
    assert record["status"] == "gate closed" and record["exit_code"] == 1
    states = [stage["state"] for stage in record["stages"]]
    # The verdict is told all the same.
    assert states == ["done", "gate closed", *["waiting"] * 4, "done"]
    findings = json.loads((place / "w" / "findings.json").read_text())
    failed = [finding for finding in findings if finding["status"] == "FAIL"]
    assert failed and all(finding["remedy"] for finding in failed)
    assert html.escape(failed[0]["summary"]) in (place / "w" / "report.html").read_text()
    assert record["test_openings"] == [] and not (place / "w" / "model").exists()
    # Asked again, it says the same and trains nothing.
    before = contents("w")
    assert commands.run(words) == 1
    assert "finished (gate closed)" in " ".join(capsys.readouterr().out.split())
    assert contents("w") == before


@pytest.mark.slow
def test_a_closed_gate_is_forced_by_the_same_command(place, monkeypatch):
    def carried_out(*, force, workdir="w"):
        sections = {
            **FAST,
            "data": {"name": f"{__name__}:shuffled"},
            "recipe": {**FAST["recipe"], "force": force},
        }
        return drive.execute(
            what="run",
            stages=(data, skeleton),
            config=config.as_dict(config.complete(sections)),
            overrides={},
            workdir=place / workdir,
            argv=[],
            console=console.Console(),
        )

    assert carried_out(force=False) == 1
    shutil.copytree(place / "w", place / "killed")
    monkeypatch.setattr(drive.Lanes, "_run", None)  # nothing is trained again
    assert carried_out(force=True) == 0
    # One that was killed after it had written the config, and nothing more, goes on too.
    shutil.copy(place / "w" / "config.json", place / "killed")
    assert carried_out(force=True, workdir="killed") == 0
    assert json.loads((place / "w" / "config.json").read_text())["recipe"]["force"] is True
    assert json.loads((place / "w" / "run.json").read_text())["status"] == "done"
    with pytest.raises(UserError, match="force: True -> False"):
        carried_out(force=False)


# --- Prediction and report -------------------------------------------------------------------


NAMES = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
FLOWERS = np.array([[5.1, 3.5, 1.4, 0.2], [6.0, 2.2, 5.0, 1.5], [6.3, 3.3, 6.0, 2.5]])


def csv(names=NAMES, rows=FLOWERS):
    lines = [",".join(names), *(",".join(map(str, row)) for row in rows)]
    return "\n".join(lines).encode() + b"\n"


def npy(array):
    np.save("new.npy", array)
    return ["--data=new.npy"]


def new(content, name="new.csv"):
    pathlib.Path(name).write_bytes(content)
    return [f"--data={name}"]


def test_a_table_and_an_array_get_the_same_predictions(trained, place):
    model = ["predict", "--workdir", str(trained)]
    assert commands.predict([*model, *new(csv()), "--out=a.csv"]) == 0
    assert commands.predict([*model, *npy(FLOWERS)]) == 0
    text = (place / "a.csv").read_text()
    assert text == (place / "predictions.csv").read_text()
    rows = [line.split(",") for line in text.splitlines()]
    assert rows[0][0] == "prediction" and len(rows) == 4
    for name, *probabilities in rows[1:]:
        values = np.array(probabilities, float)
        assert name == ("setosa", "versicolor", "virginica")[values.argmax()]
        assert abs(values.sum() - 1) < 1e-4
    # Order of columns is free, and further columns are passed over.
    swapped = csv([*NAMES[::-1], "id"], [[*row[::-1], 7] for row in FLOWERS])
    assert commands.predict([*model, *new(swapped), "--out=b.csv"]) == 0
    assert (place / "b.csv").read_text() == text


BAD_EXAMPLES = {
    "no such file": (lambda: ["--data=none.csv"], "none.csv is not there"),
    "no data flag": (lambda: [], "--data new.csv"),
    "column": (lambda: new(csv([*NAMES[:3], "petal wdth"])), "no column 'petal width (cm)'"),
    "text": (lambda: new(csv(rows=[["x", 1, 2, 3]])), "'sepal length (cm)'"),
    "itself": (lambda: [*new(csv()), "--out=new.csv"], "which would be lost"),
    "temperature": (lambda: [*new(csv()), "--temperature=nan"], "a number of 0 or more"),
    "missing cell": (lambda: new(csv(rows=[["", 1, 2, 3]])), "'sepal length (cm)'"),
    "header only": (lambda: new(csv(rows=[])), "no rows"),
    "empty": (lambda: new(b""), "empty"),
    "ragged": (lambda: new(csv(rows=[[1, 2, 3]])), "line 2 has 3 cells"),
    "infinite cell": (lambda: new(csv(rows=[["inf", 1, 2, 3]])), "1 infinite"),
    "too few features": (lambda: npy(FLOWERS[:, :3]), "shape (3,)"),
    "images": (lambda: npy(np.zeros((2, 8, 8))), "shape (8, 8)"),
    "one number": (lambda: npy(np.float64(3)), "(4,)"),
    "words": (lambda: npy(np.array([["a"] * 4])), "numbers"),
    "no examples": (lambda: npy(np.zeros((0, 4))), "holds no examples"),
    "nan": (lambda: npy(FLOWERS * np.nan), "12 NaN"),
    "objects": (lambda: npy(FLOWERS.astype(object)), "pickled"),
    "no array": (lambda: new(b"nonsense", "new.npy"), "no NumPy array file"),
    "out": (lambda: [*new(csv()), "--out=none/p.csv"], "--out none/p.csv"),
    "out is a folder": (lambda: [*new(csv()), "--out=."], "--out ."),
    "unknown flag": (lambda: [*new(csv()), "--ouput=p.csv"], "'ouput'"),
    "stray": (lambda: ["new.csv"], "'new.csv' stands alone"),
}


@pytest.mark.parametrize("case", BAD_EXAMPLES)
def test_bad_examples_are_one_sentence_and_nothing_is_written(trained, case):
    make, expected = BAD_EXAMPLES[case]
    words = ["predict", "--workdir", str(trained), *make()]
    assert expected in refused(commands.predict, words)


@pytest.mark.parametrize("name", ["model.json", "model.jaxexport"])
def test_a_missing_or_damaged_model_is_refused(trained, place, name):
    folder = copied(trained, place)
    words = ["predict", "--workdir=w", *new(csv())]
    (folder / "model" / name).write_bytes((folder / "model" / name).read_bytes()[:100])
    assert "is damaged" in refused(commands.predict, words)
    (folder / "model" / name).unlink()
    assert "no trained model" in refused(commands.predict, words)


def test_the_report_is_built_again_from_the_workdir_alone(trained, place):
    folder = copied(trained, place)
    before = contents(folder)
    (folder / "report.html").unlink()
    (folder / "report.json").unlink()
    assert commands.report(["report", "--workdir=w"]) == 0
    assert contents(folder).keys() == before.keys()
    assert "accuracy" in (folder / "report.html").read_text()


def test_a_report_needs_a_workdir(place):
    (place / "mine").mkdir()
    assert "no workdir of a run" in refused(commands.report, ["report", "--workdir=mine"])
    assert "no run in none" in refused(commands.report, ["report", "--workdir=none"])
    assert "Say which workdir" in refused(commands.report, ["report"])
    (place / "mine" / "run.json").write_text("{")
    assert "run.json" in refused(commands.report, ["report", "--workdir=mine"])
