"""Which sections a config has, and which keys each of them."""

import functools
from collections.abc import Callable
from typing import Any

from recipe_jax import checkpoint, resolve
from recipe_jax.assembly import FAMILIES
from recipe_jax.data import base as data_base
from recipe_jax.recipe.settings import Recipe
from recipe_jax.resolve import Keyword
from recipe_jax.sweep.plan import Sweep
from recipe_jax.train.settings import Train

# Sections that choose a plug-in: section -> (family, the name when the config gives none).
NAMED = {
    "data": ("data", "digits"),
    "model": (FAMILIES["model"], "mlp"),
    "objective": (FAMILIES["objective"], "classification"),
    "optim": (FAMILIES["optim"], "adamw"),
    "schedule": (FAMILIES["schedule"], "constant"),
    "augment": (FAMILIES["augment"], "none"),
    "search": ("search", "random"),
    "prune": ("prune", "none"),
}
PLAIN: dict[str, Callable[..., Any]] = {
    "train": Train,
    "sweep": Sweep,
    "recipe": Recipe,
    "checkpoint": checkpoint.Checkpoint,
}
SECTIONS = ("seed", *NAMED, *PLAIN)
SEED = Keyword("seed", int, 0, resolve.Between(0, 2**32 - 1))


@functools.cache
def section_keywords(section: str, name: str = "") -> dict[str, Keyword]:
    """Every key of a section but its name."""
    if section in PLAIN:
        return resolve.keywords(PLAIN[section])
    build = resolve.resolve(NAMED[section][0], name)
    more = resolve.keywords(data_base.prepare) if section == "data" else {}
    return resolve.keywords(build) | more
