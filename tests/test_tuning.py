"""Tuning from coarse to fine, published ranges, and schedules last."""

import ast
import dataclasses
import json
import shlex

import numpy as np
import pytest
from test_stages import context_of, driven, healthy, task_of

from recipe_jax import assembly, writers
from recipe_jax import config as configs
from recipe_jax.app import drive, groups
from recipe_jax.recipe import decay, measuring, searching, spaces, sweep, tune
from recipe_jax.report import figures
from recipe_jax.search import bayesopt, coarse_to_fine, grid, hyperopt, listed, optuna, random
from recipe_jax.search.base import Axis, Search, read_space
from recipe_jax.types import Status, Trials, UserError

RATE = "optim.learning_rate"


def by_rate(best=-2.0, slope=0.1):
    """A world in which the rate 10**best is best, also on part of the data; seeds differ little."""

    def world(trial, request):
        rate = trial.settings.get(RATE, 1e-2)
        noise = 1e-4 * np.random.default_rng(trial.seed).normal()
        return {"score": 0.9 - slope * abs(np.log10(rate) - best) + noise}

    return world


def coarse(trials=32, **context):
    return context_of(**context)._replace(search=coarse_to_fine.build(trials=trials))


def asked_of(fake, label):
    return [r for r in fake.requests if isinstance(r, Trials) and r.label.startswith(label)]


# --- From coarse to fine ---------------------------------------------------------------------


def test_the_default_search_is_two_rounds_the_rate_first():
    completed = configs.as_dict(configs.complete({}))
    assert completed["search"]["name"] == "coarse_to_fine" and completed["search"]["rounds"] == 2
    given = configs.complete({"search": {"name": "optuna"}})
    assert given["search"]["name"] == "optuna"
    fake, _ = driven(tune, coarse())
    first, second = asked_of(fake, "search")
    # 10 epochs and 120 examples, a quarter of both (of 5 looks one: a program for all).
    assert (first.epochs, first.evaluations) == (2, 1)
    assert {trial.num_examples for trial in first.trials} == {30}
    assert (second.epochs, second.evaluations) == (10, None)
    assert {trial.num_examples for trial in second.trials} == {None}
    # The present setting has all axes; the others of the first round the rate alone.
    assert {len(trial.settings) for trial in first.trials[1:]} == {1}
    assert len(first.trials[0].settings) == 4


@pytest.mark.parametrize("train", [(10, 5), (30, 10), (20, None), (7, 5), (1, None), (60, 60)])
@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_coarse_look_is_short_and_shares_the_program_where_lengths_allow_it(train, share):
    epochs, evaluations = train
    context = context_of(train={"epochs": epochs, "evaluations": evaluations})
    found = measuring.look(context, share)
    request = Trials(
        label="",
        trials=(context.trial(0),),
        epochs=found.epochs,
        evaluations=found.rounds if share < 1 else None,
    )
    (group,) = groups.grouped(request, context.config, 120)
    assert group.kind.length.rounds == found.rounds >= 1
    assert 1 <= found.epochs <= epochs and found.examples == round(120 * share)
    if epochs > 1:
        assert found.epochs / epochs <= max(1.5 * share, 1 / epochs)
    whole = measuring.train_settings.of_config(context.config["train"], 120)
    if train in ((10, 5), (30, 10), (20, None), (60, 60)):
        assert group.kind.length.steps_per_round == whole.steps_per_round


def test_some_of_the_coarse_round_run_again_from_its_best_to_its_worst():
    fake, _ = driven(tune, coarse(), by_rate())
    first, second = asked_of(fake, "search")
    again = [trial.settings for trial in second.trials[: 1 + searching.AGAIN]]
    rates = sorted(abs(np.log10(t.settings[RATE]) + 2) for t in first.trials[1:])
    assert again[0] == first.trials[0].settings
    found = [abs(np.log10(each[RATE]) + 2) for each in again[1:]]
    assert found == sorted(found)
    assert (found[0], found[-1]) == (rates[0], rates[-1])


def test_the_plan_counts_what_runs_again():
    for context in (coarse(), coarse(trials=6), coarse(trials=1), coarse(train={"patience": 3})):
        fake, _ = driven(tune, context, by_rate())
        planned = searching.planned(context, context.axes)[0]
        assert sum(len(each.trials) for each in asked_of(fake, "search")) == planned.lanes
        steps = sum(len(each.trials) * each.epochs for each in asked_of(fake, "search"))
        assert planned.part * planned.lanes * 10 == pytest.approx(steps, rel=0.25)


