"""How the models that a finished run left answer each validation example."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from recipe_jax import assembly, checkpoint
from recipe_jax import config as configs
from recipe_jax.app import drive, export
from recipe_jax.app.using import Models
from recipe_jax.types import Result, Scores, Task, Trial, UserError


def answers(
    folder: pathlib.Path, config: Mapping[str, Any], fingerprint: str
) -> dict[str, dict[str, np.ndarray]]:
    """Trial -> metric -> (examples,): the metric that decides, of every member of the model of a
    workdir, on the validation split. The test split stays sealed.

    fingerprint: of the data that the run saw. UserError says why they cannot be had.
    """
    described, arrays = export.load_weights(folder / "model")
    task = drive.load_task(config)
    if task.fingerprint != fingerprint:
        raise UserError("its data have changed since")
    objective = drive.make_objective(config, task)
    results = _members(config, task, described, arrays)
    request = Scores(label="answers", results=results, split="validation")
    found = Models(task, config, objective).scores(request, task.validation)
    metric = objective.score.metric
    return {
        result.trial.uid: {metric: np.asarray(each, np.float64)}
        for result, each in zip(results, found)
    }


def _members(
    config: Mapping[str, Any],
    task: Task,
    described: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> list[Result]:
    """The members with their weights, as results that say nothing else."""
    settings = {path: configs.frozen(value) for path, value in described["settings"].items()}
    built = assembly.of_config(configs.with_settings(config, settings), task.spec)
    like = jax.eval_shape(built.model.init, jax.random.key(0))
    none = np.zeros(0)
    return [
        Result(
            trial=Trial(settings=settings, seed=member["seed"]),
            steps=none,
            history={},
            losses=none,
            grad_norms=none,
            best_score=np.nan,
            best_step=member["step"],
            status="done",
            first_bad_step=None,
            num_params=0,
            weights=checkpoint.unflatten(
                like, {f"weights.{name}": array[place] for name, array in arrays.items()}, "weights"
            ),
            rounds=(0, 0),
        )
        for place, member in enumerate(described["members"])
    ]
