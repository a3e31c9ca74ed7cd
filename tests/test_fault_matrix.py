"""The fault matrix: what is broken on purpose, what is promised then, and which tests hold it.

`python scripts/fault_matrix.py` runs them and prints the table with what came out. Rows that no
other file of tests states are stated here.
"""

import ast
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import pytest

from recipe_jax.app import commands, lanes
from recipe_jax.checkpoint import Checkpoints
from recipe_jax.types import UserError

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "recipe_jax"


class Row(NamedTuple):
    """A fault, what is promised, and the functions of tests that show it, by file."""

    fault: str
    promise: str
    tests: tuple[tuple[str, tuple[str, ...]], ...]


HERE = pathlib.Path(__file__).stem
MATRIX = {
    1: Row(
        "SIGKILL at random times",
        "the same command ends with the same bits",
        (
            (
                "test_resume",
                ("test_a_killed_run_ends_with_the_same_bits", "test_many_kills_change_no_bit"),
            ),
            ("test_prune", ("test_a_kill_between_pauses_changes_no_bit",)),
            ("test_sweep", ("test_a_sweep_that_was_cut_off_goes_on_to_the_same_bits",)),
        ),
    ),
    2: Row(
        "SIGTERM, SIGINT, a second signal",
        "saves once, exit code 143 or 130; a second one ends at once",
        (
            (
                "test_resume",
                (
                    "test_a_signal_saves_and_the_run_goes_on_from_there",
                    "test_a_second_signal_ends_at_once",
                    "test_a_signal_sent_twice_is_one_wish",
                ),
            ),
            ("test_lanes", ("test_a_stop_changes_no_bit",)),
        ),
    ),
    3: Row(
        "kill between writing, renaming, manifest and pruning of a checkpoint",
        "the one before is used, leftovers go",
        (
            (
                "test_checkpoint",
                (
                    "test_a_kill_while_saving_loses_nothing",
                    "test_a_kill_while_a_step_is_replaced_uses_the_one_before",
                ),
            ),
            ("test_lanes", ("test_a_kill_between_result_and_cleaning_loses_nothing",)),
            (
                "test_resume",
                (
                    "test_a_kill_at_the_end_is_made_good",
                    "test_what_a_kill_left_half_written_is_swept_up",
                ),
            ),
        ),
    ),
    4: Row(
        "one bit flipped in any file of a checkpoint or a model",
        "found, named; the checkpoint before is used, a model is refused",
        (
            (
                "test_checkpoint",
                (
                    "test_every_flipped_bit_is_found_and_its_file_is_named",
                    "test_a_damaged_file_is_named_and_the_step_before_is_used",
                    "test_a_manifest_vouches_for_itself",
                ),
            ),
            ("test_lanes", ("test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on",)),
            ("test_export", ("test_a_damaged_model_is_told",)),
        ),
    ),
    5: Row(
        "files cut, emptied, missing or added; links out of the run",
        "found, named; no link is followed",
        (
            (
                "test_checkpoint",
                (
                    "test_a_damaged_file_is_named_and_the_step_before_is_used",
                    "test_what_does_not_belong_is_named",
                    "test_arrays_behind_a_link_are_not_read",
                    "test_a_step_that_is_a_link_is_none",
                    "test_a_leftover_that_is_a_link_is_not_written_through",
                    "test_other_names_are_no_steps",
                ),
            ),
            (
                "test_resume",
                ("test_a_lost_result_is_trained_again", "test_what_was_deleted_is_written_again"),
            ),
        ),
    ),
    6: Row(
        "a disk full, over quota, read-only, another's, failing or gone, at every write",
        "one sentence, exit code 2; mended, the same bits",
        (
            (
                "test_disk",
                (
                    "test_every_place_that_is_written_is_tried_below",
                    "test_a_disk_that_fails_while_it_trains",
                    "test_a_disk_that_fails_where_orbax_writes",
                    "test_the_last_good_state_is_what_it_goes_on_from",
                    "test_a_disk_that_fails_at_the_end",
                    "test_a_journal_that_cannot_be_written",
                    "test_event_files_on_a_full_disk_are_an_error_and_are_not_waited_for",
                    "test_a_workdir_that_vanishes_is_told",
                    "test_other_commands_say_it_too",
                    "test_too_little_room_is_refused_before_anything_is_trained",
                    "test_a_disk_that_is_really_full",
                ),
            ),
            ("test_checkpoint", ("test_a_disk_that_takes_no_more_is_an_error_of_the_system",)),
        ),
    ),
    7: Row(
        "a save that fails for a reason nobody thought of",
        "no success is reported; nothing is saved in the background",
        (
            (
                HERE,
                (
                    "test_a_save_that_fails_is_no_success",
                    "test_nothing_is_saved_behind_the_back_of_the_run",
                ),
            ),
        ),
    ),
    8: Row(
        "NaN or infinity in one lane",
        "it is marked and ranked last; no other lane changes by a bit",
        (
            (
                "test_lanes",
                (
                    "test_a_diverged_lane_is_marked_and_disturbs_nobody",
                    "test_a_last_step_that_breaks_the_weights_is_noticed",
                ),
            ),
            ("test_population", ("test_a_diverging_neighbour_changes_no_bit",)),
            ("test_stages", ("test_ranking_is_by_score_then_loss_then_uid_and_diverged_is_last",)),
            ("test_search", ("test_a_diverged_setting_counts_as_the_worst_one_seen",)),
        ),
    ),
    9: Row(
        "out of memory",
        "fewer blocks at once, the same bits",
        (
            (
                "test_prune",
                (
                    "test_lanes_that_do_not_fit_train_in_parts_to_the_same_bits",
                    "test_out_of_memory_halves_the_blocks_in_flight",
                ),
            ),
            ("test_extend", ("test_in_parts_where_memory_is_short_it_is_the_same",)),
        ),
    ),
    10: Row(
        "a bad config: unknown key, wrong type, NaN, out of range, too large a grid",
        "refused before anything is compiled, by the key, with the nearest name",
        (
            (
                "test_config",
                ("test_bad_values_are_refused_by_key", "test_bad_command_lines_are_refused"),
            ),
            ("test_search", ("test_a_grid_too_large_is_refused_before_it_is_made",)),
            (
                "test_commands",
                (
                    "test_bad_input_is_exit_code_2_and_one_line",
                    "test_a_bad_search_space_is_refused",
                ),
            ),
        ),
    ),
    11: Row(
        "malformed tables, arrays, images; sizes that a header claims; bombs",
        "one sentence, memory bounded",
        (
            ("test_table", ("test_bad_tables_are_one_sentence",)),
            (
                "test_array_files",
                (
                    "test_bad_arrays_are_one_sentence",
                    "test_a_truncated_npy_is_refused_before_allocating",
                    "test_bad_idx_files_are_one_sentence",
                ),
            ),
            (
                "test_parquet",
                ("test_a_small_file_that_declares_many_cells_is_refused_before_they_are_made",),
            ),
            ("test_images", ("test_a_decompression_bomb_is_refused_before_it_is_unpacked",)),
            ("test_fuzz", ("test_any_file_is_read_or_refused_in_one_sentence",)),
        ),
    ),
    12: Row(
        "pickles in arrays and archives",
        "refused; no file of this package unpickles",
        (
            ("test_array_files", ("test_an_object_array_runs_nothing",)),
            ("test_export", ("test_weights_and_program_need_neither_the_package_nor_pickle",)),
            (HERE, ("test_nothing_in_the_package_unpickles_or_evaluates",)),
        ),
    ),
    13: Row(
        "archives with ../, absolute names, links",
        "nothing is ever unpacked to the disk",
        (
            (
                HERE,
                (
                    "test_members_of_an_archive_are_never_files",
                    "test_nothing_in_the_package_unpacks_archives_to_the_disk",
                ),
            ),
        ),
    ),
    14: Row(
        "names with ../, NUL, newlines, pipes, ten thousand letters",
        "refused, or kept inside the workdir",
        (
            (HERE, ("test_names_do_not_leave_the_workdir",)),
            ("test_commands", ("test_overwriting_removes_what_a_run_wrote_and_nothing_else",)),
        ),
    ),
    15: Row(
        "names of classes, features and people that are HTML, scripts or formulas",
        "they stay words; pages load nothing and run their own scripts alone",
        (
            (
                "test_report",
                (
                    "test_hostile_words_stay_words",
                    "test_the_policy_names_each_script_and_nothing_else",
                    "test_nothing_is_loaded_from_elsewhere",
                ),
            ),
            ("test_human", ("test_hostile_words_stay_words",)),
            ("test_writers", ("test_formulas_become_text_and_numbers_stay_numbers",)),
        ),
    ),
    16: Row(
        "configs that carry code",
        ".json and .yaml run nothing; what reads a workdir runs no config",
        (
            ("test_config", ("test_data_files_run_nothing",)),
            ("test_fuzz", ("test_yaml_builds_no_objects",)),
        ),
    ),
    17: Row(
        "going on under other code, versions, flags, devices, data",
        "refused with the list; --allow-nonbitwise goes on and the report says so",
        (
            (
                "test_nonbitwise",
                (
                    "test_packages_that_compute_are_compared",
                    "test_settings_of_jax_are_compared",
                    "test_devices_are_compared_by_what_decides_bits",
                    "test_flags_of_xla_are_compared_as_a_set_and_without_the_count_of_devices",
                    "test_code_is_compared",
                    "test_changed_code_is_refused_with_every_way_on",
                    "test_going_on_all_the_same_is_written_down_and_told",
                    "test_other_data_are_refused_in_any_case",
                    "test_an_own_model_that_is_edited_in_between_is_named",
                ),
            ),
            ("test_starting", ("test_other_weights_are_refused_on_resuming",)),
            ("test_population", ("test_devices_and_blocks_change_no_bit",)),
        ),
    ),
    18: Row(
        "a compilation cache that is damaged or cannot be written",
        "compiled again, the same bits",
        ((HERE, ("test_a_damaged_compilation_cache_changes_no_bit",)),),
    ),
    19: Row(
        "two processes on one workdir; what a killed one left; another machine",
        "one wins, the other is told who; a stale lock is taken over",
        (
            (
                "test_lock",
                (
                    "test_a_second_holder_is_refused_by_the_name_of_the_first",
                    "test_another_process_holds_it_and_a_killed_one_does_not",
                    "test_what_a_killed_process_left_is_taken_over",
                    "test_another_machine_may_still_hold_it",
                    "test_without_locks_of_the_system_the_record_decides",
                    "test_of_many_at_once_one_gets_it",
                    "test_a_lock_that_was_removed_while_it_was_opened_is_none",
                    "test_every_command_that_writes_holds_its_workdir",
                ),
            ),
        ),
    ),
    20: Row(
        "clocks that jump, other time zones, dates of files",
        "no order comes from a clock, no bit either",
        (
            ("test_checkpoint", ("test_the_last_two_are_kept_and_order_is_by_number",)),
            (HERE, ("test_the_dates_of_files_mean_nothing", "test_a_clock_that_jumps_is_no_fault")),
        ),
    ),
    21: Row(
        "many machines: one of them killed or stuck",
        "not promised: a run is one process; another machine is kept out by the lock",
        (("test_lock", ("test_another_machine_may_still_hold_it",)),),
    ),
    22: Row(
        "a checkpoint of an earlier release",
        "loads to the same bits, or says why not",
        (
            (HERE, ("test_a_checkpoint_of_the_first_release_loads",)),
            (
                "test_lanes",
                ("test_a_checkpoint_of_another_program_is_named_and_training_starts_anew",),
            ),
            ("test_nonbitwise", ("test_what_an_older_release_did_not_record_is_not_compared",)),
        ),
    ),
}


