"""Many models as one: their predictions averaged, never their scores."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def average(
    outputs: Float[Array | np.ndarray, "models *batch outputs"], kind: str
) -> Float[Array, "*batch outputs"]:
    """The outputs of the ensemble: for classes and tokens the logarithm of the mean probability, so
    that a softmax gives that mean back; for regression the mean (Lakshminarayanan et al. 2017)."""
    outputs = jnp.asarray(outputs)
    if kind == "regression":
        return outputs.mean(0)
    log_probabilities = jax.nn.log_softmax(outputs, axis=-1)
    return jax.nn.logsumexp(log_probabilities, axis=0) - jnp.log(len(outputs))
