"""The search in the report: every setting a line, odd evidence, and hostile words."""

import json
import re
import time

import numpy as np
import plotly.graph_objects as go
import pytest
from test_report import HOSTILE, make_findings, make_run, parse

from recipe_jax import writers
from recipe_jax.report import figures, page
from recipe_jax.report.figures import _parallel, _scales, _style

NEW = ("seeds", "importance", "curves", "rounds", "of_rounds")


def sweep(count=24, seeds=3, maximise=True):
    """Evidence of a search with an axis of each kind: log, log with 0, words, lists, yes and no,
    and one with a condition."""
    draw = np.random.default_rng(0)
    rates = 10 ** draw.uniform(-4, 0, count)
    score = 0.9 - 0.05 * (np.log10(rates) + 2) ** 2
    score = (score if maximise else 1 - score)[:, None] + 0.005 * draw.normal(size=(count, seeds))
    score[5] = np.nan
    means = score.mean(1)
    order = [int(i) for i in np.argsort(-means if maximise else means)]
    names = draw.choice(["sgd", "adam"], count)
    curves = draw.normal(size=(min(8, count), seeds, 12)).cumsum(-1)
    curves[-1, 0, 4:] = np.nan
    rounds = np.where(np.arange(count) % 3, 1, 9)
    return writers.plain(
        {
            "axes": {
                "optim.learning_rate": {"values": rates, "log": True},
                "optim.weight_decay": {"values": rates * (names == "sgd"), "log": True},
                "optim.name": {"values": names, "log": False},
                "optim.momentum": {
                    "values": [
                        0.5 + rate / 3 if n == "sgd" else None for n, rate in zip(names, rates)
                    ],
                    "log": False,
                },
                "model.widths": {"values": [[16], [128, 16]] * (count // 2), "log": False},
                "model.norm": {"values": [True, False] * (count // 2), "log": False},
            },
            "scores": means,
            "status": ["diverged" if i == 5 else "done" for i in range(count)],
            "best": order[0],
            "winner": order[1],
            "metric": "accuracy" if maximise else "loss",
            "maximise": maximise,
            "seeds": score,
            "importance": {"optim.learning_rate": 0.8, "optim.name": 0.05},
            "curves": {
                "epochs": list(range(12)),
                "settings": order[: len(curves)],
                "train": curves,
                "validation": curves,
            },
            "rounds": rounds,
            "of_rounds": 9,
        }
    )


def drawn(evidence):
    """Parallel coordinates, if they are drawn, and the captions of the figures."""
    drawings = figures.draw("search", evidence) or []
    svgs = [str(each) for each in drawings if not isinstance(each, go.Figure)]
    captions = [each.layout.meta["caption"] for each in drawings if isinstance(each, go.Figure)]
    assert len(svgs) <= 1
    return (svgs or [""])[0], captions


def lines(svg):
    """(class, setting, values, path) of every line, from the lowest to the one on top."""
    found = [
        attributes
        for tag, attributes in parse(svg).tags
        if tag == "g" and "data-values" in attributes
    ]
    paths = re.findall(r'<g class="line[^>]*><path d="([^"]*)"', svg)
    return [
        (a["class"].split()[1], int(a["data-setting"]), json.loads(a["data-values"]), path)
        for a, path in zip(found, paths, strict=True)
    ]


def page_of(evidence, path):
    findings = [f for f in make_findings() if f["check"] == "search"]
    findings[0]["evidence"] = evidence
    writers.write_json(path / "findings.json", findings)
    writers.write_json(path / "run.json", make_run(findings))
    return page.build_report(path)


def test_all_is_drawn_in_order():
    svg, captions = drawn(sweep())
    assert svg.count('class="axis"') == 7
    assert [caption.split()[0] for caption in captions] == [
        *("Share", "Best"),
        *["Accuracy"] * 8,
        "Settings",
    ]


def test_what_is_not_in_the_evidence_is_left_out():
    old = {key: value for key, value in sweep().items() if key not in NEW}
    svg, captions = drawn(old)
    assert svg and len(captions) == 7
    assert drawn(sweep(seeds=1))[1] == [c for c in drawn(sweep())[1] if "every seed" not in c]
    even = sweep() | {"rounds": [9] * 24}
    assert len(drawn(even)[1]) == len(drawn(sweep())[1]) - 1


@pytest.mark.parametrize("key", sweep())
def test_odd_evidence_is_drawn_or_left_out(key):
    evidence = sweep(8)
    odd = [None, {}, 3, "words", [None] * 8, [[]] * 8, {"a": None}]
    lost = {each: item for each, item in evidence.items() if each != key}
    for given in (lost, *(evidence | {key: value} for value in odd)):
        page.Canvas().place(figures.draw("search", given))


@pytest.mark.parametrize(
    "values", [[None] * 24, [0.0] * 24, [0] + [None] * 23, [-1.0, 1e300] * 12, ["a", 1] * 12]
)
@pytest.mark.parametrize("log", [True, False])
def test_odd_axes_are_drawn(values, log):
    svg, captions = drawn(sweep() | {"axes": {"a": {"values": values, "log": log}}})
    assert svg.count('class="axis"') == 2 and "nan" not in svg
    assert "Accuracy by a" in captions


def test_no_axis_and_no_score():
    svg, captions = drawn(sweep() | {"axes": {}})
    assert not svg and "Best accuracy so far" in captions
    svg, captions = drawn(sweep() | {"scores": [None] * 24, "status": ["diverged"] * 24})
    assert {kind for kind, *_ in lines(svg)} == {"diverged"}
    assert "Best accuracy so far" not in captions and "Accuracy by optim.name" in captions


@pytest.mark.parametrize("maximise", [True, False])
def test_the_best_lies_on_top_and_highest(maximise):
    evidence = sweep(maximise=maximise)
    svg, _ = drawn(evidence)
    kinds = lines(svg)
    assert [kind for kind, *_ in kinds[-2:]] == ["chosen", "best"]
    assert [setting for _, setting, *_ in kinds[-2:]] == [evidence["winner"], evidence["best"]]
    assert kinds[0][0] == "diverged" and kinds[0][1] == 5
    ends = [float(path.rpartition(",")[2]) for *_, path in kinds]
    assert ends[-1] == _parallel.TOP == min(ends) and ends[0] == _parallel.BOTTOM == max(ends)
    # Towards the top scores only get better, and so do the shades.
    assert ends[1:-2] == sorted(ends[1:-2], reverse=True)
    assert [kind for kind, *_ in kinds[1:-2]] == sorted(kind for kind, *_ in kinds[1:-2])
    assert ">best 0." in svg and ">chosen 0." in svg


def test_an_axis_that_is_not_there_is_passed_by():
    evidence = sweep()
    momentum = evidence["axes"]["optim.momentum"]["values"]
    for _, setting, values, path in lines(drawn(evidence)[0]):
        there = momentum[setting] is not None
        assert (values[3] is not None) == there
        assert path.count("M") == (1 if there else 2) and path.count(",") == (7 if there else 6)


def test_places_on_a_logarithmic_axis():
    places, ticks = _scales.scale([1e-4, 1e-2, 1.0, None], log=True)
    np.testing.assert_allclose(places, [0, 0.5, 1, np.nan])
    assert ticks == [(0, "1e-4"), (0.5, "0.01"), (1, "1")]
    places, ticks = _scales.scale([0, 1, 100], log=True)
    np.testing.assert_allclose(places, [0, _scales.APART, 1])
    assert ticks[0] == (0, "0")
    assert _scales.round_numbers(0.03, 0.4, log=True) == pytest.approx([0.05, 0.1, 0.2])
    assert _scales.round_numbers(0, 0.6) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_a_few_bad_scores_do_not_press_the_others_together():
    losses = [*np.linspace(0.1, 0.2, 40), 1e9]
    assert _style.score_range(losses, maximise=False) == pytest.approx((0.1 + 3 * 30 / 390, 0.1))
    assert _style.score_range([1, 2, 3], maximise=True) == (1, 3)
    assert _style.score_range([None], maximise=True) == (0, 0)
    places, ticks = _scales.score_scale(np.array(losses), maximise=False)
    assert places[-1] == 0 and ticks[0] == (0, "≥ 0.331") and places[39] > 0.5


def test_many_settings_are_sampled_and_the_page_stays_small(tmp_path):
    evidence = sweep(10_000)
    evidence["winner"] = evidence["scores"].index(
        min(v for v in evidence["scores"] if v is not None)
    )
    start = time.process_time()
    svg, captions = drawn(evidence)
    assert time.process_time() - start < 3
    kinds = lines(svg)
    assert len(kinds) == _parallel.MAX_LINES
    ranked = sorted((-score, i) for i, score in enumerate(evidence["scores"]) if score is not None)
    settings = {setting for _, setting, *_ in kinds}
    assert {i for _, i in ranked[:99]} <= settings and evidence["winner"] in settings
    assert "500 of 10\u202f000" in svg
    assert any("2000 of 10\u202f000" in caption for caption in captions)
    assert page_of(evidence, tmp_path).stat().st_size < 8e6


def test_hostile_words_stay_words(tmp_path):
    words = [HOSTILE, "\u202etxet\u200f", "x" * 10_000]
    evidence = sweep() | {"metric": HOSTILE}
    evidence["axes"] = {
        word: {"values": [*words, None] * 6, "log": False} for word in words
    } | evidence["axes"]
    evidence["importance"] = dict.fromkeys(words, 0.3)
    text = page_of(evidence, tmp_path).read_text()
    assert HOSTILE not in text and "<img src=x" not in text and "x" * 200 not in text
    tags = parse(text).tags
    assert sum(tag == "script" for tag, _ in tags) == 3
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    data = re.search(r'id="report-data">(.*?)</script>', text, re.DOTALL).group(1)
    assert "<img" not in json.dumps(json.loads(data)["figures"])
    values = {value for _, _, values, _ in lines(drawn(evidence)[0]) for value in values}
    assert {_style.cut(word) for word in words} <= values
