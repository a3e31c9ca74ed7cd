"""The report: complete, offline, and safe with hostile words; test_browser.py opens it."""

import html.parser
import json
import re
import shutil

import numpy as np
import plotly.graph_objects as go
import pytest
import sklearn.datasets

from recipe_jax import writers
from recipe_jax.report import content, figures, numbers, page
from recipe_jax.report.figures import _pictures, _style
from recipe_jax.types import UserError

HOSTILE = "</script><script>alert(1)</script>\"'<img src=x onerror=alert(2)>=cmd|' /C calc'!A0"
WORDS = ("coat", "dress", "shoe", "bag", "shirt")


# --- A plausible workdir -----------------------------------------------------------------------


def make_findings(words=WORDS, feature="petal length", unit="cm"):
    """One finding a check, with the evidence that its figure draws."""
    draw = np.random.default_rng(0)
    classes, steps = list(words), list(range(0, 500))
    seeds = 4

    def falling(low, noise=0.02, number=seeds, length=500):
        x = np.arange(length)
        return low + np.exp(-x / 90) + noise * draw.normal(size=(number, length)).cumsum(1) / 9

    pictures = sklearn.datasets.load_digits().images[:20]
    labels = [classes[i % len(classes)] for i in range(20)]
    rates = np.geomspace(1e-7, 1, 22)
    losses = [2.3 - 2 / (1 + (3e-3 / rate) ** 1.5) for rate in rates[:-4]]
    dials = {
        "optim.learning_rate": {"values": 10 ** draw.uniform(-4, -1, 40), "log": True},
        "model.dropout": {"values": draw.uniform(0, 0.6, 40), "log": False},
        "optim.weight_decay": {"values": 10 ** draw.uniform(-6, -1, 40), "log": True},
    }
    scores = 0.97 - 0.02 * (np.log10(dials["optim.learning_rate"]["values"]) + 2.4) ** 2
    matrix = np.eye(len(classes)) * 60 + draw.integers(0, 4, (len(classes), len(classes)))
    probabilities = np.full((8, len(classes)), 0.01)
    probabilities[np.arange(8), np.arange(8) % len(classes)] = 0.96
    names = [f"{feature} {i}" for i in range(8)]
    rows = draw.normal(size=(6, 8))
    truth = draw.normal(20, 5, 200)
    image = {"kind": "image", "images": pictures, "labels": labels, "classes": classes}
    image["ids"] = [f"row {i}" for i in range(20)]
    found = [
        ("data", "DATA1", "samples", "PASS", "Four examples of each class.", image),
        (
            "data",
            "DATA1",
            "samples",
            "PASS",
            "The first rows.",
            {"kind": "table", "columns": names, "rows": rows, "labels": labels[:6]},
        ),
        (
            "data",
            "DATA9 DATA1",
            "class_counts",
            "PASS",
            "The rarest class has 150 examples, the commonest 190.",
            {"classes": classes, "train": [150, 170, 190, 180, 160], "validation": [30] * 5},
        ),
        (
            "data",
            "DATA1 DATA3",
            "target_distribution",
            "PASS",
            "Target: mean 20.1, standard deviation 5.",
            {
                "edges": np.linspace(5, 35, 25),
                "train": np.histogram(truth, np.linspace(5, 35, 25))[0],
                "validation": np.histogram(truth[:60], np.linspace(5, 35, 25))[0],
                "unit": unit,
            },
        ),
        (
            "data",
            "DATA3",
            "feature_ranges",
            "WARN",
            "Raw values from -3 to 900; 1 of 8 features never changes.",
            {
                "features": names,
                "minimum": rows.min(0),
                "maximum": rows.max(0),
                "mean": rows.mean(0),
                "std": rows.std(0),
                "constant": names[:1],
            },
        ),
        (
            "data",
            "DATA3",
            "feature_ranges",
            "PASS",
            "Raw values from 0 to 16.",
            {"mean_image": pictures.mean(0), "std_image": pictures.std(0)},
        ),
        (
            "data",
            "DATA1",
            "duplicates",
            "WARN",
            "Two pairs of equal examples lie in train.",
            {"within_train": 2, "across_splits": 0, "conflicting": 1, "pairs": [["3", "17"]]},
        ),
        (
            "data",
            "DATA1",
            "non_finite",
            "FAIL",
            "3 of 12000 input values are NaN or infinite.",
            {"columns": names[:2], "counts": [1, 2]},
        ),
        (
            "data",
            "SKEL8",
            "network_input",
            "PASS",
            "What enters has mean 0.01 and standard deviation 0.98.",
            {"raw": pictures[:4], "entered": pictures[:4] / 8 - 1, "mean": 0.01, "std": 0.98},
        ),
        (
            "skeleton",
            "SKEL1",
            "loss_at_init",
            "PASS",
            "Loss at the start 1.64 ± 0.03 over 4 seeds; theory says 1.609.",
            {"measured": [1.61, 1.66, 1.63, 1.65], "expected": 1.609, "logit_variance": [0.1] * 4},
        ),
        (
            "skeleton",
            "SKEL2",
            "output_bias",
            "PASS",
            "With the bias at the prior the first loss is 0.4 lower.",
            {"steps": steps, "with_prior": falling(0.4)[0], "without_prior": falling(0.9)[0]},
        ),
        (
            "skeleton",
            "SKEL5",
            "input_independent",
            "PASS",
            "Real inputs beat zeros, p = 0.0004.",
            {
                "steps": steps,
                "real": falling(0.2),
                "blind": falling(1.2, 0.01),
                "p_value": 0.0004,
            },
        ),
        (
            "skeleton",
            "SKEL6",
            "overfit_one_batch",
            "PASS",
            "Two examples and a batch of 16 are learnt by heart.",
            {
                "steps": steps,
                "losses": np.exp(-np.arange(500) / 40)[None] * [[1.0], [2.0]],
                "sizes": [2, 16],
                "labels": [classes[i % len(classes)] for i in range(8)],
                "predictions": probabilities,
                "classes": classes,
            },
        ),
        (
            "skeleton",
            "SKEL11",
            "exact_evaluation",
            "PASS",
            "Batches of 7 and of 64 give the same loss.",
            {"batch_sizes": [7, 64], "losses": [0.4312345, 0.4312345], "scores": [0.91, 0.91]},
        ),
        (
            "skeleton",
            "SKEL19",
            "baselines",
            "PASS",
            "The network beats the majority class, a linear model and the nearest neighbours.",
            {
                "names": ["network", "majority", "linear", "5 nearest neighbours"],
                "scores": [0.96, 0.21, 0.94, 0.955],
                "metric": "accuracy",
                "maximise": True,
            },
        ),
        (
            "skeleton",
            "ENV4",
            "determinism",
            "PASS",
            "Two runs give the same bits.",
            {"digests": ["a3f09c41d2" * 4] * 2},
        ),
        (
            "skeleton",
            "SKEL14",
            "dead_units",
            "SKIP",
            "The model has no ReLU.",
            {"layers": ["hidden 1", "hidden 2"], "share": [0.01, 0.02]},
        ),
        (
            "overfit",
            "FIT6",
            "range_test",
            "WARN",
            "The rate in the config is 3 times the rate that the range test suggests.",
            {
                "rates": rates,
                "losses": [*losses, 9.0, None, None, None],
                "initial": 2.3,
                "configured": 3e-2,
                "tenth": 4e-3,
                "steepest": 2e-3,
                "ramp_rates": np.geomspace(1e-7, 1, 400),
                "ramp_losses": 2.3 - 2 / (1 + (3e-3 / np.geomspace(1e-7, 1, 400)) ** 1.5),
            },
        ),
        (
            "overfit",
            "FIT3 SKEL7",
            "model_ladder",
            "PASS",
            "The smallest model that reaches the training target has width 64.",
            {
                "rungs": ["width 16", "width 32", "width 64", "width 128"],
                "num_params": [1300, 3200, 8800, 27000],
                "train_loss": [[0.4, 0.45], [0.2, 0.21], [0.04, 0.05], [0.01, 0.02]],
                "validation_score": [[0.85, 0.86], [0.92, 0.93], [0.96, 0.955], [0.96, 0.965]],
                "chosen": 2,
                "metric": "accuracy",
            },
        ),
        (
            "regularise",
            "REG11 REG6",
            "regularisers",
            "PASS",
            "Weight decay is kept; dropout and shifts are not.",
            {
                "names": ["weight decay 0.01", "dropout 0.3", "shift by 1"],
                "difference": [0.011, -0.002, 0.001],
                "low": [0.006, -0.008, -0.004],
                "high": [0.016, 0.004, 0.006],
                "kept": [True, False, False],
                "seeds": 8,
                "metric": "accuracy",
                "smallest_gain": 0.002,
            },
        ),
        (
            "tune",
            "TUNE1 TUNE10",
            "search",
            "PASS",
            "The best of 40 trials has a rate of 4.1e-3.",
            {
                "axes": dials,
                "scores": [None if i % 13 == 12 else score for i, score in enumerate(scores)],
                "status": ["diverged" if i % 13 == 12 else "done" for i in range(40)],
                "best": int(np.argmax(np.where(np.arange(40) % 13 == 12, 0, scores))),
                "metric": "accuracy",
                "maximise": True,
            },
        ),
        (
            "squeeze",
            "ENV2",
            "curves",
            "PASS",
            "Four final runs: validation accuracy 0.968 ± 0.004.",
            {
                "steps": steps,
                "epochs": [step / 25 for step in steps],
                "train_loss": falling(0.05),
                "validation_loss": falling(0.15),
                "train_score": 1 - falling(0.02) / 2,
                "validation_score": 1 - falling(0.06) / 2,
                "metric": "accuracy",
            },
        ),
        (
            "squeeze",
            "SQZ1",
            "seed_ensemble",
            "PASS",
            "Averaging four seeds gives 0.006 more.",
            {
                "sizes": [1, 2, 3, 4],
                "scores": [0.965, 0.969, 0.971, 0.972],
                "single": [0.965, 0.968, 0.962, 0.97],
                "metric": "accuracy",
            },
        ),
        (
            "squeeze",
            "DATA10",
            "confusion",
            "PASS",
            f"13 of 360 test examples are wrong; most often {classes[0]!r} for {classes[4]!r}.",
            {
                "classes": classes,
                "matrix": matrix,
                "mistakes": {
                    **{key: image[key][:8] for key in ("images", "labels", "ids")},
                    "kind": "image",
                    "cells": [[1, 2]] * 3 + [[0, 4]] * 5,
                },
            },
        ),
        (
            "squeeze",
            "DATA10",
            "predictions",
            "PASS",
            "Predictions beside the truth.",
            {"targets": truth, "predictions": truth + draw.normal(size=200), "unit": unit},
        ),
        (
            "squeeze",
            "DATA10",
            "worst",
            "PASS",
            "The 8 test examples with the largest loss, from 7.4 down.",
            {
                **{key: image[key][:8] for key in ("images", "labels", "ids")},
                "kind": "image",
                "predicted": labels[1:9],
                "losses": np.linspace(7.4, 2.1, 8),
            },
        ),
        (
            "squeeze",
            "DATA6 SQZ1",
            "test_score",
            "PASS",
            "Test accuracy 0.9722 [0.9499, 0.9848] on 360 examples; validation 0.968.",
            {
                "metric": "accuracy",
                "value": 0.97222,
                "low": 0.9499,
                "high": 0.9848,
                "validation": 0.968,
                "count": 360,
                "baselines": {
                    "names": ["majority", "linear", "nearest neighbours"],
                    "scores": [0.21, 0.942, 0.953],
                },
            },
        ),
    ]
    return [
        {
            "stage": stage,
            "row": row,
            "check": check,
            "fault": "A8" if status in ("WARN", "FAIL") else "",
            "status": status,
            "summary": summary,
            "evidence": evidence,
            "remedy": f"Mend what {check} names: leave the column out, or look at the examples."
            if status in ("WARN", "FAIL")
            else "",
        }
        for stage, row, check, status, summary, evidence in found
    ]


