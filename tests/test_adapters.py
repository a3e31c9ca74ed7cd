"""from_nnx and from_linen: ordinary modules become pure functions, one set of arrays per lane."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from recipe_jax import adapters, types

SPEC = types.Spec(kind="regression", input_shape=(3,), num_outputs=2, prior=(0.0, 0.0))
INPUTS = jax.random.normal(jax.random.key(9), (8, 3)) + 2.0


class Ordinary(nnx.Module):
    """As a newcomer writes it: knows of no key and of no training flag."""

    def __init__(self, rngs, gain=1.0):
        init = nnx.initializers.lecun_normal()
        self.layers = nnx.List([nnx.Linear(3, 5, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)])
        self.layers[0].kernel.set_value(init(rngs(), (3, 5)) * gain)
        self.norm = nnx.BatchNorm(5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](self.dropout(self.norm(self.layers[0](x))))


class Flag(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(5)(x))
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=not train)(x))


class Deterministic(linen.Module):
    @linen.compact
    def __call__(self, x, deterministic):
        x = linen.BatchNorm(use_running_average=deterministic)(linen.Dense(5)(x))
        self.sow("intermediates", "hidden", x)
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=deterministic)(x))


@pytest.fixture(params=["nnx", "nnx without graphs", "linen"])
def model(request):
    if request.param == "linen":
        yield adapters.from_linen(Flag(), SPEC)
    else:
        with nnx.set_graph_mode(request.param == "nnx"):
            yield adapters.from_nnx(Ordinary)


def leaves_differ(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other))
    return [bool(jnp.any(a != b)) for a, b in pairs]


def test_weights_and_state_are_plain_dicts_of_arrays(model):
    params, state = model.init(jax.random.key(0))

    def walk(tree):
        if isinstance(tree, dict):
            assert all(type(name) is str for name in tree)
            return sum(walk(child) for child in tree.values())
        assert isinstance(tree, jax.Array)
        assert tree.dtype == jnp.float32
        return 1

    assert walk(params) == 6  # two kernels, two biases, scale and bias of the norm
    assert walk(state) == 2  # mean and variance: no random state
    assert types.num_params(params) == (3 + 1) * 5 + 2 * 5 + (5 + 1) * 2


def test_the_key_decides_the_mask_and_nothing_else_does(model):
    params, state = model.init(jax.random.key(0))

    def outputs(key, state=state):
        return model.apply(params, state, INPUTS, key=jax.random.key(key), train=True)[0]

    before = outputs(1)
    assert jnp.any(before != outputs(2))
    np.testing.assert_array_equal(before, outputs(1))


def test_evaluation_is_deterministic_and_leaves_state_alone(model):
    params, state = model.init(jax.random.key(0))
    for _ in range(3):
        _, state = model.apply(params, state, INPUTS, key=jax.random.key(1), train=True)
    first, after = model.apply(params, state, INPUTS, key=jax.random.key(1), train=False)
    second, _ = model.apply(params, state, INPUTS, key=None, train=False)
    alone, _ = model.apply(params, state, INPUTS[:1], key=None, train=False)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[:1], alone, atol=1e-6)
    assert not any(leaves_differ(state, after))


def test_batch_statistics_follow_the_batch(model):
    params, state = model.init(jax.random.key(0))
    new = model.apply(params, state, INPUTS, key=jax.random.key(1), train=True)[1]
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert all(leaves_differ(state, new))


def test_lanes_have_their_own_state_in_one_trace(model):
    traces = []

    @jax.jit
    @jax.vmap
    def lane(seed, scale):
        traces.append(1)
        params, state = model.init(jax.random.key(seed))

        def step(state, i):
            key = jax.random.fold_in(jax.random.key(seed), i)
            outputs, state = model.apply(params, state, scale * INPUTS, key=key, train=True)
            return state, outputs.mean()

        return jax.lax.scan(step, state, jnp.arange(4))

    seeds = jnp.array([0, 0, 1])
    state, outputs = lane(seeds, jnp.array([1.0, 3.0, 1.0]))
    lane(seeds, jnp.array([2.0, 5.0, 4.0]))
    assert len(traces) == 1
    for leaf in jax.tree.leaves(state):
        assert leaf.shape == (3, 5)
        assert jnp.any(leaf[0] != leaf[1])
        assert jnp.any(leaf[0] != leaf[2])
    alone, outputs_alone = lane(seeds[::-1], jnp.array([1.0, 3.0, 1.0])[::-1])
    np.testing.assert_array_equal(outputs[0], outputs_alone[2])
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(alone)):
        np.testing.assert_array_equal(ours[0], theirs[2])


@pytest.mark.parametrize("graphs", [True, False])
def test_make_may_close_over_tracers(graphs):
    class Scaled(nnx.Module):
        def __init__(self, rngs, gain, slope):
            self.inner = Ordinary(rngs, gain)
            self.slope = slope  # an array that is no variable: made anew, carried nowhere

        def __call__(self, x):
            return self.slope * self.inner(x)

    @jax.jit
    @jax.vmap
    def lane(gain, slope):
        model = adapters.from_nnx(lambda rngs: Scaled(rngs, gain, slope))
        params, state = model.init(jax.random.key(0))
        outputs, _ = model.apply(params, state, INPUTS, key=jax.random.key(1), train=False)
        return params["inner"]["layers"]["0"]["kernel"], outputs, jax.tree.map(jnp.size, state)

    with nnx.set_graph_mode(graphs):
        kernels, outputs, state = lane(jnp.array([1.0, 2.0, 1.0]), jnp.array([1.0, 1.0, 4.0]))
    np.testing.assert_allclose(2 * kernels[0], kernels[1], rtol=1e-6)
    np.testing.assert_allclose(4 * outputs[0], outputs[2], rtol=1e-6)
    assert len(jax.tree.leaves(state)) == 2


def test_what_a_module_notes_down_is_not_carried():
    class Sowing(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(3, 2, rngs=rngs)

        def __call__(self, x):
            self.sow(nnx.Intermediate, "hidden", x)
            return self.linear(x)

    model = adapters.from_nnx(Sowing)
    params, state = model.init(jax.random.key(0))
    _, after = model.apply(params, state, INPUTS, key=jax.random.key(1), train=True)
    assert state == after == {}


def test_call_gets_the_key_and_whether_it_trains():
    def call(module, inputs, *, key, train):
        return module(inputs) + (jax.random.uniform(key) if train else 0.0)

    model = adapters.from_nnx(lambda rngs: nnx.Linear(3, 2, rngs=rngs), call)
    params, state = model.init(jax.random.key(0))
    key = jax.random.key(5)
    trained, _ = model.apply(params, state, INPUTS, key=key, train=True)
    evaluated, _ = model.apply(params, state, INPUTS, key=key, train=False)
    np.testing.assert_allclose(trained - evaluated, jax.random.uniform(key), atol=1e-6)


def test_weights_that_miss_a_layer_are_refused():
    model = adapters.from_nnx(Ordinary)
    params, state = model.init(jax.random.key(0))
    del params["norm"]
    with pytest.raises(KeyError, match="norm"):
        model.apply(params, state, INPUTS, key=None, train=False)


@pytest.mark.parametrize("argument", [None, "deterministic"])
def test_linen_is_told_by_the_name_it_uses(argument):
    model = adapters.from_linen(Deterministic(), SPEC, train_argument=argument)
    params, state = model.init(jax.random.key(0))
    assert set(state) == {"batch_stats"}  # what is sown is not carried
    apply = [model.apply(params, state, INPUTS, key=jax.random.key(k), train=True) for k in (1, 2)]
    assert jnp.any(apply[0][0] != apply[1][0])
    evaluated = model.apply(params, state, INPUTS, key=None, train=False)
    assert not any(leaves_differ(state, evaluated[1]))
    assert all(leaves_differ(state, apply[0][1]))
