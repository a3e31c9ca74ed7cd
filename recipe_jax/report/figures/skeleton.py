"""The skeleton's experiments: the first loss, the baselines, one batch learnt by heart."""

from collections.abc import Mapping
from typing import Any

import markupsafe
import numpy as np
import plotly.graph_objects as go

from recipe_jax.report import numbers
from recipe_jax.report.figures import Drawing, _pictures, _style

Evidence = Mapping[str, Any]


def loss_at_init(evidence: Evidence) -> go.Figure:
    """The first loss of each seed against what theory says."""
    measured = evidence["measured"]
    measured = measured if isinstance(measured, list) else [measured]
    seeds = list(range(len(measured)))
    traces: list[Any] = [_style.dots(seeds, measured, name="measured", colour=_style.BLUE)]
    if evidence.get("expected") is not None:
        expected = evidence["expected"]
        traces.append(
            _style.level(
                expected,
                [-0.5, len(seeds) - 0.5],
                name=f"expected of the prior {numbers.sensible(expected)}",
                colour=_style.INK,
            )
        )
    theory = evidence.get("with_outputs") or []
    if theory:
        name = "expected with outputs that vary as these do"
        traces.append(
            go.Scatter(
                **{"x": seeds, "y": theory, "name": name, "mode": "markers"},
                marker={"color": _style.INK, "symbol": "line-ew-open", "size": 22},
            )
        )
    shown = (*measured, *theory, evidence.get("expected"))
    finite = [value for value in shown if value is not None]
    middle, spread = (max(finite) + min(finite)) / 2, max(finite) - min(finite)
    reach = max(0.75 * spread, 0.05 * abs(middle), 1e-6)
    return _style.frame(
        *traces,
        caption="Loss before the first step",
        x_title="seed",
        height=230,
        xaxis={"dtick": max(1, len(seeds) // 10), "range": [-0.5, len(seeds) - 0.5]},
        yaxis_range=[middle - reach, middle + reach],
    )


def output_bias(evidence: Evidence) -> go.Figure:
    """The first steps with the output bias at the prior, and without: no hockey stick."""
    steps = evidence["steps"]
    traces = [
        trace
        for key, name, colour in (
            ("with_prior", "bias set to the prior", _style.BLUE),
            ("without_prior", "bias zero", _style.GREY),
        )
        if evidence.get(key)
        for trace in _style.band(steps, evidence[key], name=name, colour=colour)
    ]
    return _style.frame(*traces, caption="Training loss", x_title="step")


def input_independent(evidence: Evidence) -> go.Figure:
    """Real inputs against zeros in their place."""
    steps = evidence["steps"]
    return _style.frame(
        *_style.band(steps, evidence["blind"], name="inputs zero", colour=_style.GREY),
        *_style.band(steps, evidence["real"], name="real inputs", colour=_style.BLUE),
        caption="Validation loss",
        x_title="step",
    )


def overfit_one_batch(evidence: Evidence) -> list[Drawing]:
    """A few examples learnt by heart: the loss goes to zero, and predictions become the labels."""
    drawings: list[Drawing] = []
    if evidence.get("losses"):
        sizes = evidence.get("sizes") or [""] * len(evidence["losses"])
        colours = [_style.BLUE, _style.ORANGE, _style.GREEN, _style.PURPLE, _style.GREY]
        traces = [
            _style.line(
                evidence["steps"],
                _above_zero(curve),
                name=f"{size} examples" if size != "" else "loss",
                colour=colours[i % len(colours)],
            )
            for i, (size, curve) in enumerate(zip(sizes, evidence["losses"]))
        ]
        drawings.append(
            _style.frame(
                *traces,
                caption="Training loss on one fixed batch",
                x_title="step",
                yaxis=_style.LOG,
            )
        )
    if evidence.get("labels") and evidence.get("predictions"):
        drawings.append(_labels_and_predictions(evidence))
    if not drawings:
        raise KeyError("losses")
    return drawings


def exact_evaluation(evidence: Evidence) -> markupsafe.Markup:
    """The same numbers at every batch size."""
    columns = {"batch size": "batch_sizes", "loss": "losses", "score": "scores"}
    present = {name: evidence[key] for name, key in columns.items() if evidence.get(key)}
    rows = [[_full(value) for value in row] for row in zip(*present.values())]
    return _pictures.table(list(present), rows, caption="Validation, by batch size")


def baselines(evidence: Evidence) -> go.Figure:
    """What simple methods reach: the bar to clear."""
    names, scores = evidence["names"], _style.array(evidence["scores"])
    sign = 1 if evidence.get("maximise", True) else -1
    order = np.argsort(np.where(np.isfinite(scores), sign * scores, -np.inf), kind="stable")
    names_of_ours = ("network", "this model")
    ours = [i for i, name in enumerate(names) if name in names_of_ours] or [order[-1]]
    return _style.bars(
        [names[i] for i in order],
        _style.listed(scores[order]),
        caption=f"{evidence.get('metric', 'Score')} on validation",
        colour=[_style.BLUE if i in ours else _style.GREY for i in order],
    )


def determinism(evidence: Evidence) -> markupsafe.Markup:
    """One digest a run; equal ones mean equal bits."""
    digests = evidence["digests"]
    return _pictures.table(
        ["run", "digest of the weights"],
        [[run, str(digest)[:16]] for run, digest in enumerate(digests, 1)],
    )


def _labels_and_predictions(evidence: Evidence) -> Drawing:
    """Classification: probability of each class, the label ringed; regression: a scatter; text:
    what was asked beside what was predicted."""
    if evidence.get("kind") == "text":
        pairs = zip(evidence["labels"], evidence["predictions"])
        return _pictures.passages([f"asked      {a!r}\npredicted  {b!r}" for a, b in pairs])
    labels, predictions = evidence["labels"], _style.array(evidence["predictions"])
    if predictions.ndim == 1 or predictions.shape[1] == 1:
        truth, predicted = _style.array(labels).ravel(), predictions.ravel()
        ends = [float(np.nanmin(truth)), float(np.nanmax(truth))]
        return _style.frame(
            _style.line(ends, ends, name="equal", colour=_style.GREY, dash="dash"),
            _style.dots(
                _style.listed(truth), _style.listed(predicted), name="examples", colour=_style.BLUE
            ),
            caption="Prediction by label, after training on this batch",
            x_title="label",
        )
    predictions, labels = predictions[:32], labels[:32]
    classes = evidence.get("classes") or [str(i) for i in range(predictions.shape[1])]
    place = {str(name): i for i, name in enumerate(classes)}
    truth = [place.get(str(label), label if isinstance(label, int) else None) for label in labels]
    examples = list(range(len(labels)))
    heat = go.Heatmap(
        z=[_style.listed(row) for row in predictions.T],
        x=examples,
        y=list(range(len(classes))),
        zmin=0,
        zmax=1,
        colorscale=[[0, _style.LOW], [1, _style.HIGH]],
        colorbar={"thickness": 8, "outlinewidth": 0, "tickformat": ".0%", "nticks": 3},
        xgap=1,
        ygap=1,
        hovertemplate="example %{x}, class %{y}: %{z:.3f}<extra></extra>",
    )
    ring = {"symbol": "circle-open", "size": 11, "line": {"width": 2}}
    return _style.frame(
        heat,
        _style.dots(examples, truth, name="the label", colour=_style.ORANGE, marker=ring),
        caption="Probability of each class, after training on this batch",
        x_title="example",
        height=_style.rows_height(len(classes), minimum=280),
        yaxis={**_style.named_rows(classes), "showgrid": False},
        showlegend=True,
    )


def _above_zero(curve: list[Any]) -> list[Any]:
    """For a log axis: a loss of exactly zero is drawn at the lowest that float32 tells from it."""
    return [None if value is None else max(value, 1e-8) for value in curve]


def _full(value: Any) -> Any:
    """All digits: here the last one matters."""
    return f"{value:.8g}" if isinstance(value, float) else value
