"""Finished runs beside the first of them: which scores differ, paired, and by how much (ENV5).

Two runs of one seed share their random draws, so what differs between them is the change and little
else: differences are taken seed by seed. Of the test split only what a run has told is known: where
that is a number an example, differences are taken example by example; else the intervals of both
are put together as if each had been tested on examples of its own.

The rule is one everywhere: a run is better, or worse, where the whole interval of the difference
lies on that side of zero. The level, 5 %, is shared out among the runs that are held against the
first (Bonferroni).
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from recipe_jax.recipe import differing
from recipe_jax.recipe.base import Interval, paired_interval
from recipe_jax.recipe.deciding import LEVEL, paired_gains
from recipe_jax.recipe.differing import Run
from recipe_jax.recipe.searching import AGAIN

BETTER, WORSE, NOT_FOUND, OPEN = "better", "worse", "no difference found", "not judged"
DECISIONS = {BETTER: "keep", WORSE: "drop", NOT_FOUND: "drop", OPEN: "open"}
"""A change that makes no difference is not worth having."""
DIRECTIONS = {
    **dict.fromkeys(("accuracy", "r2"), 1),
    **dict.fromkeys(("loss", "mse", "mae", "nats_per_char", "bits_per_char", "perplexity"), -1),
}
"""Whether more of a metric is better."""
NO_METRICS = ("stage", "request", "trial", "step", "epoch", "split", "batch_loss", "grad_norm")
"""What a row of metrics.jsonl holds besides metrics of its split."""

Row = Mapping[str, Any]
Chosen = Mapping[tuple[Any, ...], Row]
"""Trials by what pairs them: request, seed, fold, resampling."""
NOWHERE = Interval(np.nan, -np.inf, np.inf)


class Value(NamedTuple):
    """A score of one run with the ends of its own interval, NaN where it has none; count: trials
    that it is the mean of, or test examples."""

    value: float
    low: float
    high: float
    count: int


class Difference(NamedTuple):
    """A run's score minus the first run's. interval: infinitely wide where there is none;
    paired_by: "seed", "example", or "" where it is not paired; pairs: how many; each: (pairs,) of it
    by seed; note: what a reader must know to read it right."""

    interval: Interval
    verdict: str
    paired_by: str = ""
    pairs: int = 0
    each: Sequence[float] = ()
    note: str = ""


class Score(NamedTuple):
    """One metric of all runs, None for a run that has not measured it. of: "trials" for the mean
    over trials of a stage, "members" likewise on test, "model" for what the run left to use."""

    split: str
    stage: str
    metric: str
    of: str
    direction: int
    values: Sequence[Value | None]
    differences: Sequence[Difference | None]


def compare(runs: Sequence[Run]) -> dict[str, Any]:
    """All that is told of runs beside the first one."""
    level = 1 - LEVEL / (len(runs) - 1)
    metric = deciding_metric(runs)
    scores = [*_validation(runs, level), *_test(runs, level)]
    ledger = [
        _entry(runs, place, _decisive(scores, place, metric), metric)
        for place in range(1, len(runs))
    ]
    return {
        "runs": [_told(run) for run in runs],
        "headline": _headline(runs, ledger),
        "notes": _notes(runs, scores, ledger),
        "level": level,
        "metric": metric,
        "ledger": ledger,
        "settings": differing.settings(runs),
        "provenance": differing.provenance(runs),
        "scores": scores,
        "curves": _curves(runs, metric),
        "findings": differing.findings(runs),
        "decisions": differing.decisions(runs),
        "cost": differing.cost(runs),
        "test_openings": [differing.openings(run) for run in runs],
    }


def wanted(runs: Sequence[Run]) -> list[set[tuple[str, str]]]:
    """Of every run the (stage, trial) whose rows of metrics.jsonl `compare` reads."""
    return [
        {
            (stage, str(row["trial"]))
            for stage, chosen in _listed(runs).items()
            for row in chosen[place].values()
        }
        for place in range(len(runs))
    ]


def kind(run: Run) -> str:
    """ "classification", "regression", "next_token", or "" where the objective is another."""
    name = run.settings.get("objective.name")
    return str(name) if name in ("classification", "regression", "next_token") else ""


def deciding_metric(runs: Sequence[Run]) -> str:
    """The metric that decided in the first run that tells one; the loss where none does."""
    for run in runs:
        for finding in reversed(run.findings):
            metric = (finding.get("evidence") or {}).get("metric")
            if isinstance(metric, str):
                return metric
    return "loss"


# --- The rule --------------------------------------------------------------------------------


def verdict(difference: Interval, direction: int) -> str:
    """What an interval of a difference says; direction: 1 where more is better, -1 where less is,
    0 where that is not known."""
    if not direction or not np.isfinite([difference.low, difference.high]).all():
        return OPEN
    if difference.low <= 0.0 <= difference.high:
        return NOT_FOUND
    return BETTER if direction * difference.mean > 0 else WORSE


def unpaired_interval(before: Value, after: Value, confidence: float = 0.95) -> Interval:
    """The interval of after - before from the 95 % intervals of two samples (Newcombe 1998, method
    10); for another confidence they are stretched as normal ones are.

    Where both were measured on the same examples it is wider than need be, never narrower, as long
    as what is hard for one is hard for the other.
    """
    mean = after.value - before.value
    stretch = stats.norm.ppf(0.5 + confidence / 2) / stats.norm.ppf(0.975)
    down = np.hypot(after.value - after.low, before.high - before.value)
    up = np.hypot(after.high - after.value, before.value - before.low)
    return Interval(mean, mean - float(stretch * down), mean + float(stretch * up))


def _judged(interval: Interval, direction: int, **fields: Any) -> Difference:
    return Difference(interval, verdict(interval, direction), **fields)


def _unjudged(mean: float, note: str) -> Difference:
    return Difference(NOWHERE._replace(mean=mean), OPEN, note=note)


def _over_seeds(
    before: np.ndarray, after: np.ndarray, *, direction: int, level: float, rounding: float
) -> Difference:
    """From scores (seeds,) of both, NaN where a run diverged."""
    sign = direction or 1
    each = sign * paired_gains(sign * after[:, None], sign * before[:, None])[:, 0]
    interval = paired_interval(each, level, least_variance=rounding)
    lost = [int(np.isnan(scores).sum()) for scores in (before, after)]
    note = "one seed gives no interval" if len(each) == 1 else ""
    if any(lost):
        note = (
            f"of {len(each)} seeds {lost[0]} diverged in the first run and {lost[1]} in this one; "
            "such a seed counts as much lost as there was"
        )
    fields = {"paired_by": "seed", "pairs": len(each), "each": each.tolist(), "note": note}
    return _judged(interval, direction, **fields)


def _objection(base: Run, other: Run, metric: str, rows: tuple[Row, Row] = ({}, {})) -> str:
    """Why scores of two runs say nothing of each other; "" where they do. rows: of their trials."""
    if not differing.same_data(base, other):
        return "other data, so not the same examples"
    if metric != "loss":
        return ""
    before, after = _loss_settings(base, rows[0]), _loss_settings(other, rows[1])
    paths = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    if not paths:
        return ""
    return f"the loss is another one ({', '.join(paths)})"


def _loss_settings(run: Run, row: Row) -> dict[str, Any]:
    """What a loss counts: the objective's settings, without the penalty, which no metric holds."""
    found = {**run.settings, **{path: value for path, value in row.items() if value is not None}}
    return {
        path: value
        for path, value in found.items()
        if path.startswith("objective.") and path != "objective.l2"
    }


