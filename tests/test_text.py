"""Text: split where it stands, windows at random phases, n-grams, samples, and every stage."""

import csv
import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_lanes import same_bits

from recipe_jax import config as configs
from recipe_jax import keys
from recipe_jax.app import commands, drive, lanes, predict, using
from recipe_jax.app.signals import Interrupted, Signals
from recipe_jax.checks import ngrams, text_audit
from recipe_jax.data import _stream, base, text
from recipe_jax.feed import batches, phases, streams
from recipe_jax.models import rnn
from recipe_jax.objectives import next_token
from recipe_jax.optim import sgd
from recipe_jax.recipe import text as text_stage
from recipe_jax.sweep import plan
from recipe_jax.train.chunk import make_chunk
from recipe_jax.train.evaluate import EvalBatches, evaluate, outputs_over
from recipe_jax.train.generate import generate
from recipe_jax.train.step import Moving, StepKeys, make_train_step
from recipe_jax.types import (
    Arrays,
    Experiment,
    Model,
    Outputs,
    Spec,
    Split,
    Trial,
    Trials,
    UserError,
    View,
)

KEY = jax.random.key(0)
WORDS = "the cat sat on a mat and the dog ate the hat of a man so sad it was"


def written(count=3000):
    """Words in random order, so that there is something to learn and no passage repeats."""
    draw = np.random.default_rng(0)
    return " ".join(draw.choice(WORDS.split(), count // 3))[:count]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text(written(), "utf-8")
    return path


def task_of(path, content=None, *, unit="character", window=8, **options):
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return base.prepare(text.build(path=str(path), unit=unit, window=window), **options)


def opened(task):
    return task.test.open(lambda: None)


def embedding_mean(spec, /, *, width: int = 16):
    """A causal network of one look: the mean of the embeddings so far, and the last one."""

    def init(key):
        names, shapes = ("in", "last", "out"), [(spec.num_outputs, width)] * 2
        drawn = jax.random.split(key, 3)
        shapes.append((width, spec.num_outputs))
        params = {n: 0.3 * jax.random.normal(k, s) for n, k, s in zip(names, drawn, shapes)}
        return params | {"bias": jnp.asarray(spec.prior_outputs, jnp.float32)}, {}

    def apply(params, model_state, inputs, *, key, train):
        so_far = jnp.cumsum(params["in"][inputs], 1) / jnp.arange(1, inputs.shape[1] + 1)[:, None]
        hidden = jnp.tanh(so_far + params["last"][inputs])
        return hidden @ params["out"] + params["bias"], model_state

    return Model(init, apply)


# --- Reading ---------------------------------------------------------------------------------


def test_text_is_tokens_and_back(file):
    task = task_of(file, "abba, caba! " * 20)
    assert task.class_names[:4] == ("�", "space", "!", ",")
    assert task.encoder.decode(task.encoder.encode("a cab")) == "a cab"
    assert task.encoder.encode("axb").tolist()[1] == 0 and task.encoder.decode(np.array([0])) == "�"
    again = base.encoder_from_json(json.loads(json.dumps(task.encoder.to_json())))
    assert again == task.encoder


def test_bytes_are_tokens_as_they_are(file):
    task = task_of(file, "žluťoučký kůň " * 30, unit="byte")
    assert task.spec.num_outputs == 256
    assert task.encoder.encode("ž").tolist() == list("ž".encode())
    assert task.encoder.decode(np.array(list("kůň".encode()))) == "kůň"
    assert not task.notes


def test_every_character_is_asked_once_and_none_crosses_a_border(file):
    """Training, validation and test are three stretches of the text, in this order."""
    content = written(1003)
    task = task_of(file, content, validation=0.2, test=0.1)
    assert (task.spec.kind, task.spec.input_dtype) == ("next_token", "int32")
    first_held, first_test = 1003 - 201 - 100, 1003 - 100
    for split, part in (
        (task.validation, content[first_held:first_test]),
        (opened(task), content[first_test:]),
    ):
        asked = split.targets >= 0
        assert task.encoder.decode(split.inputs[asked]) == part[:-1]
        assert task.encoder.decode(split.targets[asked]) == part[1:]
        assert [content[i] for i in split.ids] == [
            task.encoder.decode(row[:1]) for row in split.inputs
        ]
        assert not (~asked[:-1]).any(), "only the last window is filled up"
    whole = (first_held - 1) // 8
    assert task.train.inputs.shape == (whole, 8) and (task.train.targets >= 0).all()
    assert task.encoder.decode(task.train.inputs.ravel()) == content[: whole * 8]
    assert task.encoder.decode(task.train.targets.ravel()) == content[1 : whole * 8 + 1]


def test_the_vocabulary_is_that_of_training_and_what_it_lacks_is_counted(file):
    task = task_of(file, "ab" * 300 + "ac" * 100, validation=0.2, test=0.05)
    assert task.class_names == ("�", "a", "b")
    (note,) = task.notes
    assert note.check == "unseen_symbols" and note.status.value == "WARN"
    # 760 characters of the split: 160 in validation and 40 in test, every second one a "c".
    assert note.evidence["symbols"] == ["c"] and int(note.evidence["counts"][0]) == 100
    assert (opened(task).targets == 0).any()
    (note,) = task_of(file, "ab" * 400).notes
    assert note.status.value == "PASS"


def test_the_prior_counts_the_targets_of_training(file):
    task = task_of(file, "aab" * 200)
    counts = np.bincount(task.train.targets.ravel(), minlength=3)
    np.testing.assert_allclose(task.spec.prior, counts / counts.sum())
    assert task.spec.prior[0] == 0.0


def test_less_data_is_the_beginning(file):
    whole = task_of(file, written())
    half = task_of(file, fraction=0.5)
    size = round(0.5 * len(whole.train.inputs))
    np.testing.assert_array_equal(half.train.inputs, whole.train.inputs[:size])
    np.testing.assert_array_equal(half.validation.ids, whole.validation.ids)
    few = task_of(file, max_examples=40)
    total = len(few.train.ids) + len(few.validation.ids) + few.test.num_examples
    assert abs(total - 40) <= 2 and opened(few).ids[-1] < 40 * 8


def test_the_fingerprint_follows_the_content(file):
    one = task_of(file, written())
    assert one.fingerprint == task_of(file).fingerprint
    changed = written()[:100] + "Z" + written()[101:]
    others = [task_of(file, changed), task_of(file, written(), window=16)]
    others.append(task_of(file, unit="byte"))
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 4


@pytest.mark.parametrize(
    "content, options, words",
    [
        (b"abc\xff" * 50, {}, ("UTF-8", "byte 3", "0xff")),
        (b"", {}, ("empty",)),
        (b"a" * 500, {}, ("one character only", "nothing to learn")),
        (b"abcdefgh", {}, ("8 characters", "data.window")),
        (b"ab" * 100, {"window": 500}, ("window of 500 needs 501",)),
        (b"ab" * 100, {"validation": 0.004}, ("data.validation=0.004", "leaves 1")),
        (b"ab" * 100, {"balance": "oversample"}, ("data.balance", "text")),
        (b"ab" * 100, {"normalize": "feature"}, ("data.normalize",)),
        (b"ab" * 100, {"classes": ("a",)}, ("data.classes",)),
    ],
)
def test_bad_text_is_one_sentence(file, content, options, words):
    with pytest.raises(UserError) as told:
        task_of(file, content, **options)
    message = str(told.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and message.endswith(".")


def test_a_missing_file_and_a_window_of_none_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        text.build(path=str(tmp_path / "none.txt"))
    with pytest.raises(UserError, match=r"data\.window=0 is out of range"):
        configs.complete({"data": {"name": "text", "window": 0}})


def test_the_default_text_is_that_of_this_python():
    task = base.prepare(text.build())
    assert len(task.train.inputs) > 1000 and task.modality == "text"
    assert task.fingerprint == base.prepare(text.build()).fingerprint


def test_another_objective_is_refused_with_the_remedy(file):
    config = configs.as_dict(configs.complete({"data": {"name": "text", "path": str(file)}}))
    with pytest.raises(UserError, match=r"--config\.objective\.name=next_token"):
        drive.make_objective(config, task_of(file))


# --- Windows at random phases ----------------------------------------------------------------


def stream(num_windows=12, window=5):
    tokens = np.arange(num_windows * window + 1, dtype=np.int32)
    return Arrays(
        jnp.asarray(tokens[:-1].reshape(-1, window)), jnp.asarray(tokens[1:].reshape(-1, window))
    )


def drawn(first_step=0, num_steps=9, limit=12, key=KEY):
    return np.asarray(
        phases.chunk_phases(
            key,
            first_step,
            num_steps=num_steps,
            batch_size=4,
            num_examples=12,
            window=5,
            limit=limit,
        )
    )


def test_a_late_window_is_a_stretch_of_the_stream():
    train = stream()
    rows, late = jnp.array([0, 3, 10, 11]), jnp.array([0, 4, 4, 4])
    found = phases.late(train, rows, late)
    expected = np.array([0, 19, 54, 55])[:, None] + np.arange(5)
    np.testing.assert_array_equal(found.inputs, expected)
    np.testing.assert_array_equal(found.targets, expected + 1)


def test_an_epoch_has_one_phase_and_phases_are_all_different():
    # Three steps of four windows are an epoch of twelve.
    found = drawn(num_steps=15).reshape(5, 12)
    assert (found == found[:, :1]).all()
    assert sorted(found[:, 0]) == [0, 1, 2, 3, 4]
    others = [tuple(drawn(num_steps=15, key=jax.random.key(i))[::3, 0]) for i in range(8)]
    assert len(set(others)) > 4


def test_phases_follow_from_the_position_alone():
    whole = drawn(num_steps=9)
    np.testing.assert_array_equal(whole[4:], drawn(first_step=4, num_steps=5))


def test_a_lane_that_sees_few_examples_sees_those():
    assert drawn().any() and not drawn(limit=11).any()


SPEC = Spec(
    kind="next_token",
    input_shape=(5,),
    num_outputs=61,
    prior=(1 / 61,) * 61,
    input_dtype="int32",
)


@functools.cache
def experiment():
    return Experiment(
        model=embedding_mean(SPEC),
        objective=next_token.build(SPEC),
        optimizer=sgd.build(learning_rate=0.1),
        schedule=lambda step: 1.0,
        augment=lambda key, inputs, targets: (inputs, targets),
    )


@functools.cache
def chunk_of(windows, num_steps):
    return jax.jit(make_chunk(experiment(), num_steps=num_steps, batch_size=4, windows=windows))


def begin():
    params, state = experiment().model.init(KEY)
    return Moving(jnp.int32(0), params, state, experiment().optimizer.init(params))


def trained(windows, *, num_steps=6, moving=None, limit=12):
    view = View(jnp.int32(limit), jnp.bool_(True))
    chunk, key = chunk_of(windows, num_steps), keys.lane_key(0, 3)
    return chunk(moving or begin(), key, view, jnp.float32(1.0), stream())


def by_itself(built, key):
    """A training step that reads its stretches of the stream by itself: (moving, pieces, by how
    many tokens late, number)."""
    train_step = jax.jit(make_train_step(built))

    def step(moving, pieces, late, number):
        places = np.minimum(pieces * 5 + late, 55)[:, None] + np.arange(5)
        batch = Arrays(jnp.asarray(places, jnp.int32), jnp.asarray(places + 1, jnp.int32))
        step_keys = StepKeys(*(keys.derive(key, name, number) for name in StepKeys._fields))
        return train_step(moving, batch, jnp.float32(1.0), step_keys)

    return step


def test_chunks_make_the_run_and_the_chunk_is_the_loop():
    whole, records = trained(True)
    some, first = trained(True, num_steps=3)
    rest, second = trained(True, num_steps=3, moving=some)
    jax.tree.map(np.testing.assert_array_equal, whole, rest)
    losses = np.concatenate([first.losses, second.losses])
    np.testing.assert_array_equal(records.losses, losses)
    key = keys.lane_key(0, 3)
    moving, step = begin(), by_itself(experiment(), key)
    for i in range(6):
        rows = batches.batch_indices(
            keys.derive(key, "order"), i, batch_size=4, num_examples=12, limit=12
        )
        late = drawn(i, 1, key=keys.derive(key, "phases"))[0]
        moving, record = step(moving, np.asarray(rows), late, i)
        np.testing.assert_allclose(record.loss, records.losses[i], rtol=1e-5)


def test_windows_move_only_where_they_are_asked_to():
    fixed, moved = trained(False)[0], trained(True)[0]
    limited, plain = trained(True, limit=8)[0], trained(False, limit=8)[0]
    assert not np.array_equal(fixed.params["in"], moved.params["in"])
    jax.tree.map(np.testing.assert_array_equal, limited, plain)


@pytest.mark.parametrize(
    ("early", "late", "spread", "status"),
    [(2.0, 1.5, 0.3, "PASS"), (2.0, 2.0, 0.01, "WARN"), (1.9, 2.0, 2.0, "PASS")],
)
def test_context_is_worth_nothing_only_where_that_is_beyond_doubt(
    file, early, late, spread, status
):
    model = {"name": "rnn", "width": 4, "embedding": 4}
    given = configs.as_dict(configs.complete(config(file, data={"window": 20}, model=model)))
    task = drive.load_task(given)
    context = drive.make_context(given, task, drive.make_objective(given, task))
    means = np.where(np.arange(20) < text_stage.EARLY, early, late)
    surprise = means + spread * np.random.default_rng(0).normal(size=(30, 20))
    surprise = np.maximum(surprise, 1e-3)
    outputs = np.full((30, 20, task.spec.num_outputs), -30.0, np.float32)
    outputs[..., 1], outputs[..., 2] = -surprise, np.log(-np.expm1(-surprise))
    rows = np.zeros((30, 20), np.int32)
    finding = next(text_stage.mistakes(context, outputs, Split(rows, rows + 1, np.arange(30))))
    assert finding.check == "loss_by_position" and finding.status.name == status


# --- States carried on -----------------------------------------------------------------------


def read(first=0, steps=40, *, batch=4, count=50, window=7, limit=None):
    return streams.chunk_streams(
        KEY,
        first,
        num_steps=steps,
        batch_size=batch,
        num_examples=count,
        window=window,
        limit=count if limit is None else limit,
    )


def test_rows_read_on_and_every_piece_once_an_epoch():
    pieces, phases, begins = map(np.asarray, read())
    np.testing.assert_array_equal(np.flatnonzero(begins), [0, 12, 24, 36])
    for start in (0, 12, 24):
        epoch, late = pieces[start : start + 12], phases[start : start + 12]
        np.testing.assert_array_equal(epoch[1:], (epoch[:-1] + 1) % 50)
        assert len(np.unique(epoch)) == 48
        assert (late == late[0, 0]).all()
    assert len({pieces[start, 0] for start in (0, 12, 24)}) == 3
    assert len({phases[start, 0] for start in (0, 12, 24)}) == 3


def test_reading_follows_from_the_step_alone():
    whole, part = read(), read(17, 9)
    for each, some in zip(whole, part):
        np.testing.assert_array_equal(each[17:26], some)


def test_a_reader_of_few_pieces_reads_those_from_the_beginning():
    pieces, phases, begins = map(np.asarray, read(limit=12, steps=6))
    np.testing.assert_array_equal(pieces[:, 0], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(pieces[0], [0, 3, 6, 9])
    assert not phases.any()
    np.testing.assert_array_equal(begins, [True, False, False] * 2)
    pieces, _, begins = map(np.asarray, read(limit=4, steps=2))
    np.testing.assert_array_equal(pieces, [[0, 1, 2, 3]] * 2)
    assert begins.all()


def carrying():
    return experiment()._replace(
        model=rnn.build(SPEC, width=8, embedding=6, states="carried"),
        objective=next_token.build(SPEC),
    )


def test_training_carries_on_and_the_chunk_is_the_loop():
    built, key = carrying(), keys.lane_key(0, 3)
    params, state = built.model.init(KEY)
    moving = first = Moving(
        jnp.int32(0), params, built.model.begun(state, 4), built.optimizer.init(params)
    )
    chunk = jax.jit(make_chunk(built, num_steps=5, batch_size=4, windows=True))
    view = View(jnp.int32(12), jnp.bool_(True))
    after, records = chunk(first, key, view, jnp.float32(1.0), stream())
    reading = streams.chunk_streams(
        keys.derive(key, "streams"),
        0,
        num_steps=5,
        batch_size=4,
        num_examples=12,
        window=5,
        limit=12,
    )
    step = by_itself(built, key)
    for i, (pieces, late, begins) in enumerate(zip(*map(np.asarray, reading))):
        if begins:
            moving = moving._replace(model_state=built.model.begun(state, 4))
        moving, record = step(moving, pieces, late, i)
        np.testing.assert_allclose(record.loss, records.losses[i], rtol=1e-5)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), moving, after)


def test_evaluation_reads_a_text_on():
    """The nats of a split cut into windows and batches are those of the rows read at once."""
    built, train = carrying(), stream()
    params, state = built.model.init(KEY)
    filled, mask = batches.eval_batches(train, 3)
    split = EvalBatches(filled.inputs, filled.targets, mask)
    found = evaluate(built, params, built.model.begun(state, 9), split)
    rows = np.asarray(train.inputs).reshape(3, 20), np.asarray(train.targets).reshape(3, 20)
    outputs, _ = built.model.apply(params, state, jnp.asarray(rows[0]), key=KEY, train=False)
    whole = next_token.nats(outputs, jnp.asarray(rows[1])).mean()
    np.testing.assert_allclose(found["nats_per_char"], whole, rtol=1e-5)
    every = outputs_over(built, params, state, split.inputs)
    in_order = np.asarray(every).swapaxes(0, 1).reshape(3, 20, -1)
    np.testing.assert_allclose(in_order, outputs, rtol=1e-4, atol=1e-5)


def test_states_are_carried_through_the_windows_of_a_text_alone():
    with pytest.raises(ValueError, match="windows of a text"):
        make_chunk(carrying(), num_steps=2, batch_size=4)


# --- Samples ---------------------------------------------------------------------------------


def counting(inputs):
    """Expects the token after the last one, 0 after 4; knows nothing of what lies to the right."""
    return 50.0 * jax.nn.one_hot((inputs + 1) % 5, 5)


def write(prompts, *, length=9, temperature=0.0, allowed=(True,) * 5, outputs=counting, seed=0):
    window = 4
    padded = np.full((len(prompts), window), 3, np.int32)
    for row, prompt in zip(padded, prompts):
        row[: len(prompt)] = prompt
    return np.asarray(
        jax.jit(
            lambda prompts, sizes, keys: generate(
                outputs,
                prompts,
                sizes,
                keys=keys,
                length=length,
                temperature=jnp.float32(temperature),
                allowed=jnp.array(allowed),
            )
        )(
            jnp.asarray(padded),
            jnp.array([len(prompt) for prompt in prompts], jnp.int32),
            jnp.stack([jax.random.key(seed + i) for i, _ in enumerate(prompts)]),
        )
    )


def test_a_counting_model_counts_on_from_prompts_of_any_length():
    found = write([[0], [2, 3], [4, 0, 1, 2]])
    for row, last in zip(found, (0, 3, 2)):
        assert row.tolist() == [(last + 1 + i) % 5 for i in range(9)]


def test_positions_are_those_of_training():
    """While the window fills up, a token is predicted at its own place of it; then at the last."""

    def place(inputs):
        return jnp.broadcast_to(50.0 * jax.nn.one_hot(jnp.arange(4), 5), (*inputs.shape, 5))

    assert write([[1], [1, 1, 1]], length=5, outputs=place).tolist() == [
        [0, 1, 2, 3, 3],
        [2, 3, 3, 3, 3],
    ]


def test_draws_are_the_keys_own_and_only_what_is_allowed():
    def even(inputs):
        return jnp.zeros((*inputs.shape, 5))

    allowed = (False, True, True, True, False)
    one = write([[1], [2]], length=200, temperature=1.0, allowed=allowed, outputs=even)
    assert set(one.ravel()) == {1, 2, 3}
    counts = np.bincount(one.ravel(), minlength=5)[1:4]
    assert (abs(counts - 400 / 3) < 45).all()
    alone = write([[1]], length=200, temperature=1.0, allowed=allowed, outputs=even)
    np.testing.assert_array_equal(one[:1], alone, "a sample depends on its neighbours")
    other = write([[1]], length=200, temperature=1.0, allowed=allowed, outputs=even, seed=5)
    assert (alone != other).any()


# --- Checks ----------------------------------------------------------------------------------


def test_n_grams_by_hand(file):
    """Witten and Bell on "abab...": after an a there was one kind of token, 1 of 1."""
    task = task_of(file, "ab" * 400, window=8)
    objective = next_token.build(task.spec)
    found = ngrams.scores(task, objective, task.validation)
    tokens = np.append(task.train.inputs.ravel(), task.train.targets[-1, -1])
    n, of_b = len(tokens) - 1, int((tokens[1:] == 2).sum())
    unigram = {t: (count + 2 / 3) / (n + 2) for t, count in ((2, of_b), (1, n - of_b))}
    asked = task.validation.targets[task.validation.targets >= 0]
    nats = -np.mean([np.log(unigram[token]) for token in asked])
    assert found["unigram"] == pytest.approx(nats, rel=1e-5)
    after = {1: of_b, 2: n - of_b}
    given = task.validation.inputs[task.validation.targets >= 0]
    bigram = -np.mean(
        [np.log((after[g] + unigram[t]) / (after[g] + 1)) for g, t in zip(given, asked)]
    )
    assert found["bigram"] == pytest.approx(bigram, rel=1e-5)
    assert found["trigram"] <= found["bigram"] < 0.01 < found["unigram"]


def test_n_grams_are_probabilities():
    counts = [ngrams._count(np.array([0, 1, 1, 2, 0, 1]), length, 4) for length in range(3)]
    inputs = np.array(list(itertools.product(range(4), repeat=3)))
    found = ngrams._probabilities(counts, inputs)
    np.testing.assert_allclose(found.sum(-1), 1.0)
    assert (found > 0).all()
    # Nothing to the right of a place, nor beyond the window, is known there.
    np.testing.assert_array_equal(found[0, 0], found[15, 0])


def test_repeated_passages_are_found_wherever_they_stand(file):
    fresh = task_of(file, written(3000), window=32)
    assert text_audit.repeated_passages(fresh).status.value == "PASS"
    passage = written()[101:701]
    repeated = task_of(file, written()[:1800] + passage + written()[1800:2400], window=32)
    finding = text_audit.repeated_passages(repeated)
    assert finding.status.value == "WARN" and finding.evidence["share"] == 1.0


def test_the_audit_sees_targets_that_are_not_the_next_input(file):
    task = task_of(file, window=32)
    assert {each.status.value for each in text_audit.audit(task)} == {"PASS"}
    shifted = task.train._replace(targets=np.roll(task.train.targets, 1, axis=1))
    (found,) = [
        each
        for each in text_audit.audit(dataclasses.replace(task, train=shifted))
        if each.check == "network_input"
    ]
    assert found.status.value == "FAIL"


def test_what_nobody_can_know_is_not_asked_of_a_memory():
    """Two windows that begin alike: one of their first targets must be missed."""
    inputs = np.array([[0, 1, 2], [0, 2, 2]], np.int32)
    targets = np.array([[1, 2, 0], [2, 2, 1]], np.int32)
    split = _stream.Split(inputs, targets, np.arange(2))
    outputs = np.eye(3)[targets]
    assert text_stage.right(outputs, split) == pytest.approx(6 / 5)
    outputs[1, 0] = np.eye(3)[1]
    assert text_stage.right(outputs, split) == 1.0


# --- Everything together ---------------------------------------------------------------------


def config(file, **sections):
    given = {
        "data": {"name": "text", "path": str(file), "window": 16},
        "model": {"name": f"{__name__}:embedding_mean"},
        "objective": {"name": "next_token"},
        "optim": {"name": "adamw", "learning_rate": 3e-2},
        "train": {"batch_size": 8, "epochs": 6, "evaluations": 3},
        "search": {"name": "random", "trials": 2},
        "recipe": {"seeds": 2, "members": 2, "range_epochs": 1, "sample_length": 20},
        "checkpoint": {"every_seconds": 1e9},
    }
    for name, values in sections.items():
        given[name] = {**given.get(name, {}), **values}
    return given


def start(folder, task, given, signals=None, progress=lambda watched: None):
    folder.mkdir(exist_ok=True)
    return lanes.Lanes(
        task=task, config=given, workdir=folder, signals=signals or Signals(), progress=progress
    )


CARRIED = {"name": "rnn", "states": "carried", "width": 8, "embedding": 4}


@pytest.mark.parametrize("model", [{}, pytest.param(CARRIED, marks=pytest.mark.slow)])
def test_resumed_is_uninterrupted_at_random_phases(model, file, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SECONDS_A_CALL", 0.0)
    asked_for, make_round = [], lanes.make_round

    def noted(*args, **options):
        asked_for.append(options["windows"])
        return make_round(*args, **options)

    monkeypatch.setattr(lanes, "make_round", noted)
    given = configs.as_dict(configs.complete(config(file, model=model)))
    task = drive.load_task(given)
    request = Trials(label="all", trials=(Trial(seed=1),), epochs=6, keep="best")
    (whole,) = start(tmp_path / "whole", task, given).train("single", request)
    signals = Signals()

    def stop_after_the_first(watched):
        if watched.rounds[0] == 1:
            signals.number = 15

    with pytest.raises(Interrupted):
        start(tmp_path / "cut", task, given, signals, stop_after_the_first).train("single", request)
    resumed = start(tmp_path / "cut", task, given)
    (again,) = resumed.train("single", request)
    same_bits(whole, again)
    assert asked_for and all(asked_for)
    asked = Outputs(label="o", results=[again], split="validation")
    found = using.Models(task, given, drive.make_objective(given, task)).outputs(
        asked, task.validation
    )
    assert found.shape == (1, *task.validation.targets.shape, task.spec.num_outputs)


def save(given, folder):
    path = folder / "config.json"
    path.write_text(json.dumps(configs.to_data(given)))
    return path


@pytest.mark.slow
# A state is carried from the beginning of the text here, and from that of every row there.
@pytest.mark.parametrize("model, apart", [({}, 1e-4), (CARRIED | {"width": 32}, 0.02)])
def test_train_writes_samples_and_a_model_that_predicts(model, apart, file, tmp_path):
    recipe = {"prompts": ("the c",), "force": True}
    path = save(config(file, model=model, recipe=recipe), tmp_path)
    words = ["train", f"--config={path}", f"--workdir={tmp_path / 'w'}"]
    assert commands.train(words) == 0
    findings = json.loads((tmp_path / "w" / "findings.json").read_text())
    (samples,) = [each for each in findings if each["check"] == "written"]
    (told,) = samples["evidence"]["texts"]
    assert samples["evidence"]["prompts"] == ["the c"] and len(told) == 20
    assert set(told) <= set(written())
    (score,) = [each["evidence"] for each in findings if each["check"] == "test_score"]
    assert score["low"] < score["value"] < score["high"] < 2.5
    page = (tmp_path / "w" / "report.html").read_text()
    assert f"<b>the c</b>{told}" in page and 'class="passage"' in page

    # The test part by itself, and every nat of it, is the score of the test.
    content = written()
    new, out = tmp_path / "new.txt", tmp_path / "p.csv"
    new.write_text(content[len(content) - round(0.2 * len(content)) :])
    assert predict.predict(tmp_path / "w", new, out) == 599
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == 600 and rows[0]["nats"] == ""
    nats = np.mean([float(row["nats"]) for row in rows[1:]])
    assert nats == pytest.approx(score["value"], abs=apart)
    for temperature in (0.0, 1.0):
        told = {"length": 12, "temperature": temperature}
        assert predict.predict(tmp_path / "w", new, out, **told) == 12
        once = out.read_text()
        assert once.startswith(new.read_text()) and len(once) == 612
        predict.predict(tmp_path / "w", new, out, **told)
        assert out.read_text() == once


@pytest.mark.slow
def test_the_whole_recipe_on_a_small_text(file, tmp_path):
    path = save(config(file, recipe={"force": True}), tmp_path)
    assert commands.run(["run", f"--config={path}", f"--workdir={tmp_path / 'w'}"]) == 0
    findings = json.loads((tmp_path / "w" / "findings.json").read_text())
    by_check = {each["check"]: each for each in findings}
    for check in (
        *("samples", "class_counts", "network_input", "loss_at_init"),
        *("input_independent", "overfit_one_batch", "exact_evaluation", "baselines"),
        *("range_test", "regularisers", "search", "seed_ensemble", "written", "worst"),
        *("loss_by_position", "test_score"),
    ):
        assert check in by_check, check
    assert {each["status"] for each in findings if each["check"] in ("loss_at_init",)} == {"PASS"}
    for check in ("input_independent", "exact_evaluation"):
        assert by_check[check]["status"] == "PASS", by_check[check]["summary"]
    assert by_check["baselines"]["evidence"]["names"][1:] == ["bigram", "unigram", "trigram"]
    page = (tmp_path / "w" / "report.html").read_text()
    assert page.count('class="passage"') >= 8 + 16 + 3 + 12
