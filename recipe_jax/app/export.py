"""The model that a run leaves behind: weights as npz, what its inputs and outputs mean, and a
serialised program that needs none of this package."""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import export as jax_export

from recipe_jax import assembly, checkpoint, writers
from recipe_jax import config as configs
from recipe_jax.app import blended
from recipe_jax.app.blended import Part
from recipe_jax.data import base as data_base
from recipe_jax.train.evaluate import outputs_over
from recipe_jax.types import Blend, Experiment, Task, UserError

FILES = ("model.json", "weights.npz", "model.jaxexport", "sha256.json")
DESCRIPTION, WEIGHTS, PROGRAM, DIGESTS = FILES
PLATFORMS = ("cpu", "cuda", "tpu")


def save_model(folder: pathlib.Path, task: Task, config: Mapping[str, Any], model: Blend) -> None:
    """Writes weights.npz, model.jaxexport, their digests, and model.json.

    The program takes encoded inputs (batch, ...) and gives probabilities, or values in the target's
    own units; its batch size is free. A model that carries something from window to window reads
    the rows of a batch as one text.

    In weights.npz axis 0 is the member, in the order of model.json; members that are built
    differently lie in several parts, named part0., part1., ..., and model.json says which where.
    """
    folder.mkdir(exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)
    parts = blended.parts(model, config, task.spec)
    program = _program(task, config, model, parts)
    batch = jax_export.symbolic_shape("batch")[0]
    shape = jax.ShapeDtypeStruct((batch, *task.spec.input_shape), task.spec.input_dtype)
    exported = jax_export.export(jax.jit(program), platforms=PLATFORMS)(shape)
    (folder / PROGRAM).write_bytes(exported.serialize())
    weights = {f"part{number}": part.weights for number, part in enumerate(parts)}
    arrays = checkpoint.flatten(weights if len(parts) > 1 else parts[0].weights)
    np.savez(folder / WEIGHTS, **arrays)  # pyright: ignore[reportArgumentType]
    described = {
        "kind": task.spec.kind,
        "class_names": task.class_names,
        "target_names": task.target_names,
        "input_shape": task.spec.input_shape,
        "modality": task.modality,
        "feature_names": task.feature_names,
        "encoder": task.encoder.to_json(),
        "settings": _shared([dict(member.trial.settings) for member in model.members]),
        "temperature": model.temperature,
        "members": _members(model, parts),
    }
    writers.write_json(folder / DIGESTS, _digests(folder))
    # Last, so that a folder with a description is whole.
    writers.write_json(folder / DESCRIPTION, described)


def load_weights(folder: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(description, arrays of weights.npz) of a saved model; UserError when they are damaged."""
    try:
        described = _described(folder)
        with np.load(folder / WEIGHTS) as stored:
            return described, dict(stored)
    except Exception as error:
        raise UserError(
            f"The weights in {folder} are damaged: {' '.join(str(error).split())}."
        ) from error


def load_model(folder: pathlib.Path) -> tuple[dict[str, Any], Any, Any]:
    """(description, encoder, program) of a saved model; UserError when it is missing or damaged."""
    try:
        described = _described(folder)
        program = jax_export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
        return described, data_base.encoder_from_json(described["encoder"]), jax.jit(program.call)
    except FileNotFoundError as error:
        raise UserError(
            f"There is no trained model in {folder}: its run has not come to the end, or a gate "
            "closed before (--config.recipe.force goes on)."
        ) from error
    except Exception as error:
        raise UserError(
            f"The model in {folder} is damaged: {' '.join(str(error).split())}."
        ) from error


def _described(folder: pathlib.Path) -> dict[str, Any]:
    described = json.loads((folder / DESCRIPTION).read_text())
    if json.loads((folder / DIGESTS).read_text()) != _digests(folder):
        raise ValueError(f"{WEIGHTS} or {PROGRAM} is not what was written")
    return described


def _digests(folder: pathlib.Path) -> dict[str, str]:
    """The SHA-256 of the files that nobody can read; beside them, since they hold dates."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (WEIGHTS, PROGRAM)
    }


def _members(model: Blend, parts: list[Part]) -> list[dict[str, Any]]:
    """Each with what sets it apart, its share, and its place in weights.npz: (part, row)."""
    places = {
        place: (number, row)
        for number, part in enumerate(parts)
        for row, place in enumerate(part.places)
    }
    shared = _shared([dict(member.trial.settings) for member in model.members])
    shares = model.shares or (1.0 / len(model.members),) * len(model.members)
    return [
        {
            "uid": member.trial.uid,
            "seed": member.trial.seed,
            "step": member.best_step,
            "share": share,
            "settings": {k: v for k, v in member.trial.settings.items() if k not in shared},
            "weights": places[place],
        }
        for place, (member, share) in enumerate(zip(model.members, shares))
    ]


def _shared(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """What all of them say alike."""
    first, *others = settings
    return {
        path: value
        for path, value in first.items()
        if all(path in each and each[path] == value for each in others)
    }


def _program(task: Task, config: Mapping[str, Any], model: Blend, parts: list[Part]) -> Any:
    first = configs.with_settings(config, model.members[0].trial.settings)
    predicted = assembly.of_config(first, task.spec).objective.predict

    def predict(inputs: jax.Array) -> jax.Array:
        def member(built: Experiment, params: Any, model_state: Any) -> jax.Array:
            batches = inputs[:, None] if built.model.begin else inputs[None]
            found = outputs_over(built, params, model_state, batches)
            return found.reshape(-1, *found.shape[2:])

        return predicted(blended.outputs(model, parts, task.spec.kind, member))

    return predict
