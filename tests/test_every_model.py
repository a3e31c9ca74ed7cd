"""Every model trains as one lane and as many by the one code path, and resumes to the same bits."""

import jax
import numpy as np
import pytest
from test_lanes import same_bits

from recipe_jax import assembly, resolve
from recipe_jax import config as configs
from recipe_jax.app import drive, lanes
from recipe_jax.app.signals import Interrupted, Signals
from recipe_jax.sweep import plan
from recipe_jax.types import Trial, Trials, UserError

pytestmark = pytest.mark.slow

SMALL = {
    "cnn": {"channels": (4, 4), "dense": 8},
    "resnet": {"blocks": (1, 1), "width": 4},
    "rnn": {"width": 8, "embedding": 4, "states": "carried"},
    "transformer": {"width": 16, "depth": 1, "heads": 2},
}
CASES = [(name, kind) for name in resolve.plugins("models") for kind in ("digits", "text")]


def given(name, data):
    sections = {
        "data": data,
        "model": {"name": name, **SMALL.get(name, {})},
        "train": {"batch_size": 16, "epochs": 3, "evaluations": 3},
        "augment": {"name": "noise"} if data["name"] == "digits" else {},
        "objective": {"name": "next_token"} if data["name"] == "text" else {},
        "checkpoint": {"every_seconds": 1e9},
    }
    return configs.as_dict(configs.complete({k: v for k, v in sections.items() if v}))


def train(folder, config, task, trials, *, signals=None, progress=lambda watched: None):
    folder.mkdir(exist_ok=True)
    made = lanes.Lanes(
        task=task, config=config, workdir=folder, signals=signals or Signals(), progress=progress
    )
    return made.train("stage", Trials(label="all", trials=trials, epochs=3, keep="last"))


@pytest.mark.parametrize("name, kind", CASES)
def test_a_stop_changes_no_bit_of_any_model(name, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SECONDS_A_CALL", 0.0)
    text = tmp_path / "own.txt"
    text.write_text("".join(np.random.default_rng(0).choice(list("abc de"), 1500)))
    data = {"name": "text", "path": str(text), "window": 8}
    config = given(name, data if kind == "text" else {"name": "digits", "max_examples": 200})
    task = drive.load_task(config)
    try:
        jax.eval_shape(assembly.of_config(config, task.spec).model.init, jax.random.key(0))
    except UserError:
        pytest.skip(f"{name} is no model for {kind}")
    trials = tuple(Trial(seed=i) for i in range(3))
    whole = train(tmp_path / "whole", config, task, trials)

    signals = Signals()

    def stop_after_the_first(watched):
        if watched.rounds[0] == 1:
            signals.number = 15

    with pytest.raises(Interrupted):
        train(
            *(tmp_path / "cut", config, task, trials),
            signals=signals,
            progress=stop_after_the_first,
        )
    for one, other in zip(whole, train(tmp_path / "cut", config, task, trials), strict=True):
        same_bits(one, other)
    # One lane is what it is among others, up to the rounding of another width.
    (alone,) = train(tmp_path / "alone", config, task, trials[1:2])
    for one, other in zip(*map(jax.tree.leaves, (alone.weights, whole[1].weights)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)
