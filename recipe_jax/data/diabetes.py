"""Diabetes: disease progression after a year from ten measurements, in their own units."""

from sklearn import datasets

from recipe_jax.data import _sklearn, base


def build() -> base.Source:
    """442 patients; the target is a quantity between 25 and 346."""
    return _sklearn.table(
        "diabetes",
        datasets.load_diabetes,
        kind="regression",
        target_name="progression",
        scaled=False,
    )