def make_run(findings, status="done"):
    """run.json of a run that made these findings."""
    reached = {finding["stage"] for finding in findings}
    expects = "What comes in is what the reader says it is, and nothing in it is broken."
    return {
        "name": "digits · mlp",
        "status": status,
        "command": ["python", "-m", "experiments.run", "--config", "configs/digits.py"],
        "overrides": {"train.epochs": 30, "optim.learning_rate": 0.03, "data.name": "digits"},
        "seed": 0,
        "data": {
            "name": "digits",
            "fingerprint": "9f2c" * 16,
            "examples": {"train": 1078, "validation": 359, "test": 360},
        },
        "devices": {"kind": "cpu", "count": 1},
        "packages": {"jax": "0.10.2", "flax": "0.12.8", "numpy": "2.4.6"},
        "git": {"commit": "8333e437f3" * 4, "dirty": True, "diff": "-a = 1\n+a = 2\n"},
        "python": "3.11.7",
        "platform": "Linux",
        "stages": [
            {
                "name": stage,
                "state": "done" if stage in reached else "waiting",
                "expects": expects,
                "decision": f"The {stage} stage is through, and its settings are kept.",
                "run_seconds": 12.3,
                "lanes": 24,
            }
            for stage in content.STAGES
        ],
        "test_openings": [{"stage": "squeeze", "reason": "the final score of the recipe"}],
        "total_seconds": 83.1,
    }