# --- Which trials ----------------------------------------------------------------------------


def _listed(runs: Sequence[Run]) -> dict[str, list[Chosen]]:
    """Stage -> the trials of every run that stand for it. The stages are the last of the first run,
    and the last that each other run shares with it; a run that shares none has its own last."""
    base = runs[0]
    own = [_last_shared(base, run) or _last(run) for run in runs]
    return {
        stage: [
            _final_trials(run, stage) if mine == stage or run is base else {}
            for run, mine in zip(runs, own)
        ]
        for stage in dict.fromkeys(own)
        if stage
    }


def _stages(run: Run) -> list[str]:
    """Stages that trained, in order."""
    return list(dict.fromkeys(str(row["stage"]) for row in run.trials if _is_whole(row)))


def _last(run: Run) -> str:
    return ["", *_stages(run)][-1]


def _last_shared(base: Run, other: Run) -> str:
    there = _stages(other)
    return ["", *(stage for stage in _stages(base) if stage in there)][-1]


def _is_whole(row: Row) -> bool:
    """The trial saw its inputs, and all examples."""
    return row.get("show_inputs") != "false" and row.get("num_examples") is None


def _final_trials(run: Run, stage: str) -> Chosen:
    """The trials that stand for a stage: all where they have one setting; else, of its last
    request, those of the setting that a search chose, or of the first one, which stood before."""
    rows = [row for row in run.trials if row["stage"] == stage and _is_whole(row)]
    if any(_settings(row) != _settings(rows[0]) for row in rows):
        rows = [row for row in rows if row["request"] == rows[-1]["request"]]
        chosen = {}
        if rows[0]["request"] == AGAIN:
            chosen = _evidence(run, "search", stage).get("winner_settings") or {}
        asked = {**_settings(rows[0]), **chosen}
        rows = [row for row in rows if _settings(row) == asked]
    return {
        (row["request"], row.get("seed"), row.get("fold"), row.get("resampled")): row
        for row in rows
    }


