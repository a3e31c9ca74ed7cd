"""Budgets: what they decide, what stands, and how one in seconds is found once and kept."""

import json
import pathlib
import types

import numpy as np
import pytest
from test_deciding import decided, noisy
from test_stages import context_of

from recipe_jax import config as configs
from recipe_jax.app import budgeting, commands, plan, timing
from recipe_jax.recipe import (
    bigger,
    budget,
    deciding,
    diagnose,
    overfit,
    regularise,
    skeleton,
    squeeze,
    tune,
)
from recipe_jax.recipe import data as data_stage
from recipe_jax.recipe.budget import Budget
from recipe_jax.recipe.settings import Recipe
from recipe_jax.report import figures
from recipe_jax.sweep.plan import Speed
from recipe_jax.types import UserError

CONFIG = str(pathlib.Path(__file__).parent.parent / "configs" / "tiny.py")
STAGES = (data_stage, skeleton, overfit, regularise, tune, squeeze, diagnose)
OPEN = {"search": {"name": "random"}}
SPEED = Speed((1000,), (1e-3,), program_seconds=1.0)


def completed(**sections):
    return configs.as_dict(configs.complete({**OPEN, **sections}))


def cost(context, speed=SPEED):
    def seconds(numbers):
        other = budgeting.with_budget(context, Budget("", numbers))
        return plan.predicted(plan.of_stages(STAGES, other, multiply_adds=1000), speed)

    return seconds


# --- What a budget decides -------------------------------------------------------------------


def test_the_medium_budget_is_the_settings_own_defaults():
    told = budget.named(completed(train={"epochs": 12})).decided
    own = {k: getattr(Recipe(), k) for k in Recipe._fields if f"recipe.{k}" in budget.LADDERS}
    own |= {"probe_epochs": 12}
    assert {path.partition(".")[2]: n for path, n in told.items()} == own | {"trials": 64}


def test_no_number_is_smaller_in_a_bigger_budget():
    config = completed(train={"epochs": 7})
    places = np.linspace(0, budget.HIGHEST, 101)
    table = [budget.at(config, float(place)) for place in places]
    for path in budget.LADDERS:
        numbers = [each[path] for each in table]
        assert numbers == sorted(numbers) and numbers[0] < numbers[-1], path
    assert min(each["recipe.seeds"] for each in table) == 3
    assert table[0]["recipe.probe_epochs"] == 2 and table[0]["search.trials"] == 8
    assert [budget.at(config, float(i)) for i in (1, 2, 3)] == [
        budget.named(completed(train={"epochs": 7}, recipe={"budget": name})).decided
        for name in budget.NAMES[1:]
    ]


def test_what_the_config_says_stands():
    said = {"seeds": 6, "folds": 0, "snapshots": 0, "probe_epochs": 9, "budget": "large"}
    config = completed(recipe=said, search={"name": "random", "trials": 5})
    found = budget.named(config)
    whole = budget.filled(config, found)
    assert not {"recipe.seeds", "recipe.folds", "search.trials"} & {*found.decided, *found.would}
    assert {key: whole["recipe"][key] for key in said} == said and whole["search"]["trials"] == 5
    assert whole["recipe"]["members"] == 16 and whole["recipe"]["looks"] == 3
    # What was asked is not touched.
    assert config["recipe"]["members"] is None and configs.to_data(config)["recipe"]["seeds"] == 6


def test_a_search_that_knows_its_settings_is_left_alone():
    config = completed(search={"name": "grid", "space": (("model.dropout", "choice", (0.0, 0.1)),)})
    assert "search.trials" not in budget.named(config).decided


def test_an_unknown_budget_is_refused():
    with pytest.raises(UserError, match="medium"):
        completed(recipe={"budget": "medum"})


# --- A budget in seconds ---------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [60.0, 120.0, 400.0])
def test_the_prediction_is_what_was_asked_for(seconds):
    context = context_of(search={"name": "random"}, recipe={"budget_seconds": seconds})
    found = budget.timed(context.config, cost(context))
    predicted = cost(context)(found.decided)
    assert 0.85 * seconds <= predicted <= seconds, predicted
    longer = cost(context)(found.would)
    assert predicted < longer <= 2 * seconds and found.bigger == f"{2 * seconds:g} seconds"


def test_a_faster_machine_is_given_more():
    context = context_of(search={"name": "random"}, recipe={"budget_seconds": 100.0})
    slow, fast = (
        budget.timed(context.config, cost(context, Speed((1000,), (step,), 1.0))).decided
        for step in (2e-3, 5e-4)
    )
    assert all(slow[path] <= fast[path] for path in slow) and slow != fast