def make_workdir(path, **words):
    """A finished run's folder."""
    path.mkdir(parents=True, exist_ok=True)
    findings = make_findings(**words)
    writers.write_json(path / "findings.json", findings)
    writers.write_json(path / "run.json", make_run(findings))
    config = {"seed": 0, "model": {"name": "mlp", "width": 64}, "optim": {"learning_rate": 3e-2}}
    writers.write_json(path / "config.json", config)
    rows = [
        {"trial": f"t{i}", "seed": i, "optim.learning_rate": 1e-3 * i, "score": 0.9 + i / 100}
        for i in range(5)
    ]
    writers.write_trials_csv(path / "trials.csv", rows)
    with writers.JsonlWriter(path / "metrics.jsonl") as file:
        for trial in range(3):
            for step in range(0, 100, 10):
                for split in ("train", "validation"):
                    row = {"stage": "squeeze", "request": "final runs", "trial": f"t{trial}"}
                    loss = 2.0 / (1 + step) + 0.01 * trial
                    file.write(
                        {**row, "step": step, "epoch": step / 10, "split": split, "loss": loss}
                    )
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    workdir = make_workdir(tmp_path_factory.mktemp("report") / "run")
    return page.build_report(workdir)


# --- The page ------------------------------------------------------------------------------------


