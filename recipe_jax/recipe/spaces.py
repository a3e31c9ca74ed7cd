"""TUNE6: ranges to begin a search with, by group, as `search.space` writes them.

The published ones are those of the courses and books that the recipe rests on: rates 1e-4 to 1, 1
to 8 layers, 16 to 1024 units or 5 to 10 times the classes, batches of 16 to 512, clipping at 5, 10
or 15, dropout 0.3, 0.5 or 0.7, L2 up to 10, embeddings of 128 or 256.
"""

from collections.abc import Callable, Mapping
from typing import Any

from recipe_jax import resolve
from recipe_jax.search.base import Axis, Space
from recipe_jax.types import Task, UserError

RATES, SMALLER_RATES = (1e-4, 1.0), (1e-5, 1e-1)
LONG, DEEP = 100, 2
"""Steps and layers from which a recurrent network takes the smaller rates."""
UNITS = tuple(2**n for n in range(4, 11))
BY_CLASSES = (5, 10)
BATCHES = tuple(2**n for n in range(4, 10))
GROUPS = ("rate", "regularisation", "clipping", "batch", "architecture")


def ready(setting: Callable[[str], Any]) -> tuple[Axis, ...]:
    """What is searched over where the config says nothing: the rate within a factor of ten of where
    it stands, decay on a log scale, dropout and smoothing linear. All of it is one program.

    setting: path -> the value as it stands, None where there is none.
    """
    rate = setting("optim.learning_rate")
    axes = [] if rate is None else [Axis("optim.learning_rate", "log", rate / 10, rate * 10)]
    for path, kind, low, high in (
        ("optim.weight_decay", "log", 1e-5, 1e-1),
        ("model.dropout", "uniform", 0.0, 0.5),
        ("objective.label_smoothing", "uniform", 0.0, 0.1),
    ):
        if setting(path) is not None:
            axes.append(Axis(path, kind, low, high))
    return tuple(axes)


def published(config: Mapping[str, Any], task: Task) -> dict[str, list[tuple[Any, ...]]]:
    """Group -> entries of `search.space`, for the settings that the config's plug-ins have.

    Batches and architecture are static: every value is a program of its own.
    """
    model = config["model"]
    classes = task.spec.num_outputs if task.spec.kind == "classification" else 0
    heads = model.get("heads", 1)
    units = sorted(
        {
            count
            for count in (*UNITS, *(classes * times for times in BY_CLASSES))
            if UNITS[0] <= count <= UNITS[-1] and count % heads == 0
        }
    )
    examples = len(task.train.targets)
    batches = tuple(size for size in BATCHES if size <= examples)
    tokens = task.spec.input_dtype == "int32"
    groups = {
        "rate": [("optim.learning_rate", "log", *_rates(config, task))],
        "regularisation": [
            ("model.dropout", "choice", (0.0, 0.3, 0.5, 0.7)),
            ("objective.l2", "log", 1e-5, 10.0),
            ("optim.weight_decay", "log", 1e-5, 1e-1),
            ("objective.label_smoothing", "uniform", 0.0, 0.1),
        ],
        "clipping": [("optim.clip_norm", "choice", (5.0, 10.0, 15.0))],
        "batch": [("train.batch_size", "choice", batches)] if batches else [],
        "architecture": [
            ("model.depth", "int", 1, 8),
            ("model.width", "choice", tuple(units)),
            ("model.dense", "choice", tuple(units)),
            *([("model.embedding", "choice", (128, 256))] if tokens else []),
        ],
    }
    return {name: [each for each in groups[name] if _there(config, each[0])] for name in GROUPS}


def expanded(space: Space, config: Mapping[str, Any], task: Task) -> Space:
    """`search.space` with the entries of every group in place of its name. UserError for a name
    that is none, and for a group of which the config's plug-ins have nothing."""
    groups = published(config, task)
    entries: list[Any] = []
    for entry in space:
        if not isinstance(entry, str):
            entries.append(entry)
        elif entry not in groups:
            raise UserError(
                f"search.space: there is no group {entry!r}{resolve.nearest(entry, GROUPS)}"
            )
        elif not groups[entry]:
            raise UserError(
                f"search.space: {config['model']['name']} and {config['optim']['name']} have no "
                f"setting of the group {entry!r}; leave it out."
            )
        else:
            entries += groups[entry]
    return tuple(entries)


def _rates(config: Mapping[str, Any], task: Task) -> tuple[float, float]:
    """Gradients through many steps or layers of a recurrent network grow: it takes less."""
    model, shape = config["model"], task.spec.input_shape
    recurrent = model["name"] == "rnn" and (model["depth"] >= DEEP or shape[0] > LONG)
    return SMALLER_RATES if recurrent else RATES


def _there(config: Mapping[str, Any], path: str) -> bool:
    section, _, key = path.partition(".")
    return config[section].get(key) is not None
