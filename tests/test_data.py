"""Laws of preparing a dataset: fixed splits, no leaks, statistics from training alone."""

import dataclasses
import json
from typing import Annotated, get_args

import numpy as np
import pytest

from recipe_jax import resolve
from recipe_jax.data import base
from recipe_jax.types import UserError


def source(n=300, classes=3, seed=0, **fields):
    """A table of floats whose ids are the row numbers."""
    rng = np.random.default_rng(seed)
    settings = {
        "targets": (np.arange(n) % classes).astype(np.int32),
        "kind": "classification",
        "class_names": tuple(f"c{i}" for i in range(classes)),
        **fields,
    }
    inputs = settings.pop("inputs", rng.normal(size=(n, 4)) * [1, 10, 100, 1] + 5)
    return base.from_arrays("probe", inputs, **settings)


def quantities(n=300, outputs=1, seed=0, **fields):
    targets = np.random.default_rng(seed + 1).gamma(2.0, 100.0, size=(n, outputs))
    return source(n, targets=targets, kind="regression", class_names=(), seed=seed, **fields)


def opened(task):
    """The three splits by name; the test split's opening is not recorded here."""
    return {"train": task.train, "validation": task.validation, "test": task.test.open(list)}


def placed(task):
    """Row number -> split."""
    return {int(i): name for name, split in opened(task).items() for i in split.ids}


@pytest.mark.parametrize("make", [source, quantities])
def test_splits_hold_every_example_once_at_the_fractions(make):
    task = base.prepare(make(), validation=0.3, test=0.1)
    assert sorted(placed(task)) == list(range(300))
    assert [len(s.ids) for s in opened(task).values()] == [180, 90, 30]
    assert task.test.num_examples == 30


@pytest.mark.parametrize("make", [source, quantities])
def test_file_order_moves_nothing(make):
    raw = make()
    order = np.random.default_rng(5).permutation(300)
    one, other = base.prepare(raw), base.prepare(raw.take(order))
    assert one.fingerprint == other.fingerprint
    for a, b in zip(opened(one).values(), opened(other).values()):
        np.testing.assert_array_equal(a.inputs, b.inputs)
        np.testing.assert_array_equal(a.targets, b.targets)
        np.testing.assert_array_equal(a.ids, b.ids)


def test_more_rows_move_only_the_examples_at_the_cuts():
    raw = source(2000)
    before = placed(base.prepare(raw.take(np.arange(1800))))
    after = placed(base.prepare(raw))
    moved = sum(before[i] != after[i] for i in before)
    assert moved < 60


def test_the_split_seed_gives_other_splits_and_the_fingerprint_says_so():
    one, other = base.prepare(source()), base.prepare(source(), split_seed=1)
    assert placed(one) != placed(other)
    assert one.fingerprint != other.fingerprint


def test_the_fingerprint_sees_one_changed_value_and_one_changed_target():
    raw = source()
    inputs = raw.raw.copy()
    inputs[7, 2] += 1e-9
    targets = raw.targets.copy()
    targets[7] = (targets[7] + 1) % 3
    changed = [
        dataclasses.replace(raw, raw=inputs),
        dataclasses.replace(raw, targets=targets),
        raw.take(np.arange(299)),
    ]
    prints = [base.prepare(s).fingerprint for s in (raw, *changed)]
    assert len(set(prints)) == 4


@pytest.mark.parametrize("conflicting", [False, True])
def test_equal_inputs_stay_together_whatever_their_labels(conflicting):
    raw = source(100)
    copies = np.concatenate([np.arange(100), np.arange(0, 100, 3), np.arange(0, 100, 2)])
    twice = dataclasses.replace(raw.take(copies), ids=np.arange(len(copies)))
    if conflicting:
        targets = np.random.default_rng(0).integers(0, 3, len(copies)).astype(np.int32)
        twice = dataclasses.replace(twice, targets=targets)
    place = placed(base.prepare(twice))
    for example in range(100):
        assert len({place[int(i)] for i in np.flatnonzero(copies == example)}) == 1


