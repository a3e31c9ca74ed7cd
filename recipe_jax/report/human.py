"""The page that asks a person about one example, and the one that says how well it went."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import markupsafe
import numpy as np

from recipe_jax.checks import data_audit, human_baseline, text_audit
from recipe_jax.report import numbers, page
from recipe_jax.report.figures import _pictures, squeeze
from recipe_jax.types import Answer, Objective, Task

MANY = 12
"""More classes than these are looked for by their name."""
KEYS = "1234567890"
LARGEST_SIDE = 1024
LEAST_SIDE, LARGEST_DOT = 384, 24
"""Small pictures are enlarged to this side, but no dot of them beyond this."""
SCALED_BY = 200
"""So many training examples say how light or how high an example is among the others."""
MOST_MISTAKES, MOST_COLUMNS = 24, 12


Span = tuple[float, float]


class Progress(NamedTuple):
    """Who answers, how many of how many are answered, and where the answers are."""

    person: str
    answered: int
    total: int
    file: str


def spans(task: Task) -> tuple[Span, ...]:
    """From where to where values reach in training: of all pixels, or of each feature or column."""
    inputs = task.train.inputs[:SCALED_BY]
    if task.spec.kind == "next_token":
        return ()
    if task.modality == "image":
        return (_pictures.extent(task.encoder.decode(inputs)),)
    if task.modality == "sequence":
        return tuple(map(_pictures.extent, np.moveaxis(task.encoder.decode(inputs), -1, 0)))
    cells = _columns(task, inputs).values()
    return tuple((0.0, 1.0) if each.dtype == object else _pictures.extent(each) for each in cells)


def question(
    task: Task,
    place: int,
    progress: Progress,
    *,
    spans: Sequence[Span],
    before: Answer | None = None,
) -> str:
    """The page for one validation example, with what was answered `before`, to be changed.

    Neither its target nor its name are in it: a name may be a path with the class in it.
    """
    kind = task.spec.kind
    asked = {
        "classification": "Which class is it?",
        "regression": f"What is its {' and its '.join(task.target_names)}?",
        "next_token": f"What is the {task.target_names[0]}?",
    }
    return _render(
        task=task,
        progress=progress,
        asked=asked[kind],
        place=place,
        before=before,
        said=before and human_baseline.shown(before.answer),
        example=_example(task, place, spans),
        choices=[] if kind == "regression" else _choices(task),
        search=len(task.class_names) > MANY,
        symbols=kind == "next_token",
        fields=_fields(task) if kind == "regression" else [],
    )


def end(
    task: Task, objective: Objective, answers: Sequence[Answer], progress: Progress, command: str
) -> str:
    """The page with the person's score and mistakes, and the command that puts it into a report."""
    return _render(
        task=task,
        progress=progress,
        score=told(task, objective, answers),
        mistakes=_mistakes(task, objective, answers),
        command=command,
    )


def told(task: Task, objective: Objective, answers: Sequence[Answer]) -> str:
    """A person's score in a sentence."""
    metric = human_baseline.metric_of(objective, task)
    lost = human_baseline.losses_of(task, answers, metric)
    found, count = human_baseline.score(lost, metric), len(answers)
    if metric == "accuracy":
        return f"{int((lost == 0).sum())} of {count} right: accuracy {found}."
    off = human_baseline.losses_of(task, answers, "mae").mean()
    return f"{off:.4g} off on average of {count}: {metric} {found}."


@functools.cache
def policy() -> str:
    """The Content-Security-Policy of both pages: their own style and script, and no other."""
    style, script = (page.digest(text) for text in (_style(), _script()))
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _render(**fields: Any) -> str:
    style, script = markupsafe.Markup(_style()), markupsafe.Markup(_script())
    return page.template("human.html").render(css=style, script=script, **fields)


@functools.cache
def _style() -> str:
    return f"{page.style()}\n{page.text('human.css')}"


@functools.cache
def _script() -> str:
    return page.text("human.js")


def _choices(task: Task) -> list[dict[str, str]]:
    """The classes, each with the key that chooses it and, of a symbol, the symbol itself."""
    names = task.class_names
    keys = list(KEYS) + [""] * len(names)
    if all(len(name) == 1 for name in names):
        keys = list(names)
    symbols = names
    if task.spec.kind == "next_token":
        symbols = tuple(task.encoder.decode(np.array([i])) for i in range(len(names)))
    return [
        {"name": name, "key": "" if len(names) > MANY else key, "symbol": symbol}
        for name, key, symbol in zip(names, keys, symbols)
    ]


def _fields(task: Task) -> list[dict[str, Any]]:
    """What is asked for in a regression, and what there is of it in training."""
    known = human_baseline.own_units(task, task.train.targets)
    return [
        {
            "name": name,
            "mean": float(each.mean()),
            "low": float(each.min()),
            "high": float(each.max()),
        }
        for name, each in zip(task.target_names, known.T)
    ]


