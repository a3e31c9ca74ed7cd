"""The ensembles of stage squeeze: what is trained for them, which becomes the model, and why."""

import dataclasses

import numpy as np
import pytest
from test_stages import CANDIDATES, Fake, context_of, driven, healthy, result_of

from recipe_jax import ensemble, writers
from recipe_jax.recipe import blending, calibrating, members, squeeze
from recipe_jax.recipe.members import LINEAR, SEEDS, SETTINGS, SNAPSHOTS, Pool
from recipe_jax.report import figures
from recipe_jax.types import Finding, Split, Status, Trial, Trials

EXAMPLES = 300


def answered(generator, context, world=healthy):
    """(what was asked, what was found, what came of it)."""
    fake, answer = Fake(context, world), None
    while True:
        try:
            request = generator.send(answer)
        except StopIteration as end:
            return fake.requests, fake.findings, end.value
        answer = None
        if isinstance(request, Finding):
            fake.findings.append(request)
        else:
            fake.requests.append(request)
            answer = fake.answer(request)


# --- What is trained ---------------------------------------------------------------------------


def test_the_pool_holds_seeds_settings_snapshots_and_a_linear_model():
    context = context_of(carried={"model.width": 8, "optim.learning_rate": 1e-2})
    asked, _, pool = answered(members.train(context), context)
    assert pool.ways == [SEEDS] * 3 + [SETTINGS] * 3 + [LINEAR] + [SNAPSHOTS] * 5
    assert pool.trainings == {SEEDS: 3, SETTINGS: 3 + 3 * 5, LINEAR: 1, SNAPSHOTS: 1}
    assert len({result.trial.seed for result in pool.results[:6]}) == 6
    (linear,) = pool.of(LINEAR)
    assert linear.trial.settings == {"optim.learning_rate": 1e-2, "model.name": "linear"}
    assert [each.label for each in asked] == ["folds", "members", *["snapshots"] * 5]


def test_settings_are_chosen_by_what_folds_say_and_not_by_the_search():
    """The search's first is the worst on data that it did not see."""

    def world(trial, request):
        score = {1e-2: 0.7, 5e-3: 0.8, 2e-2: 0.9}[trial.settings["optim.learning_rate"]]
        return {"score": score}

    context = context_of()
    (asked,), (found,), kept = answered(members.best_settings(context), context, world)
    assert kept == [CANDIDATES[2], CANDIDATES[1]]
    assert [trial.fold for trial in asked.trials] == [(i, 5) for i in range(5)] * 3
    assert {trial.seed for trial in asked.trials} == {members.FOLD_SEED}
    assert found.evidence["places"] == [3, 2, 1]
    assert found.evidence["kept"] == [True, True, False]
    assert "from 0.8999 to 0.6999; setting 1, which goes on, is number 3" in found.summary


def test_the_snapshots_are_one_run_that_pauses_at_the_end_of_every_cycle():
    context = context_of(carried={"schedule.name": "warmup_cosine", "schedule.warmup": 0.1})
    asked, _, taken = answered(members.snapshots(context), context)
    assert len(asked) == len(taken) == 5
    assert all(request.trials == asked[0].trials for request in asked)
    (trial,) = asked[0].trials
    assert dict(trial.settings) == {
        **{"schedule.name": "cosine", "schedule.cycles": 5, "train.patience": None}
    }
    assert [len(request.after) for request in asked] == [0, 1, 1, 1, 1]
    for request in asked:
        assert request.keep == "last" and request.evaluations % 5 == 0
        every = request.evaluations // 5
        assert request.pauses == tuple(every * number for number in (1, 2, 3, 4))


@pytest.mark.parametrize(("epochs", "evaluations"), [(1, None), (3, 7), (20, 50), (1, 3)])
def test_cycles_are_whole_whatever_the_length(epochs, evaluations):
    context = context_of(train={"epochs": epochs, "evaluations": evaluations})
    rounds, cycles = members._cycles(context)
    assert rounds % cycles == 0 and 2 <= cycles <= 5
    assert rounds <= epochs * 120 / 10


def test_what_there_is_not_is_not_trained():
    none = {"recipe": {"members": 2, "folds": 0, "snapshots": 1}}
    context = context_of(model={"name": "linear"}, **none)
    asked, found, pool = answered(members.train(context), context)
    assert pool.ways == [SEEDS] * 2 and not found
    assert [each.label for each in asked] == ["members"]
    context = context_of()._replace(candidates=())
    asked, found, kept = answered(members.best_settings(context), context)
    assert (asked, found, kept) == ([], [], [])


