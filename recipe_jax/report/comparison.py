"""Runs beside one another as one page that opens offline, and its tables as plain text."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recipe_jax.report import numbers, page
from recipe_jax.report.figures import _comparison

Told = Mapping[str, Any]
DIRECTIONS = {1: "more is better", -1: "less is better", 0: ""}


class Table(NamedTuple):
    """Named columns and rows of text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def render(told: Told) -> str:
    """The page as text."""
    canvas = page.Canvas()
    decisive = [score for score in told["scores"] if score["metric"] in (told["metric"], "loss")]
    differences = [
        figure
        for score in decisive
        if (figure := _comparison.differences(told, score, _caption(told, score))) is not None
    ]
    return page.template("comparison.html").render(
        told=told,
        names=names(told),
        score_name=lambda score: score_name(told, score),
        directions=DIRECTIONS,
        level=numbers.sensible(100 * told["level"]),
        words=words,
        pairs=pairs,
        setting=setting,
        differences=canvas.place(differences),
        curves=canvas.place(_comparison.curves(told)),
        settings=values(told, "settings", "path"),
        provenance=values(told, "provenance", "what"),
        decisions=values(told, "decisions", "stage"),
        cost=cost(told),
        openings=openings(told),
        css=page.style(),
        **page.scripts(canvas),
    )


def names(told: Told) -> list[str]:
    """Of the runs, the base first."""
    return [run["name"] for run in told["runs"]]


def score_name(told: Told, score: Told) -> str:
    """ "validation accuracy", with its stage where scores of several stages are told."""
    stages = {each["stage"] for each in told["scores"] if each["stage"]}
    where = f" ({score['stage']})" if score["stage"] and len(stages) > 1 else ""
    whose = " of members" if score["of"] == "members" else ""
    return f"{score['split']} {score['metric']}{whose}{where}"


def words(difference: Told) -> str:
    """ "+0.012 [+0.004, +0.02]"; the mean alone where there is no interval."""
    mean, low, high = (signed(difference["interval"][end]) for end in ("mean", "low", "high"))
    return mean if difference["interval"]["low"] is None else f"{mean} [{low}, {high}]"


def signed(value: float | None) -> str:
    """A difference with its sign."""
    text = numbers.sensible(value, 3)
    return f"+{text}" if value is not None and value > 0 else text


def pairs(difference: Told) -> str:
    """ "8 seeds × 450 examples": what it is paired over."""
    counts = [(difference["seeds"], "seeds"), (difference["examples"], "examples")]
    return " × ".join(f"{numbers.sensible(count)} {name}" for count, name in counts if count > 1)


def setting(change: Told) -> str:
    """ "model.width 128 → 32"."""
    before, after = (numbers.sensible(value) for value in change["values"])
    return f"{change['path']} {before} → {after}"


# --- Tables ----------------------------------------------------------------------------------


def ledger(told: Told) -> Table:
    """A line a change: what it was, what it gave, and what becomes of it."""
    return Table(
        ["run", f"validation {told['metric']}", "verdict", "so", "changed"],
        [
            [
                entry["run"],
                words(entry["difference"]),
                entry["difference"]["verdict"],
                entry["decision"],
                "; ".join(map(setting, entry["changed"])) or "nothing",
            ]
            for entry in told["ledger"]
        ],
    )


def scores(told: Told) -> Table:
    """A line a score, a column a run: its value, the difference, and the verdict."""
    base, *others = names(told)
    return Table(
        ["score", base, *others],
        [
            [
                score_name(told, score),
                *(
                    _cell(value, difference)
                    for value, difference in zip(score["values"], score["differences"])
                ),
            ]
            for score in told["scores"]
        ],
    )


def values(told: Told, part: str, name: str) -> Table:
    """A part of what is told whose lines are a name and a value for each run."""
    return Table(
        [name, *names(told)],
        [
            [row[name], *(numbers.sensible(value, 8) for value in row["values"])]
            for row in told[part]
        ],
    )


def findings(told: Told) -> Table:
    """Those whose status is not the same in all runs."""
    return Table(
        ["row", "check", "stage", *names(told)],
        [
            [
                row["row"],
                row["check"],
                row["stage"],
                *(each or "not asked" for each in row["statuses"]),
            ]
            for row in told["findings"]
        ],
    )


def cost(told: Told) -> Table:
    """Time, lanes and steps, in all and by stage."""
    parts = [("all", told["cost"]["total"])]
    parts += [(row["stage"], row["runs"]) for row in told["cost"]["stages"]]
    return Table(["stage", *names(told)], [[name, *map(_spent, spent)] for name, spent in parts])


def openings(told: Told) -> Table:
    """How often each run looked at the test split, and why."""
    return Table(
        ["run", "opened", "why"],
        [
            [name, _times(len(reasons)), "; ".join(reasons)]
            for name, reasons in zip(names(told), told["test_openings"])
        ],
    )


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def _spent(part: Told) -> str:
    seconds = numbers.duration(part["seconds"]) or "–"
    if not part["lanes"]:
        return seconds
    lanes, steps = (numbers.sensible(part[name]) for name in ("lanes", "lane_steps"))
    return f"{seconds}, {lanes} lane{'s' * (part['lanes'] != 1)}, {steps} steps"


def _cell(value: Told | None, difference: Told | None) -> str:
    told = "–" if value is None else numbers.sensible(value["value"])
    if value is not None and value["low"] is not None:
        told += f" [{numbers.sensible(value['low'])}, {numbers.sensible(value['high'])}]"
    if difference is None:
        return told
    more = ", ".join(each for each in (pairs(difference), difference["note"]) if each)
    return f"{told}  {words(difference)}  {difference['verdict']}" + (f" ({more})" if more else "")


def _caption(told: Told, score: Told) -> str:
    name = score_name(told, score)
    better = DIRECTIONS[score["direction"]]
    return f"{name}, less that of {names(told)[0]}" + (f": {better}" if better else "")