class _Tags(html.parser.HTMLParser):
    """Every element of a page with its attributes, and the words between them."""

    def __init__(self):
        super().__init__()
        self.tags, self.words, self.inside = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.words.append(data)


def parse(text):
    tags = _Tags()
    tags.feed(text)
    return tags


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_it_holds_every_finding_and_stays_small(built):
    text = built.read_text()
    words = " ".join(" ".join(parse(text).words).split())
    for finding in json.loads((built.parent / "findings.json").read_text()):
        assert finding["summary"] in words
        assert finding["remedy"] in words
    assert len(text) < 8e6
    assert text.count("!function") == page.plotly.offline.get_plotlyjs().count("!function")


def test_the_overrides_come_first_and_the_verdict_second(built):
    words = " ".join("".join(parse(built.read_text().split("<body>")[1]).words).split())
    assert words.startswith("Overridden train.epochs=30 optim.learning_rate=0.03 data.name=digits")
    places = [
        words.index(word) for word in ("Finished, but 1 check failed", "0.9722", "What failed")
    ]
    assert places == sorted(places) and places[-1] < words.index("Expected")


def test_what_the_diagnosis_would_try_stands_on_the_first_screen(tmp_path):
    command = "python -m experiments.run --config configs/digits.py --config.model.dropout=0.1"
    found = {
        "check": "verdict",
        "row": "DIAG1",
        "status": "PASS",
        "summary": "Healthy.",
        "fault": "",
    }
    found |= {"stage": "diagnose", "remedy": ""}
    found["evidence"] = {"verdict": "healthy", "metric": "accuracy"}
    found["evidence"]["next"] = [
        {"name": "dropout <1>", "gain": 0.01, "measured": True, "command": command}
    ]
    writers.write_json(tmp_path / "run.json", make_run([found]))
    writers.write_json(tmp_path / "findings.json", [found])
    words = " ".join("".join(parse(page.build_report(tmp_path).read_text()).words).split())
    start = words.index("What to do next")
    assert f"Try dropout <1>: {command}" in words[start : words.index("Expected")]


