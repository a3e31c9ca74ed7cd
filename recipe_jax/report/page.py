"""Workdir -> report.html, one file that opens offline, and report.json, the same for machines."""

import base64
import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
import markupsafe
import plotly.graph_objects as go
import plotly.offline

from recipe_jax import writers
from recipe_jax.report import content, figures, numbers
from recipe_jax.report.figures import _pictures, _runs, _style

FOLDER = pathlib.Path(__file__).parent
OPEN_CHECKS = (
    *("samples", "distributions", "label_errors", "symmetries", "baselines", "human_baseline"),
    *("overfit_one_batch", "range_test", "model_ladder", "changes"),
    *("learning_curve", "regularisers", "input_importance", "first_layer"),
    *("search", "curves", "seed_ensemble", "ensembles", "calibration", "coverage"),
    *("confusion", "predictions", "worst", "verdict"),
    *("test_score", "written"),
)
"""Findings that people want to look at also when they passed."""
MAX_TRIALS = 300
MAX_SMALL = 30
COLOURS = {
    "ink": _style.INK,
    "muted": _style.MUTED,
    "rule": _style.RULE,
    "paper": _style.PAPER,
    "raised": _style.LOW,
    "blue": _style.BLUE,
    "orange": _style.ORANGE,
    "green": _style.GREEN,
    "red": _style.RED,
    "grey": _style.GREY,
    "purple": _style.PURPLE,
}


def build_report(workdir: pathlib.Path) -> pathlib.Path:
    """Writes report.html and report.json from what lies in the workdir; the path of the page."""
    workdir = pathlib.Path(workdir)
    told = content.collect(workdir)
    writers.write_json(workdir / "report.json", told)
    writers.write_text(workdir / "report.html", render(told))
    return workdir / "report.html"


def render(
    told: Mapping[str, Any], canvas: "Canvas | None" = None, live: Mapping[str, str] | None = None
) -> str:
    """The page as text.

    canvas: where its figures are collected; live: the style and the script of a page that follows
    its run (report/live.py).
    """
    canvas = canvas or Canvas()
    stages = [_stage(stage, told, canvas) for stage in told["stages"]]
    by_anchor = {finding["anchor"]: finding for stage in stages for finding in stage["findings"]}
    score = told["verdict"]["score"]
    verdict = _drawn("test_score", score, canvas) if score else ""
    texts = scripts(canvas, before=[live["script"]] if live else [])
    return template("page.html").render(
        told=told,
        stages=stages,
        by_anchor=by_anchor,
        verdict_figure=verdict,
        trials=_trials(told),
        settings=_flat(told["config"]),
        overridden=set(told["overrides"]),
        run=told["run"],
        css=style(),
        live={name: markupsafe.Markup(text) for name, text in live.items()} if live else None,
        policy=policy(texts["hashes"], connects=live is not None),
        **texts,
    )


