"""Residual networks for images (He et al. 2016), from ResNet-8 for small ones to ResNet-34."""

import functools
import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from recipe_jax import adapters
from recipe_jax.models import _conv, base
from recipe_jax.resolve import Count, Fraction, OneOf, Positive, Rate
from recipe_jax.types import Model, Spec, UserError

MOMENTUM = 0.9
"""Share of the running statistics that stays at every step of training."""
GROUP = 16
"""Channels of a group (Wu & He 2018)."""


def build(
    spec: Spec,
    /,
    *,
    blocks: tuple[Count, ...] = (1, 1, 1),
    width: Count = 16,
    stem: Annotated[str, OneOf(("small", "imagenet"))] = "small",
    shortcut: Annotated[str, OneOf(("identity", "projection"))] = "identity",
    normalization: Annotated[str, OneOf(("batch", "group"))] = "batch",
    last_scale: Fraction = 0.5,
    dropout: Rate = 0.0,
    init_gain: Positive = 1.0,
    prior_bias: Fraction = 1.0,
) -> Model:
    """A stem, a stage for each of `blocks` with so many blocks, the mean over pixels, dropout, and
    the output layer. Stage s is width * 2^s channels wide; all but the first halve the image.

    A block is two 3 x 3 convolutions without biases, each with normalisation, the first with a
    ReLU; its input is added, and a ReLU follows. Where a stage begins, the input has to change its
    shape: "identity" takes every second pixel and adds channels of zeros (the paper's option A, for
    CIFAR), "projection" is a normalised 1 x 1 convolution of stride 2 (option B, for ImageNet).
    The stem is a 3 x 3 convolution, or for "imagenet" 7 x 7 of stride 2 and a 3 x 3 maximum of
    stride 2. The published ones:

    - ResNet-20 for CIFAR: the defaults with blocks (3, 3, 3); 6 n + 2 layers for (n, n, n).
    - ResNet-18 for ImageNet: blocks (2, 2, 2, 2), width 64, stem "imagenet", shortcut "projection";
      ResNet-34 has blocks (3, 4, 6, 3).

    normalization: "batch" (Ioffe & Szegedy 2015) carries running statistics for evaluation; "group"
    (Wu & He 2018), in groups of 16 channels, looks at each example alone. last_scale: at the start,
    of the last normalisation in every block. The paper's is 1, at which every block doubles the
    variance as long as the running statistics are not learnt: the loss before the first step is far
    off. At 0 every block starts as its shortcut (Goyal et al. 2017), and wakes slowly under Adam.
    Convolutions are drawn from He et al. 2015 times init_gain.

    (batch, h, w, c) -> (batch, h, w, width) -> ... -> (batch, h / 2^(S - 1), w / 2^(S - 1), K) ->
    (batch, K) -> (batch, num_outputs), with K = width * 2^(S - 1) for S stages; the stem "imagenet"
    divides by 4 more. Parameters, for a k x k stem and a block from a to b channels:
    (k k c + 2) width + the blocks' 9 a b + 9 b b + 4 b + (K + 1) num_outputs, and (a + 2) b for
    every projection.
    """
    _check(spec, blocks, stem)
    colours = spec.input_shape[-1]
    widths = [width << stage for stage in range(len(blocks))]

    def make(rngs: nnx.Rngs) -> "_ResNet":
        kernel_init = base.initializer("he", init_gain)
        size = 3 if stem == "small" else 7
        first = nnx.Conv(
            colours, width, (size, size), use_bias=False, kernel_init=kernel_init, rngs=rngs
        )
        layers, fan_in = [], width
        for stage, (count, fan_out) in enumerate(zip(blocks, widths)):
            for place in range(count):
                layers.append(
                    _Block(
                        fan_in,
                        fan_out,
                        stride=2 if stage and not place else 1,
                        project=shortcut == "projection",
                        normalization=normalization,
                        last_scale=last_scale,
                        kernel_init=kernel_init,
                        rngs=rngs,
                    )
                )
                fan_in = fan_out
        output = base.output_layer(
            spec, fan_in, rngs=rngs, init="auto", gain=init_gain, prior_bias=prior_bias
        )
        return _ResNet(first, _norm(normalization, width, rngs=rngs), layers, output)

    def call(module: Any, inputs: jax.Array, *, key: jax.Array, train: bool) -> jax.Array:
        x = _convolved(module.stem, inputs, 1 if stem == "small" else 2)
        x = jax.nn.relu(module.norm(x))
        x = x if stem == "small" else _max_pool(x)
        for block in module.blocks:
            x = block(x)
        x = x.mean((1, 2))
        x = base.dropout(x, dropout, key) if train else x
        return module.output(x)

    return adapters.from_nnx(make, call)