def test_nothing_is_loaded_from_elsewhere(built):
    for tag, attributes in parse(built.read_text()).tags:
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
        elif tag == "a":
            assert attributes.get("href", "#").startswith("#")
        else:
            assert not {"src", "href", "srcset", "action"} & set(attributes), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)


def test_every_link_has_its_target_and_no_id_comes_twice(built):
    tags = parse(built.read_text()).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {
        attributes["href"][1:] for tag, attributes in tags if tag == "a" and "href" in attributes
    }
    assert links <= set(ids)
    assert {"SKEL6", "DATA6", "SQZ1", "FIT6", "stage-tune"} <= set(ids)


def test_the_policy_names_each_script_and_nothing_else(built):
    text = built.read_text()
    policy = (
        re.search(r'Content-Security-Policy" content="([^"]*)"', text)
        .group(1)
        .replace("&#39;", "'")
    )
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert "unsafe" not in rules["script-src"]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert rules["script-src"].split() == [page.digest(script) for script in scripts]
    assert len(scripts) == 2


def test_the_twin_for_machines_is_strict_and_complete(built):
    twin = strict((built.parent / "report.json").read_text())
    assert [stage["name"] for stage in twin["stages"]] == list(content.STAGES)
    findings = [finding for stage in twin["stages"] for finding in stage["findings"]]
    assert len(findings) == len(make_findings())
    assert twin["verdict"]["score"]["value"] == 0.97222
    assert twin["verdict"]["failed"] == [f["anchor"] for f in findings if f["status"] == "FAIL"]
    assert twin["trials"]["rows"][3] == ["t3", 3, 0.003, 0.93]


def test_hostile_words_stay_words(tmp_path):
    words = [f"{HOSTILE}{i}" for i in range(5)]
    workdir = make_workdir(tmp_path / "run", words=words, feature=HOSTILE, unit=HOSTILE)
    run = json.loads((workdir / "run.json").read_text())
    run |= {"name": HOSTILE, "overrides": {HOSTILE: HOSTILE}, "command": [HOSTILE]}
    run["git"]["diff"] = run["stages"][0]["decision"] = HOSTILE
    run["test_openings"][0]["reason"] = HOSTILE
    writers.write_json(workdir / "run.json", run)
    findings = json.loads((workdir / "findings.json").read_text())
    for finding in findings:
        finding |= {"summary": HOSTILE, "remedy": HOSTILE, "row": HOSTILE, "fault": HOSTILE}
    findings.append(
        {**findings[0], "check": HOSTILE, "stage": HOSTILE, "evidence": {HOSTILE: HOSTILE}}
    )
    writers.write_json(workdir / "findings.json", findings)
    writers.write_trials_csv(workdir / "trials.csv", [{HOSTILE: HOSTILE}])
    with writers.JsonlWriter(workdir / "metrics.jsonl") as file:
        for step in range(3):
            for split in ("train", HOSTILE):
                row = {"stage": "tune", "request": HOSTILE, "split": split}
                file.write({**row, "step": step, "loss": 1.0})
    text = page.build_report(workdir).read_text()
    assert HOSTILE not in text
    assert "<img src=x" not in text
    tags = parse(text).tags
    assert sum(tag == "script" for tag, _ in tags) == 3
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    # In figures the tags that plotly would read are escaped as well.
    data = re.search(r'id="report-data">(.*?)</script>', text, re.DOTALL).group(1)
    assert "<" not in data
    assert "<img" not in json.dumps(strict(data)["figures"])