def _settings(row: Row) -> dict[str, Any]:
    """The columns of trials.csv that are settings: "section.key"."""
    return {path: value for path, value in row.items() if "." in path and value is not None}


def _evidence(run: Run, check: str, stage: str | None = None) -> Mapping[str, Any]:
    """Of the last finding of that check; empty where there is none."""
    found = [
        finding.get("evidence") or {}
        for finding in run.findings
        if finding.get("check") == check and stage in (None, finding.get("stage"))
    ]
    return found[-1] if found else {}


# --- Scores ----------------------------------------------------------------------------------


def _validation(runs: Sequence[Run], level: float) -> list[Score]:
    """Every metric at the best evaluation of trials, as mean over them."""
    base, told = runs[0], []
    for stage, chosen in _listed(runs).items():
        best = [
            {key: _at_best(run, stage, row) for key, row in each.items()}
            for run, each in zip(runs, chosen)
        ]
        for metric in dict.fromkeys(name for each in best for row in each.values() for name in row):
            direction = _direction(metric, runs)
            of = [{key: _number(row.get(metric)) for key, row in each.items()} for each in best]
            differences: list[Difference | None] = [None]
            for run, rows, after in zip(runs[1:], chosen[1:], of[1:]):
                keys = [key for key in of[0] if key in after]
                if not after or not of[0]:
                    differences.append(None)
                    continue
                mean = _mean(after.values()) - _mean(of[0].values())
                first = (next(iter(chosen[0].values())), next(iter(rows.values())))
                objection = _objection(base, run, metric, first)
                if objection or not keys:
                    differences.append(_unjudged(mean, objection or "no seed in common"))
                    continue
                differences.append(
                    _over_seeds(
                        np.array([of[0][key] for key in keys]),
                        np.array([after[key] for key in keys]),
                        direction=direction,
                        level=level,
                        rounding=_rounding(base, metric, first[0]),
                    )
                )
            values = [
                Value(_mean(each.values()), np.nan, np.nan, len(each)) if each else None
                for each in of
            ]
            told.append(
                Score("validation", stage, metric, "trials", direction, values, differences)
            )
    return told