def test_negative_zero_is_a_duplicate_of_zero():
    once = np.random.default_rng(0).normal(size=(60, 2)) * [0.0, 1.0]
    twice = np.concatenate([abs(once), abs(once)])
    twice[60:, 0] = -0.0
    place = placed(base.prepare(source(120, inputs=twice)))
    assert all(place[i] == place[i + 60] for i in range(60))


def test_a_rare_class_is_spread_even_where_its_inputs_are_shared():
    """Four distinct inputs, each of both classes: the rare class decides where they go."""
    inputs = np.array([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)] * 25)
    targets = np.zeros(100, np.int32)
    targets[:4] = 1
    inputs = np.concatenate([inputs, np.random.default_rng(0).normal(size=(40, 2))])
    targets = np.concatenate([targets, np.zeros(40, np.int32)])
    raw = source(140, classes=2, inputs=inputs, targets=targets)
    for seed in range(5):
        task = base.prepare(raw, split_seed=seed)
        assert [int(s.targets.sum()) for s in opened(task).values()] == [2, 1, 1]


def test_every_class_has_its_share_in_every_split():
    counts = {0: 200, 1: 50, 2: 10}
    targets = np.repeat(list(counts), list(counts.values())).astype(np.int32)
    task = base.prepare(source(260, targets=targets))
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        found = np.bincount(opened(task)[name].targets)
        np.testing.assert_array_equal(found, [round(share * c) for c in counts.values()])
    np.testing.assert_allclose(task.spec.prior, [120 / 156, 30 / 156, 6 / 156])


def test_quantities_are_spread_evenly_over_the_splits():
    raw = quantities(500)
    lowest = np.argsort(raw.targets[:, 0])[:50]
    place = placed(base.prepare(raw))
    found = [place[int(i)] for i in lowest]
    assert [found.count(name) for name in ("train", "validation", "test")] == [30, 10, 10]


def test_any_prefix_of_training_is_a_fair_sample():
    targets = (np.arange(500) >= 400).astype(np.int32)
    train = base.prepare(source(500, classes=2, targets=targets)).train
    for size in (10, 25, 50, 200):
        assert abs(train.targets[:size].mean() - 0.2) <= 1 / size


def test_training_order_is_free_of_file_order():
    ids = base.prepare(source(900)).train.ids
    assert abs(np.corrcoef(ids, np.arange(len(ids)))[0, 1]) < 0.2


def test_statistics_are_those_of_the_training_split_alone():
    raw = source()
    task = base.prepare(raw)
    training = raw.raw[task.train.ids]
    np.testing.assert_allclose(task.encoder.mean, training.mean(0))
    np.testing.assert_allclose(task.encoder.scale, training.std(0))
    np.testing.assert_allclose(task.train.inputs.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(task.train.inputs.std(0), 1, rtol=1e-6)
    expected = (raw.raw[task.validation.ids] - training.mean(0)) / training.std(0)
    np.testing.assert_allclose(task.validation.inputs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [source, quantities])
def test_fitting_sees_the_training_rows_and_no_other(make):
    raw, seen = make(), []

    def fit(training, *, normalize):
        seen.append(training)
        return raw.fit(training, normalize=normalize)

    task = base.prepare(dataclasses.replace(raw, fit=fit))
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], raw.raw[task.train.ids])


def test_statistics_of_all_rows_would_be_noticed():
    """Sabotage: a dataset whose fit looks at every row gives other inputs."""
    raw = source()
    leaking = dataclasses.replace(raw, fit=lambda _, normalize: raw.fit(raw.raw, normalize="auto"))
    inputs = base.prepare(leaking).train.inputs
    assert abs(inputs.mean(0)).max() > 1e-3


