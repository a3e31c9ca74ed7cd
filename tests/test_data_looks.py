"""What is asked of data: quiet on what is healthy, on the right row for what is planted."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets

from recipe_jax import resolve, writers
from recipe_jax.checks import (
    class_balance,
    columns,
    corrupt,
    data_audit,
    distributions,
    drift,
    duplicates,
    feed_order,
    label_errors,
    leaks,
    near_copies,
    nearest,
    normalisation,
    oracle,
    outliers,
    repeats,
    sample_size,
    spellings,
    splits,
    symmetries,
)
from recipe_jax.data import base as data_base
from recipe_jax.data import table as csv_table
from recipe_jax.objectives import classification
from recipe_jax.probes import examples as probe
from recipe_jax.probes import neighbours
from recipe_jax.probes.examples import Examples
from recipe_jax.recipe import data as stage
from recipe_jax.report import figures
from recipe_jax.types import Sealed, Split, Status, Task, UserError


def draws(seed=0):
    return np.random.default_rng(seed)


def made(inputs, targets, **options) -> Task:
    targets = np.asarray(targets)
    kind = "regression" if targets.ndim == 2 else "classification"
    names = () if kind == "regression" else tuple(f"c{i}" for i in range(targets.max() + 1))
    if kind == "classification":
        targets = targets.astype(np.int32)
    modality = options.pop("modality", "auto")
    source = data_base.from_arrays(
        "made", inputs, targets=targets, kind=kind, class_names=names, modality=modality
    )
    return data_base.prepare(source, **options)


def shipped(name, **options) -> Task:
    return data_base.prepare(resolve.resolve("data", name)(), **options)


def waves(count=240, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of two classes, slow and fast, each with a phase of its own."""
    draw = draws(seed)
    labels = np.arange(count) % 2
    phase = draw.uniform(0, 2 * np.pi, (count, 1))
    time = np.arange(24) * np.where(labels, 0.8, 0.3)[:, None] + phase
    both = np.stack([np.sin(time), np.cos(time)], -1)
    return both + 0.1 * draw.normal(size=both.shape), labels


def of_file(folder, target, /, **columns) -> Task:
    """A table that was read from a file with these columns."""
    file = folder / "t.csv"
    pd.DataFrame(columns).to_csv(file, index=False)
    return data_base.prepare(csv_table.build(path=str(file), target=target))


def with_train(task: Task, **arrays) -> Task:
    return dataclasses.replace(task, train=task.train._replace(**arrays))


def with_validation(task: Task, **arrays) -> Task:
    return dataclasses.replace(task, validation=task.validation._replace(**arrays))


def asked(check, task: Task):
    """The one finding of a check, which is drawn as it is written."""
    (finding,) = check.look(Examples(task))
    plain = writers.plain(finding.evidence)
    assert finding.summary.endswith(".") and finding.row
    assert not finding.evidence or figures.draw(finding.check, plain) or is_empty(plain)
    return finding


def is_empty(evidence) -> bool:
    """Counts alone, where nothing was found."""
    return not any(isinstance(value, list | dict) for value in evidence.values())


def said(finding) -> tuple[Status, str]:
    return finding.status, finding.fault


