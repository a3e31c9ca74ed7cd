"""Which sections a config has, and which keys each of them."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from recipe_jax import checkpoint, resolve
from recipe_jax.assembly import FAMILIES
from recipe_jax.data import base as data_base
from recipe_jax.recipe import budget
from recipe_jax.recipe.settings import Recipe
from recipe_jax.resolve import Keyword
from recipe_jax.sweep.plan import Sweep
from recipe_jax.train.settings import Train
from recipe_jax.train.starting import Start

# Sections that choose a plug-in: section -> (family, the name when the config gives none).
NAMED = {
    "data": ("data", "digits"),
    "model": (FAMILIES["model"], "mlp"),
    "objective": (FAMILIES["objective"], "classification"),
    "optim": (FAMILIES["optim"], "adamw"),
    "schedule": (FAMILIES["schedule"], "constant"),
    "augment": (FAMILIES["augment"], "none"),
    "search": ("search", "coarse_to_fine"),
    "prune": ("prune", "none"),
    "track": ("track", "none"),
}
PLAIN: dict[str, Callable[..., Any]] = {
    "train": Train,
    "start": Start,
    "sweep": Sweep,
    "recipe": Recipe,
    "checkpoint": checkpoint.Checkpoint,
}
SECTIONS = ("seed", *NAMED, *PLAIN)
SEED = Keyword("seed", int, 0, resolve.Between(0, 2**32 - 1))


@functools.cache
def section_keywords(section: str, name: str = "") -> dict[str, Keyword]:
    """Every key of a section but its name. What a budget decides is None by default."""
    build = PLAIN.get(section) or resolve.resolve(NAMED[section][0], name)
    more = resolve.keywords(data_base.prepare) if section == "data" else {}
    known = resolve.keywords(build) | more
    return {
        key: dataclasses.replace(keyword, default=None)
        if f"{section}.{key}" in budget.LADDERS and keyword.default is not inspect.Parameter.empty
        else keyword
        for key, keyword in known.items()
    }
