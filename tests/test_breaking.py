"""Where training leaves the finite: the step, the layer and the way, and that it is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_lanes import EIGHT, config, make, rate, request
from test_stages import result_of

from recipe_jax.app import breaking
from recipe_jax.probes import breaking as probe
from recipe_jax.probes import trace
from recipe_jax.recipe import broken
from recipe_jax.train.step import Moving, StepKeys
from recipe_jax.types import Arrays, Breaking, Broken, Experiment, Model, Objective, Score, Trial


def forward(params, x):
    for name in ("b", "a", "c"):  # not the order of their names
        x = jnp.tanh(x @ params[name]["kernel"]) if name != "c" else x @ params[name]["kernel"]
    return x


def weights():
    """Of layers b, a, c in that order."""
    draw = np.random.default_rng(0)
    shapes = {"b": (3, 4), "a": (4, 4), "c": (4, 2)}
    return {
        name: {"kernel": jnp.float32(draw.normal(size=shape))} for name, shape in shapes.items()
    }


def experiment(loss=None, optimizer=None):
    def apply(params, model_state, inputs, *, key, train):
        return forward(params, inputs), model_state

    mean = loss or (lambda outputs, targets: ((outputs - targets) ** 2).sum(-1))
    objective = Objective(
        loss=mean,
        metrics=None,
        predict=lambda outputs: outputs,
        perfect=lambda targets: targets,
        loss_at_init=0.0,
        score=Score("loss", maximise=False),
        l2=0.0,
    )
    return Experiment(
        Model(lambda key: (weights(), {}), apply),
        objective,
        optimizer or optax.sgd(0.1),
        lambda step: 1.0,
        lambda key, inputs, targets: (inputs, targets),
    )


def found(made, params):
    moving = Moving(jnp.int32(7), params, {}, made.optimizer.init(params))
    batch = Arrays(jnp.ones((5, 3)), jnp.zeros((5, 2)))
    key = jax.random.key(0)
    return probe.at(made, moving, batch, jnp.float32(1.0), StepKeys(key, key))


def test_a_healthy_step_breaks_nowhere():
    assert found(experiment(), weights()) is None


@pytest.mark.parametrize("layer", ["b", "c"])
def test_the_layer_whose_product_overflows_is_named(layer):
    bad = weights()
    bad[layer]["kernel"] = jnp.sign(bad[layer]["kernel"]) * 3e38
    told = found(experiment(), bad)
    assert told == Breaking(7, "forward", layer, pytest.approx(3e38, rel=1e-3))


def test_weights_that_are_not_finite_before_the_step_are_named():
    bad = weights()
    bad["a"]["kernel"] = bad["a"]["kernel"].at[1, 1].set(jnp.nan)
    told = found(experiment(), bad)
    assert (told.way, told.layer) == ("weights", "a")
    assert np.isfinite(told.largest)


def test_a_gradient_that_is_not_finite_where_the_loss_is():
    root = lambda outputs, targets: jnp.sqrt(jnp.abs(outputs).sum(-1) * 0.0)  # noqa: E731
    told = found(experiment(root), weights())
    assert (told.step, told.way, told.layer) == (7, "gradient", "c")


def test_an_update_that_overflows():
    told = found(experiment(optimizer=optax.sgd(1e39)), weights())
    assert (told.way, told.layer) == ("update", "c")


def test_masks_are_infinite_in_every_run():
    def masked(params, x):
        scores = jnp.where(jnp.arange(4) < 2, x @ params["b"], -jnp.inf)
        return jax.nn.softmax(scores) @ params["a"]

    healthy = {"a": jnp.ones((4, 2)), "b": jnp.ones((3, 4))}
    args = (healthy, jnp.ones((5, 3)))
    where, order = trace.first_not_finite(masked, args, args, named=["a", "b", ""])
    assert where is None
    assert order == ["b", "a"]
    worse = ({**healthy, "a": jnp.full((4, 2), 3e38)}, jnp.ones((5, 3)))
    assert trace.first_not_finite(masked, worse, args, named=["a", "b", ""])[0] is None
    worst = ({**healthy, "b": jnp.full((3, 4), 3e38)}, jnp.ones((5, 3)))
    assert trace.first_not_finite(masked, worst, args, named=["a", "b", ""])[0] == "b"


# --- Of lanes --------------------------------------------------------------------------------


@pytest.mark.parametrize("pauses", [pytest.param((), marks=pytest.mark.slow), (2, 4)])
def test_a_lane_that_breaks_is_found_again(tmp_path, pauses):
    wild = Trial(settings={**EIGHT[0].settings, **rate(1e6).settings}, seed=1)
    given = config(sweep={"block": 2}, optim={"name": "sgd"})
    made = make(tmp_path, given)
    trials = (EIGHT[0], wild, EIGHT[1])
    results = made.train("stage", request(*trials, pauses=pauses))
    if pauses:
        results = made.train("stage", request(*trials, pauses=pauses, after=tuple(results)))
    healthy, bad, _ = results
    assert (healthy.status, bad.status) == ("done" if not pauses else healthy.status, "diverged")
    told = breaking.find(made, bad._replace(losses=np.zeros(0), grad_norms=np.zeros(0)))
    assert told is not None
    assert abs(told.step - bad.first_bad_step) <= 1
    assert told.way in ("forward", "gradient", "update", "weights") and told.layer
    assert breaking.find(made, healthy) is None


# --- As it is told ---------------------------------------------------------------------------


def runs(*steps):
    """Made-up runs that broke at these steps; None: that did not."""
    made = [result_of(Trial(settings={}, seed=seed)) for seed, _ in enumerate(steps)]
    return [
        each._replace(first_bad_step=step, status="done" if step is None else "diverged")
        for each, step in zip(made, steps)
    ]


def told(results, answer):
    """(what was asked, the finding) of these runs; None where nothing was asked."""
    generator = broken.told(results)
    asked = next(generator, None)
    return asked and (asked, generator.send(answer))


def test_nothing_is_asked_where_all_runs_stayed_finite():
    assert told(runs(None, None), None) is None


@pytest.mark.parametrize(
    "answer, words",
    [
        (
            Breaking(12, "forward", "output", 2e17),
            "2 of 3 runs diverged, trial {} first, at step 12: output is the first to give numbers "
            "that are not finite; its weights had grown to 2e+17.",
        ),
        (
            Breaking(12, "gradient", "layers.0", 1.5),
            "2 of 3 runs diverged, trial {} first, at step 12: the loss is finite, and the "
            "gradient of layers.0 is not, with weights of 1.5 at most.",
        ),
        (
            Breaking(12, "forward", "", float("nan")),
            "2 of 3 runs diverged, trial {} first, at step 12: the loss is the first to give "
            "numbers that are not finite.",
        ),
        (
            None,
            "2 of 3 runs diverged, trial {} first, at step 12; trained again alone it stays finite "
            "there.",
        ),
    ],
)
def test_the_run_that_broke_first_is_explained(answer, words):
    results = runs(40, None, 12)
    asked, finding = told(results, answer)
    assert isinstance(asked, Broken) and asked.result is results[2]
    assert finding.summary == words.format(results[2].trial.uid)
    assert finding.evidence["steps"] == [40, 12]


def test_a_single_run():
    _, finding = told(runs(3), Breaking(3, "update", "output", 0.5))
    assert finding.summary == (
        "It diverged, at step 3: gradients are finite, and the update of output is not."
    )
