"""The whole recipe in half a minute, for trying things: iris, a small network, few seeds.

python -m experiments.run --config configs/tiny.py --workdir runs/tiny
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict({"name": "iris"})
    config.model = ConfigDict({"name": "mlp", "width": 16, "depth": 1})
    config.optim = ConfigDict({"name": "adamw", "learning_rate": 1e-2})
    config.train = ConfigDict({"batch_size": 16, "epochs": 30, "evaluations": 10})
    config.search = ConfigDict({"name": "random", "trials": 8})
    config.recipe = ConfigDict({"seeds": 3, "members": 3})
    return config
