"""Batches with even shares of the classes (data.balance=batch)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_stages import context_of

from recipe_jax import config as configs
from recipe_jax.app import drive, lanes
from recipe_jax.app.signals import Signals
from recipe_jax.data import base
from recipe_jax.feed import balanced, order, resampling
from recipe_jax.recipe import examining
from recipe_jax.types import Sampling, Trial, Trials, UserError, View

# 20, 7 and 3 examples of classes 0, 1 and 3; there is none of class 2.
TARGETS = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [20, 7, 3])).astype(np.int32)


def key(seed=0):
    return jax.random.key(seed)


def drawn(first=0, steps=1, *, batch=6, limit=30, rows=None, seed=0):
    rows = jnp.arange(30, dtype=jnp.int32) if rows is None else rows
    return np.asarray(
        balanced.chunk_rows(
            key(seed),
            first,
            num_steps=steps,
            batch_size=batch,
            rows=rows,
            targets=jnp.asarray(TARGETS),
            classes=4,
            limit=limit,
        )
    )


def test_orders_of_traced_sizes_are_bijections():
    sizes = [*range(1, 40), 99, 100, 101, 4095, 4096, 4097]
    for epoch in (0, 7):
        places = np.concatenate([np.arange(n) for n in sizes]).astype(np.uint32)
        each = np.repeat(sizes, sizes).astype(np.uint32)
        epochs = np.full_like(places, epoch)
        found = np.asarray(order.within(key(), *map(jnp.asarray, (epochs, places, each))))
        for n, part in zip(sizes, np.split(found, np.cumsum(sizes)[:-1])):
            assert sorted(part) == list(range(n))
    last = np.asarray(
        order.within(key(), jnp.asarray(epochs + 1), *map(jnp.asarray, (places, each)))
    )
    assert (last[-4097:] != found[-4097:]).mean() > 0.9


def test_every_batch_has_even_shares_of_the_classes_that_are_there():
    shares = np.array([np.bincount(TARGETS[batch], minlength=4) for batch in drawn(steps=50)])
    assert (shares == [2, 2, 0, 2]).all()
    # Of 8 places two classes have three, and they take turns.
    shares = np.array([np.bincount(TARGETS[b], minlength=4) for b in drawn(steps=3, batch=8)])
    assert sorted(shares[0]) == [0, 2, 3, 3] and (shares.sum(0) == [8, 8, 0, 8]).all()
    # Their order within a batch is random.
    orders = {tuple(TARGETS[batch]) for batch in drawn(steps=50)}
    assert len(orders) > 20


def test_classes_of_one_size_have_orders_of_their_own():
    found = balanced.chunk_rows(
        key(),
        0,
        num_steps=50,
        batch_size=2,
        rows=jnp.arange(100, dtype=jnp.int32),
        targets=jnp.repeat(jnp.arange(2), 50),
        classes=2,
        limit=100,
    )
    first, second = np.sort(np.asarray(found), axis=1).T
    assert sorted(first) == list(range(50)) and sorted(second) == list(range(50, 100))
    assert (second - first != 50).mean() > 0.8


def test_a_class_goes_through_its_examples_before_one_comes_again():
    rows = drawn(steps=70).ravel()
    for label, count in ((0, 20), (1, 7), (3, 3)):
        own = rows[TARGETS[rows] == label]
        assert len(own) == 140
        epochs = own[: 140 // count * count].reshape(-1, count)
        # Batches are shuffled inside, so an epoch's ends may stand in one batch with the next's.
        ahead = np.array([np.bincount(own[: 2 * i], minlength=30) for i in range(1, 71)])
        ahead = ahead[:, label == TARGETS]
        assert (ahead.max(1) - ahead.min(1) <= 1).all()
        assert count < 4 or len({tuple(epoch) for epoch in epochs}) > 1


def test_a_step_is_a_function_of_the_key_and_its_number():
    whole = drawn(steps=9)
    np.testing.assert_array_equal(np.concatenate([drawn(steps=4), drawn(4, 5)]), whole)
    assert (drawn(steps=9, seed=1) != whole).any()
    lanes_ = jax.vmap(
        lambda k: balanced.chunk_rows(
            k,
            0,
            num_steps=9,
            batch_size=6,
            rows=jnp.arange(30, dtype=jnp.int32),
            targets=jnp.asarray(TARGETS),
            classes=4,
            limit=30,
        )
    )(jax.vmap(jax.random.key)(jnp.arange(3)))
    np.testing.assert_array_equal(lanes_[0], whole)
    np.testing.assert_array_equal(lanes_[1], drawn(steps=9, seed=1))


def test_a_limit_a_fold_and_a_bootstrap_are_kept():
    few = drawn(steps=20, limit=5)
    assert set(few.ravel()) == set(range(5))
    view, sampling = View(30, True, 6), Sampling(folds=5)
    own = resampling.rows(key(), jnp.arange(24, dtype=jnp.int32), view, sampling, 30)
    assert set(drawn(steps=40, rows=own).ravel()) == set(range(6)) | set(range(12, 30))
    view, sampling = View(30, True), Sampling(resampled=True)
    own = resampling.rows(key(), jnp.arange(30, dtype=jnp.int32), view, sampling, 30)
    seen = drawn(steps=200, rows=own).ravel()
    assert set(seen) == set(np.asarray(own).tolist())
    shares = np.bincount(TARGETS[seen], minlength=4)
    assert len(set(shares[shares > 0])) == 1


def uneven(**options):
    draw = np.random.default_rng(0)
    targets = (np.arange(300) >= 270).astype(np.int32)
    inputs = draw.normal(size=(300, 4)) + targets[:, None]
    source = base.from_arrays(
        "made", inputs, targets=targets, kind="classification", class_names=("a", "b")
    )
    return base.prepare(source, **options)


def test_the_examples_stay_as_they_are_and_the_prior_is_even():
    plain, even = uneven(), uneven(balance="batch")
    assert even.spec.prior == (0.5, 0.5)
    np.testing.assert_array_equal(even.train.ids, plain.train.ids)
    context = context_of()
    config = dict(context.config) | {"data": {"name": "made", "balance": "batch"}}
    seen = examining.program_of(config, even, context.objective).train
    assert seen is not None and len(seen.targets) == len(even.train.targets)
    assert abs(np.mean(seen.targets) - 0.5) < 0.02


def test_what_has_no_classes_is_refused():
    source = base.from_arrays("q", np.zeros((9, 2)), targets=np.ones((9, 1)), kind="regression")
    with pytest.raises(UserError, match=r"data\.balance='batch' is for classification"):
        base.prepare(source, balance="batch")


@pytest.mark.slow
def test_training_sees_the_rare_class_as_often(tmp_path):
    """A model of a bias alone learns the shares that it is shown."""
    given = configs.as_dict(
        configs.complete(
            {
                "data": {"name": "iris", "balance": "batch"},
                "model": {"name": "constant"},
                "train": {"batch_size": 10, "epochs": 40},
                "optim": {"name": "sgd", "learning_rate": 0.3},
            }
        )
    )
    task = uneven(balance="batch")

    def trained(balance):
        folder = tmp_path / balance
        folder.mkdir()
        made = lanes.Lanes(
            task=task,
            config=given | {"data": given["data"] | {"balance": balance}},
            workdir=folder,
            signals=Signals(),
            progress=lambda watched: None,
        )
        # Half of the lanes see part of the data, or are validated on a fold.
        trials = (Trial(), Trial(seed=1), Trial(num_examples=90), Trial(fold=(1, 3)))
        results = made.train("a", Trials(label="a", trials=trials, epochs=40, watch=1))
        return [np.ptp(np.asarray(each.watched)[-1]) for each in results]

    # Logits of 0.9 and 0.1 lie log 9 apart, those of even shares not at all.
    assert max(trained("batch")) < 0.3
    assert min(trained("none")) > 1.5


def test_the_command_refuses_a_text(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"abcd" * 500)
    given = {"data": {"name": "text", "path": str(tmp_path / "t.txt"), "balance": "batch"}}
    given |= {"objective": {"name": "next_token"}, "model": {"name": "rnn"}}
    with pytest.raises(UserError, match="this is a text"):
        drive.load_task(configs.as_dict(configs.complete(given)))
