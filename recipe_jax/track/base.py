"""What a service is told about: a run, and what opens a Writer for it."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

from recipe_jax.writers import Writer


class Run(NamedTuple):
    """A finished run: its name for people, and its workdir."""

    name: str
    folder: pathlib.Path


Opener = Callable[[Run], Writer | None]
"""What `build(...)` of a file in this folder returns. It is called when the run is over; None tells
nobody."""
