"""Every row of the recipe that is carried out leaves its finding in a run of a shipped config."""

import json
import pathlib

import pytest

from recipe_jax.app import commands

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
ROWS = {
    "digits": [
        *(f"DATA{n}" for n in (1, 2, 3, 5, 6, 7, 8, 9, 10, 11)),
        *(f"SKEL{n}" for n in range(1, 21)),
        *(f"FIT{n}" for n in range(1, 10)),
        *(f"REG{n}" for n in (1, 2, *range(4, 12))),
        *(f"TUNE{n}" for n in (1, *range(4, 11))),
        *("SQZ1", "SQZ2", "SQZ3", "DIAG1", "DIAG2", "DIAG3"),
        *(f"ENV{n}" for n in range(1, 9)),
    ],
    "diabetes": ["DATA4"],
    "pretrained": ["REG3"],
    "grid": ["TUNE2", "TUNE6"],
    "optuna": ["TUNE3"],
    "hyperopt": ["TUNE3"],
    "bayesopt": ["TUNE3"],
}
# As little training as leaves every row its finding.
FEWER = ("train.epochs=5", "search.trials=8", "recipe.members=2", "recipe.looks=1", "recipe.force")
SEARCHES = {
    "grid": ("search.name=grid", "search.points=2", "search.space=('rate',)"),
    **{
        name: (f"search.name={name}", "search.trials=4", "search.batch=2")
        for name in ("optuna", "hyperopt", "bayesopt")
    },
}
"""Searches beside the default one, each a short sweep of the smallest config."""


def findings_of(name, tmp_path_factory):
    """What a run of this config finds, by row."""
    workdir = tmp_path_factory.mktemp(name)
    if name in SEARCHES:
        command, config, more = commands.sweep, "tiny", (*SEARCHES[name], "train.epochs=5")
    else:
        command, config, more = commands.run, name, FEWER
    if name == "pretrained":
        config, start = "tiny", tmp_path_factory.mktemp("other")
        commands.train(["train", f"--config={CONFIGS}/tiny.py", f"--workdir={start}"])
        more = (*FEWER, f"start.path={start}")
    words = [name, f"--config={CONFIGS / config}.py", f"--workdir={workdir}"]
    command([*words, *(f"--config.{word}" for word in more)])
    found = {}
    for each in json.loads((workdir / "findings.json").read_text()):
        for row in each["row"].split():
            found.setdefault(row, []).append(each)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("config", ROWS)
def test_every_row_is_found(tmp_path_factory, config, subtests):
    findings = findings_of(config, tmp_path_factory)
    for row in ROWS[config]:
        with subtests.test(row=row):
            found = findings[row]
            assert all(each["summary"].endswith(".") for each in found)
            # A person has to be asked for SKEL4.
            assert row == "SKEL4" or any(each["status"] != "SKIP" for each in found)