def _test(runs: Sequence[Run], level: float) -> list[Score]:
    """Every metric of the models that were tested; that which decides also of their members."""
    found = [_evidence(run, "test_score") for run in runs]
    whole = [{**(each.get("all") or {})} for each in found]
    for each, tested in zip(whole, found):
        if tested:
            each.setdefault(tested["metric"], tested["value"])
    told = []
    for metric in dict.fromkeys(name for each in whole for name in each):
        direction = _direction(metric, runs)
        values = [_tested(each, tested, metric) for each, tested in zip(whole, found)]
        differences = [
            _tested_difference((runs[0], run), (values[0], value), metric, direction, level)
            if place and value and values[0]
            else None
            for place, (run, value) in enumerate(zip(runs, values))
        ]
        told.append(Score("test", "", metric, "model", direction, values, differences))
    members = [_members(run, each) for run, each in zip(runs, found)]
    if any(len(each) > 1 for each in members):
        metric = next(each["metric"] for each in found if each)
        direction = _direction(metric, runs)
        values = [
            Value(_mean(each.values()), np.nan, np.nan, len(each)) if each else None
            for each in members
        ]
        differences = [
            _members_difference((runs[0], run), (members[0], each), metric, direction, level)
            if place and each and members[0]
            else None
            for place, (run, each) in enumerate(zip(runs, members))
        ]
        told.append(Score("test", "", metric, "members", direction, values, differences))
    return told


def _tested(scores: Row, tested: Row, metric: str) -> Value | None:
    if metric not in scores:
        return None
    ends = [
        _number(tested.get(end)) if tested["metric"] == metric else np.nan
        for end in ("low", "high")
    ]
    return Value(_number(scores[metric]), *ends, tested.get("count") or 0)


def _tested_difference(
    runs: tuple[Run, Run], values: tuple[Value, Value], metric: str, direction: int, level: float
) -> Difference:
    before, after = values
    objection = _objection(*runs, metric)
    if objection:
        return _unjudged(after.value - before.value, objection)
    errors = [_errors(run, metric, value) for run, value in zip(runs, values)]
    if len(errors[0]) and len(errors[0]) == len(errors[1]):
        interval = paired_interval(errors[1] - errors[0], level)
        return _judged(interval, direction, paired_by="example", pairs=len(errors[0]))
    interval = unpaired_interval(before, after, level)
    if not np.isfinite(interval).all():
        return _unjudged(after.value - before.value, "no interval of it was written down")
    return _judged(interval, direction, note="not paired")


def _errors(run: Run, metric: str, value: Value) -> np.ndarray:
    """The metric of every test example, where the run told its predictions and the metric is the
    mean of that; else empty."""
    told = _evidence(run, "predictions")
    if metric not in ("mse", "mae") or not told:
        return np.zeros(0)
    errors = np.abs(np.array(told["predictions"], float) - np.array(told["targets"], float))
    each = errors**2 if metric == "mse" else errors
    return each if np.isclose(each.mean(), value.value, rtol=1e-3) else np.zeros(0)


def _members(run: Run, tested: Row) -> dict[tuple[Any, ...], float]:
    """The test score of every member of an ensemble, by what pairs it."""
    scores = tested.get("members") or []
    trials = _final_trials(run, _last(run)) if scores else {}
    return {key: _number(score) for key, score in zip(trials, scores)}


def _members_difference(
    runs: tuple[Run, Run],
    members: tuple[Mapping[Any, float], Mapping[Any, float]],
    metric: str,
    direction: int,
    level: float,
) -> Difference:
    before, after = members
    keys = [key for key in before if key in after]
    objection = _objection(*runs, metric) or ("" if keys else "no seed in common")
    if objection:
        return _unjudged(_mean(after.values()) - _mean(before.values()), objection)
    return _over_seeds(
        np.array([before[key] for key in keys]),
        np.array([after[key] for key in keys]),
        direction=direction,
        level=level,
        rounding=_rounding(runs[0], metric, {}, split="test"),
    )


def _at_best(run: Run, stage: str, row: Row) -> dict[str, Any]:
    """The validation metrics of a trial at its best evaluation; NaN where it diverged."""
    looks = [
        look
        for look in run.looks.get((stage, str(row["trial"])), ())
        if look.get("split") == "validation"
    ]
    best = next((look for look in looks if look.get("step") == row.get("best_step")), {})
    found = {name: value for name, value in best.items() if name not in NO_METRICS}
    return dict.fromkeys(found, np.nan) if row.get("status") == "diverged" else found