def test_more_time_than_can_be_spent_gives_the_top_of_the_ladder():
    context = context_of(search={"name": "random"}, recipe={"budget_seconds": 1e9})
    found = budget.timed(context.config, cost(context))
    assert found.decided == budget.at(context.config, budget.HIGHEST) == found.would


def test_too_short_a_budget_is_refused_with_one_that_would_do():
    context = context_of(search={"name": "random"}, recipe={"budget_seconds": 2.0})
    with pytest.raises(UserError, match=r"give at least (\d+)") as told:
        budget.timed(context.config, cost(context))
    least = float(str(told.value).rpartition(" ")[2].rstrip("."))
    enough = context_of(search={"name": "random"}, recipe={"budget_seconds": least})
    found = budget.timed(enough.config, cost(enough)).decided
    assert cost(enough)(found) <= least < 1.3 * cost(enough)(budget.at(enough.config, 0.0))


def test_a_prediction_by_hand():
    small, large = 1000, 4000
    planned = [
        plan.Planned("skeleton", 4, 2, 1000, 0, small),
        plan.Planned("tune", 8, 1, 500, 200, large),
    ]
    speed = Speed((small, large), (0.01, 0.05), 2.0)
    programs, steps = 3 + plan.BESIDE["skeleton"], 500 + plan.OPEN * 200
    beside, expected = 2.0 * programs, 0.01 * 1000 + 0.05 * steps
    assert plan.predicted(planned, speed) == pytest.approx(beside + expected)
    assert plan.beside(planned, speed) == pytest.approx(beside)
    assert plan.taken({small: 300, large: 20}, speed) == pytest.approx(3.0 + 1.0)


def test_a_network_that_was_not_timed_costs_what_its_size_says():
    one = Speed((100_000,), (1e-4,), 1.0)
    assert one.step(100_000) == pytest.approx(1e-4)
    # 15 us a step and 0.3 ns a multiply-add, both 1e-4 / 45e-6 times as much.
    assert one.step(0) == pytest.approx(15e-6 / 45e-6 * 1e-4)
    assert one.step(1_000_000) == pytest.approx(315e-6 / 45e-6 * 1e-4)
    two = Speed((100_000, 1_000_000), (1e-4, 1e-3), 1.0)
    costs = [two.step(size) for size in (10_000, 100_000, 300_000, 1_000_000, 4_000_000)]
    assert costs == sorted(costs) and costs[1] == pytest.approx(1e-4)
    assert costs[3] == pytest.approx(1e-3)
    assert costs[4] == pytest.approx(1215e-6 / 315e-6 * 1e-3)


@pytest.mark.slow
def test_timing_tells_steps_from_compiling_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(timing.tempfile, "tempdir", str(tmp_path))
    context = context_of(train={"epochs": 2, "batch_size": 16})
    # Of each setting: after the start, after compiling and all steps, after the steps again.
    ticks = iter((1.0, 10.0, 15.0, 16.0, 20.0, 23.0, 25.0, 26.0))
    wider = {"model.width": 64}
    found = timing.measured(context, [wider, {}], clock=lambda: next(ticks))
    lanes, epochs, examples = timing._size(context)
    assert (lanes, epochs, examples) == (timing.LANES, 2, len(context.task.train.targets))
    steps = lanes * plan.settings.of_config(context.config["train"], examples).num_steps
    large = plan.cost(context._replace(carried=wider)).multiply_adds
    assert found.multiply_adds == (plan.cost(context).multiply_adds, large)
    assert found.step_seconds == pytest.approx((2.0 / steps, 1.0 / steps))
    assert found.program_seconds == 1.0
    assert found.timing_seconds == 25.0
    assert [*tmp_path.iterdir()] == []


def test_what_takes_long_is_timed_on_fewer_lanes_and_examples(monkeypatch):
    context = context_of(train={"epochs": 2, "batch_size": 16})
    monkeypatch.setattr(timing, "SECONDS", 1e-5)
    lanes, epochs, examples = timing._size(context)
    assert (epochs, examples) == (1, 16) and lanes == 4


# --- Decided again when a stage begins -------------------------------------------------------


def settled(context, number, work, *, asked=400.0, speed=SPEED):
    numbers = budget.at(context.config, 2.0)
    context = budgeting.with_budget(context, Budget("", numbers))
    spent = budgeting.Spent(context.budget, asked, speed, asked)
    return numbers, budgeting.settled(spent, STAGES, number, context, work)


@pytest.fixture(scope="module")
def searching():
    return context_of(search={"name": "random"})


@pytest.mark.parametrize("stage", [skeleton, overfit, regularise, diagnose])
def test_only_what_one_stage_spends_is_decided_again(searching, stage):
    assert settled(searching, STAGES.index(stage), {}) == (budget.at(searching.config, 2.0), {})


