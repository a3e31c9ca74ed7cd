"""Predictions on a fixed batch: recorded by the program, judged by how they move."""

import dataclasses

import numpy as np
import pytest
from test_stages import context_of, driven, result_of, task_of

from recipe_jax import config as configs
from recipe_jax.app import drive, lanes
from recipe_jax.app.signals import Signals
from recipe_jax.checks import prediction_dynamics
from recipe_jax.checks.prediction_dynamics import jitter
from recipe_jax.recipe import skeleton, watching
from recipe_jax.report import figures
from recipe_jax.types import Outputs, Status, Trial, Trials


def curve(*values):
    return np.array(values, float)[:, None]


def test_jitter_is_the_way_to_and_fro_over_the_way_that_predictions_came():
    # After a third of seven looks: 0.8, 0.6, 0.8, 0.8, 1.0 goes 0.6 and gets 0.2 ahead.
    assert jitter(curve(0.0, 0.5, 0.8, 0.6, 0.8, 0.8, 1.0)) == pytest.approx(0.4)
    # Slow learning is no jitter, however late.
    assert jitter(curve(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)) == 0.0
    assert jitter(curve(0.0, 0.5, 0.8, 0.6, 0.8, 0.8, 1.0) * 7 - 3) == pytest.approx(0.4)
    # What an early stop froze does not count.
    assert jitter(curve(0.0, 0.5, 0.8, 0.6, 0.8, 0.8, 1.0, np.nan)) == pytest.approx(0.4)


def test_more_looks_make_no_more_jitter():
    smooth = np.linspace(0.0, 1.0, 41)
    wavy = smooth + 0.1 * (np.arange(41) % 2)
    # Every second look is taken, and there the wave is not seen.
    assert jitter(wavy[:, None]) == 0.0


def examined(restless, calm, diverged=False):
    """Curves that come to 1, and from then on swing by so much at each look, at two rates."""
    looks = np.arange(21)
    swings = [1.0 - np.where(looks % 2, swing, 0.0) for swing in (restless, calm)]
    curves = np.stack([np.where(looks < 5, looks / 5, each) for each in swings])
    return prediction_dynamics.examine(
        looks.astype(float),
        np.tile(curves[:, None, :, None], (1, 3, 1, 4)),
        rates=[1e-1, 1e-2],
        diverged=np.array([[diverged] * 3, [False] * 3]),
        what="the probability of the right class",
        shown={"kind": "table", "labels": [*"abcd"]},
    )


def test_predictions_that_swing_at_the_rate_alone_accuse_it():
    assert examined(0.05, 0.01).status is Status.PASS
    found = examined(0.6, 0.01)
    assert found.status is Status.WARN and found.fault == "E1" and "too high" in found.summary
    # Where a tenth of the rate helps nothing it may be the data.
    found = examined(0.6, 0.5)
    assert found.status is Status.WARN and not found.fault and "hard to fit" in found.summary
    found = examined(0.0, 0.01, diverged=True)
    assert found.status is Status.WARN and "diverges" in found.summary
    assert len(figures.draw(found.check, found.evidence) or ()) == 3


@pytest.fixture(scope="module")
def prepared():
    given = configs.as_dict(
        configs.complete(
            {
                "data": {"name": "iris"},
                "model": {"name": "mlp", "width": 8, "depth": 1},
                "train": {"batch_size": 16, "epochs": 6},
                "optim": {"name": "adamw", "learning_rate": 1e-2},
            }
        )
    )
    return given, drive.load_task(given)


def train(folder, prepared, *requests):
    given, task = prepared
    folder.mkdir(exist_ok=True)
    made = lanes.Lanes(
        task=task, config=given, workdir=folder, signals=Signals(), progress=lambda watched: None
    )
    return [made.train("stage", each) for each in requests]


def of(result) -> np.ndarray:
    assert result.watched is not None
    return result.watched


