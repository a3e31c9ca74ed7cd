"""The transformer: what a position sees, where things stand, how it starts, what it counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequence_specs import NUMBERS, SERIES, TEXT, TOKENS

from recipe_jax import types
from recipe_jax.models import _rotary, transformer

KEY = jax.random.key(0)
SMALL = {"width": 8, "depth": 2, "heads": 2}
WHERE = ("rotary", "learnt")


@functools.lru_cache
def built(spec, positions="rotary"):
    """Outputs as a function of what may change, of a small model that has left its start."""

    @functools.partial(jax.jit, static_argnames="train")
    def outputs(inputs, *, key=KEY, dropout=0.0, train=False):
        model = transformer.build(spec, **SMALL, positions=positions, dropout=dropout, init_gain=2)
        return model.apply(*model.init(KEY), inputs, key=key, train=train)[0]

    return outputs


@pytest.mark.parametrize("positions", WHERE)
def test_a_later_token_changes_no_earlier_output(positions):
    outputs = built(TEXT, positions)
    before = outputs(TOKENS)
    assert before.shape == (4, 7, 5)
    for place in range(7):
        after = outputs(TOKENS.at[1, place].add(1) % 5)
        np.testing.assert_array_equal(before[:, :place], after[:, :place])
        np.testing.assert_array_equal(before[jnp.array([0, 2, 3])], after[jnp.array([0, 2, 3])])
        assert (before[1, place:] != after[1, place:]).any(-1).all(), "all later ones see it"


def test_what_fills_a_window_up_changes_nothing_before_it():
    """So padding behind a short text needs no mask."""
    outputs = built(TEXT)
    short, filled = outputs(TOKENS[:, :4]), outputs(TOKENS.at[:, 4:].set(0))
    np.testing.assert_allclose(filled[:, :4], short, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", WHERE)
def test_the_encoder_sees_every_step_and_their_order(positions):
    outputs = built(SERIES, positions)
    before = outputs(NUMBERS)
    assert before.shape == (4, 2)
    for time in range(6):
        after = outputs(NUMBERS.at[1, time].add(1.0))
        np.testing.assert_array_equal(before[jnp.array([0, 2, 3])], after[jnp.array([0, 2, 3])])
        assert (before[1] != after[1]).any()
    assert (jnp.abs(outputs(NUMBERS[:, ::-1]) - before) > 1e-4).all()


def test_attention_by_hand():
    """One block at known weights, in float64, by the published formulas."""
    model = transformer.build(TEXT, **(SMALL | {"depth": 1}), positions="learnt", init_gain=2.0)
    params, state = jax.jit(model.init)(KEY)
    found, _ = jax.jit(lambda p: model.apply(p, state, TOKENS, key=KEY, train=False))(params)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def norm(x, at):
        apart = x - x.mean(-1, keepdims=True)
        return apart / np.sqrt((apart**2).mean(-1, keepdims=True) + 1e-6) * at["scale"] + at["bias"]

    def dense(x, at):
        return x @ at["kernel"] + at["bias"]

    block = p["blocks"]["0"]
    for tokens, row in zip(np.asarray(TOKENS), np.asarray(found)):
        x = p["embedding"]["embedding"][tokens] + p["positions"]
        q, k, v = np.split(dense(norm(x, block["attention_norm"]), block["attention_in"]), 3, -1)
        gathered = np.zeros_like(x)
        for head in (slice(0, 4), slice(4, 8)):
            for i in range(7):
                weights = np.exp(q[i, head] @ k[: i + 1, head].T / np.sqrt(4))
                gathered[i, head] = weights / weights.sum() @ v[: i + 1, head]
        x = x + dense(gathered, block["attention_out"])
        hidden = dense(norm(x, block["mlp_norm"]), block["mlp_in"])
        hidden = hidden / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        x = x + dense(hidden, block["mlp_out"])
        np.testing.assert_allclose(
            row, dense(norm(x, p["norm"]), p["output"]), rtol=1e-3, atol=1e-4
        )


# --- positions ---------------------------------------------------------------------------------


def test_rotary_turns_each_pair_by_its_own_angle():
    x = jax.random.normal(KEY, (1, 3, 1, 4))
    turned = np.asarray(_rotary.rotate(x))[0, 2, 0]
    first, second = np.asarray(x)[0, 2, 0, :2], np.asarray(x)[0, 2, 0, 2:]
    for i, angle in enumerate((2.0, 2.0 / 100.0)):  # position 2; 10000^(-2i/4)
        pair = (first[i] + 1j * second[i]) * np.exp(1j * angle)
        np.testing.assert_allclose(turned[[i, 2 + i]], [pair.real, pair.imag], rtol=1e-5)


def test_rotary_products_depend_on_the_distance_alone():
    q, k = jax.random.normal(KEY, (2, 1, 1, 2, 8))
    everywhere = [jnp.broadcast_to(x, (1, 20, 2, 8)) for x in (q, k)]
    products = jnp.einsum("bqhs,bkhs->hqk", *map(_rotary.rotate, everywhere))
    for distance in (0, 1, 7):
        along = jnp.diagonal(products, distance, axis1=1, axis2=2)
        np.testing.assert_allclose(along, along[:, :1] * jnp.ones_like(along), atol=1e-4)
    assert jnp.abs(products[:, 0, 1] - products[:, 1, 0]).min() > 1e-2, "before is not after"
    np.testing.assert_allclose(products[:, 0, 0], (q * k).sum((0, 1, 3)), rtol=1e-4)


# --- what it is made of ------------------------------------------------------------------------


@pytest.mark.parametrize("positions", WHERE)
@pytest.mark.parametrize("depth, ratio", [(1, 4), (3, 2)])
@pytest.mark.parametrize("spec", [TEXT, SERIES])
def test_parameters_are_as_many_as_the_docstring_says(positions, depth, ratio, spec):
    w, k, window = 12, spec.num_outputs, spec.input_shape[0]
    expected = depth * w * (4 * w + 2 * ratio * w + ratio + 9) + 2 * w + (w + 1) * k
    expected += k * w if spec is TEXT else (3 + 1) * w
    expected += window * w if positions == "learnt" else 0
    model = transformer.build(
        spec, width=w, depth=depth, heads=3, mlp_ratio=ratio, positions=positions
    )
    params, state = jax.eval_shape(model.init, KEY)
    assert types.num_params(params) == expected
    assert state == {}


def test_how_it_starts():
    model = transformer.build(TEXT, width=128, depth=8, init_gain=0.5, positions="learnt")
    params, _ = jax.jit(model.init)(KEY)
    block = params["blocks"]["3"]
    assert params["embedding"]["embedding"].std() == pytest.approx(0.5, rel=0.1)
    assert params["positions"].std() == pytest.approx(0.5, rel=0.1)
    for name, scale in (("in", 0.5), ("out", 0.5 / 4.0)):
        for kernel in (block[f"{part}_{name}"]["kernel"] for part in ("attention", "mlp")):
            expected = scale / len(kernel) ** 0.5
            assert kernel.std() == pytest.approx(expected, rel=0.05)
    for name in ("attention_out", "mlp_out"):
        np.testing.assert_array_equal(block[name]["bias"], 0.0)
    assert params["output"]["kernel"].std() == pytest.approx(0.01, rel=0.1)
    np.testing.assert_allclose(params["output"]["bias"], TEXT.prior_outputs, rtol=1e-6)


@pytest.mark.parametrize("spec, inputs", [(TEXT, TOKENS), (SERIES, NUMBERS)])
def test_dropout_is_off_at_zero_and_in_evaluation(spec, inputs):
    outputs = built(spec)
    plain = outputs(inputs)
    np.testing.assert_array_equal(outputs(inputs, dropout=0.5), plain)
    np.testing.assert_allclose(outputs(inputs, train=True), plain, rtol=1e-5, atol=1e-6)
    first, other = (outputs(inputs, train=True, dropout=0.5, key=jax.random.key(i)) for i in (0, 1))
    assert (first != plain).any() and (first != other).any()


def test_dropout_is_on_what_enters_and_on_what_every_block_adds():
    """With all of it dropped, the last norm gets zeros, and the output layer its bias alone."""
    model = transformer.build(TEXT, **SMALL, dropout=1.0, prior_bias=0.0)
    params, state = jax.jit(model.init)(KEY)
    params["norm"]["bias"] = jnp.ones(8)
    found = jax.jit(lambda p: model.apply(p, state, TOKENS, key=KEY, train=True)[0])(params)
    alone = params["output"]["kernel"].sum(0)
    np.testing.assert_allclose(found, jnp.broadcast_to(alone, found.shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "spec, options, sentence",
    [
        (TEXT, {"width": 10, "heads": 4}, "width=10 cannot be shared out among model.heads=4"),
        (TEXT, {"width": 12, "heads": 4}, "heads of 3, .* or model.positions=learnt"),
        (types.Spec(kind="regression", input_shape=(6,), num_outputs=1, prior=(0.0,)), {}, "mlp"),
        (
            types.Spec(
                kind="classification", input_shape=(8, 8, 1), num_outputs=2, prior=(0.5, 0.5)
            ),
            {},
            "cnn",
        ),
    ],
)
def test_what_it_cannot_take_is_refused(spec, options, sentence):
    with pytest.raises(types.UserError, match=sentence):
        transformer.build(spec, **options)


def test_learnt_positions_take_heads_of_any_size():
    model = transformer.build(TEXT, width=12, heads=4, depth=1, positions="learnt")
    params, state = jax.eval_shape(model.init, KEY)
    out = jax.eval_shape(lambda p: model.apply(p, state, TOKENS, key=KEY, train=False)[0], params)
    assert out.shape == (4, 7, 5)
