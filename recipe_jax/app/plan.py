"""What a run will do, and what it costs, before it starts."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from recipe_jax import assembly
from recipe_jax.recipe.base import Context
from recipe_jax.report.numbers import duration
from recipe_jax.sweep import plan as sweep_plan
from recipe_jax.sweep.plan import Speed
from recipe_jax.train import settings

OPEN = 0.3
"""The part of what open comparisons may add that they do add, as a rule."""
# What a stage does beside training takes so many times the compiling of a program: most of it is
# compiling too, of the questions that checks ask. Measured on digits, diabetes and breast_cancer.
BESIDE = {"data": 0.5, "skeleton": 6.0, "squeeze": 3.0, "diagnose": 3.0}
START_SECONDS = 4.0
"""From the command to the first look at the clock: importing, reading the data."""


class Planned(NamedTuple):
    """One stage's training: lanes, programs (compiles of the train step), training steps in all;
    more_lane_steps: on top at most, while what is compared stays open; multiply_adds: of a forward
    pass on a batch, by the network that goes on."""

    stage: str
    lanes: int
    programs: int
    lane_steps: int
    more_lane_steps: int = 0
    multiply_adds: int = 0


def cost(context: Context) -> sweep_plan.Cost:
    """Of a forward pass on a batch, by the settings as they stand."""
    spec = context.task.spec
    batch = (context.setting("train.batch_size"), *spec.input_shape)
    return sweep_plan.model_cost(
        assembly.of_config(context.config, spec, context.carried).model,
        jax.ShapeDtypeStruct(batch, spec.input_dtype),
    )


def of_stages(
    stages: Sequence[Any], context: Context, *, multiply_adds: int | None = None
) -> list[Planned]:
    """What every stage says it will train, in steps of the batch size as it stands; multiply_adds:
    of the network as it stands, where that is known."""
    planned, size = [], multiply_adds or cost(context).multiply_adds
    for stage in stages:
        lanes = programs = steps = more = 0
        for wanted in stage.planned(context):
            each = settings.length(
                epochs=wanted.epochs,
                batch_size=context.setting("train.batch_size"),
                evaluations=context.config["train"]["evaluations"],
                num_examples=len(context.task.train.targets),
            ).num_steps
            lanes, programs = lanes + wanted.lanes, programs + wanted.programs
            steps += int(wanted.lanes * wanted.part) * each
            more += int(wanted.more * wanted.part) * each
        planned.append(Planned(name_of(stage), lanes, programs, steps, more, size))
    return planned


def name_of(stage: Any) -> str:
    """Of a stage, as it is told."""
    return stage.__name__.rpartition(".")[2]


def before(speed: Speed) -> float:
    """Seconds until the first stage begins."""
    return START_SECONDS + speed.timing_seconds


def predicted(planned: Sequence[Planned], speed: Speed) -> float:
    """Seconds that a plan takes on a machine of this speed."""
    steps = sum(
        (each.lane_steps + OPEN * each.more_lane_steps) * speed.step(each.multiply_adds)
        for each in planned
    )
    return beside(planned, speed) + steps


def beside(planned: Sequence[Planned], speed: Speed) -> float:
    """Seconds of all that is no step of a training."""
    programs = sum(each.programs + BESIDE.get(each.stage, 0.0) for each in planned)
    return speed.program_seconds * programs


def taken(work: Mapping[int, int], speed: Speed) -> float:
    """Seconds of training steps that were made: multiply-adds of a network -> its lane-steps."""
    return sum(steps * speed.step(size) for size, steps in work.items())


def as_data(planned: Sequence[Planned]) -> dict[str, Any]:
    """The plan for run.json."""
    return {
        "stages": [each._asdict() for each in planned],
        "lanes": sum(each.lanes for each in planned),
        "programs": sum(each.programs for each in planned),
        "lane_steps": sum(each.lane_steps for each in planned),
    }


def describe(planned: Sequence[Planned], context: Context, *, workdir: pathlib.Path) -> list[str]:
    """The plan for the console."""
    config, task = context.config, context.task
    whole = as_data(planned)
    lanes, programs = whole["lanes"], whole["programs"]
    runs = f"{lanes} training runs as lanes" if lanes != 1 else "1 training run as a lane"
    took = ""
    if lanes and jax.default_backend() == "cpu":
        seconds = sweep_plan.seconds(
            cost(context),
            lane_steps=whole["lane_steps"],
            programs=programs,
            devices=len(jax.devices()),
        )
        took = f", roughly {duration(seconds)}"
    train = config["train"]
    long = f"{train['epochs']} epochs" + "".join(f", then to {more}" for more in train["extend"])
    examples = f"{len(task.train.targets)} train, {len(task.validation.targets)} validation"
    return [
        f"data      {task.name}: {examples}, {task.test.num_examples} test (sealed)",
        f"model     {config['model']['name']}, {config['optim']['name']}, "
        f"batches of {train['batch_size']}, {long}",
        f"plan      {runs} of {programs} compiled program{'s' * (programs != 1)}, "
        f"{whole['lane_steps']:,} steps{took}",
        f"workdir   {workdir}",
    ]
