"""Recurrent networks: the published equations by hand, their gradients, what they see and count."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from sequence_specs import NUMBERS, SERIES, TEXT, TOKENS

from recipe_jax import types
from recipe_jax.models import _recurrence, cnn, linear, mlp, rnn

KEY = jax.random.key(0)
CELLS = ("gru", "lstm")


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def gru_step(kernel, x, h, c):
    """One step for one example, as published, in float64."""
    w = len(h)
    r, z = sigmoid(x[:w] + h @ kernel[:, :w]), sigmoid(x[w : 2 * w] + h @ kernel[:, w : 2 * w])
    n = np.tanh(x[2 * w :] + r * (h @ kernel[:, 2 * w :]))
    return (1.0 - z) * n + z * h, c


def lstm_step(kernel, x, h, c):
    i, f, o, g = np.split(x + h @ kernel, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


STEPS = {"gru": (gru_step, _recurrence.gru, 3), "lstm": (lstm_step, _recurrence.lstm, 4)}


@pytest.mark.parametrize("cell", CELLS)
def test_states_follow_the_published_equations(cell):
    step, recurrence, gates = STEPS[cell]
    kernel, x = np.random.default_rng(0).normal(size=(2, 3, gates * 3))
    h, c = np.array([0.5, -0.2, 0.1]), np.array([1.0, 0.0, -2.0])
    first = jnp.float32(h)[None] if cell == "gru" else (jnp.float32(h)[None], jnp.float32(c)[None])
    found, last = recurrence(jnp.float32(kernel), jnp.float32(x)[:, None], first)
    for t in range(3):
        h, c = step(kernel, x[t], h, c)
        np.testing.assert_allclose(found[t, 0], h, rtol=1e-5, atol=1e-6)
    for ours, expected in zip(jax.tree.leaves(last), (h, c)):
        np.testing.assert_allclose(ours[0], expected, rtol=1e-5, atol=1e-6)


def by_scan(cell, kernel, inputs, first):
    """The same recurrence with the gradient that JAX works out."""
    width = kernel.shape[0]

    def step(carried, x):
        h, c = carried
        if cell == "gru":
            p = h @ kernel
            r, z = jnp.split(jax.nn.sigmoid(x[:, : 2 * width] + p[:, : 2 * width]), 2, -1)
            n = jnp.tanh(x[:, 2 * width :] + r * p[:, 2 * width :])
            h = (1.0 - z) * n + z * h
        else:
            i, f, o, g = jnp.split(x + h @ kernel, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    first = (first, first) if cell == "gru" else first
    last, states = lax.scan(step, first, inputs)
    return states, (last[0] if cell == "gru" else last)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("time", [1, 6])
def test_the_gradient_is_that_of_the_equations(cell, time):
    gates = STEPS[cell][2]
    keys = jax.random.split(KEY, 4)
    kernel = jax.random.normal(keys[0], (4, gates * 4))
    inputs = jax.random.normal(keys[1], (time, 3, gates * 4))
    weights = jax.random.normal(keys[2], (time, 3, 4))
    h, c = jax.random.normal(keys[3], (2, 3, 4))
    first = h if cell == "gru" else (h, c)

    def slopes(recurrence):
        def total(kernel, inputs, first):
            states, last = recurrence(kernel, inputs, first)
            return (states * weights).sum() + sum((x**2).sum() for x in jax.tree.leaves(last))

        return jax.tree.leaves(jax.jit(jax.grad(total, argnums=(0, 1, 2)))(kernel, inputs, first))

    for ours, plain in zip(
        slopes(STEPS[cell][1]), slopes(functools.partial(by_scan, cell)), strict=True
    ):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell, gates", [("gru", 3), ("lstm", 4)])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("spec", [TEXT, SERIES])
def test_parameters_are_as_many_as_the_docstring_says(cell, gates, depth, spec):
    f, w, k = (9 if spec is TEXT else 3), 8, spec.num_outputs
    expected = gates * (f + w + 1) * w + (depth - 1) * gates * (2 * w + 1) * w + (w + 1) * k
    expected += k * f if spec is TEXT else 0
    model = rnn.build(spec, cell=cell, width=w, depth=depth, embedding=9)
    params, state = jax.eval_shape(model.init, KEY)
    assert types.num_params(params) == expected
    assert state == {}


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="train")
def outputs(build, spec, inputs, *, key=KEY, train=False, dropout=0.0):
    model = build(spec, dropout=dropout)
    return model.apply(*model.init(KEY), inputs, key=key, train=train)[0]


@pytest.mark.parametrize("cell", CELLS)
def test_a_later_token_changes_no_earlier_output(cell):
    build = functools.partial(rnn.build, cell=cell, depth=2, width=8)
    before = outputs(build, TEXT, TOKENS)
    after = outputs(build, TEXT, TOKENS.at[:, 4].add(1) % 5)
    assert before.shape == (4, 7, 5)
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).any(-1).all()


@pytest.mark.parametrize("cell", CELLS)
def test_examples_are_apart_and_every_step_counts(cell):
    build = functools.partial(rnn.build, cell=cell, depth=2, width=8)
    before = outputs(build, SERIES, NUMBERS)
    assert before.shape == (4, 2)
    for time in range(6):
        after = outputs(build, SERIES, NUMBERS.at[1, time].add(1.0))
        np.testing.assert_array_equal(before[jnp.array([0, 2, 3])], after[jnp.array([0, 2, 3])])
        assert (before[1] != after[1]).any()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("train", [False, True])
def test_carried_windows_are_one_long_window(cell, train):
    build = functools.partial(rnn.build, cell=cell, depth=2, width=8)
    whole, model = build(TEXT), build(TEXT, states="carried")
    assert whole.begin is None
    params, state = model.init(KEY)
    expected, _ = whole.apply(params, state, TOKENS, key=KEY, train=train)
    run = jax.jit(functools.partial(model.apply, key=KEY, train=train))
    first, carried = run(params, model.begun(state, 4), TOKENS[:, :3])
    second, last = run(params, carried, TOKENS[:, 3:])
    together = jnp.concatenate([first, second], 1)
    np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-6)
    assert jax.tree.map(jnp.shape, last) == jax.tree.map(jnp.shape, model.begun(state, 4))
    # Where nothing is carried, a text begins; and what is kept with the weights is no text's.
    alone, after = run(params, state, TOKENS[:, 3:])
    assert (alone != second).any()
    assert after == state == model.kept(last) == {}


def test_carried_states_need_a_text():
    with pytest.raises(types.UserError, match=r"use model\.states=reset"):
        rnn.build(SERIES, states="carried")


@pytest.mark.parametrize("spec, inputs", [(TEXT, TOKENS), (SERIES, NUMBERS)])
def test_dropout_is_off_at_zero_and_in_evaluation(spec, inputs):
    build = functools.partial(rnn.build, width=8, depth=2)
    plain = outputs(build, spec, inputs)
    np.testing.assert_array_equal(outputs(build, spec, inputs, dropout=0.5), plain)
    training = functools.partial(outputs, build, spec, inputs, train=True)
    np.testing.assert_array_equal(training(), plain)
    first, other = (training(dropout=0.5, key=jax.random.key(i)) for i in range(2))
    assert (first != plain).any() and (first != other).any()


def test_dropout_leaves_the_recurrence_alone(monkeypatch):
    """Of what goes in and comes out everything is dropped; what goes from step to step is not."""
    seen: list = []

    def recurrence(kernel, inputs, first):
        states, last = _recurrence.gru(kernel, inputs, first)
        seen.append((inputs, states))
        return states, last

    monkeypatch.setitem(rnn._CELLS, "gru", (recurrence, 3))
    build = functools.partial(rnn.build, width=8, depth=2)
    model = build(TEXT, dropout=1.0)
    params, state = jax.jit(model.init)(KEY)
    params["layers"]["1"]["input"]["bias"] = jnp.ones(24)

    def run(params):
        found, _ = model.apply(params, state, TOKENS, key=KEY, train=True)
        return found, seen

    found, ((first, _), (second, states)) = jax.jit(run)(params)
    np.testing.assert_array_equal(first, 0.0)  # only the bias, 0, is left of a dropped input
    np.testing.assert_array_equal(second, 1.0)
    assert (states[1:] != states[:-1]).all(), "the state went on from step to step"
    np.testing.assert_array_equal(found, jnp.broadcast_to(params["output"]["bias"], found.shape))


@pytest.mark.parametrize("cell, gates", [("gru", 3), ("lstm", 4)])
def test_how_it_starts(cell, gates):
    width, gain = 16, 1.5
    model = rnn.build(TEXT, cell=cell, width=width, init_gain=gain)
    params, _ = jax.jit(model.init)(KEY)
    layer = params["layers"]["0"]
    for kernel in jnp.split(layer["recurrent"], gates, axis=1):
        np.testing.assert_allclose(kernel @ kernel.T, gain**2 * np.eye(width), atol=1e-4)
    bias = np.zeros((gates, width))
    if cell == "lstm":
        bias[1] = 1.0  # the forget gate's
    np.testing.assert_array_equal(layer["input"]["bias"].reshape(gates, width), bias)
    spread = float(layer["input"]["kernel"].std()) * 128**0.5
    assert spread == pytest.approx(gain, rel=0.05)
    assert float(params["embedding"]["embedding"].std()) == pytest.approx(1.0, rel=0.1)
    np.testing.assert_allclose(params["output"]["bias"], TEXT.prior_outputs, rtol=1e-6)


def test_a_value_is_remembered_over_a_pause():
    """The sign of the first step, asked at the last: what the gates are for."""
    spec = types.Spec(kind="regression", input_shape=(12, 1), num_outputs=1, prior=(0.0,))
    model = rnn.build(spec, width=8)
    x = jax.random.normal(KEY, (64, 12, 1))
    wanted = jnp.sign(x[:, 0])

    def loss(params):
        return ((model.apply(params, {}, x, key=KEY, train=True)[0] - wanted) ** 2).mean()

    @jax.jit
    def train(params):
        def step(carried, _):
            params, speed = carried
            speed = jax.tree.map(lambda s, g: 0.9 * s - 0.1 * g, speed, jax.grad(loss)(params))
            return (jax.tree.map(jnp.add, params, speed), speed), None

        return lax.scan(step, (params, jax.tree.map(jnp.zeros_like, params)), length=300)[0][0]

    params, _ = jax.jit(model.init)(KEY)
    assert loss(params) > 0.8
    assert loss(train(params)) < 0.05


IMAGES = types.Spec(
    kind="classification", input_shape=(8, 8, 1), num_outputs=3, prior=(0.5, 0.25, 0.25)
)
TABLE = types.Spec(kind="regression", input_shape=(6,), num_outputs=1, prior=(0.0,))
LABELLED = types.Spec(
    kind="classification",
    input_shape=(7,),
    num_outputs=2,
    prior=(0.5, 0.5),
    input_dtype="int32",
)


@pytest.mark.parametrize(
    "build, spec, remedy",
    [
        (rnn.build, IMAGES, "use model.name=cnn"),
        (rnn.build, TABLE, "use model.name=mlp"),
        (rnn.build, LABELLED, "objective.name=next_token alone"),
        (mlp.build, TEXT, "use model.name=rnn or model.name=transformer"),
        (linear.build, TEXT, "use model.name=rnn or model.name=transformer"),
        (cnn.build, TEXT, "use model.name=rnn"),
        (cnn.build, SERIES, "use model.name=rnn"),
        (cnn.build, TABLE, "use model.name=mlp"),
    ],
)
def test_what_a_model_cannot_take_is_refused(build, spec, remedy):
    with pytest.raises(types.UserError, match=remedy):
        build(spec).init(KEY)