HEALTHY = {
    "digits": lambda: shipped("digits"),
    "iris": lambda: shipped("iris"),
    "wine": lambda: shipped("wine"),
    "breast_cancer": lambda: shipped("breast_cancer"),
    "diabetes": lambda: shipped("diabetes"),
    "oversampled": lambda: shipped("breast_cancer", balance="oversample"),
    "small images": lambda: made(
        draws().uniform(0, 255, (90, 5, 6)) + 90.0 * (np.arange(90) % 3)[:, None, None],
        np.arange(90) % 3,
    ),
    "sequences": lambda: made(*waves(), modality="sequence"),
    "noise": lambda: made(draws().normal(size=(200, 6)), np.arange(200) % 2),
    "heavy tails": lambda: made(
        draws().lognormal(0, 1.5, (400, 5)), draws(1).lognormal(0, 1, (400, 1))
    ),
    "few values": lambda: made(
        draws().integers(0, 3, (600, 5)).astype(float), draws(1).integers(0, 2, 600)
    ),
    "a swamped class": lambda: made(
        *sklearn.datasets.make_classification(
            1500, 12, n_informative=4, n_classes=3, weights=[0.8, 0.15, 0.05], random_state=1
        )
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_data_pass(name):
    examples = Examples(HEALTHY[name]())
    for question, look in stage.questions():
        for finding in stage.answered(question, look, examples):
            may_warn = finding.check in MAY_WARN.get(name, ())
            assert finding.status in (Status.PASS, Status.SKIP) or may_warn, finding.summary


MAY_WARN = {
    "a swamped class": ("class_counts",),
    # Equal rows of few values have different labels, as they must.
    "few values": ("duplicates",),
}


# --- Neighbours ------------------------------------------------------------------------------


def test_neighbours_by_hand():
    rows = np.array([[0.0], [1.0], [3.0], [7.0]], np.float32)
    found = neighbours.nearest(rows, rows, 2, itself=True)
    assert found.places.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert found.distances.tolist() == [[1, 3], [1, 2], [2, 3], [4, 6]]
    found = neighbours.nearest(rows, np.array([[2.9]], np.float32), 9)
    assert found.places.tolist() == [[2, 1, 0, 3]]


def test_neighbours_are_those_of_the_whole_matrix(monkeypatch):
    rows = draws().normal(size=(60, 7)).astype(np.float32)
    whole = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    np.fill_diagonal(whole, np.inf)
    monkeypatch.setattr(neighbours, "BLOCK", 13)
    found = neighbours.nearest(rows, rows, 5, itself=True)
    np.testing.assert_array_equal(found.places, np.argsort(whole, 1)[:, :5])


def test_wide_rows_keep_their_distances():
    rows = draws().normal(size=(20, 3000)).astype(np.float32)
    narrow = neighbours.narrowed(rows)
    assert narrow.shape == (20, neighbours.PROJECTED)
    ratio = np.linalg.norm(narrow[1:] - narrow[0], axis=1) / np.linalg.norm(
        rows[1:] - rows[0], axis=1
    )
    assert ratio.min() > 0.8 and ratio.max() < 1.2


def test_a_linear_model_never_sees_what_it_answers_for():
    """Of labels drawn by chance it knows nothing, however many columns it has."""
    rows = draws().normal(size=(200, 60)).astype(np.float32)
    labels = draws(1).integers(0, 2, 200)
    answers = np.eye(2, dtype=np.float32)[labels]
    right = probe.out_of_fold(rows, labels, answers).argmax(1) == labels
    assert 0.35 < right.mean() < 0.65
    inside = probe.chances(rows, labels, rows, 2).argmax(1) == labels
    assert inside.mean() > 0.7


def test_oversampled_examples_are_looked_at_once():
    task = shipped("breast_cancer", balance="oversample")
    names = Examples(task).train.ids.tolist()
    assert len(set(names)) == len(names) < len(task.train.ids)


# --- Copies ----------------------------------------------------------------------------------


def test_equal_inputs_across_splits_fail():
    task = shipped("digits")
    leaked = task.train.inputs.copy()
    leaked[:5] = task.validation.inputs[:5]
    found = asked(duplicates, with_train(task, inputs=leaked))
    assert said(found) == (Status.FAIL, "A4") and found.evidence["across_splits"] == 5
    # Each copy is shown beside its original.
    assert found.evidence["group"][:4] == [0, 0, 1, 1]
    assert set(found.evidence["split"][:2]) == {"train", "validation"}


def test_test_inputs_in_training_fail_and_stay_sealed():
    task = shipped("wine")
    opened = task.test.open(list)
    copied = opened._replace(inputs=np.concatenate([task.train.inputs[:3], opened.inputs[3:]]))
    leaked = dataclasses.replace(task, test=Sealed(copied))
    found = asked(duplicates, leaked)
    assert said(found) == (Status.FAIL, "A4") and found.evidence["across_test"] == 3


def test_conflicting_labels_are_shown_together():
    task = shipped("digits")
    inputs, targets = task.train.inputs.copy(), task.train.targets.copy()
    inputs[1], targets[1] = inputs[0], (targets[0] + 1) % 10
    found = asked(duplicates, with_train(task, inputs=inputs, targets=targets))
    assert said(found) == (Status.WARN, "A3") and found.evidence["conflicting"] == 1
    assert len(set(found.evidence["labels"])) == 2


def test_many_repeats_are_told_unless_they_are_natural():
    task = shipped("diabetes")
    half = len(task.train.inputs) // 2
    repeated = np.concatenate([task.train.inputs[:half]] * 2)
    targets = np.concatenate([task.train.targets[:half]] * 2)
    twice = Split(repeated, targets, task.train.ids[: 2 * half])
    assert said(asked(duplicates, dataclasses.replace(task, train=twice))) == (Status.WARN, "A6")
    few = draws().integers(0, 3, (300, 3)).astype(np.float32)
    assert repeats.by_chance(few, 280)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "sequences"])
