"""A small convolutional network for images (LeCun et al. 1998), with 3 x 3 kernels and ReLUs."""

import itertools
from typing import Any

import jax
from flax import nnx

from recipe_jax import adapters
from recipe_jax.models import _conv, base
from recipe_jax.resolve import Count, Fraction, Positive, Rate
from recipe_jax.types import Model, Spec, UserError


def build(
    spec: Spec,
    /,
    *,
    channels: tuple[int, ...] = (32, 64),
    dense: Count = 128,
    activation: base.Activation = "relu",
    dropout: Rate = 0.0,
    init: base.Init = "auto",
    init_gain: Positive = 1.0,
    prior_bias: Fraction = 1.0,
) -> Model:
    """A block for each of `channels`: 3 x 3 convolution, activation, 2 x 2 maximum; then a dense
    layer with dropout, and the output layer.

    (batch, h, w, c) -> (batch, h/2, w/2, c1) -> (batch, h/4, w/4, c2) ... -> (batch, dense) ->
    (batch, num_outputs). Parameters: (9 c + 1) c1 + (9 c1 + 1) c2 + ... + (p + 1) dense +
    (dense + 1) num_outputs, for p pixels times channels that leave the last block.
    """
    height, width, colours = _image(spec, channels)
    widths = (colours, *channels)
    pixels = (height >> len(channels)) * (width >> len(channels)) * widths[-1]

    def make(rngs: nnx.Rngs) -> "_Cnn":
        kernel_init = base.initializer(base.hidden_init(init, activation), init_gain)
        return _Cnn(
            [
                nnx.Conv(fan_in, fan_out, (3, 3), kernel_init=kernel_init, rngs=rngs)
                for fan_in, fan_out in itertools.pairwise(widths)
            ],
            nnx.Linear(pixels, dense, kernel_init=kernel_init, rngs=rngs),
            base.output_layer(
                spec, dense, rngs=rngs, init=init, gain=init_gain, prior_bias=prior_bias
            ),
        )

    def call(module: Any, inputs: jax.Array, *, key: jax.Array, train: bool) -> jax.Array:
        active, x = base.ACTIVATIONS[activation], inputs
        for layer in module.convs:
            x = _conv.conv(x, layer.kernel[...]) + layer.bias[...]
            x = _conv.max_pool(active(x))
        x = active(module.dense(base.flat(x)))
        x = base.dropout(x, dropout, key) if train else x
        return module.output(x)

    return adapters.from_nnx(make, call)


class _Cnn(nnx.Module):
    def __init__(self, convs: list[nnx.Conv], dense: nnx.Linear, output: nnx.Linear):
        self.convs = nnx.List(convs)
        self.dense = dense
        self.output = output


def _image(spec: Spec, channels: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width and channels of an example, which has to be an image that is large enough."""
    if len(spec.input_shape) != 3:
        sequence = spec.input_dtype != "float32" or len(spec.input_shape) == 2
        raise UserError(
            f"model.name=cnn needs images (height, width, channels), and these examples have shape "
            f"{spec.input_shape}; use model.name={'rnn' if sequence else 'mlp'}."
        )
    height, width, colours = spec.input_shape
    most = min(height, width).bit_length() - 1
    if len(channels) > most:
        raise UserError(
            f"model.channels={channels} halves the image {len(channels)} times, and {height} x "
            f"{width} pixels can be halved {most} times; give at most {most} channels."
            + _conv.channels_first(spec.input_shape)
        )
    return height, width, colours