def _rounding(run: Run, metric: str, row: Row, split: str = "validation") -> float:
    """Variance that rounding to whole examples hides in a difference of two accuracies: each is off
    by up to half an example, evenly. Folds are cut elsewhere."""
    count = (run.data.get("examples") or {}).get(split)
    if metric != "accuracy" or kind(run) != "classification" or not count or "fold" in row:
        return 0.0
    return 1 / (6 * count**2)


def _direction(metric: str, runs: Sequence[Run]) -> int:
    """1 where more is better, -1 where less is, 0 where nobody says."""
    if metric in DIRECTIONS:
        return DIRECTIONS[metric]
    for run in runs:
        for finding in run.findings:
            evidence = finding.get("evidence") or {}
            if evidence.get("metric") == metric and "maximise" in evidence:
                return 1 if evidence["maximise"] else -1
    return 0


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _mean(values: Iterable[float]) -> float:
    """Over those that there are."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else np.nan


# --- What it comes to ------------------------------------------------------------------------


def _decisive(scores: Sequence[Score], place: int, metric: str) -> Difference | None:
    """The difference that decides: on validation, of the metric that decides."""
    found = [
        score.differences[place]
        for score in scores
        if score.split == "validation" and score.metric == metric
    ]
    return next((each for each in found if each is not None), None)


def _entry(
    runs: Sequence[Run], place: int, difference: Difference | None, metric: str
) -> dict[str, Any]:
    """The ledger's line of a run: what was changed, what else the trials differ in because each run
    found it by itself, what it gave, and whether to keep it."""
    base, run = runs[0], runs[place]
    told = difference or _unjudged(np.nan, "no stage in common")
    changed = differing.changed(base, run)
    found: dict[str, Any] = {}
    for chosen in _listed(runs).values():
        if chosen[0] and chosen[place]:
            rows = [next(iter(each.values())) for each in (chosen[0], chosen[place])]
            own = [{**each.settings, **_settings(row)} for each, row in zip((base, run), rows)]
            found = {
                path: [each.get(path) for each in own]
                for path in sorted({*_settings(rows[0]), *_settings(rows[1])})
                if own[0].get(path) != own[1].get(path) and path not in changed
            }
    return {
        "run": run.name,
        "changed": [
            {"path": path, "values": [base.settings.get(path), run.settings.get(path)]}
            for path in changed
        ],
        "found": [{"path": path, "values": values} for path, values in found.items()],
        "metric": metric,
        "difference": told,
        "decision": DECISIONS[told.verdict],
    }


def _headline(runs: Sequence[Run], ledger: Sequence[Mapping[str, Any]]) -> str:
    names = {
        what: [entry["run"] for entry in ledger if entry["difference"].verdict == what]
        for what in (BETTER, WORSE, NOT_FOUND, OPEN)
    }
    base, metric = runs[0].name, ledger[0]["metric"]
    if len(ledger) > 1:
        counts = [
            f"{len(names[what])} {word}"
            for what, word in (
                (BETTER, "better"),
                (WORSE, "worse"),
                (NOT_FOUND, "without a difference"),
                (OPEN, "not judged"),
            )
            if names[what]
        ]
        return f"Beside {base}, by validation {metric}: {', '.join(counts)}."
    run, difference = ledger[0]["run"], ledger[0]["difference"]
    if difference.verdict == OPEN:
        return f"{run} beside {base} cannot be judged: {difference.note}."
    what = {NOT_FOUND: "No difference found between", BETTER: "", WORSE: ""}[difference.verdict]
    if what:
        return f"{what} {run} and {base} by validation {metric}."
    return f"{run} is {difference.verdict} than {base} by validation {metric}."


def _notes(
    runs: Sequence[Run], scores: Sequence[Score], ledger: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What a reader must know before the numbers."""
    notes = [note for run in runs for note in _unfinished(run)]
    for run, entry in zip(runs[1:], ledger):
        notes += _cautions(runs[0], run, entry)
    for run in runs:
        alone = any(
            score.split == "validation" and value is not None and value.count == 1
            for score in scores
            for value in [score.values[runs.index(run)]]
        )
        if alone and (command := more_seeds(run)):
            notes.append(f"{run.name} has one seed, which gives no interval. For eight: {command}")
    if len(runs) > 2:
        count = len(runs) - 1
        notes.append(
            f"{count} runs are held against {runs[0].name}, so every interval is one of "
            f"{100 * (1 - LEVEL / count):.4g} %: together they hold at 95 % (Bonferroni), for each "
            "metric by itself."
        )
    return notes


