"""The searches: functions of history and key, true to their axes, and better than chance where they
learn."""

import importlib
import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from recipe_jax import config as configs
from recipe_jax import resolve
from recipe_jax.app import drive
from recipe_jax.search import grid, listed, optuna, random, sobol
from recipe_jax.search.base import Axis, Told, losses, read_space, settings_at
from recipe_jax.types import UserError

KEY = jax.random.key(0)
AXES = (
    Axis("optim.learning_rate", "log", 1e-4, 1e-1),
    Axis("model.dropout", "uniform", 0.2, 0.5),
)
SPACE = (
    ("optim.name", "choice", ("adam", "sgd")),
    ("optim.learning_rate", "log", 1e-4, 1e-1),
    ("optim.momentum", "uniform", 0.0, 0.99, "optim.name=sgd"),
    ("model.width", "log_int", 8, 256),
)
SEARCHES = [name for name in resolve.plugins("search") if name not in ("listed", "grid")]
SEARCHES += ["optuna cmaes", "optuna gp"]
LEARNING = ["optuna", "optuna gp", "hyperopt", "bayesopt"]


def search_of(name, **given):
    """The search of a plug-in, or of a sampler; skipped where its package is missing."""
    name, _, sampler = name.partition(" ")
    if sampler in optuna.NEEDS:
        pytest.importorskip(optuna.NEEDS[sampler])
        given |= {"sampler": sampler}
    given = {"space": SPACE} | given
    return importlib.import_module(f"recipe_jax.search.{name}").build(**given)


def asked(history, count, key=KEY, axes=AXES):
    return random.build().ask(history, key, axes, count)


def values(settings, path):
    return np.array([each[path] for each in settings])


def rounds(search, score, count, batch, key=KEY):
    history = []
    while len(history) < count:
        fresh = search.ask(history, key, search.axes, batch)
        history += [Told(each, score(each)) for each in fresh]
    return history


# --- Laws that every search keeps ------------------------------------------------------------


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_is_a_function_of_history_and_key(name):
    search = search_of(name)
    first = search.ask([], KEY, search.axes, 8)
    history = [Told(each, -float(i)) for i, each in enumerate(first)]
    again = search_of(name)
    assert again.ask([], KEY, search.axes, 8) == first
    assert search.ask(history, KEY, search.axes, 8) == again.ask(history, KEY, search.axes, 8)
    assert search.ask(history, jax.random.key(1), search.axes, 8) != search.ask(
        history, KEY, search.axes, 8
    )


@pytest.mark.parametrize("name", SEARCHES)
def test_settings_lie_on_their_axes_and_conditions_hold(name):
    given = {"rate_first": False} if name == "coarse_to_fine" else {}
    search = search_of(name, **given)
    settings = [told.settings for told in rounds(search, lambda s: s["model.width"], 24, 8)]
    assert {each["optim.name"] for each in settings} == {"adam", "sgd"}
    for each in settings:
        assert ("optim.momentum" in each) == (each["optim.name"] == "sgd")
        assert 1e-4 <= each["optim.learning_rate"] <= 1e-1
        assert type(each["model.width"]) is int and 8 <= each["model.width"] <= 256


@pytest.mark.parametrize("name", SEARCHES)
def test_within_a_batch_settings_keep_apart(name):
    search = search_of(name, space=(("a.b", "uniform", 0.0, 1.0), ("a.c", "uniform", 0.0, 1.0)))
    history = rounds(search, lambda s: -((s["a.b"] - 0.3) ** 2) - s["a.c"] ** 2, 16, 8)
    fresh = search.ask(history, KEY, search.axes, 8)
    points = np.array([[each["a.b"], each["a.c"]] for each in fresh])
    apart = [np.abs(a - b).max() for a, b in itertools.combinations(points, 2)]
    assert min(apart) > 1e-6


@pytest.mark.parametrize("name", SEARCHES)
def test_diverged_trials_break_nothing(name):
    search = search_of(name, space=SPACE[1:2])
    history = rounds(
        search,
        lambda s: float("nan") if s["optim.learning_rate"] > 1e-2 else s["optim.learning_rate"],
        16,
        8,
    )
    assert any(np.isnan(told.score) for told in history)
    nothing = [told._replace(score=float("nan")) for told in history]
    for each in (history, nothing):
        assert len(search.ask(each, KEY, search.axes, 4)) == 4


