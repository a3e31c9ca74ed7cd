"""Parquet tables: the same task as their CSV, every type a cell, damage one sentence."""

import datetime
import decimal
import pathlib
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from recipe_jax.app import predict
from recipe_jax.data import _parquet, base, table
from recipe_jax.types import UserError

N = 60
RNG = np.random.default_rng(0)
COLUMNS = {
    "age": pa.array([None if i % 7 == 3 else x for i, x in enumerate(RNG.normal(40, 9, N))]),
    "weight": pa.array(RNG.normal(70, 9, N).astype(np.float32)),
    "children": pa.array([None if i % 9 == 2 else i % 4 for i in range(N)], pa.int8()),
    "colour": pa.array([None if i % 11 == 5 else ("red", "green")[i % 2] for i in range(N)]),
    "size": pa.array(["small", "large", "large"] * 20).dictionary_encode(),
    "smokes": pa.array([i % 5 == 0 for i in range(N)]),
    "price": pa.array([decimal.Decimal(i) / 4 for i in range(N)], pa.decimal128(9, 2)),
    "day": pa.array([datetime.date(2026, 1, 1 + i % 3) for i in range(N)]),
    "label": pa.array(["yes" if i % 2 else "no" for i in range(N)]),
}


def write(folder, columns, name="data.parquet", **options):
    path = folder / name
    parquet.write_table(pa.table(columns), path, **options)
    return str(path)


def refused(path, **options):
    with pytest.raises(UserError) as caught:
        table.build(**{"path": str(path), "target": "label", **options})
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith((".", "?"))
    return sentence


@pytest.mark.parametrize("target", ["label", "age", "children", "smokes", "weight"])
def test_the_same_table_as_csv_and_as_parquet_is_the_same_task(tmp_path, target):
    full = {k: v for k, v in COLUMNS.items() if target == "label" or k not in ("age", "children")}
    full[target] = COLUMNS[target].fill_null(0) if target in ("age", "children") else full[target]
    path = write(tmp_path, full)
    pd.read_parquet(path).to_csv(tmp_path / "data.csv", index=False)
    one, other = (
        base.prepare(table.build(path=str(p), target=target)) for p in (path, tmp_path / "data.csv")
    )
    assert one.fingerprint == other.fingerprint
    assert one.class_names == other.class_names
    assert one.encoder.columns == other.encoder.columns
    np.testing.assert_array_equal(one.train.inputs, other.train.inputs)
    np.testing.assert_array_equal(one.train.targets, other.train.targets)
    np.testing.assert_array_equal(one.train.ids + 1, other.train.ids)


def test_every_type_is_a_cell(tmp_path):
    when = datetime.datetime(2026, 1, 31, 12, 30)
    columns = {
        "float16": pa.array([0.1, None], pa.float16()),
        "float32": pa.array([0.1, float("nan")], pa.float32()),
        "float64": pa.array([0.1, 1e-300]),
        "uint64": pa.array([2**64 - 1, None], pa.uint64()),
        "bool": pa.array([True, False]),
        "decimal": pa.array([decimal.Decimal("1.50"), None]),
        "text": pa.array([" a ", None], pa.large_string()),
        "levels": pa.array(["b", None]).dictionary_encode(),
        "date": pa.array([when.date(), None]),
        "time": pa.array([when, None], pa.timestamp("ns")),
        "nothing": pa.nulls(2),
    }
    found = _parquet.read(pathlib.Path(write(tmp_path, columns)))
    assert found.columns == {
        "float16": ["0.1", ""],
        "float32": ["0.1", ""],
        "float64": ["0.1", "1e-300"],
        "uint64": ["18446744073709551615", ""],
        "bool": ["True", "False"],
        "decimal": ["1.50", ""],
        "text": [" a ", ""],
        "levels": ["b", ""],
        "date": ["2026-01-31", ""],
        "time": ["2026-01-31 12:30:00", ""],
        "nothing": ["", ""],
    }
    assert list(found.numbers) == [1, 2] and found.place(1) == "row 2"


