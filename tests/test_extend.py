"""A finished run that is extended has the bits of one that was that long from the start."""

import json
import pathlib
import shutil
import signal

import jax
import numpy as np
import pytest
from test_lanes import EIGHT, MIXED, config, make, request, same_bits
from test_squeeze import answered
from test_stages import context_of, result_of

from recipe_jax import checkpoint
from recipe_jax import config as configs
from recipe_jax.app import commands, drive, lanes
from recipe_jax.app.console import Console
from recipe_jax.app.signals import Interrupted, Signals
from recipe_jax.recipe import extending, members, squeeze, training
from recipe_jax.recipe.members import LINEAR, SEEDS, SETTINGS
from recipe_jax.report import figures
from recipe_jax.sweep import plan
from recipe_jax.train import settings
from recipe_jax.train.settings import Length
from recipe_jax.types import Status, Trial, Trials, UserError

SHORT, LONG = 6, 12
"""Epochs, each a round."""

# --- Lengths and schedules -------------------------------------------------------------------


def test_a_longer_run_has_rounds_of_the_same_length():
    """100 examples in batches of 16: 63 steps of 10 epochs, in 4 rounds of 16."""
    counts = {"batch_size": 16, "num_examples": 100}
    short = settings.length(epochs=10, evaluations=4, **counts)
    assert short == Length(4, 16)
    assert settings.longer(short, epochs=10, **counts) == short
    # 125 steps of 20 epochs, and 131 of 21.
    assert settings.longer(short, epochs=20, **counts) == Length(8, 16)
    assert settings.longer(short, epochs=21, **counts) == Length(9, 16)


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_schedules_that_do_not_look_at_the_length_go_on(name):
    context = context_of(schedule={"name": name})
    assert extending.ended(context, context.trial(0)) == ""
    assert name in extending.that_go_on()


ENDING = ["cosine", "one_cycle", "step", "warmup_cosine", "warmup_stable_decay"]


@pytest.mark.parametrize("name", ENDING)
def test_schedules_that_are_shaped_by_the_length_end_with_it(name):
    context = context_of(schedule={"name": name})
    assert extending.ended(context, context.trial(0)) == name
    assert extending.that_go_on() == ["constant", "plateau"]
    # The setting of the trial decides, not the config.
    plain = context.trial(0, {"schedule.name": "plateau", "schedule.factor": 0.3})
    assert extending.ended(context, plain) == ""
    other = context_of().trial(0, {"schedule.name": name})
    assert extending.ended(context_of(), other) == name


def rounded(num_steps, /):
    """Halves after a tenth of the run, in whole steps: 8 for 80 and for 81."""
    tenth = num_steps // 10
    return lambda step: 1.0 / (1 + (step >= tenth))


def test_a_share_of_the_length_that_rounds_to_the_same_steps_is_no_way_on():
    context = context_of(schedule={"name": f"{__name__}:rounded"})
    assert extending.ended(context, context.trial(0)) == f"{__name__}:rounded"


# --- Lanes -----------------------------------------------------------------------------------


def given_of(**more):
    return config(train={"epochs": SHORT, "evaluations": None}, **more)


def extended(folder, trials, *lengths, given=None, fresh=True, **more):
    """(lanes, results) of trials that go on from length to length; a new process each time."""
    made = make(folder, given or given_of(), **more)
    results = made.train("stage", request(*trials, epochs=SHORT, lasting=True))
    for number, epochs in enumerate(lengths, 1):
        if fresh:
            made = make(folder, given or given_of(), **more)
            results = made.train("stage", request(*trials, epochs=SHORT, lasting=True))
            for before in lengths[: number - 1]:
                results = on(made, trials, results, before)
        results = on(made, trials, results, epochs)
    return made, results


def on(made, trials, results, epochs):
    asked = request(*trials, epochs=epochs, paced=SHORT, after=tuple(results), lasting=True)
    return made.train("stage", asked)


def from_the_start(folder, trials, given=None, epochs=LONG):
    made = make(folder, given or given_of())
    return made.train("stage", request(*trials, epochs=epochs, evaluations=epochs))


