"""Are inputs there twice: inside a split, with another target, or in two splits?"""

import collections
from collections.abc import Iterator
from typing import Any

import numpy as np

from recipe_jax.checks import data_audit, repeats
from recipe_jax.probes.examples import Examples
from recipe_jax.types import Finding, Split, Status, Task

SHOWN_GROUPS, SHOWN_TWINS = 12, 4
MANY = 0.3
"""From such a share of repeated training examples on it is said, unless they repeat by nature."""

Place = tuple[str, int]


def look(examples: Examples) -> Iterator[Finding]:
    """By the hash of what enters the network; of the test split the hashes alone are compared.

    Splits are made so that equal inputs fall into one of them.
    """
    task = examples.task
    places: dict[bytes, list[Place]] = collections.defaultdict(list)
    for name in ("train", "validation"):
        for i, digest in enumerate(getattr(task, name).digests()):
            places[digest].append((name, i))
    in_test = sum(digest in places for digest in set(task.test.digests()))
    # Oversampling repeats examples on purpose: one example is one id.
    groups = [_distinct(task, found) for found in places.values()]
    groups = [found for found in groups if len(found) > 1]
    across = [found for found in groups if len({split for split, _ in found}) > 1]
    within = sum(len(found) - 1 for found in groups if len({s for s, _ in found}) == 1)
    torn = [found for found in groups if len({_target(task, *place) for place in found}) > 1]
    summary = (
        f"{within} repeated examples inside a split, {len(across)} inputs in both train and "
        f"validation, {in_test} test inputs in one of them, {len(torn)} equal inputs with "
        "different targets."
    )
    # Those that cross a border first, then those that contradict each other.
    told = sorted(groups, key=lambda found: (found not in across, found not in torn))
    evidence: dict[str, Any] = {
        "within_train": within,
        "across_splits": len(across),
        "across_test": in_test,
        "conflicting": len(torn),
    }
    if told:
        evidence |= _groups(task, told[:SHOWN_GROUPS])
        evidence["pairs"] = [[str(_split(task, s).ids[i]) for s, i in found] for found in told[:20]]
    yield Finding(
        check="duplicates",
        row="DATA1 DATA6",
        summary=summary,
        evidence=evidence,
        **_verdict(task, across=len(across) + in_test, torn=len(torn), within=within),
    )


def _verdict(task: Task, *, across: int, torn: int, within: int) -> dict[str, Any]:
    if across:
        return {
            "status": Status.FAIL,
            "fault": "A4",
            "certainty": "exact",
            "remedy": "The score on validation is flattered: give the reader data without "
            "repetitions.",
        }
    if torn:
        return {
            "status": Status.WARN,
            "fault": "A3",
            "certainty": "exact",
            "remedy": "No model can get these right: look at the examples named, and mend their "
            "targets.",
        }
    if within > MANY * len(task.train.targets) and not repeats.by_chance(task.train.inputs, within):
        return {
            "status": Status.WARN,
            "fault": "A6",
            "certainty": "heuristic",
            "remedy": "There is less data than there are rows: leave repeats out, unless they were "
            "drawn on purpose.",
        }
    return {"status": Status.PASS}


def _groups(task: Task, groups: list[list[Place]]) -> dict[str, Any]:
    """Equal inputs as a person sees them; `group` says which belong together."""
    shown = [
        (number, place)
        for number, found in enumerate(groups)
        for place in _telling(task, found)[:SHOWN_TWINS]
    ]
    parts = [_split(task, split) for _, (split, _) in shown]
    rows = [part.first(i + 1) for part, (_, (_, i)) in zip(parts, shown)]
    together = Split(*(np.stack([each[-1] for each in field]) for field in zip(*rows)))
    return data_audit.picture(task, together, np.arange(len(shown))) | {
        "group": [number for number, _ in shown],
        "split": [split for _, (split, _) in shown],
    }


def _telling(task: Task, found: list[Place]) -> list[Place]:
    """First one of each target and split, then the others: what differs is seen first."""
    first = list({(place[0], _target(task, *place)): place for place in reversed(found)}.values())
    return [*reversed(first), *(place for place in found if place not in first)]


def _split(task: Task, name: str) -> Split:
    return task.train if name == "train" else task.validation


def _target(task: Task, split: str, i: int) -> bytes:
    return np.asarray(_split(task, split).targets[i]).tobytes()


def _distinct(task: Task, places: list[Place]) -> list[Place]:
    return list({(s, str(_split(task, s).ids[i])): (s, i) for s, i in places}.values())