ODD = {
    "list": pa.array([[1, 2]] * N),
    "struct": pa.array([{"a": 1}] * N),
    "map": pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())),
    "binary": pa.array([b"x"] * N),
}


@pytest.mark.parametrize("name", ODD)
def test_columns_that_hold_no_cells_are_refused_by_name_and_may_be_dropped(tmp_path, name):
    path = write(tmp_path, COLUMNS | {name: ODD[name]})
    sentence = refused(path)
    assert f"column {name!r} holds {name}" in sentence and f"data.drop=({name!r},)" in sentence
    source = table.build(path=path, target="label", drop=(name, "age"))
    assert name not in source.raw and "age" not in source.raw and "weight" in source.raw
    # New examples may have columns that no model was trained on.
    assert name not in table.read(path) and "weight" in table.read(path)


def test_rows_are_named_as_rows(tmp_path):
    cells = ["x", *map(str, range(N - 1))]
    assert "row 1 holds 'x' in column 'code'" in refused(write(tmp_path, COLUMNS | {"code": cells}))
    assert "row 4 has no number in column 'age'" in refused(
        write(tmp_path, COLUMNS), impute="error"
    )
    label = ["yes", None] * (N // 2)
    assert "(rows 2, 4, 6, 8, 10, ...)" in refused(write(tmp_path, COLUMNS | {"label": label}))
    days = [datetime.date(2025, 1, 1) + datetime.timedelta(i) for i in range(N)]
    sentence = refused(write(tmp_path, COLUMNS | {"day": days}))
    assert "column 'day' holds 60 different texts" in sentence and "dates" in sentence


def test_unhelpful_columns(tmp_path):
    frame = pd.DataFrame({"x": range(N), "label": ["a", "b"] * 30}, index=range(1, N + 1))
    frame.iloc[[3, 1, 2, *range(4, N)]].to_parquet(tmp_path / "indexed.parquet")
    assert "holds an index of pandas" in refused(tmp_path / "indexed.parquet")
    assert "did you mean label?" in refused(write(tmp_path, COLUMNS), target="lable")
    assert "no column 'ag'; did you mean age?" in refused(write(tmp_path, COLUMNS), drop=("ag",))
    doubled = pa.Table.from_arrays([COLUMNS["age"]] * 2, names=["age", "age"])
    parquet.write_table(doubled, tmp_path / "doubled.parquet")
    assert "2 columns 'age'" in refused(tmp_path / "doubled.parquet")
    assert "holds no rows" in refused(write(tmp_path, {k: v[:0] for k, v in COLUMNS.items()}))


def test_a_small_file_that_declares_many_cells_is_refused_before_they_are_made(tmp_path):
    many = pa.table({"x": pa.array(np.zeros(11_000_000, bool)), "label": pa.nulls(11_000_000)})
    parquet.write_table(many, tmp_path / "many.parquet", compression="zstd")
    assert "declares 11000000 rows of 2 columns" in refused(tmp_path / "many.parquet")


def test_damaged_files_are_one_sentence(tmp_path):
    whole = pathlib.Path(write(tmp_path, COLUMNS)).read_bytes()
    damaged = tmp_path / "damaged.parquet"
    for cut in (1, 7, 100, len(whole) // 2, len(whole) - 1):
        damaged.write_bytes(whole[:cut])
        assert "is no whole Parquet file" in refused(damaged)
    damaged.write_text("age,label\n1,yes\n")
    assert "is no whole Parquet file" in refused(damaged)


def test_without_pyarrow_the_remedy_is_said(tmp_path, monkeypatch):
    path = write(tmp_path, COLUMNS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install recipe_jax[parquet]" in refused(path)


def test_new_examples_may_come_as_parquet(tmp_path):
    path = write(tmp_path, COLUMNS)
    encoder = base.prepare(table.build(path=path, target="label")).encoder
    described = {"feature_names": encoder.feature_names, "encoder": encoder.to_json()}
    found = predict._read(pathlib.Path(path), described, encoder)
    np.testing.assert_array_equal(found, encoder.encode(table.read(path)))