def test_text_has_no_folds_and_no_linear_model():
    context = context_of()
    spec = dataclasses.replace(context.task.spec, kind="next_token")
    context = context._replace(task=dataclasses.replace(context.task, spec=spec))
    assert members._candidates(context) == 0 and not members.has_linear(context)


# --- Highway -----------------------------------------------------------------------------------


def two_layers(gain=0.0, carried=None):
    context = context_of(model={"name": "mlp", "width": 8, "depth": 2}, carried=carried)

    def world(trial, request):
        better = gain * (trial.settings.get("model.block") == "highway")
        return healthy(trial, request) | {"score": 0.8 + better}

    return driven(squeeze, context, world)


def test_highway_layers_are_kept_where_they_help_and_all_members_have_them():
    fake, decision = two_layers(gain=0.1)
    found = fake.of("highway")
    assert found.evidence["kept"] == [True] and found.row == "SQZ3 ENV5"
    later = [each for each in fake.requests if isinstance(each, Trials) and each.label != "highway"]
    blocks = {t.settings.get("model.block") for each in later for t in each.trials}
    assert blocks == {"highway", None}  # the linear model has none
    assert all(each.trial.settings["model.block"] == "highway" for each in decision.model.members)


def test_highway_layers_that_do_not_help_are_dropped_or_not_tried():
    fake, decision = two_layers()
    assert fake.of("highway").evidence["kept"] == [False]
    assert not any("model.block" in each.trial.settings for each in decision.model.members)
    for carried in ({"model.block": "residual"}, {"model.depth": 1}):
        fake, _ = two_layers(carried=carried)
        assert not [each for each in fake.findings if each.check == "highway"]


def test_the_plan_counts_the_highway():
    context = context_of(model={"name": "mlp", "width": 8, "depth": 2})
    plain = context_of()
    more = sum(p.lanes for p in squeeze.planned(context)) - sum(
        p.lanes for p in squeeze.planned(plain)
    )
    assert more == 2 * context.recipe.seeds


# --- Which becomes the model -------------------------------------------------------------------


def pool_of(ways):
    results = [result_of(Trial(seed=i)) for i in range(len(ways))]
    return Pool(results, ways, {SEEDS: 3, SETTINGS: 18, SNAPSHOTS: 1, LINEAR: 1})


def choice(skills, ways, kind="classification", seed=0, alike=0.0):
    """What is chosen among models that see so much of the truth; alike: the part of their noise
    that all have in common."""
    draw = np.random.default_rng(seed)
    context = context_of(kind)
    if kind == "regression":
        targets = draw.normal(size=(EXAMPLES, 1)).astype(np.float32)
        noise = draw.normal(size=(len(skills), EXAMPLES, 1))
        noise = alike * draw.normal(size=(EXAMPLES, 1)) + (1 - alike) * noise
        outputs = targets + noise / np.array(skills)[:, None, None]
    else:
        targets = draw.integers(0, 2, EXAMPLES).astype(np.int32)
        outputs = (1 - alike) * draw.normal(size=(len(skills), EXAMPLES, 2))
        outputs += alike * draw.normal(size=(EXAMPLES, 2))
        outputs[:, np.arange(EXAMPLES), targets] += np.array(skills)[:, None]
    split = Split(np.zeros((EXAMPLES, 4)), targets, np.arange(EXAMPLES))
    pool, outputs = pool_of(ways), outputs.astype(np.float32)
    return pool, outputs, split, *blending.choose(context, pool, outputs, split)


WAYS = [SEEDS] * 3 + [SETTINGS] * 3 + [SNAPSHOTS] * 2 + [LINEAR]


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_where_all_are_alike_the_seeds_go_on(kind):
    taken = [choice((1.0,) * 9, WAYS, kind, seed, alike=0.95)[3].name for seed in range(4)]
    assert taken.count("3 seeds") >= 3, taken


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_what_is_surely_better_takes_the_seeds_place(kind):
    skills = (0.5,) * 3 + (3.0,) * 3 + (0.5,) * 3
    _, _, _, chosen, found = choice(skills, WAYS, kind)
    assert set(chosen.places) & {3, 4, 5} and found.evidence["chosen"] != 1
    place = found.evidence["chosen"]
    assert found.evidence["low"][place] > found.evidence["smallest_gain"]
    blend = chosen.model
    assert [each.trial.seed for each in blend.members] == chosen.places.tolist()
    if blend.shares:
        assert sum(blend.shares) == pytest.approx(1.0) and min(blend.shares) > 0.0


