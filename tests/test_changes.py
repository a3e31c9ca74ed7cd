"""One change at a time in stage overfit: named changes, the safe default, batch sizes, clipping."""

import dataclasses

import numpy as np
import pytest
from test_stages import context_of, driven, result_of

from recipe_jax.app import drive
from recipe_jax.recipe import (
    ablation,
    architecture,
    batch_size,
    gradient_norms,
    overfit,
    safe_default,
)
from recipe_jax.resolve import plugins
from recipe_jax.types import Finding, Status, Trial, Trials, UserError


def helped(gains):
    """A world in which a trial scores 0.8, and what the first setting that it has brings:
    gains ("section.key", value) -> gain."""

    def world(trial, request):
        gain = sum(g for (path, value), g in gains.items() if trial.settings.get(path) == value)
        return {"score": 0.8 + gain, "train": 0.1}

    return world


def asked(fake, label):
    return [each for each in fake.requests if isinstance(each, Trials) and each.label == label]


class Part:
    """A part of a stage, to be driven alone."""

    def __init__(self, run):
        self.run = run


# --- Named changes ---------------------------------------------------------------------------


def test_changes_are_read_as_they_are_written():
    first, second, third = ablation.read(
        ("optim.name=lion  optim.learning_rate=1e-4", "model.channels=(16, 32)", "optim.x=true")
    )
    assert first == ("optim.name=lion optim.learning_rate=1e-4", first.settings, {})
    assert first.settings == {"optim.name": "lion", "optim.learning_rate": 1e-4}
    assert second.settings == {"model.channels": (16, 32)}
    assert third.settings == {"optim.x": True}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("deeper",), "recipe.changes: 'deeper' is no change; write 'model.depth=3'"),
        (("",), "recipe.changes: '' is no change"),
        (("model.depth=3", "model.depth=3 "), "is there twice"),
        (("model.depth=3 model.depth=4",), "sets model.depth twice"),
        (("model.depht=3",), "did you mean model.depth?"),
        (("train.epochs=3",), "no setting 'train.epochs' of a trial"),
        (("model.depth=three",), "config.model.depth='three' is of type str"),
        (("model.dropout=1.5",), "config.model.dropout=1.5 is out of range"),
        (("optim.name=addam",), "did you mean adam?"),
        (("optim.name=sgd optim.b1=0.9",), "no setting 'optim.b1' of a trial"),
        (("train.batch_size=1000",), "train.batch_size=1000 is more than the 120"),
        (("model.name=cnn",), "needs images"),
    ],
)
def test_a_change_that_cannot_be_is_refused_before_anything_trains(changes, told):
    context = context_of(recipe={"changes": changes})
    with pytest.raises(UserError) as refused:
        drive.make_context(context.config, context.task, context.objective)
    assert told in str(refused.value) and "\n" not in str(refused.value)


def test_named_changes_are_tried_alone_and_kept_ones_upon_one_another():
    changes = ("model.depth=2", "model.dropout=0.1", "optim.name=lion", "model.depth=3")
    gains = {("model.depth", 2): 0.1, ("model.dropout", 0.1): 0.05, ("model.depth", 3): 0.03}
    context = context_of(recipe={"changes": changes})
    fake, decision = driven(overfit, context, helped(gains))
    (alone,) = asked(fake, "changes")
    by_change = [alone.trials[i : i + 3] for i in range(0, 15, 3)]
    assert all([t.seed for t in each] == [100, 101, 102] for each in by_change)
    assert [each[0].settings.get("model.depth") for each in by_change] == [None, 2, None, None, 3]
    ledger = fake.of("changes")
    assert ledger.evidence["kept"] == [True, True, False, True] and "FIT4" in ledger.row
    # Depth 3 sets what depth 2 has set, and is not tried upon it.
    (upon,) = asked(fake, "model.dropout=0.1, upon others")
    assert {trial.settings["model.depth"] for trial in upon.trials} == {2}
    assert decision.settings["model.depth"] == 2 and decision.settings["model.dropout"] == 0.1
    assert fake.of("changes_together").evidence["kept"] == [True]


def test_what_helps_alone_and_not_upon_others_is_left():
    def world(trial, request):
        either = trial.settings["model.dropout"] == 0.1 or trial.settings.get("model.depth") == 2
        return {"score": 0.9 if either else 0.8}

    context = context_of(recipe={"changes": ("model.depth=2", "model.dropout=0.1")})
    fake, decision = driven(overfit, context, world)
    assert decision.settings["model.depth"] == 2 and "model.dropout" not in decision.settings
    assert fake.of("changes_together").evidence["kept"] == [False]


def test_without_names_a_layer_less_and_a_layer_more_are_tried():
    context = context_of(model={"depth": 2})
    fake, decision = driven(overfit, context)
    assert fake.of("changes").evidence["names"] == ["depth 1", "depth 3"]
    assert "REG5" in fake.of("changes").row and "model.depth" not in decision.settings
    assert [each.name for each in ablation.changes_of(context_of())] == ["depth 2"]
    _, decision = driven(overfit, context, helped({("model.depth", 1): 0.1}))
    assert decision.settings["model.depth"] == 1