def test_near_copies_are_found(name):
    task = HEALTHY[name]()
    inputs = task.validation.inputs.copy()
    noise = draws().normal(size=(6, *inputs.shape[1:]))
    inputs[:6] = task.train.inputs[10:16] + 0.003 * noise
    found = asked(near_copies, with_validation(task, inputs=inputs.astype(np.float32)))
    assert said(found) == (Status.WARN, "A5") and found.evidence["copies"] == 6
    ids = [str(name) for name in task.validation.ids[:6]]
    assert set(found.evidence["ids"][::2]) == set(ids)
    originals = [str(name) for name in task.train.ids[10:16]]
    assert set(found.evidence["ids"][1::2]) == set(originals)


def test_rows_that_lie_close_by_nature_are_no_copies():
    draw = draws()
    few = draw.integers(0, 3, (900, 5)).astype(float)
    few[:, 4] = draw.normal(size=900)
    found = asked(near_copies, made(few, draw.integers(0, 2, 900)))
    assert found.status == Status.PASS


def test_the_dimension_of_a_cloud():
    for dimension in (2, 6):
        rows = draws().uniform(size=(3000, dimension)).astype(np.float32)
        rows = rows @ draws(1).normal(size=(dimension, 20)).astype(np.float32)
        near = neighbours.nearest(rows, rows, 10, itself=True)
        assert near_copies.dimension_of(near.distances) == pytest.approx(dimension, rel=0.2)


