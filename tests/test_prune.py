"""Pruning: who goes on, that going on is training without a pause, and that it costs less."""

import dataclasses
import json
import math
import shutil

import jax
import numpy as np
import pytest
from test_lanes import (
    EIGHT,
    STEPS_A_ROUND,
    config,
    make,
    rate,
    request,
    rows,
    same_bits,
)
from test_stages import context_of, result_of

from recipe_jax import assembly
from recipe_jax.app import commands, groups, memory
from recipe_jax.prune import halving, hyperband, none, population
from recipe_jax.prune.base import lane_rounds
from recipe_jax.recipe import importance, measuring
from recipe_jax.search import coarse_to_fine
from recipe_jax.search.base import Told, read_space
from recipe_jax.train.evaluate import metrics_of
from recipe_jax.types import Trial

PAUSES = (2, 4)
COUNTS = {"halving": halving, "hyperband": hyperband, "population": population, "none": none}


# --- Plans -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("rounds", [1, 2, 3, 7, 12, 40, 50])
@pytest.mark.parametrize("settings", [1, 2, 3, 5, 16, 81, 300])
def test_brackets_hold_every_setting_and_rungs_climb(name, settings, rounds):
    brackets = COUNTS[name].build().brackets(settings, rounds)
    assert sum(bracket.settings for bracket in brackets) == settings
    for bracket in brackets:
        places = [0, *(rung.rounds for rung in bracket.rungs), rounds]
        assert places == sorted(set(places))
        kept = [bracket.settings, *(rung.keep for rung in bracket.rungs)]
        assert kept == sorted(kept, reverse=True) and kept[-1] >= 1
        assert all(2 * rung.replaced <= rung.keep for rung in bracket.rungs)


def test_halving_by_hand():
    (bracket,) = halving.build(eta=3, pauses=2).brackets(81, 45)
    assert [(rung.rounds, rung.keep) for rung in bracket.rungs] == [(5, 27), (15, 9)]
    # 81 x 5 + 27 x 10 + 9 x 30 of 81 x 45 rounds.
    assert lane_rounds([bracket], 45) == 405 + 270 + 270
    assert lane_rounds(none.build().brackets(81, 45), 45) == 81 * 45


def test_hyperband_by_hand():
    brackets = hyperband.build(eta=3, pauses=2).brackets(117, 45)
    # Shares 3, 4.5 and 9 of 16.5.
    assert [bracket.settings for bracket in brackets] == [21, 32, 64]
    assert [len(bracket.rungs) for bracket in brackets] == [0, 1, 2]


def test_a_population_moves_a_quarter_at_equal_distances():
    (bracket,) = population.build(pauses=4).brackets(16, 40)
    assert [(r.rounds, r.keep, r.replaced) for r in bracket.rungs] == [
        (place, 16, 4) for place in (8, 16, 24, 32)
    ]


# --- Lanes that pause ------------------------------------------------------------------------


def climb(made, trials, keep=(6, 3), **more):
    """Trains to the first pause, then those that `keep` says on, to the end: the last results."""
    results = made.train("stage", request(*trials, pauses=PAUSES, **more))
    for count in keep:
        results = results[-count:]
        going = tuple(result.trial for result in results)
        asked = request(*going, pauses=PAUSES, after=tuple(results), **more)
        results = made.train("stage", asked)
    return results


def test_survivors_in_fewer_blocks_have_the_bits_of_uninterrupted_training(tmp_path):
    given = config(sweep={"block": 2})
    folder = tmp_path / "whole"
    expected = make(folder, given).train("stage", request(*EIGHT))
    made = make(tmp_path / "climb", given)
    found = climb(made, EIGHT)
    for one, other in zip(expected[-3:], found):
        same_bits(one._replace(place=None), other._replace(place=None))
    assert made.lane_steps == (8 * 2 + 6 * 2 + 3 * 2) * STEPS_A_ROUND
    # One row a trial, and of those that stopped what they had reached.
    told = {row["trial"]: (row["status"], row["steps"]) for row in made.trial_rows}
    assert len(told) == len(made.trial_rows) == 8
    assert [told[t.uid] for t in EIGHT] == [
        *[("stopped", 2 * STEPS_A_ROUND)] * 2,
        *[("stopped", 4 * STEPS_A_ROUND)] * 3,
        *[("done", 6 * STEPS_A_ROUND)] * 3,
    ]
    lines = sorted(map(json.dumps, rows(tmp_path / "climb")))
    assert set(lines) < set(map(json.dumps, rows(folder)))
    assert len(lines) == 2 * (8 * 3 + 6 * 2 + 3 * 2)


