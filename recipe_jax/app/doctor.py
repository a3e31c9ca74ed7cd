"""doctor: every check on what a config would train, or on a program of the user's own."""

import importlib
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from recipe_jax import writers
from recipe_jax.app import drive
from recipe_jax.app.console import STYLES, Console
from recipe_jax.checks._catalogue import NAMES
from recipe_jax.diagnosis import Diagnosis
from recipe_jax.program import Program
from recipe_jax.recipe import examining
from recipe_jax.types import Finding, Status, Task, UserError


def of_config(config: Mapping[str, Any], task: Task) -> Program:
    """What this config would train, in the form that checks ask. The test split stays sealed."""
    return examining.program_of(config, task, drive.make_objective(config, task))


def of_name(name: str) -> Program:
    """The program that `module:function` returns. UserError says what is not there."""
    module, _, function = name.partition(":")
    if not function:
        raise UserError(
            f"--program {name!r} must be module:function, such as my_lab.train:program."
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        made = getattr(importlib.import_module(module), function)()
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise UserError(f"--program {name}: there is no module {error.name!r} here.") from error
    except AttributeError as error:
        if function in dir(sys.modules.get(module)):
            raise
        raise UserError(f"--program {name}: {module} has no function {function!r}.") from error
    if not isinstance(made, Program):
        raise UserError(
            f"--program {name} returned {type(made).__name__}; return recipe_jax.experiment(...)."
        )
    return made


def tell(console: Console, name: str, diagnosis: Diagnosis) -> None:
    """Causes with what they explain, then how many checks passed and which could not be asked; a
    machine is told every finding."""
    causes = [{"fault": cause.fault, "name": cause.name} for cause in diagnosis.causes]
    if console.tell("diagnosis", name=name, status=diagnosis.status, causes=causes):
        for finding in diagnosis.findings:
            console.finding(finding)
        return
    counts = {s: sum(f.status == s for f in diagnosis.findings) for s in Status}
    console.header(f"experiments.doctor  {name}", [])
    for cause in diagnosis.causes:
        console.line()
        console.line(
            f"  {cause.finding.status.value}  {cause.fault} {cause.name}",
            STYLES[cause.finding.status],
        )
        console.line(f"        {cause.finding.summary}")
        console.line(f"        -> {cause.finding.remedy}")
        others = [finding for finding in cause.explains if finding.fault != cause.fault]
        if others:
            console.line(f"        explains {'; '.join(dict.fromkeys(map(_short, others)))}", "dim")
    console.line()
    passed = f"{counts[Status.PASS]} checks passed"
    console.line(f"  {passed}." if diagnosis.causes else f"  Nothing found: {passed}.")
    skipped = [f for f in diagnosis.findings if f.status == Status.SKIP]
    if skipped:
        console.line(f"  {len(skipped)} could not be asked:", "dim")
    for finding in skipped:
        console.line(f"        {finding.check}: {finding.summary}", "dim")


def _short(finding: Finding) -> str:
    return f"{finding.fault} {NAMES.get(finding.fault, '')}".strip()


def write(diagnosis: Diagnosis, name: str, out: pathlib.Path) -> pathlib.Path:
    """The page, and the same for machines beside it."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        writers.write_text(out.with_suffix(".json"), diagnosis.to_json() + "\n")
        writers.write_text(out, diagnosis.to_html(name))
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}.") from error
    return out