@pytest.mark.parametrize("name", SEARCHES)
def test_nothing_to_search_over_is_no_error(name):
    assert search_of(name, space=()).ask([], KEY, (), 3) == [{}, {}, {}]
    assert search_of(name).ask([], KEY, search_of(name).axes, 0) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_a_search_that_learns_beats_chance_on_axes_of_any_scale(name):
    """One axis runs over four decades, another over hundreds of units: a bowl on their scales."""

    def score(settings):
        off = (np.log10(settings["a.rate"]) + 2.3) / 4, (settings["a.size"] - 700) / 900
        return -sum(x**2 for x in off)

    space = (("a.rate", "log", 1e-5, 1e-1), ("a.size", "int", 100, 1000))
    learnt, drawn = [], []
    for seed in range(5):
        for found, which in ((learnt, name), (drawn, "random")):
            search = search_of(which, space=space)
            history = rounds(search, score, 32, 8, jax.random.key(seed))
            found.append(max(told.score for told in history))
    assert np.median(learnt) > np.median(drawn)


# --- Random ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["random", "sobol"])
@pytest.mark.parametrize(("first", "more"), [(8, 8), (1, 15), (15, 1), (0, 16)])
def test_asking_twice_is_asking_once(name, first, more):
    ask = search_of(name).ask
    whole = ask([], KEY, AXES, 16)
    begun = ask([], KEY, AXES, first)
    assert begun == whole[:first]
    assert ask([Told(each, 0.0) for each in begun], KEY, AXES, more) == whole[first : first + more]


def test_no_setting_comes_twice_and_all_are_floats():
    settings = asked([], 200)
    assert len({tuple(each.values()) for each in settings}) == 200
    assert {type(value) for each in settings for value in each.values()} == {float}


def test_values_follow_their_scale():
    settings = asked([], 2000)
    rates, rest = values(settings, "optim.learning_rate"), values(settings, "model.dropout")
    assert rates.min() >= 1e-4 and rates.max() <= 1e-1
    assert rest.min() >= 0.2 and rest.max() <= 0.5
    # Uniform in the logarithm, and uniform: neither is rejected at one in a thousand.
    assert stats.kstest(np.log10(rates), stats.uniform(-4, 3).cdf).pvalue > 1e-3
    assert stats.kstest(rest, stats.uniform(0.2, 0.3).cdf).pvalue > 1e-3
    # A third of a log axis of three decades is one decade; on a plain scale it is a hundredth.
    assert np.mean(rates < 1e-3) == pytest.approx(1 / 3, abs=0.04)
    assert abs(stats.spearmanr(rates, rest).statistic) < 0.08


def test_sobol_fills_the_space_more_evenly_than_chance():
    def empty(settings):
        rows = np.array([[axis.place(each[axis.path]) for axis in AXES] for each in settings])
        return len(np.unique((rows * 8).astype(int), axis=0))

    even = sobol.build().ask([], KEY, AXES, 64)
    assert empty(even) == 64 > empty(asked([], 64))


# --- Axes ------------------------------------------------------------------------------------


def test_places_on_an_axis_by_hand():
    log = Axis("a.b", "log", 1e-4, 1e-2)
    assert [log.value(u) for u in (0.0, 0.5, 1.0)] == pytest.approx([1e-4, 1e-3, 1e-2])
    plain = Axis("a.b", "uniform", -1.0, 3.0)
    assert [plain.value(u) for u in (0.0, 0.25, 1.0)] == [-1.0, 0.0, 3.0]
    whole = Axis("a.b", "int", 1, 4)
    assert [whole.value(u) for u in (0.0, 0.2, 0.3, 0.99, 1.0)] == [1, 1, 2, 4, 4]
    choice = Axis("a.b", "choice", choices=("x", (1, 2)))
    assert [choice.value(u) for u in (0.0, 0.49, 0.5, 1.0)] == ["x", "x", (1, 2), (1, 2)]


