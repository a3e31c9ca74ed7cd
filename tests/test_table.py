"""Tables from text files: what is read, how it is encoded, and every way a file can be wrong."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from recipe_jax import config as configs
from recipe_jax.app import drive
from recipe_jax.checks import drift, splits
from recipe_jax.data import _split, base, table
from recipe_jax.probes.examples import Examples
from recipe_jax.types import Status, UserError


def write(folder, text, name="data.csv", encoding="utf-8"):
    file = folder / name
    file.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return str(file)


def rows(n=60, **columns):
    """CSV text: age with a hole every 7 rows, colour with a hole every 11, and a label."""
    rng = np.random.default_rng(0)
    cells = {
        "age": ["" if i % 7 == 3 else f"{x:.3f}" for i, x in enumerate(rng.normal(40, 9, n))],
        "colour": ["NA" if i % 11 == 5 else ("red", "green", "blue")[i % 3] for i in range(n)],
        "label": ["yes" if i % 2 else "no" for i in range(n)],
        **columns,
    }
    return text_of(cells)


def text_of(cells, mark=","):
    lines = [mark.join(cells), *(mark.join(map(str, row)) for row in zip(*cells.values()))]
    return "\n".join(lines) + "\n"


def test_columns_are_read_by_kind_and_rows_are_named_by_line(tmp_path):
    source = table.build(path=write(tmp_path, rows()), target="label")
    assert source.raw["age"].dtype == np.float64 and np.isnan(source.raw["age"][3])
    assert source.raw["colour"].dtype == object and source.raw["colour"][5] is None
    assert source.class_names == ("no", "yes") and list(source.targets[:3]) == [0, 1, 0]
    np.testing.assert_array_equal(source.ids, np.arange(2, 62))
    assert source.target_names == ("label",) and "label" not in source.raw


def test_statistics_come_from_the_training_rows_alone(tmp_path):
    source = table.build(path=write(tmp_path, rows()), target="label")
    task = base.prepare(source)
    assert task.modality == "table"
    assert task.feature_names == (
        *("age", "age (missing)"),
        *("colour=blue", "colour=green", "colour=red", "colour=(other)"),
    )
    age = source.raw["age"][task.train.ids - 2]
    assert task.encoder.columns[0].median == np.nanmedian(age)
    assert task.encoder.columns[0].median != np.nanmedian(source.raw["age"])
    filled = np.where(np.isnan(age), np.nanmedian(age), age)
    np.testing.assert_allclose(
        task.train.inputs[:, 0], (filled - filled.mean()) / filled.std(), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(task.train.inputs.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(task.train.inputs.std(0), 1, rtol=1e-5)


def test_hand_values_without_normalising():
    raw = {
        "x": np.array([1.0, np.nan, 4.0]),
        "c": np.array(["b", None, "a"], dtype=object),
    }
    source = base.Source(
        name="hand",
        raw=raw,
        targets=np.zeros((3, 1)),
        ids=np.arange(3),
        kind="regression",
        modality="table",
        fit=table._table_encoder.fit,
    )
    encoder = source.fit(raw, normalize="none")
    wide = [[1, 0, 0, 1, 0], [2.5, 1, 0, 0, 1], [4, 0, 1, 0, 0]]
    np.testing.assert_array_equal(encoder.encode(raw), wide)
    unseen = {"c": ["zebra", ""], "x": ["", "3"], "more": ["ignored", "ignored"]}
    np.testing.assert_array_equal(encoder.encode(unseen), [[2.5, 1, 0, 0, 1], [3, 0, 0, 0, 1]])


def test_an_encoder_goes_there_and_back_and_survives_json(tmp_path):
    source = table.build(path=write(tmp_path, rows()), target="label")
    encoder = base.prepare(source).encoder
    again = base.encoder_from_json(json.loads(json.dumps(encoder.to_json(), allow_nan=False)))
    assert again.columns == encoder.columns
    inputs = encoder.encode(source.raw)
    np.testing.assert_array_equal(again.encode(source.raw), inputs)
    back = again.decode(inputs)
    np.testing.assert_allclose(back["age"], source.raw["age"], rtol=1e-5)
    assert list(back["colour"]) == list(source.raw["colour"])


def test_new_rows_are_encoded_as_the_training_rows_were(tmp_path):
    path = write(tmp_path, rows())
    source = table.build(path=path, target="label")
    encoder = base.prepare(source).encoder
    expected = encoder.encode(source.raw)
    np.testing.assert_array_equal(encoder.encode(table.read(path)), expected)
    np.testing.assert_array_equal(encoder.encode(pd.read_csv(path, dtype=str)), expected)
    np.testing.assert_array_equal(encoder.encode(pd.read_csv(path)), expected)
    with pytest.raises(UserError, match="no column 'colour'"):
        encoder.encode({"age": ["1"]})
    with pytest.raises(UserError, match="Row 2 holds 'old' in column 'age'"):
        encoder.encode({"age": ["1", "old"], "colour": ["red", "red"]})
    with pytest.raises(UserError, match="Row 1 holds an infinite value in column 'age'"):
        encoder.encode({"age": ["inf"], "colour": ["red"]})


def test_missing_cells_are_counted_by_column_in_one_warning(tmp_path):
    (finding,) = table.build(path=write(tmp_path, rows()), target="label").findings
    assert (finding.check, finding.row, finding.fault) == ("imputed", "DATA1", "A7")
    assert finding.status is Status.WARN
    assert "14 cells are missing (age 9, colour 5)" in finding.summary
    assert finding.evidence["columns"] == ["age", "colour"]
    whole = rows(age=list(range(60)), colour=["red", "green"] * 30)
    assert table.build(path=write(tmp_path, whole), target="label").findings == ()


def test_impute_error_refuses_missing_numbers_and_takes_missing_text(tmp_path):
    with pytest.raises(UserError, match=r"line 5 has no number in column 'age'"):
        table.build(path=write(tmp_path, rows()), target="label", impute="error")
    path = write(tmp_path, rows(age=list(range(60))))
    assert len(table.build(path=path, target="label", impute="error").findings) == 1


@pytest.mark.parametrize(
    "cells, task, kind",
    [
        (["a", "b"] * 30, "auto", "classification"),
        (["True", "False"] * 30, "auto", "classification"),
        ([1, 2, 3] * 20, "auto", "classification"),
        (["1.0", "2.0"] * 30, "auto", "classification"),
        (list(range(20)) * 3, "auto", "classification"),
        ([*range(21), *range(39)], "auto", "regression"),
        ([0.5, 1.5] * 30, "auto", "regression"),
        ([1, 2, 3] * 20, "regression", "regression"),
        ([0.5, 1.5] * 30, "classification", "classification"),
    ],
)
def test_the_target_decides_between_classes_and_quantities(tmp_path, cells, task, kind):
    source = table.build(path=write(tmp_path, rows(label=cells)), target="label", task=task)
    assert source.kind == kind
    assert source.targets.ndim == (1 if kind == "classification" else 2)


def test_integer_classes_are_named_and_ordered_as_numbers(tmp_path):
    path = write(tmp_path, rows(label=[10, 9, 2] * 20))
    source = table.build(path=path, target="label")
    assert source.class_names == ("2", "9", "10") and list(source.targets[:3]) == [2, 1, 0]


@pytest.mark.parametrize(
    "name, change",
    [
        ("data.tsv", lambda text: text.replace(",", "\t")),
        ("data.txt", lambda text: text.replace(",", ";")),
        ("data.txt", lambda text: text.replace(",", "|")),
        ("data.csv", lambda text: text.replace("\n", "\r\n")),
        ("data.csv", lambda text: "\ufeff" + text),
        ("data.csv", lambda text: text.replace("red", '" red"')),
        ("data.CSV", lambda text: text.rstrip("\n")),
    ],
)
def test_the_same_table_in_other_spellings(tmp_path, name, change):
    plain = table.build(path=write(tmp_path, rows(), "plain.csv"), target="label")
    other = table.build(path=write(tmp_path, change(rows()), name), target="label")
    assert base.prepare(other).fingerprint == base.prepare(plain).fingerprint


def test_column_order_moves_no_example(tmp_path):
    text = rows(height=list(range(60)), shape=["round", "flat"] * 30)
    one = table.build(path=write(tmp_path, text), target="label")
    frame = pd.read_csv(tmp_path / "data.csv", dtype=str, keep_default_na=False)
    swapped = frame[["height", "shape", "label", "colour", "age"]].to_csv(index=False)
    other = table.build(path=write(tmp_path, swapped), target="label")
    assert base.prepare(one).fingerprint == base.prepare(other).fingerprint


def test_lines_are_those_of_the_file(tmp_path):
    text = 'x,note,y\n1,"two\nlines",a\n\n2,one,b\n3,one,a\n4,"two\nlines",b\n'
    source = table.build(path=write(tmp_path, text), target="y")
    assert list(source.ids) == [2, 5, 6, 7]


def test_columns_can_be_dropped(tmp_path):
    path = write(tmp_path, rows(name=[f"person {i}" for i in range(60)]))
    source = table.build(path=path, target="label", drop=("name", "age"))
    assert list(source.raw) == ["colour"]


NAMES = [f"person {i}" for i in range(60)]


@pytest.mark.parametrize(
    "text, options, sentence",
    [
        ("", {}, "is empty"),
        ("\n\n", {}, "holds no text"),
        ("age,label\n", {}, "holds a header .* and no rows"),
        ("age,label\n1,yes\n2,no,3\n", {}, "line 3 has 3 cells and the header 2"),
        ("age,label\n1,yes\n\n2\n", {}, "line 4 has 1 cells and the header 2"),
        ('age,label\n1,"yes\n', {}, "correct the quotes"),
        ("age,age,label\n1,2,yes\n", {}, "2 columns 'age'"),
        (",label\n1,yes\n", {}, "column 1 has no name"),
        ("1,2\n3,4\n", {}, "holds numbers alone"),
        ("0.0,0,0\n1,2,3\n", {}, "holds numbers alone"),
        ("0.2,0.2,label\n1,2,a\n", {}, "if line 1 is an example, add a header"),
        ("age;label\n1;yes\n", {}, "1 times ';'"),
        (rows().encode("utf-16"), {}, "not UTF-8"),
        (rows(), {"target": "lable"}, r"no column 'lable'; did you mean label\?"),
        (rows(), {"target": ""}, r"data\.target is empty; .*age, colour, label"),
        (rows(), {"drop": ("colur",)}, r"data\.drop: .* no column 'colur'; did you mean colour"),
        (rows(), {"drop": ("label",)}, "leaves out the target"),
        (rows(), {"drop": ("age", "colour")}, "no column is left"),
        (rows(), {"task": "regression"}, "line 2 holds 'no' in column 'label'"),
        (rows(label=["yes", ""] * 30), {}, "30 of 60 rows .* 'label' .lines 3, 5, 7, 9, 11, ..."),
        (rows(label=[""] * 60), {}, "all rows have no target"),
        (rows(label=[*range(59), "x"]), {}, "line 61 holds 'x' in column 'label'"),
        (rows(age=["1.5"] * 57 + ["x", "2", "3"]), {}, "line 59 holds 'x' in column 'age'"),
        (rows(age=[*NAMES[:1], *range(59)]), {}, "line 2 holds 'person 0' .* 59 of 60 cells"),
        (rows(age=[*NAMES[:20], *range(40)]), {}, "line 2 holds 'person 0' .* 40 of 60 cells"),
        (rows(colour=NAMES), {}, r"column 'colour' holds 60 different .*data\.drop"),
        (rows(colour=[f"c{i % 31}" for i in range(60)]), {}, "holds 31 different"),
        (rows(age=[""] * 60), {}, "column 'age' is empty"),
        (rows(age=["inf", *range(59)]), {}, "'age' holds 1 infinite values, first in line 2"),
        (rows(age=["1e39", *range(59)]), {}, "'age' holds 1 infinite values"),
        (rows(label=["-inf", *np.arange(59) / 7]), {}, "'label' holds 1 infinite"),
    ],
)
def test_bad_tables_are_one_sentence(tmp_path, text, options, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        table.build(**{"path": write(tmp_path, text), "target": "label", **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1_000", "3+", "1,234"])
def test_names_that_look_like_numbers_are_levels(tmp_path, text):
    cells = [f'"{text}"', "low"] * 30
    source = table.build(path=write(tmp_path, rows(colour=cells)), target="label")
    assert set(source.raw["colour"]) == {text, "low"}


@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        (np.arange(400) % 40 * 7 + 3, True),
        (np.arange(400) % 40 / 8, False),
        (np.arange(400) + 1_000_000, False),
    ],
    ids=["forty numbers", "eighths", "all different"],
)
def test_whole_numbers_may_be_quantities_or_classes(tmp_path, targets, classes):
    a = np.random.default_rng(0).normal(size=400)
    path = write(tmp_path, text_of({"a": a, "label": targets}))
    data = {"name": "table", "path": path, "target": "label"}
    config = configs.as_dict(configs.complete({"data": data}))
    with pytest.raises(UserError, match=r"say --config\.objective\.name=regression") as told:
        drive.make_objective(config, drive.load_task(config))
    assert ("classes, --config.data.task=classification." in str(told.value)) == classes
    # Only a dataset that has the setting is told of it.
    task = drive.load_task(config)
    config["data"] = {"name": "diabetes"}
    with pytest.raises(UserError, match=r"name=regression\.$"):
        drive.make_objective(config, task)


NUMBERS = {
    "german": [f"{i // 10},{i % 10}" for i in range(40)],
    "signed": [f"{'-' * (i % 2)}{i / 10:.1f}".replace(".", ",") for i in range(40)],
    "thousands": [f"{1000 + 37 * i:,}" for i in range(40)],
    "both": [f"{1000.5 + 37 * i:_.1f}".replace(".", ",").replace("_", ".") for i in range(40)],
    "english": [f"{1000.25 + 37 * i:,.2f}" for i in range(40)],
    "some whole": [f"{i}" if i % 2 else f"{i},5" for i in range(40)],
    "some missing": ["NA" if i % 5 == 0 else f"{i},5" for i in range(40)],
}
PARTS = [f"{i % 3},{i % 2}" for i in range(40)]
MIXED = [f"{i},{i + 1}" if i % 4 else f"{i},{i + 1},{i + 2}" for i in range(24)]


@pytest.mark.parametrize("cells", NUMBERS.values(), ids=NUMBERS)
def test_numbers_with_commas_are_refused_by_their_cause(tmp_path, cells):
    label = ["ab"[i % 2] for i in range(40)]
    path = write(tmp_path, text_of({"a": cells, "label": label}, ";"), "t.txt")
    with pytest.raises(UserError, match=r"'a' holds numbers with commas, such as '\S+' \(line "):
        table.build(path=path, target="label")
    if "NA" not in cells:
        path = write(tmp_path, text_of({"b": label, "a": cells}, ";"), "u.txt")
        for task in ("auto", "regression"):
            with pytest.raises(UserError, match=r"a point and .* thousands; if they are names of"):
                table.build(path=path, target="a", task=task)
    # Names of a few parts are no quantities, nor are classes that are said to be some.
    label = ["1,5", "2,5"] * 20
    path = write(tmp_path, text_of({"a": PARTS, "label": label}, ";"), "v.txt")
    source = table.build(path=path, target="label", task="classification")
    assert source.raw["a"][1] == "1,1" and source.class_names == ("1,5", "2,5")


def test_lists_of_parts_are_no_numbers_with_commas(tmp_path):
    label = ["ab"[i % 2] for i in range(48)]
    path = write(tmp_path, text_of({"a": MIXED * 2, "label": label}, ";"), "t.txt")
    assert table.build(path=path, target="label").raw["a"][0] == "0,1,2"


def test_a_class_with_one_example_is_refused_when_splitting(tmp_path):
    source = table.build(
        path=write(tmp_path, rows(label=["odd", *["yes", "no"] * 29, "no"])), target="label"
    )
    with pytest.raises(UserError, match="Class 'odd' has 1 example, "):
        base.prepare(source)


@pytest.mark.parametrize(
    "path, sentence",
    [
        ("", r"data\.path is empty"),
        ("dta.csv", "no file 'dta.csv'; the nearest is .*data.csv"),
        ("nowhere/data.csv", "no file .*nor a folder"),
        (".", "is a folder"),
        ("a\0b\n.csv", "no file|cannot be read"),
    ],
)
def test_missing_files_are_named(tmp_path, monkeypatch, path, sentence):
    write(tmp_path, rows())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        table.build(path=path, target="label")


def test_rows_with_one_empty_cell_in_a_single_column_are_blank_lines(tmp_path):
    with pytest.raises(UserError, match="no column is left"):
        table.build(path=write(tmp_path, "label\nyes\n\nno\n"), target="label")


# --- Who is held out ---------------------------------------------------------------------------


def people(each=5, count=30):
    """So many rows of each of `count` persons, dated in the order of the file."""
    n = each * count
    return rows(
        n,
        person=[f"p{i % count}" for i in range(n)],
        when=[f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(n)],
    )


def held(task):
    """The lines of the file by split; those of the test split are what is left."""
    train, validation = set(task.train.ids.tolist()), set(task.validation.ids.tolist())
    return train, validation


def test_all_rows_of_a_group_stay_in_one_split_and_it_is_no_input(tmp_path):
    path = write(tmp_path, people())
    given = {"path": path, "target": "label", "drop": ("when",), "group": "person"}
    task = base.prepare(table.build(**given))
    train, validation = held(task)
    test = set(range(2, 152)) - train - validation
    persons = [{(line - 2) % 30 for line in lines} for lines in (train, validation, test)]
    assert all(persons) and sum(map(len, persons)) == 30
    assert not any("person" in name for name in task.feature_names)
    assert len(test) == task.test.num_examples == 30
    assert (task.split, task.split_by) == ("group", "person")
    # Rows of one stand beside each other, so that a fold or a sample takes whole groups.
    order = (task.train.ids - 2) % 30
    assert (np.diff(order) != 0).sum() == len(persons[0]) - 1
    again = base.prepare(table.build(**given), split_seed=1)
    assert held(again) != (train, validation)
    assert held(base.prepare(table.build(**(given | {"group": "", "drop": ("when", "person")}))))[
        0
    ] != (train)
    (found,) = (each for each in splits.look(Examples(task)) if each.row == "DATA11")
    assert "hash of their 'person', all of one together" in found.summary


@pytest.mark.parametrize("column", ["when", "number"])
def test_the_last_rows_by_a_column_are_held_out(tmp_path, column):
    text = people() if column == "when" else rows(150, number=[f"{i / 3:.2f}" for i in range(150)])
    drop = ("person",) if column == "when" else ()
    head, *lines = text.splitlines()
    lines = [lines[i] for i in np.random.default_rng(0).permutation(150)]
    path = write(tmp_path, "\n".join([head, *lines]) + "\n")
    source = table.build(path=path, target="label", drop=drop, order=column)
    task = base.prepare(source, validation=0.2, test=0.1)
    place = {line: text.splitlines().index(row) for line, row in enumerate(lines, 2)}
    train, validation = ({place[line] for line in lines} for lines in held(task))
    assert train == set(range(1, 106)) and validation == set(range(106, 136))
    assert task.test.num_examples == 15 and (task.split, task.split_by) == ("order", column)
    (found,) = (each for each in splits.look(Examples(task)) if each.row == "DATA11")
    assert f"are the last by {column!r}" in found.summary


def test_rows_of_one_date_stay_together():
    parts = _split.cut_in_order(
        np.array([1.0, 2, 2, 2, 3, 3, 4, 5, 5, 5]), validation=0.2, test=0.2
    )
    # The cut for two of ten falls among three of one date: all of them are held out.
    np.testing.assert_array_equal(parts, [0, 0, 0, 0, 0, 0, 1, 2, 2, 2])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"group": "nope"}, "data.group: "),
        ({"order": "nope"}, "data.order: "),
        ({"group": "label"}, "data.group is the target 'label'; name another column"),
        ({"group": "person", "order": "when"}, "set one of them to ''"),
        ({"order": "person"}, "line 2 holds 'p0' in column 'person'"),
        ({"order": "age"}, "line 5 has nothing in column 'age'"),
        ({"group": "colour"}, "line 7 has nothing in column 'colour'"),
        ({}, "keep the rows of each in one split with data.group='person', or leave it out"),
        ({"drop": ("person",)}, "hold out the last rows by it with data.order='when', or leave"),
    ],
)
def test_a_column_that_cannot_say_who_is_held_out_is_refused(tmp_path, options, sentence):
    path = write(tmp_path, people(each=3, count=60) if "order" not in options else people())
    with pytest.raises(UserError) as refused:
        table.build(path=path, target="label", **options)
    assert sentence in str(refused.value)


def test_one_group_is_too_few(tmp_path):
    path = write(tmp_path, rows(person=["a"] * 60))
    with pytest.raises(UserError, match="because examples of one 'person' stay together"):
        base.prepare(table.build(path=path, target="label", group="person"))


def test_between_groups_no_chance_is_known(tmp_path):
    """Rows that are all alike within a person differ between any two splits."""
    draws = np.random.default_rng(0)
    own = np.repeat(draws.normal(size=(12, 3)), 40, axis=0) + 0.01 * draws.normal(size=(480, 3))
    cells = {name: [f"{x:.6f}" for x in own[:, i]] for i, name in enumerate("abc")}
    cells |= {"person": [f"p{i // 40}" for i in range(480)]}
    cells |= {"label": ["yes" if i % 2 else "no" for i in range(480)]}
    path = write(tmp_path, text_of(cells))
    task = base.prepare(table.build(path=path, target="label", group="person"))
    (found,) = drift.look(Examples(task))
    assert found.status is Status.PASS and "groups of 'person'" in found.summary
    (found,) = drift.look(Examples(dataclasses.replace(task, split="hash")))
    assert found.status is Status.WARN
    (found,) = drift.look(Examples(dataclasses.replace(task, split="order", split_by="when")))
    assert found.status is Status.WARN and "change along 'when'" in found.remedy
