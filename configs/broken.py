"""Digits with one fault in it, for seeing what the tool says; without a variant it is healthy.

    python -m experiments.doctor --config configs/broken.py:labels
    python -m experiments.run --config configs/broken.py:labels --workdir runs/broken

Every variant ends with exit code 1 and the name of its fault. The first column
is the family: data, input pipeline, model, loss, optimiser, evaluation, numerics.

    A  labels     labels of other images             A1 labels unrelated to inputs
    A  answer     a column known after the answer    A14 the target among the features
    B  pipeline   images shuffled without labels     B5 augmentation destroys the label
    C  zeros      all weights start at zero          C1 symmetric initial weights
    C  dead       hidden biases start at -30         C9 dead units
    C  softmax    softmax of a softmax               C5 double softmax
    D  loss       a minus is missing                 D1 wrong sign of the loss
    D  smoothing  labels smoothed away               D7 smoothing, weights or masks mis-set
    E  rate       learning rate of 30                E1 learning rate too high
    E  decay      weight decay of 300                E5 decay outweighs the gradient
    F  metric     accuracy of the least likely       F4 wrong metric
    G  gradient   square roots at zero               G3 gradient not finite where the loss is
"""

from ml_collections import ConfigDict

PARTS = "configs.broken_parts"
FAULTS = {
    "": {},
    "labels": {"data.name": f"{PARTS}:other_labels"},
    "answer": {"data.name": f"{PARTS}:answered"},
    "pipeline": {"augment.name": f"{PARTS}:images_alone"},
    "zeros": {"model.init": "zeros"},
    "dead": {"model.name": f"{PARTS}:low_biases"},
    "softmax": {"objective.name": f"{PARTS}:softmax_twice"},
    "loss": {"objective.name": f"{PARTS}:wrong_sign"},
    "smoothing": {"objective.label_smoothing": 0.95},
    "rate": {"optim.learning_rate": 30.0},
    "decay": {"optim.weight_decay": 300.0},
    "metric": {"objective.name": f"{PARTS}:lowest_wins"},
    "gradient": {"model.name": f"{PARTS}:square_roots"},
}


def get_config(variant: str = "") -> ConfigDict:
    if variant not in FAULTS:
        raise ValueError(f"there is no variant {variant!r}; there are {', '.join(FAULTS)}")
    sections: dict[str, dict] = {
        "data": {"name": "digits", "validation": 0.25, "test": 0.25},
        "model": {"name": "mlp", "width": 64, "depth": 2},
        "objective": {"name": "classification"},
        "optim": {"name": "adamw", "learning_rate": 3e-3},
        "augment": {"name": "none"},
        "train": {"batch_size": 32, "epochs": 20},
        "search": {"name": "random", "trials": 8},
        "recipe": {"seeds": 3, "members": 3, "folds": 0, "snapshots": 0},
    }
    for path, value in FAULTS[variant].items():
        section, _, key = path.partition(".")
        if path == "model.name":
            sections["model"] = {}
        sections[section][key] = value
    return ConfigDict(sections)
