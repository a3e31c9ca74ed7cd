"""Tasks on sequences that the tests of several models share, and a batch of each."""

import jax

from recipe_jax import types

TEXT = types.Spec(
    kind="next_token",
    input_shape=(7,),
    num_outputs=5,
    prior=(0.4, 0.3, 0.1, 0.1, 0.1),
    input_dtype="int32",
)
SERIES = types.Spec(kind="regression", input_shape=(6, 3), num_outputs=2, prior=(0.0, 0.0))
TOKENS = jax.random.randint(jax.random.key(0), (4, 7), 0, 5)
NUMBERS = jax.random.normal(jax.random.key(0), (4, 6, 3))
