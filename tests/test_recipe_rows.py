"""Every row of the recipe that is carried out leaves its finding in a run of a shipped config."""

import json
import pathlib

import pytest

from recipe_jax.app import commands

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
ROWS = {
    "digits": [
        *(f"DATA{n}" for n in (1, 2, 3, 5, 6, 7, 8, 9, 10, 11)),
        *(f"SKEL{n}" for n in (*range(1, 9), *range(10, 18), 19, 20)),
        *("FIT3", "FIT5", "FIT6", "FIT9", "REG1", "REG2", "REG6", "REG7", "REG8", "REG11"),
        *("TUNE1", "TUNE4", "TUNE8", "TUNE10", "SQZ1", "SQZ3", "DIAG1", "DIAG2", "DIAG3"),
        *("ENV2", "ENV3", "ENV4", "ENV5"),
    ],
    "diabetes": ["DATA4"],
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Config -> its findings, by row; a run for each, made when it is first asked for."""
    made = {}

    def of(name):
        if name not in made:
            workdir = tmp_path_factory.mktemp(name)
            # As little training as leaves every row its finding.
            fewer = ["train.epochs=5", "search.trials=8", "recipe.members=2", "recipe.looks=1"]
            words = ["run", f"--config={CONFIGS / name}.py", f"--workdir={workdir}"]
            words += [f"--config.{word}" for word in (*fewer, "recipe.force")]
            commands.run(words)
            made[name] = {}
            for each in json.loads((workdir / "findings.json").read_text()):
                for row in each["row"].split():
                    made[name].setdefault(row, []).append(each)
        return made[name]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("config, row", [(name, row) for name in ROWS for row in ROWS[name]])
def test_the_row_is_found(findings, config, row):
    found = findings(config)[row]
    assert all(each["summary"].endswith(".") for each in found)
    # A person has to be asked for SKEL4.
    assert row == "SKEL4" or any(each["status"] != "SKIP" for each in found)
