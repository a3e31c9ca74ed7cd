"""No service: what TensorBoard and the report show is all there is."""

from recipe_jax.track.base import Opener


def build() -> Opener:
    """Tells nobody."""
    return lambda run: None
