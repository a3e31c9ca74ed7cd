"""Four simulated devices for every test."""

import os
import pathlib

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 4)

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def mnist() -> pathlib.Path:
    """The folder with real MNIST images; the test is skipped where there is none."""
    folder = pathlib.Path(os.environ.get("RECIPE_JAX_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "t10k-images-idx3-ubyte.gz").is_file():
        pytest.skip("no MNIST images here")
    return folder
