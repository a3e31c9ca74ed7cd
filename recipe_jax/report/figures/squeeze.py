"""The final model: its curves, its mistakes, its score on the test split."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import markupsafe
import numpy as np
import plotly.graph_objects as go

from recipe_jax.report import numbers
from recipe_jax.report.figures import Drawing, _pictures, _style
from recipe_jax.report.figures._gains import Group, gains

Evidence = Mapping[str, Any]
MAX_CLASSES = 40
MAX_DOTS = 1500


def curves(evidence: Evidence) -> list[Drawing]:
    """Train and validation on one figure: the median over seeds, lowest to highest as a band."""
    x, x_title = (
        (evidence["epochs"], "epoch") if evidence.get("epochs") else (evidence["steps"], "step")
    )
    drawings: list[Drawing] = []
    for measure, caption in (("loss", "Loss"), ("score", evidence.get("metric", "score"))):
        traces = [
            trace
            for split, colour in (("train", _style.BLUE), ("validation", _style.ORANGE))
            if evidence.get(f"{split}_{measure}")
            for trace in _style.band(x, evidence[f"{split}_{measure}"], name=split, colour=colour)
        ]
        if traces:
            zoom = _style.late_range(traces)
            drawings.append(
                _style.frame(
                    *traces, caption=caption, x_title=x_title, hovermode="x unified", yaxis=zoom
                )
            )
    if not drawings:
        raise KeyError("train_loss")
    return drawings


def seed_ensemble(evidence: Evidence) -> go.Figure:
    """What averaging more networks gives, above the single ones."""
    sizes, scores = evidence["sizes"], evidence["scores"]
    traces: list[Any] = []
    single = evidence.get("single") or []
    if single:
        traces.append(
            _style.dots(
                [1] * len(single),
                single,
                name="single networks",
                colour=_style.GREY,
                marker={"size": 7, "opacity": 0.7},
            )
        )
    traces.append(
        go.Scatter(
            x=sizes,
            y=scores,
            name="their average",
            mode="lines+markers",
            line={"color": _style.BLUE, "width": 2},
            marker={"size": 7},
        )
    )
    return _style.frame(
        *traces,
        caption=f"Validation {evidence.get('metric', 'score')}",
        x_title="networks averaged",
        xaxis_tickvals=sizes if len(sizes) <= 8 else sizes[:: -(-len(sizes) // 8)],
    )


def fold_scores(evidence: Evidence) -> list[Drawing]:
    """Every fold of every setting, and the mean of each; those that make an ensemble in blue."""
    names = [f"setting {place}" for place in evidence["places"]][::-1]
    scores, kept = _style.lanes(evidence["scores"])[::-1], list(evidence["kept"])[::-1]
    rows, folds = scores.shape
    means = [float(np.nanmean(row)) if np.isfinite(row).any() else np.nan for row in scores]
    traces: list[Any] = [
        _style.dots(
            _style.listed(scores.ravel()),
            np.repeat(np.arange(rows), folds).tolist(),
            name="one fold",
            colour=_style.GREY,
            marker={"size": 6, "opacity": 0.6},
            hovertemplate="%{x:.4g}<extra></extra>",
        )
    ]
    for chosen, name, colour in (
        (True, "mean, in the ensemble", _style.BLUE),
        (False, "mean, left out", _style.MUTED),
    ):
        places = [place for place in range(rows) if bool(kept[place]) is chosen]
        if places:
            traces.append(
                _style.dots(
                    _style.listed(_style.array([means[place] for place in places])),
                    places,
                    name=name,
                    colour=colour,
                    marker={"size": 15, "symbol": "line-ns-open", "line": {"width": 3}},
                    hovertemplate="%{x:.4g}<extra></extra>",
                )
            )
    figure = _style.frame(
        *traces,
        caption=f"{evidence.get('metric', 'Score')} on the fold that was left out, by setting; "
        "setting 1 is the one that goes on",
        height=_style.rows_height(rows, each=34),
        yaxis={**_style.named_rows(names), "range": [-0.6, rows - 0.4]},
        xaxis_showgrid=True,
    )
    paths = list(evidence["settings"][0])
    told = [
        [place, mean, *(each[path] for path in paths)]
        for place, mean, each in zip(evidence["places"], means[::-1], evidence["settings"])
    ]
    columns = ["setting", "mean", *_style.labels(paths)]
    return [figure, _pictures.table(columns, told, sortable=True)]


def ensembles(evidence: Evidence) -> list[Drawing]:
    """The gain of each ensemble with its interval and its cost, and the shares in the blends."""
    names = list(evidence["ways"])[::-1]
    count = len(names)
    chosen = count - 1 - int(evidence["chosen"])
    drawings: list[Drawing] = [
        gains(
            evidence,
            names,
            groups=[
                Group("the model", _style.BLUE, [chosen]),
                Group("not taken", _style.GREY, [i for i in range(count) if i != chosen]),
            ],
            smallest="smallest gain worth having",
            caption=f"Validation {evidence.get('metric', 'score')} against the mean of the seeds, "
            "paired over examples",
            height=_style.rows_height(count, each=38),
            nticks=6,
        )
    ]
    if evidence.get("shares"):
        drawings.append(_shares(evidence["models"], evidence["shares"]))
    columns = {
        "": "ways",
        "trained": "trainings",
        "asked": "predictions",
        evidence.get("metric", "score"): "scores",
        "loss": "losses",
    }
    rows = zip(*(evidence[key] for key in columns.values()))
    return [*drawings, _pictures.table(list(columns), [list(row) for row in rows])]


def _shares(models: list[Any], shares: Mapping[str, Any]) -> go.Figure:
    """What each model has in each blend; those that none takes are left out."""
    values = {name: _style.array(each) for name, each in shares.items()}
    kept = [place for place in range(len(models)) if any(v[place] > 0 for v in values.values())]
    kept = kept[::-1]
    bars = [
        go.Bar(
            x=_style.listed(each[kept]),
            y=list(range(len(kept))),
            orientation="h",
            name=_style.text(name),
            marker={"color": colour},
            hovertemplate="%{x:.1%}<extra></extra>",
        )
        for (name, each), colour in zip(values.items(), (_style.ORANGE, _style.PURPLE))
    ]
    return _style.frame(
        *bars,
        caption="Share of each model in the blends, fitted on all of validation",
        height=_style.rows_height(len(kept), each=26),
        yaxis=_style.named_rows([models[place] for place in kept]),
        xaxis={"showgrid": True, "tickformat": ".0%"},
        bargap=0.3,
    )


def calibration(evidence: Evidence) -> go.Figure:
    """Confidence against the share that is right, in bins of as many examples each."""
    traces: list[Any] = [
        _style.line([0, 1], [0, 1], name="as sure as right", colour=_style.MUTED, dash="dash")
    ]
    before, after = evidence["error"]
    told = (("as trained", before, _style.ORANGE), ("with the temperature", after, _style.BLUE))
    lowest = 1.0
    for place, (name, error, colour) in enumerate(told):
        sure, right = (_style.array(evidence[key][place]) for key in ("confidence", "accuracy"))
        lowest = min(lowest, float(sure.min()), float(right.min()))
        traces.append(
            go.Scatter(
                x=_style.listed(sure),
                y=_style.listed(right),
                name=f"{name}, error {error:.3g}",
                mode="lines+markers",
                line={"color": colour, "width": 1.5},
                marker={"size": 7},
                hovertemplate="sure %{x:.3f}, right %{y:.3f}<extra></extra>",
            )
        )
    floor = max(0.0, np.floor(lowest * 10 - 0.5) / 10)
    return _style.frame(
        *traces,
        caption="Share of validation examples that are right, by how sure the model is",
        x_title="mean probability of the class that is named",
        xaxis={"range": [floor, 1.02], "showgrid": True},
        yaxis_range=[floor, 1.04],
    )


def coverage(evidence: Evidence) -> go.Figure:
    """How many targets lie inside intervals, against how many should."""
    levels = evidence["levels"]
    traces: list[Any] = [
        _style.line([0, 1], [0, 1], name="as many as promised", colour=_style.MUTED, dash="dash")
    ]
    for name, values, colour in zip(
        ("the members' spread", "with a constant deviation added"),
        evidence["covered"],
        (_style.ORANGE, _style.BLUE),
    ):
        traces.append(
            go.Scatter(
                x=levels,
                y=_style.listed(_style.array(values)),
                name=name,
                mode="lines+markers",
                line={"color": colour, "width": 1.5},
                marker={"size": 7},
                hovertemplate="promised %{x:.0%}, covered %{y:.1%}<extra></extra>",
            )
        )
    return _style.frame(
        *traces,
        caption="Share of validation targets inside the central interval of the predictions",
        x_title="share promised",
        xaxis={"range": [0, 1.02], "showgrid": True, "tickformat": ".0%"},
        yaxis={"range": [0, 1.04], "tickformat": ".0%"},
    )


def more_training(evidence: Evidence) -> go.Figure:
    """Validation over the epochs, with the last looks and the ones that they are held against."""
    scores, at = _style.lanes(evidence["scores"]), evidence["at"]
    traces: list[Any] = _style.band(at, scores, name="validation", colour=_style.ORANGE)
    values = [each for each in scores.ravel() if np.isfinite(each)]
    low, high = min(values), max(values)
    for (first, last), name, colour in zip(
        evidence["parts"], ("looks before", "last looks"), (_style.GREY, _style.BLUE)
    ):
        # A part may be one look, and is then a line.
        area = go.Scatter(
            x=[first, first, last, last],
            y=[low, high, high, low],
            name=name,
            mode="lines",
            fill="toself",
            fillcolor=_style.BANDS[colour],
            line={"color": colour, "width": 1},
            hoverinfo="skip",
        )
        traces.insert(0, area)
    return _style.frame(
        *traces,
        caption=f"Validation {evidence.get('metric', 'score')} of the final trainings",
        x_title="epoch",
    )


def extended(evidence: Evidence) -> go.Figure:
    """The same for a run that went on: the end of before, and the end now."""
    return more_training(evidence)


def confusion(evidence: Evidence) -> list[Drawing]:
    """Which class is taken for which, shares of each true class; a cell opens its examples."""
    classes, counts = list(evidence["classes"]), _style.array(evidence["matrix"])
    keep = np.arange(len(classes))
    caption = "Predicted class by true class: examples, coloured by share of the true class"
    if len(classes) > MAX_CLASSES:
        wrong = counts - np.diag(np.diag(counts))
        keep = np.sort(np.argsort(-(wrong.sum(0) + wrong.sum(1)))[:MAX_CLASSES])
        counts, total = counts[np.ix_(keep, keep)], len(classes)
        classes = [classes[i] for i in keep]
        caption += f"; the {MAX_CLASSES} of {total} classes with most mistakes"
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    heat = go.Heatmap(
        z=[_style.listed(row) for row in shares],
        zmin=0,
        zmax=1,
        text=[[f"{count:.0f}" if count else "" for count in row] for row in counts],
        texttemplate="%{text}" if len(classes) <= 20 else None,
        colorscale=[[0, _style.LOW], [1, _style.HIGH]],
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.1%})<extra></extra>",
    )
    drawn = _style.frame(
        heat,
        caption=caption,
        x_title="predicted",
        height=max(280, min(640, 90 + 34 * len(classes))),
        xaxis={**_style.named_axis(classes, limit=14), "showline": False},
        yaxis={
            **_style.named_rows(classes, limit=14),
            "autorange": "reversed",
            "showgrid": False,
            "title": {"text": "true", "font": {"size": 12, "color": _style.MUTED}},
        },
    )
    mistakes = evidence.get("mistakes")
    return [drawn, _mistakes(evidence, mistakes, keep)] if mistakes else [drawn]


def _mistakes(
    evidence: Evidence, mistakes: Mapping[str, Any], drawn: np.ndarray
) -> markupsafe.Markup:
    """Wrong examples by cell, the fullest first, each folded; a click on a cell of the figure opens
    it. drawn: the classes that the figure has, in its order."""
    classes, counts = evidence["classes"], _style.array(evidence["matrix"])
    cells = [tuple(map(int, each)) for each in mistakes["cells"]]
    by_count = sorted(Counter(cells).items(), key=lambda item: (-item[1], item[0]))
    place = {int(which): at for at, which in enumerate(drawn)}
    boxes = []
    for (true, said), count in by_count:
        rows = [i for i, cell in enumerate(cells) if cell == (true, said)]
        at = f"{place[true]},{place[said]}" if {true, said} <= place.keys() else ""
        words = f"{_style.cut(classes[true], 24)} taken for {_style.cut(classes[said], 24)}"
        whole = int(counts[true, said])
        told = f"{count} of {whole}" if count < whole else str(count)
        boxes.append(
            markupsafe.Markup(
                '<details class="cell" data-cell="{}"><summary>{}: {}</summary>{}</details>'
            ).format(at, words, told, _examples(mistakes, rows))
        )
    caption = "Examples that are wrong, by cell: click a cell, or a line here"
    return markupsafe.Markup('<p class="quiet">{}</p><div class="cells">{}</div>').format(
        caption, markupsafe.Markup("").join(boxes)
    )


def _examples(given: Mapping[str, Any], rows: Sequence[int]) -> markupsafe.Markup:
    """Some of the examples that are given, with their names."""
    ids = [str(given["ids"][i]) for i in rows]
    if given.get("kind") in _pictures.DRAWN:
        key, draw = _pictures.DRAWN[given["kind"]]
        return draw([given[key][i] for i in rows], ids)
    table = [[name, *given["rows"][i]] for name, i in zip(ids, rows)]
    return _pictures.table(["row", *given["columns"]], table)


def predictions(evidence: Evidence) -> list[Drawing]:
    """Prediction by truth, and the errors by themselves."""
    truth, predicted = (_style.array(evidence[key]).ravel() for key in ("targets", "predictions"))
    errors = (predicted - truth)[np.isfinite(predicted - truth)]
    unit = _style.text(evidence.get("unit") or "")
    kept = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), MAX_DOTS)).astype(int))
    ends = [float(np.nanmin(truth)), float(np.nanmax(truth))]
    ids = evidence.get("ids") or []
    named = [_style.text(_at(ids, int(i))) for i in kept]
    counts, edges = np.histogram(errors, bins=30)
    return [
        _style.frame(
            _style.dots(
                _style.listed(truth[kept]),
                _style.listed(predicted[kept]),
                name="examples",
                colour=_style.BLUE,
                marker={"size": 5, "opacity": 0.45},
                customdata=named,
                hovertemplate="%{customdata} truth %{x:.4g}, predicted %{y:.4g}<extra></extra>",
            ),
            _style.line(ends, ends, name="exact", colour=_style.INK, dash="dash"),
            caption="Prediction",
            x_title=f"truth {unit}",
        ),
        _style.frame(
            go.Bar(
                x=_style.listed((edges[1:] + edges[:-1]) / 2),
                y=counts.tolist(),
                marker={"color": _style.BLUE},
                hovertemplate="%{x:.4g}: %{y} examples<extra></extra>",
            ),
            caption="Examples by error",
            x_title=f"prediction minus truth {unit}",
            bargap=0.04,
        ),
    ]


def worst(evidence: Evidence) -> markupsafe.Markup:
    """The examples with the highest loss, each with a name to find it by."""
    labels, predicted = evidence.get("labels") or [], evidence.get("predicted") or []
    if evidence.get("kind") == "text":
        captions = [
            f"from {place}: {numbers.sensible(loss, 3)} nats"
            for place, loss in zip(evidence["ids"], evidence["losses"])
        ]
        pairs = zip(labels, predicted)
        texts = [f"asked      {a!r}\npredicted  {b!r}" for a, b in pairs]
        return _pictures.passages(texts, captions=captions)
    losses, ids = evidence.get("losses") or [], evidence.get("ids") or []
    near = _near(evidence)
    if evidence.get("kind") in _pictures.DRAWN:
        key, draw = _pictures.DRAWN[evidence["kind"]]
        examples = evidence[key]
        captions = [
            "\n".join(
                part
                for part in (
                    _verdict(_at(labels, i), _at(predicted, i)),
                    f"loss {_at(losses, i)}" if losses else "",
                    _at(ids, i),
                )
                if part
            )
            for i in range(len(examples))
        ]
        if evidence.get(f"near_{key}") and near:
            return _beside(evidence, key, draw, captions)
        return draw(examples, captions)
    given = {"row": ids, "truth": labels, "predicted": predicted, "loss": losses}
    given["nearest in training"] = near
    head = {name: values for name, values in given.items() if values}
    count = max(len(values) for values in head.values())
    inputs = evidence.get("rows") or [[]] * count
    columns = [*head, *(evidence.get("columns") or [])]
    rows = [[*(values[i] for values in head.values()), *inputs[i]] for i in range(count)]
    return _pictures.table(columns, rows, sortable=True)


def test_score(evidence: Evidence) -> go.Figure:
    """The test score with its interval, beside validation and the baselines."""
    value = evidence["value"]
    rows: list[tuple[str, float, str]] = []
    given = evidence.get("baselines") or {}
    for name, score in zip(given.get("names", []), given.get("scores", [])):
        if score is not None:
            rows.append((name, score, _style.GREY))
    people = evidence.get("people") or {}
    for person, score in zip(people.get("names", []), people.get("scores", [])):
        rows.append((f"{_style.cut(person, 12)}, validation", score, _style.PURPLE))
    if evidence.get("validation") is not None:
        rows.append(("this model, validation", evidence["validation"], _style.ORANGE))
    rows.append(("this model, test", value, _style.BLUE))
    names, values, colours = zip(*rows)
    places = list(range(len(rows)))
    points = _style.dots(
        list(values),
        places,
        name="score",
        colour=_style.BLUE,
        marker={"color": list(colours), "size": 10},
        hovertemplate="%{x:.4g}<extra></extra>",
    )
    points.update(mode="markers+text", textposition="top center", cliponaxis=False)
    points.text = [numbers.sensible(float(value)) for value in values]
    traces = []
    if evidence.get("low") is not None and evidence.get("high") is not None:
        traces.append(
            go.Scatter(
                x=[evidence["low"], evidence["high"]],
                y=[places[-1]] * 2,
                mode="lines",
                line={"color": _style.BLUE, "width": 4},
                opacity=0.45,
                hoverinfo="skip",
            )
        )
    unit = f" ({evidence['units']})" if evidence.get("units") else ""
    return _style.frame(
        *traces,
        points,
        caption=f"{evidence.get('metric', 'Score')}{unit} on the test split, with its interval",
        height=_style.rows_height(len(rows), minimum=170, each=40),
        yaxis={**_style.named_rows(names), "range": [-0.6, len(rows) - 0.3]},
        xaxis_showgrid=True,
        showlegend=False,
    )


def _near(evidence: Evidence) -> list[str]:
    """The nearest training examples of each mistake in words."""
    both = zip(evidence.get("near_labels") or [], evidence.get("near_ids") or [])
    return [
        ", ".join(f"{label} ({name})" for label, name in zip(labels, names))
        for labels, names in both
    ]


def _beside(evidence: Evidence, key: str, draw: Any, captions: list[str]) -> markupsafe.Markup:
    """A row a mistake: itself, then what is nearest to it in training."""
    each = len(evidence["near_ids"][0])
    examples, words, groups = [], [], []
    for i, caption in enumerate(captions):
        verdict, _, rest = caption.partition("\n")
        examples += [evidence[key][i], *evidence[f"near_{key}"][i * each : (i + 1) * each]]
        near = zip(evidence["near_labels"][i], evidence["near_ids"][i])
        words += [rest, *(f"{label}\ntrain {name}" for label, name in near)]
        groups += [f"{i + 1}. {verdict}; nearest in training"] * (1 + each)
    return draw(examples, words, groups=groups)


def _verdict(label: str, predicted: str) -> str:
    """What an example is, and what it was taken for; a right one may still have a large loss."""
    return label if predicted in ("", label) else f"{label} taken for {predicted}"


def _at(values: list[Any], i: int) -> str:
    """The words for one example, where they are given."""
    return numbers.sensible(values[i], 3) if i < len(values) else ""
