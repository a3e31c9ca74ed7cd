"""What a workdir says, in the order in which it is told: the content of report.json."""

import collections
import csv
import json
import pathlib
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from recipe_jax import writers
from recipe_jax.types import Status, UserError

STAGES = ("data", "skeleton", "overfit", "regularise", "tune", "squeeze")
FILES = (
    *("run.json", "config.json", "findings.json", "metrics.jsonl", "trials.csv"),
    "model/model.json",
)
"""What is read of a workdir."""
WORDS = ("stage", "request", "trial", "status", "goes_on")
"""The columns of trials.csv that are no numbers, whatever they look like."""


def collect(workdir: pathlib.Path, *, lenient: bool = False) -> dict[str, Any]:
    """Everything that the page shows; files that a stopped run did not write are left out.

    lenient: so are files that are damaged, which are a UserError else.
    """

    def attempt(reader: Callable[[], Any], default: Any) -> Any:
        try:
            return reader()
        except (UserError, OSError, ValueError, csv.Error):
            if not lenient:
                raise
            return default

    def json_of(name: str, default: Any) -> Any:
        return attempt(lambda: read(workdir / name, default), default)

    try:
        return _collected(workdir, json_of, attempt)
    except UserError:
        raise
    except (
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        ValueError,
        csv.Error,
    ) as error:
        raise UserError(
            f"The files of {workdir} are not as a run writes them ({type(error).__name__}: "
            f"{' '.join(str(error).split())}); run the command again."
        ) from error


def _collected(
    workdir: pathlib.Path,
    json_of: Callable[[str, Any], Any],
    attempt: Callable[[Callable[[], Any], Any], Any],
) -> dict[str, Any]:
    """The content, by what reads a JSON file of the workdir, and by what reads anything."""
    run, findings = json_of("run.json", {}), _anchored(json_of("findings.json", []))
    stages, metrics = _stages(run, findings), workdir / "metrics.jsonl"
    return {
        "workdir": str(workdir),
        "name": run.get("name") or workdir.resolve().name,
        "status": run.get("status") or "running",
        "overrides": run.get("overrides") or {},
        "verdict": _verdict(run, stages, model=json_of("model/model.json", {})),
        "stages": stages,
        "trials": attempt(lambda: trials(workdir / "trials.csv"), {"columns": [], "rows": []}),
        "curves": attempt(lambda: _curves(writers.read_jsonl(metrics)), []),
        "run": {key: value for key, value in run.items() if key != "stages"},
        "config": json_of("config.json", {}),
    }


def _stages(run: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The stages in the recipe's order, each with its findings; also one that run.json forgot."""
    known = {stage["name"]: dict(stage) for stage in run.get("stages") or []}
    for finding in findings:
        known.setdefault(finding["stage"], {"name": finding["stage"]})
    order = sorted(known, key=lambda name: STAGES.index(name) if name in STAGES else len(STAGES))
    return [
        {
            "state": "",
            "expects": "",
            "decision": "",
            **known[name],
            "anchor": f"stage-{_word(name)}",
            "findings": [finding for finding in findings if finding["stage"] == name],
        }
        for name in order
    ]


def _verdict(
    run: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], *, model: Mapping[str, Any]
) -> dict[str, Any]:
    """The first screen: how it ended, the score, what failed, and what to do next."""
    findings = [finding for stage in stages for finding in stage["findings"]]
    counts = collections.Counter(finding["status"] for finding in findings)
    tested = [finding for finding in findings if finding["check"] == "test_score"]
    score = tested[-1]["evidence"] if tested else None
    bad = [f for status in (Status.FAIL, Status.WARN) for f in findings if f["status"] == status]
    remedies = {f["remedy"]: f["anchor"] for f in reversed(bad) if f["remedy"]}
    steps = [{"text": text, "anchor": anchor} for text, anchor in reversed(remedies.items())]
    order = {finding["remedy"]: place for place, finding in reversed(list(enumerate(bad)))}
    steps.sort(key=lambda step: order[step["text"]])
    return {
        "headline": _headline(run, stages, counts[Status.FAIL], score),
        "score": score if score and score.get("value") is not None else None,
        "counts": {status.value: counts[status.value] for status in reversed(Status)},
        "failed": [finding["anchor"] for finding in bad if finding["status"] == Status.FAIL],
        "warned": [finding["anchor"] for finding in bad if finding["status"] == Status.WARN],
        "next": [*steps[:6], *_tries(findings)],
        "has_model": bool(model),
        "new_data": {"image": "new.npy", "sequence": "new.npy", "text": "new.txt"}.get(
            str(model.get("modality")), "new.csv"
        ),
    }


