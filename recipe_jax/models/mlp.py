"""The multilayer perceptron, plain, residual or highway (Rumelhart et al. 1986)."""

from typing import Annotated, Any

import jax
from flax import nnx

from recipe_jax import adapters
from recipe_jax.models import base
from recipe_jax.resolve import Between, Count, Fraction, OneOf, Positive, Rate
from recipe_jax.types import Model, Spec

_NORMS = {"batch": nnx.BatchNorm, "layer": nnx.LayerNorm}


def build(
    spec: Spec,
    /,
    *,
    width: Count = 128,
    depth: Annotated[int, Between(0)] = 2,
    activation: base.Activation = "relu",
    dropout: Rate = 0.0,
    normalization: Annotated[str, OneOf(("none", "batch", "layer"))] = "none",
    block: Annotated[str, OneOf(("plain", "residual", "highway"))] = "plain",
    init: base.Init = "auto",
    init_gain: Positive = 1.0,
    prior_bias: Fraction = 1.0,
) -> Model:
    """`depth` hidden layers of `width` units: dense, normalisation, activation, dropout.

    residual: layers after the first add their input (He et al. 2016); highway: they are mixed with
    it by a learnt gate that starts nearly closed (Srivastava et al. 2015). init "auto": he, lecun
    for tanh, xavier for sigmoid, and lecun for the output layer.

    (batch, ...) -> (batch, features) -> depth times (batch, width) -> (batch, num_outputs).
    Parameters, for F features, W width, D > 0 depth and K outputs: (F + 1) W + (D - 1) (W + 1) W +
    (W + 1) K; with normalisation 2 W D more, with highway gates (D - 1) (W + 1) W more.
    """

    def make(rngs: nnx.Rngs) -> "_Mlp":
        kernel_init = base.initializer(base.hidden_init(init, activation), init_gain)
        features = base.num_features(spec)
        layers = [
            _Layer(
                width if i else features,
                width,
                normalization,
                block if i else "plain",
                kernel_init,
                rngs=rngs,
            )
            for i in range(depth)
        ]
        last = base.output_layer(
            spec,
            width if depth else features,
            rngs=rngs,
            init=init,
            gain=init_gain,
            prior_bias=prior_bias,
        )
        return _Mlp(layers, last)

    off = base.is_off(dropout)

    def call(module: Any, inputs: jax.Array, *, key: jax.Array, train: bool) -> jax.Array:
        x = base.flat(inputs)
        drops = train and depth and not off
        kept = base.keep(key, dropout, (depth, len(x), width)) if drops else ()
        for i, layer in enumerate(module.layers):
            x = layer(x, base.ACTIVATIONS[activation])
            x = base.masked(x, dropout, kept[i]) if drops else x
        return module.output(x)

    return adapters.from_nnx(make, call)


class _Mlp(nnx.Module):
    def __init__(self, layers: "list[_Layer]", output: nnx.Linear):
        self.layers = nnx.List(layers)
        self.output = output


class _Layer(nnx.Module):
    def __init__(self, fan_in, width, normalization, block, kernel_init, *, rngs):
        self.dense = nnx.Linear(fan_in, width, kernel_init=kernel_init, rngs=rngs)
        self.norm = _NORMS[normalization](width, rngs=rngs) if normalization != "none" else None
        self.residual = block == "residual"
        closed = nnx.initializers.constant(-2.0)
        gated = block == "highway"
        self.gate = nnx.Linear(width, width, bias_init=closed, rngs=rngs) if gated else None

    def __call__(self, x, activation):
        y = self.dense(x)
        y = activation(self.norm(y) if self.norm else y)
        if self.gate:
            opened = jax.nn.sigmoid(self.gate(x))
            return opened * y + (1.0 - opened) * x
        return x + y if self.residual else y
