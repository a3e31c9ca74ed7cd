"""What a run leaves behind: strict, whole, and the same bytes after a cut."""

import csv
import dataclasses
import enum
import json
import pathlib
import struct
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from recipe_jax import tracking, types, writers


class Point(NamedTuple):
    x: float
    y: np.ndarray


@dataclasses.dataclass(frozen=True)
class Record:
    status: types.Status
    values: tuple[float, ...]


class Number(enum.IntEnum):
    ONE = 1


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


# --- JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (-float("inf"), None),
        (np.float32(0.5), 0.5),
        (np.float32("nan"), None),
        (np.bool_(True), True),
        (np.int64(7), 7),
        (np.array([[1.0, np.inf], [np.nan, 2.0]]), [[1.0, None], [None, 2.0]]),
        (np.array([1, 2], np.uint8), [1, 2]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([1.5, None, "a"], object), [1.5, None, "a"]),
        (jnp.asarray([0.5, jnp.nan], jnp.bfloat16), [0.5, None]),
        (jnp.float32(2), 2.0),
        (types.Status.WARN, "WARN"),
        ({types.Status.WARN: Number.ONE, 3: (1, 2)}, {"WARN": 1, "3": [1, 2]}),
        (Point(1.0, np.zeros(2)), {"x": 1.0, "y": [0.0, 0.0]}),
        (Record(types.Status.PASS, (1.0, np.inf)), {"status": "PASS", "values": [1.0, None]}),
        ({3, 1, 2}, [1, 2, 3]),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (2**70, 2**70),
        ("\u2028</script>\ud800", "\u2028</script>\ud800"),
        (True, True),
        (None, None),
    ],
)
def test_any_value_has_a_strict_form(value, expected):
    found = strict(writers.to_json(value))
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize("value", [object(), 1j, b"bytes", np.array([1j]), {(1, 2): 3}])
def test_what_has_no_form_is_refused_by_name(value):
    with pytest.raises(TypeError, match="JSON"):
        writers.to_json(value)


def test_floats_come_back_with_the_same_bits():
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    assert strict(writers.to_json(values)) == values.tolist()


def test_a_whole_file_appears_or_nothing_changes(tmp_path):
    path = tmp_path / "a.json"
    writers.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        writers.write_json(path, {"a": object()})
    with pytest.raises(UnicodeEncodeError):
        writers.write_text(path, "half \ud800")
    assert strict(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


# --- Lines of JSON ---------------------------------------------------------------------------


def rows(first, last):
    return [
        {"step": i, "loss": float("nan") if i == 4 else 1 / (i + 1)} for i in range(first, last)
    ]


def write(path, numbers, **fields):
    with writers.JsonlWriter(path, **fields) as file:
        for row in numbers:
            file.write(row)
        return file.offset()


@pytest.mark.parametrize("cut", range(10))
def test_cut_back_and_written_again_gives_the_same_bytes(tmp_path, cut):
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    write(whole, rows(0, 10))
    offset = write(resumed, rows(0, cut))
    write(resumed, rows(cut, 9))
    write(resumed, rows(cut, 10), truncate_to=offset)
    assert resumed.read_bytes() == whole.read_bytes()


def test_the_offset_counts_bytes_of_the_file(tmp_path):
    path = tmp_path / "a.jsonl"
    assert write(path, [{"word": "größe"}]) == path.stat().st_size
    assert write(path, [{"word": "b"}]) == path.stat().st_size


@pytest.mark.parametrize("size", [1, 70_000, 200_000])
def test_a_line_that_a_kill_left_unfinished_is_dropped(tmp_path, size):
    path = tmp_path / "a.jsonl"
    write(path, rows(0, 3))
    good = path.read_bytes()
    path.write_bytes(good + b'{"step": 3, "loss"' + b" " * size)
    assert len(list(writers.read_jsonl(path))) == 3
    write(path, rows(3, 4))
    assert [row["step"] for row in writers.read_jsonl(path)] == [0, 1, 2, 3]
    path.write_bytes(b"x" * size)
    write(path, rows(0, 1))
    assert path.read_bytes() == good[: path.stat().st_size]


def test_a_file_shorter_than_the_checkpoint_says_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    offset = write(path, rows(0, 2))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(types.UserError, match=f"{offset - 1} bytes.*{offset}"):
        writers.JsonlWriter(path, truncate_to=offset)


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 2}\n')
    with pytest.raises(types.UserError, match="line 2"):
        list(writers.read_jsonl(path))
    assert list(writers.read_jsonl(tmp_path / "none.jsonl")) == []


# --- CSV -------------------------------------------------------------------------------------


