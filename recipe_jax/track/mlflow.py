"""MLflow, with the extra `mlflow`; as whom is said by its own variables.

`uri` names a file (`sqlite:///mlflow.db`; pictures and texts go to the folder mlruns) or a server
(`http://localhost:5000`).
"""

import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from recipe_jax.track.base import Opener, Run
from recipe_jax.types import UserError
from recipe_jax.writers import Writer, finite_values

MOST_METRICS, MOST_PARAMS, LONGEST = 1000, 100, 6000
"""What the service takes at once: measurements, settings, and characters of one setting."""


def build(*, uri: str = "sqlite:///mlflow.db", experiment: str = "recipe_jax") -> Opener:
    """Runs of one experiment lie beside one another."""
    try:
        import mlflow  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "track.name = 'mlflow' needs the package mlflow-skinny: pip install "
            "'recipe_jax[mlflow]'."
        ) from error

    def opener(run: Run) -> Writer:
        return MlflowWriter(run, uri=uri, experiment=experiment)

    return opener


class MlflowWriter:
    """A run of MLflow."""

    def __init__(self, run: Run, *, uri: str, experiment: str):
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]

        self._client = MlflowClient(tracking_uri=uri)
        known = self._client.get_experiment_by_name(experiment)
        place = known.experiment_id if known else self._client.create_experiment(experiment)
        self._id = self._client.create_run(place, run_name=run.name).info.run_id
        self._metrics: list[Any] = []

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """One point a name; sent by the thousand."""
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        now = int(1000 * time.time())
        self._metrics += [
            Metric(_name(name), float(value), now, step) for name, value in scalars.items()
        ]
        if len(self._metrics) >= MOST_METRICS:
            self.flush()

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        """One image (height, width, channels) a name, as a file."""
        for name, image in images.items():
            self._client.log_image(self._id, np.asarray(image), f"images/{_name(name)}.png")

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Tables in markdown, as files."""
        for name, words in texts.items():
            self._client.log_text(self._id, words, f"{_name(name)}.md")

    def write_histograms(
        self, step: int, arrays: Mapping[str, Any], num_buckets: Mapping[str, int] | None = None
    ) -> None:
        """The distribution of each array's finite values, as files of counts and edges."""
        for name, values, bins in finite_values(arrays, num_buckets):
            counts, edges = np.histogram(values, bins)
            told = {"counts": counts.tolist(), "edges": edges.tolist()}
            self._client.log_dict(self._id, told, f"histograms/{_name(name)}.json")

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """The settings."""
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]

        told = [Param(_name(name), str(value)[:LONGEST]) for name, value in hparams.items()]
        for first in range(0, len(told), MOST_PARAMS):
            self._client.log_batch(self._id, params=told[first : first + MOST_PARAMS])

    def flush(self) -> None:
        """Sends what is held back."""
        for first in range(0, len(self._metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics=self._metrics[first : first + MOST_METRICS])
        self._metrics = []

    def close(self) -> None:
        """Ends the run."""
        self.flush()
        self._client.set_terminated(self._id)


def _name(name: str) -> str:
    """With the characters that a name may have there."""
    return re.sub(r"[^\w\-. /]", "_", name)