def _tries(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the diagnosis would try next, each with its command."""
    return [
        {"text": f"Try {step['name']}:", "command": step["command"], "anchor": finding["anchor"]}
        for finding in findings
        if finding["check"] == "verdict"
        for step in finding["evidence"].get("next", ())
    ]


def _headline(
    run: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], failed: int, score: Any
) -> str:
    """One sentence on how it ended."""
    checks = f"{failed} check{'' if failed == 1 else 's'} failed"
    status = run.get("status")
    if status == "gate closed":
        closed = [stage["name"] for stage in stages if stage["state"] == "gate closed"]
        where = f" at the gate of {closed[-1]}" if closed else " at a gate"
        return f"Stopped{where}: {checks}."
    if status != "done":
        going = [stage["name"] for stage in stages if stage["state"] == "running"]
        where = f" in {going[-1]}" if going else ""
        return f"Not finished: the run is{where or ' under way'}, or was stopped there."
    if failed:
        return f"Finished, but {checks}."
    return "Finished; every gate passed." if score else "Finished."


def _anchored(findings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Findings with places to link to: the row ids, the first finding of a row having it alone."""
    taken: collections.Counter[str] = collections.Counter()
    result = []
    for finding in findings:
        rows = str(finding.get("row") or "").split() or [str(finding.get("check") or "finding")]
        anchors = []
        for row in map(_word, rows):
            taken[row] += 1
            anchors.append(row if taken[row] == 1 else f"{row}-{taken[row]}")
        whole = {"stage": "", "row": "", "check": "", "fault": "", "status": "SKIP", "summary": ""}
        result.append(
            {
                **whole,
                "remedy": "",
                **finding,
                "evidence": finding.get("evidence") or {},
                "anchor": anchors[0],
                "anchors": anchors,
            }
        )
    return result


def _curves(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Losses of all trials of a request, by step: median, lowest, highest."""
    losses: dict[tuple[str, str, str], dict[int, list[float]]] = {}
    for row in rows:
        if isinstance(row.get("loss"), int | float):
            place = tuple(str(row.get(name) or "") for name in ("stage", "request", "split"))
            steps = losses.setdefault(place, {})  # pyright: ignore[reportArgumentType]
            steps.setdefault(int(row.get("step") or 0), []).append(row["loss"])
    return [
        {
            "stage": stage,
            "request": request,
            "split": split,
            "trials": max(map(len, steps.values())),
            "steps": sorted(steps),
            "median": [statistics.median(steps[step]) for step in sorted(steps)],
            "low": [min(steps[step]) for step in sorted(steps)],
            "high": [max(steps[step]) for step in sorted(steps)],
        }
        for (stage, request, split), steps in losses.items()
    ]


def trials(path: pathlib.Path) -> dict[str, Any]:
    """The table of trials, numbers as numbers; names, which may look like numbers, as they are."""
    if not path.exists():
        return {"columns": [], "rows": []}
    with path.open(newline="", encoding="utf-8") as file:
        columns, *rows = [*csv.reader(file)] or [[]]
    words = {place for place, column in enumerate(columns) if column in WORDS}
    return {
        "columns": columns,
        "rows": [
            [cell if place in words else _number(cell) for place, cell in enumerate(row)]
            for row in rows
        ],
    }


def _number(cell: str) -> Any:
    """A cell of CSV as a number where it is one."""
    if not cell:
        return None
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def read(path: pathlib.Path, default: Any) -> Any:
    """A JSON file's content in strict form; the default where there is no such file."""
    if not path.exists():
        return default
    try:
        content = writers.plain(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); run the command again.") from error
    if not isinstance(content, type(default)):
        raise UserError(
            f"{path} should hold a JSON {type(default).__name__}; run the command again."
        )
    return content


def _word(text: str) -> str:
    """Fit to be an id in a page."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "x"
