"""What networks for sequences share: which sequences there are, and tokens as vectors."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from recipe_jax.types import Spec, UserError


def num_features(spec: Spec, *, name: str) -> int:
    """How many numbers a step of the sequence has; 0 where it is a token.

    Refuses what is no sequence; `name` is that of the model.
    """
    shape = spec.input_shape
    if spec.kind == "next_token":
        return 0
    if spec.input_dtype != "float32":
        raise UserError(
            f"model.name={name} reads tokens for objective.name=next_token alone, and here the "
            f"task is {spec.kind}; give numbers, (examples, time, features)."
        )
    if len(shape) != 2:
        images = "cnn, or data.modality=sequence where the axes are time and features"
        remedy = images if len(shape) == 3 else "mlp"
        raise UserError(
            f"model.name={name} needs sequences (time, features) or tokens, and these examples "
            f"have shape {shape}; use model.name={remedy}."
        )
    return shape[1]


class Embedding(nnx.Module):
    """A vector for each token."""

    def __init__(self, num_tokens: int, width: int, init: jax.nn.initializers.Initializer, *, rngs):
        self.embedding = nnx.Param(init(rngs.params(), (num_tokens, width), jnp.float32))

    def __call__(self, tokens: Int[Array, "*shape"]) -> Float[Array, "*shape width"]:
        return self.embedding[...][tokens]