def test_an_equal_share_runs_nothing_again():
    context = context_of()._replace(search=optuna.build(trials=12, batch=4))
    fake, _ = driven(tune, context, by_rate())
    assert [len(each.trials) for each in asked_of(fake, "search")] == [5, 4, 3]
    assert not [each for each in fake.findings if each.check == "search_rounds"]


def test_the_rounds_are_told_with_what_they_ran_on_and_how_they_narrowed():
    fake, decision = driven(tune, coarse(), by_rate())
    found = fake.of("search_rounds")
    assert found.row == "TUNE5 TUNE7" and found.status is Status.PASS
    assert "on 30 of 120 examples for 2 of 10 epochs" in found.summary
    assert "round 2" in found.summary and "on all examples and epochs" in found.summary
    first, second = found.evidence["axes"][RATE]["rounds"]
    assert np.ptp(np.log10(second)) < 0.5 * np.ptp(np.log10(first))
    dropout = found.evidence["axes"]["model.dropout"]["rounds"]
    assert dropout[0] == [] and len(dropout[1]) == 15
    (agreed,) = found.evidence["agreement"]
    assert agreed["correlation"] == pytest.approx(1.0) and "ranks agree (1.00)" in found.summary
    assert decision.settings[RATE] == pytest.approx(1e-2, rel=0.2)


def test_a_coarse_ranking_that_misleads_is_a_warning_where_the_scores_differ():
    def turned(spread):
        def world(trial, request):
            off = abs(np.log10(trial.settings[RATE]) + 2)
            return {"score": 0.6 + spread * (off if trial.num_examples else -off)}

        return world

    fake, _ = driven(tune, coarse(), turned(0.5))
    found = fake.of("search_rounds")
    assert found.status is Status.WARN and "--config.search." in found.remedy
    assert found.evidence["agreement"][0]["correlation"] == pytest.approx(-1.0)
    fake, _ = driven(tune, coarse(), turned(1e-3))
    found = fake.of("search_rounds")
    assert found.status is Status.PASS and "little to rank" in found.summary
    assert "do not agree" in found.summary


def test_where_all_score_the_same_no_correlation_is_told():
    fake, _ = driven(tune, coarse(), lambda trial, request: {"score": 0.5})
    found = fake.of("search_rounds")
    assert found.evidence["agreement"][0]["correlation"] is None
    assert "cannot be told from 8 runs" in found.summary and found.status is Status.PASS


def test_a_diverged_coarse_setting_is_not_run_again():
    def world(trial, request):
        bad = trial.settings[RATE] > 2e-2
        return {"status": "diverged", "score": float("nan")} if bad else {"score": 0.8}

    fake, _ = driven(tune, coarse(), world)
    _, second = asked_of(fake, "search")
    again = [trial.settings[RATE] for trial in second.trials[1 : 1 + searching.AGAIN]]
    assert max(again) <= 2e-2


def test_what_ran_on_part_of_the_data_alone_is_no_finalist_and_no_importance():
    def world(trial, request):
        # The coarse round scores higher than anything measured in full.
        return {"score": 0.99 if trial.num_examples else by_rate()(trial, request)["score"]}

    fake, _ = driven(tune, coarse(trials=64), world)
    found = fake.of("search").evidence
    assert found["status"].count("coarse") == 32 - searching.AGAIN
    assert found["status"][found["winner"]] == "done" == found["status"][found["best"]]
    assert found["importance"][RATE] > 0.5


@pytest.mark.parametrize("sure", [True, False])
def test_the_gain_on_new_seeds_has_an_interval(sure):
    def world(trial, request):
        # What the seed gives is the same for all settings, or drawn anew for each.
        drawn = [trial.seed] if sure else [trial.seed, int(trial.uid, 16)]
        luck = 0.1 * np.random.default_rng(drawn).normal()
        return {"score": by_rate(-4.0)(trial, request)["score"] + luck}

    fake, _ = driven(tune, searched((RATE, "log", 1e-6, 1e-4)), world)
    found = fake.of("search")
    gain = found.evidence["gain"]
    assert gain["low"] <= gain["mean"] <= gain["high"]
    assert (gain["low"] > 0) == sure
    assert ("which may be luck" in found.summary) == (not sure)


