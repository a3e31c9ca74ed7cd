"""Asks a program every question, and names the causes among the answers."""

import dataclasses
import importlib
import pkgutil
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from recipe_jax import checks
from recipe_jax.checks._catalogue import NAMES
from recipe_jax.probes.facts import Crashed, Facts, NotGiven
from recipe_jax.program import Program
from recipe_jax.types import Finding, Status

CERTAINTIES = ("exact", "statistical", "heuristic", "outcome")
FAMILIES = "ABDCGEF"
"""The order in which a fault comes to bear: data, pipeline, loss, model, numerics, optimiser,
evaluation."""
OUTCOMES = ("F8", "E1", "E2", "E11", "G1")
"""Faults that are seen by what becomes of training, and often have another reason."""


@dataclasses.dataclass(frozen=True)
class Cause:
    """One thing that is wrong, and what else it explains.

    fault: its row in the catalogue, such as "C5"; finding: what shows it; explains: findings that
    need no cause of their own
    """

    fault: str
    finding: Finding
    explains: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """What the catalogue calls it."""
        return NAMES.get(self.fault, "a crash")

    @property
    def status(self) -> str:
        """ "fail" or "warn"."""
        return self.finding.status.lower()


def answers(program: Program, *, without: Collection[str] = ()) -> list[Finding]:
    """What all checks find, but those of these names.

    Nothing that the program does raises here: a crash of one of its functions is a finding.
    """
    facts = Facts(program)
    findings: list[Finding] = []
    crashes: dict[str, Finding] = {}
    for name, ask in questions():
        if name in without:
            continue
        try:
            # What is not finite is told as a finding; numpy need not say so beside it.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                findings.extend(ask(facts))
        except NotGiven as reason:
            findings.append(_skipped(name, f"Not asked: {reason}."))
        except Crashed as crash:
            if _sound(facts, crash.where):
                # It works as the program itself uses it: the question was put in a form unknown.
                findings.append(_skipped(name, f"Not answered: as it was asked here, {crash}."))
                continue
            crashes.setdefault(str(crash), _crash(crash))
            findings.append(_skipped(name, f"Not answered: {crash.where} raised."))
        except Exception as error:
            told = (
                f"Not answered: {type(error).__name__}: "
                f"{str(error).splitlines()[0][:200] if str(error) else ''}"
            )
            findings.append(_skipped(name, told))
    return [*crashes.values(), *_confirmed(findings)]


def questions() -> Iterator[tuple[str, Any]]:
    """(name, diagnose) of every module of checks that asks a program."""
    for found in pkgutil.iter_modules(checks.__path__):
        if not found.name.startswith("_"):
            module = importlib.import_module(f"{checks.__name__}.{found.name}")
            if hasattr(module, "diagnose"):
                yield found.name, module.diagnose


def causes(findings: Sequence[Finding]) -> list[Cause]:
    """What is wrong, ranked: failures first, then by what they rest on, then by how early they come
    to bear. What a better one explains is listed under it."""
    # A crash that is no fault of the catalogue has no name, and is a cause all the same.
    wrong = [
        f for f in findings if f.status == Status.FAIL or (f.status == Status.WARN and f.fault)
    ]
    wrong.sort(key=_rank)
    # What another one explains, and does not explain it in turn, is no cause; of two that explain
    # each other the first one is.
    roots = [
        finding
        for number, finding in enumerate(wrong)
        if not any(
            _explains(other, finding) and (place < number or not _explains(finding, other))
            for place, other in enumerate(wrong)
            if place != number
        )
    ]
    explained: list[list[Finding]] = [[] for _ in roots]
    for finding in wrong:
        if not any(finding is root for root in roots):
            owner = next((n for n, root in enumerate(roots) if _explains(root, finding)), 0)
            explained[owner].append(finding)
    return [Cause(root.fault, root, tuple(others)) for root, others in zip(roots, explained)]


def _rank(finding: Finding) -> tuple[int, int, int]:
    certain = CERTAINTIES.index(finding.certainty) if finding.certainty in CERTAINTIES else 2
    family = FAMILIES.find(finding.fault[:1])
    return (finding.status != Status.FAIL, certain, family if family >= 0 else len(FAMILIES))


def _explains(cause: Finding, finding: Finding) -> bool:
    if cause.status == Status.WARN and finding.status == Status.FAIL:
        return False
    return bool(cause.fault) and (cause.fault == finding.fault or finding.fault in cause.explains)


def _confirmed(findings: Sequence[Finding]) -> list[Finding]:
    """Rules of thumb that an outcome bears out are failures, unless something surer explains it.

    Of faults that are no outcomes themselves an outcome that is only warned of is enough: two signs
    of one thing.
    """
    failed = [f for f in findings if f.status == Status.FAIL]
    sure = [f for f in failed if f.certainty in CERTAINTIES[:2] and f.fault not in OUTCOMES]

    def unexplained(fault: str) -> bool:
        return not any(fault in other.explains for other in sure)

    seen = {f.fault for f in failed if f.fault in OUTCOMES and unexplained(f.fault)}
    warned = {f.fault for f in findings if f.status == Status.WARN and f.fault == "F8"}
    warned = {fault for fault in warned if unexplained(fault)}
    return [
        dataclasses.replace(f, status=Status.FAIL)
        if f.status == Status.WARN
        and f.certainty == "heuristic"
        and (seen | (set() if f.fault in OUTCOMES else warned)).intersection(f.explains)
        else f
        for f in findings
    ]


def _sound(facts: Facts, where: str) -> bool:
    """Whether a function of the program works on a batch, as in training and evaluation."""
    try:
        match where:
            case "apply":
                for train in (True, False):
                    facts.forward(facts.variables, facts.batch.inputs, facts.key, train)
            case "loss":
                learnt = facts.learnt(facts.variables)
                facts.gradient(learnt, facts.variables, *facts.batch, facts.key)
            case "metric":
                facts.program.metric(facts.outputs, facts.batch.targets)  # pyright: ignore
            case _:
                return False
    except Exception:
        return False
    return True


def _skipped(name: str, summary: str) -> Finding:
    return Finding(check=name, row="", status=Status.SKIP, summary=summary)


def _crash(crash: Crashed) -> Finding:
    shapes = isinstance(crash.error, TypeError | ValueError) and crash.where in ("apply", "loss")
    return Finding(
        check="runs",
        row="SKEL20",
        status=Status.FAIL,
        summary=f"{crash}",
        fault="B10" if shapes else "",
        remedy=f"Call {crash.where} by itself on one batch, and mend what it says.",
        certainty="exact",
    )
