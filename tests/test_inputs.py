"""Which inputs matter, training without the others, and what the first layer has learnt."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_stages import context_of, result_of, task_of

from recipe_jax import assembly
from recipe_jax import config as configs
from recipe_jax.app.using import Models
from recipe_jax.data import base as data_base
from recipe_jax.data import table
from recipe_jax.objectives import regression
from recipe_jax.recipe import ablation, deciding, fewer_inputs, first_layer
from recipe_jax.recipe.first_layer import Layer
from recipe_jax.types import Scores, Spec, Status, Trial, UserError

IMAGE = Spec(kind="classification", input_shape=(8, 8, 1), num_outputs=2, prior=(0.5, 0.5))
TEXT = Spec(
    kind="next_token", input_shape=(6,), num_outputs=5, prior=(0.2,) * 5, input_dtype="int32"
)
SEQUENCE = Spec(kind="classification", input_shape=(7, 3), num_outputs=2, prior=(0.5, 0.5))


def with_task(context, spec, modality):
    task = dataclasses.replace(context.task, spec=spec, modality=modality, feature_names=())
    return context._replace(task=task)


# --- Permuted inputs -------------------------------------------------------------------------


def linear(kernel):
    """A trained linear model with this kernel, and what answers questions about it."""
    context = context_of(model={"name": "linear"})
    weights = ({"kernel": np.asarray(kernel, np.float32), "bias": np.zeros(2, np.float32)}, {})
    models = Models(context.task, context.config, context.objective)
    return models, context.task.validation, result_of(Trial())._replace(weights=weights)


def test_what_the_model_does_not_read_can_be_permuted():
    kernel = np.zeros((4, 2))
    kernel[0] = [-1.0, 1.0]
    models, split, result = linear(kernel)
    groups = ((), (0,), (1, 2, 3), (0, 1, 2, 3))
    asked = Scores(label="", results=[result], split="validation", permuted=groups)
    plain = models.scores(dataclasses.replace(asked, permuted=()), split)
    (found,) = models.scores(asked, split)
    assert found.shape == (4, len(split.targets))
    right = (split.inputs[:, 0] > 0) == split.targets
    np.testing.assert_array_equal(plain[0], right)
    np.testing.assert_array_equal(found[0], right)
    np.testing.assert_array_equal(found[2], right)
    assert found[1].mean() < right.mean() - 0.15 and found[3].mean() < right.mean() - 0.15


def test_permuted_inputs_are_those_of_other_examples_and_the_seed_draws_them():
    models, split, result = linear(np.eye(4, 2))
    other = result._replace(trial=Trial(seed=1))
    drawn = [models._swaps(split, each, [(0,), (1,)], 8)[1] for each in (result, result, other)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any() and (drawn[0][0] != drawn[0][1]).any()
    for rows in drawn[0]:
        assert set(rows.ravel().tolist()) == set(range(len(split.targets)))


def test_importance_by_hand():
    scores = np.ones((2, 3, 10))
    scores[:, 1] = 0.25
    found = fewer_inputs.importance(
        context_of(), [fewer_inputs.Inputs("a", (0,)), fewer_inputs.Inputs("b", (1,))], scores
    )
    assert found.evidence["difference"] == [0.75, 0.0]
    assert "1 of 2 inputs cost accuracy" in found.summary and "most: a 0.75" in found.summary
    errors = fewer_inputs.importance(
        context_of("regression"), [fewer_inputs.Inputs("a", (0,))], np.array([[[1.0], [3.0]]] * 2)
    )
    assert errors.evidence["difference"] == [2.0]


def test_of_many_inputs_that_bring_nothing_hardly_one_is_said_to_bring_something():
    """Of 300 intervals at 95 % seven would lie above zero by chance."""
    draws = np.random.default_rng(0)
    base = draws.normal(size=(4, 1, 40))
    scores = np.concatenate([base, base + 0.1 * draws.normal(size=(4, 300, 40))], axis=1)
    inputs = [fewer_inputs.Inputs(str(i), (i,)) for i in range(300)]
    assert "0 of 300" in fewer_inputs.importance(context_of(), inputs, scores).summary
    scores[:, 1] -= 1.0
    assert "1 of 300" in fewer_inputs.importance(context_of(), inputs, scores).summary


def test_scores_in_a_large_unit_have_an_interval():
    """Squares of errors of 1e10 are finite in float32, and their squares are not."""
    context = context_of("regression", model={"name": "linear"})
    scale = 1e10
    task = dataclasses.replace(
        context.task, spec=dataclasses.replace(context.task.spec, target_scale=(scale,))
    )
    objective = regression.build(task.spec)
    models = Models(task, context.config, objective)
    draws = np.random.default_rng(0)
    results = [
        result_of(Trial())._replace(
            weights=(
                {
                    "kernel": draws.normal(size=(4, 1)).astype(np.float32),
                    "bias": np.zeros(1, np.float32),
                },
                {},
            )
        )
        for _ in range(3)
    ]
    asked = Scores(label="", results=results, split="validation")
    found = models.scores(asked, task.validation)
    assert 1e18 < found.max() < 1e24
    gain = deciding.crossed_interval(found - found[::-1] * 0.9)
    assert np.isfinite(gain).all() and gain.low < gain.mean < gain.high


def test_what_is_left_out():
    useless = fewer_inputs._useless
    # The third seems to bring more than the second, which surely brings something.
    assert useless(np.array([0.1, 0.2, 0.3]), np.array([-0.1, 0.1, 0.0])).tolist() == [0]
    assert useless(np.array([0.1, 0.4, 0.3]), np.array([-0.1, 0.1, 0.0])).tolist() == [0, 2]
    assert not len(useless(np.array([0.1, 0.2]), np.array([0.05, 0.1])))
    # Twins stand in for each other: all look useless, and half of them stay.
    assert useless(np.array([0.3, 0.1, 0.2, 0.0]), np.full(4, -0.1)).tolist() == [3, 1]


def test_groups_are_columns_patches_and_features(tmp_path):
    rows = "\n".join(
        f"{i}.5,{'' if i % 7 == 3 else i % 5},{'abc'[i % 3]},{'ny'[i % 2]}" for i in range(60)
    )
    (tmp_path / "t.csv").write_text(f"size,weight,colour,label\n{rows}\n")
    task = data_base.prepare(table.build(path=str(tmp_path / "t.csv"), target="label"))
    found = fewer_inputs.grouped(task)
    assert [each.name for each in found] == ["size", "weight", "colour"]
    assert [len(each.places) for each in found] == [1, 2, 4]
    assert sum((each.places for each in found), ()) == tuple(range(7))
    image = with_task(context_of(), IMAGE, "image").task
    patches = fewer_inputs.grouped(image)
    assert len(patches) == 16 and patches[1].places == (2, 3, 10, 11)
    assert sorted(sum((each.places for each in patches), ())) == list(range(64))
    sequence = with_task(context_of(), SEQUENCE, "sequence").task
    assert fewer_inputs.grouped(sequence)[2].places == (2, 5, 8, 11, 14, 17, 20)
    assert fewer_inputs.grouped(with_task(context_of(), TEXT, "text").task) == []
    assert fewer_inputs.retrains(sequence) and not fewer_inputs.retrains(image)


# --- Hidden inputs ---------------------------------------------------------------------------


def built(hidden, spec=None):
    config = configs.with_settings(context_of().config, {"train.hidden": hidden})
    return assembly.of_config(config, spec or task_of().spec)


def test_a_hidden_input_changes_nothing_and_the_others_do():
    model = built((1, 3)).model
    weights = model.init(jax.random.key(0))

    def outputs(inputs):
        return model.apply(*weights, jnp.asarray(inputs), key=jax.random.key(0), train=False)[0]

    inputs = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    changed, blind = inputs.copy(), inputs.copy()
    changed[:, [1, 3]] += 5.0
    blind[:, [1, 3]] = 0.0
    np.testing.assert_array_equal(outputs(inputs), outputs(changed))
    plain = built(()).model.apply(*weights, jnp.asarray(blind), key=jax.random.key(0), train=False)[
        0
    ]
    np.testing.assert_array_equal(outputs(inputs), plain)
    changed[:, 0] += 1.0
    assert (np.asarray(outputs(inputs)) != outputs(changed)).any()


def test_hidden_inputs_are_static_and_have_to_be_there():
    config = context_of().config
    hidden = configs.with_settings(config, {"train.hidden": (2,)})
    assert [assembly.split(each)[0].seen.hidden for each in (config, hidden)] == [(), (2,)]
    with pytest.raises(UserError, match="place 4, and an example has 4 numbers"):
        built((4,))
    with pytest.raises(UserError, match="tokens"):
        assembly._blinkered(built(()).model, TEXT, (0,))


# --- Smaller pictures ------------------------------------------------------------------------


def at(resolution, spec=IMAGE, **model):
    changes = {f"model.{key}": value for key, value in model.items()}
    config = configs.with_settings(context_of().config, {**changes, "train.resolution": resolution})
    return assembly.of_config(config, spec).model


@pytest.mark.parametrize("name", ["mlp", "linear", "cnn"])
def test_a_model_at_half_the_resolution_is_the_one_of_pictures_half_as_large(name):
    """Halving by linear weights with antialiasing: a pixel is 1/8, 3/8, 3/8, 1/8 of four, the ends
    of a row 3/7, 3/7, 1/7 of three."""
    half, plain = (
        at(0.5, name=name),
        at(1.0, dataclasses.replace(IMAGE, input_shape=(4, 4, 1)), name=name),
    )
    weights = half.init(jax.random.key(0))
    shapes = jax.tree.map(jnp.shape, weights)
    assert shapes == jax.tree.map(jnp.shape, plain.init(jax.random.key(0)))
    row = np.zeros((4, 8))
    row[0, :3], row[3, 5:] = (3 / 7, 3 / 7, 1 / 7), (1 / 7, 3 / 7, 3 / 7)
    row[1, 1:5] = row[2, 3:7] = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
    inputs = np.random.default_rng(0).normal(size=(5, 8, 8, 1)).astype(np.float32)
    smaller = np.einsum("ab,nbcd,ec->naed", row, inputs, row).astype(np.float32)

    def outputs(model, inputs):
        return model.apply(*weights, jnp.asarray(inputs), key=jax.random.key(0), train=False)[0]

    np.testing.assert_allclose(outputs(half, inputs), outputs(plain, smaller), atol=1e-5)


def test_resolution_is_static_and_for_images():
    config = context_of().config
    half = configs.with_settings(config, {"train.resolution": 0.5})
    assert [assembly.split(each)[0].seen.resolution for each in (config, half)] == [1.0, 0.5]
    with pytest.raises(UserError, match="is for images"):
        assembly.of_config(half, task_of().spec)
    with pytest.raises(UserError, match="leaves nothing of 8 x 8 pixels"):
        at(0.01)


def test_half_the_resolution_is_offered_for_pictures_that_are_not_small():
    def offered(side, **sections):
        spec = dataclasses.replace(IMAGE, input_shape=(side, side, 1))
        context = with_task(context_of(**sections), spec, "image")
        return [each for each in ablation.changes_of(context) if "resolution" in each.name]

    assert offered(8) == [] and offered(15) == []
    (change,) = offered(28)
    assert change.settings == {"train.resolution": 0.5}
    assert offered(28, train={"resolution": 0.5})[0].settings == {"train.resolution": 0.25}
    assert offered(28, recipe={"changes": ("model.depth=3",)}) == []
    context = context_of()
    assert not any("resolution" in each.name for each in ablation.changes_of(context))


# --- The first layer -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec, modality, model, name",
    [
        (IMAGE, "image", {"name": "mlp", "block": "highway"}, "layers.0.dense.kernel"),
        (IMAGE, "image", {"name": "cnn"}, "convs.0.kernel"),
        (IMAGE, "image", {"name": "resnet"}, "stem.kernel"),
        (IMAGE, "image", {"name": "linear"}, "kernel"),
        (TEXT, "text", {"name": "rnn"}, "embedding.embedding"),
        (TEXT, "text", {"name": "transformer"}, "embedding.embedding"),
        (SEQUENCE, "sequence", {"name": "rnn"}, "layers.0.input.kernel"),
        (IMAGE, "image", {"name": "constant"}, None),
    ],
)
def test_the_first_layer_is_found_in_every_model(spec, modality, model, name):
    context = with_task(context_of(model=model), spec, modality)
    weights = jax.eval_shape(assembly.of_config(context.config, spec).model.init, jax.random.key(0))
    drawn = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), weights)
    found = first_layer.located(context, result_of(Trial())._replace(weights=drawn))
    assert (found and found[0]) == name


def test_smoothness_by_hand():
    kernel = np.array([[1.0, 1.0], [-1.0, -1.0]])[..., None]
    # Two pairs down, each -1; two right, each +1.
    assert first_layer.smoothness(kernel) == pytest.approx([0.0])
    assert first_layer.smoothness(np.array([[1.0, -1.0, 1.0]])[..., None])[0] < -0.8


def test_noise_is_not_smooth_and_a_slope_is():
    draw = np.random.default_rng(0)
    assert first_layer.smooth_units(draw.normal(size=(6, 6, 400))) == pytest.approx(0.05, abs=0.03)
    slope = np.add.outer(np.arange(6.0), np.arange(6.0))[..., None] * draw.normal(size=20)
    assert first_layer.smooth_units(slope) == 1.0


def test_a_layer_that_learns_passes_and_one_that_does_not_warns():
    draw = np.random.default_rng(0)
    before, after = draw.normal(size=(2, 64, 10))
    context = with_task(context_of(), IMAGE, "image")
    found = first_layer.examine(context, Layer("kernel", [before], [after]))
    assert found.status == Status.PASS and "smoother" in found.summary
    assert found.evidence["after"].shape == (10, 8, 8) and "not moved" not in found.summary
    mixed = np.where(np.arange(10) < 6, before, after)
    warned = first_layer.examine(context, Layer("kernel", [before], [mixed]))
    assert warned.status == Status.WARN and "6 have not moved at all" in warned.summary


def test_tables_show_features_and_texts_their_commonest_tokens():
    draw = np.random.default_rng(0)
    both = [draw.normal(size=(4, 6))], [draw.normal(size=(4, 6))]
    shown = first_layer.examine(context_of(), Layer("kernel", *both)).evidence
    norms = np.linalg.norm(both[1][0], axis=1)
    assert shown["features"][0] == f"x{int(norms.argmax())}" and shown["after"].shape == (4, 6)
    context = with_task(context_of(), TEXT, "text")
    task = dataclasses.replace(context.task, class_names=("a", "b", "c", "d", "e"))
    vectors = draw.normal(size=(5, 3))
    found = first_layer.examine(
        context._replace(task=task), Layer("embedding", [vectors], [vectors + 1])
    )
    assert found.evidence["tokens"] == ["a", "b", "c", "d", "e"]
    assert found.evidence["plane"].shape == (5, 2) and "5 tokens' vectors" in found.summary