@pytest.mark.parametrize("every_seconds", [0.0, 1e9])
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_kill_between_pauses_changes_no_bit(tmp_path, every_seconds, lost):
    given = config(checkpoint={"every_seconds": every_seconds})
    expected = climb(make(tmp_path / "whole", given), EIGHT)
    made = make(tmp_path / "cut", given)
    results = made.train("stage", request(*EIGHT, pauses=PAUSES))
    if lost > 1:
        going = results[-6:]
        trials = tuple(result.trial for result in going)
        made.train("stage", request(*trials, pauses=PAUSES, after=tuple(going)))
    if lost == 3:
        for states in (tmp_path / "cut" / "checkpoints").glob("*-states"):
            shutil.rmtree(states)
    again = climb(make(tmp_path / "cut", given), EIGHT)
    for one, other in zip(expected, again):
        same_bits(one, other)
    for name in ("whole", "cut"):
        assert not list((tmp_path / name / "checkpoints").glob("*-states"))
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()


def test_a_state_goes_on_under_other_numbers(tmp_path):
    made = make(tmp_path)
    first, _ = made.train("stage", request(rate(1e-3), rate(1e-1), pauses=PAUSES))
    child = Trial(settings={"optim.learning_rate": 2e-3}, goes_on=f"{first.trial.uid}@{PAUSES[0]}")
    kept, moved = made.train(
        "stage", request(first.trial, child, pauses=PAUSES, after=(first, first))
    )
    before = 1 + PAUSES[0]
    for one, other in ((kept, moved), (first, moved)):
        for name, values in one.history.items():
            np.testing.assert_array_equal(values[:before], other.history[name][:before])
    assert (kept.losses[-STEPS_A_ROUND:] != moved.losses[-STEPS_A_ROUND:]).any()
    assert moved.trial.uid not in (first.trial.uid, Trial(settings=child.settings).uid)


def test_one_trial_again_has_its_bits(tmp_path):
    made = make(tmp_path, config(sweep={"block": 2}))
    for result in climb(made, EIGHT):
        again = made.again(result)
        same_bits(result, again)
        assert again.weights is not None


# --- Memory ----------------------------------------------------------------------------------