@pytest.fixture(scope="module", params=["single", "patience"])
def whole(request, tmp_path_factory):
    """(config, trials, results, rows of metrics.jsonl) of a run that was long from the start; of
    the lanes one never moves and one diverges."""
    trials = MIXED if request.param != "single" else EIGHT[:1]
    given = given_of()
    if request.param == "patience":
        given["train"]["patience"] = 2
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "SECONDS_A_CALL", 0.0)
        results = from_the_start(folder, trials, given)
    return given, trials, results, (folder / "metrics.jsonl").read_bytes()


@pytest.fixture(autouse=True)
def one_round_a_call(monkeypatch):
    monkeypatch.setattr(plan, "SECONDS_A_CALL", 0.0)


@pytest.mark.parametrize("lengths, fresh", [((LONG,), False), ((8, LONG), True)])
def test_extended_once_or_twice_it_has_the_bits_of_a_long_run(whole, tmp_path, lengths, fresh):
    given, trials, results, written = whole
    made, found = extended(tmp_path, trials, *lengths, given=given, fresh=fresh)
    for one, other in zip(results, found):
        same_bits(one, other)
        assert other.rounds == one.rounds == (LONG, LONG)
    assert (tmp_path / "metrics.jsonl").read_bytes() == written
    assert made.damage == []
    assert {row["steps"] for row in made.trial_rows} == {
        int(np.isfinite(r.losses).sum()) for r in results
    }
    assert len(made.trial_rows) == len(trials)


@pytest.mark.slow
def test_how_many_rounds_a_call_does_decides_no_bit(tmp_path, monkeypatch):
    """6 rounds in a call, then 3 of the 9 that are added, against one round a call."""
    long = from_the_start(tmp_path / "long", MIXED, epochs=15)
    monkeypatch.setattr(plan, "SECONDS_A_CALL", 1e9)
    _, found = extended(tmp_path / "own", MIXED, 15, fresh=False)
    for one, other in zip(long, found):
        same_bits(one, other)


def test_only_the_last_states_are_kept_and_they_are_small(tmp_path):
    made, _ = extended(tmp_path, EIGHT, LONG)
    kept = [p.name for p in tmp_path.glob("checkpoints/*-states/*")]
    assert kept == [str(LONG)]
    (folder,) = tmp_path.glob("checkpoints/*-states")
    stored = checkpoint.Checkpoints(folder).restore()
    assert stored is not None
    like = made._states_like(next(r for r in made._known.values() if r.name in folder.name))
    # Weights, the best weights and Adam's two moments, of every lane.
    size = sum(leaf.size for leaf in jax.tree.leaves(like.params))
    whole = sum(leaf.size for leaf in stored.arrays.values())
    assert 4 * size < whole < 4 * size + 20 * len(EIGHT)


def test_nothing_is_kept_of_what_cannot_go_on_or_is_not_asked_to(tmp_path):
    ending = Trial(settings={"schedule.name": "cosine"})
    make(tmp_path / "a").train("stage", request(ending, lasting=True))
    make(tmp_path / "b").train("stage", request(EIGHT[0]))
    assert not [*tmp_path.glob("*/checkpoints/*-states")]


@pytest.mark.parametrize("stops", [(2, 4), (6,)])
def test_a_stop_while_it_is_extended_changes_no_bit(whole, tmp_path, stops):
    given, trials, results, written = whole
    extended(tmp_path, trials, given=given)
    for rounds in stops:
        signals = Signals()

        def progress(watched, rounds=rounds, signals=signals):
            if watched.rounds == (rounds, LONG - SHORT):
                signals.number = int(signal.SIGTERM)

        with pytest.raises(Interrupted):
            extended(
                *(tmp_path, trials, LONG),
                given=given,
                fresh=False,
                signals=signals,
                progress=progress,
            )
    _, found = extended(tmp_path, trials, LONG, given=given, fresh=False)
    for one, other in zip(results, found):
        same_bits(one, other)
    assert (tmp_path / "metrics.jsonl").read_bytes() == written