def test_a_run_that_stopped_at_a_gate_has_a_page(tmp_path):
    findings = [f for f in make_findings() if f["stage"] in ("data", "skeleton")]
    run = make_run(findings, status="gate closed") | {"test_openings": []}
    run["stages"][1]["state"] = "gate closed"
    for stage in run["stages"][2:]:
        stage |= {"decision": "", "run_seconds": None}
    writers.write_json(tmp_path / "findings.json", findings)
    writers.write_json(tmp_path / "run.json", run)
    words = " ".join(parse(page.build_report(tmp_path).read_text()).words)
    assert "Stopped at the gate of skeleton: 1 check failed." in words
    assert "never opened" in words and "Not reached." in words


@pytest.mark.parametrize("missing", ["config.json", "run.json", "findings.json", "metrics.jsonl"])
def test_any_file_may_be_missing(tmp_path, missing):
    workdir = make_workdir(tmp_path / "run")
    (workdir / missing).unlink()
    strict((page.build_report(workdir).parent / "report.json").read_text())


@pytest.mark.parametrize(
    "name, text",
    [
        ("trials.csv", b"\xf3tage,trial\n"),
        ("run.json", b'{"stages": 3}'),
        ("run.json", b'{"stages": [3]}'),
        ("findings.json", b"[7]"),
        ("metrics.jsonl", b"7\n"),
    ],
)
def test_a_file_that_no_run_wrote_is_one_sentence(built, tmp_path, name, text):
    workdir = tmp_path / "run"
    shutil.copytree(built.parent, workdir)
    (workdir / name).write_bytes(text)
    with pytest.raises(UserError, match="run the command again") as caught:
        content.collect(workdir)
    assert "\n" not in str(caught.value)


def test_an_empty_workdir_has_a_page(tmp_path):
    assert "Not finished" in page.build_report(tmp_path).read_text()


def test_building_twice_gives_the_same_bytes(built):
    before = built.read_bytes()
    assert page.build_report(built.parent).read_bytes() == before
    assert not list(built.parent.glob(".*.tmp"))


# --- The figures ---------------------------------------------------------------------------------


CHECKS = sorted({finding["check"] for finding in make_findings()} - {"dead_units"})


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_is_drawn_and_survives_lost_keys(check):
    for finding in make_findings():
        if finding["check"] == check:
            evidence = writers.plain(finding["evidence"])
            assert figures.draw(check, evidence), check
            for key in evidence:
                figures.draw(check, {k: v for k, v in evidence.items() if k != key})
                figures.draw(check, evidence | {key: None})
                figures.draw(check, evidence | {key: []})


def test_no_figure_needs_webgl():
    for finding in make_findings():
        drawings = figures.draw(finding["check"], writers.plain(finding["evidence"])) or []
        for drawing in drawings:
            if isinstance(drawing, go.Figure):
                kinds = {trace.type for trace in drawing.data}
                assert kinds <= {"scatter", "bar", "heatmap"}


def test_a_check_that_nobody_draws_has_a_small_table():
    assert figures.draw("dead_units", {"share": [0.1]}) is None


def test_the_first_losses_have_the_whole_of_theory_beside_them():
    """A level for the prior, and for each seed what its varying outputs add; all within sight."""
    evidence = {"measured": [2.50, 2.55], "expected": 2.30, "with_outputs": [2.48, 2.90]}
    (figure,) = figures.draw("loss_at_init", evidence)
    drawn = {trace.name: list(trace.y) for trace in figure.data}
    assert drawn["measured"] == [2.50, 2.55]
    assert set(drawn["expected of the prior 2.3"]) == {2.30}
    assert drawn["expected with outputs that vary as these do"] == [2.48, 2.90]
    low, high = figure.layout.yaxis.range
    assert low < 2.30 and high > 2.90
    without = figures.draw("loss_at_init", evidence | {"with_outputs": None})[0]
    assert [trace.name for trace in without.data] == ["measured", "expected of the prior 2.3"]
    shown = page._small_table({"layers": ["hidden 1"], "share": [0.25], "big": [0] * 1000})
    assert "hidden 1" in shown and "0.25" in shown and "big" not in shown
    told = {"rates": {"adam": {"from": 1e-4, "at_end": True}, "sgd": {"from": 0.1}}, "none": []}
    shown = page._small_table({**told, "of_steps": 3, "norms": {"layer 0": 0.5}})
    for cell in ("adam", "1e-4", "at end", "yes", "sgd", "of steps", "layer 0"):
        assert cell in shown
    assert shown.count("<table") == 3 and "none" not in shown
    assert figures.draw("_functions", {"a": 1}) is None and figures.draw("np", {"a": 1}) is None


