"""How fast this machine trains what a config says: one short training, before anything else."""

import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable

import jax

from recipe_jax import assembly
from recipe_jax.app.lanes import Lanes
from recipe_jax.app.signals import Signals
from recipe_jax.recipe.base import Context
from recipe_jax.sweep import plan
from recipe_jax.sweep.plan import Speed
from recipe_jax.train import settings
from recipe_jax.types import Trials

SECONDS, LANES = 2.0, 32
"""How long the timed training should take by estimate, and how many lanes it has at most."""


def measured(context: Context, *, clock: Callable[[], float] = time.monotonic) -> Speed:
    """Seconds of a lane-step, with all that belongs to it (looks at both splits, rows, storing),
    and of compiling a program. The same request is made three times, on other seeds each time:
    without a step, which warms all up; with all steps; and again, when nothing is left to compile.
    Nothing of it is kept."""
    lanes, epochs, examples = _size(context)
    held = len(context.task.validation.targets) * examples // _count(context)
    task = dataclasses.replace(
        context.task,
        train=context.task.train.first(examples),
        validation=context.task.validation.first(max(1, held)),
    )
    with tempfile.TemporaryDirectory() as folder:
        training = Lanes(
            task=task,
            config=context.config,
            workdir=pathlib.Path(folder),
            signals=Signals(),
            progress=lambda watched: None,
            varied=context.varied,
        )
        ends = []
        for number, length in enumerate((0, epochs, epochs)):
            trials = tuple(context.trial(number * lanes + seed) for seed in range(lanes))
            training.train("timing", Trials(label="timing", trials=trials, epochs=length))
            ends.append(clock())
        training.metrics.close()
    first, again = ends[1] - ends[0], ends[2] - ends[1]
    return Speed(
        step_seconds=again / (training.lane_steps / 2), program_seconds=max(0.0, first - again)
    )


def _size(context: Context) -> tuple[int, int, int]:
    """(lanes, epochs, training examples) of a training that takes SECONDS or so: of a large network
    fewer lanes, and fewer examples where one epoch would be too long."""
    train, spec, devices = context.config["train"], context.task.spec, len(jax.devices())
    shape = (train["batch_size"], *spec.input_shape)
    cost = plan.model_cost(
        assembly.of_config(context.config, spec).model,
        jax.ShapeDtypeStruct(shape, spec.input_dtype),
    )
    a_step = plan.seconds(cost, lane_steps=1, programs=0, devices=devices)
    affordable = max(1, int(SECONDS / a_step))
    examples = _count(context)
    an_epoch = settings.length(
        epochs=1, batch_size=train["batch_size"], evaluations=1, num_examples=examples
    ).num_steps
    lanes = min(LANES, max(devices, affordable // an_epoch))
    epochs = min(train["epochs"], max(1, affordable // (lanes * an_epoch)))
    if lanes * an_epoch > affordable:
        examples = max(train["batch_size"], examples * affordable // (lanes * an_epoch))
    return lanes, epochs, examples


def _count(context: Context) -> int:
    return len(context.task.train.targets)
