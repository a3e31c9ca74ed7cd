"""Weights & Biases, with the extra `wandb`; where and as whom is said by its own means.

`wandb login`, or the variables WANDB_ENTITY and WANDB_MODE=offline (then `wandb sync` sends later).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from recipe_jax.track.base import Opener, Run
from recipe_jax.types import UserError
from recipe_jax.writers import Writer, finite_values


def build(*, project: str = "recipe_jax", group: str = "") -> Opener:
    """Runs of one project, and in it of one group, lie beside one another."""
    try:
        import wandb  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "track.name = 'wandb' needs the package wandb: pip install 'recipe_jax[wandb]'."
        ) from error

    def opener(run: Run) -> Writer:
        return WandbWriter(run, project=project, group=group)

    return opener


class WandbWriter:
    """A run of Weights & Biases."""

    def __init__(self, run: Run, *, project: str, group: str):
        import wandb  # pyright: ignore[reportMissingImports]

        self._wandb = wandb
        # Nothing of this process's own output or code is sent.
        settings = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False)
        self._run = wandb.init(
            project=project,
            group=group or None,
            name=run.name,
            dir=str(run.folder),
            settings=settings,
        )
        # Steps begin anew with every trial, and wandb's own may only grow.
        self._run.define_metric("*", step_metric="step")

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """One point a name."""
        self._run.log({**{name: float(value) for name, value in scalars.items()}, "step": step})

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        """One image (height, width, channels) a name."""
        shown = {name: self._wandb.Image(np.asarray(image)) for name, image in images.items()}
        self._run.log({**shown, "step": step})

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Tables in markdown, as they are."""
        for name, words in texts.items():
            self._run.summary[name] = words

    def write_histograms(
        self, step: int, arrays: Mapping[str, Any], num_buckets: Mapping[str, int] | None = None
    ) -> None:
        """The distribution of each array's finite values."""
        for name, values, bins in finite_values(arrays, num_buckets):
            counted = self._wandb.Histogram(np_histogram=np.histogram(values, bins))
            self._run.log({name: counted, "step": step})

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """The settings."""
        self._run.config.update(dict(hparams))

    def flush(self) -> None:
        """It sends by itself."""

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()