def test_lanes_that_do_not_fit_train_in_parts_to_the_same_bits(tmp_path, monkeypatch):
    given = config(sweep={"block": 1})
    expected = make(tmp_path / "whole", given).train("stage", request(*EIGHT))
    monkeypatch.setattr(memory, "waves_that_fit", lambda *_: 1)
    made = make(tmp_path / "parts", given)
    parts = []
    run = made._run
    made._run = lambda ready, **more: parts.append(len(ready.group.trials)) or run(ready, **more)
    found = made.train("stage", request(*EIGHT))
    assert parts == [len(jax.devices())] * (8 // len(jax.devices()))
    for one, other in zip(expected, found):
        same_bits(one, other)
    assert len(list((tmp_path / "parts" / "checkpoints").iterdir())) == 1


def test_out_of_memory_halves_the_blocks_in_flight(tmp_path):
    given = config(sweep={"block": 1})
    expected = make(tmp_path / "whole", given).train("stage", request(*EIGHT))
    made = make(tmp_path / "short", given)
    run, tried = made._run, []

    def short(ready, **more):
        tried.append(len(ready.group.trials))
        if tried[-1] > len(jax.devices()):
            made.metrics.write({"left": "behind"})
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory, by design")
        return run(ready, **more)

    made._run = short
    for one, other in zip(expected, made.train("stage", request(*EIGHT))):
        same_bits(one, other)
    assert tried[:2] == [8, 4], "on four devices, as the tests have"
    assert all("left" not in row for row in rows(tmp_path / "short"))


def test_the_memory_that_a_round_needs_is_read_from_its_program(tmp_path):
    made = make(tmp_path, programs={})
    made.train("stage", request(*EIGHT[:2], pauses=PAUSES))
    ready = next(iter(made._known.values()))
    programs = made._programs(ready)
    most = memory.waves_that_fit(programs.advance.result(), programs.mesh)
    assert 1000 < most < 1 << 30


# --- Folds and bootstraps --------------------------------------------------------------------


def test_a_fold_is_validated_on_what_it_does_not_train_on(tmp_path):
    trials = [Trial(seed=1, fold=(number, 5)) for number in range(5)]
    given = config(optim={"learning_rate": 1e-30}, model={"dropout": 0.0})
    made = make(tmp_path, given)
    found = made.train("stage", request(*trials, keep="last"))
    assert len({result.trial.uid for result in found}) == 5
    # Nothing moves, so all folds together are judged as the whole split is at the start.
    examples = made.task.train
    built = assembly.of_config(given, made.task.spec)
    size = len(examples.targets) // 5
    for number, result in enumerate(found):
        part = slice(number * size, (number + 1) * size)
        params, state = result.weights
        outputs, _ = built.model.apply(
            params,
            state,
            jax.numpy.asarray(examples.inputs[part]),
            key=jax.random.key(0),
            train=False,
        )
        expected = metrics_of(built.objective, outputs, examples.targets[part])
        for name, value in expected.items():
            measured = result.history[f"validation/{name}"][-1]
            np.testing.assert_allclose(measured, value, rtol=1e-5, atol=1e-6)


def test_a_bootstrap_is_another_for_every_seed_and_the_same_for_every_setting(tmp_path):
    trials = [
        Trial(seed=seed, resampled=True, settings={"optim.learning_rate": step})
        for seed in (0, 1)
        for step in (1e-31, 1e-30)
    ]
    given = config(model={"dropout": 0.0})
    one, same, other, _ = make(tmp_path, given).train("stage", request(*trials))
    np.testing.assert_array_equal(one.losses, same.losses)
    assert (one.losses != other.losses).any()


# --- A sweep as a user runs it ---------------------------------------------------------------

SWEEP = {
    "data": {"name": "iris"},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "optim": {"name": "adamw", "learning_rate": 0.03},
    "train": {"batch_size": 16, "epochs": 9},
    "search": {
        "name": "random",
        "trials": 9,
        "space": [
            ["model.width", "choice", [4, 8]],
            ["optim.learning_rate", "log", 1e-4, 1e9],
        ],
    },
}


def swept(folder, *more, **sections):
    folder.mkdir(exist_ok=True)
    (folder / "c.json").write_text(json.dumps(SWEEP | sections))
    words = ["--config", str(folder / "c.json"), "--workdir", str(folder / "w"), *more]
    return commands.sweep(["sweep", *words])


@pytest.mark.parametrize(
    "name",
    [
        "halving",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("hyperband", "population")),
    ],
)
def test_a_pruned_sweep_and_one_of_its_trials_again(name, tmp_path, capsys):
    assert swept(tmp_path, prune={"name": name}, sweep={"seeds": 2}) == 0
    first = (tmp_path / "w" / "trials.csv").read_text()
    table = [line.split(",") for line in first.splitlines()]
    column = {title: i for i, title in enumerate(table[0])}
    searched = [row for row in table[1:] if row[column["request"]].startswith("search")]
    status = [row[column["status"]] for row in searched]
    assert "stopped" in status and "done" in status
    # The config's own setting is trained to its end.
    assert status[:2] == ["done", "done"]
    capsys.readouterr()
    before = {p: p.read_bytes() for p in (tmp_path / "w").glob("*.*")}
    last = searched[-1][column["trial"]]
    assert swept(tmp_path, "--only", last, prune={"name": name}, sweep={"seeds": 2}) == 0
    assert "the same bits as in the sweep" in capsys.readouterr().out
    assert (tmp_path / "w" / "only" / last / "model" / "weights.npz").exists()
    assert before == {p: p.read_bytes() for p in (tmp_path / "w").glob("*.*")}


@pytest.mark.slow
def test_folds_repeat_every_setting(tmp_path):
    sections = {"sweep": {"folds": 3}, "search": SWEEP["search"] | {"trials": 3}}
    assert swept(tmp_path, **sections) == 0
    findings = json.loads((tmp_path / "w" / "findings.json").read_text())
    (found,) = [each["evidence"] for each in findings if each["check"] == "search"]
    assert np.shape(found["seeds"]) == (3, 3)
    spread = next(each for each in findings if each["check"] == "seed_spread")
    assert "3 folds" in spread["summary"]


# --- What a stage makes of it ----------------------------------------------------------------


def measured_by(context, world, settings, repeats=({"seed": 0},)):
    """What `measuring.measured` asks for, answered by a function of trial and round."""
    generator = measuring.measured(
        context,
        context.axes,
        settings,
        repeats=repeats,
        label="search",
        share=1.0,
        key=jax.random.key(0),
    )
    requests, answer = [], None
    while True:
        try:
            asked = generator.send(answer)
        except StopIteration as end:
            return requests, end.value
        requests.append(asked)
        before = max([each.rounds[0] for each in asked.after], default=0)
        done = groups.next_pause(asked.pauses, after=before, rounds=18)
        answer = [
            result_of(
                trial,
                request=dataclasses.replace(asked, evaluations=done),
                score=world(trial, done),
            )._replace(rounds=(done, 18))
            for trial in asked.trials
        ]