def test_what_is_watched_are_the_outputs_of_the_weights_at_that_look(prepared, tmp_path):
    given, task = prepared
    trials = tuple(Trial(seed=seed) for seed in range(3))
    asked = Trials(label="a", trials=trials, epochs=6, keep="last", watch=5)
    plain = dataclasses.replace(asked, watch=0)
    begun = dataclasses.replace(asked, epochs=0)
    watched, others, first = train(tmp_path / "a", prepared, asked, plain, begun)
    objective = drive.make_objective(given, task)
    models = drive.Models(task, given, objective)
    for look, results in ((0, first), (-1, watched)):
        outputs = models.outputs(
            Outputs(label="o", results=results, split="validation"), task.validation.first(5)
        )
        for seen, expected in zip(watched, outputs):
            assert of(seen).shape == (7, 5, 3)
            np.testing.assert_allclose(of(seen)[look], expected, rtol=1e-5, atol=1e-6)
    assert others[0].watched is None and of(first[0]).shape == (1, 5, 3)
    # Stored, it is the same.
    (again,) = train(tmp_path / "a", prepared, asked)
    assert all(np.array_equal(of(a), of(b)) for a, b in zip(again, watched))


def test_watching_goes_on_where_it_was_stopped(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(lanes.plan, "SECONDS_A_CALL", 0.0)
    asked = Trials(label="a", trials=(Trial(seed=1),), epochs=6, watch=5)
    ((whole,),) = train(tmp_path / "whole", prepared, asked)
    saves, save = [], lanes.Checkpoints.save

    def killed(self, step, *rest):
        save(self, step, *rest)
        saves.append(step)
        if len(saves) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(lanes.Checkpoints, "save", killed)
        patched.setattr(lanes.Lanes, "_is_due", lambda self: True)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "half", prepared, asked)
    ((resumed,),) = train(tmp_path / "half", prepared, asked)
    assert saves == [1, 2]
    np.testing.assert_array_equal(of(resumed), of(whole))


def test_an_early_stop_leaves_the_rest_empty(prepared, tmp_path):
    still = {"optim.learning_rate": 1e-12, "train.patience": 2}
    asked = Trials(label="a", trials=(Trial(settings=still),), epochs=6, watch=5)
    ((result,),) = train(tmp_path / "w", prepared, asked)
    assert result.status == "stopped"
    frozen = np.isnan(result.history["validation/loss"])
    assert frozen.any() and np.array_equal(np.isnan(of(result)).all((1, 2)), frozen)


def test_the_stage_compares_the_rate_with_a_tenth_of_it(monkeypatch):
    monkeypatch.setattr(skeleton.examining, "examined", lambda context: iter(()))
    fake, _ = driven(skeleton)
    found = fake.of("prediction_dynamics")
    assert found.row == "SKEL9" and found.status is Status.PASS
    assert found.evidence["rates"] == [1e-2, 1e-3]
    assert np.shape(found.evidence["curves"]) == (2, 6, 16)
    assert found.evidence["examples"]["labels"][0] in ("no", "yes")


def test_so_many_examples_are_watched_and_of_a_text_one_window():
    context = context_of()
    assert watching.examples(context) == watching.WATCHED <= len(context.task.validation.targets)
    few = context.task.validation.first(3)
    assert watching.examples(with_validation(context, few)) == 3
    spec = dataclasses.replace(
        context.task.spec, kind="next_token", input_shape=(8,), input_dtype="int32"
    )
    read = dataclasses.replace(context.task, spec=spec, modality="text")
    assert watching.examples(context._replace(task=read)) == 1


def with_validation(context, split):
    return context._replace(task=dataclasses.replace(context.task, validation=split))


def test_a_diverged_run_is_told():
    context = context_of()
    head = task_of().validation.first(16)
    request = Trials(label="", trials=(Trial(),), epochs=1, watch=16)
    ends = np.zeros((6, 16, 2)) + head.targets[:, None]
    fine = result_of(Trial(), request=request)._replace(watched=ends)
    bad = result_of(Trial(), request=request, status="diverged")._replace(watched=ends * np.nan)
    found = watching.examine(context, [[bad, bad], [fine, fine]])
    per_epoch = len(context.task.train.targets) / context.config["train"]["batch_size"]
    assert found.evidence["epochs"][-1] == pytest.approx(fine.steps[-1] / per_epoch)
    assert found.status is Status.WARN and "diverges" in found.summary
