"""Breast tumours: malignant or benign from thirty measurements of cell nuclei."""

from sklearn import datasets

from recipe_jax.data import _sklearn, base


def build() -> base.Source:
    """569 tumours, 212 of them malignant."""
    return _sklearn.table(
        "breast_cancer", datasets.load_breast_cancer, kind="classification", target_name="diagnosis"
    )