class _ResNet(nnx.Module):
    def __init__(self, stem: nnx.Conv, norm: Any, blocks: "list[_Block]", output: nnx.Linear):
        self.stem = stem
        self.norm = norm
        self.blocks = nnx.List(blocks)
        self.output = output


class _Block(nnx.Module):
    """Two convolutions and a way around them."""

    def __init__(
        self, fan_in, fan_out, *, stride, project, normalization, last_scale, kernel_init, rngs
    ):
        def conv(size, fan_in):
            return nnx.Conv(
                fan_in, fan_out, (size, size), use_bias=False, kernel_init=kernel_init, rngs=rngs
            )

        self.stride = stride
        self.conv1, self.conv2 = conv(3, fan_in), conv(3, fan_out)
        self.norm1 = _norm(normalization, fan_out, rngs=rngs)
        self.norm2 = _norm(normalization, fan_out, scale=last_scale, rngs=rngs)
        project = project and (fan_in != fan_out or stride > 1)
        self.projection: Any = conv(1, fan_in) if project else None
        self.norm: Any = _norm(normalization, fan_out, rngs=rngs) if project else None

    def __call__(self, x):
        y = jax.nn.relu(self.norm1(_convolved(self.conv1, x, self.stride)))
        y = self.norm2(_convolved(self.conv2, y))
        if self.projection:
            x = self.norm(_convolved(self.projection, x, self.stride))
        else:
            x = x[:, :: self.stride, :: self.stride]
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1])))
        return jax.nn.relu(x + y)


def _norm(kind: str, channels: int, *, scale: Any = 1.0, rngs: nnx.Rngs) -> Any:
    """The normalisation layer; its scale starts at a number that may be traced."""

    def scale_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jnp.full(shape, scale, dtype)

    if kind == "batch":
        return nnx.BatchNorm(channels, momentum=MOMENTUM, scale_init=scale_init, rngs=rngs)
    groups = channels // math.gcd(channels, GROUP)
    return nnx.GroupNorm(channels, groups, scale_init=scale_init, rngs=rngs)


def _convolved(layer: nnx.Conv, x: Any, stride: int = 1) -> jax.Array:
    """With as many zeros on every side, so that outputs lie over the pixels of the shortcut."""
    size = layer.kernel_size[0]
    around = (size // 2, size // 2)
    return _conv.conv(x, layer.kernel[...], strides=(stride, stride), padding=(around, around))


def _max_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch half_height half_width channels"]:
    """The largest of every 3 x 3 pixels, centres two apart, as a maximum of shifted images: see
    _conv.max_pool for what is wrong with the gradient of a window reduction."""
    height, width = (-(-size // 2) for size in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    parts = [
        x[:, row : row + 2 * height - 1 : 2, column : column + 2 * width - 1 : 2]
        for row in range(3)
        for column in range(3)
    ]
    return functools.reduce(jnp.maximum, parts)


def _check(spec: Spec, blocks: tuple[int, ...], stem: str) -> None:
    """Examples have to be images that are large enough to be halved so often."""
    if len(spec.input_shape) != 3:
        raise UserError(
            f"model.name=resnet needs images (height, width, channels), and these examples have "
            f"shape {spec.input_shape}; use model.name=mlp."
        )
    if not blocks:
        raise UserError("model.blocks=() has no stage; give one number of blocks a stage.")
    height, width, _ = spec.input_shape
    most = min(height, width).bit_length() - 1
    halved = len(blocks) - 1 + (0 if stem == "small" else 2)
    if halved > most:
        stages = most + len(blocks) - halved
        remedy = f"give at most {stages} stages" if stages > 0 else "set model.stem=small"
        raise UserError(
            f"model.blocks={blocks} with model.stem={stem} halves the image {halved} times, and "
            f"{height} x {width} pixels can be halved {most} times; {remedy}."
            + _conv.channels_first(spec.input_shape)
        )
