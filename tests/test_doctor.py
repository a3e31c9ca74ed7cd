"""experiments.doctor: on configs and on programs of one's own; the README's programs."""

import json
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recipe_jax import config as configs
from recipe_jax import diagnosis
from recipe_jax.app import commands, doctor, drive
from recipe_jax.diagnosis import Cause, Diagnosis
from recipe_jax.types import Finding, Status, UserError

ROOT = pathlib.Path(__file__).parent.parent
MODULE = """
import jax
import jax.numpy as jnp
import numpy as np
import optax

import recipe_jax

draw = np.random.default_rng(0)
labels = draw.integers(0, 3, 200)
inputs = (draw.normal(size=(3, 4))[labels] * 2 + draw.normal(size=(200, 4))).astype(np.float32)


def made(**changed):
    given = dict(
        init=lambda key: {"w": 0.5 * jax.random.normal(key, (4, 3)), "b": jnp.zeros(3)},
        apply=lambda v, x: x @ v["w"] + v["b"],
        loss=lambda o, y: optax.softmax_cross_entropy_with_integer_labels(o, y).mean(),
        optimizer=optax.adam(3e-2),
        train=(inputs[:150], labels[:150]),
        validation=(inputs[150:], labels[150:]),
    )
    return recipe_jax.experiment(**(given | changed))


def healthy():
    return made()


def sick():
    return made(loss=lambda o, y: -optax.softmax_cross_entropy_with_integer_labels(o, y).mean())


def other():
    return 3
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "lab_of_mine.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("lab_of_mine", None)


def told(argv):
    return commands.doctor(["doctor", *argv])


def test_a_healthy_program_of_ones_own(place, capsys):
    assert told(["--program=lab_of_mine:healthy"]) == 0
    said = capsys.readouterr().out
    assert "Nothing found" in said and "metric= was not given" in said
    assert (place / "runs/lab_of_mine.healthy.doctor.html").exists()
    found = json.loads((place / "runs/lab_of_mine.healthy.doctor.json").read_text())
    assert found["status"] == "pass" and found["causes"] == []


def test_a_sick_one_is_named_and_ends_with_1(place, capsys):
    assert told(["--program", "lab_of_mine:sick", "--out", "page.html"]) == 1
    said = capsys.readouterr().out
    assert "FAIL  D1 wrong sign of the loss" in said and "-> Turn the sign of the loss." in said
    assert "Wrong sign of the loss." in (place / "page.html").read_text()


@pytest.mark.parametrize(
    "argv, said",
    [
        (["--program", "lab_of_mine"], "must be module:function"),
        (["--program", "no_such_lab:healthy"], "there is no module 'no_such_lab'"),
        (["--program", "lab_of_mine:missing"], "has no function 'missing'"),
        (["--program", "lab_of_mine:other"], "returned int; return recipe_jax.experiment"),
        (["--program", "lab_of_mine:sick", "--colour=red"], "colour"),
        ([], "Say which config"),
    ],
)
def test_bad_input_is_one_sentence(place, argv, said):
    with pytest.raises(UserError, match=said):
        told(argv)


def test_help(capsys):
    assert told(["--help"]) == 0
    said = capsys.readouterr().out
    assert "experiments.doctor --config" in said and "--program" in said and "1 something" in said


def program(*overrides):
    argv = ["doctor", f"--config={ROOT}/configs/tiny.py", *overrides]
    config = configs.parse(argv, commands._doctor_flags).config
    return doctor.of_config(config, drive.load_task(config))


def test_a_config_becomes_the_program_that_it_trains():
    """The same update as the train step makes, from weights, data and optimiser of the config."""
    made = program("--config.objective.l2=0.1", "--config.optim.learning_rate=0.25")
    variables = made.init(jax.random.key(0))
    outputs, after = made.apply(
        variables, jnp.asarray(made.train.inputs[:5]), key=jax.random.key(1), train=False
    )
    assert outputs.shape == (5, 3) and made.loss(
        outputs, jnp.asarray(made.train.targets[:5])
    ).shape == (5,)
    assert jax.tree.structure(after) == jax.tree.structure(variables)
    params = variables["params"]
    zeros = jax.tree.map(np.zeros_like, params)
    updates, _ = made.optimizer.update(zeros, made.optimizer.init(params), params)
    # Nothing but the penalty moves the weights, and biases are left out of it.
    moved = {name: bool(np.any(leaf)) for name, leaf in flat(updates).items()}
    assert any(moved.values()) and not any(moved[name] for name in moved if "bias" in name)
    assert made.num_steps > 0 and made.task == "classification" and made.schedule is not None


def flat(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides, code, fault",
    [
        ([], 0, ""),
        (["--config.optim.learning_rate=30.0"], 1, "E1"),
        (["--config.optim.learning_rate=1e-7"], 1, "E2"),
        (["--config.objective.label_smoothing=0.95"], 1, "D7"),
        (["--config.optim.weight_decay=300.0"], 1, "E5"),
        (["--config.model.dropout=0.97"], 1, "C16"),
    ],
)
def test_doctor_on_a_config_healthy_and_sabotaged(place, overrides, code, fault):
    argv = [f"--config={ROOT}/configs/digits.py", "--out=page.html", *overrides]
    assert told(argv) == code
    causes = json.loads((place / "page.json").read_text())["causes"]
    assert [cause["fault"] for cause in causes if cause["status"] == "fail"][:1] == [fault] * code


def test_what_the_examples_show_is_told_too_and_once():
    """A cause of its own where no other tells that fault, what fails first; and every answer is
    kept."""

    def found(check, fault, status):
        return Finding(check=check, row="DATA1", fault=fault, status=status, summary=check)

    shift = found("shift", "A13", Status.FAIL)
    drift = found("drift", "A13", Status.WARN)
    holes = found("imputed", "A7", Status.WARN)
    twice = found("duplicates", "A4", Status.FAIL)
    fine = found("samples", "", Status.PASS)
    program = Diagnosis((shift,), (Cause("A13", shift),))
    whole = diagnosis.with_data(program, [drift, holes, twice, fine])
    assert [cause.fault for cause in whole.causes] == ["A13", "A4", "A7"]
    assert whole.findings == (shift, drift, holes, twice, fine) and whole.status == "fail"
    assert diagnosis.with_data(Diagnosis((), ()), [fine]).status == "pass"
    assert diagnosis.with_data(Diagnosis((), ()), [holes]).status == "warn"


def test_doctor_looks_at_the_examples_of_a_config(place):
    """Cells that are missing are told, as the stage data tells them."""
    draws = np.random.default_rng(0)
    drawn = draws.normal(size=(150, 2))
    rows = [f"{a:.3f},{b:.3f},{'yes' if a + b > 0 else 'no'}" for a, b in drawn]
    rows[3] = ",0.5,yes"
    pathlib.Path("own.csv").write_text("\n".join(["a,b,label", *rows]) + "\n")
    words = ["--config.data.path=own.csv", "--config.data.target=label", "--out=page.html"]
    assert told([f"--config={ROOT}/configs/table.py", *words]) == 0
    read = json.loads((place / "page.json").read_text())
    assert [cause["fault"] for cause in read["causes"]] == ["A7"] and read["status"] == "warn"
    assert {"samples", "imputed", "oracle"} <= {each["check"] for each in read["findings"]}


BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
PROGRAMS = [block for block in BLOCKS if "recipe_jax.diagnose" in block]


@pytest.mark.slow
@pytest.mark.parametrize("number, fault", list(enumerate(["C5", "D4", "C13"])))
def test_the_programs_of_the_readme(number, fault, capsys):
    lines = [line for line in PROGRAMS[number].splitlines() if line]
    assert len(PROGRAMS) == 3 and len(lines) < 20
    exec(PROGRAMS[number], {})
    assert capsys.readouterr().out.startswith(f"FAIL {fault} ")