def test_what_stands_already_is_no_change():
    changes = ("model.depth=1", "model.depth=2", "model.width=16 model.depth=1")
    context = context_of(recipe={"changes": changes})
    assert [each.name for each in ablation.changes_of(context)] == ["model.depth=2"]
    # One part of it is new.
    context = context_of(recipe={"changes": ("model.depth=1 model.width=32",)})
    assert len(ablation.changes_of(context)) == 1


def test_settings_of_another_plugin_do_not_follow_into_a_change():
    context = context_of(recipe={"changes": ("model.name=linear",)})
    fake, decision = driven(overfit, context, helped({("model.name", "linear"): 0.1}))
    (alone,) = asked(fake, "changes")
    other = alone.trials[3].settings
    assert other["model.name"] == "linear" and "model.width" not in other
    assert "model.width" in alone.trials[0].settings
    later = context._replace(carried=decision.settings)
    assert later.setting("model.width") is None and later.setting("model.prior_bias") == 1.0
    assert "model.dropout" not in later.quiet


# --- The safe default ------------------------------------------------------------------------


def safe(world, **sections):
    fake, told = driven(Part(safe_default.measured), context_of(**sections), world)
    return fake, told


def test_a_worse_optimiser_is_told_with_what_to_paste():
    sections = {"optim": {"name": "sgd"}, "schedule": {"name": "cosine"}}
    fake, found = safe(helped({("optim.name", "adam"): 0.1}), **sections)
    assert found.status is Status.WARN and found.row == "FIT2"
    assert "--config.optim.name=adam --config.optim.learning_rate=3e-4" in found.remedy
    assert found.remedy.count("--config") == 3 and "sgd at 0.03" in found.summary
    tried = fake.requests[0].trials[3].settings
    assert tried["optim.learning_rate"] == 3e-4 and tried["optim.b1"] == 0.9
    assert tried["schedule.name"] == "constant"


@pytest.mark.parametrize("gain", [0.0, -0.1])
def test_an_optimiser_that_is_no_worse_passes(gain):
    _, found = safe(helped({("optim.name", "adam"): gain}), optim={"name": "sgd"})
    assert found.status is Status.PASS and not found.remedy
    assert ("is worse" in found.summary) == (gain < 0)


def test_adamw_without_decay_is_adam_and_needs_no_other_program():
    fake, _ = safe(helped({}))
    assert set(fake.requests[0].trials[3].settings) - set(fake.requests[0].trials[0].settings) == {
        "optim.learning_rate"
    }
    assert safe_default.planned(context_of())[0].programs == 0
    assert safe_default.planned(context_of(optim={"name": "sgd"}))[0].programs == 2
    fake, found = safe(helped({}), optim={"learning_rate": 3e-4})
    assert not fake.requests and found.status is Status.PASS
    assert safe_default.planned(context_of(optim={"learning_rate": 3e-4})) == []


# --- Batch sizes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "count", "sizes"),
    [
        (32, 900, [8, 128]),
        (128, 9000, [8, 32, 512]),
        (32, 400, [8]),  # 128 would leave three batches in an epoch
        (256, 9000, [16, 64]),  # 1024 is above the cap
        (10, 900, [40]),
        (10, 120, []),
    ],
)
def test_the_sizes_that_are_tried(now, count, sizes):
    plain = context_of()
    train = plain.task.train._replace(targets=np.zeros(count, np.int32))
    context = context_of(train={"batch_size": now})._replace(
        task=dataclasses.replace(plain.task, train=train)
    )
    probes = batch_size.probes(context)
    assert sorted({each.size for each in probes}) == sizes and len(probes) == 2 * len(sizes)
    planned = batch_size.planned(context)
    assert {each.part for each in planned[1:]} == {now / size for size in sizes}
    seeds, looks = context.recipe.seeds, context.recipe.looks
    assert sum(each.lanes for each in planned) == seeds * (len(probes) + 1) * bool(probes)
    assert all(each.more == each.lanes * (2 ** (looks - 1) - 1) for each in planned)


def test_rates_are_scaled_by_the_optimiser():
    assert batch_size.scaled_rate(1e-2, 4, "adamw") == pytest.approx(2e-2)
    assert batch_size.scaled_rate(1e-2, 1 / 4, "lion") == pytest.approx(5e-3)
    assert batch_size.scaled_rate(1e-2, 4, "sgd") == pytest.approx(4e-2)


def sized(world, batch):
    """The probe alone, at this configured size; 120 training examples allow sizes up to 30."""
    context = context_of(train={"batch_size": batch})
    fake, (settings, found) = driven(Part(batch_size.measured), context, world)
    return fake, settings, found


