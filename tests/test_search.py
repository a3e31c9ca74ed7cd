"""Random search: a function of the key, one sequence, and the distributions that were asked for."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from recipe_jax import config as configs
from recipe_jax.app import drive
from recipe_jax.search import random
from recipe_jax.search.base import Axis, read_space
from recipe_jax.types import UserError

KEY = jax.random.key(0)
AXES = (
    Axis("optim.learning_rate", 1e-4, 1e-1, True),
    Axis("model.dropout", 0.2, 0.5, False),
)


def asked(history, count, key=KEY, axes=AXES):
    return random.build().ask(history, key, axes, count)


def values(settings, path):
    return np.array([each[path] for each in settings])


def test_the_same_key_gives_the_same_settings_and_another_key_others():
    assert asked([], 10) == asked([], 10)
    assert asked([], 10) != asked([], 10, jax.random.key(1))


@pytest.mark.parametrize(("first", "more"), [(8, 8), (1, 15), (15, 1), (0, 16)])
def test_asking_twice_is_asking_once(first, more):
    whole = asked([], 16)
    begun = asked([], first)
    assert begun == whole[:first]
    assert asked(begun, more) == whole[first : first + more]


def test_only_the_length_of_the_history_counts():
    assert asked(["anything", None], 5) == asked([{}, {}], 5)


def test_nothing_asked_is_nothing_given():
    assert asked([], 0) == [] and asked(["one"], 0) == []
    assert asked([], 3, axes=()) == [{}, {}, {}]


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


def test_places_on_an_axis_by_hand():
    log = Axis("a", 1e-4, 1e-2, True)
    assert [log.value(u) for u in (0.0, 0.5, 1.0)] == pytest.approx([1e-4, 1e-3, 1e-2])
    plain = Axis("a", -1.0, 3.0, False)
    assert [plain.value(u) for u in (0.0, 0.25, 1.0)] == [-1.0, 0.0, 3.0]


def test_the_space_of_a_config_is_read():
    space = (("optim.learning_rate", "log", 1e-4, 1), ("model.dropout", "uniform", 0, 0.5))
    search = random.build(trials=7, space=space)
    assert search.trials == 7
    assert search.axes == (
        Axis("optim.learning_rate", 1e-4, 1.0, True),
        Axis("model.dropout", 0.0, 0.5, False),
    )
    assert random.build().axes == ()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (("a.b", "log", 1.0), "no axis"),
        (("a.b", "gauss", 0.0, 1.0), "no axis"),
        ("a.b", "no axis"),
        (("a.b", "log", "1e-4", 1.0), "no axis"),
        (("a.b", "uniform", 1.0, 1.0), "empty range"),
        (("a.b", "uniform", 2.0, 1.0), "empty range"),
        (("a.b", "uniform", 0.0, float("inf")), "empty range"),
        (("a.b", "uniform", float("nan"), 1.0), "empty range"),
        (("a.b", "log", 0.0, 1.0), "log scale"),
        (("a.b", "log", -1.0, 1.0), "log scale"),
    ],
)
def test_a_wrong_axis_is_refused_in_one_sentence(entry, told):
    with pytest.raises(UserError, match=told) as error:
        read_space((entry,))
    assert str(error.value).startswith("search.space: ")


def test_an_axis_that_is_there_twice_is_refused():
    with pytest.raises(UserError, match="2 times"):
        read_space((("a.b", "log", 1e-3, 1.0), ("a.b", "uniform", 0.0, 1.0)))


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ((("optim.learning_rat", "log", 1e-4, 1e-1),), "did you mean optim.learning_rate"),
        ((("model.width", "uniform", 8, 64),), "only floats"),
        ((("model.dropout", "uniform", 0.5, 1.5),), "must be between 0 and 1"),
        ((("train.epochs", "uniform", 1, 2),), "no 'train.epochs'"),
    ],
)
def test_an_axis_must_be_a_float_of_the_step_and_stay_in_its_range(space, told):
    config = configs.as_dict(
        configs.complete({"data": {"name": "iris"}, "search": {"name": "random", "space": space}})
    )
    task = drive.load_task(config)
    with pytest.raises(UserError, match=told):
        drive.make_context(config, task, drive.make_objective(config, task))


def test_prefixes_agree_for_any_number_of_axes():
    for width, count in itertools.product((1, 3), (2, 9)):
        axes = tuple(Axis(f"a.{i}", 0.0, 1.0, False) for i in range(width))
        assert asked([], count, axes=axes) == asked([], 11, axes=axes)[:count]
