"""Lanes: what one computes depends on the block width alone, and a program is compiled once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recipe_jax.models import mlp
from recipe_jax.objectives import classification
from recipe_jax.optim import adamw
from recipe_jax.sweep import plan, population
from recipe_jax.train.evaluate import EvalBatches
from recipe_jax.train.fit import Data, make_round, make_start, repeated
from recipe_jax.types import Arrays, Experiment, Spec, Trial

SPEC = Spec(kind="classification", input_shape=(4,), num_outputs=3, prior=(1 / 3, 1 / 3, 1 / 3))
DRAW = np.random.default_rng(0)
INPUTS = DRAW.normal(size=(40, 4)).astype(np.float32)
TARGETS = DRAW.integers(0, 3, 40).astype(np.int32)
HELD = EvalBatches(INPUTS[None], TARGETS[None], np.ones((1, 40), bool))
DATA = Data(Arrays(INPUTS, TARGETS), HELD, HELD)


class Counting:
    """Builds an experiment from numbers, and counts how often it was traced."""

    def __init__(self):
        self.traces = 0

    def __call__(self, numbers):
        self.traces += 1
        return Experiment(
            model=mlp.build(SPEC, width=8, depth=1, dropout=numbers["model.dropout"]),
            objective=classification.build(SPEC),
            optimizer=adamw.build(learning_rate=numbers["optim.learning_rate"]),
            schedule=lambda step: 1.0,
            augment=lambda key, inputs, targets: (inputs, targets),
        )


def numbers(rate=1e-2, dropout=0.2):
    return {"model.dropout": dropout, "optim.learning_rate": rate}


def train(trials, each, *, width, devices, build=None, rounds=2):
    """Final states and records of all lanes, on the host."""
    build = build or Counting()
    mesh = population.make_mesh(jax.devices()[:devices])
    start = population.spread(make_start(build, seed=0), lane_arguments=1, width=width, mesh=mesh)
    one_round = make_round(build, seed=0, num_steps=5, batch_size=8, patience=None)
    advance = population.spread(one_round, lane_arguments=2, width=width, mesh=mesh, donate=(1,))
    data = population.replicate(DATA, mesh)
    waves = population.to_waves(population.make_lanes(trials, each, 40), width=width, mesh=mesh)
    moved = [start(wave, data) for wave in waves]
    for _ in range(rounds):
        moved = [advance(wave, state, data) for wave, (state, _) in zip(waves, moved)]
    return population.from_waves(moved, len(trials))


def assert_same_bits(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


TRIALS = [Trial(seed=seed) for seed in range(6)]
EACH = [numbers(rate=10.0 ** -(1 + i % 3), dropout=0.1 * i) for i in range(6)]


@pytest.mark.parametrize("width, counts", [(1, (1, 2, 4)), (2, (2, 3, 4)), (4, (2, 4))])
def test_devices_and_blocks_change_no_bit(width, counts):
    first, *others = (train(TRIALS, EACH, width=width, devices=devices) for devices in counts)
    for other in others:
        assert_same_bits(first, other)


@pytest.mark.parametrize("width", [1, 2])
def test_a_round_has_the_same_bits_in_a_call_of_any_size(width):
    """XLA would dissolve a loop of one round, and round otherwise than in a loop of more."""
    mesh = population.make_mesh(jax.devices()[:width])
    start = population.spread(
        make_start(Counting(), seed=0), lane_arguments=1, width=width, mesh=mesh
    )
    one_round = make_round(Counting(), seed=0, num_steps=12, batch_size=16, patience=None)
    # Thirty rows: what is left over after whole vectors is where the roundings differed.
    odd = EvalBatches(*(each[:, :30] for each in HELD))
    data = population.replicate(DATA._replace(seen=odd, validation=odd), mesh)
    (wave,) = population.to_waves(
        population.make_lanes(TRIALS[: width**2], EACH[: width**2], 40), width=width, mesh=mesh
    )
    found = []
    for size in (1, 2, 4):
        many = repeated(one_round, size)
        advance = population.spread(many, lane_arguments=2, width=width, mesh=mesh)
        states, records = start(wave, data)[0], []
        for _ in range(4 // size):
            states, record = advance(wave, states, data)
            records.append(record)
        stacked = jax.tree.map(lambda *each: np.concatenate(each, axis=2), *records)
        found.append((states, stacked))
    for other in found[1:]:
        assert_same_bits(found[0], other)


def test_a_machine_of_any_size_runs_the_same_program():
    # One device is another XLA pipeline: several lanes never run on one where there are two.
    assert population.mesh_for(1, 1).devices.size == 1
    assert population.mesh_for(3, 1).devices.size == 3
    assert population.mesh_for(8, 4).devices.size == 2
    assert population.mesh_for(4, 4).devices.size == 2
    assert population.mesh_for(1000, 4).devices.size == len(jax.devices())


def test_neighbours_change_no_bit():
    expected = train(TRIALS, EACH, width=2, devices=2)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = train([TRIALS[i] for i in order], [EACH[i] for i in order], width=2, devices=2)
    back = jax.tree.map(lambda leaf: leaf[np.argsort(order)], shuffled)
    assert_same_bits(expected, back)


def test_a_diverging_neighbour_changes_no_bit():
    sick = [*EACH]
    sick[1] = numbers(rate=float("nan"))
    healthy, ill = (train(TRIALS, each, width=4, devices=1) for each in (EACH, sick))
    others = np.array([0, 2, 3, 4, 5])
    assert_same_bits(*(jax.tree.map(lambda leaf: leaf[others], each) for each in (healthy, ill)))
    assert not np.isfinite(ill[1].losses[1]).all()


def test_a_lane_is_the_solo_run_up_to_rounding():
    together = train(TRIALS, EACH, width=4, devices=2)
    alone = train(TRIALS[2:3], EACH[2:3], width=1, devices=1)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[2:3], b, rtol=2e-4, atol=2e-5), together, alone
    )


def test_settings_with_one_seed_share_init_and_order():
    trials = [Trial(seed=7), Trial(seed=7, settings={"optim.learning_rate": 0.0}), Trial(seed=8)]
    each = [numbers(rate=0.0, dropout=0.0), numbers(rate=0.0, dropout=0.0), numbers(rate=0.0)]
    states, records = train(trials, each, width=1, devices=1)
    np.testing.assert_array_equal(records.losses[0], records.losses[1])
    assert (records.losses[0] != records.losses[2]).all()
    kernels = [jax.tree.leaves(states.params)[-1][lane] for lane in range(3)]
    np.testing.assert_array_equal(kernels[0], kernels[1])


def test_one_trace_whatever_the_numbers_and_the_number_of_lanes():
    build = Counting()
    mesh = population.make_mesh(jax.devices()[:2])
    one_round = make_round(build, seed=0, num_steps=5, batch_size=8, patience=None)
    start = population.spread(make_start(build, seed=0), lane_arguments=1, width=2, mesh=mesh)
    advance = population.spread(one_round, lane_arguments=2, width=2, mesh=mesh)
    data = population.replicate(DATA, mesh)
    for count, rate in ((3, 1e-3), (6, 1e-1), (11, 0.0)):
        trials = [Trial(seed=seed) for seed in range(count)]
        waves = population.to_waves(
            population.make_lanes(trials, [numbers(rate)] * count, 40), width=2, mesh=mesh
        )
        for wave in waves:
            states, _ = start(wave, data)
            advance(wave, states, data)
    assert build.traces == 2  # the start and the round, once each


def test_no_collectives():
    mesh = population.make_mesh(jax.devices()[:4])
    one_round = make_round(Counting(), seed=0, num_steps=5, batch_size=8, patience=None)
    start = population.spread(make_start(Counting(), seed=0), lane_arguments=1, width=1, mesh=mesh)
    advance = population.spread(one_round, lane_arguments=2, width=1, mesh=mesh)
    data = population.replicate(DATA, mesh)
    (wave,) = population.to_waves(
        population.make_lanes(TRIALS[:4], EACH[:4], 40), width=1, mesh=mesh
    )
    states, _ = start(wave, data)
    text = advance.lower(wave, states, data).compile().as_text()
    for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute"):
        assert collective not in text


def test_waves_and_back():
    mesh = population.make_mesh(jax.devices()[:2])
    tree = {"a": np.arange(7), "b": np.arange(14.0).reshape(7, 2), "empty": np.zeros((7, 0))}
    waves = population.to_waves(tree, width=2, mesh=mesh)
    assert len(waves) == 2 and waves[0]["a"].shape == (2, 2)
    assert_same_bits(tree, population.from_waves(waves, 7))


def dense(width, batch):
    def forward(kernel, inputs):
        return inputs @ kernel

    return forward, (jnp.zeros((width, width)), jnp.zeros((batch, width)))


def convolution(kernel, inputs):
    return jax.lax.conv_general_dilated(
        inputs, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize(
    "step, arguments, lanes, width",
    [
        (*dense(32, 16), 1, 1),
        (*dense(32, 16), 8, 4),
        (*dense(32, 16), 64, 16),
        (*dense(128, 16), 64, 16),
        (*dense(128, 128), 64, 2),
        (*dense(256, 64), 64, 1),
        (*dense(1024, 64), 64, 1),
        (convolution, (jnp.zeros((3, 3, 1, 4)), jnp.zeros((2, 8, 8, 1))), 64, 1),
    ],
)
def test_block_width(step, arguments, lanes, width):
    cost = plan.cost_of(step, *arguments)
    assert plan.block_width(cost, num_lanes=lanes, platform="cpu") == width


def test_multiply_adds_by_hand():
    forward, arguments = dense(32, 16)
    assert plan.cost_of(jax.jit(forward), *arguments) == (16 * 32 * 32, False)
    # every output pixel of every channel: 3 x 3 x 1 products
    arguments = (jnp.zeros((3, 3, 1, 4)), jnp.zeros((2, 8, 8, 1)))
    assert plan.cost_of(convolution, *arguments) == (2 * 8 * 8 * 4 * 9, True)


def test_rounds_in_a_call_divide_the_run():
    small, large = plan.Cost(10_000, False), plan.Cost(10_000_000, False)
    find = partial(plan.rounds_at_once, width=1, rounds=12)
    assert find(small, steps_per_round=100) == 12
    assert find(small, steps_per_round=3000) == 4
    assert find(large, steps_per_round=100) == 1
    assert plan.rounds_at_once(small, width=1, steps_per_round=1, rounds=0) == 1
