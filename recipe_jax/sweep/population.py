"""Many lanes as one program: blocks of lanes of a fixed width, one block a device at a time.

A block is a vmap of `width` lanes. `shard_map` gives every device of the mesh one block, and no
device ever waits for another; more lanes than that are more calls of the same compiled program. So
a program is compiled once for a width, however many lanes there are, and what a lane computes
depends on the width alone: not on its neighbours, the number of blocks or the number of devices.

One exception is kept out of the way: XLA compiles for one device by another pipeline than for
several, which may round differently. So a single run always takes one device, and several lanes
always take two or more where the process has them (on CPU it always does).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from recipe_jax import trees
from recipe_jax.types import Lane, PyTree, Trial, View

BLOCKS, WHOLE = PartitionSpec("blocks"), PartitionSpec()
# XLA's first level of three on CPU: programs compile in half to nine tenths of the time, and run as
# fast or faster, recurrent ones in two thirds of the time (measured with jaxlib 0.10; the higher
# levels unroll and vectorise loops over a few numbers).
CPU_OPTIONS = {"xla_backend_optimization_level": 1}


def spread(
    one: Callable[..., Any],
    *,
    lane_arguments: int,
    width: int,
    mesh: Mesh,
    donate: tuple[int, ...] = (),
) -> Any:
    """`one` trial's function for a wave of lanes, jitted: (devices, width, ...) in and out.

    Its first `lane_arguments` arguments differ from lane to lane, the last one, the data, is the
    same for all; the memory of those in `donate` is given away.
    """

    def local(*arguments: Any) -> Any:
        """One device's block; a width of one is the plain program, without a batch axis."""
        block = [trees.take(argument, 0) for argument in arguments[:-1]]
        data = arguments[-1]
        if width > 1:
            result = jax.vmap(one, in_axes=(0,) * lane_arguments + (None,))(*block, data)
        else:
            result = one(*(trees.take(argument, 0) for argument in block), data)
            result = jax.tree.map(lambda leaf: leaf[None], result)
        return jax.tree.map(lambda leaf: leaf[None], result)

    specs = (BLOCKS,) * lane_arguments + (WHOLE,)
    program = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=BLOCKS, check_vma=False)
    options = CPU_OPTIONS if mesh.devices.flat[0].platform == "cpu" else None
    return jax.jit(program, donate_argnums=donate, compiler_options=options)


def abstract(tree: PyTree, mesh: Mesh, spec: PartitionSpec = BLOCKS) -> PyTree:
    """Shapes and shardings of a wave, for compiling ahead."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def mesh_for(num_lanes: int, width: int) -> Mesh:
    """The devices that these lanes are worth: one for a single run, else two or more."""
    devices = jax.devices()
    blocks = -(-num_lanes // width)
    return make_mesh(devices[: 1 if num_lanes == 1 and width == 1 else max(2, blocks)])


def make_mesh(devices: Sequence[Any]) -> Mesh:
    """One axis, the blocks, over these devices."""
    return Mesh(np.asarray(devices), ("blocks",), axis_types=(AxisType.Auto,))


def make_lanes(
    trials: Sequence[Trial], numbers: Sequence[dict[str, float]], num_examples: int
) -> Lane:
    """The lanes of these trials, stacked on the host: axis 0 is the lane."""
    lane: Any = Lane  # its fields are traced arrays everywhere else
    view: Any = View
    return lane(
        seed=np.array([trial.seed for trial in trials], np.uint32),
        numbers={
            name: np.array([each[name] for each in numbers], np.float32) for name in numbers[0]
        },
        view=view(
            num_examples=np.array(
                [trial.num_examples or num_examples for trial in trials], np.int32
            ),
            show_inputs=np.array([trial.show_inputs for trial in trials]),
            held_out=np.array([_held_out(trial, num_examples) for trial in trials], np.int32),
        ),
    )


def _held_out(trial: Trial, num_examples: int) -> int:
    """The first example of the trial's fold; all folds have as many."""
    number, folds = trial.fold or (0, 1)
    return number * (num_examples // folds)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """A copy on every device of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, WHOLE))


def to_waves(tree: PyTree, *, width: int, mesh: Mesh) -> list[PyTree]:
    """Host arrays (lanes, ...) as waves of (devices, width, ...); lane 0 fills up the last one."""
    lanes = len(jax.tree.leaves(tree)[0])
    devices = mesh.devices.size
    waves = -(-lanes // (devices * width))
    rows = np.zeros(waves * devices * width, int)
    rows[:lanes] = np.arange(lanes)
    return [
        jax.device_put(
            jax.tree.map(lambda leaf, row=row: np.asarray(leaf)[row], tree),
            NamedSharding(mesh, BLOCKS),
        )
        for row in rows.reshape(waves, devices, width)
    ]


def from_waves(waves: Sequence[PyTree], num_lanes: int) -> PyTree:
    """The host copy (lanes, ...) of waves, padding dropped."""

    def join(*leaves: Any) -> np.ndarray:
        flat = [leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]) for leaf in leaves]
        return np.concatenate(flat)[:num_lanes]

    return jax.tree.map(join, *jax.device_get(list(waves)))
