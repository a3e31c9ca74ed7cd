"""diagnose: all checks on one program, and the causes among what they find, best first."""

import dataclasses
from collections.abc import Sequence

from recipe_jax import writers
from recipe_jax.checks import _asking
from recipe_jax.checks._asking import Cause
from recipe_jax.checks._catalogue import NAMES
from recipe_jax.program import Program
from recipe_jax.types import Finding, Status


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What all checks found. `causes` are ranked, the best explanation first."""

    findings: tuple[Finding, ...]
    causes: tuple[Cause, ...]

    @property
    def status(self) -> str:
        """The worst finding: "pass", "warn" or "fail"."""
        statuses = {finding.status for finding in self.findings}
        for status in (Status.FAIL, Status.WARN):
            if status in statuses:
                return status.lower()
        return "pass"

    def to_json(self) -> str:
        """The same content for machines."""
        return writers.to_json(
            {
                "status": self.status,
                "causes": [
                    {
                        "fault": c.fault,
                        "name": c.name,
                        "status": c.status,
                        "finding": c.finding,
                        "explains": c.explains,
                    }
                    for c in self.causes
                ],
                "findings": self.findings,
            },
            indent=1,
        )

    def to_html(self, name: str = "program") -> str:
        """One page that opens offline."""
        from recipe_jax.report import diagnosis

        return diagnosis.render(self, name)

    def __str__(self) -> str:
        """The causes as a person reads them, and what was not asked."""
        passed = sum(finding.status == Status.PASS for finding in self.findings)
        lines = [] if self.causes else [f"Nothing found: {passed} checks passed."]
        for cause in self.causes:
            lines.append(f"{cause.finding.status} {cause.fault} {cause.name}".replace("  ", " "))
            lines.append(f"     {cause.finding.summary}")
            lines.append(f"     -> {cause.finding.remedy}")
            if cause.explains:
                others = sorted({f"{f.fault} {NAMES.get(f.fault, '')}" for f in cause.explains})
                lines.append(f"     explains {'; '.join(others)}")
        skipped = [finding for finding in self.findings if finding.status == Status.SKIP]
        for reason in dict.fromkeys(finding.summary for finding in skipped):
            names = ", ".join(each.check for each in skipped if each.summary == reason)
            lines.append(f"SKIP {names}: {reason}")
        return "\n".join(lines)


def with_data(found: Diagnosis, looks: Sequence[Finding]) -> Diagnosis:
    """With what the examples themselves show: causes of their own are what no other cause tells."""
    told = {each.fault for cause in found.causes for each in (cause.finding, *cause.explains)}
    wrong = [each for each in looks if each.status in (Status.FAIL, Status.WARN)]
    new = [Cause(each.fault, each) for each in wrong if each.fault in NAMES.keys() - told]
    new.sort(key=lambda cause: cause.finding.status != Status.FAIL)
    return Diagnosis((*found.findings, *looks), (*found.causes, *new))


def diagnose(experiment: Program) -> Diagnosis:
    """All checks on a program made by `recipe_jax.experiment`.

    Nothing that the program does raises here: a crash of one of its functions is a finding.
    """
    findings = _asking.answers(experiment)
    return Diagnosis(tuple(findings), tuple(_asking.causes(findings)))