@pytest.mark.parametrize("axis", [*AXES, Axis("a.b", "int", 2, 9), Axis("a.b", "log_int", 1, 64)])
def test_a_place_is_that_of_its_value(axis):
    for unit in np.linspace(0, 1, 23):
        value = axis.value(float(unit))
        assert axis.value(axis.place(value)) == pytest.approx(value)


def test_whole_numbers_have_equal_parts_on_their_scale():
    axis = Axis("a.b", "int", 1, 5)
    counts = np.unique([axis.value(u) for u in np.linspace(0, 1, 5001)], return_counts=True)[1]
    assert np.ptp(counts) <= 2


def test_a_diverged_setting_counts_as_the_worst_one_seen():
    history = [Told({}, 0.5), Told({}, float("nan")), Told({}, -2.0), Told({}, -np.inf)]
    assert losses(history).tolist() == [-0.5, 2.0, 2.0, 2.0]
    assert losses([Told({}, float("nan"))]).tolist() == [0.0]


def test_the_space_of_a_config_is_read():
    axes = read_space(SPACE)
    assert axes[1] == Axis("optim.learning_rate", "log", 1e-4, 1e-1)
    assert axes[2].when == ("optim.name", ("sgd",)) and axes[3].whole and axes[3].log
    assert random.build(trials=7, space=SPACE).trials == 7 and random.build().axes == ()
    assert settings_at(axes, (0.0, 0.5, 0.5, 0.0)) == {
        "optim.name": "adam", "optim.learning_rate": pytest.approx(10**-2.5), "model.width": 8
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (("a.b", "log", 1.0), "no axis"),
        (("a.b", "gauss", 0.0, 1.0), "no axis"),
        ("a.b", "no axis"),
        (("ab", "log", 1e-3, 1.0), "no axis"),
        (("a.b", "log", "1e-4", 1.0), "no axis"),
        (("a.b", "choice", ()), "no axis"),
        (("a.b", "choice", "xy"), "no axis"),
        (("a.b", "choice", ("x", "x")), "twice"),
        (("a.b", "uniform", 1.0, 1.0), "empty range"),
        (("a.b", "uniform", 2.0, 1.0), "empty range"),
        (("a.b", "uniform", 0.0, float("inf")), "empty range"),
        (("a.b", "uniform", float("nan"), 1.0), "empty range"),
        (("a.b", "log", 0.0, 1.0), "log scale"),
        (("a.b", "log_int", 0, 8), "log scale"),
        (("a.b", "int", 0.5, 8), "whole numbers"),
        (("a.b", "uniform", 0.0, 1.0, 3), "condition"),
        (("a.b", "uniform", 0.0, 1.0, "c.d"), "condition"),
        (("a.b", "uniform", 0.0, 1.0, "c.d=e"), "must stand before it"),
    ],
)
def test_a_wrong_axis_is_refused_in_one_sentence(entry, told):
    with pytest.raises(UserError, match=told) as error:
        read_space((entry,))
    assert str(error.value).startswith("search.space: ") and "\n" not in str(error.value)


def test_an_axis_that_is_there_twice_is_refused():
    with pytest.raises(UserError, match="2 times"):
        read_space((("a.b", "log", 1e-3, 1.0), ("a.b", "uniform", 0.0, 1.0)))