def ids(row: int) -> list[str]:
    """The tests of a row as pytest names them."""
    return [f"tests/{file}.py::{name}" for file, names in MATRIX[row].tests for name in names]


def defined(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", MATRIX)
def test_every_row_has_tests_that_exist(row):
    assert MATRIX[row].tests
    for file, names in MATRIX[row].tests:
        assert set(names) <= defined(file), set(names) - defined(file)


def test_the_matrix_is_whole():
    assert [*MATRIX] == [*range(1, 23)]


# --- Rows stated here ------------------------------------------------------------------------

CONFIG = {
    "data": {"name": "iris"},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "optim": {"name": "adamw", "learning_rate": 0.03},
    "train": {"batch_size": 16, "epochs": 4, "evaluations": 2},
}
TINY = ROOT / "configs" / "tiny.py"
COMPARED = ("metrics.jsonl", "findings.json", "trials.csv", "model/model.json")


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def arguments(folder: pathlib.Path, name: str = "w") -> list[str]:
    words = ["--config", str(TINY), "--workdir", str(folder / name)]
    return ["train", *words, "--config.train.epochs=4", "--config.train.evaluations=2"]


def same(one: pathlib.Path, other: pathlib.Path) -> None:
    for name in COMPARED:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    with np.load(one / "model/weights.npz") as left, np.load(other / "model/weights.npz") as right:
        for name in left.files:
            assert left[name].tobytes() == right[name].tobytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("whole")
    assert commands.train(arguments(folder)) == 0
    return folder / "w"


def test_a_save_that_fails_is_no_success(whole, tmp_path, monkeypatch, capsys):
    """Row 7: a bug, a library's own error: the code of a bug, and the run goes on afterwards."""

    def save(*_):
        raise RuntimeError("barrier timed out")

    monkeypatch.setattr(sys, "argv", arguments(tmp_path))
    monkeypatch.setattr(commands, "use_all_cores", lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(lanes.Checkpoints, "save", save)
        with pytest.raises(SystemExit) as ended:
            commands.main(commands.train)
    assert ended.value.code == commands.BUG and "barrier timed out" in capsys.readouterr().err
    record = json.loads((tmp_path / "w" / "run.json").read_text())
    assert (record["status"], record["exit_code"]) == ("running", None)
    assert not (tmp_path / "w" / "report.html").exists()
    assert commands.train(arguments(tmp_path)) == 0
    same(tmp_path / "w", whole)


def test_nothing_is_saved_behind_the_back_of_the_run(tmp_path, monkeypatch):
    """Row 7: when a save returns, everything is renamed and was synced; no thread goes on."""
    order, real = [], os.fsync

    def fsync(handle):
        order.append(os.readlink(f"/proc/self/fd/{handle}"))
        return real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    Checkpoints(tmp_path).save(3, {"x": np.arange(9.0)}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["3"]
    synced = {pathlib.Path(name).name for name in order}
    files = {p.name for p in (tmp_path / "3").rglob("*") if p.is_file()}
    assert files <= synced and order[-1] == str(tmp_path)
    assert Checkpoints(tmp_path).restore().step == 3


def calls(path: pathlib.Path) -> set[str]:
    """Names that a file imports or calls."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
            found |= {f"{each.arg}={ast.unparse(each.value)}" for each in node.keywords if each.arg}
    return found


SOURCES = sorted(PACKAGE.rglob("*.py"))


def test_nothing_in_the_package_unpickles_or_evaluates():
    """Row 12. Configs in Python are run by config/files.py, and by nothing else."""
    forbidden = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torch"}
    forbidden |= {"eval", "exec", "allow_pickle=True", "yaml.unsafe_load", "yaml.full_load"}
    assert len(SOURCES) > 150
    for path in SOURCES:
        found = calls(path)
        assert not forbidden & found, f"{path}: {forbidden & found}"
        runs = "spec.loader.exec_module" in found
        assert runs == (path.relative_to(PACKAGE).as_posix() == "config/files.py"), path


def test_nothing_in_the_package_unpacks_archives_to_the_disk():
    """Row 13."""
    for path in SOURCES:
        found = calls(path)
        assert "tarfile" not in found and "shutil.unpack_archive" not in found, path
        assert not any(name.endswith((".extract", ".extractall")) for name in found), path


def test_members_of_an_archive_are_never_files(tmp_path):
    """Row 13: an .npz whose members would leave the folder, were they unpacked."""
    import zipfile

    from recipe_jax.data import arrays

    folder = tmp_path / "inside"
    folder.mkdir()
    np.save(tmp_path / "x.npy", np.zeros((6, 2)))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").unlink()
    with zipfile.ZipFile(folder / "data.npz", "w") as archive:
        for name in ("../x.npy", "/tmp/y.npy", "x.npy", "y.npy"):
            archive.writestr(name, content)
        link = zipfile.ZipInfo("inputs.npy")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert arrays.build(path=str(folder / "data.npz")).raw.shape == (6, 2)
    with pytest.raises(UserError, match=r"\[inputs\] is no NumPy array file"):
        arrays.load_inputs(folder / "data.npz")
    assert [p.name for p in tmp_path.rglob("*")] == ["inside", "data.npz"]


HOSTILE = ("../../out", "/tmp/out", "a\0b", "a\nb", "a|b; rm", "x" * 10_000, "~", "..", "")


def refused(folder: pathlib.Path, config: dict) -> str:
    """The sentence for a config."""
    (folder / "c.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as caught:
        commands.train(
            ["train", "--config", str(folder / "c.json"), "--workdir", str(folder / "w")]
        )
    return str(caught.value)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_do_not_leave_the_workdir(tmp_path, name):
    """Row 14: whatever a config calls things, it is refused in a sentence and writes nothing."""
    for section in ("model", "optim", "data", "search"):
        assert "\n" not in refused(tmp_path, CONFIG | {section: {"name": name}})
    for reader in ("table", "arrays", "idx", "images"):
        assert "\n" not in refused(tmp_path, CONFIG | {"data": {"name": reader, "path": name}})
    start = {"path": name} if name else {"path": "/nowhere"}
    assert "\n" not in refused(tmp_path, CONFIG | {"start": start})
    with pytest.raises(UserError):
        commands.sweep([*arguments(tmp_path), "--only", f"{name}/"])
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]


def test_the_dates_of_files_mean_nothing(tmp_path):
    """Row 20: the older checkpoint has the newer date."""
    store = Checkpoints(tmp_path)
    for step in (9, 10):
        store.save(step, {"x": np.full(3, step)}, {})
    for step, date in ((9, 4e9), (10, 0)):
        for path in (tmp_path / str(step), *(tmp_path / str(step)).rglob("*")):
            os.utime(path, (date, date))
    found = Checkpoints(tmp_path).restore()
    assert found is not None and found.step == 10 and found.arrays["x"].tolist() == [10] * 3
    store.save(11, {"x": np.full(3, 11)}, {})
    assert store.steps() == [10, 11]


def test_a_clock_that_jumps_is_no_fault(whole, tmp_path, monkeypatch):
    """Row 20: a day back and a day on at every look, and in another time zone."""
    real, looks = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: real() + 86_400 * (-1) ** next(looks))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert commands.train(arguments(tmp_path)) == 0
    finally:
        monkeypatch.undo()
        time.tzset()
    assert next(looks) > 1
    same(tmp_path / "w", whole)


def cached(folder: pathlib.Path, name: str, cache: pathlib.Path) -> None:
    """The command in a process of its own, its compiled programs kept in `cache`."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{arguments(folder)[0]}", *arguments(folder, name)[1:]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_a_damaged_compilation_cache_changes_no_bit(tmp_path):
    """Row 18: entries that are cut, emptied or other bytes, and a cache that is a file."""
    cache = tmp_path / "cache"
    cached(tmp_path, "first", cache)
    entries = sorted(p for p in cache.rglob("*") if p.is_file())
    assert entries
    for number, path in enumerate(entries):
        content = path.read_bytes()
        path.write_bytes((b"", content[: len(content) // 2], b"\xff" + content[1:])[number % 3])
    cached(tmp_path, "second", cache)
    shutil.rmtree(cache)
    cache.write_text("no folder")
    cached(tmp_path, "third", cache)
    for name in ("second", "third"):
        same(tmp_path / name, tmp_path / "first")


def golden() -> dict:
    """What lies in tests/golden/checkpoint: written once, never again."""
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7
    return {
        "state": {"kernel": values, "half": values.astype(np.float16), "count": np.int32(7)},
        "flags": np.array([True, False]),
        "empty": np.zeros((4, 0), np.float32),
        "odd": np.array([np.nan, np.inf, -0.0], np.float32),
    }


def test_a_checkpoint_of_the_first_release_loads(tmp_path):
    """Row 22."""
    from recipe_jax.checkpoint import flatten

    shutil.copytree(ROOT / "tests" / "golden" / "checkpoint", tmp_path / "store")
    store = Checkpoints(tmp_path / "store")
    found = store.restore()
    assert store.damage == [] and found is not None
    assert (found.step, found.meta) == (7, {"finished": True})
    wanted = flatten(golden())
    assert found.arrays.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found.arrays[name].dtype == value.dtype
        assert found.arrays[name].tobytes() == value.tobytes(), name


TOLD = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_one[x]"/>
<testcase classname="tests.test_a" name="test_one[y]"><failure message="no"/></testcase>
<testcase classname="tests.test_b" name="test_two"><skipped message="later"/></testcase>
<testcase classname="tests.test_b" name="test_three"/>
</testsuite></testsuites>"""


def test_the_table_says_what_came_out():
    from scripts import fault_matrix

    found = fault_matrix.counted(TOLD)
    one = "tests/test_a.py::test_one"
    two, three = "tests/test_b.py::test_two", "tests/test_b.py::test_three"
    assert fault_matrix.row_outcome([one, three], found) == ("1 failed, 2 passed", False)
    assert fault_matrix.row_outcome([two], found) == ("1 skipped", False)
    assert fault_matrix.row_outcome([two, three], found) == ("1 passed, 1 skipped", True)
    assert fault_matrix.row_outcome(["tests/test_c.py::test_none"], found) == ("not run", False)
