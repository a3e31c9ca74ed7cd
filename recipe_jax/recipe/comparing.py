"""Finished runs held against the first of them (ENV5): a ledger of changes, kept or dropped.

The level, 5 %, is shared out among the runs that are held against the first (Bonferroni).
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recipe_jax.recipe import differing, scoring
from recipe_jax.recipe.deciding import LEVEL
from recipe_jax.recipe.differing import Run
from recipe_jax.recipe.scoring import BETTER, NOT_FOUND, OPEN, WORSE, Difference, Score
from recipe_jax.recipe.standing import curves, settings, standing

DECISIONS = {BETTER: "keep", WORSE: "drop", NOT_FOUND: "drop", OPEN: "open"}
"""A change that makes no difference is not worth having."""
WORKDIR = ("workdir", "overwrite")


def compare(runs: Sequence[Run]) -> dict[str, Any]:
    """All that is told of two or more runs, as data: each beside the first one."""
    level = 1 - LEVEL / (len(runs) - 1)
    metric = scoring.deciding_metric(runs)
    scores = [*scoring.of_validation(runs, level), *scoring.of_test(runs, level)]
    entries = ledger(runs, scores, metric)
    return {
        "runs": [
            {"name": run.name, "path": run.path, "title": run.record.get("name")}
            | {key: run.record.get(key) for key in ("what", "status")}
            for run in runs
        ],
        "headline": _headline(runs[0].name, entries),
        "notes": _notes(runs, scores, entries),
        "level": level,
        "metric": metric,
        "ledger": entries,
        "settings": differing.settings(runs),
        "provenance": differing.provenance(runs),
        "scores": scores,
        "curves": curves(runs, ("loss", metric)),
        "findings": differing.findings(runs),
        "decisions": differing.decisions(runs),
        "cost": differing.cost(runs),
        "test_openings": [differing.openings(run) for run in runs],
    }


def wanted(runs: Sequence[Run]) -> list[set[tuple[str, str]]]:
    """Of every run the (stage, trial) whose rows of metrics.jsonl `compare` reads."""
    stages = standing(runs).values()
    return [
        {(row["stage"], row["trial"]) for chosen in stages for row in chosen[place].values()}
        for place in range(len(runs))
    ]


def ledger(runs: Sequence[Run], scores: Sequence[Score], metric: str) -> list[dict[str, Any]]:
    """A line a run but the first: what was changed, where its trials had come to by themselves,
    what it gave, and whether to keep it."""
    entries = []
    for place, run in enumerate(runs[1:], 1):
        difference = _decisive(scores, place, metric)
        changed = differing.changed(runs[0], run)
        entries.append(
            {
                "run": run.name,
                "changed": [
                    {"path": path, "values": [each.settings.get(path) for each in (runs[0], run)]}
                    for path in changed
                ],
                "found": _found(runs, place),
                "metric": metric,
                "difference": difference,
                "decision": DECISIONS[difference.verdict],
            }
        )
    return entries


def more_seeds(run: Run) -> str:
    """The command that measures what a run trained on eight seeds; "" where it is not known."""
    words = [str(word) for word in run.record.get("command") or []][1:]
    more = {
        "train": ("sweep", "--config.search.trials=1", "--config.sweep.seeds=8"),
        "run": ("run", "--config.recipe.members=8"),
    }.get(str(run.record.get("what")))
    if more is None or not words:
        return ""
    kept, skipped = [], False
    for word in words:
        name, _, value = word.lstrip("-").partition("=")
        own = word.startswith("-") and name in WORKDIR
        if not (own or skipped):
            kept.append(word)
        skipped = own and name == "workdir" and not value
    front = ["python", "-m", f"experiments.{more[0]}"]
    return shlex.join([*front, *kept, *more[1:], "--workdir", f"{run.path}-seeds"])


def _decisive(scores: Sequence[Score], place: int, metric: str) -> Difference:
    """The difference that decides: on validation, of the metric that decides."""
    found = [
        score.differences[place]
        for score in scores
        if score.split == "validation" and score.metric == metric
    ]
    told = next((each for each in found if each is not None), None)
    return told or scoring.unjudged(np.nan, "they have no trained stage in common")


def _found(runs: Sequence[Run], place: int) -> list[dict[str, Any]]:
    """Settings of the trials that differ, and not because the configs do: what each run found."""
    pair, found = (runs[0], runs[place]), []
    for chosen in standing(runs).values():
        if not (chosen[0] and chosen[place]):
            continue
        rows = [next(iter(each.values())) for each in (chosen[0], chosen[place])]
        for path in sorted({path for row in rows for path in settings(row)}):
            given = [run.settings.get(path) for run in pair]
            values = [settings(row).get(path, own) for row, own in zip(rows, given)]
            if values[0] != values[1] and values != given:
                found.append({"path": path, "values": values})
    return found


def _headline(base: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """The verdict in one sentence."""
    said = [entry["difference"].verdict for entry in entries]
    run, metric = entries[0]["run"], entries[0]["metric"]
    if len(entries) > 1:
        counts = [f"{said.count(each)} {each}" for each in dict.fromkeys(said)]
        return f"Beside {base}, by validation {metric}: {', '.join(counts)}."
    if said[0] == OPEN:
        note = entries[0]["difference"].note or "it is not known whether more is better"
        return f"{run} beside {base} is not judged: {note}."
    if said[0] == NOT_FOUND:
        return f"No difference found between {run} and {base}, by validation {metric}."
    return f"{run} is {said[0]} than {base}, by validation {metric}."


def _notes(
    runs: Sequence[Run], scores: Sequence[Score], entries: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What a reader must know before the numbers."""
    notes = []
    for run in runs:
        status = run.record.get("status")
        if status == "gate closed":
            notes.append(f"{run.name} stopped at a gate: compared is what it had come to.")
        elif status != "done":
            notes.append(f"{run.name} is not finished: compared is what is there.")
    notes += [
        f"How {run.name} answers single examples is not known ({run.unanswered}): its differences "
        "are paired by seed alone."
        for run in runs
        if run.unanswered
    ]
    for run, entry in zip(runs[1:], entries):
        notes += _cautions(runs[0], run, entry)
    validated = [score for score in scores if score.split == "validation"]
    for place, run in enumerate(runs):
        counts = [value.count for score in validated if (value := score.values[place])]
        command = more_seeds(run)
        if counts and max(counts) == 1 and command:
            notes.append(f"{run.name} has one seed, which gives no interval. For eight: {command}")
    count = len(runs) - 1
    if count > 1:
        notes.append(
            f"{count} runs are held against {runs[0].name}, so that every interval is one of "
            f"{100 * (1 - LEVEL / count):.4g} %: then all of one metric together hold at 95 % "
            "(Bonferroni)."
        )
    return notes


