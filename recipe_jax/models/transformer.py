"""The transformer (Vaswani et al. 2017), pre-norm: a decoder of tokens, an encoder of numbers."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import nnx

from recipe_jax import adapters
from recipe_jax.models import _rotary, _sequence, base
from recipe_jax.resolve import Count, Fraction, OneOf, Positive, Rate
from recipe_jax.types import Model, Spec, UserError

_OUTPUT_STD = 0.02


def build(
    spec: Spec,
    /,
    *,
    width: Count = 128,
    depth: Count = 4,
    heads: Count = 4,
    mlp_ratio: Count = 4,
    positions: Annotated[str, OneOf(("rotary", "learnt"))] = "rotary",
    dropout: Rate = 0.0,
    init_gain: Positive = 1.0,
    prior_bias: Fraction = 1.0,
) -> Model:
    """`depth` blocks of attention and a GELU layer of `mlp_ratio * width` units, each on the
    normalised sum so far and added to it (Xiong et al. 2020), then a norm and the output layer.

    next_token: a decoder, every position sees itself and those before it. Otherwise an encoder,
    every position sees all, and the outputs are those of the mean over positions. Positions are
    rotary (Su et al. 2021) or a learnt vector each. Dropout is on what enters the first block and
    on what every block adds. Vectors of tokens and positions start standard normal, kernels
    lecun, over sqrt(2 depth) where they add to the sum (Radford et al. 2019), and the output layer
    normal with 0.02; all times `init_gain`.

    (batch, window) -> (batch, window, width) -> (batch, window, num_outputs); or (batch, time,
    features) -> (batch, time, width) -> (batch, width) -> (batch, num_outputs). Parameters, for W
    width, D depth, M mlp_ratio, K outputs: D W (4 W + 2 M W + M + 9) + 2 W + (W + 1) K, with K W
    more for tokens, (F + 1) W more for F features, T W more for T learnt positions.
    """
    features = _sequence.num_features(spec, name="transformer")
    tokens = not features
    _check(width=width, heads=heads, rotary=positions == "rotary")

    def make(rngs: nnx.Rngs) -> "_Transformer":
        init = base.initializer("lecun", init_gain)
        small = base.initializer("lecun", init_gain / (2 * depth) ** 0.5)
        vectors = base.initializer("normal", init_gain / base.SPREAD)
        window = (spec.input_shape[0], width)
        return _Transformer(
            _sequence.Embedding(spec.num_outputs, width, vectors, rngs=rngs)
            if tokens
            else nnx.Linear(features, width, kernel_init=init, rngs=rngs),
            vectors(rngs.params(), window) if positions == "learnt" else None,
            [_Block(width, mlp_ratio, init, small, rngs=rngs) for _ in range(depth)],
            nnx.LayerNorm(width, rngs=rngs),
            base.output_layer(
                spec,
                width,
                rngs=rngs,
                init="normal",
                gain=init_gain * (_OUTPUT_STD / base.SPREAD),
                prior_bias=prior_bias,
            ),
        )

    def attend(x: jax.Array) -> jax.Array:
        """Queries, keys and values side by side -> what every head has gathered, side by side."""
        parts = (part.reshape(*part.shape[:2], heads, -1) for part in jnp.split(x, 3, -1))
        query, key, value = parts
        if positions == "rotary":
            query, key = _rotary.rotate(query), _rotary.rotate(key)
        gathered = jax.nn.dot_product_attention(query, key, value, is_causal=tokens)
        return gathered.reshape(*x.shape[:2], width)

    off = base.is_off(dropout)

    def call(module: Any, inputs: jax.Array, *, key: jax.Array, train: bool) -> jax.Array:
        x = module.embedding(inputs)
        x = x if module.positions is None else x + module.positions[...]
        kept = base.keep(key, dropout, (2 * depth + 1, *x.shape)) if train and not off else ()

        def dropped(x: jax.Array, place: int) -> jax.Array:
            return base.masked(x, dropout, kept[place]) if train and not off else x

        x = dropped(x, 0)
        for i, block in enumerate(module.blocks):
            gathered = block.attention_out(attend(block.attention_in(block.attention_norm(x))))
            x = x + dropped(gathered, 2 * i + 1)
            hidden = jax.nn.gelu(block.mlp_in(block.mlp_norm(x)))
            x = x + dropped(block.mlp_out(hidden), 2 * i + 2)
        x = module.norm(x)
        return module.output(x if tokens else x.mean(1))

    return adapters.from_nnx(make, call)


class _Transformer(nnx.Module):
    def __init__(self, embedding, positions, blocks, norm, output):
        self.embedding = embedding
        self.positions = None if positions is None else nnx.Param(positions)
        self.blocks = nnx.List(blocks)
        self.norm = norm
        self.output = output


class _Block(nnx.Module):
    def __init__(self, width, mlp_ratio, init, small, *, rngs):
        hidden = mlp_ratio * width
        self.attention_norm = nnx.LayerNorm(width, rngs=rngs)
        self.attention_in = nnx.Linear(width, 3 * width, kernel_init=init, rngs=rngs)
        self.attention_out = nnx.Linear(width, width, kernel_init=small, rngs=rngs)
        self.mlp_norm = nnx.LayerNorm(width, rngs=rngs)
        self.mlp_in = nnx.Linear(width, hidden, kernel_init=init, rngs=rngs)
        self.mlp_out = nnx.Linear(hidden, width, kernel_init=small, rngs=rngs)


def _check(*, width: int, heads: int, rotary: bool) -> None:
    if width % heads:
        raise UserError(
            f"model.width={width} cannot be shared out among model.heads={heads}; "
            f"use a width that is a multiple of {heads}."
        )
    if rotary and width // heads % 2:
        raise UserError(
            f"model.width={width} over model.heads={heads} gives heads of {width // heads}, and "
            "rotary positions turn pairs; use an even size, or model.positions=learnt."
        )