def _unfinished(run: Run) -> list[str]:
    status = run.record.get("status")
    if status == "gate closed":
        return [f"{run.name} stopped at a gate: compared is what it had come to."]
    if status != "done":
        return [f"{run.name} is not finished: compared is what is there."]
    return []


def _cautions(base: Run, run: Run, entry: Mapping[str, Any]) -> list[str]:
    """What speaks against taking a difference for the change's own."""
    notes, both = [], f"{run.name} and {base.name}"
    if not differing.same_data(base, run):
        notes.append(
            f"{both} have other data, or other splits of them: their scores are not of the same "
            "examples, and nothing is judged by them."
        )
    what = [each.record.get("what") for each in (base, run)]
    if what[0] != what[1]:
        notes.append(
            f"{base.name} was made by experiments.{what[0]}, {run.name} by experiments.{what[1]}."
        )
    if len(entry["changed"]) > 1:
        notes.append(
            f"{both} differ in {len(entry['changed'])} settings: which of them makes a difference "
            "cannot be told. Change one at a time."
        )
    elif entry["found"]:
        paths = ", ".join(each["path"] for each in entry["found"])
        notes.append(f"{both} also differ in what each found by itself: {paths}.")
    ground = differing.other_ground(base, run)
    if ground:
        notes.append(
            f"{both} differ in {' and '.join(ground)} too: a difference may come from there."
        )
    if base.settings.get("seed") != run.settings.get("seed"):
        notes.append(
            f"{both} have another `seed`, so their pairs share no random draws, and the intervals "
            "are wider than need be."
        )
    return notes


def more_seeds(run: Run) -> str:
    """The command that measures a run's setting on eight seeds; "" where it is not known."""
    words = [str(word) for word in run.record.get("command") or []][1:]
    if run.record.get("what") not in ("run", "train") or not words:
        return ""
    kept, skip = [], False
    for word in words:
        name = word.lstrip("-").partition("=")[0]
        mine = word.startswith("-") and name in ("workdir", "overwrite")
        if not (mine or skip):
            kept.append(word)
        skip = mine and name == "workdir" and "=" not in word
    more = ["--config.search.trials=1", "--config.sweep.seeds=8"]
    module = "experiments.sweep"
    if run.record["what"] == "run":
        module, more = "experiments.run", ["--config.recipe.members=8"]
    return shlex.join(["python", "-m", module, *kept, *more, "--workdir", f"{run.path}-seeds"])


def _curves(runs: Sequence[Run], metric: str) -> list[dict[str, Any]]:
    """Loss and deciding metric over epochs: the median over trials, lowest and highest."""
    told = []
    for stage, chosen in _listed(runs).items():
        for run, trials in zip(runs, chosen):
            looks = [
                look
                for row in trials.values()
                for look in run.looks.get((stage, str(row["trial"])), ())
            ]
            for split in ("train", "validation"):
                for name in dict.fromkeys(("loss", metric)):
                    places: dict[float, list[float]] = {}
                    for look in looks:
                        value = _number(look.get(name))
                        if look.get("split") == split and np.isfinite(value):
                            places.setdefault(_number(look.get("epoch")), []).append(value)
                    if len(places) < 2:
                        continue
                    epochs = sorted(places)
                    told.append(
                        {
                            "run": run.name,
                            "stage": stage,
                            "split": split,
                            "metric": name,
                            "trials": len(trials),
                            "epochs": epochs,
                            "median": [float(np.median(places[each])) for each in epochs],
                            "low": [min(places[each]) for each in epochs],
                            "high": [max(places[each]) for each in epochs],
                        }
                    )
    return told


def _told(run: Run) -> dict[str, Any]:
    """Who a run is."""
    return {
        "name": run.name,
        "path": run.path,
        "title": run.record.get("name"),
        "what": run.record.get("what"),
        "status": run.record.get("status"),
    }
