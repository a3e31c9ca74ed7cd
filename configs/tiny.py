"""The whole recipe at its smallest, for trying things: iris, a small network, few seeds.

python -m experiments.run --config configs/tiny.py --workdir runs/tiny

Most of its time is spent on compiling a dozen programs. With JAX_COMPILATION_CACHE_DIR set to a
folder they are kept: runs after the first take less than half of it and give the same bits.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.data = ConfigDict({"name": "iris"})
    config.model = ConfigDict({"name": "mlp", "width": 16, "depth": 1})
    config.optim = ConfigDict({"name": "adamw", "learning_rate": 1e-2})
    config.train = ConfigDict({"batch_size": 16, "epochs": 30, "evaluations": 10})
    config.search = ConfigDict({"name": "random", "trials": 8})
    config.recipe = ConfigDict({"seeds": 3, "members": 3, "folds": 0, "snapshots": 0})
    return config
