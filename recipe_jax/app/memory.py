"""How many blocks of lanes the devices' memory holds at once: it decides no bit, only whether a
population trains in one piece or in several."""

import os
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

# What XLA's own analysis does not see: fragments, and what other programs keep.
USABLE = 0.8


def waves_that_fit(program: Any, mesh: Mesh) -> int:
    """How many waves' states, one at least, fit beside the compiled round that trains them."""
    devices = mesh.devices.size
    analysis = program.memory_analysis()
    if analysis is None:
        return 1 << 30
    a_wave = sum(_bytes(leaf) for leaf in jax.tree.leaves(program.out_info)) / devices
    beside = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    return max(1, int((USABLE * limit(mesh) - beside) / max(1.0, a_wave)))


def limit(mesh: Mesh) -> float:
    """Bytes that one device of the mesh may use. Host devices share the machine's memory, and half
    of that is left to the copies that go to disk."""
    device = mesh.devices.flat[0]
    found = (device.memory_stats() or {}).get("bytes_limit")
    if found is None:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 / mesh.devices.size
    return float(found)


def exhausted(error: Exception) -> bool:
    """Whether XLA ran out of memory."""
    return "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def _bytes(leaf: Any) -> int:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended):
        return int(np.prod(leaf.shape)) * 8
    return int(np.prod(leaf.shape)) * leaf.dtype.itemsize
