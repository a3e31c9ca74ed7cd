"""The recipe for training neural networks, carried out and measured."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipe_jax.diagnosis import diagnose
    from recipe_jax.program import experiment

__all__ = ["diagnose", "experiment"]


def __getattr__(name: str) -> Any:
    """The two functions for programs of one's own, imported when they are asked for: a command that
    only prints its help does not wait for jax."""
    if name == "experiment":
        from recipe_jax.program import experiment

        return experiment
    if name == "diagnose":
        from recipe_jax.diagnosis import diagnose

        return diagnose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
