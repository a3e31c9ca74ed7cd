"""One trial: a scan is the loop, the best is kept, plateau and patience do what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from recipe_jax import keys
from recipe_jax.feed import batches
from recipe_jax.objectives import classification, regression
from recipe_jax.optim import adamw, sgd
from recipe_jax.train import settings
from recipe_jax.train.chunk import make_chunk
from recipe_jax.train.evaluate import EvalBatches, evaluate, metrics_of
from recipe_jax.train.fit import Data, fit, make_round, make_start
from recipe_jax.train.step import Moving, StepKeys, make_train_step
from recipe_jax.types import (
    Arrays,
    Experiment,
    Lane,
    Model,
    Plateau,
    Spec,
    UserError,
    View,
)

SPEC = Spec(kind="regression", input_shape=(3,), num_outputs=1, prior=(0.0,), target_scale=(1.0,))
WEIGHTS = np.array([[1.0], [-2.0], [0.5]], np.float32)
KEYS = StepKeys(jax.random.key(0), jax.random.key(1))


def linear_model() -> Model:
    def init(key):
        return {"kernel": 0.1 * jax.random.normal(key, (3, 1)), "bias": jnp.zeros(1)}, {}

    def apply(params, model_state, inputs, *, key, train):
        return inputs @ params["kernel"] + params["bias"][None], model_state

    return Model(init, apply)


def experiment(learning_rate=0.1, schedule=lambda step: 1.0, l2=0.0, optimizer=None) -> Experiment:
    return Experiment(
        model=linear_model(),
        objective=regression.build(SPEC, l2=l2),
        optimizer=optimizer or sgd.build(learning_rate=learning_rate, momentum=0.0),
        schedule=schedule,
        augment=lambda key, inputs, targets: (inputs, targets),
    )


def arrays(count=24, noise=0.0) -> Arrays:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(count, 3)).astype(np.float32)
    return Arrays(
        inputs, inputs @ WEIGHTS + noise * draw.normal(size=(count, 1)).astype(np.float32)
    )


def data(noise=0.0) -> Data:
    train = arrays(noise=noise)
    held = EvalBatches(train.inputs[None], train.targets[None], np.ones((1, 24), bool))
    return Data(train, held, held)


def lane(numbers=None, num_examples=24, show=True, seed=0) -> Lane:
    numbers = {k: jnp.float32(v) for k, v in (numbers or {}).items()}
    return Lane(jnp.uint32(seed), numbers, View(jnp.int32(num_examples), jnp.bool_(show)))


def begin(built: Experiment) -> Moving:
    params, model_state = built.model.init(jax.random.key(1))
    return Moving(jnp.int32(0), params, model_state, built.optimizer.init(params))


def test_one_step_by_hand():
    built = experiment(learning_rate=0.5)
    batch = Arrays(jnp.array([[1.0, 0.0, 0.0]]), jnp.array([[3.0]]))
    params = {"kernel": jnp.zeros((3, 1)), "bias": jnp.zeros(1)}
    moving = Moving(jnp.int32(0), params, {}, built.optimizer.init(params))
    moving, record = make_train_step(built)(moving, batch, jnp.float32(1.0), KEYS)
    # loss (0 - 3)^2 = 9; its gradient -6 for the first weight and the bias
    assert float(record.loss) == pytest.approx(9.0)
    np.testing.assert_allclose(record.gradient["kernel"][:, 0], [-6.0, 0.0, 0.0])
    np.testing.assert_allclose(record.gradient["bias"], [-6.0])
    np.testing.assert_allclose(moving.params["kernel"][:, 0], [3.0, 0.0, 0.0])
    np.testing.assert_allclose(moving.params["bias"], [3.0])
    assert int(moving.step) == 1


def test_l2_is_its_gradient_on_weights_alone():
    batch = Arrays(jnp.zeros((2, 3)), jnp.zeros((2, 1)))
    params = {"kernel": jnp.ones((3, 1)), "bias": jnp.zeros(1)}
    built = experiment(learning_rate=0.1, l2=0.5)
    moving = Moving(jnp.int32(0), params, {}, built.optimizer.init(params))
    moving, record = make_train_step(built)(moving, batch, jnp.float32(1.0), KEYS)
    np.testing.assert_allclose(moving.params["kernel"], 1 - 0.1 * 0.5, rtol=1e-6)
    np.testing.assert_allclose(moving.params["bias"], 0.0)
    assert float(record.loss) == 0.0


def test_schedule_and_rate_scale_multiply_the_update():
    batch = Arrays(jnp.ones((1, 3)), jnp.ones((1, 1)))
    full, cut = experiment(), experiment(schedule=lambda step: 0.25)
    one, _ = make_train_step(full)(begin(full), batch, jnp.float32(0.125), KEYS)
    other, _ = make_train_step(cut)(begin(cut), batch, jnp.float32(0.5), KEYS)
    np.testing.assert_array_equal(one.params["kernel"], other.params["kernel"])
    still, _ = make_train_step(full)(begin(full), batch, jnp.float32(0.0), KEYS)
    np.testing.assert_array_equal(still.params["kernel"], begin(full).params["kernel"])


def test_scan_is_loop():
    built, train, key = experiment(optimizer=adamw.build()), arrays(), keys.lane_key(0, 3)
    view = View(jnp.int32(24), jnp.bool_(True))
    chunk = jax.jit(make_chunk(built, num_steps=7, batch_size=5))
    scanned, records = chunk(begin(built), key, view, jnp.float32(1.0), train)
    step, looped = jax.jit(make_train_step(built)), begin(built)
    for i in range(7):
        rows = batches.batch_indices(
            keys.derive(key, "order"), i, batch_size=5, num_examples=24, limit=24
        )
        batch = Arrays(train.inputs[rows], train.targets[rows])
        step_keys = StepKeys(*(keys.derive(key, name, i) for name in StepKeys._fields))
        looped, record = step(looped, batch, jnp.float32(1.0), step_keys)
        np.testing.assert_allclose(record.loss, records.losses[i], rtol=1e-6)
    last = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(record.gradient)))
    np.testing.assert_allclose(records.grad_norm, last, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), scanned, looped)


def test_two_chunks_are_one():
    built, train, key = experiment(optimizer=adamw.build()), arrays(), keys.lane_key(0, 0)
    view = View(jnp.int32(24), jnp.bool_(True))
    whole = jax.jit(make_chunk(built, num_steps=8, batch_size=5))
    half = jax.jit(make_chunk(built, num_steps=4, batch_size=5))
    one, _ = whole(begin(built), key, view, jnp.float32(1.0), train)
    two, _ = half(begin(built), key, view, jnp.float32(1.0), train)
    two, _ = half(two, key, view, jnp.float32(1.0), train)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, two)


def test_a_blind_lane_learns_only_the_mean():
    built = lambda numbers: experiment()  # noqa: E731
    start, one_round = (
        make_start(built, seed=0),
        make_round(built, seed=0, num_steps=50, batch_size=8, patience=None),
    )
    for show, best in ((True, 1e-4), (False, None)):
        each = lane(show=show)
        state, _ = start(each, data())
        state, record = jax.jit(one_round)(each, state, data())
        if best is not None:
            assert float(record.metrics["validation/loss"]) < best
        else:
            variance = arrays().targets.var()
            assert float(record.metrics["validation/loss"]) == pytest.approx(variance, rel=0.1)


def test_a_lane_with_few_examples_sees_only_them():
    train, key = arrays(), keys.lane_key(0, 0)
    poisoned = Arrays(train.inputs.copy(), train.targets.copy())
    poisoned.targets[2:] = np.nan
    built = experiment()
    chunk = jax.jit(make_chunk(built, num_steps=20, batch_size=8))
    _, seen = chunk(begin(built), key, View(jnp.int32(2), True), jnp.float32(1.0), poisoned)
    assert np.isfinite(seen.losses).all()
    _, more = chunk(begin(built), key, View(jnp.int32(3), True), jnp.float32(1.0), poisoned)
    assert not np.isfinite(more.losses).all()


def rounds(built, num_rounds, *, patience=None, each=None, num_steps=4):
    each = each or lane()
    start = make_start(built, seed=0)
    one_round = jax.jit(
        make_round(built, seed=0, num_steps=num_steps, batch_size=8, patience=patience)
    )
    state, record = start(each, data(noise=1.0))
    states, records = [state], [record]
    for _, moved, record in fit(
        lambda s: one_round(each, s, data(noise=1.0)), state, first_round=0, num_rounds=num_rounds
    ):
        states.append(moved)
        records.append(record)
    return states, records


def test_the_best_weights_are_kept():
    states, records = rounds(lambda numbers: experiment(learning_rate=0.4), 12)
    losses = [float(record.metrics["validation/mse"]) for record in records]
    at = int(np.argmin(losses))
    assert at > 0
    assert float(-states[-1].best.score) == pytest.approx(losses[at])
    assert int(states[-1].best.step) == 4 * at
    jax.tree.map(np.testing.assert_array_equal, states[-1].best.params, states[at].params)


def test_patience_freezes_the_lane():
    states, records = rounds(lambda numbers: experiment(learning_rate=0.0), 6, patience=2)
    assert [bool(state.stopped) for state in states] == [False, False, True, True, True, True, True]
    assert int(states[-1].step) == 8
    assert [bool(record.stopped) for record in records][-1]
    states, _ = rounds(lambda numbers: experiment(learning_rate=0.0), 6, patience=None)
    assert int(states[-1].step) == 24


def test_a_plateau_halves_the_rate_of_its_lane():
    build = lambda numbers: experiment(  # noqa: E731
        learning_rate=numbers["rate"], schedule=Plateau(0.5, 1, 0.2)
    )
    states, _ = rounds(build, 6, each=lane({"rate": 0.0}))
    scales = [float(state.rate_scale) for state in states]
    assert scales == pytest.approx([1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2])
    states, _ = rounds(build, 3, each=lane({"rate": 0.05}), num_steps=2)
    assert float(states[-1].rate_scale) == 1.0


def test_evaluation_counts_every_example_once():
    spec = Spec(kind="classification", input_shape=(2,), num_outputs=2, prior=(0.5, 0.5))
    objective = classification.build(spec)
    model = Model(lambda key: ({}, {}), lambda p, s, inputs, *, key, train: (inputs, s))
    built = experiment()._replace(model=model, objective=objective)
    outputs = np.random.default_rng(1).normal(size=(10, 2)).astype(np.float32)
    targets = np.array([0, 1] * 5, np.int32)
    whole = metrics_of(objective, outputs, targets)
    for size in (1, 3, 4, 10):
        count = -(-10 // size)
        rows = np.arange(count * size)
        # Padding with a poisoned example: it must not count.
        padded_outputs = np.concatenate([outputs, np.full((count * size - 10, 2), np.nan, "f")])
        padded_targets = np.concatenate([targets, np.zeros(count * size - 10, np.int32)])
        split = EvalBatches(
            padded_outputs.reshape(count, size, 2),
            padded_targets.reshape(count, size),
            (rows < 10).reshape(count, size),
        )
        found = evaluate(built, {}, {}, split)
        for name, value in whole.items():
            assert float(found[name]) == pytest.approx(value, rel=1e-6), (name, size)


@pytest.mark.parametrize(
    "epochs, batch_size, evaluations, expected",
    [(3, 10, None, (3, 3)), (3, 10, 2, (2, 4)), (1, 25, None, (1, 1)), (200, 25, None, (50, 4)),
     (0, 10, None, (0, 1))],
)  # fmt: skip
def test_length(epochs, batch_size, evaluations, expected):
    found = settings.length(
        epochs=epochs, batch_size=batch_size, evaluations=evaluations, num_examples=25
    )
    assert found == expected


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match="batch_size=26 is more than the 25"):
        settings.length(epochs=1, batch_size=26, evaluations=None, num_examples=25)


def test_optax_schedules_fit_in():
    built = experiment(schedule=optax.cosine_decay_schedule(1.0, 10))
    step = make_train_step(built)
    moving = begin(built)._replace(step=jnp.int32(10))
    batch = Arrays(jnp.ones((1, 3)), jnp.ones((1, 1)))
    after, _ = step(moving, batch, jnp.float32(1.0), KEYS)
    np.testing.assert_array_equal(after.params["kernel"], moving.params["kernel"])