def test_hand_values():
    """Ten examples of one feature 0..9, two classes; training keeps what the splits left."""
    inputs = np.arange(10.0)[:, None]
    task = base.prepare(source(10, classes=2, inputs=inputs))
    kept = inputs[task.train.ids, 0]
    assert len(kept) == 6
    mean = kept.sum() / 6
    scale = (((kept - mean) ** 2).sum() / 6) ** 0.5
    np.testing.assert_allclose(task.train.inputs[:, 0], (kept - mean) / scale, rtol=1e-6)


def test_images_are_normalised_by_channel_and_pixels_on_request():
    images = np.random.default_rng(0).normal(3.0, 2.0, size=(90, 5, 4, 2)) * [1.0, 50.0]
    task = base.prepare(source(90, inputs=images))
    assert task.modality == "image" and task.feature_names == ()
    assert task.spec.input_shape == (5, 4, 2)
    np.testing.assert_allclose(task.train.inputs.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(task.train.inputs.std((0, 1, 2)), 1, rtol=1e-5)
    assert abs(task.train.inputs.mean(0)).max() > 0.01
    by_pixel = base.prepare(source(90, inputs=images), normalize="feature")
    np.testing.assert_allclose(by_pixel.train.inputs.mean(0), 0, atol=1e-5)


def test_none_leaves_inputs_as_they_are():
    raw = source()
    task = base.prepare(raw, normalize="none")
    np.testing.assert_array_equal(task.train.inputs, raw.raw[task.train.ids].astype(np.float32))


def test_a_constant_feature_becomes_zero():
    inputs = np.random.default_rng(0).normal(size=(60, 3))
    inputs[:, 1] = 0.1
    task = base.prepare(source(60, inputs=inputs))
    assert (abs(task.train.inputs[:, 1]) < 1e-6).all()
    assert np.isfinite(task.validation.inputs).all()


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e37])
def test_tiny_and_huge_features_stay_finite(size):
    inputs = np.random.default_rng(0).normal(size=(60, 2)) * size
    task = base.prepare(source(60, inputs=inputs))
    assert np.isfinite(task.train.inputs).all() and np.isfinite(task.validation.inputs).all()


def test_quantities_are_standardised_and_the_spec_says_how():
    raw = quantities(outputs=2)
    task = base.prepare(raw)
    training = raw.targets[task.train.ids]
    np.testing.assert_allclose(task.spec.target_mean, training.mean(0))
    np.testing.assert_allclose(task.spec.target_scale, training.std(0))
    back = task.test.open(list).targets * task.spec.target_scale + task.spec.target_mean
    np.testing.assert_allclose(back, raw.targets[task.test.open(list).ids], rtol=1e-4, atol=1e-3)
    assert task.spec.prior == (0.0, 0.0) and task.spec.num_outputs == 2
    assert task.train.targets.dtype == np.float32 and task.class_names == ()


def test_fraction_shrinks_training_alone_and_keeps_its_beginning_by_class():
    whole, part = base.prepare(source()), base.prepare(source(), fraction=0.25)
    assert len(part.train.ids) == 45
    assert set(part.train.ids) <= set(whole.train.ids)
    np.testing.assert_array_equal(part.validation.ids, whole.validation.ids)
    np.testing.assert_array_equal(np.bincount(part.train.targets), [15, 15, 15])
    tiny = base.prepare(source(), fraction=1e-6)
    np.testing.assert_array_equal(np.sort(tiny.train.targets), [0, 1, 2])


@pytest.mark.parametrize("make", [source, quantities])
def test_max_examples_shrinks_every_split(make):
    task = base.prepare(make(), max_examples=90)
    assert [len(s.ids) for s in opened(task).values()] == [54, 18, 18]
    assert placed(base.prepare(make(), max_examples=300)) == placed(base.prepare(make()))