def test_a_condition_needs_a_value_that_is_met():
    with pytest.raises(UserError, match=r"optim\.name=adagrad"):
        read_space((SPACE[0], ("a.b", "uniform", 0.0, 1.0, "optim.name=adagrad")))


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ((("optim.learning_rat", "log", 1e-4, 1e-1),), "did you mean optim.learning_rate"),
        ((("model.width", "uniform", 8, 64),), "write 'int' or 'log_int'"),
        ((("model.dropout", "int", 0, 1),), "write 'uniform' or 'log'"),
        ((("optim.name", "uniform", 0, 1),), "write 'choice'"),
        ((("model.dropout", "uniform", 0.5, 1.5),), "must be between 0 and 1"),
        ((("optim.name", "choice", ("adam", "adm")),), "no 'adm' in optim"),
        ((("train.batch_size", "int", 16, 10_000),), "more than the 90"),
        ((("train.epochs", "int", 1, 2),), "no setting 'train.epochs'"),
        ((("optim.momentum", "uniform", 0.0, 0.9),), "no setting 'optim.momentum'"),
    ],
)
def test_an_axis_must_be_a_setting_of_a_trial_and_stay_in_its_range(space, told):
    config = configs.as_dict(
        configs.complete({"data": {"name": "iris"}, "search": {"name": "random", "space": space}})
    )
    task = drive.load_task(config)
    with pytest.raises(UserError, match=told):
        drive.make_context(config, task, drive.make_objective(config, task))


def test_settings_of_another_plug_in_keep_what_both_have():
    config = configs.as_dict(configs.complete({"optim": {"name": "adamw", "learning_rate": 0.5}}))
    changed = configs.with_settings(config, {"optim.momentum": 0.3, "optim.name": "sgd"})
    assert changed["optim"]["name"] == "sgd" and changed["optim"]["momentum"] == 0.3
    assert changed["optim"]["learning_rate"] == 0.5 and "b1" not in changed["optim"]
    assert config["optim"]["name"] == "adamw"


def test_prefixes_agree_for_any_number_of_axes():
    for width, count in itertools.product((1, 3), (2, 9)):
        axes = tuple(Axis(f"a.{i}", "uniform", 0.0, 1.0) for i in range(width))
        assert asked([], count, axes=axes) == asked([], 11, axes=axes)[:count]


# --- Grids and lists -------------------------------------------------------------------------


def test_a_grid_by_hand():
    space = (
        ("optim.name", "choice", ("adam", "sgd")),
        ("optim.momentum", "uniform", 0.0, 0.9, "optim.name=sgd"),
        ("model.width", "int", 8, 10),
    )
    search = grid.build(points=3, space=space)
    assert search.trials == 3 + 3 * 3 and search.complete
    settings = search.ask([], KEY, search.axes, 100)
    assert settings[:3] == [{"optim.name": "adam", "model.width": w} for w in (8, 9, 10)]
    assert settings[-1] == {"optim.name": "sgd", "optim.momentum": 0.9, "model.width": 10}
    assert (
        search.ask([Told(each, 0.0) for each in settings[:5]], KEY, search.axes, 2)
        == (settings[5:7])
    )
    log = grid.build(points=3, space=(("a.b", "log", 1e-4, 1e-2),))
    assert values(log.ask([], KEY, log.axes, 3), "a.b") == pytest.approx([1e-4, 1e-3, 1e-2])


def test_a_grid_too_large_is_refused_before_it_is_made():
    space = tuple((f"a.b{i}", "uniform", 0.0, 1.0) for i in range(20))
    with pytest.raises(UserError, match=r"95367431640625 points.*search.max_trials=4096"):
        grid.build(points=5, space=space)
    with pytest.raises(UserError, match=r"set search\.space"):
        grid.build()


def test_listed_settings_are_what_the_file_says():
    search = listed.build(settings=((("a.b", 1), ("a.c", 2.0)), (("a.b", 3),)))
    assert search.trials == 2 and search.complete
    assert search.ask([], KEY, (), 2) == [{"a.b": 1, "a.c": 2.0}, {"a.b": 3}]
    with pytest.raises(UserError, match="twice"):
        listed.build(settings=((("a.b", 1),), (("a.b", 1),)))
    with pytest.raises(UserError, match="no setting"):
        listed.build(settings=(("a.b",),))
    with pytest.raises(UserError, match="def sweep"):
        listed.build()


def test_a_sampler_whose_package_is_missing_says_what_to_install(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install cmaes"):
        optuna.build(sampler="cmaes")


@pytest.mark.parametrize("name", ["hyperopt", "bayesopt"])
def test_a_search_whose_package_is_missing_says_what_to_install(name, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, {"bayesopt": "bayes_opt"}.get(name, name), None)
    with pytest.raises(UserError, match="pip install"):
        search_of(name)