def rates(count):
    return [{"optim.learning_rate": 1e-3 * (i + 1)} for i in range(count)]


def test_the_best_third_goes_on_and_the_present_setting_always():
    context = context_of(
        prune={"name": "halving"}, train={"epochs": 18, "evaluations": 18, "batch_size": 8}
    )

    def world(trial, done):
        # The last settings are the best ones, the first one is the worst.
        return trial.settings["optim.learning_rate"]

    requests, tried = measured_by(context, world, rates(9), repeats=({"seed": 0}, {"seed": 1}))
    assert [len(each.trials) for each in requests] == [18, 8, 4]
    places = [
        {round(1e3 * trial.settings["optim.learning_rate"]) for trial in each.trials}
        for each in requests[1:]
    ]
    assert places == [{1, 7, 8, 9}, {1, 9}]
    assert [each.reach for each in tried] == [1.0, *[2 / 18] * 5, 6 / 18, 6 / 18, 1.0]
    assert measuring.ranked(context, tried)[:2] == [8, 0]


def test_the_worst_take_over_from_the_best_within_their_axes():
    context = context_of(
        prune={"name": "population", "pauses": 1},
        train={"epochs": 18, "evaluations": 18, "batch_size": 8},
        search={
            "name": "random",
            "space": (("optim.learning_rate", "log", 1e-3, 8e-3), ("model.width", "int", 4, 8)),
        },
    )
    settings = [each | {"model.width": 4 + i % 4} for i, each in enumerate(rates(8))]
    settings[0]["optim.learning_rate"] = 9.0
    requests, tried = measured_by(
        context, lambda trial, done: trial.settings["optim.learning_rate"], settings
    )
    first, second = requests
    moved = [
        (after.trial, trial)
        for trial, after in zip(second.trials, second.after)
        if trial.uid != after.trial.uid
    ]
    assert len(moved) == 2 and len(second.trials) == 8
    for parent, child in moved:
        assert child.goes_on == f"{parent.uid}@9"
        assert child.settings["model.width"] == parent.settings["model.width"]
        old, new = (each.settings["optim.learning_rate"] for each in (parent, child))
        assert new in (min(old * 0.8, 8e-3), min(old / 0.8, 8e-3))
    # The present setting, outside its axis here, keeps to itself.
    assert second.trials[0] == first.trials[0]
    assert [each.reach for each in tried] == [1.0] * 8


def test_coarse_rounds_narrow_around_the_best():
    search = coarse_to_fine.build(
        trials=30,
        rounds=3,
        narrow=0.5,
        space=(("optim.learning_rate", "log", 1e-4, 1.0), ("model.dropout", "uniform", 0.0, 0.8)),
    )
    history = []
    for number in range(3):
        asked = search.ask(history, jax.random.key(3), search.axes, search.batch)
        assert ("model.dropout" in asked[0]) == (number > 0)
        history += [Told(each, -abs(math.log10(each["optim.learning_rate"]) + 2)) for each in asked]
    logs = np.log10([told.settings["optim.learning_rate"] for told in history]).reshape(3, 10)
    assert np.ptp(logs[1]) <= 2.0 and np.ptp(logs[2]) <= 1.0 and np.ptp(logs[0]) > 2.0
    assert abs(logs[2].mean() + 2) < 0.5
    # Dropout joined a round later: it has narrowed once where the rate has twice.
    drops = np.array([told.settings["model.dropout"] for told in history[10:]]).reshape(2, 10)
    assert np.ptp(drops[0]) > 0.4 >= np.ptp(drops[1]) > 0.2
    assert [search.share(told) for told in (0, 10, 20, 29)] == [0.25, 0.5, 1.0, 1.0]


def test_importance_finds_the_axis_that_matters():
    axes = read_space((("a.b", "uniform", 0.0, 1.0), ("a.c", "uniform", 0.0, 1.0)))
    draw = np.random.default_rng(0)
    settings = [{"a.b": draw.uniform(), "a.c": draw.uniform()} for _ in range(60)]
    scores = np.array([each["a.c"] ** 2 + 0.01 * each["a.b"] for each in settings])
    scores[3] = np.nan
    found = importance.shares(axes, settings, scores)
    assert list(found) == ["a.c", "a.b"] and found["a.c"] > 0.9
    assert abs(sum(found.values()) - 1) < 1e-6
    assert importance.shares(axes, settings[:8], scores[:8]) == {}
    assert importance.shares(axes, settings, np.ones(60)) == {}
