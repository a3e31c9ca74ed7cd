"""Decisions between settings: what is kept, over how many seeds, and how often for nothing."""

import json
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from test_stages import context_of, result_of

from recipe_jax import config as configs
from recipe_jax.app import console, drive
from recipe_jax.app.signals import Signals
from recipe_jax.models import mlp
from recipe_jax.recipe import deciding
from recipe_jax.recipe.base import Interval
from recipe_jax.recipe.deciding import Change
from recipe_jax.resolve import NonNegative
from recipe_jax.types import Decision, Trials

EXAMPLES = 60


def decided(world, changes=1, *, kind="classification", seeds=4, looks=2, diverged=()):
    """A decision on made-up scores: world(name of the change, seed, draw) -> (examples,)."""
    context = context_of(kind, recipe={"seeds": seeds, "looks": looks})
    tried = [Change(f"change {i}", {"model.dropout": (i + 1) / 10}) for i in range(changes)]
    names = {each.settings["model.dropout"]: each.name for each in tried} | {0.0: "none"}
    base = Change("none", {"model.dropout": 0.0})
    asked = []
    generator, answer = deciding.decide(context, tried, base=base, label="them"), None
    while True:
        try:
            request = generator.send(answer)
        except StopIteration as end:
            return types.SimpleNamespace(
                asked=asked,
                context=context,
                finding=deciding.finding(context, end.value, base=base, check="x", row="REG11"),
                **end.value._asdict(),
                kept=[each.change.name for each in end.value.kept],
            )
        if isinstance(request, Trials):
            asked.append(request)
            answer = [
                result_of(
                    trial,
                    status="diverged"
                    if (names[trial.settings["model.dropout"]], trial.seed) in diverged
                    else "done",
                )
                for trial in request.trials
            ]
        else:
            answer = np.stack(
                [
                    world(
                        names[result.trial.settings["model.dropout"]],
                        result.trial.seed,
                        np.random.default_rng(result.trial.seed),
                    )
                    for result in request.results
                ]
            )


def noisy(gains, *, of_seed=0.0, of_example=0.0, of_both=0.02, level=0.8):
    """Scores whose differences scatter by seed, by example, and by both; the same at every call."""

    def world(name, seed, draw):
        common = np.random.default_rng(7).uniform(-0.1, 0.1, EXAMPLES) + level
        if name == "none":
            return common
        number = int(name.split()[1])
        own = np.random.default_rng([number, seed])
        by_example = np.random.default_rng(number).normal(size=EXAMPLES) * of_example
        by_both = own.normal(size=EXAMPLES) * of_both
        return common + gains[number] + own.normal() * of_seed + by_example + by_both

    return world


def test_an_interval_by_hand():
    # Rows have means 2 and 6, columns 3 and 5, and nothing remains: mean squares 16, 4 and 0.
    found = deciding.crossed_interval(np.array([[1.0, 3.0], [5.0, 7.0]]))
    half = stats.t.ppf(0.975, 20**2 / (16**2 + 4**2)) * np.sqrt(20 / 4)
    assert found.mean == 4.0
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half))


def test_without_a_spread_over_examples_it_is_students_interval_over_seeds():
    rows = np.array([0.1, 0.3, 0.2, 0.6])
    found = deciding.crossed_interval(np.repeat(rows[:, None], 9, 1))
    half = stats.t.ppf(0.975, 3) * rows.std(ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half))
    alone = deciding.crossed_interval(rows[:, None])
    assert (alone.low, alone.high) == pytest.approx((0.3 - half, 0.3 + half))


def test_one_seed_tells_nothing():
    found = deciding.crossed_interval(np.ones((1, 50)))
    assert (found.low, found.high) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("of_seed", "of_example", "of_both"),
    [(0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.3, 2.0, 1.0), (1.0, 2.0, 0.2)],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(of_seed, of_example, of_both):
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        differences = draw.normal(size=(5, 1)) * of_seed + draw.normal(size=(1, 40)) * of_example
        differences = differences + draw.normal(size=(5, 40)) * of_both
        found = deciding.crossed_interval(differences)
        held += found.low <= 0.0 <= found.high
    assert held >= 0.925 * 400, held