def _example(task: Task, place: int, spans: Sequence[Span]) -> markupsafe.Markup:
    """One validation example as a person sees it, as large as it is."""
    split = task.validation
    if task.spec.kind == "next_token":
        text = text_audit.shown(task, split.inputs[place], split.targets[place])
        return markupsafe.Markup('<pre class="window">{}<b>?</b></pre>').format(text)
    if task.modality == "image":
        (image,) = data_audit.picture(task, split, np.array([place]))["images"]
        height, width = image.shape[:2]
        # Dots too large are harder to read for a person, not easier.
        times = max(1.0, min(LARGEST_DOT, LEAST_SIDE / max(height, width)))
        return markupsafe.Markup(
            '<img class="picture{}" width="{:.0f}" src="{}" alt="the example">'
        ).format(
            " coarse" if times >= 2.0 else "",
            times * min(width, LARGEST_SIDE),
            _pictures.png(image, *spans[0], side=LARGEST_SIDE),
        )
    if task.modality == "sequence":
        (sequence,) = data_audit.picture(task, split, np.array([place]))["sequences"]
        return markupsafe.Markup("").join(
            markupsafe.Markup(
                '<figure class="series">{}<figcaption>{}, from {} to {}</figcaption></figure>'
            ).format(_pictures.lines([line], [span], name), name, *map(numbers.sensible, span))
            for name, line, span in zip(_names(task), sequence.T, spans)
        )
    columns = _columns(task, split.inputs[place : place + 1])
    rows = [_row(name, cells[0], span) for (name, cells), span in zip(columns.items(), spans)]
    return markupsafe.Markup(
        '<div class="scroll"><table class="cells"><thead><tr><th>column</th><th>value</th>'
        '<th colspan="3">in training</th></tr></thead><tbody>{}</tbody></table></div>'
    ).format(markupsafe.Markup("").join(rows))


def _row(name: str, cell: Any, span: Span) -> markupsafe.Markup:
    """A column of a table with this example's cell, and where that lies between the lowest and the
    highest of training."""
    where = markupsafe.Markup('<td colspan="3"></td>')
    if isinstance(cell, str):
        told = cell
    elif cell is None or not np.isfinite(cell):
        told = "missing"
    else:
        (low, high), told = span, numbers.sensible(float(cell))
        place = 100 * min(1.0, max(0.0, (float(cell) - low) / max(high - low, 1e-12)))
        where = markupsafe.Markup(
            '<td class="quiet low">{}</td><td><svg class="scale" viewBox="-4 -4 108 8" '
            'role="presentation"><path d="M0 0H100"/><circle cx="{:.1f}" r="3.5"/></svg></td>'
            '<td class="quiet high">{}</td>'
        ).format(numbers.sensible(low), place, numbers.sensible(high))
    return markupsafe.Markup('<tr><th>{}</th><td class="{}">{}</td>{}</tr>').format(
        name, "word" if isinstance(cell, str) else "number", told, where
    )


def _columns(task: Task, inputs: np.ndarray) -> Mapping[str, np.ndarray]:
    """Rows of a table in their own units, by column."""
    raw = task.encoder.decode(inputs)
    return raw if isinstance(raw, Mapping) else dict(zip(_names(task), np.asarray(raw).T))


def _names(task: Task) -> list[str]:
    """Columns of a table, or what a sequence has at every step."""
    count = task.spec.input_shape[-1]
    if len(task.feature_names) == count:
        return list(task.feature_names)
    return [f"feature {i}" for i in range(count)]


def _mistakes(task: Task, objective: Objective, answers: Sequence[Answer]) -> markupsafe.Markup:
    """The examples with the worst answers, with what is true."""
    metric = human_baseline.metric_of(objective, task)
    places = human_baseline.places(answers)
    targets = human_baseline.truths(task)[places]
    lost = human_baseline.losses_of(task, answers, metric)
    worst = [i for i in np.argsort(-lost, kind="stable")[:MOST_MISTAKES] if lost[i] > 0]
    if not worst:
        return markupsafe.Markup("")
    true = [human_baseline.word(task, targets[i]) for i in worst]
    said = [human_baseline.shown(answers[i].answer) for i in worst]
    split, chosen = task.validation, places[worst]
    if task.spec.kind == "next_token":
        texts = [text_audit.shown(task, split.inputs[i], split.targets[i]) for i in chosen]
        captions = [f"{each}; you said {other}" for each, other in zip(true, said)]
        return _pictures.passages(texts, captions=captions)
    evidence = data_audit.picture(task, split, chosen)
    if evidence["kind"] in _pictures.DRAWN:
        marked = ["?" if answers[i].answer is None else each for i, each in zip(worst, said)]
        return squeeze.worst({**evidence, "labels": true, "predicted": marked})
    columns = dict(list(_columns(task, split.inputs[chosen]).items())[:MOST_COLUMNS])
    head = ["row", "truth", "you said"]
    rows = zip(evidence["ids"], true, said, *(map(_cell, each) for each in columns.values()))
    return _pictures.table([*head, *columns], list(rows))


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else float(value)