def test_a_size_goes_on_where_it_is_surely_better_and_with_its_rate():
    fake, settings, found = sized(helped({("optim.learning_rate", 5e-3): 0.1}), batch=32)
    assert settings == {"train.batch_size": 8, "optim.learning_rate": 5e-3}
    assert found.evidence["names"] == ["8, same rate", "8, rate 0.005"]
    assert found.evidence["kept"] == [False, True] and found.row == "FIT8 REG5"
    assert [t.settings.get("train.batch_size") for t in asked(fake, "batch sizes")[0].trials] == [
        *[None] * 3,
        *[8] * 6,
    ]
    _, settings, found = sized(helped({}), batch=32)
    assert settings == {} and found.status is Status.PASS


def test_only_sizes_that_ran_are_told_of():
    def world(trial, request):
        diverges = trial.settings.get("train.batch_size") == 8 and trial.seed == 101
        return {"status": "diverged", "score": float("nan")} if diverges else {"score": 0.8}

    _, settings, found = sized(world, batch=32)
    assert settings == {} and found.evidence["ran"] == [32]
    assert "Ran to their end: 32; some seeds of 8 diverged." in found.summary
    _, _, found = sized(helped({}), batch=32)
    assert "Ran to their end: 8, 32." in found.summary


def test_the_largest_size_that_costs_nothing_is_named():
    _, settings, found = sized(helped({("optim.learning_rate", 0.02): -0.1}), batch=4)
    assert settings == {} and "A batch of 16, same rate, costs nothing" in found.summary
    _, _, found = sized(helped({("train.batch_size", 16): -0.1}), batch=4)
    assert "costs nothing" not in found.summary


def test_a_kept_size_goes_on_through_the_stage():
    context = context_of(train={"batch_size": 32})
    fake, decision = driven(overfit, context, helped({("train.batch_size", 8): 0.1}))
    lanes = sum(len(each.trials) for each in fake.requests if isinstance(each, Trials))
    assert lanes == sum(each.lanes for each in overfit.planned(context))
    assert decision.settings["train.batch_size"] == 8
    assert "train.batch_size 8" in decision.summary


# --- Gradient norms --------------------------------------------------------------------------


def normed(norms, **optim):
    runs = [result_of(Trial(seed=i))._replace(grad_norms=np.array(n)) for i, n in enumerate(norms)]
    return gradient_norms.examine(context_of(optim=optim) if optim else context_of(), runs)


def test_what_the_customary_limits_would_clip():
    found = normed([[1.0, 6.0, 6.0, 12.0, 20.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    assert found.status is Status.PASS and found.row == "FIT7"
    assert found.evidence["shares"] == pytest.approx([0.4, 0.2, 0.1])
    assert "median 1, largest 20" in found.summary
    assert "would fire in 40% at 5, 20% at 10, 10% at 15" in found.summary


@pytest.mark.parametrize(("limit", "status"), [(11.0, Status.PASS), (5.9, Status.WARN)])
def test_clipping_that_fires_often_is_warned_of(limit, status):
    norms = [[1.0] * 18 + [6.0, 12.0], [1.0] * 18 + [6.0, 7.0]]
    norms[1][0] = np.nan
    found = normed(norms, clip_norm=limit)
    assert found.status is status and bool(found.remedy) == (status is Status.WARN)
    assert f"fires in {3 if limit > 10 else 10}% at {limit:g}" in found.summary


def test_no_finite_gradient_is_no_answer():
    assert normed([[np.nan, np.inf]]).status is Status.SKIP


# --- The architecture ------------------------------------------------------------------------


def own(spec, /):
    """A model of one's own."""


def test_the_published_form_stands_beside_the_linear_model():
    baselines = Finding(
        check="baselines",
        row="SKEL19",
        status=Status.PASS,
        summary="They are there.",
        evidence={"names": ["network", "majority", "linear"], "scores": [0.97, 0.1, 0.95]},
    )
    found = architecture.examine(context_of()._replace(findings=(baselines,)))
    assert found.status is Status.PASS and found.row == "FIT1"
    assert "multilayer perceptron" in found.summary and "Rumelhart et al. 1986" in found.summary
    assert "Validation accuracy 0.97, of a plain linear model 0.95." in found.summary
    assert "linear" not in architecture.examine(context_of()).summary


@pytest.mark.parametrize("name", plugins("models"))
def test_every_model_names_its_source(name):
    context = context_of()._replace(carried={"model.name": name})
    summary = architecture.examine(context).summary
    assert summary.endswith(".") and ("19" in summary or "20" in summary or name == "constant")


def test_a_model_of_ones_own_is_told_what_to_compare_it_with():
    found = architecture.examine(context_of(model={"name": f"{__name__}:own"}))
    assert found.status is Status.SKIP and "module of your own" in found.summary
    assert "--config.model.name=mlp" in found.remedy