def test_a_real_effect_is_kept_and_the_best_strength_comes_first():
    found = decided(noisy([0.0, 0.06, 0.1]), changes=3)
    assert found.kept == ["change 2", "change 1"]
    assert found.finding.evidence["kept"] == [False, True, True]
    assert "2 kept" in found.finding.summary and "change 2, gains +0.1" in found.finding.summary


def test_a_gain_has_the_digits_of_its_score():
    told = deciding.signed
    assert told(Interval(0.0213, -0.001, 0.0436), 0.95) == "+0.0213 [-0.0010, +0.0436]"
    assert told(Interval(3e-8, -1e-8, 7e-8), 4e-6) == "+3.00e-08 [-1.00e-08, +7.00e-08]"
    assert told(Interval(5e17, -1e18, 2e18), 1e19) == "+5.00e+17 [-1.00e+18, +2.00e+18]"
    small = decided(noisy([0.5]), changes=1).finding.summary
    assert re.search(r"The best, change 0, gains \+0\.\d{4} \[", small)
    large = decided(noisy([-300.0], of_both=1.0, level=2500.0), changes=1).finding.summary
    assert re.search(r"The best, change 0, brings -\d+\.\d \[-\d+\.\d, -\d+\.\d\]", large)


def test_an_effect_on_these_very_examples_alone_is_not_kept():
    """Every seed gains the same, but ten examples make it all: others could have been drawn."""

    def world(name, seed, draw):
        scores = np.full(EXAMPLES, 0.5)
        if name != "none":
            scores[:10] += 0.5
            scores[10:20] -= 0.3
        return scores + draw.normal(size=EXAMPLES) * 0.01

    assert decided(world).kept == []


def test_a_harmful_change_or_a_gain_too_small_to_matter_is_dropped_at_the_first_look():
    for gain in (-0.1, 1e-4):
        found = decided(noisy([gain], of_both=1e-4))
        assert found.kept == [] and len(found.asked) == 1
        assert found.least == pytest.approx(0.005 * 0.8, rel=0.1)
        assert "no difference found" in found.finding.summary


def test_a_spread_out_score_needs_more_than_a_tenth_of_its_error():
    context = context_of()
    scores = np.tile(np.linspace(-1, 1, 100) * 10 + 0.5, (3, 1))
    error = scores[0].std() / 10
    assert deciding.smallest_gain(context, scores) == pytest.approx(0.1 * error)


def test_less_error_is_a_gain():
    def world(name, seed, draw):
        return 9.0 - 3.0 * (name != "none") + draw.normal(size=EXAMPLES) * 0.1

    found = decided(world, kind="regression")
    assert found.kept == ["change 0"] and found.score == pytest.approx(9.0, abs=0.1)
    assert decided(lambda *given: -world(*given), kind="regression").kept == []


def test_only_open_changes_get_more_seeds():
    # Clear, clearly nothing, and one whose interval is too wide for four seeds.
    found = decided(noisy([0.5, -0.5, 0.05], of_both=0.08, of_seed=0.02), changes=3)
    first, second = found.asked
    assert [trial.seed for trial in first.trials] == [100, 101, 102, 103] * 4
    assert [trial.seed for trial in second.trials] == [104, 105, 106, 107] * 2
    assert {trial.settings["model.dropout"] for trial in second.trials} == {0.0, 0.3}
    assert [len(each.by_seed) for each in found.verdicts] == [4, 4, 8]
    assert found.seeds == 8


def test_seeds_that_cannot_decide_are_not_trained():
    """The examples leave it open: a thousand seeds more would ask the same ones."""
    found = decided(noisy([0.02], of_both=1e-3, of_example=0.3))
    assert found.kept == [] and len(found.asked) == 1


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_useless_changes_are_kept_in_at_most_five_percent(seeds):
    kept = 0
    for number in range(100):

        def world(name, seed, draw, number=number):
            own = np.random.default_rng([number, seed, len(name), ord(name[-1])])
            return (own.uniform(size=EXAMPLES) < 0.8).astype(float)

        kept += bool(decided(world, changes=6, seeds=seeds, looks=3).kept)
    assert kept <= 5, kept


