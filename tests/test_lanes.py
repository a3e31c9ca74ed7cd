"""Lanes: nothing is trained twice, nothing is compiled twice, and a stop changes no bit."""

import dataclasses
import json
import signal

import jax
import numpy as np
import pytest

from recipe_jax import config as configs
from recipe_jax.app import drive, lanes
from recipe_jax.app.signals import Interrupted, Signals
from recipe_jax.recipe import measuring
from recipe_jax.sweep import plan
from recipe_jax.train import chunk
from recipe_jax.types import Trial, Trials

ROUNDS, STEPS_A_ROUND = 6, 6


def config(**sections):
    """Iris, a network of eight units with dropout, six rounds of one epoch each."""
    given = {
        "data": {"name": "iris"},
        "model": {"name": "mlp", "width": 8, "depth": 1, "dropout": 0.2},
        "optim": {"name": "adamw", "learning_rate": 1e-2},
        "schedule": {"name": "plateau", "patience": 1},
        "train": {"batch_size": 16, "epochs": 6, "evaluations": ROUNDS},
        "checkpoint": {"every_seconds": 1e9},
    }
    for name, values in sections.items():
        given[name] = {**given.get(name, {}), **values}
    return configs.as_dict(configs.complete(given))


TASK = drive.load_task(config())


@pytest.fixture(autouse=True)
def one_round_a_call(monkeypatch):
    """A call does as little as it can, so that a run of milliseconds has places to stop at."""
    monkeypatch.setattr(plan, "SECONDS_A_CALL", 0.0)


PROGRAMS = {}
"""Compiled once for all tests but those that count; what another process compiles is the same."""


def make(folder, given=None, *, signals=None, progress=lambda watched: None, programs=PROGRAMS):
    folder.mkdir(exist_ok=True)
    made = lanes.Lanes(
        task=TASK,
        config=given or config(),
        workdir=folder,
        signals=signals or Signals(),
        progress=progress,
    )
    made._compiled = programs
    return made


def request(*trials, epochs=6, keep="best", label="all", **more):
    return Trials(label=label, trials=trials, epochs=epochs, keep=keep, **more)


def rate(value, seed=0, **settings):
    return Trial(seed=seed, settings={"optim.learning_rate": value, **settings})


EIGHT = [rate(1e-2 * (1 + i), seed=i) for i in range(8)]


