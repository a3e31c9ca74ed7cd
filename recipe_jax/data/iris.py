"""Fisher's irises: the species of a flower from four lengths."""

from sklearn import datasets

from recipe_jax.data import _sklearn, base


def build() -> base.Source:
    """150 flowers of 3 species."""
    return _sklearn.table("iris", datasets.load_iris, kind="classification", target_name="species")
