"""Handwritten digits, 8 x 8 pixels, embedded in scikit-learn: the default, offline.

    python -m experiments.run --config configs/digits.py --workdir runs/digits

Two minutes on 2 cores, 1 min 45 s with --config.recipe.budget=small. Expect a validation accuracy
of 0.99 for the best single run, and a test accuracy of 0.98 for the ensemble of 8, on 450 examples
each.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    # A quarter each, so that an accuracy of 0.98 is known to 0.007 on both.
    config.data = ConfigDict({"name": "digits", "validation": 0.25, "test": 0.25})
    config.model = ConfigDict({"name": "mlp", "width": 128, "depth": 2})
    config.optim = ConfigDict({"name": "adamw", "learning_rate": 1e-3})
    config.train = ConfigDict({"batch_size": 32, "epochs": 20})
    return config