def test_useless_changes_that_move_one_example_are_kept_in_at_most_five_percent():
    """Accuracies: a run gains or loses one example, often the same one as the other seeds."""
    kept = 0
    for number in range(100):

        def world(name, seed, draw, number=number):
            scores = np.ones(EXAMPLES)
            scores[:5] = 0.0
            own = np.random.default_rng([number, seed, len(name), ord(name[-1])])
            scores[3] = own.uniform() < 0.7
            scores[9] = own.uniform() < 0.5
            return scores

        kept += bool(decided(world, changes=6, seeds=3).kept)
    assert kept <= 5, kept


def test_a_diverged_change_is_not_kept_and_a_diverged_base_raises_nothing():
    same = noisy([0.3])
    everywhere = [(name, 100 + i) for name in ("none", "change 0") for i in range(8)]
    assert decided(same, diverged=[("change 0", 101)], looks=1).kept == []
    assert decided(same, diverged=everywhere).kept == []
    found = decided(same, diverged=[("none", 100 + i) for i in range(8)])
    assert np.isnan(found.score)


# --- On real trainings ------------------------------------------------------------------------


def drawn_again(spec, /, *, draw: NonNegative = 0.0):
    """A small network whose `draw` decides which initial weights it has, and nothing else."""
    model = mlp.build(spec, width=16, depth=1)
    number = jnp.asarray(draw, jnp.float32).astype(jnp.uint32)
    return model._replace(init=lambda key: model.init(jax.random.fold_in(key, number)))


USELESS = [
    *(Change(f"draw {i}", {"model.draw": float(i)}) for i in range(1, 6)),
    Change("decay 1e-9", {"optim.weight_decay": 1e-9}),
]
USEFUL = [Change("rate 1e-2", {"optim.learning_rate": 1e-2})]


def real_decisions(workdir, seed):
    """What is kept of the useless changes and of the useful one, on real trainings on a split and
    with a seed of their own, through the driver."""
    base = Change("none", {"optim.learning_rate": 1e-2})
    slow = Change("rate 1e-4", {"optim.learning_rate": 1e-4})

    def run(context):
        found = yield from deciding.decide(context, USELESS, base=base, label="useless")
        yield deciding.finding(context, found, base=base, check="useless", row="REG11")
        if seed == 0:
            found = yield from deciding.decide(context, USEFUL, base=slow, label="useful")
            yield deciding.finding(context, found, base=slow, check="useful", row="REG11")
        return Decision(summary="Told.")

    stage = types.SimpleNamespace(
        __name__="decisions", EXPECTS="Nothing.", run=run, planned=lambda context: []
    )
    config = {
        "seed": seed,
        "data": {"name": "digits", "max_examples": 500, "split_seed": seed},
        "model": {"name": f"{__name__}:drawn_again"},
        "train": {"batch_size": 32, "epochs": 6, "evaluations": 3},
        "recipe": {"seeds": 3},
    }
    code = drive.execute(
        what="train",
        stages=(stage,),
        config=configs.as_dict(configs.complete(config)),
        overrides={},
        workdir=workdir,
        argv=[],
        console=console.Console(),
    )
    assert code == 0
    return {
        each["check"]: each["evidence"]
        for each in json.loads((workdir / "findings.json").read_text())
    }


@pytest.mark.slow
def test_useless_changes_to_real_trainings_are_kept_at_most_once_in_twenty(tmp_path, monkeypatch):
    """Other initial weights change every bit and nothing that matters: runs differ as seeds do."""
    monkeypatch.setattr(Signals, "install", lambda self: None)
    told = [real_decisions(tmp_path / str(seed), seed) for seed in range(20)]
    kept = [seed for seed, each in enumerate(told) if any(each["useless"]["kept"])]
    assert len(kept) <= 1, kept
    # It can be seen that they change something, and something that matters is kept.
    gains = np.array([each["useless"]["difference"][:5] for each in told])
    assert (gains != 0.0).mean() > 0.9 and (gains > 0.0).any(0).all() and (gains < 0.0).any(0).all()
    assert told[0]["useful"]["kept"] == [True]