def test_a_name_is_never_decided_again(searching):
    spent = budgeting.Spent(searching.budget)
    assert budgeting.settled(spent, STAGES, STAGES.index(tune), searching, {}) == {}


def test_what_a_larger_network_took_is_saved_by_the_stages_to_come(searching):
    number, size = STAGES.index(tune), plan.cost(searching).multiply_adds
    speed = Speed((size,), (1e-3,), 1.0)
    numbers, early = settled(searching, number, {size: 50_000}, speed=speed)
    late = {path for paths in budget.LATE.values() for path in paths}
    assert {*early} == late & {*numbers}
    # As many steps of a network of four times the cost leave less.
    _, late = settled(searching, number, {4 * size: 150_000}, speed=speed)
    assert all(late[path] <= early[path] for path in early)
    assert late["search.trials"] < early["search.trials"]
    # When nothing is left, the smallest numbers; when all is left, the largest.
    _, least = settled(searching, number, {size: 10**9}, speed=speed)
    _, most = settled(searching, number, {}, asked=1e9, speed=speed)
    lowest, highest = (budget.at(searching.config, end) for end in (0.0, budget.HIGHEST))
    assert least == {path: lowest[path] for path in least}
    assert most == {path: highest[path] for path in most}
    # The search is over when the ensembles' stage begins.
    _, last = settled(searching, STAGES.index(squeeze), {size: 50_000}, speed=speed)
    assert {*last} == {*budget.LATE["squeeze"]} & {*numbers}


def test_what_is_left_is_used_up(searching):
    number, size = STAGES.index(tune), plan.cost(searching).multiply_adds
    speed, work = Speed((size,), (1e-3,), 1.0), {size: 50_000}
    numbers, found = settled(searching, number, work, speed=speed)
    now = budgeting.with_budget(searching, Budget("", {**numbers, **found}))
    gone = plan.before(speed) + plan.beside(plan.of_stages(STAGES[:number], now), speed) + 50.0
    whole = gone + plan.predicted(plan.of_stages(STAGES[number:], now), speed)
    assert 0.85 * 400 <= whole <= 400


# --- Recorded once ---------------------------------------------------------------------------

WORDS = (
    *("--config", CONFIG, "--config.recipe.budget_seconds=90", "--config.data.fraction=0.5"),
    *("--config.search.trials=None", "--config.train.epochs=4"),
)


def speed_of(monkeypatch, seconds):
    asked = []

    def measured(context, settings):
        asked.append(settings)
        return Speed((plan.cost(context).multiply_adds,), (seconds,), program_seconds=1.0)

    monkeypatch.setattr(timing, "measured", measured)
    return asked


def sweep(workdir, *more):
    return commands.sweep(["experiments.sweep", *WORDS, "--workdir", str(workdir), *more])


@pytest.mark.slow
def test_a_resume_keeps_what_was_found_on_a_machine_that_is_slower_now(tmp_path, monkeypatch):
    place = tmp_path / "w"
    asked = speed_of(monkeypatch, 0.05)
    assert sweep(place) == 0 and len(asked) == 1
    record, trials = (
        json.loads((place / "run.json").read_text()),
        (place / "trials.csv").read_text(),
    )
    found = record["plan"]["budget"]
    assert found["budget_seconds"] == 90 and found["step_seconds"] == [0.05]
    assert 0.8 * 90 <= found["predicted_seconds"] <= 90
    count = found["decided"]["search.trials"]
    assert len([row for row in trials.splitlines() if ",search" in row]) == count
    # The config stays what was asked.
    assert json.loads((place / "config.json").read_text())["search"]["trials"] is None

    later = speed_of(monkeypatch, 5.0)
    (place / "report.json").unlink()
    assert sweep(place) == 0 and later == []
    again = json.loads((place / "run.json").read_text())
    assert again["plan"] == record["plan"]
    assert (place / "trials.csv").read_text() == trials

    speed_of(monkeypatch, 0.1)
    assert sweep(place, "--overwrite") == 0
    anew = json.loads((place / "run.json").read_text())["plan"]["budget"]
    assert anew["step_seconds"] == [0.1] and anew["decided"]["search.trials"] < count


def test_other_seconds_are_timed_anew(tmp_path):
    found = budgeting.Spent(Budget("90 seconds", {"recipe.seeds": 4}), 90, SPEED, 88.0)
    (tmp_path / "run.json").write_text(json.dumps({"plan": {"budget": found.as_data()}}))
    assert budgeting._recorded(tmp_path, 90) == found
    assert budgeting._recorded(tmp_path, 91) is None
    assert budgeting._recorded(tmp_path / "none", 90) is None
    other_release = {"budget_seconds": 90, "lane_steps_per_second": 1000.0}
    (tmp_path / "run.json").write_text(json.dumps({"plan": {"budget": other_release}}))
    assert budgeting._recorded(tmp_path, 90) is None


