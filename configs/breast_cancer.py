"""Malignant or benign, from thirty measurements of cell nuclei: 569 rows, two classes.

python -m experiments.run --config configs/breast_cancer.py --workdir runs/breast_cancer

57 seconds on two CPU cores. Test accuracy 0.973 [0.925, 0.991]; a logistic regression has 0.982 and
the majority 0.628, and no gate closes.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict({"name": "breast_cancer"})
    config.model = ConfigDict({"name": "mlp", "width": 32, "depth": 1})
    config.optim = ConfigDict({"name": "adamw", "learning_rate": 1e-3})
    config.train = ConfigDict({"batch_size": 16, "epochs": 20})
    config.search = ConfigDict({"name": "random", "trials": 32})
    return config
