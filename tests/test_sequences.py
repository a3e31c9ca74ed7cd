"""Sequences of numbers from an array file to the report: read, normalised, audited, drawn."""

import numpy as np
import pytest

from recipe_jax import writers
from recipe_jax.checks import data_audit
from recipe_jax.data import arrays, base
from recipe_jax.report import figures
from recipe_jax.types import Status, UserError

COUNT, TIME = 60, 12
DRAW = np.random.default_rng(0)
CLASSES = np.arange(COUNT) % 2
WAVES = np.stack(
    [
        np.sin(np.arange(TIME) * (1.0 + CLASSES[:, None]) + DRAW.uniform(0, 6, (COUNT, 1))),
        100.0 + 10.0 * DRAW.normal(size=(COUNT, TIME)),
    ],
    axis=-1,
)


def task_of(folder, inputs=WAVES, targets=CLASSES, **options):
    np.savez(folder / "waves.npz", inputs=inputs, targets=targets)
    source = arrays.build(path=str(folder / "waves.npz"), **{"modality": "sequence"} | options)
    return base.prepare(source)


def test_every_feature_has_its_own_units_over_all_steps(tmp_path):
    task = task_of(tmp_path)
    assert task.modality == "sequence" and task.spec.input_shape == (TIME, 2)
    np.testing.assert_allclose(task.train.inputs.mean((0, 1)), 0.0, atol=1e-5)
    np.testing.assert_allclose(task.train.inputs.std((0, 1)), 1.0, rtol=1e-5)
    back = task.encoder.decode(task.validation.inputs)
    np.testing.assert_allclose(back, WAVES[task.validation.ids], rtol=1e-4, atol=1e-4)
    told = base.encoder_from_json(task.encoder.to_json())
    np.testing.assert_array_equal(told.encode(WAVES[task.train.ids]), task.train.inputs)


def test_one_number_a_step_is_one_feature(tmp_path):
    task = task_of(tmp_path, WAVES[..., 0])
    assert task.modality == "sequence" and task.spec.input_shape == (TIME, 1)
    ids = task.train.ids
    np.testing.assert_array_equal(task.encoder.encode(WAVES[ids, :, 0]), task.train.inputs)


def test_what_an_array_is_can_be_said(tmp_path):
    assert task_of(tmp_path, modality="auto").modality == "image"
    assert task_of(tmp_path, modality="image").spec.input_shape == (TIME, 2, 1)
    assert task_of(tmp_path, WAVES[:, 0], modality="auto").modality == "table"


@pytest.mark.parametrize(
    "inputs, modality, sentence",
    [
        (WAVES[..., None], "sequence", r"needs inputs with axes \(examples, time\) or"),
        (WAVES[:, 0], "image", r"needs inputs with axes \(examples, height, width\)"),
        (WAVES, "table", r"needs inputs with axes \(examples, features\), .* \(60, 12, 2\)"),
    ],
)
def test_another_number_of_axes_is_refused(tmp_path, inputs, modality, sentence):
    with pytest.raises(UserError, match=sentence):
        task_of(tmp_path, inputs, modality=modality)


def test_the_audit_looks_at_features_over_time(tmp_path):
    task = task_of(tmp_path)
    found = {finding.check: finding for finding in data_audit.audit(task)}
    assert {finding.status for finding in found.values()} == {Status.PASS}
    ranges = found["feature_ranges"].evidence
    np.testing.assert_allclose(
        ranges["mean"], WAVES[task.train.ids].mean((0, 1)), rtol=1e-4, atol=1e-6
    )
    assert len(ranges["features"]) == 2
    shown = found["samples"].evidence
    names = [str(name) for name in task.train.ids]
    for sequence, name, label in zip(shown["sequences"], shown["ids"], shown["labels"]):
        np.testing.assert_allclose(sequence, WAVES[int(name)], rtol=1e-4, atol=1e-4)
        assert name in names and label == str(CLASSES[int(name)])
    entered = found["network_input"].evidence
    np.testing.assert_array_equal(entered["entered"], task.train.inputs[:8])


def test_a_feature_that_never_changes_is_named(tmp_path):
    still = np.concatenate([WAVES, np.full((COUNT, TIME, 1), 3.0)], -1)
    finding = data_audit.feature_ranges(task_of(tmp_path, still))
    assert finding.status == Status.WARN and finding.evidence["constant"] == ["feature 2"]


def test_a_bad_step_is_counted_for_its_feature(tmp_path):
    task = task_of(tmp_path)
    task.train.inputs[3, 5, 1] = np.nan
    finding = data_audit.non_finite(task)
    assert finding.status == Status.FAIL and finding.evidence["columns"] == ["feature 1"]


def test_long_sequences_are_shown_by_every_so_manieth_step(tmp_path):
    long = DRAW.normal(size=(30, 1000, 9))
    task = task_of(tmp_path, long, np.arange(30) % 3)
    shown = data_audit.picture(task, task.train, np.arange(2))["sequences"]
    assert shown.shape == (2, 125, 8)
    first = long[task.train.ids[0], ::8, :8]
    np.testing.assert_allclose(shown[0], first, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("check", ["samples", "network_input", "feature_ranges", "worst"])
def test_sequences_are_drawn_as_lines(tmp_path, check):
    task = task_of(tmp_path, targets=DRAW.normal(size=COUNT))
    found = {finding.check: dict(finding.evidence) for finding in data_audit.audit(task)}
    found["worst"] = found["samples"] | {"predicted": ["1.0"] * 24, "losses": np.ones(24)}
    evidence = writers.plain(found[check])
    drawn = str(figures.draw(check, evidence))
    if check != "feature_ranges":
        assert drawn.count('<polyline class="line0"') == drawn.count('<polyline class="line1"') > 7
        assert "nan" not in drawn.lower()


def test_a_line_goes_from_the_lowest_to_the_highest_of_all_that_is_shown():
    evidence = {"kind": "sequence", "sequences": [[[0.0], [2.0], [None]], [[4.0], [4.0], [4.0]]]}
    evidence |= {"labels": ["a", "<b>"], "ids": ["1", "2"]}
    drawn = str(figures.draw("samples", evidence))
    assert 'points="0,48 50,25"' in drawn and 'points="0,2 50,2 100,2"' in drawn
    assert "<b>" not in drawn and "&lt;b&gt;" in drawn