# --- Rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "row"),
    [
        (lambda: random.build(trials=3), "TUNE1"),
        (lambda: coarse_to_fine.build(trials=4), "TUNE1 TUNE5 TUNE7"),
        (lambda: grid.build(points=2, space=((RATE, "log", 1e-3, 1e-1),)), "TUNE2"),
        (lambda: listed.build(settings=(((RATE, 1e-3),),)), "TUNE2"),
        *(
            (lambda each=each: each.build(trials=3), "TUNE3")
            for each in (optuna, hyperopt, bayesopt)
        ),
    ],
)
def test_a_search_names_the_row_that_it_carries_out(build, row):
    context = context_of()._replace(search=build())
    fake, _ = driven(sweep, context)
    assert fake.of("search").row == f"{row} TUNE4 TUNE8 TUNE10"


# --- Published ranges ------------------------------------------------------------------------


def config_of(**sections):
    return configs.as_dict(configs.complete({"data": {"name": "digits"}, **sections}))


@pytest.fixture(scope="module")
def digits():
    return drive.load_task(config_of())


def test_published_ranges_by_group(digits):
    groups = spaces.published(config_of(), digits)
    assert groups["rate"] == [(RATE, "log", 1e-4, 1.0)]
    assert [each[0] for each in groups["regularisation"]] == [
        "model.dropout", "objective.l2", "optim.weight_decay", "objective.label_smoothing"
    ]  # fmt: skip
    assert groups["clipping"] == [("optim.clip_norm", "choice", (5.0, 10.0, 15.0))]
    assert groups["batch"][0][2] == (16, 32, 64, 128, 256, 512)
    depth, width = groups["architecture"]
    assert depth == ("model.depth", "int", 1, 8)
    # 5 and 10 times the ten classes are among the units.
    assert width[2] == (16, 32, 50, 64, 100, 128, 256, 512, 1024)


def test_published_ranges_follow_the_model_and_the_data(digits):
    heads = spaces.published(config_of(model={"name": "transformer", "heads": 8}), digits)
    assert all(count % 8 == 0 for count in heads["architecture"][1][2])
    small = dataclasses.replace(digits, train=digits.train.first(40))
    assert spaces.published(config_of(), small)["batch"][0][2] == (16, 32)
    recurrent = config_of(model={"name": "rnn", "depth": 1})
    short, long = (
        dataclasses.replace(digits, spec=dataclasses.replace(digits.spec, input_shape=(steps, 3)))
        for steps in (20, 200)
    )
    deep = config_of(model={"name": "rnn", "depth": 3})
    assert spaces.published(recurrent, short)["rate"][0][2:] == spaces.RATES
    assert spaces.published(recurrent, long)["rate"][0][2:] == spaces.SMALLER_RATES
    assert spaces.published(deep, short)["rate"][0][2:] == spaces.SMALLER_RATES
    text = dataclasses.replace(
        short, spec=dataclasses.replace(short.spec, input_dtype="int32", kind="next_token")
    )
    assert ("model.embedding", "choice", (128, 256)) in spaces.published(deep, text)["architecture"]


@pytest.mark.parametrize("name", ["random", "grid", "sobol", "optuna", "coarse_to_fine"])
def test_every_group_can_be_searched_by_name(digits, name):
    fewer = {"points": 2, "max_trials": 100_000} if name == "grid" else {}
    own = ("optim.b1", "uniform", 0.5, 0.9)
    config = config_of(search={"name": name, "space": [*spaces.GROUPS, own], **fewer})
    context = drive.make_context(config, digits, drive.make_objective(config, digits))
    paths = [axis.path for axis in context.search.axes]
    assert paths[0] == RATE and paths[-1] == "optim.b1" and "model.depth" in paths
    assert context.axes == context.search.axes


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (("architectur",), "did you mean architecture"),
        (("rate", (RATE, "log", 1e-3, 1e-1)), "2 times"),
        (("architecture",), "no setting of the group 'architecture'"),
    ],
)
def test_a_wrong_group_is_refused_in_one_sentence(digits, space, told):
    model = {"name": "linear"} if space == ("architecture",) else {"name": "mlp"}
    config = config_of(model=model, search={"name": "random", "space": space})
    with pytest.raises(UserError, match=told):
        drive.make_context(config, digits, drive.make_objective(config, digits))


def test_choices_of_traced_numbers_are_one_program():
    numbers = read_space((("model.dropout", "choice", (0.0, 0.3, 0.5)),))
    widths = read_space((("model.width", "choice", (16, 32, 64)),))
    assert searching.groups(context_of(), numbers, 20) == 1
    assert searching.groups(context_of(), (*numbers, *widths), 20) == 3


