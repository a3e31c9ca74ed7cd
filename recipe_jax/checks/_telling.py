"""How a check tells what it found."""

import shlex
from collections.abc import Sequence
from typing import Any

from recipe_jax.types import Finding, Status, Task


def fault(
    check: str,
    name: str,
    summary: str,
    remedy: str,
    *,
    row: str = "",
    certainty: str = "exact",
    warn: bool = False,
    explains: tuple[str, ...] = (),
    **evidence: Any,
) -> Finding:
    """Something is wrong: `name` is its row in the catalogue of faults, `remedy` what to do."""
    return Finding(
        check=check,
        row=row,
        status=Status.WARN if warn else Status.FAIL,
        summary=summary,
        evidence=evidence,
        remedy=remedy,
        fault=name,
        certainty=certainty,
        explains=explains,
    )


def healthy(check: str, summary: str, *, row: str = "", **evidence: Any) -> Finding:
    """The question was asked, and nothing is wrong."""
    return Finding(check=check, row=row, status=Status.PASS, summary=summary, evidence=evidence)


def percent(share: float) -> str:
    """A share as people write it."""
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def without(task: Task, names: Sequence[str]) -> str:
    """How to leave columns out: the flag to paste where they were read from a file by name, else
    in words."""
    if getattr(task.encoder, "columns", None) is None:
        return f"leave {', '.join(names)} out."
    value = repr(tuple(map(str, names)))
    safe = not set(value) & set('"$`\\!')
    return "--config.data.drop=" + (f'"{value}"' if safe else shlex.quote(value))
