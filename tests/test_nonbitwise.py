"""A run goes on under what it was begun with, or says that it did not."""

import json
import pathlib
import shutil
import signal

import pytest

from recipe_jax import provenance
from recipe_jax.app import commands, workdir
from recipe_jax.types import UserError

CONFIG = {
    "data": {"name": "iris"},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "optim": {"name": "adamw", "learning_rate": 0.03},
    "train": {"batch_size": 16, "epochs": 4, "evaluations": 2},
}
OWN_MODEL = """
from recipe_jax.models import linear

def build(spec, /):
    return linear.build(spec)
"""


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def train(folder: pathlib.Path, *more: str, config=None) -> int:
    (folder / "c.json").write_text(json.dumps(config or CONFIG))
    words = ["--config", str(folder / "c.json"), "--workdir", str(folder / "w"), *more]
    return commands.train(["train", *words])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("trained")
    assert train(folder) == 0
    return folder


@pytest.fixture
def stopped(trained, tmp_path) -> pathlib.Path:
    """A run that was killed before its end: the folder that holds it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    (tmp_path / "w" / "report.html").unlink()
    change(tmp_path, status="running", exit_code=None)
    return tmp_path


def record(folder: pathlib.Path) -> dict:
    return json.loads((folder / "w" / "run.json").read_text())


def change(folder: pathlib.Path, **changes) -> None:
    (folder / "w" / "run.json").write_text(json.dumps(record(folder) | changes))


def refused(folder: pathlib.Path, *more: str, config=None) -> str:
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(UserError) as caught:
        train(folder, *more, config=config)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- What is compared ------------------------------------------------------------------------


def told(**changes) -> list[str]:
    """What differs when the record of this process is changed so."""
    now = provenance.provenance([]) | {"plugins": {}}
    return workdir._other_bits({**now, **changes}, now)


def inside(name: str, **changes) -> dict:
    return {name: provenance.provenance([])[name] | changes}


def test_the_same_is_no_difference():
    assert told() == []


@pytest.mark.parametrize("name", workdir.BITWISE)
def test_packages_that_compute_are_compared(name):
    assert told(**inside("packages", **{name: "0.0.1"}))[0].startswith(f"{name} 0.0.1 -> ")


def test_packages_that_only_show_are_not():
    assert told(**inside("packages", plotly="0.0.1", jinja2="0.0.1")) == []


@pytest.mark.parametrize("name", provenance.NUMERICS)
def test_settings_of_jax_are_compared(name):
    assert told(**inside("numerics", **{name: "other"}))[0].startswith(f"{name} other -> ")


def test_devices_are_compared_by_what_decides_bits():
    assert told(**inside("devices", kind="abacus")) == ["device abacus -> cpu"]
    assert told(**inside("devices", count=1)) == ["devices one -> several"]
    assert told(**inside("devices", count=64, cpus=64)) == []
    assert told(**inside("devices", vectors="x86_64 avx"))[0].startswith("processor x86_64 avx ->")


def test_flags_of_xla_are_compared_as_a_set_and_without_the_count_of_devices(monkeypatch):
    count = "--xla_force_host_platform_device_count=4"
    monkeypatch.setenv("XLA_FLAGS", f"--xla_a=1 {count} --xla_b=2")
    assert told(xla_flags="--xla_b=2 --xla_a=1") == []
    assert told(xla_flags="--xla_a=1") == ["XLA_FLAGS --xla_a=1 -> --xla_a=1 --xla_b=2"]
    assert told(xla_flags="") == ["XLA_FLAGS none -> --xla_a=1 --xla_b=2"]


def test_code_is_compared():
    assert told(code="0" * 64) == ["the code of recipe_jax"]
    now = provenance.provenance([]) | {"plugins": {"mine": "1", "new": "2"}}
    assert workdir._other_bits(now | {"plugins": {"mine": "0"}}, now) == [
        "the code of mine",
        "the code of new",
    ]


def test_what_an_older_release_did_not_record_is_not_compared():
    now = provenance.provenance([]) | {"plugins": {"mine": "1"}}
    old = {name: now[name] for name in ("packages",)} | {"devices": {"kind": "cpu"}}
    assert workdir._other_bits(old, now) == []


def test_the_digest_of_code_leaves_out_what_draws_pages(tmp_path):
    for name in ("train/step.py", "report/page.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x = 1\n")
    first = provenance.code_digest(tmp_path)
    (tmp_path / "report/page.py").write_text("x = 2\n")
    assert provenance.code_digest(tmp_path) == first
    (tmp_path / "train/step.py").write_text("x = 2\n")
    assert provenance.code_digest(tmp_path) != first


def test_own_plugins_are_digested_and_those_of_the_package_are_its_code(tmp_path, monkeypatch):
    (tmp_path / "my_model.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = {"seed": 3, "model": {"name": "my_model:build"}, "optim": {"name": "adamw"}}
    first = provenance.plugin_digests(config)
    assert first.keys() == {"my_model"} and len(first["my_model"]) == 64
    (tmp_path / "my_model.py").write_text(OWN_MODEL + "# another\n")
    assert provenance.plugin_digests(config) != first


# --- What follows ----------------------------------------------------------------------------


def test_changed_code_is_refused_with_every_way_on(stopped):
    change(stopped, code="0" * 64, xla_flags="--xla_cpu_enable_fast_math=true")
    sentence = refused(stopped)
    assert "XLA_FLAGS --xla_cpu_enable_fast_math=true -> " in sentence
    assert "the code of recipe_jax" in sentence
    assert "--overwrite" in sentence and "--allow-nonbitwise" in sentence


def test_going_on_all_the_same_is_written_down_and_told(stopped, trained, capsys):
    change(stopped, code="0" * 64)
    assert train(stopped, "--allow-nonbitwise") == 0
    assert "not those of one undisturbed run: the code of recipe_jax" in capsys.readouterr().out
    found = record(stopped)
    assert found["nonbitwise"] == [["the code of recipe_jax"]]
    assert found["code"] == record(trained)["code"] and found["status"] == "done"
    for name in ("report.html", "report.json"):
        assert "the code of recipe_jax" in (stopped / "w" / name).read_text()
    # It stays so, and the flag is not asked for again.
    (stopped / "w" / "report.html").unlink()
    assert train(stopped) == 0
    assert record(stopped)["nonbitwise"] == [["the code of recipe_jax"]]
    page = (stopped / "w" / "report.html").read_text()
    assert "not the bits of one undisturbed run" in page


def test_without_a_change_the_flag_says_nothing(stopped):
    assert train(stopped, "--allow-nonbitwise") == 0
    assert record(stopped)["nonbitwise"] == []
    assert "not the bits of one" not in (stopped / "w" / "report.html").read_text()


def test_other_data_are_refused_in_any_case(stopped):
    """What was found on one set of examples says nothing about another."""
    change(stopped, data=record(stopped)["data"] | {"fingerprint": "other"})
    assert "The data have changed" in refused(stopped, "--allow-nonbitwise")


def test_an_own_model_that_is_edited_in_between_is_named(tmp_path, monkeypatch):
    (tmp_path / "edited_model.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = CONFIG | {"model": {"name": "edited_model:build"}}
    assert train(tmp_path, config=config) == 0
    (tmp_path / "edited_model.py").write_text(OWN_MODEL + "# another\n")
    assert "(the code of edited_model)" in refused(tmp_path, config=config)