@functools.cache
def template(name: str) -> jinja2.Template:
    """A template of this folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": numbers.sensible, "duration": numbers.duration}
    return environment.get_template(name)


def style() -> markupsafe.Markup:
    """The look of all pages, light and dark."""
    dark = _variables({name: _style.DARK[colour] for name, colour in COLOURS.items()})
    return markupsafe.Markup(
        ":root{{{light}}}@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n{css}"
    ).format(light=_variables(COLOURS), dark=dark, css=markupsafe.Markup(text("page.css")))


def policy(hashes: str, *, connects: bool = False) -> str:
    """The Content-Security-Policy of the page: its own scripts and no other, and nothing from
    elsewhere; connects: it may ask who served it."""
    more = "; connect-src 'self'" if connects else ""
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {hashes}{more}; "
        "base-uri 'none'; form-action 'none'"
    )


def scripts(canvas: "Canvas", *, before: Sequence[str] = ()) -> dict[str, Any]:
    """What a template with figures needs: the scripts that draw them, the scripts' names for its
    policy, and the figures as data; before: scripts that see the page before it is drawn."""
    texts = [plotly.offline.get_plotlyjs(), *before, text("page.js")]
    return {
        "scripts": [markupsafe.Markup(text) for text in texts],
        "hashes": " ".join(digest(text) for text in texts),
        "embedded": _embedded({"figures": canvas.figures, "dark": _style.DARK}),
    }


def small_evidence(evidence: Mapping[str, Any]) -> markupsafe.Markup:
    """Numbers that a finding rests on, as a small table."""
    return _small_table(writers.plain(dict(evidence)))


class Canvas:
    """Collects plotly figures, to be drawn by the page's script, and leaves a place for each.

    A figure is named after its content: a part of a page changes only where what it shows does.

    before: a canvas from which drawings of the same content are taken over.
    """

    def __init__(self, before: "Canvas | None" = None):
        self.figures: dict[str, Any] = {}
        self._known: dict[str, tuple[markupsafe.Markup, dict[str, Any]]] = {}
        self._before = before._known if before else {}

    def draw(
        self, content: Any, drawer: Callable[[], Sequence[figures.Drawing] | None]
    ) -> markupsafe.Markup:
        """A place for what `drawer` makes of this content, nothing if it makes nothing."""
        name = _name(content)
        if name in self._before:
            shown, drawn = self._before[name]
        else:
            alone = Canvas()
            shown, drawn = alone.place(drawer()), alone.figures
        self._known[name] = shown, drawn
        self.figures |= drawn
        return shown

    def place(self, drawings: Sequence[figures.Drawing] | None) -> markupsafe.Markup:
        """Drawings side by side where there is room."""
        parts = [self._one(drawing) for drawing in drawings or []]
        if not parts:
            return markupsafe.Markup("")
        return markupsafe.Markup('<div class="drawings">{}</div>').format(
            markupsafe.Markup("").join(parts)
        )

    def _one(self, drawing: figures.Drawing) -> markupsafe.Markup:
        if not isinstance(drawing, go.Figure):
            return markupsafe.Markup('<div class="drawing">{}</div>').format(drawing)
        figure = drawing.to_plotly_json()
        caption = figure["layout"].pop("meta", {}).get("caption", "")
        shown = {"data": figure["data"], "layout": figure["layout"]}
        name = _name(shown)
        self.figures[name] = shown
        return markupsafe.Markup(
            '<figure class="drawing"><figcaption>{}</figcaption>'
            '<div class="plot" role="img" aria-label="{}" data-figure="{}" style="height:{}px">'
            "</div></figure>"
        ).format(caption, caption, name, int(figure["layout"]["height"]))


def _stage(stage: Mapping[str, Any], told: Mapping[str, Any], canvas: Canvas) -> dict[str, Any]:
    """A stage with its findings drawn."""
    curves = [curve for curve in told["curves"] if curve["stage"] == stage["name"]]
    return {
        **stage,
        "findings": [_finding(finding, canvas) for finding in stage["findings"]],
        "runs": canvas.draw(["curves", curves], lambda: _runs.runs(curves)),
    }


def _finding(finding: Mapping[str, Any], canvas: Canvas) -> dict[str, Any]:
    """A finding with its drawing, or a small table where nobody drew its evidence."""
    check, evidence = finding["check"], finding["evidence"]
    shown = _drawn(check, evidence, canvas) or _small_table(evidence)
    bad = finding["status"] in ("FAIL", "WARN")
    return {**finding, "shown": shown, "open": bad or check in OPEN_CHECKS}


def _drawn(check: str, evidence: Mapping[str, Any], canvas: Canvas) -> markupsafe.Markup:
    """What a check found as a drawing, where somebody drew it."""
    return canvas.draw([check, evidence], lambda: figures.draw(check, evidence))


def _small_table(evidence: Mapping[str, Any]) -> markupsafe.Markup:
    """Small evidence as it is, without what is empty: columns when all have one length, else names
    and values; a mapping is a table of its own."""
    small = {
        name.replace("_", " "): value
        for name, value in evidence.items()
        if _is_small(value) and value not in (None, "", [], {})
    }
    plain = {name: value for name, value in small.items() if not isinstance(value, dict)}
    tables = [_mapping(name, value) for name, value in small.items() if isinstance(value, dict)]
    lengths = {len(value) if isinstance(value, list) else None for value in plain.values()}
    if len(lengths) == 1 and None not in lengths:
        tables.insert(0, _pictures.table(list(plain), list(zip(*plain.values()))))
    elif plain:
        tables.insert(0, _pictures.table(["", ""], list(plain.items())))
    return markupsafe.Markup("").join(tables)


def _mapping(name: str, value: Mapping[str, Any]) -> markupsafe.Markup:
    """A row a key; where the values are mappings too, a column for each of their keys."""
    if not all(isinstance(item, dict) for item in value.values()):
        return _pictures.table([name, ""], list(value.items()))
    keys = list(dict.fromkeys(key for item in value.values() for key in item))
    rows = [[each, *(item.get(key) for key in keys)] for each, item in value.items()]
    return _pictures.table([name, *(key.replace("_", " ") for key in keys)], rows)


def _is_small(value: Any) -> bool:
    """A value for a cell, or a list or a mapping that fits."""
    if isinstance(value, list):
        return len(value) <= MAX_SMALL and not any(isinstance(item, list | dict) for item in value)
    return not isinstance(value, dict) or len(value) <= MAX_SMALL


def _trials(told: Mapping[str, Any]) -> dict[str, Any]:
    """The table of trials without columns that say nothing; of many, so many rows at a time."""
    columns, rows = told["trials"]["columns"], told["trials"]["rows"]
    full = [
        i for i in range(len(columns)) if any(i < len(row) and row[i] is not None for row in rows)
    ]
    kept = [[row[i] if i < len(row) else None for i in full] for row in rows]
    return {
        "columns": [columns[i] for i in full],
        "rows": kept[:MAX_TRIALS],
        "total": len(rows),
        # All rows as data: the script sorts and filters these, and shows the first of them.
        "all": _embedded(kept) if len(rows) > MAX_TRIALS else None,
    }


def _flat(config: Mapping[str, Any], front: str = "") -> list[tuple[str, Any]]:
    """A config as (path, value), in its own order."""
    pairs: list[tuple[str, Any]] = []
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            pairs += _flat(value, f"{front}{name}.")
        else:
            pairs.append((f"{front}{name}", value))
    return pairs


def _name(content: Any) -> str:
    """Sixteen letters that tell contents apart."""
    return hashlib.sha256(writers.to_json(content).encode()).hexdigest()[:16]


def _variables(colours: Mapping[str, str]) -> markupsafe.Markup:
    """Colours as CSS variables."""
    return markupsafe.Markup("".join(f"--{name}:{colour};" for name, colour in colours.items()))


def _embedded(value: Any) -> markupsafe.Markup:
    """JSON that no string in it can break out of."""
    words = writers.to_json(value)
    for character in "<>&":
        words = words.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(words)


def digest(script: str) -> str:
    """A script's name in the Content-Security-Policy: only these scripts run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def text(name: str) -> str:
    """A file of this folder."""
    return (FOLDER / name).read_text(encoding="utf-8")