def test_thinning_keeps_the_ends_and_every_extreme():
    y = np.sin(np.arange(100_000) / 7e3)
    y[54_321], y[12_345], y[777] = 9.0, -9.0, np.nan
    x, thinned = _style.thin(np.arange(100_000), y)
    assert len(x) <= 300 and x[0] == 0 and x[-1] == 99_999
    assert max(thinned) == 9.0 and min(thinned) == -9.0
    assert x == sorted(x) and x[thinned.index(9.0)] == 54_321
    short = [3.0, None, 1.0]
    assert _style.thin([0, 1, 2], short) == ([0, 1, 2], short)


def test_a_band_is_the_median_between_the_extremes():
    low, high, middle = _style.band(
        [0, 1], [[1, 5], [2, None], [9, 7]], name="a", colour=_style.BLUE
    )
    assert [low.y, high.y, middle.y] == [(1, 5), (9, 7), (2, 6)]
    assert len(_style.band([0, 1], [1, 2], name="a", colour=_style.BLUE)) == 1


def test_curves_are_shown_at_the_height_they_need_after_the_start():
    steep = _style.line(
        range(100), [9.0] * 5 + [1.0, 1.2] * 47 + [1.0], name="a", colour=_style.BLUE
    )
    low, high = _style.late_range([steep])["range"]
    assert 0.9 < low < 1.0 and 1.2 < high < 1.3
    even = _style.line(range(100), list(range(100)), name="a", colour=_style.BLUE)
    assert _style.late_range([even]) == {}


def test_every_colour_has_a_partner_for_dark_screens():
    colour = re.compile(r"^(#[0-9a-f]{6}|rgba\([^)]*\))$")

    def words(value):
        if isinstance(value, dict):
            return [word for item in value.values() for word in words(item)]
        if isinstance(value, list | tuple):
            return [word for item in value for word in words(item)]
        return [value] if isinstance(value, str) else []

    used = {
        word
        for finding in make_findings()
        for drawing in figures.draw(finding["check"], writers.plain(finding["evidence"])) or []
        if isinstance(drawing, go.Figure)
        for word in words(drawing.to_plotly_json())
        if colour.match(word)
    }
    assert _style.BLUE in used
    assert used - {"rgba(0,0,0,0)"} <= set(_style.DARK)


def test_pictures_are_shown_on_one_scale():
    black, white = np.zeros((4, 4)), np.full((4, 4), 16.0)
    grey = np.full((4, 4), 8.0)
    shown = _pictures.gallery([black, grey, white], ["a", "b", "c"])
    levels = [_level(uri) for uri in re.findall(r"base64,([^\"]*)", shown)]
    assert levels == [0, 128, 255]


def _level(uri):
    import base64
    import io

    from PIL import Image

    return int(np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))).mean())


@pytest.mark.parametrize(
    "evidence",
    [
        {"kind": "image", "images": np.random.default_rng(0).random((100, 256, 256, 3))},
        {"kind": "table", "columns": ["a"] * 500, "rows": [["word " * 99] * 500] * 500},
    ],
)
def test_much_evidence_stays_small(evidence):
    assert len(str(figures.draw("samples", evidence)[0])) < 1.2e6


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.97222, "0.9722"),
        (3e-4, "3e-4"),
        (0.03, "0.03"),
        (1234567, "1\u202f234\u202f567"),
        (1.0, "1"),
        (123456.7, "123\u202f457"),
        (None, "–"),
        (True, "yes"),
        ([1, 0.5], "1, 0.5"),
        (-1.5e-9, "-1.5e-9"),
        (9999.96, "10\u202f000"),
    ],
)
def test_numbers_have_sensible_digits(value, words):
    assert numbers.sensible(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.44, "0.4 s"),
        (12.3, "12 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (None, ""),
        (59.9, "60 s"),
    ],
)
def test_durations_have_units_that_fit(seconds, words):
    assert numbers.duration(seconds) == words