def test_what_is_told_of_a_budget_is_what_the_stages_use():
    config = completed()
    spent = budgeting.Spent(budget.named(config))
    (recipe,) = budgeting.told(spent, config, STAGES)
    assert "seeds" in recipe and "trials 64" in recipe
    searching = types.SimpleNamespace(SEARCHES=True)
    assert budgeting.told(spent, config, [searching]) == ["budget    medium: trials 64"]
    assert budgeting.told(spent, config, [types.SimpleNamespace()]) == []


def test_a_budget_that_is_too_short_leaves_nothing_behind(tmp_path, monkeypatch):
    speed_of(monkeypatch, 100.0)
    with pytest.raises(UserError, match=r"budget_seconds=90 is too short.*give at least \d+"):
        sweep(tmp_path / "w")
    assert [*tmp_path.iterdir()] == []


def test_the_plan_shows_the_numbers_that_hold(tmp_path, capsys):
    words = ["experiments.run", "--config", CONFIG, "--dry-run", "--workdir", str(tmp_path / "w")]
    assert commands.run([*words, "--config.recipe.budget=large"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "budget large: seeds 3, looks 3, members 3, candidates 8" in told
    assert "trials 8" in told


# --- What a bigger one would have bought -----------------------------------------------------


def test_seeds_are_counted_until_they_decide():
    draw = np.random.default_rng(0)
    gains = 0.02 + 0.08 * draw.normal(size=(4, 1)) + 0.01 * draw.normal(size=(4, 200))
    gains += 0.02 - gains.mean()
    found = deciding.seeds_needed(gains, 0.0, 0.95)
    assert found is not None and found > 4
    assert deciding._is_open(gains, 0.0, level=0.95, more=found / 4)
    assert not deciding._is_open(gains, 0.0, level=0.95, more=found / 8)
    assert deciding.seeds_needed(gains + 5.0, 0.0, 0.95) == 4
    # The examples alone differ: seeds do not help.
    by_example = draw.normal(size=200)
    by_example += 0.02 - by_example.mean()
    assert deciding.seeds_needed(np.tile(by_example, (4, 1)), 0.0, 0.95) is None
    assert deciding.seeds_needed(np.ones((1, 5)), 0.0, 0.95) is None


def test_a_decision_says_what_each_of_its_changes_needs():
    found = decided(noisy([0.5, -0.5, 0.03], of_both=0.01, of_seed=0.03), changes=3, looks=1)
    first, second, third = found.finding.evidence["needs"]
    assert (first, second) == (4, 4) and third in (8, 16, 32, 64)


def told_of(needs, seeds, **recipe):
    context = context_of(search={"name": "random"}, recipe={"seeds": None, **recipe})
    context = context._replace(budget=budget.named(context.config))
    names = [f"change {i}" for i in range(len(needs))]
    evidence = {"names": names, "needs": needs, "seeds": seeds}
    found = bigger.examine(context, {"regularisers": evidence})
    assert found is not None
    return found


def test_open_changes_are_told_with_what_would_decide_them():
    found = told_of([4, 16, 16, 64, None, None], [4, 8, 8, 8, 4, 8])
    assert found.summary.startswith(
        "5 of 6 changes are open: 16 seeds would decide about 2; 64 seeds would decide about 3; "
        "for 2 not even 128 seeds would do"
    )
    assert (
        "The next budget, large, is seeds 8 in place of 4, looks 3 in place of 2" in found.summary
    )
    assert "Its up to 32 seeds would decide about 2 of these." in found.summary
    # What stays as it is, such as 5 folds, is nothing that is bought.
    assert all(old < new for old, new in zip(found.evidence["now"], found.evidence["bigger"]))
    assert "folds" not in found.evidence["numbers"]
    assert found.evidence["open"] == [f"change {i}" for i in range(1, 6)]
    assert len(figures.draw("budget", found.evidence) or ()) == 2


def test_where_all_is_decided_that_is_said():
    found = told_of([4, 4], [4, 4], budget="large")
    assert found.summary == "All 2 changes are decided." and found.remedy == ""
    assert figures.draw("budget", found.evidence) is None


def test_nothing_is_told_where_nothing_was_compared():
    assert bigger.examine(context_of(), {}) is None


def test_a_budget_in_seconds_says_how_to_have_it_again():
    context = context_of(search={"name": "random"}, recipe={"budget_seconds": 120.0})
    found = budget.timed(context.config, cost(context))
    told = bigger.examine(budgeting.with_budget(context, found), {})
    assert told is not None and "The next budget, 240 seconds, is " in told.summary
    for path, number in found.decided.items():
        assert f"--config.{path}={number}" in told.remedy
