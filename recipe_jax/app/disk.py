"""Disks that fail: looked at before a run begins, and told in one sentence when they do."""

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from recipe_jax import assembly
from recipe_jax.app.plan import Planned
from recipe_jax.recipe.base import Context
from recipe_jax.types import UserError

FAILING = (
    *(errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENODEV, errno.ENOSPC),
    *(errno.ENXIO, errno.EPERM, errno.EROFS, errno.ESTALE),
)
"""What the system says of a disk that is full, limited, read-only, another's, failing or gone."""
LEAST_BYTES = 32 * 2**20
"""Of pages, tables and curves, whatever the model."""
COPIES = 4
"""Weights, two moments of an optimiser, and the best weights so far, of every lane."""


def sentence(error: OSError, workdir: pathlib.Path) -> str | None:
    """What to tell of an error while a workdir was written; None where no disk is to blame."""
    if error.errno not in FAILING:
        if os.path.exists(workdir / "run.json"):
            return None
        return f"--workdir {workdir} is gone; bring it back, and the same command goes on from it."
    place = f"--workdir {workdir}"
    if isinstance(error.filename, str | os.PathLike):
        named = pathlib.Path(os.path.abspath(error.filename))
        place = place if named.is_relative_to(workdir) else str(named)
    return (
        f"{place} cannot be written ({error.strerror}); mend that, and the same command goes on "
        "from here."
    )


@contextlib.contextmanager
def errors_told(workdir: pathlib.Path) -> Iterator[None]:
    """Makes a UserError of what a disk that fails raises inside."""
    try:
        yield
    except OSError as error:
        told = sentence(error, workdir.resolve())
        if told is None:
            raise
        raise UserError(told) from error


def needed(planned: Sequence[Planned], context: Context) -> int:
    """Bytes that a run surely needs on its disk: two checkpoints of its largest program, since a
    new one is whole before an old one goes."""
    model = assembly.of_config(context.config, context.task.spec).model
    weights = jax.eval_shape(model.init, jax.random.key(0))
    lanes = max((each.lanes // max(1, each.programs) for each in planned), default=0)
    return LEAST_BYTES + 2 * lanes * COPIES * sum(map(_bytes, jax.tree.leaves(weights)))


def check_space(workdir: pathlib.Path, wanted: int) -> None:
    """UserError where the disk of a workdir, which need not be there, has less than `wanted`."""
    there = next(each for each in (workdir, *workdir.parents) if each.is_dir())
    free = shutil.disk_usage(there).free
    if free < wanted:
        raise UserError(
            f"The disk of --workdir {workdir} has {_megabytes(free)} free, and this run needs "
            f"{_megabytes(wanted)} at least; make room, or choose another --workdir."
        )


def _bytes(leaf: Any) -> int:
    return leaf.size * leaf.dtype.itemsize


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