def test_formulas_become_text_and_numbers_stay_numbers(tmp_path):
    path = tmp_path / "trials.csv"
    found = [
        {"=a": "=1+1", "b": "+cmd", "c": -0.5, "d": True},
        {"=a": "@x", "b": "-1", "c": float("nan"), "e": 'a,b\n"c"'},
        {"=a": "plain", "b": None, "c": -3, "e": [1, 2]},
    ]
    writers.write_trials_csv(path, found)
    with path.open(newline="") as file:
        table = list(csv.reader(file))
    assert table == [
        ["'=a", "b", "c", "d", "e"],
        ["'=1+1", "'+cmd", "-0.5", "true", ""],
        ["'@x", "'-1", "", "", 'a,b\n"c"'],
        ["plain", "", "-3", "", "[1, 2]"],
    ]
    assert all(
        not cell.startswith(writers.FORMULA_STARTS) or float(cell) for row in table for cell in row
    )


# --- TensorBoard -----------------------------------------------------------------------------


def events(logdir):
    """(tag, step, value) of all scalars in event files, read by the format's own description."""
    from tensorboardX.proto import event_pb2

    found, tags = [], set()
    for file in sorted(path for path in logdir.iterdir() if path.is_file()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                tags.add(value.tag)
                if value.HasField("simple_value"):
                    found.append((value.tag, event.step, value.simple_value))
    return found, tags


def metrics_rows(trials, steps):
    return [
        {
            "stage": "tune",
            "request": "random",
            "trial": trial,
            "step": step,
            "epoch": step / 2,
            "split": split,
            "loss": step + len(split),
            "accuracy": None if step == 2 else 0.5,
        }
        for trial in trials
        for step in steps
        for split in ("train", "validation")
    ]


def test_event_files_are_rebuilt_from_the_metrics(tmp_path):
    numbers = metrics_rows(["t0", "t1"], [0, 2])
    write(tmp_path / "metrics.jsonl", numbers)
    live = writers.TensorBoardWriter(tmp_path / "tensorboard")
    for row in [*numbers, {"step": 9, "loss": 1.0}]:
        writers.write_row(live, row)
    live.close()
    tracking.to_tensorboard(tmp_path)
    found, _ = events(tmp_path / "tensorboard")
    expected = [
        (f"tune/random/{row['split']}/{name}/{row['trial']}", row["step"], row[name])
        for row in numbers
        for name in ("loss", "accuracy")
        if row[name] is not None
    ]
    assert [each for each in found if "/agg/" not in each[0]] == expected
    tracking.to_tensorboard(tmp_path)
    assert events(tmp_path / "tensorboard")[0] == found
    assert sorted(file.name for file in tmp_path.iterdir()) == ["metrics.jsonl", "tensorboard"]


def test_of_many_trials_tensorboard_gets_a_summary(tmp_path):
    with writers.JsonlWriter(tmp_path / "metrics.jsonl") as file:
        for trial in range(tracking.MOST_RUNS + 1):
            row = {"stage": "sweep", "request": "search", "trial": str(trial), "step": 5}
            file.write({**row, "split": "validation", "loss": float(trial)})
        file.write({"stage": "sweep", "request": "few", "trial": "a", "step": 5, "loss": 7.0})
    tracking.to_tensorboard(tmp_path)
    found, _ = events(tmp_path / "tensorboard")
    front, last = "sweep/search/validation/loss/agg", float(tracking.MOST_RUNS)
    assert {(tag, value) for tag, _, value in found} == {
        (f"{front}/mean", last / 2),
        (f"{front}/lowest", 0.0),
        (f"{front}/highest", last),
        ("sweep/few/loss/a", 7.0),
    }


def test_the_largest_requests_are_summed_up_where_all_together_are_too_many(tmp_path):
    sizes = {f"r{size}": size for size in range(tracking.MOST_RUNS, 0, -1)}
    with writers.JsonlWriter(tmp_path / "metrics.jsonl") as file:
        for request, size in sizes.items():
            for trial in range(size):
                row = {"stage": "s", "request": request, "trial": str(trial), "step": 5}
                file.write({**row, "loss": 1.0})
    tracking.to_tensorboard(tmp_path)
    found, _ = events(tmp_path / "tensorboard")
    own = [tag for tag, _, _ in found if "/agg/" not in tag]
    told = {request: sum(f"s/{request}/" in tag for tag in own) for request in sizes}
    # 1 + 2 + ... + 24 = 300.
    assert told == {name: size if size <= 24 else 0 for name, size in sizes.items()}


def test_writers_opened_in_one_second_do_not_overwrite_each_other(tmp_path):
    for step in range(3):
        writer = writers.TensorBoardWriter(tmp_path)
        writer.write_scalars(step, {"loss": 1.0})
        writer.close()
    assert sorted(step for _, step, _ in events(tmp_path)[0]) == [0, 1, 2]


def test_every_kind_of_measurement_is_written(tmp_path):
    writer = writers.TensorBoardWriter(tmp_path)
    assert isinstance(writer, writers.Writer)
    writer.write_scalars(1, {"loss": np.float32(0.5), "odd": float("nan")})
    writer.write_images(1, {"one": np.zeros((4, 4, 1)), "two": np.zeros((2, 4, 4, 3))})
    writer.write_texts(1, {"note": "words"})
    writer.write_histograms(
        1, {"weights": np.array([1.0, np.nan, 2.0]), "none": np.array([np.nan])}
    )
    writer.write_hparams({"rate": 0.1, "name": "mlp", "clip": None, "sizes": (1, 2)})
    writer.flush()
    writer.close()
    _, tags = events(tmp_path)
    assert {"loss", "one", "two/0", "two/1", "note/text_summary", "weights"} <= tags
    assert "_hparams_/session_start_info" in tags and "none" not in tags


def test_a_run_is_read_back_by_tensorboard_itself(tmp_path):
    """Scalars, pictures, words, distributions, and the table of hyperparameters."""
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    numbers = metrics_rows(["t0", "t1"], [0, 2])
    write(tmp_path / "metrics.jsonl", numbers)
    pictures = np.arange(12 * 3 * 3).reshape(12, 3, 3)
    finding = {"stage": "data", "row": "DATA1", "status": "PASS", "remedy": ""}
    findings = [
        finding | {"check": "samples", "summary": "a | <b>", "evidence": {"images": pictures}},
        finding | {"check": "odd", "summary": "x", "evidence": {"images": [[1], [2, 3]]}},
    ]
    writers.write_json(tmp_path / "findings.json", findings)
    trials = [
        {"stage": "tune", "request": "random", "trial": f"t{i}", "seed": i, "status": "done"}
        | {"steps": 2, "best_score": float(i), "validation_loss": 1.0 - i, "optim.name": "sgd"}
        | {"optim.learning_rate": 0.1 * (i + 1)}
        for i in range(2)
    ]
    writers.write_trials_csv(tmp_path / "trials.csv", trials)
    (tmp_path / "model").mkdir()
    np.savez(tmp_path / "model" / "weights.npz", kernel=np.linspace(-1, 1, 50))
    tracking.to_tensorboard(tmp_path)

    def read(folder):
        found = event_accumulator.EventAccumulator(str(folder))
        found.Reload()
        return found

    root = read(tmp_path / "tensorboard")
    losses = root.Scalars("tune/random/validation/loss/t0")
    assert [(each.step, each.value) for each in losses] == [(0, 10.0), (2, 12.0)]
    # Wish 16: mean and spread over trials, also of a few.
    assert [e.value for e in root.Scalars("tune/random/validation/loss/agg/mean")] == [10.0, 12.0]
    (sheet,) = root.Images("data/samples")
    assert (sheet.width, sheet.height) == (10 * 4, 2 * 4)
    words = root.Tensors("findings/data/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "a &#124; &lt;b&gt;" in words
    (weights,) = root.Histograms("weights/kernel")
    assert weights.histogram_value.num == 50
    assert root.Histograms("scores/tune/random")[0].histogram_value.max == 1.0

    def hparams(found, tag):
        content = found.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
        return plugin_data_pb2.HParamsPluginData.FromString(content)

    columns = hparams(root, "experiment").experiment
    assert {each.name.tag for each in columns.metric_infos} == {"best_score", "validation_loss"}
    assert {"optim.learning_rate", "optim.name", "seed"} <= {c.name for c in columns.hparam_infos}
    for i, row in enumerate(trials):
        one = read(tmp_path / "tensorboard" / "trials" / "tune" / f"t{i}")
        told = hparams(one, "session_start_info").session_start_info.hparams
        assert told["optim.learning_rate"].number_value == row["optim.learning_rate"]
        assert told["optim.name"].string_value == "sgd"
        assert one.Scalars("best_score")[0].value == i


def test_of_many_trials_the_table_holds_the_best_and_says_so(tmp_path):
    rows = [
        {"stage": "sweep", "trial": f"t{i}", "best_score": float(i), "optim.name": "sgd"}
        for i in range(tracking.MOST_RUNS + 3)
    ]
    writers.write_trials_csv(tmp_path / "trials.csv", rows)
    tracking.to_tensorboard(tmp_path)
    kept = {path.name for path in (tmp_path / "tensorboard" / "trials" / "sweep").iterdir()}
    assert kept == {f"t{i}" for i in range(3, tracking.MOST_RUNS + 3)}
    assert "trials/text_summary" in events(tmp_path / "tensorboard")[1]