def test_a_config_whose_own_choice_is_no_choice_of_the_axis_breaks_nothing():
    axes = read_space(((RATE, "log", 1e-3, 1e-1), ("model.width", "choice", (8, 64))))
    context = context_of()._replace(search=random.build(trials=24)._replace(axes=axes))
    fake, _ = driven(sweep, context, by_rate())
    assert set(fake.of("search").evidence["importance"]) == {RATE, "model.width"}


# --- The ends of ranges ----------------------------------------------------------------------


def ranges(context, world):
    fake, _ = driven(sweep, context, world)
    return fake.of("search_ranges")


def searched(*space, trials=40):
    return context_of()._replace(search=random.build(trials=trials, space=space))


def pasted(remedy):
    """The space that a shell hands over, of the command that a remedy ends with."""
    (word,) = [w for w in shlex.split(remedy) if w.startswith("--config.search.space=")]
    return word.partition("=")[2]


def test_a_winner_inside_is_told_with_the_published_ranges():
    found = ranges(searched((RATE, "log", 1e-3, 1e-1)), by_rate())
    assert (found.row, found.status, found.remedy) == ("TUNE6", Status.PASS, "")
    assert "learning_rate 0.001 to 0.1 (published: 0.0001 to 1)" in found.summary


@pytest.mark.parametrize(("best", "wider"), [(3.0, (1e-3, 1.0)), (-9.0, (1e-4, 1e-1))])
def test_a_winner_at_an_end_asks_for_more_room(best, wider):
    found = ranges(searched((RATE, "log", 1e-3, 1e-1)), by_rate(best))
    assert found.status is Status.WARN and "widen it" in found.summary
    space = ast.literal_eval(pasted(found.remedy))
    (axis,) = read_space(space)
    assert axis == Axis(RATE, "log", *(pytest.approx(end) for end in wider))


@pytest.mark.parametrize(
    ("entry", "towards", "wider"),
    [
        (("model.width", "int", 8, 64), 1, ("model.width", "int", 8, 128)),
        (("model.width", "choice", (8, 16, 32)), 1, (8, 16, 32, 64)),
        (("model.width", "choice", (8, 16, 32)), -1, (4, 8, 16, 32)),
        (("model.dropout", "uniform", 0.0, 0.8), 1, ("model.dropout", "uniform", 0.0, 1.0)),
        # Off, and the end of what it may be: there is nothing beyond.
        (("model.dropout", "uniform", 0.0, 0.8), -1, None),
        (("model.dropout", "uniform", 0.2, 1.0), 1, None),
        (("optim.weight_decay", "log", 1e-5, 1e-1), -1, None),
        (("optim.name", "choice", ("adamw", "sgd")), 1, None),
    ],
)
def test_an_end_is_widened_where_there_is_room(entry, towards, wider):
    def world(trial, request):
        value = trial.settings[entry[0]]
        place = value if not isinstance(value, str) else len(value)
        return {
            "score": 0.5 + towards * 0.002 * (np.log(place + 1e-9) if "log" in entry else place)
        }

    # Beside the rate, so that no setting comes twice.
    found = ranges(searched(entry, (RATE, "log", 1e-3, 1e-1)), world)
    told = found.evidence["axes"][entry[0]]["at_end"]
    assert told == (wider is not None) and bool(found.remedy) == told
    assert str(wider) in found.remedy or not told


def test_an_axis_that_does_not_matter_is_rarely_at_an_end():
    warned = 0
    for seed in range(15):
        context = context_of(carried={RATE: 1e-2 * (1 + 0.01 * seed)})
        config = {**context.config, "seed": seed}
        axes = read_space((("optim.b1", "uniform", 0.5, 0.9),))
        context = context._replace(
            config=config, search=random.build(trials=32)._replace(axes=axes)
        )

        def drawn(trial, request, seed=seed):
            spot = int(1e6 * trial.settings["optim.b1"])
            return {"score": np.random.default_rng([seed, spot]).uniform()}

        warned += ranges(context, drawn).status is Status.WARN
    assert warned <= 1


# --- Schedules -------------------------------------------------------------------------------


def falling(better=None, gain=0.05):
    def world(trial, request):
        name = trial.settings.get("schedule.name", "constant")
        noise = 1e-3 * np.random.default_rng(trial.seed).normal()
        return {"score": 0.85 + (gain if name == better else 0.0) + noise}

    return world