@pytest.mark.parametrize("spoil", ["damaged", "deleted", "of another program"])
def test_lost_states_are_named_and_trained_again(whole, tmp_path, spoil):
    """Of a run that was extended before: all of it is trained again, to the same bits."""
    given, trials, results, written = whole
    extended(tmp_path, trials, 8, given=given, fresh=False)
    (stored,) = tmp_path.glob("checkpoints/*-states/*")
    if spoil == "damaged":
        (stored / "meta.json").write_text("{}")
    elif spoil == "deleted":
        shutil.rmtree(stored.parent)
    else:
        store = checkpoint.Checkpoints(stored.parent)
        kept = store.restore()
        assert kept is not None and kept.arrays.pop("states.rate_scale") is not None
        store.save(8, kept.arrays, {})
    made, found = extended(tmp_path, trials, 8, LONG, given=given, fresh=False)
    for one, other in zip(results, found):
        same_bits(one, other)
    assert (tmp_path / "metrics.jsonl").read_bytes() == written
    assert len(made.damage) == (spoil != "deleted")
    assert all(str(stored.parent) in each for each in made.damage)


def test_a_kill_between_states_and_result_leaves_both_or_neither(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def save(self, step, tree, meta, original=checkpoint.Checkpoints.save):
        if meta.get("finished"):
            raise Killed
        original(self, step, tree, meta)

    with monkeypatch.context() as patched:
        patched.setattr(lanes.Checkpoints, "save", save)
        with pytest.raises(Killed):
            extended(tmp_path / "killed", EIGHT[:1])
    assert [*tmp_path.glob("killed/checkpoints/*-states/6")]
    _, found = extended(tmp_path / "killed", EIGHT[:1], LONG)
    (one,) = from_the_start(tmp_path / "whole", EIGHT[:1])
    same_bits(one, found[0])


def test_in_parts_where_memory_is_short_it_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(lanes.memory, "waves_that_fit", lambda *_: 1)
    given = given_of(sweep={"block": 1})
    wide = from_the_start(tmp_path / "wide", EIGHT, given)
    _, found = extended(tmp_path / "parts", EIGHT, LONG, given=given, fresh=False)
    for one, other in zip(wide, found):
        same_bits(one, other)
    assert len([*(tmp_path / "parts").glob("checkpoints/*-states")]) == 1


# --- What is asked for -----------------------------------------------------------------------


def test_the_members_go_on_whose_schedule_does():
    """One of the best settings has a cosine: it stays as it was."""
    context = context_of(train={"epochs": 10, "extend": (20, 40)})
    ending = {"optim.learning_rate": 1e-2, "schedule.name": "cosine"}
    context = context._replace(candidates=(ending, *context.candidates))
    asked, _, pool = answered(members.train(context), context)
    found = [each for each in asked if each.label == members.LABEL]
    assert [(each.epochs, each.paced) for each in found] == [(10, None), (20, 10), (40, 10)]
    assert all(each.lasting for each in found)
    stay = [t for t in found[0].trials if t.settings.get("schedule.name") == "cosine"]
    assert stay and [t for t in found[0].trials if t not in stay] == [*found[1].trials]
    assert found[1].trials == found[2].trials
    assert pool.ways.count(SEEDS) == 3 and LINEAR in pool.ways and SETTINGS in pool.ways
    assert [r.trial for r in pool.results[: len(found[0].trials)]] == [*found[0].trials]
    assert all(result.trial == trial for result, trial in zip(found[1].after, found[1].trials))


def test_the_plan_counts_what_is_added():
    short, long = (context_of(train={"epochs": 10, "extend": e}) for e in ((), (20, 40)))
    assert [each.epochs for each in training.planned(short)] == [10]
    assert [each.epochs for each in training.planned(long)] == [40]
    assert squeeze.planned(long)[0].epochs == 40 and squeeze.planned(short)[0].epochs == 10


# --- Findings --------------------------------------------------------------------------------


def made_up(*curves, best=None, status="done"):
    """Results with these validation scores, a look every 40 steps."""
    trial = context_of().trial(0)
    for scores in curves:
        looks = len(scores)
        run = result_of(trial, request=Trials(label="", trials=(), epochs=1, evaluations=looks - 1))
        history = {**run.history, "validation/accuracy": np.array(scores, float)}
        yield run._replace(history=history, status=status, best_step=best or run.best_step)


def outlook(*curves, **more):
    context = context_of(train={"epochs": 10}, **more)
    return extending.outlook(context, [*made_up(*curves)])


RISING = np.linspace(0.5, 0.7, 11)


def test_validation_that_rises_to_the_end_is_getting_better():
    """Ten looks: the last two against the two before, 0.02 a look, so 0.04."""
    found = outlook(RISING, RISING, RISING + 0.01)
    told = found.evidence
    assert told["difference"] == pytest.approx(0.04) and told["looks"] == 2 and told["better"]
    # Rounding to whole examples, by half of one in each, hides this much at the least.
    examples = len(context_of().task.validation.targets)
    half = 4.3027 * np.sqrt(1 / (6 * examples**2) / 3)
    assert [told["low"], told["high"]] == pytest.approx([0.04 - half, 0.04 + half], abs=1e-5)
    assert found.status == Status.PASS and found.row == "SQZ2"
    assert "was still getting better at the end: a gain of +0.04 [" in found.summary
    assert "over 3 seeds. To train on from the last state: python -m experiments.run" in (
        found.summary
    )
    assert "--extend=20" in found.summary


def test_the_looks_that_are_compared_are_drawn():
    """A look an epoch: of ten epochs the last two looks, 9 and 10, beside 7 and 8."""
    told = outlook(RISING, RISING + 0.01).evidence
    context = context_of()
    epoch = 40 * context.setting("train.batch_size") / len(context.task.train.targets)
    assert np.allclose(told["parts"], [[7 * epoch, 8 * epoch], [9 * epoch, 10 * epoch]])
    assert np.allclose(told["scores"], [RISING, RISING + 0.01])
    (figure,) = figures.draw("more_training", told) or ()
    assert {"looks before", "last looks"} <= {trace.name for trace in figure.data}
    told = gained(RISING, RISING).evidence
    assert np.allclose(told["parts"], [[5 * epoch, 5 * epoch], [10 * epoch, 10 * epoch]])
    assert figures.draw("extended", told)
    assert figures.draw("more_training", outlook(RISING[:2], RISING[:2]).evidence)


def test_validation_that_is_level_or_falls_is_not():
    level = np.concatenate([RISING[:6], np.full(5, RISING[5])])
    for curves in ([level] * 4, [RISING[::-1]] * 4, [RISING, RISING[::-1], RISING, level]):
        found = outlook(*curves)
        assert not found.evidence["better"] and "was not surely getting better" in found.summary


def test_one_seed_cannot_say():
    found = outlook(RISING)
    assert found.status == Status.SKIP and not found.evidence["better"]
    assert "One seed cannot say" in found.summary and "(a gain of +0.04, the last" in found.summary


@pytest.mark.parametrize("curves", [[RISING[:2]] * 3, [np.full(11, np.nan)] * 3])
def test_without_looks_to_compare_no_gain_is_known(curves):
    found = outlook(*curves)
    assert "no gain known" in found.summary and "nan" not in found.summary
    assert not found.evidence["better"]


def test_a_schedule_that_ended_says_which_go_on():
    found = outlook(RISING, RISING, schedule={"name": "cosine"})
    assert found.evidence["ended"] == "cosine" and "--extend" not in found.summary
    assert "cosine ended with the run" in found.summary and "constant, plateau" in found.summary


def test_an_early_stop_holds_its_last_score():
    stopped = np.where(np.arange(11) < 7, RISING, np.nan)
    context = context_of(train={"epochs": 10})
    found = extending.outlook(context, [*made_up(stopped, stopped, status="stopped")])
    assert found.evidence["difference"] == 0.0


def gained(*curves, best=None, epochs=5):
    """Five rounds of an epoch each, then up to ten."""
    context = context_of(train={"epochs": epochs, "extend": (10,), "evaluations": 5})
    return extending.gained(context, [*made_up(*curves, best=best)])


def test_what_an_extension_brought():
    """Five looks, of which the last one is held against the last of ten."""
    found = gained(RISING, RISING, RISING)
    assert found.status == Status.PASS and found.row == "SQZ2"
    assert found.evidence["difference"] == pytest.approx(0.1)
    assert found.evidence["same"] == 0 and "of which 0 keep" in found.summary
    assert "From 5 to 10 epochs, validation accuracy: a gain of +0.1 [" in found.summary
    alone = gained(RISING)
    assert "in one run, whose model is a later one" in alone.summary


def test_a_model_that_is_better_left_as_it_was_is_told():
    found = gained(*[RISING[::-1]] * 3, best=5 * 40)
    assert found.status == Status.WARN and "Better left as it was" in found.remedy
    assert found.evidence["same"] == 3 and "of which 3 keep their model of before" in found.summary
    assert "whose model is that of before" in gained(RISING[::-1], best=200).summary


# --- Commands --------------------------------------------------------------------------------

FAST = {
    "data": {"name": "iris"},
    "model": {"name": "mlp", "width": 8, "depth": 1},
    "optim": {"name": "adamw", "learning_rate": 0.01},
    "train": {"batch_size": 16, "epochs": 4},
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast.json").write_text(json.dumps(FAST))
    yield tmp_path
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def go(workdir, epochs=None, **sections):
    """experiments.train without its stage of data."""
    given = {
        name: {**FAST.get(name, {}), **sections.get(name, {})} for name in {**FAST, **sections}
    }
    return drive.execute(
        what="train",
        stages=(training,),
        config=configs.as_dict(configs.complete(given)),
        overrides={},
        workdir=pathlib.Path(workdir),
        argv=["experiments.train", "--config", "fast.json"],
        console=Console(),
        epochs=epochs,
    )


def contents(folder="."):
    files = sorted(pathlib.Path(folder).rglob("*"))
    return {str(p): p.read_bytes() if p.is_file() else None for p in files}


def refused(call, *arguments, **more):
    before = contents()
    with pytest.raises(UserError) as caught:
        call(*arguments, **more)
    assert contents() == before and "\n" not in str(caught.value)
    return str(caught.value)


def record(folder):
    return json.loads((pathlib.Path(folder) / "run.json").read_text())


def findings(folder):
    """All but what is said of the extension itself."""
    told = json.loads((pathlib.Path(folder) / "findings.json").read_text())
    assert {"SQZ2"} <= {each["row"] for each in told}
    return [each for each in told if each["row"] != "SQZ2"]


def assert_same(one, other):
    for name in ("metrics.jsonl", "trials.csv", "model/model.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    with np.load(one / "model/weights.npz") as left, np.load(other / "model/weights.npz") as right:
        assert left.files == right.files and left.files
        assert all(left[name].tobytes() == right[name].tobytes() for name in left.files)
    assert findings(one) == findings(other)


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.mark.slow
def test_a_run_is_extended_again_and_again(place, monkeypatch):
    """To 6 and to 8 epochs, killed on the way; beside one of 8 from the start."""
    assert go("whole", train={"epochs": 8, "evaluations": 8}) == 0
    assert go("w") == 0
    short = contents("w")
    assert go("w", epochs=6) == 0
    assert record("w")["extended"] == [6]
    assert json.loads((place / "w/config.json").read_text())["train"]["extend"] == [6]
    told = json.loads((place / "w/findings.json").read_text())
    assert [each["check"] for each in told if each["row"] == "SQZ2"] == [
        "extended",
        "more_training",
    ]
    # Both commands mean the run as it stands, and do nothing.
    six = contents("w")
    assert go("w", epochs=6) == go("w") == 0 and contents("w") == six

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(lanes, "fit", killed)
        with pytest.raises(Killed):
            go("w", epochs=8)
    assert record("w")["status"] == "running"
    assert "finish it first: the same command without --extend" in refused(go, "w", epochs=12)
    assert go("w") == 0
    assert record("w")["extended"] == [6, 8]
    assert_same(place / "w", place / "whole")
    reasons = [each["reason"] for each in record("w")["test_openings"]]
    assert len(reasons) == 3 and "after 6 epochs" in reasons[1] and "after 8" in reasons[2]
    assert "opened 3 times" in (place / "w/report.html").read_text()
    assert len([*(place / "w").glob("checkpoints/*-states")]) == 1
    assert short.keys() and "has 8" in refused(go, "w", epochs=7)


def test_a_kill_after_the_config_was_written_goes_on(place, monkeypatch):
    assert go("w") == 0

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(drive._Run, "carry_out", killed)
        with pytest.raises(Killed):
            go("w", epochs=6)
    assert record("w")["status"] == "done"
    assert "finish it first" in refused(go, "w", epochs=8)
    assert go("w") == 0 and record("w")["extended"] == [6]


def test_a_schedule_that_ended_is_refused_with_those_that_go_on(place):
    assert go("w", schedule={"name": "cosine"}) == 0
    assert not [*(place / "w").glob("checkpoints/*-states")]
    said = refused(go, "w", epochs=8, schedule={"name": "cosine"})
    assert "its schedule cosine came to its end" in said and "constant, plateau" in said
    assert "another config" in refused(go, "w", epochs=8, schedule={"name": "constant"})


def test_what_cannot_get_better_is_refused(place):
    """A run that diverged, and one that stopped early."""
    broken = {"optim": {"name": "sgd", "learning_rate": 1e30}}
    assert go("broken", **broken) == 1
    assert "diverged" in refused(go, "broken", epochs=8, **broken)
    level = {"optim": {"learning_rate": 1e-30}, "train": {"patience": 2}}
    go("level", **level)
    assert "stopped early" in refused(go, "level", epochs=8, **level)


def test_other_ends_are_refused(place, monkeypatch):
    assert "there is none in w" in refused(go, "w", epochs=8)
    assert go("w") == 0
    for epochs in (1, 4):
        assert "has 4: say more" in refused(go, "w", epochs=epochs)
    assert "another config (optim.b1" in refused(go, "w", epochs=8, optim={"b1": 0.5})
    assert "must grow" in refused(go, "w", train={"extend": (8, 8)})
    assert "one step at a time" in refused(go, "w", train={"extend": (6, 8)})
    words = ["program", "--config=fast.json", "--workdir=w", "--extend=8"]
    assert "--overwrite" not in refused(commands.train, [*words, "--overwrite"])
    assert "made by experiments.train" in refused(commands.run, words)
    assert "A sweep is not extended" in refused(commands.sweep, words)
    found = json.loads((place / "w/findings.json").read_text())
    kept = [each for each in found if each["check"] != "more_training"]
    (place / "w/findings.json").write_text(json.dumps(kept))
    assert "nothing to extend" in refused(go, "w", epochs=8)
    (place / "w/findings.json").write_text("{")
    assert "findings.json is damaged" in refused(go, "w", epochs=8)


def test_the_command_to_paste_names_the_settings_that_the_workdir_is_held_to(place):
    argv = "x --config fast.json --config.optim.b1=0.5 --config.train.extend=(8,) --overwrite"
    more = "--config.checkpoint.every_seconds=0 --config.recipe.force --config.seed 3"
    assert drive._command("train", f"{argv} {more}".split()) == (
        "python -m experiments.train --config fast.json --config.optim.b1=0.5 --config.seed 3"
    )
    assert go("w") == 0
    # When to save decides no bit, and may be said anew.
    assert go("w", epochs=6, checkpoint={"every_seconds": 5.0}) == 0


@pytest.mark.slow
def test_a_new_run_with_the_config_of_an_extended_one_has_its_bits(place):
    """All bytes but the clock's: config.json is enough to run again."""
    assert go("w") == go("w", epochs=6) == 0
    assert go("again", train={"extend": (6,)}) == 0
    for name in ("config.json", "metrics.jsonl", "trials.csv", "findings.json", "model/model.json"):
        assert (place / "w" / name).read_bytes() == (place / "again" / name).read_bytes(), name
    assert len(record("again")["test_openings"]) == 1