def same_bits(one, other):
    """Results are the same, NaN for NaN and weight for weight."""
    for name in ("trial", "status", "best_step", "first_bad_step", "num_params"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("best_score", "steps", "history", "losses", "grad_norms", "weights"):
        jax.tree.map(_equal, getattr(one, name), getattr(other, name))


def _equal(one, other):
    one, other = np.asarray(one), np.asarray(other)
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    np.testing.assert_array_equal(one, other)


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def count(monkeypatch):
    """How often programs were made and the training step was traced."""
    found = {"rounds": 0, "traces": 0, "trainings": 0}

    def counting(module, name, key):
        original = getattr(module, name)

        def wrapped(*arguments, **more):
            found[key] += 1
            return original(*arguments, **more)

        monkeypatch.setattr(module, name, wrapped)

    def make_train_step(experiment, frozen, original=chunk.make_train_step):
        step = original(experiment, frozen)

        def traced(*arguments):
            found["traces"] += 1
            return step(*arguments)

        return traced

    counting(lanes, "make_round", "rounds")
    counting(lanes, "fit", "trainings")
    monkeypatch.setattr(chunk, "make_train_step", make_train_step)
    return found


# --- Order, groups, programs -----------------------------------------------------------------


def test_results_come_in_the_order_of_the_request(tmp_path, count):
    wide = [rate(1e-2, seed=seed) for seed in range(3)]
    narrow = [rate(1e-2, seed=seed, **{"model.width": 4}) for seed in range(2)]
    mixed = make(tmp_path / "mixed", programs={})
    asked = [wide[0], narrow[0], wide[1], narrow[1], wide[2]]
    results = mixed.train("stage", request(*asked))
    assert [result.trial for result in results] == asked
    assert count == {"rounds": 2, "traces": 2, "trainings": 2}
    assert len(mixed._compiled) == 4  # a start and a round each
    sizes = [result.num_params for result in results]
    assert sizes[0] == sizes[2] == sizes[4] > sizes[1] == sizes[3]
    assert [row["trial"] for row in mixed.trial_rows] == [trial.uid for trial in asked]
    alone = make(tmp_path / "alone").train("stage", request(*wide))
    for one, other in zip([results[0], results[2], results[4]], alone):
        same_bits(one, other)


def test_a_program_is_traced_once_for_a_shape_and_a_width(tmp_path, count):
    """Numbers, seeds, the number of lanes and what is kept cost no compile."""
    made = make(tmp_path, programs={})
    made.train("one", request(*EIGHT[:4]))
    made.train("two", request(*(rate(0.05, seed=9 + i) for i in range(7)), keep=""))
    made.train("three", request(*EIGHT[:5], keep="last", label="other"))
    made.train("four", request(*EIGHT[:4], epochs=12, evaluations=2 * ROUNDS))
    assert count == {"rounds": 1, "traces": 1, "trainings": 4}
    made.train("five", request(*(rate(0.03, seed=i) for i in range(13))))  # blocks of four
    made.train("six", request(*(rate(0.02, seed=i) for i in range(20))))
    assert count == {"rounds": 2, "traces": 2, "trainings": 6}
    assert len(made._compiled) == 4


def test_an_equal_request_trains_nothing(tmp_path, count):
    first = make(tmp_path, programs={})
    results = first.train("stage", request(*EIGHT[:3]))
    again = first.train("stage", request(*EIGHT[:3]))
    assert count["trainings"] == 1
    once = (tmp_path / "metrics.jsonl").read_bytes()
    second = make(tmp_path, programs={})
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
    resumed = second.train("stage", request(*EIGHT[:3]))
    assert count == {"rounds": 1, "traces": 1, "trainings": 1}
    assert second._compiled == {}
    for one, two, three in zip(results, again, resumed):
        same_bits(one, two)
        same_bits(one, three)
    assert once == (tmp_path / "metrics.jsonl").read_bytes() * 2
    assert second.trial_rows == first.trial_rows[:3]
    # What is read from the disk counts as work too, so that a resume decides as the run did.
    assert second.lane_steps == 3 * resumed[0].steps[-1] == second.work.total() > 0
    assert {size: steps // 2 for size, steps in first.work.items()} == second.work
    assert second.lane_steps == 3 * ROUNDS * STEPS_A_ROUND


@pytest.mark.parametrize(
    "other",
    [
        request(*EIGHT[:2], epochs=5),
        request(*EIGHT[:2], keep="last"),
        request(*EIGHT[:2], evaluations=3),
        request(EIGHT[0], rate(2e-2, seed=7)),
        request(EIGHT[0], dataclasses.replace(EIGHT[1], num_examples=40)),
        request(EIGHT[0], dataclasses.replace(EIGHT[1], show_inputs=False)),
        request(EIGHT[0], rate(2.0000001e-2, seed=1)),
    ],
)
def test_a_request_that_differs_in_anything_is_another(tmp_path, other):
    made = make(tmp_path)

    def digest(asked):
        (result, *_) = made.train("stage", asked)
        return result.place[0]

    assert digest(other) != digest(request(*EIGHT[:2]))
    assert digest(request(*EIGHT[:2], label="renamed")) == digest(request(*EIGHT[:2]))


def test_no_epochs_give_the_start(tmp_path):
    (result,) = make(tmp_path).train("stage", request(EIGHT[0], epochs=0, keep="last"))
    assert result.steps.tolist() == [0] and len(result.losses) == 0
    assert result.status == "done" and result.weights is not None
    assert {row["step"] for row in rows(tmp_path)} == {0}


# --- Stopping and going on -------------------------------------------------------------------

# Two rates that are healthy, one so small that nothing moves, one that breaks at once.
MIXED = [*EIGHT[:6], rate(1e-30, seed=6), rate(1e30, seed=7)]


@pytest.fixture(scope="module", params=["single", "lanes", "patience"])
def undisturbed(request, tmp_path_factory):
    """(config, trials, results, bytes of metrics.jsonl) of a run without a stop."""
    trials = MIXED if request.param != "single" else EIGHT[:1]
    given = config(train={"patience": 2}) if request.param == "patience" else config()
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "SECONDS_A_CALL", 0.0)
        results = make(folder, given).train(
            "stage", Trials(label="all", trials=tuple(trials), epochs=6, keep="best")
        )
    return given, trials, results, (folder / "metrics.jsonl").read_bytes()


def stop_after(folder, given, trials, *, rounds):
    """Trains until a signal comes when `rounds` are done."""
    signals = Signals()

    def progress(watched):
        if watched.rounds[0] >= rounds:
            signals.number = int(signal.SIGTERM)

    made = make(folder, given, signals=signals, progress=progress)
    with pytest.raises(Interrupted) as stopped:
        made.train("stage", request(*trials))
    assert stopped.value.exit_code == 143
    return made


@pytest.mark.parametrize("stops", [(1,), (2, 4), (ROUNDS,)])
def test_a_stop_changes_no_bit(undisturbed, tmp_path, count, stops):
    given, trials, results, written = undisturbed
    for rounds in stops:
        stop_after(tmp_path, given, trials, rounds=rounds)
    steps = [int(p.name) for p in tmp_path.glob("checkpoints/*/*")]
    assert max(steps) >= stops[-1]
    trained = count["trainings"]
    resumed = make(tmp_path, given)
    found = resumed.train("stage", request(*trials))
    assert count["trainings"] - trained == (0 if stops == (ROUNDS,) else 1)
    for one, other in zip(results, found):
        same_bits(one, other)
    assert (tmp_path / "metrics.jsonl").read_bytes() == written
    assert resumed.damage == []
    assert [p.name for p in tmp_path.glob("checkpoints/*/*")] == [str(ROUNDS)]


@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_a_stop_within_an_epoch_changes_no_bit(tmp_path, count, optim):
    """34 steps of 6 epochs, looked at after every other step: no stop falls on an epoch's end."""
    given = config(train={"evaluations": 17}, optim={"name": optim})
    whole = make(tmp_path / "whole", given).train("stage", request(*EIGHT[:2]))
    folder = tmp_path / "stopped"
    for rounds in (4, 9, 10):
        stop_after(folder, given, EIGHT[:2], rounds=rounds)
        place = max(int(p.name) for p in folder.glob("checkpoints/*/*"))
        assert rounds <= place < 17 and (place * 2 * 16) % len(TASK.train.targets) != 0
    trained = count["trainings"]
    found = make(folder, given).train("stage", request(*EIGHT[:2]))
    assert count["trainings"] == trained + 1
    for one, other in zip(whole, found):
        assert list(one.steps) == list(range(0, 35, 2))
        same_bits(one, other)
    assert (folder / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()


def test_a_kill_between_result_and_cleaning_loses_nothing(
    undisturbed, tmp_path, monkeypatch, count
):
    given, trials, results, written = undisturbed
    stop_after(tmp_path, given, trials, rounds=2)

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(lanes.Checkpoints, "keep_only", killed)
        with pytest.raises(Killed):
            make(tmp_path, given).train("stage", request(*trials))
    trained = count["trainings"]
    for one, other in zip(results, make(tmp_path, given).train("stage", request(*trials))):
        same_bits(one, other)
    assert count["trainings"] == trained
    assert (tmp_path / "metrics.jsonl").read_bytes() == written


def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(tmp_path):
    given = config(checkpoint={"every_seconds": 0.0})
    (whole,) = make(tmp_path / "whole", given).train("stage", request(EIGHT[0]))
    folder = tmp_path / "damaged"
    stop_after(folder, given, EIGHT[:1], rounds=4)
    stored = sorted(folder.glob("checkpoints/*/*"), key=lambda p: int(p.name))
    assert len(stored) == 2
    (stored[-1] / "meta.json").write_text("{}")
    resumed = make(folder, given)
    (found,) = resumed.train("stage", request(EIGHT[0]))
    same_bits(whole, found)
    assert len(resumed.damage) == 1 and str(stored[-1]) in resumed.damage[0]
    assert (folder / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()


def test_a_checkpoint_of_another_program_is_named_and_training_starts_anew(tmp_path, monkeypatch):
    stop_after(tmp_path, config(), EIGHT[:1], rounds=2)
    (stored,) = tmp_path.glob("checkpoints/*/*")
    store = lanes.Checkpoints(stored.parent)
    kept = store.restore()
    arrays = {k: v for k, v in kept.arrays.items() if not k.startswith("states.rate_scale")}
    store.save(int(stored.name), arrays, kept.meta)
    made = make(tmp_path)
    (found,) = made.train("stage", request(EIGHT[0]))
    assert found.status == "done"
    assert len(made.damage) == 1 and "states.rate_scale is missing" in made.damage[0]


# --- Lanes that end early --------------------------------------------------------------------


def test_a_lane_out_of_patience_ends_and_its_neighbours_go_on(tmp_path):
    given = config(train={"patience": 2}, model={"dropout": 0.0})
    still, moving = rate(1e-30), rate(1e-3)
    found = make(tmp_path, given).train("stage", request(still, moving))
    assert [result.status for result in found] == ["stopped", "done"]
    looked = np.isfinite(found[0].history["validation/loss"])
    assert looked.tolist() == [True] * 3 + [False] * (ROUNDS - 2)
    assert np.isfinite(found[0].losses).sum() == 2 * STEPS_A_ROUND
    assert found[0].best_step == 0
    for trial, last in ((still, 2), (moving, ROUNDS)):
        steps = [row["step"] for row in rows(tmp_path) if row["trial"] == trial.uid]
        assert sorted(set(steps)) == [i * STEPS_A_ROUND for i in range(last + 1)]
        assert len(steps) == 2 * (last + 1)


def test_a_diverged_lane_is_marked_and_disturbs_nobody(tmp_path):
    healthy = make(tmp_path / "healthy").train("stage", request(*EIGHT))
    sick = [*EIGHT[:3], rate(1e30, seed=3), *EIGHT[4:]]
    made = make(tmp_path / "sick")
    found = made.train("stage", request(*sick))
    assert [*made.widths.values()] == [4]
    for i in range(8):
        if i != 3:
            same_bits(healthy[i], found[i])
    bad = found[3]
    assert bad.status == "diverged"
    assert bad.first_bad_step == int(np.flatnonzero(~np.isfinite(bad.losses))[0])
    assert 0 < bad.first_bad_step < STEPS_A_ROUND
    assert [result.status for result in found].count("diverged") == 1
    context = drive.make_context(config(), TASK, drive.make_objective(config(), TASK))
    tried = [measuring.Tried({}, [each], 1.0) for each in found]
    assert measuring.ranked(context, tried)[-1] == 3
    written = [row for row in rows(tmp_path / "sick") if row["trial"] == bad.trial.uid]
    assert written[-1]["step"] == ROUNDS * STEPS_A_ROUND and written[-1]["loss"] is None


def test_a_last_step_that_breaks_the_weights_is_noticed(tmp_path):
    """One step on all examples: its loss was taken before the harm."""
    count = len(TASK.train.targets)
    given = config(train={"batch_size": count, "epochs": 1, "evaluations": 1})
    good, bad = make(tmp_path, given).train("stage", request(rate(1e-2), rate(1e38), epochs=1))
    assert np.isfinite(bad.losses).all() and len(bad.losses) == 1
    assert (bad.status, bad.first_bad_step) == ("diverged", 0)
    assert (good.status, good.first_bad_step) == ("done", None)


def test_rungs_and_survivors_compile_nothing_more(tmp_path, count):
    trials = [*EIGHT, *(rate(1e-2, seed, **{"model.width": 4}) for seed in range(8))]
    made = make(tmp_path, config(sweep={"block": 2}), programs={})
    results = made.train("stage", request(*trials, pauses=(2, 4)))
    going = [*results[2:8], *results[10:13]]
    asked = request(*(each.trial for each in going), pauses=(2, 4), after=tuple(going))
    results = made.train("stage", asked)
    asked = request(results[-1].trial, pauses=(2, 4), after=(results[-1],))
    (last,) = made.train("stage", asked)
    assert last.status == "done" and last.trial.settings["model.width"] == 4
    # Two widths of the network are two groups, each of one block width: nine requests' worth of
    # lanes, six and three and one of them, trace no step again.
    assert count["traces"] == 2 and count["rounds"] == 2
