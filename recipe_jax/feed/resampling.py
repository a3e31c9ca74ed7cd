"""Folds and bootstraps: which row of the training split an example of a lane is."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32, Key

from recipe_jax.types import Sampling, View


def held_out(num_examples: int, sampling: Sampling) -> int:
    """How many examples a fold has: all folds have as many, what is left over always trains."""
    return num_examples // sampling.folds if sampling.folds else 0


def rows(
    key: Key[Array, ""],
    examples: Int32[Array, "*shape"],
    view: View,
    sampling: Sampling,
    num_examples: int,
) -> Int32[Array, "*shape"]:
    """The rows of the split at these of the lane's own examples.

    A bootstrap draws a row for each of them, always the same one; after that the fold that is held
    out is left out.
    """
    if sampling.resampled:
        most = jnp.minimum(view.num_examples, num_examples - held_out(num_examples, sampling))

        def drawn(example: Int32[Array, ""]) -> Int32[Array, ""]:
            return jax.random.randint(jax.random.fold_in(key, example), (), 0, most, jnp.int32)

        examples = jax.vmap(drawn)(examples.ravel()).reshape(examples.shape)
    if sampling.folds:
        beyond = examples >= view.held_out
        examples = examples + jnp.where(beyond, held_out(num_examples, sampling), 0)
    return examples


def looked_at(
    view: View, sampling: Sampling, num_examples: int, batch_size: int
) -> tuple[
    Int32[Array, "batches batch"], Int32[Array, "batches batch"], Bool[Array, "batches batch"]
]:
    """Rows of the split that a look takes, in batches: training examples, and the fold that is held
    out; and the mask of those that count."""
    count = held_out(num_examples, sampling)
    batch_size = min(batch_size, count)
    places = jnp.arange(-(-count // batch_size) * batch_size).reshape(-1, batch_size)
    held = jnp.asarray(view.held_out + places % count, jnp.int32)
    return (held + count) % num_examples, held, places < count
