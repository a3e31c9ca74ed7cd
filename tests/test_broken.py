"""configs/broken.py: every fault is named, and the setting that heals it makes it well."""

import json
import pathlib
import re

import pytest

from recipe_jax import config as configs
from recipe_jax.app import commands
from recipe_jax.app.signals import Signals
from recipe_jax.checks._catalogue import NAMES

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "broken.py"
ROW = re.compile(r"^    ([A-G])  (\w+) +.+? ([A-G]\d+) (.+)$", re.M)
LISTED = {
    name: (family, fault, said) for family, name, fault, said in ROW.findall(CONFIG.read_text())
}
QUICK = ("gradient",)
# One that the data tell, one of the feed, one of the rate.
RUN = ("labels", "pipeline", "rate")
HEALED = {
    "": (),
    "dead": ("--config.model.below=0",),
    "gradient": ("--config.model.least=1e-3",),
}


def examined(variant, folder, *overrides):
    """(exit code, causes as the doctor names them)."""
    words = [f"--config={CONFIG}:{variant}" if variant else f"--config={CONFIG}"]
    code = commands.doctor(["doctor", *words, f"--out={folder / 'page.html'}", *overrides])
    return code, json.loads((folder / "page.json").read_text())["causes"]


def test_the_docstring_lists_every_variant_and_every_family():
    from configs.broken import FAULTS

    assert set(LISTED) == set(FAULTS) - {""}
    assert {family for family, _, _ in LISTED.values()} == set("ABCDEFG")
    for family, fault, said in LISTED.values():
        assert fault[0] == family and NAMES[fault] == said


@pytest.mark.parametrize("variant", ["", *LISTED])
def test_every_variant_is_a_config_with_settings_that_exist(variant):
    completed = configs.as_dict(configs.complete(configs.load(f"{CONFIG}:{variant}".strip(":"))))
    configs.check(completed)


@pytest.mark.parametrize(
    "variant",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in LISTED],
)
def test_the_doctor_names_the_fault_first(variant, tmp_path):
    code, causes = examined(variant, tmp_path)
    assert code == 1
    assert (causes[0]["fault"], causes[0]["status"]) == (LISTED[variant][1], "fail")


@pytest.mark.slow
@pytest.mark.parametrize("variant", HEALED)
def test_the_healthy_twin_passes(variant, tmp_path):
    code, causes = examined(variant, tmp_path, *HEALED[variant])
    assert code == 0 and [each for each in causes if each["status"] == "fail"] == []


@pytest.mark.slow
@pytest.mark.parametrize("variant", RUN)
def test_a_run_names_it_too(variant, tmp_path, monkeypatch):
    """The whole recipe, up to the gate that closes."""
    monkeypatch.setattr(Signals, "install", lambda self: None)
    words = [
        f"--config={CONFIG}:{variant}",
        "--config.recipe.budget=small",
        f"--workdir={tmp_path / 'w'}",
    ]
    code = commands.run(["run", *words])
    findings = json.loads((tmp_path / "w" / "findings.json").read_text())
    failed = [each for each in findings if each["status"] == "FAIL"]
    told = {
        fault
        for each in findings
        if each["status"] in ("FAIL", "WARN")
        for fault in each["fault"].split()
    }
    assert LISTED[variant][1] in told
    assert code == (1 if failed else 0)
