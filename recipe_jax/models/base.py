"""What networks share: dropout with a traced rate, initialisers by name, the output layer."""

import math
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from recipe_jax.models._mask import keep
from recipe_jax.resolve import OneOf
from recipe_jax.types import Spec, UserError

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "leaky_relu": jax.nn.leaky_relu,
    "sigmoid": jax.nn.sigmoid,
}

SPREAD = 0.05
"""Standard deviation of the initialiser "normal"."""


def _orthogonal(key: Key[Array, ""], shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    """Orthonormal rows or columns, one matrix after another: on CPU the QR decompositions of a
    batch share a pool of threads, and wait for each other for ever where two devices ask at once
    (jaxlib 0.10.2)."""

    kind = jax.random.key_impl(key)

    @jax.custom_batching.sequential_vmap
    def draw(bits: Array) -> Array:
        drawn = jax.nn.initializers.orthogonal()
        return drawn(jax.random.wrap_key_data(bits, impl=kind), shape, dtype)

    return draw(jax.random.key_data(key))


INITIALIZERS: dict[str, Callable[..., Any]] = {
    "lecun": jax.nn.initializers.lecun_normal(),
    "lecun_uniform": jax.nn.initializers.lecun_uniform(),
    "he": jax.nn.initializers.he_normal(),
    "he_uniform": jax.nn.initializers.he_uniform(),
    "xavier": jax.nn.initializers.xavier_normal(),
    "xavier_uniform": jax.nn.initializers.xavier_uniform(),
    "normal": jax.nn.initializers.normal(SPREAD),
    "uniform": lambda *args: jax.nn.initializers.uniform(2 * SPREAD)(*args) - SPREAD,
    "orthogonal": _orthogonal,
    "zeros": jax.nn.initializers.zeros,
}

Activation = Annotated[str, OneOf(tuple(ACTIVATIONS))]
Init = Annotated[str, OneOf(("auto", *INITIALIZERS))]


def dropout(
    x: Float[Array, "*shape"], rate: float | Float[Array, ""], key: Key[Array, ""]
) -> Float[Array, "*shape"]:
    """Zeroes elements at a rate that may be traced, and scales the others up to keep the mean
    (Srivastava et al. 2014). Rate 0 is exactly the identity; rate 1 gives zeros."""
    return x if is_off(rate) else masked(x, rate, keep(key, rate, x.shape))


def is_off(rate: float | Float[Array, ""]) -> bool:
    """Whether a rate is known to be 0 while tracing: no mask is drawn then."""
    return isinstance(rate, float) and rate == 0.0


def masked(
    x: Float[Array, "*shape"], rate: float | Float[Array, ""], kept: Bool[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Dropout with a mask from `keep`: one draw for all layers of a net is cheaper than several."""
    share = 1.0 - jnp.asarray(rate, jnp.float32)
    # Nothing is kept at rate 1, where dividing by the share would make the gradient NaN.
    return jnp.where(kept, x * (1.0 / jnp.where(share > 0.0, share, 1.0)), 0.0)


def initializer(name: str, gain: float | Float[Array, ""] = 1.0) -> Callable[..., Any]:
    """An initialiser (key, shape, dtype) -> array whose gain may be traced.

    lecun, he, xavier: truncated normal of variance 1 / fan in, 2 / fan in, 2 / (fan in + fan out)
    (LeCun et al. 1998, He et al. 2015, Glorot & Bengio 2010); `_uniform`: of the same variance.
    normal, uniform: standard deviation 0.05, and between -0.05 and 0.05, whatever the shape.
    orthogonal: rows or columns orthonormal (Saxe et al. 2014).
    """
    draw = INITIALIZERS[name]
    return lambda key, shape, dtype=jnp.float32, **_: gain * draw(key, shape, dtype)


def hidden_init(init: str, activation: str) -> str:
    """The initialiser of a hidden layer: "auto" keeps the variance of that activation."""
    saturating = {"tanh": "lecun", "sigmoid": "xavier"}
    return saturating.get(activation, "he") if init == "auto" else init


def output_layer(
    spec: Spec,
    fan_in: int,
    *,
    rngs: nnx.Rngs,
    init: str,
    gain: float | Float[Array, ""],
    prior_bias: float | Float[Array, ""],
) -> nnx.Linear:
    """The last layer, which starts at the training prior; "auto" is lecun: nothing follows it."""
    return nnx.Linear(
        fan_in,
        spec.num_outputs,
        kernel_init=initializer("lecun" if init == "auto" else init, gain),
        bias_init=lambda key, shape, dtype=jnp.float32, **_: (
            jnp.asarray(spec.prior_outputs, dtype) * prior_bias
        ),
        rngs=rngs,
    )


def flat(inputs: Float[Array, "batch *shape"]) -> Float[Array, "batch features"]:
    """One row of features per example."""
    return inputs.reshape(inputs.shape[0], -1)


def num_features(spec: Spec) -> int:
    """How many numbers one example has; tokens are refused, their numbers are only names."""
    if spec.input_dtype != "float32":
        raise UserError(
            "These examples are tokens, whose numbers are only names, and a network on the "
            "flattened input takes quantities; use model.name=rnn or model.name=transformer."
        )
    return math.prod(spec.input_shape)
