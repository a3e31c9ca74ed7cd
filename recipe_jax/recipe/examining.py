"""The questions that any program can be asked (checks/), asked of what the recipe would train."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from recipe_jax import assembly
from recipe_jax.checks import _asking
from recipe_jax.checks._catalogue import NAMES
from recipe_jax.feed import balanced
from recipe_jax.optim import base as optim_base
from recipe_jax.program import Program
from recipe_jax.recipe.base import Context
from recipe_jax.train import settings
from recipe_jax.types import Asked, Finding, Objective, Split, Status, Task, judge

OF_DATA = ("classes", "leaks", "order", "repeats", "shift", "values")
"""Questions about the examples alone: those are the stage data's."""


SOUGHT = {"E2": "Stage overfit looks for the rate."}
"""Faults that a later stage mends by itself: what is configured is where it begins, and closes no
gate."""


def program_of(config: Mapping[str, Any], task: Task, objective: Objective) -> Program:
    """What this config would train, in the form that checks ask. The test split stays sealed."""
    train = config["train"]
    steps = settings.of_config(train, len(task.train.targets)).num_steps
    static, numbers = assembly.split(config)
    build = assembly.make_build(static, task.spec, steps)
    built = build({name: jnp.float32(number) for name, number in numbers.items()})
    model = built.model

    def init(key: Any) -> dict[str, Any]:
        params, model_state = model.init(key)
        return {"params": params, "model_state": model_state}

    def apply(variables: Any, inputs: Any, *, key: Any, train: bool) -> tuple[Any, Any]:
        outputs, state = model.apply(
            variables["params"],
            model.begun(variables["model_state"], inputs.shape[0]),
            inputs,
            key=key,
            train=train,
        )
        return outputs, {"params": variables["params"], "model_state": model.kept(state)}

    def schedule(step: Any) -> Any:
        """Height of the schedule, which multiplies finished updates."""
        return jnp.asarray(built.schedule(step), jnp.float32)

    def metric(outputs: Any, targets: Any) -> Any:
        loss = objective.loss(outputs, targets)
        found = objective.metrics.single_from_model_output(
            outputs=outputs, targets=targets, loss=loss, mask=None
        )
        return found.compute()[objective.score.metric]

    seen = _seen(config, task)
    penalty = optax.add_decayed_weights(objective.l2, mask=optim_base.decayed)
    return Program(
        init=init,
        apply=apply,
        loss=built.objective.loss,
        optimizer=optax.chain(
            penalty if objective.l2 else optax.identity(),
            built.optimizer,
            optax.scale_by_schedule(schedule),
        ),
        train=seen.arrays,
        validation=task.validation.arrays,
        metric=metric,
        schedule=schedule,
        num_steps=steps,
        batch_size=int(train["batch_size"]),
        augment=None if config["augment"]["name"] == "none" else built.augment,
        task=task.spec.kind,
        unseen=tuple(train["hidden"]),
        rows=seen.ids if seen.ids.dtype.kind in "iu" else None,
    )


def _seen(config: Mapping[str, Any], task: Task) -> Split:
    """The training examples as often as they are trained on in an epoch."""
    split = task.train
    if config["data"].get("balance") != "batch":
        return split
    count, batch_size = len(split.targets), int(config["train"]["batch_size"])
    rows = balanced.chunk_rows(
        jax.random.key(config["seed"]),
        0,
        num_steps=-(-count // batch_size),
        batch_size=batch_size,
        rows=jnp.arange(count),
        targets=jnp.asarray(split.targets),
        classes=task.spec.num_outputs,
        limit=count,
    )
    chosen = np.asarray(rows).ravel()[:count]
    return Split(*(each[chosen] for each in split))


def examined(context: Context) -> Iterator[Finding | Asked]:
    """SKEL1 to SKEL20: what the checks find in the program as configured, then one named cause."""
    program = program_of(context.config, context.task, context.objective)
    found = _asking.answers(program, without=OF_DATA)
    causes = _asking.causes(found)
    # Known by what they are: findings may be equal.
    sought = {
        id(each): SOUGHT[cause.fault]
        for cause in causes
        for each in (cause.finding, *cause.explains)
        if cause.fault in SOUGHT
    }
    asked = [
        _sought(each, sought.get(id(each), "")) for each in found if each.status != Status.SKIP
    ]
    yield Asked("the program", asked)
    passed = sum(each.status == Status.PASS for each in found)
    first = causes[0] if causes else None
    told = judge(
        first is None or first.finding.status != Status.FAIL,
        f"{passed} questions about the program are answered well; nothing is wrong."
        if first is None
        else f"{'Look' if first.finding.status == Status.FAIL else 'Nothing fails; look'} at this "
        f"first: {first.fault} {first.name}. {first.finding.summary}",
        check="first_cause",
        row="SKEL20",
        fault=first.fault if first else "",
        remedy=first.finding.remedy if first else "",
        evidence={
            "causes": [each.fault for each in causes],
            "names": [NAMES.get(each.fault, "a crash") for each in causes],
            "explains": [[other.fault for other in each.explains] for each in causes],
            "passed": passed,
        },
    )
    yield _sought(told, SOUGHT.get(told.fault, ""))


def _sought(finding: Finding, later: str) -> Finding:
    """A failure as a warning, where a later stage mends what is behind it, as `later` says."""
    if not later or finding.status != Status.FAIL:
        return finding
    remedy = f"{later} {finding.remedy}".strip()
    return dataclasses.replace(finding, status=Status.WARN, remedy=remedy)
