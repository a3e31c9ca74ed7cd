"""The questions about any program, asked by the recipe of what a config would train."""

import dataclasses

import numpy as np
import pytest
from test_stages import CONFIG, context_of

from recipe_jax.recipe import examining
from recipe_jax.types import Asked, Finding, Status


def asked(**sections):
    return asked_of(context_of(**sections))


def asked_of(context):
    """(findings by their check, the last one)."""
    asked, last = examining.examined(context)
    assert isinstance(asked, Asked) and isinstance(last, Finding)
    found = [*asked.findings, last]
    return {each.check: each for each in found}, last


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


def test_a_rate_that_is_too_low_is_named_and_closes_no_gate():
    """Stage overfit finds one; the doctor, whom nothing follows, fails it."""
    low = CONFIG["optim"] | {"learning_rate": 1e-5}
    found, last = asked(optim=low)
    context = context_of(optim=low)
    program = examining.program_of(context.config, context.task, context.objective)
    (cause,) = examining._asking.causes(examining._asking.answers(program))
    assert (cause.fault, cause.finding.status) == ("E2", Status.FAIL)
    assert not any(each.status == Status.FAIL for each in found.values())
    assert last.status == Status.WARN and last.fault == "E2"
    assert "E2 learning rate too low" in last.summary and "Stage overfit looks" in last.remedy
    assert found["learning_rate"].status == Status.WARN


def test_labels_of_other_examples_are_named():
    """No question of the stage data asks whether labels belong to inputs at all."""
    context = context_of()
    draw = np.random.default_rng(0)
    splits = {
        name: split._replace(targets=draw.permutation(split.targets))
        for name in ("train", "validation")
        if (split := getattr(context.task, name))
    }
    sick = context._replace(task=dataclasses.replace(context.task, **splits))
    found, _ = asked_of(sick)
    assert found["labels_related"].status in (Status.WARN, Status.FAIL)
    assert found["labels_related"].fault == "A1"