def _cautions(base: Run, run: Run, entry: Mapping[str, Any]) -> list[str]:
    """What speaks against taking a difference for that of the change."""
    notes, both = [], f"{run.name} and {base.name}"
    if not differing.same_data(base, run):
        notes.append(
            f"{both} have other data, or other splits of them: their scores are not of the same "
            "examples, and nothing is judged by them."
        )
    elif not differing.same_training(base, run):
        notes.append(f"{both} train on other examples; what they are scored on is the same.")
    made = [f"experiments.{each.record.get('what')}" for each in (base, run)]
    if made[0] != made[1]:
        notes.append(f"{base.name} was made by {made[0]}, {run.name} by {made[1]}.")
    if len(entry["changed"]) > 1:
        notes.append(
            f"{both} differ in {len(entry['changed'])} settings: which of them makes a difference "
            "cannot be told. Change one at a time."
        )
    if entry["found"]:
        told = ", ".join(
            f"{each['path']} {' against '.join(map(_short, reversed(each['values'])))}"
            for each in entry["found"]
        )
        notes.append(f"{both} came by themselves to other settings: {told}.")
    by_seed = entry["difference"].by_seed
    if entry["changed"] and len(by_seed) and not any(by_seed):
        notes.append(
            f"{both} have the same {entry['metric']} seed by seed: what was changed may not have "
            "reached the trials, because a stage decided it anew."
        )
    ground = differing.other_ground(base, run)
    if ground:
        notes.append(f"{both} differ in {' and '.join(ground)}: a difference may come from there.")
    if base.settings.get("seed") != run.settings.get("seed"):
        notes.append(
            f"{both} have another `seed`: their pairs share no random draws, and the intervals are "
            "wider than need be."
        )
    return notes


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