def test_classes_are_kept_by_name():
    raw = source()
    task = base.prepare(raw, classes=("c2", "c0"))
    assert task.class_names == ("c0", "c2") and task.spec.num_outputs == 2
    for split in opened(task).values():
        np.testing.assert_array_equal(raw.targets[split.ids], split.targets * 2)
    assert len(placed(task)) == 200


def test_a_class_is_thinned_before_splitting_and_the_others_stay():
    raw = source(600)
    task = base.prepare(raw, class_fractions=(0.1, 1.0, 0.5))
    kept = np.concatenate([split.targets for split in opened(task).values()])
    np.testing.assert_array_equal(np.bincount(kept), [20, 200, 100])
    # Every split has its share of the rare class: a fifth, a fifth, and the rest.
    rare = [int((split.targets == 0).sum()) for split in opened(task).values()]
    assert sorted(rare) == [4, 4, 12]
    np.testing.assert_allclose(task.spec.prior, np.array([12, 120, 60]) / 192)
    # What is kept follows from content: less of it is a part of more of it, in any file order.
    fewer = placed(base.prepare(raw, class_fractions=(0.05, 1.0, 0.5)))
    assert set(fewer) < set(placed(task))
    turned = base.prepare(raw.take(np.arange(600)[::-1]), class_fractions=(0.1, 1.0, 0.5))
    assert placed(turned) == placed(task)
    assert placed(base.prepare(raw, class_fractions=(1.0,) * 3)) == placed(base.prepare(raw))
    chosen = base.prepare(raw, classes=("c0", "c2"), class_fractions=(1.0, 0.1))
    assert len(placed(chosen)) == 220


def test_oversampling_repeats_training_until_classes_are_even():
    targets = (np.arange(300) >= 270).astype(np.int32)
    raw = source(300, classes=2, targets=targets)
    plain, even = base.prepare(raw), base.prepare(raw, balance="oversample")
    assert even.spec.prior == (0.5, 0.5)
    assert set(even.train.ids) == set(plain.train.ids)
    np.testing.assert_array_equal(even.validation.ids, plain.validation.ids)
    repeats = np.bincount(even.train.ids, minlength=300)[plain.train.ids]
    assert set(repeats[plain.train.targets == 0]) == {1}
    assert set(repeats[plain.train.targets == 1]) == {9}
    assert abs(even.train.targets[:20].mean() - 0.5) < 0.06
    np.testing.assert_allclose(even.train.inputs.mean(0), 0, atol=1e-6)


def test_array_encoders_go_there_and_back_and_survive_json():
    raw = source()
    encoder = base.prepare(raw).encoder
    again = base.encoder_from_json(json.loads(json.dumps(encoder.to_json())))
    np.testing.assert_array_equal(again.encode(raw.raw), encoder.encode(raw.raw))
    np.testing.assert_allclose(again.decode(again.encode(raw.raw)), raw.raw, rtol=1e-5, atol=1e-4)
    text = {name: [str(x) for x in raw.raw[:, i]] for i, name in enumerate(again.feature_names)}
    np.testing.assert_array_equal(again.encode(text), encoder.encode(raw.raw))
    with pytest.raises(UserError, match="no column 'x3'"):
        again.encode({name: text[name] for name in ("x0", "x1", "x2")})
    with pytest.raises(UserError, match=r"shape \(3,\).*\(4,\)"):
        again.encode(raw.raw[:, :3])
    with pytest.raises(UserError, match="Row 2 holds 'high' in column 'x0'"):
        again.encode(text | {"x0": ["1.0", "high", *text["x0"][2:]]})


