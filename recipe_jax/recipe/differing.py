"""What differs between finished runs besides their scores: settings, code, findings, cost."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Run(NamedTuple):
    """What a workdir says.

    name: short, no two runs share one; path: of the workdir; record: run.json; settings: of
    config.json, "section.key" -> value; findings: findings.json; trials: the rows of trials.csv;
    looks: (stage, trial) -> its rows of metrics.jsonl; answers: trial -> metric -> (examples,) of
    the validation split, of the trials that are known so closely; unanswered: why none is, where
    that was to be expected.
    """

    name: str
    path: str
    record: Mapping[str, Any]
    settings: Mapping[str, Any]
    findings: Sequence[Mapping[str, Any]]
    trials: Sequence[Mapping[str, Any]]
    looks: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]] = {}
    answers: Mapping[str, Mapping[str, np.ndarray]] = {}
    unanswered: str = ""

    @property
    def data(self) -> Mapping[str, Any]:
        """What run.json says of the data."""
        return self.record.get("data") or {}

    @property
    def stages(self) -> Mapping[str, Mapping[str, Any]]:
        """Stage by name, in the order in which they ran."""
        return {stage["name"]: stage for stage in self.record.get("stages") or []}


def same_data(base: Run, other: Run) -> bool:
    """Whether both are scored on the same examples: what they train on may differ."""
    return _same(base, other, "held_fingerprint") or same_training(base, other)


def same_training(base: Run, other: Run) -> bool:
    """Whether all splits hold the same examples."""
    return _same(base, other, "fingerprint")


def _same(base: Run, other: Run, name: str) -> bool:
    fingerprint = base.data.get(name)
    return bool(fingerprint) and fingerprint == other.data.get(name)


def settings(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The settings that are not the same in all runs; None where a run has no such setting."""
    return _rows({path: [run.settings.get(path) for run in runs] for path in _paths(runs)}, "path")


def changed(base: Run, other: Run) -> list[str]:
    """What was changed, one entry a thing: of a section with another plug-in the name alone, since
    its other keys come with it. How often to save is no change."""
    told = []
    for path in _paths([base, other]):
        section = path.partition(".")[0]
        name = f"{section}.name"
        renamed = base.settings.get(name) != other.settings.get(name)
        same = base.settings.get(path) == other.settings.get(path)
        if same or section == "checkpoint" or (renamed and path != name):
            continue
        told.append(path)
    return told


def provenance(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Code, versions, devices and data, where they are not the same in all runs."""
    found: dict[str, list[Any]] = {}
    for place, run in enumerate(runs):
        for what, value in _provenance(run).items():
            found.setdefault(what, [None] * len(runs))[place] = value
    return _rows(found, "what")


def findings(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The findings that do not have one status in all runs; None where it was not asked.

    A finding is the same where stage, check and row are; of several that share them, the first is
    held against the first.
    """
    found: dict[tuple[str, str, str, int], list[Any]] = {}
    for place, run in enumerate(runs):
        taken: collections.Counter[tuple[str, str, str]] = collections.Counter()
        for each in run.findings:
            key = tuple(str(each.get(name) or "") for name in ("stage", "check", "row"))
            told = {"status": each.get("status"), "summary": each.get("summary")}
            found.setdefault((*key, taken[key]), [None] * len(runs))[place] = told  # pyright: ignore[reportArgumentType]
            taken[key] += 1  # pyright: ignore[reportArgumentType]
    return [
        {
            "stage": stage,
            "check": check,
            "row": row,
            "statuses": [told and told["status"] for told in values],
            "summaries": [told and told["summary"] for told in values],
        }
        for (stage, check, row, _), values in found.items()
        if len({told and told["status"] for told in values}) > 1
    ]


def decisions(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What stages decided, where that is not the same in all runs; None for one not reached."""
    names = dict.fromkeys(name for run in runs for name in run.stages)
    found = {
        name: [run.stages.get(name, {}).get("decision") or None for run in runs] for name in names
    }
    return _rows(found, "stage")


def cost(runs: Sequence[Run]) -> dict[str, Any]:
    """Seconds by the clock, lanes trained and steps that they made: in all, and by stage."""
    names = dict.fromkeys(name for run in runs for name in run.stages)

    def of(run: Run, stage: str | None) -> dict[str, Any]:
        rows = [row for row in run.trials if stage is None or row.get("stage") == stage]
        part = run.record if stage is None else run.stages.get(stage, {})
        return {
            "seconds": part.get("total_seconds" if stage is None else "run_seconds"),
            "lanes": len(rows),
            "lane_steps": sum(row.get("steps") or 0 for row in rows),
        }

    return {
        "total": [of(run, None) for run in runs],
        "stages": [{"stage": name, "runs": [of(run, name) for run in runs]} for name in names],
    }


def other_ground(base: Run, other: Run) -> list[str]:
    """What two runs stand on besides settings and data, where it differs: code, packages, devices;
    a difference in scores may come from there."""
    found = []
    if base.record.get("code") != other.record.get("code"):
        found.append("code")
    if base.record.get("packages") != other.record.get("packages"):
        found.append("package versions")
    kinds = [(run.record.get("devices") or {}).get("kind") for run in (base, other)]
    if kinds[0] != kinds[1]:
        found.append("devices")
    return found


def openings(run: Run) -> list[str]:
    """Why the test split was opened, once for every time."""
    return [str(each.get("reason") or "") for each in run.record.get("test_openings") or []]


def _provenance(run: Run) -> dict[str, Any]:
    record = run.record
    git, devices = record.get("git") or {}, record.get("devices") or {}
    return {
        "command": record.get("what"),
        "commit": git.get("commit"),
        "changes in no commit": git.get("dirty"),
        "files of recipe_jax": (record.get("code") or "")[:16] or None,
        **{f"package {name}": v for name, v in (record.get("packages") or {}).items()},
        "python": record.get("python"),
        "platform": record.get("platform"),
        **{f"devices {name}": value for name, value in devices.items()},
        "xla_flags": record.get("xla_flags"),
        "data": run.data.get("name"),
        **{f"{name} examples": n for name, n in (run.data.get("examples") or {}).items()},
        "data fingerprint": (run.data.get("fingerprint") or "")[:16] or None,
    }


def _paths(runs: Sequence[Run]) -> list[str]:
    return sorted({path for run in runs for path in run.settings})


def _rows(found: Mapping[str, list[Any]], name: str) -> list[dict[str, Any]]:
    """Those whose values are not all the same. Lists are values too, so no set is made of them."""
    return [
        {name: what, "values": values}
        for what, values in found.items()
        if any(value != values[0] for value in values)
    ]
