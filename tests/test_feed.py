"""Laws of the feed: bijections, full batches, exact counts, uniform orders."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from recipe_jax.feed import batches, order
from recipe_jax.types import Arrays

SIZES = [1, 2, 3, 4, 5, 6, 7, 10, 15, 16, 17, 100, 1000, 1437]
# Under the null every p-value is uniform; this many tests stay above it unless an order is biased.
ALPHA = 1e-5


def key(seed=0):
    return jax.random.key(seed, impl="threefry2x32")


def orders(num_keys, num_positions, n):
    """(keys, positions): the orders of many keys."""
    keys = jax.random.split(key(1), num_keys)
    positions = jnp.arange(num_positions)
    run = jax.jit(jax.vmap(lambda k: order.order(k, positions, n)))
    return np.asarray(run(keys))


def uniform(cells):
    return stats.chisquare(cells).pvalue > ALPHA


@pytest.mark.parametrize("n", [*SIZES, 65537])
def test_every_example_exactly_once_an_epoch(n):
    seen = np.asarray(order.order(key(), jnp.arange(3 * n), n)).reshape(3, n)
    assert (np.sort(seen, axis=1) == np.arange(n)).all()


@pytest.mark.parametrize("n", [100, 1437])
def test_every_epoch_and_every_key_has_another_order(n):
    one = np.asarray(order.order(key(), jnp.arange(20 * n), n)).reshape(20, n)
    other = np.asarray(order.order(key(1), jnp.arange(n), n))
    every = [*one, other, np.arange(n)]
    # Two random orders agree in one place on average, whatever n.
    agreements = [int((a == b).sum()) for a, b in itertools.combinations(every, 2)]
    assert max(agreements) < 12
    assert 0.7 < np.mean(agreements) < 1.3


@pytest.mark.parametrize("n", SIZES[1:])
def test_the_first_position_is_uniform_and_free_of_the_epoch_before(n):
    drawn = orders(max(20_000, 20 * n) if n < 1000 else 10_000, n + 1 if n <= 100 else 1, n)
    assert uniform(np.bincount(drawn[:, 0], minlength=n))
    if n <= 17:
        assert uniform(np.bincount(drawn[:, 0] * n + drawn[:, n], minlength=n * n))


@pytest.mark.parametrize("n", [1000, 1437])
def test_the_first_positions_of_successive_epochs_are_uniform(n):
    firsts = np.asarray(order.order(key(3), jnp.arange(20_000) * n, n))
    assert uniform(np.bincount(firsts, minlength=n))
    assert abs(np.corrcoef(firsts[1:], firsts[:-1])[0, 1]) < 4.5 / math.sqrt(20_000)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_all_orders_of_a_few_examples_are_equally_frequent(n):
    drawn = orders(24_000, n, n)
    words, counts = np.unique(drawn @ n ** np.arange(n), return_counts=True)
    assert len(words) == math.factorial(n)
    assert uniform(counts)


@pytest.mark.parametrize("n", [7, 10, 16, 23, 47, 100])
def test_neighbours_are_uniform_over_all_pairs(n):
    drawn = orders(40_000, n, n)
    apart = ~np.eye(n, dtype=bool)
    for i, j in ((0, 1), (0, n - 1), (n // 2, n // 2 - 1)):
        pairs = np.bincount(drawn[:, i] * n + drawn[:, j], minlength=n * n).reshape(n, n)
        assert uniform(pairs[apart])


def test_rotations_alone_would_not_pass():
    """Sabotage: an order that is only rotated has uniform first positions and biased pairs."""
    shifts = np.random.default_rng(0).integers(0, 10, 40_000)
    pairs = np.bincount(shifts * 10 + (shifts + 1) % 10, minlength=100).reshape(10, 10)
    assert uniform(np.bincount(shifts))
    assert not uniform(pairs[~np.eye(10, dtype=bool)])


@pytest.mark.parametrize("n, batch_size", [(10, 3), (10, 10), (7, 20), (1, 4), (1437, 64)])
def test_a_chunk_equals_its_steps(n, batch_size):
    sizes = {"batch_size": batch_size, "num_examples": n, "limit": n}
    chunk = batches.chunk_indices(key(), 5, num_steps=4, **sizes)
    assert chunk.shape == (4, batch_size)
    step = jax.jit(lambda k, i: batches.batch_indices(k, i, **sizes))
    for i in range(4):
        assert (step(key(), jnp.int32(5 + i)) == chunk[i]).all()


def test_batches_walk_through_the_order_without_a_gap():
    chunk = batches.chunk_indices(key(), 0, num_steps=15, batch_size=4, num_examples=10, limit=10)
    epochs = np.asarray(chunk).reshape(6, 10)
    assert (np.sort(epochs, axis=1) == np.arange(10)).all()


def test_lanes_with_one_key_agree_and_others_do_not():
    keys = jax.vmap(lambda s: jax.random.fold_in(key(), s))(jnp.array([4, 4, 5]))
    run = jax.vmap(
        lambda k: batches.chunk_indices(
            k, 2, num_steps=3, batch_size=16, num_examples=100, limit=100
        )
    )
    lanes = np.asarray(run(keys))
    assert (lanes[0] == lanes[1]).all()
    assert (lanes[0] != lanes[2]).any()


def test_a_limit_is_traced_and_keeps_to_the_first_examples():
    traces = []

    @jax.jit
    def chunk(limit):
        traces.append(limit)
        return batches.chunk_indices(
            key(), 0, num_steps=5, batch_size=20, num_examples=100, limit=limit
        )

    whole = np.asarray(chunk(jnp.int32(100)))
    part = np.asarray(chunk(jnp.int32(25)))
    assert len(traces) == 1
    assert (part == whole % 25).all()
    # 25 divides 100, so each of the first 25 comes four times an epoch.
    assert (np.bincount(part.ravel()) == 4).all()


@pytest.mark.parametrize(
    "n, batch_size, num_batches", [(10, 4, 3), (8, 4, 2), (3, 8, 1), (1, 1, 1)]
)
def test_evaluation_counts_every_example_once(n, batch_size, num_batches):
    inputs = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    filled, mask = batches.eval_batches(Arrays(inputs, np.arange(n)), batch_size)
    assert filled.inputs.shape == (num_batches, batch_size, 2)
    assert filled.targets.shape == mask.shape == (num_batches, batch_size)
    assert mask.sum() == n
    # Row by row the examples stand in order.
    np.testing.assert_array_equal(filled.inputs.swapaxes(0, 1)[mask.T], inputs)
    np.testing.assert_array_equal(filled.targets.T[mask.T], np.arange(n))


def test_no_examples_cannot_be_evaluated():
    with pytest.raises(ValueError, match="at least one"):
        batches.eval_batches(Arrays(np.zeros((0, 2)), np.zeros(0)), 4)