def test_costs_stand_beside_gains():
    _, _, _, _, found = choice((1.0,) * 9, WAYS)
    evidence = found.evidence
    assert evidence["ways"] == [
        *("one model", SEEDS, SETTINGS, SNAPSHOTS, "greedy blend", "ridge blend")
    ]
    assert evidence["trainings"] == [1, 3, 18, 1, 23, 23]
    assert evidence["predictions"][:4] == [1, 3, 3, 2]
    for place, name in ((4, "greedy blend"), (5, "ridge blend")):
        shares = np.array(evidence["shares"][name])
        assert shares.sum() == pytest.approx(1.0)
        assert evidence["predictions"][place] == (shares > 0).sum()
    assert evidence["difference"][1] == 0.0 and evidence["difference"][0] < 0.0
    assert "3 seeds" in found.summary and "(18 / 3)" in found.summary


def test_blends_of_noise_are_not_taken():
    """Twenty coins: what is fitted to them seems to gain, and is judged where it was not fitted."""
    ways = [SEEDS] * 3 + [SETTINGS] * 17
    taken = [choice((0.0,) * 20, ways, seed=seed)[3].name for seed in range(5)]
    assert taken.count("3 seeds") >= 4, taken


def test_a_model_that_broke_is_in_no_blend():
    pool, outputs, split, _, _ = choice((2.0,) * 9, WAYS)
    outputs[[4, 7]] = np.nan
    tried = blending.ensembles(pool, outputs, split.targets, "classification")
    for each in tried:
        assert not {4, 7} & set(each.places) and np.isfinite(each.outputs).all()
    # One snapshot alone is no ensemble.
    assert [each.name for each in tried] == [SEEDS, SETTINGS, "greedy blend", "ridge blend"]


def test_one_seed_alone_goes_on_alone():
    _, _, _, chosen, found = choice((1.0,), [SEEDS])
    assert chosen.name == "1 seed" and found.evidence["names"] == ["one model", "1 seed"]
    assert found.status == Status.PASS


def test_the_outputs_of_the_chosen_are_those_of_its_model():
    _, outputs, _, chosen, _ = choice((1.0,) * 9, WAYS)
    mean = ensemble.average(outputs[chosen.places], "classification")
    np.testing.assert_allclose(chosen.outputs, mean, rtol=1e-6)


# --- Calibration -------------------------------------------------------------------------------


def judged(scale, seed=0, count=600):
    draw = np.random.default_rng(seed)
    logits = 2 * draw.normal(size=(count, 3))
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    targets = (shares.cumsum(-1) > draw.uniform(size=(count, 1))).argmax(-1).astype(np.int32)
    split = Split(np.zeros((count, 1)), targets, np.arange(count))
    return calibrating.temperature(context_of(), (scale * logits).astype(np.float32), split)


@pytest.mark.parametrize("scale", [0.4, 4.0])
def test_a_temperature_that_helps_goes_into_the_model(scale):
    found, finding = judged(scale)
    assert found == pytest.approx(scale, rel=0.15) and finding.evidence["kept"]
    before, after = finding.evidence["error"]
    assert after < before
    assert ("too sure" in finding.summary) == (scale > 1)


def test_a_model_that_is_calibrated_stays_as_it_is():
    kept = [judged(1.0, seed)[0] != 1.0 for seed in range(20)]
    assert sum(kept) <= 2, kept
    finding = judged(1.0)[1]
    assert "left out" in finding.summary


def test_the_spread_of_members_that_agree_covers_little():
    draw = np.random.default_rng(0)
    targets = draw.normal(size=(500, 1)).astype(np.float32)
    alike = np.zeros((4, 500, 1), np.float32) + 0.05 * draw.normal(size=(4, 500, 1))
    split = Split(np.zeros((500, 1)), targets, np.arange(500))
    members_, mean = alike.astype(np.float32), alike.mean(0).astype(np.float32)
    found = calibrating.coverage(context_of("regression"), members_, mean, split, ())
    alone, together = (np.array(each) for each in found.evidence["covered"])
    at = found.evidence["levels"].index(0.95)
    assert alone[at] < 0.2 and together[at] == pytest.approx(0.95, abs=0.03)
    assert found.evidence["deviation"] == pytest.approx(1.0, abs=0.1)


# --- Figures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_every_finding_of_the_stage_is_drawn_from_what_is_written(kind):
    fake, _ = driven(squeeze, context_of(kind, model={"name": "mlp", "width": 8, "depth": 2}))
    checks = {"highway", "fold_scores", "ensembles"}
    checks.add("calibration" if kind == "classification" else "coverage")
    for check in checks:
        assert figures.draw(check, writers.plain(fake.of(check))["evidence"]), check
