"""How fast this machine trains what a config says: one short training, before anything else."""

import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from recipe_jax.app import plan
from recipe_jax.app.lanes import Lanes
from recipe_jax.app.signals import Signals
from recipe_jax.recipe.base import Context
from recipe_jax.sweep import plan as sweep_plan
from recipe_jax.sweep.plan import Speed
from recipe_jax.train import settings
from recipe_jax.types import Trials

SECONDS, LANES = 2.0, 32
"""How long each timed training should take by estimate, and how many lanes it has at most."""


def measured(
    context: Context,
    settings: Sequence[Mapping[str, Any]] = ({},),
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Speed:
    """Seconds of a lane-step by each of these settings, with all that belongs to it (looks at both
    splits, rows, storing), and of compiling a program, the least of them: whatever else the machine
    does at that moment makes it longer. Nothing of it is kept."""
    began, timed, programs = clock(), {}, []
    for each in settings:
        changed = context._replace(carried={**context.carried, **each})
        step, program = _of_one(changed, clock)
        timed[plan.cost(changed).multiply_adds] = step
        programs.append(program)
    return Speed(
        multiply_adds=tuple(sorted(timed)),
        step_seconds=tuple(timed[size] for size in sorted(timed)),
        program_seconds=min(programs),
        timing_seconds=clock() - began,
    )


def _of_one(context: Context, clock: Callable[[], float]) -> tuple[float, float]:
    """(seconds of a lane-step, seconds of a program) of the settings as they stand. The request is
    made three times, on other seeds each time: without a step, which warms all up; with all steps;
    and again, when nothing is left to compile."""
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
    return again / (training.lane_steps / 2), max(0.0, first - again)


def _size(context: Context) -> tuple[int, int, int]:
    """(lanes, epochs, training examples) of a training that takes SECONDS or so: of a large network
    fewer lanes, and fewer examples where one epoch would be too long."""
    epochs, batch = context.config["train"]["epochs"], context.setting("train.batch_size")
    devices = len(jax.devices())
    a_step = sweep_plan.seconds(plan.cost(context), lane_steps=1, programs=0, devices=devices)
    affordable = max(1, int(SECONDS / a_step))
    examples = _count(context)
    an_epoch = settings.length(
        epochs=1, batch_size=batch, evaluations=1, num_examples=examples
    ).num_steps
    lanes = min(LANES, max(devices, affordable // an_epoch))
    epochs = min(epochs, max(1, affordable // (lanes * an_epoch)))
    if lanes * an_epoch > affordable:
        examples = max(batch, examples * affordable // (lanes * an_epoch))
    return lanes, epochs, examples


def _count(context: Context) -> int:
    return len(context.task.train.targets)