def test_schedules_are_compared_last_with_the_winner_and_the_constant_rate():
    fake, decision = driven(tune, world=falling())
    request, scores = fake.requests[-2:]
    assert request.label == "schedules" and scores.split == "validation"
    seeds = len({trial.seed for trial in request.trials})
    names = [trial.settings.get("schedule.name") for trial in request.trials[::seeds]]
    assert names == [None, "plateau", "step", "cosine"] and seeds == 3
    plateau, step = (request.trials[i * seeds].settings for i in (1, 2))
    # 5 looks: a stall of one; the step halves the rate after every fifth of the run.
    assert (plateau["schedule.factor"], plateau["schedule.patience"]) == (0.5, 1)
    assert (step["schedule.factor"], step["schedule.every"]) == (0.5, 0.2)
    rate = decision.settings[RATE]
    assert {trial.settings[RATE] for trial in request.trials} == {rate}
    found = fake.of("schedules")
    assert set(found.row.split()) == {"TUNE9", "FIT5", "ENV5"} and found.status is Status.PASS
    assert "The schedule constant stays" in found.summary
    assert not [path for path in decision.settings if path.startswith("schedule.")]


@pytest.mark.parametrize("better", ["plateau", "step", "cosine"])
def test_a_schedule_that_helps_goes_on_to_the_members_too(better):
    fake, decision = driven(tune, world=falling(better))
    assert decision.settings["schedule.name"] == better
    assert f"{better.capitalize()} goes on" in fake.of("schedules").summary
    assert f"schedule {better}" in decision.summary
    for each in decision.candidates:
        assert each["schedule.name"] == better
    # What goes on is a setting of a trial: its section is that plug-in's, with these numbers.
    config = configs.with_settings(context_of().config, decision.settings)
    assert config["schedule"]["name"] == better
    for path, value in decision.settings.items():
        section, _, key = path.partition(".")
        assert config[section][key] == value
    built = assembly.of_config(context_of().config, task_of().spec, decision.settings)
    assert built.schedule(0) == 1.0


def test_a_config_with_a_schedule_is_compared_the_other_way():
    own = {"name": "warmup_cosine", "warmup": 0.2}
    context = context_of(schedule=own)

    def world(trial, request):
        score = falling()(trial, request)["score"]
        return {"score": score + (0.05 if trial.settings.get("schedule.name") else 0.0)}

    fake, decision = driven(tune, context)
    request = fake.requests[-2]
    names = {trial.settings.get("schedule.name") for trial in request.trials}
    assert names == {None, "constant"} and len(request.trials) == 6
    assert "--config.schedule.name=constant" in fake.of("schedules").summary
    assert "schedule.name" not in decision.settings
    fake, decision = driven(tune, context, world)
    assert decision.settings["schedule.name"] == "constant"
    built = assembly.of_config(context.config, task_of().spec, decision.settings)
    assert built.schedule(7) == 1.0


def test_a_search_over_the_schedule_leaves_it_alone():
    space = (("schedule.name", "choice", ("constant", "cosine")),)
    context = context_of()._replace(search=random.build(trials=4, space=space))
    fake, decision = driven(tune, context)
    assert fake.of("schedules").status is Status.SKIP
    assert decay.planned(context) == [] and "schedule.name" in decision.settings


def test_schedules_are_in_the_plan():
    context = context_of()
    fake, _ = driven(tune, context, falling())
    (asked,) = asked_of(fake, "schedules")
    (planned,) = decay.planned(context)
    assert (len(asked.trials), asked.epochs) == (planned.lanes, planned.epochs)
    assert planned.programs == 3


# --- Figures ---------------------------------------------------------------------------------


def test_rounds_and_schedules_are_drawn():
    fake, _ = driven(tune, coarse(), healthy)
    for check, count in (("search_rounds", 5), ("schedules", 1)):
        evidence = json.loads(writers.to_json(writers.plain(fake.of(check).evidence)))
        assert len(figures.draw(check, evidence)) == count
        for key in evidence:
            figures.draw(check, {k: v for k, v in evidence.items() if k != key})
            figures.draw(check, evidence | {key: None})
            figures.draw(check, evidence | {key: []})


def test_names_among_the_choices_are_drawn_by_round():
    space = (("optim.name", "choice", ("adamw", "sgd")), (RATE, "log", 1e-3, 1e-1))
    search = coarse_to_fine.build(trials=16, space=space, rate_first=False)
    fake, _ = driven(sweep, context_of()._replace(search=search))
    evidence = writers.plain(fake.of("search_rounds").evidence)
    drawn = figures.draw("search_rounds", evidence)
    assert drawn is not None and len(drawn) == 3
    assert tuple(drawn[0].layout.xaxis.ticktext) == ("adamw", "sgd")


def test_a_search_of_a_fork_needs_no_row():
    assert Search(lambda *_: [], 1, (), 1).row == "TUNE1"
