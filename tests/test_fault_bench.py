"""scripts/fault_bench.py: what it plants, and how it keeps what it found."""

import json

import numpy as np
import pytest

from recipe_jax.checks._catalogue import NAMES
from recipe_jax.program import Program, experiment
from scripts import fault_bench
from scripts.faults.healthy import COUNT, healthy
from scripts.faults.plants import NOT_PLANTED, PLANTS
from scripts.faults.programs import PROGRAMS


def test_every_row_of_the_catalogue_is_planted_or_said_to_be_left_out():
    planted = {plant.row for plant in PLANTS.values()}
    assert planted | set(NOT_PLANTED) == set(NAMES) and not planted & set(NOT_PLANTED)
    assert len(NAMES) == 78


def test_there_are_enough_programs_and_healthy_ones():
    assert len(PROGRAMS) >= 4 and COUNT >= 200
    assert len({healthy(number)[0] for number in range(60)}) > 40


@pytest.mark.parametrize("name", PROGRAMS)
def test_base_programs_are_small(name):
    program = experiment(**PROGRAMS[name](0))
    assert isinstance(program, Program)
    count = len(program.train.inputs) if program.train else 0
    assert count + len(program.validation.inputs) <= 1000


@pytest.mark.parametrize("plant", PLANTS)
def test_a_plant_leaves_the_program_that_it_is_planted_in_alone(plant):
    base = PROGRAMS["diabetes_mlp"]
    before = [np.array(array) for array in base(0)["train"]]
    changed = PLANTS[plant](base, "severe", 0)
    assert changed is None or isinstance(experiment(**changed), Program)
    for one, other in zip(before, base(0)["train"]):
        np.testing.assert_array_equal(one, other)


def test_a_half_written_line_is_dropped(tmp_path):
    path = tmp_path / "cases.jsonl"
    path.write_text(json.dumps({"key": "a"}) + "\n" + '{"key": "b')
    assert [line["key"] for line in fault_bench.read(path)] == ["a"]
    assert path.read_text().endswith("\n")


def test_a_case_is_known_by_itself_and_by_the_code():
    case = fault_bench.Case("a1_shuffled_labels", "digits_mlp", "severe")
    keys = {
        fault_bench.key(case, "code"),
        fault_bench.key(case, "other code"),
        fault_bench.key(case._replace(strength="mild"), "code"),
    }
    assert len(keys) == 3 and fault_bench.key(case, "code") in keys


def test_the_table_counts_by_hand(capsys):
    def record(case, status, causes, seconds=1.0):
        row = "" if case.startswith("healthy") else PLANTS[case.split("/")[0]].row
        return {
            "case": case, "subject": row, "applies": True, "status": status, "causes": causes,
            "findings": [["x", "C9", "warn", "told"]], "seconds": seconds,
        }  # fmt: skip

    right = record("c5_double_softmax/digits_mlp/severe", "fail", [["C5", "fail"]])
    third = record("d1_wrong_sign/digits_mlp/severe", "fail", [["A8", "fail"], ["D1", "fail"]])
    missed = record("e1_rate_too_high/digits_mlp/severe", "pass", [])
    harmless = record("d2_sum/digits_mlp/severe", "pass", [])
    well = [record("healthy/0/", "pass", []), record("healthy/1/", "fail", [["C9", "fail"]])]
    kills = {each["case"]: {"killed": True} for each in (right, third, missed)}
    records = {each["case"]: each for each in (right, third, missed, harmless, *well)}
    detection, alarms = fault_bench.report(records, kills)
    assert (round(detection, 3), alarms) == (0.667, 0.5)
    total = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("all"))
    assert total.split()[1:6] == ["4", "3", "66.7", "33.3", "66.7"]