# --- Labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "sequences"])
def test_wrong_labels_are_listed_with_the_right_ones(name):
    task = HEALTHY[name]()
    labels, classes = task.train.targets.copy(), task.spec.num_outputs
    wrong = draws().choice(len(labels), len(labels) // 10, replace=False)
    labels[wrong] = (labels[wrong] + draws(1).integers(1, classes, len(wrong))) % classes
    found = asked(label_errors, with_train(task, targets=labels))
    assert said(found) == (Status.WARN, "A2")
    truth = dict(zip(map(str, task.train.ids), task.train.targets))
    told = found.evidence["all_ids"][: len(wrong) // 2]
    right = [
        task.class_names[truth[each]] == suggested
        for each, suggested in zip(told, found.evidence["all_suggested"])
    ]
    assert np.mean(right) > 0.9


def test_confident_learning_by_hand():
    chances = np.array(
        [[0.9, 0.1], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95], [0.55, 0.45], [0.45, 0.55]]
    )
    labels = np.array([0, 0, 1, 1, 0, 1, 0])
    # Mean chance of a class among its own: 0.525 and 0.717, which the last one does not reach.
    found = label_errors.suspects(chances, labels)
    assert found.places.tolist() == [4, 5] and found.suggested.tolist() == [1, 0]
    np.testing.assert_allclose(found.margin, [0.9, 0.1])


def test_a_class_without_examples_is_never_suggested():
    chances = np.array([[0.5, 0.1, 0.4], [0.2, 0.3, 0.5]])
    assert not len(label_errors.suspects(chances, np.array([0, 1])).places)


def test_a_slipped_comma_is_found():
    task = shipped("diabetes")
    targets = task.train.targets.copy()
    targets[[3, 8, 11]] += 40.0
    found = asked(label_errors, with_train(task, targets=targets))
    assert said(found) == (Status.WARN, "A2")
    assert set(found.evidence["ids"][:3]) == {str(i) for i in task.train.ids[[3, 8, 11]]}


# --- Strange and broken ones -----------------------------------------------------------------


def test_the_strangest_comes_first():
    task = shipped("wine")
    inputs = task.train.inputs.copy()
    inputs[7] *= 30.0
    found = asked(outliers, with_train(task, inputs=inputs))
    assert said(found) == (Status.WARN, "A7")
    assert found.evidence["all_ids"][0] == str(task.train.ids[7])


def test_broken_images_are_named_by_kind():
    raw = sklearn.datasets.load_digits().images.copy()
    raw[3], raw[5], raw[8] = 7.0, raw[5] / 255.0, raw[8] * 100.0
    task = made(raw, sklearn.datasets.load_digits().target, test=0.01)
    found = asked(corrupt, task)
    assert said(found) == (Status.WARN, "A8")
    kinds = dict(zip(found.evidence["all_ids"], found.evidence["all_reasons"]))
    assert kinds == {"3": "all of one value", "5": "hardly varying", "8": "of far wider range"}


def test_a_mark_for_missing_values_is_named():
    inputs = sklearn.datasets.load_wine().data.copy()
    inputs[::9, 4] = -999.0
    found = asked(corrupt, made(inputs, sklearn.datasets.load_wine().target))
    assert said(found) == (Status.WARN, "A7")
    assert found.evidence["column"] == ["x4"] and found.evidence["value"] == [-999.0]


def test_columns_of_words_and_gaps_are_told(tmp_path):
    draw = draws()
    rows = "".join(
        f"{draw.normal():.3f},{'red' if i % 3 else 'blue'},{i % 5 or ''},{'xy'[i % 2]}\n"
        for i in range(90)
    )
    (tmp_path / "t.csv").write_text("size,colour,gaps,label\n" + rows)
    source = csv_table.build(path=str(tmp_path / "t.csv"), target="label")
    examples = Examples(data_base.prepare(source))
    (found,) = distributions.look(examples)
    told = {each["column"]: each for each in found.evidence["columns"]}
    assert told["colour"]["levels"] == ["red", "blue"] and told["gaps"]["missing"] > 0
    assert sum(told["size"]["counts"]) == len(examples.train.targets)
    assert "cells are missing in gaps" in found.summary
    drawn = "".join(map(str, figures.draw("distributions", writers.plain(found.evidence)) or []))
    assert 'class="spark"' in drawn and "blue" in drawn
    for question, look in stage.questions():
        for finding in stage.answered(question, look, examples):
            assert finding.status in (Status.PASS, Status.SKIP), finding.summary


def test_all_columns_are_counted_and_the_first_are_shown(tmp_path):
    numbers = draws().normal(size=(60, 70))
    numbers[::3, 65] = np.nan
    wide = {f"x{i}": column for i, column in enumerate(numbers.T)}
    task = of_file(
        tmp_path, "y", **wide, words=np.array(list("ab"))[np.arange(60) % 2], y=[*"pq"] * 30
    )
    found = asked(distributions, task)
    assert found.summary.startswith(
        "71 columns: 70 of numbers, 1 of words; cells are missing in x65"
    )
    assert len(found.evidence["columns"]) == 60 and found.evidence["left_out"] == 11


def test_columns_that_are_equal_in_every_row_are_named_once(tmp_path):
    a, words = draws().normal(size=90), np.array(list("uvw"))[draws().integers(0, 3, 90)]
    a[::7] = np.nan
    same = {"a": a, "words": words, "again": a, "the same": words}
    found = asked(distributions, of_file(tmp_path, "y", **same, y=[*"pqr"] * 30))
    assert "; in every row again equals a, the same equals words." in found.summary
    assert found.remedy.endswith("--config.data.drop=\"('again', 'the same')\"")
    # In other units, all but one cell, under other names, and what is the same in every row.
    other = np.r_[a[:-1], 9.0]
    codes = np.array(list("abc"))[np.unique(words, return_inverse=True)[1]]
    unequal = {"a": a, "b": 2 * a, "c": other, "d": words, "e": codes, "f": 1.0 + 0 * other}
    unequal |= {
        "g": np.full(90, "one"),
        "h": np.full(90, "one"),
        "i": np.ones(90),
        "j": np.ones(90),
    }
    found = asked(distributions, of_file(tmp_path, "y", **unequal, y=[*"pqr"] * 30))
    assert "equals" not in found.summary and not found.remedy


def test_words_that_differ_by_case_alone_are_named(tmp_path):
    a, place = draws().normal(size=80), np.arange(80)
    target = np.array(["yes", "Yes", "no", "NO"])[place % 4]
    city = np.array(["Bonn", "bonn", "Ulm"])[place % 3]
    found = asked(spellings, of_file(tmp_path, "y", a=a, city=city, y=target))
    assert said(found) == (Status.WARN, "B10")
    assert (
        "the target holds 'NO' and 'no'; the target holds 'Yes' and 'yes'; column city holds"
        in (found.summary)
    )


@pytest.mark.parametrize(
    "words",
    [("AA", "Aa", "aa"), ("a", "A", "b"), ("mW", "MW", "kW"), ("yes", "no", "yes please")],
    ids=["genotypes", "letters", "units", "words"],
)
def test_codes_whose_case_matters_are_left_in_peace(tmp_path, words):
    cells = np.array(words)[np.arange(90) % 3]
    task = of_file(tmp_path, "y", a=draws().normal(size=90), b=np.roll(cells, 1), y=cells)
    assert list(spellings.look(Examples(task))) == []


# --- Leaks and drift -------------------------------------------------------------------------


def test_a_column_that_is_the_answer_is_named():
    wine = sklearn.datasets.load_wine()
    inputs = np.concatenate([wine.data, wine.target[:, None] * 5.0 + 2.0], 1)
    found = asked(oracle, made(inputs, wine.target))
    assert said(found) == (Status.WARN, "A14") and found.evidence["columns"][0] == "x13"
    assert "x13" in found.remedy
    values = sklearn.datasets.load_diabetes()
    inputs = np.concatenate([values.data, np.exp(values.target[:, None] / 100)], 1)
    found = asked(oracle, made(inputs, values.target[:, None]))
    assert said(found) == (Status.WARN, "A14") and found.evidence["columns"][0] == "x10"


def test_a_column_of_words_that_is_the_answer_is_named_as_it_was_read(tmp_path):
    iris = sklearn.datasets.load_iris()
    numbers = {f"x{i}": column for i, column in enumerate(iris.data.T)}
    code = np.array(["A1", "B2", "C3"])[iris.target]
    task = of_file(tmp_path, "y", **numbers, code=code, y=iris.target_names[iris.target])
    found = asked(oracle, task)
    assert said(found) == (Status.WARN, "A14")
    assert "most, code, explains 100.0% of the target: it looks like the answer" in found.summary
    assert found.remedy.endswith("--config.data.drop=\"('code',)\"")
    # A column of words that two classes share, and one of words by chance.
    code, kind = np.array(["A1", "B2", "B2"])[iris.target], np.array(list("uvw"))[iris.target // 2]
    kind = draws().permutation(kind)
    task = of_file(tmp_path, "y", **numbers, code=code, kind=kind, y=iris.target_names[iris.target])
    assert asked(oracle, task).status == Status.PASS


def test_what_a_mark_of_one_class_explains_is_what_was_measured():
    wine = sklearn.datasets.load_wine()
    mark = (wine.target == 1) * 1.0
    found = asked(oracle, made(np.c_[wine.data, mark], wine.target))
    assert (
        found.status == Status.PASS and "x13, explains 100.0% of the target, but" in found.summary
    )
    flat, labels = np.c_[wine.data, mark, wine.target], wine.target
    told, apart = leaks.of_classes(flat, labels)
    assert len(leaks.marks(flat, labels, told, apart)) == 0
    ones = np.c_[wine.data, np.eye(3)[labels][:, :2]]
    assert leaks.marks(ones, labels, *leaks.of_classes(ones, labels)).tolist() == [13, 14]
    twice = np.c_[wine.data, mark, 1 - mark]
    assert len(leaks.marks(twice, labels, *leaks.of_classes(twice, labels))) == 0
    assert told[-2:] == pytest.approx(1.0) and apart[-2:].tolist() == [False, True]
    assert leaks.ranked(told, apart)[0] == 14


def filled_in(count=400, *, of=200, at=0.0, missed=0):
    """Inputs whose last column is one number for every example of class 0 but `missed` of them."""
    draw = draws()
    labels = np.r_[np.zeros(of, int), np.ones(count - of, int)]
    paid = np.where(labels == 1, draw.gamma(2, 30, count), at)
    paid[:missed] = 5.0
    return np.c_[draw.normal(size=(count, 4)) + 0.4 * labels[:, None], paid], labels


def test_a_column_that_was_filled_in_for_one_class_alone_is_named(tmp_path):
    inputs, labels = filled_in()
    for value in (0.0, -1.0):
        task = made(filled_in(at=value)[0], labels)
        found = asked(oracle, task)
        assert said(found) == (Status.WARN, "A14")
        many = int((task.train.targets == 0).sum())
        assert f"x4 is {value:g} in all {many} examples of class 'c0' and in no" in found.summary
        assert "x4" in found.remedy
        assert "x4" not in asked(columns, task).summary
    # Where cells are missing elsewhere, and as a person would paste it.
    paid = np.where(np.arange(400) % 7 == 6, np.nan, inputs[:, 4])
    paid = np.where(labels == 1, paid, 0.0)
    task = of_file(tmp_path, "y", a=inputs[:, 0], paid=paid, y=np.array(["no", "yes"])[labels])
    found = asked(oracle, task)
    assert "paid is 0 in all" in found.summary and "class 'no'" in found.summary
    assert found.remedy.endswith("--config.data.drop=\"('paid',)\"")


@pytest.mark.parametrize(
    "healthy",
    [
        filled_in(missed=1),
        filled_in(count=30, of=15),
        # Counts that are often 0, and a simple concept: yes or no.
        (draws().poisson(0.4, (400, 5)) * 1.0, (draws(1).random(400) < 0.5).astype(int)),
        (np.c_[draws().normal(size=(400, 2)), np.arange(400) % 3 == 1], np.arange(400) % 3),
        # A scale of five steps, the lowest of which is a class of its own.
        (np.c_[draws().normal(size=(400, 2)), np.arange(400) % 5], (np.arange(400) % 5 > 0) * 1),
        (draws().normal(18.0 * (np.arange(400) % 2)[:, None], 1, (400, 3)), np.arange(400) % 2),
    ],
    ids=["but one", "few", "counts", "concept", "scale", "blobs"],
)
def test_what_a_class_is_by_nature_was_not_filled_in(healthy):
    found = asked(oracle, made(np.asarray(healthy[0], float), np.asarray(healthy[1])))
    assert "filled in" not in found.summary


def test_the_number_of_the_row_is_named():
    inputs = draws().normal(size=(200, 4))
    inputs[:, 2] = 3.0 + 2.0 * np.arange(200)
    found = asked(oracle, made(inputs, draws(1).integers(0, 2, 200)))
    assert said(found) == (Status.WARN, "A14") and "x2" in found.summary


def test_a_column_that_rises_through_a_file_sorted_by_class_is_named(tmp_path):
    labels = np.repeat([2, 0, 1], 60)
    inputs = draws().normal(size=(180, 4)) + 0.4 * labels[:, None]
    steps = np.cumsum(draws(1).integers(1, 90, 180))
    columns = {f"x{i}": column for i, column in enumerate(inputs.T)}
    found = asked(oracle, of_file(tmp_path, "y", **columns, key=steps, y=labels))
    assert said(found) == (Status.WARN, "A14") and "key rises with every row" in found.summary
    assert found.remedy.endswith("--config.data.drop=\"('key',)\"")
    # A time that rises, of what comes mixed; what repeats; and a line through the plane.
    mixed, repeated = draws(2).permutation(labels), steps // 90
    for key, target in ((steps, mixed), (repeated, labels)):
        found = asked(oracle, of_file(tmp_path, "y", **columns, key=key, y=target))
        assert found.status == Status.PASS
    line = np.sort(draws(3).normal(size=(180, 1)), 0)
    found = asked(oracle, made(np.concatenate([line, line**3], 1), (line[:, 0] > 0).astype(int)))
    assert found.status == Status.PASS


def test_a_shifted_column_is_named():
    task = shipped("breast_cancer")
    inputs = task.validation.inputs.copy()
    inputs[:, 3] += 1.0
    found = asked(drift, with_validation(task, inputs=inputs))
    assert said(found) == (Status.WARN, "A13")
    assert found.evidence["columns"][0] == task.feature_names[3]


def test_a_difference_that_no_single_column_shows_is_seen_by_the_classifier():
    rows = draws().normal(size=(3000, 40))
    task = made(rows, draws(1).integers(0, 2, 3000))
    moved = task.validation.inputs + 0.11
    found = asked(drift, with_validation(task, inputs=moved.astype(np.float32)))
    assert said(found) == (Status.WARN, "A13") and found.evidence["area"] > drift.AREA
    assert "0 differ" in found.summary


def test_shifted_test_inputs_are_seen_without_opening_the_seal():
    task = shipped("breast_cancer")
    opened = task.test.open(list)
    moved = Sealed(opened._replace(inputs=opened.inputs + np.float32(1.5)))
    assert said(asked(drift, dataclasses.replace(task, test=moved))) == (Status.WARN, "A13")


# --- Normalisation and columns ---------------------------------------------------------------


def test_statistics_of_validation_are_noticed():
    task = shipped("diabetes")
    inputs = task.train.inputs + 0.5 * draws().normal(size=10)
    held = task.validation.inputs
    mean = np.concatenate([inputs, held]).mean(0)
    task = with_train(task, inputs=(inputs - mean).astype(np.float32))
    found = asked(normalisation, with_validation(task, inputs=(held - mean).astype(np.float32)))
    assert said(found) == (Status.FAIL, "B9")


def test_before_and_after_are_told_and_targets_in_their_own_unit():
    task = shipped("diabetes")
    found = asked(normalisation, task)
    raw = sklearn.datasets.load_diabetes(scaled=False).data[task.train.ids]
    before = np.array([each["before"] for each in found.evidence["columns"]])
    np.testing.assert_allclose(before, np.stack([raw.mean(0), raw.std(0)], 1), rtol=1e-4)
    assert f"{task.spec.target_mean[0]:.4g}" in found.summary


def test_columns_without_variance_are_named():
    inputs = draws().normal(size=(200, 4))
    inputs[:, 1], inputs[:, 2] = 3.0, 1e9 + inputs[:, 2]
    found = asked(normalisation, made(inputs, np.arange(200) % 2))
    assert found.evidence["constant"] == ["x1"] and found.evidence["tiny"] == ["x2"]
    assert said(found) == (Status.PASS, "")


def hours(count=600):
    """What a target that goes round with the hour looks like, and one that does not."""
    hour = draws().integers(0, 24, count).astype(float)
    noise = 0.1 * draws(1).normal(size=count)
    return hour, np.cos(2 * np.pi * hour / 24) + noise, hour + noise


def test_cycles_by_their_ends_or_their_names():
    hour, round_, straight = hours()
    assert columns.cyclic("x", hour, round_[:, None]) == (0.0, 24.0)
    assert columns.cyclic("x", hour, straight[:, None]) is None
    assert columns.cyclic("pickup_hour", hour, straight[:, None]) == (0.0, 24.0)
    angle = draws().uniform(0, 360, 600)
    assert columns.cyclic("wind direction", angle, straight[:, None]) == (0.0, 360.0)
    assert columns.cyclic("hour", hour * 1.7, round_[:, None]) is None


def test_columns_that_may_do_better_in_another_form():
    hour, target, _ = hours()
    draw = draws(3)
    zeros = np.where(draw.random(600) < 0.4, 0.0, draw.normal(5, 1, 600))
    codes = draw.integers(0, 7, 600)
    target = target + np.array([0, 3, -2, 4, -3, 2, -4])[codes]
    fine = draw.normal(size=600)
    inputs = np.stack([hour, draw.standard_cauchy(600) ** 2, zeros, codes, fine], 1)
    source = data_base.from_arrays(
        "made",
        inputs,
        targets=target[:, None],
        kind="regression",
        feature_names=("hour", "income", "rain", "kind", "fine"),
    )
    found = asked(columns, data_base.prepare(source))
    looks = {each["column"]: each["looks"].split()[0] for each in found.evidence["columns"]}
    assert looks == {
        "hour": "cyclic",
        "income": "heavy-tailed,",
        "rain": "discontinuous,",
        "kind": "like",
    }


# --- Symmetries ------------------------------------------------------------------------------


def test_what_leaves_digits_as_they_are():
    found = asked(symmetries, shipped("digits"))
    verdicts = {each["name"]: each["verdict"] for each in found.evidence["changes"]}
    assert verdicts["turn by up to 10°"] == "keeps labels"
    assert verdicts["mirror"] == verdicts["upside down"] == "destroys labels"
    assert "augment.rotation_degrees=10" in found.remedy and "flip" not in found.remedy


def test_a_mirror_is_proposed_where_it_changes_nothing():
    """Of the brightness of whole images every mirror image is one more example."""
    pictures = draws().uniform(0, 1, (200, 6, 6)) + np.linspace(0, 2, 200)[:, None, None]
    found = asked(symmetries, made(pictures, (np.arange(200) >= 100).astype(int)))
    verdicts = {each["name"]: each["verdict"] for each in found.evidence["changes"]}
    assert verdicts["mirror"] == verdicts["upside down"] == "keeps labels"
    assert "flip_probability=0.5" in found.remedy


def test_the_verdict_by_hand():
    assert symmetries.verdict(0.95, 0.0, 0.01) == "keeps labels"
    assert symmetries.verdict(0.7, 0.03, 0.01) == "keeps labels"
    assert symmetries.verdict(0.7, 0.0, 0.01) == "unclear"
    assert symmetries.verdict(0.3, 0.0, 0.01) == "destroys labels"
    assert symmetries.verdict(0.95, -0.05, 0.01) == "misleads"


# --- Splits, order, size and balance ---------------------------------------------------------


def test_an_example_in_two_splits_fails():
    task = shipped("wine")
    names = task.validation.ids.copy()
    names[0] = task.train.ids[0]
    found, _ = splits.look(Examples(with_validation(task, ids=names)))
    assert said(found) == (Status.FAIL, "A4")


def test_validation_has_one_name_whatever_the_order_and_the_fraction():
    wine = sklearn.datasets.load_wine()
    order = draws().permutation(len(wine.target))
    one, other = made(wine.data, wine.target), made(wine.data[order], wine.target[order])
    part = made(wine.data, wine.target, fraction=0.5)
    assert one.held_fingerprint == other.held_fingerprint == part.held_fingerprint
    assert part.fingerprint != one.fingerprint
    changed = wine.data.copy()
    changed[one.validation.ids[3], 0] += 1.0
    assert made(changed, wine.target).held_fingerprint != one.held_fingerprint
    _, found = splits.look(Examples(one))
    assert one.held_fingerprint[:12] in found.summary and found.row == "DATA11"


def test_an_order_that_repeats_or_leaves_out_is_seen():
    labels = np.arange(300) % 3
    orders = np.stack([draws(seed).permutation(300) for seed in (1, 2)])
    assert said(feed_order.examine(orders, labels)) == (Status.PASS, "")
    same = np.stack([orders[0], orders[0]])
    assert said(feed_order.examine(same, labels)) == (Status.FAIL, "B3")
    as_it_is = np.stack([np.arange(300), orders[0]])
    assert said(feed_order.examine(as_it_is, np.sort(labels))) == (Status.FAIL, "B2")
    twice = orders.copy()
    twice[1, 0] = twice[1, 1]
    assert said(feed_order.examine(twice, labels))[0] == Status.FAIL


def test_the_share_that_is_used_and_what_less_would_cost():
    found = asked(sample_size, shipped("digits"))
    assert "All examples take part" in found.summary
    assert found.evidence["sizes"] == [135, 270, 540, 1079]
    assert found.evidence["scores"][0] < found.evidence["scores"][-1]
    less = asked(sample_size, shipped("digits", max_examples=600))
    assert "600 of 1797 examples take part (33%)" in less.summary


def uneven(**options) -> Task:
    targets = (np.arange(1200) % 10 == 0).astype(int)
    return made(draws().normal(size=(1200, 4)) + 0.7 * targets[:, None], targets, **options)


def test_what_rare_classes_lose_is_told_only_where_they_are_rare():
    assert not list(class_balance.look(Examples(shipped("digits"))))
    found = asked(class_balance, uneven())
    assert found.evidence["weighed"][1] > found.evidence["plain"][1] + 0.05
    assert "data.balance=weights" in found.remedy


def test_recall_by_hand():
    found = class_balance.recall(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 3)
    np.testing.assert_allclose(found, [1.0, 2 / 3, np.nan])


def test_weights_make_every_class_count_as_much():
    plain, weighed = uneven(), uneven(balance="weights")
    np.testing.assert_array_equal(plain.train.inputs, weighed.train.inputs)
    assert plain.spec.class_weights == ()
    outputs = np.zeros((len(weighed.train.targets), 2), np.float32)
    losses = np.asarray(classification.build(weighed.spec).loss(outputs, weighed.train.targets))
    sums = [float(losses[weighed.train.targets == label].sum()) for label in (0, 1)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)
    # The size of the loss stays, and the objective's own weights have the last word.
    assert float(losses.mean()) == pytest.approx(np.log(2), rel=1e-5)
    own = classification.build(weighed.spec, class_weights=(1.0, 1.0))
    np.testing.assert_allclose(own.loss(outputs, weighed.train.targets), np.log(2), rtol=1e-5)
    with pytest.raises(UserError, match=r"data\.balance='weights' is for classification"):
        shipped("diabetes", balance="weights")


# --- Mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "sequences", "wine"])
def test_mistakes_stand_beside_the_nearest_training_examples(name):
    task = HEALTHY[name]()
    asked_ = task.validation._replace(inputs=task.validation.inputs.copy())
    asked_.inputs[:2] = task.train.inputs[[7, 3]]
    found = nearest.of_mistakes(task, asked_, np.array([0, 1]))
    assert [names[0] for names in found["near_ids"]] == [str(i) for i in task.train.ids[[7, 3]]]
    truth = data_audit.label_text(task, task.train.targets[7])
    assert found["near_labels"][0][0] == truth
    shown = data_audit.picture(task, asked_, np.array([0, 1])) | found
    shown |= {"predicted": ["a", "b"], "losses": np.ones(2)}
    (drawn,) = figures.draw("worst", writers.plain(shown)) or [""]
    assert str(task.train.ids[7]) in drawn and "nearest in training" in drawn


# --- All of them -----------------------------------------------------------------------------


def test_every_question_is_found_by_existing():
    names = [name for name, _ in stage.questions()]
    assert names[: len(stage.FIRST)] == list(stage.FIRST) and len(set(names)) == len(names)
    assert {"drift", "oracle", "corrupt"} <= set(names)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1e30])
@pytest.mark.parametrize("name", ["iris", "diabetes", "sequences", "small images"])
def test_no_question_raises_on_odd_data(name, value):
    task = HEALTHY[name]()
    odd = np.full_like(task.train.inputs, value)
    some = task.train.inputs.copy()
    some[::3] = value
    for inputs in (odd, some):  # all of it, and a third
        whole = with_train(task, inputs=inputs)
        few = Split(*(each[:2] for each in whole.train))
        for each in (whole, dataclasses.replace(whole, train=few, validation=few)):
            examples = Examples(each)
            for question, look in stage.questions():
                for finding in stage.answered(question, look, examples):
                    writers.to_json(writers.plain(finding))


def test_rows_are_shown_in_their_own_units():
    task = shipped("wine")
    shown = data_audit.picture(task, task.train, np.array([4]))
    raw = sklearn.datasets.load_wine().data[int(task.train.ids[4])]
    np.testing.assert_allclose(shown["rows"][0], raw, rtol=1e-5)
