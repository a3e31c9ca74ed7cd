"""Italian wines: the cultivar from thirteen chemical measurements."""

from sklearn import datasets

from recipe_jax.data import _sklearn, base


def build() -> base.Source:
    """178 wines of 3 cultivars."""
    return _sklearn.table("wine", datasets.load_wine, kind="classification", target_name="cultivar")