def poisoned(*values):
    inputs = np.random.default_rng(0).normal(size=(60, 4))
    inputs[17, 2 : 2 + len(values)] = values
    return inputs


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: source(60, inputs=poisoned(np.nan, -np.inf)), "1 NaN and 1 inf.* row 17 .*'x2'"),
        (lambda: source(60, inputs=poisoned(1e39)), "0 NaN and 1 infinite.* row 17 column 'x2'"),
        (
            lambda: source(60, targets=np.full((60, 1), np.nan), kind="regression", class_names=()),
            "targets hold 60 NaN",
        ),
        (
            lambda: base.prepare(source(7, targets=np.array([0, 0, 0, 1, 1, 1, 2], np.int32))),
            "Class 'c2' has 1 example, .*data.classes",
        ),
        (lambda: base.prepare(source(60, targets=np.zeros(60, np.int32), classes=1)), "one class"),
        (lambda: base.prepare(source(60, inputs=np.zeros((60, 4)))), "equal inputs stay together"),
        (lambda: base.prepare(quantities(60, inputs=np.ones((60, 4)))), "equal inputs stay"),
        (lambda: base.prepare(quantities(2)), "2 examples"),
        (lambda: base.prepare(source(), validation=0.5, test=0.5), "nothing to train on"),
        (lambda: base.prepare(source(), classes=("c1", "c11")), "no class 'c11'; did you mean"),
        (lambda: base.prepare(quantities(), classes=("c1",)), "target here is a quantity"),
        (lambda: base.prepare(quantities(), balance="oversample"), "target here is a quantity"),
        (lambda: base.prepare(quantities(), class_fractions=(0.5,)), "target is a quantity"),
        (lambda: base.prepare(source(), class_fractions=(0.5,)), "must hold 3 shares.*c0, c1, c2"),
        (lambda: base.prepare(source(), class_fractions=(1e-9, 1.0, 1.0)), "'c0' has 1 example"),
        (lambda: base.prepare(source(), max_examples=4), "Class 'c.' has 1 example,"),
    ],
)
def test_bad_input_is_one_sentence(make, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        make()
    assert "\n" not in str(caught.value) and str(caught.value)[-1] in ".?"


def test_integer_class_names_offer_regression():
    raw = source(6, targets=np.arange(6, dtype=np.int32), class_names=tuple("123456"))
    with pytest.raises(UserError, match=r"data\.task='regression'"):
        base.prepare(raw)


@pytest.mark.parametrize(
    "name, shape, outputs, sizes",
    [
        ("digits", (8, 8, 1), 10, 1797),
        ("iris", (4,), 3, 150),
        ("wine", (13,), 3, 178),
        ("breast_cancer", (30,), 2, 569),
        ("diabetes", (10,), 1, 442),
    ],
)
def test_shipped_datasets(name, shape, outputs, sizes):
    task = base.prepare(resolve.resolve("data", name)())
    assert task.name == name
    assert task.spec.input_shape == shape and task.spec.num_outputs == outputs
    assert sum(len(split.ids) for split in opened(task).values()) == sizes
    assert len(task.feature_names) == (0 if len(shape) == 3 else shape[0])
    assert len(task.class_names) == (0 if name == "diabetes" else outputs)
    assert task.train.inputs.dtype == np.float32 and np.isfinite(task.train.inputs).all()
    again = base.prepare(resolve.resolve("data", name)())
    assert again.fingerprint == task.fingerprint


def test_settings_of_prepare_carry_their_ranges():
    keywords = resolve.keywords(base.prepare)
    assert 0.0 not in keywords["fraction"].range and 1.0 in keywords["fraction"].range
    assert 0 not in keywords["max_examples"].range
    assert "auto" in keywords["normalize"].range
    assert get_args(Annotated[float, keywords["test"].range])[0] is float


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_a_zero_that_was_read_is_shown_as_zero(name):
    """It comes back from float32 as a rounding error; nothing else becomes a zero."""
    read = resolve.resolve("data", name)()
    task = base.prepare(read)
    place = {id_: i for i, id_ in enumerate(read.ids.tolist())}
    raw = read.raw[[place[id_] for id_ in task.train.ids.tolist()]]
    found = task.encoder.decode(task.train.inputs)
    np.testing.assert_array_equal(found == 0, raw == 0)
    assert (raw == 0).any() and not np.signbit(found[raw == 0]).any()
