"""Every file in configs/ loads, completes, and has a plan; nothing is trained here."""

import contextlib
import copy
import io
import pathlib

import numpy as np
import pytest

from recipe_jax import config as configs
from recipe_jax.app import commands, drive

FOLDER = pathlib.Path(__file__).parent.parent / "configs"
FILES = sorted(path for path in FOLDER.glob("*.py") if "def get_config" in path.read_text())


@pytest.fixture
def words(request, tmp_path, monkeypatch):
    """The command line of a config: what it leaves to the user is filled in."""
    monkeypatch.chdir(tmp_path)

    def of(path):
        found = ["--config", str(path)]
        if path.stem == "table":
            rows = "".join(f"{i % 7},{'ab'[i % 2]},{'yn'[i % 3 > 0]}\n" for i in range(90))
            (tmp_path / "own.csv").write_text("number,letter,answer\n" + rows)
            return [*found, "--config.data.path=own.csv", "--config.data.target=answer"]
        if configs.load(str(path))["data"].get("name") == "idx":
            folder = request.getfixturevalue("mnist")
            (image,) = folder.glob("*images-idx3-ubyte.gz")
            return [*found, f"--config.data.path={image}", "--config.data.max_examples=500"]
        return found

    return of


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_loads_completes_and_says_what_it_is(path):
    given = configs.load(str(path))
    completed = configs.as_dict(configs.complete(given))
    configs.check(completed)
    assert set(completed) == set(configs.SECTIONS)
    for section, values in given.items():
        for key, value in values.items():
            assert completed[section][key] == value
    # Complete once is complete: nothing is added the second time.
    assert configs.as_dict(configs.complete(completed)) == completed
    first_line = path.read_text().splitlines()[0]
    assert first_line.startswith(('"""', 'r"""')) and len(first_line) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_plan_is_printed_and_nothing_is_written(path, words, tmp_path):
    line = ["run", *words(path), "--dry-run", "--workdir=w"]
    before = sorted(tmp_path.iterdir())
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert commands.run(line) == 0
    text = " ".join(told.getvalue().split())
    assert "training runs as lanes of" in text and "test (sealed)" in text
    assert f'"name": "{configs.load(str(path))["data"]["name"]}"' in text
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_building_from_it_does_not_change_it(path, words):
    parsed = configs.parse(["run", *words(path)], lambda own: None)
    kept = copy.deepcopy(parsed.config)
    task = drive.load_task(parsed.config)
    context = drive.make_context(parsed.config, task, drive.make_objective(parsed.config, task))
    configs.with_settings(parsed.config, {"optim.learning_rate": 0.5})
    assert parsed.config == kept and context.config == kept
    # A second reading is equal, and shares nothing with the first.
    again = configs.parse(["run", *words(path)], lambda own: None).config
    assert again == kept
    again["train"]["epochs"] += 1
    assert parsed.config == kept


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_task_can_be_trained_on(path, words):
    parsed = configs.parse(["run", *words(path)], lambda own: None)
    task = drive.load_task(parsed.config)
    for split in (task.train, task.validation):
        assert np.isfinite(split.inputs).all()
        assert len(split.targets) >= parsed.config["train"]["batch_size"] or split is not task.train


def test_the_imbalanced_tumours_are_one_in_ten_and_their_finding_says_what_to_do():
    from recipe_jax.checks import class_balance
    from recipe_jax.probes.examples import Examples

    path = f"{FOLDER / 'breast_cancer.py'}:imbalanced"
    task = drive.load_task(configs.parse(["run", "--config", path], lambda own: None).config)
    for split in (task.train, task.validation):
        assert 0.08 < (split.targets == task.class_names.index("malignant")).mean() < 0.13
    (found,) = class_balance.look(Examples(task))
    assert "'malignant'" in found.summary and "data.balance=weights" in found.remedy
    with pytest.raises(drive.UserError, match="no variant 'other'"):
        configs.load(path.replace("imbalanced", "other"))


def test_the_configs_that_are_promised_are_there():
    names = {path.stem for path in FILES}
    assert {"digits", "tiny", "diabetes", "breast_cancer", "table"} <= names


def test_a_table_without_its_path_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["run", "--config", str(FOLDER / "table.py"), "--dry-run"]
    with pytest.raises(drive.UserError, match=r"data\.path"):
        commands.run(line)
    (tmp_path / "own.csv").write_text("a,b\n1,x\n")
    with pytest.raises(drive.UserError, match=r"data\.target"):
        commands.run([*line, "--config.data.path=own.csv"])
