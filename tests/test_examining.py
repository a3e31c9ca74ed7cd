"""The questions about any program, asked by the recipe of what a config would train."""

import pytest
from test_stages import CONFIG, context_of

from recipe_jax.recipe import examining
from recipe_jax.types import Status


def asked(**sections):
    found = list(examining.examined(context_of(**sections)))
    return {each.check: each for each in found}, found[-1]


def test_a_healthy_program_passes_and_the_data_are_not_asked_again():
    found, last = asked()
    assert {each.status for each in found.values()} == {Status.PASS}
    assert last.check == "first_cause" and "nothing is wrong" in last.summary
    assert not {"file_order", "repeated_examples", "class_counts"} & found.keys()
    assert last.evidence["passed"] == len(found) - 1 > 20
    rows = {row for each in found.values() for row in each.row.split()}
    assert {f"SKEL{i}" for i in (1, 2, 3, 10, 12, 13, 14, 15, 16, 17, 20)} <= rows


@pytest.mark.parametrize("setting", [{"optim": {"learning_rate": 1e4}}])
def test_a_sabotaged_program_has_one_named_cause(setting):
    found, last = asked(**{k: CONFIG[k] | v for k, v in setting.items()})
    assert last.status == Status.FAIL and last.fault == "E1" and last.remedy
    assert last.summary.startswith("Look at this first: E1 ")
    assert found["learning_rate"].status == Status.FAIL
