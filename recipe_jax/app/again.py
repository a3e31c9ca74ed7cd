"""One trial of a finished sweep once more: the same bits, and its weights to keep."""

import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from recipe_jax import config as configs
from recipe_jax import writers
from recipe_jax.app import export
from recipe_jax.app.console import Console
from recipe_jax.app.lanes import Lanes
from recipe_jax.app.signals import Signals
from recipe_jax.app.workdir import Workdir
from recipe_jax.recipe.base import Context, best
from recipe_jax.train.starting import Loaded
from recipe_jax.types import ENDED, Blend, Result, Trials, UserError

FOLDER = "only"


def train_again(
    place: Workdir,
    uid: str,
    *,
    stages: Sequence[Any],
    context: Context,
    console: Console,
    start: Loaded | None = None,
) -> bool:
    """Trains the trial `uid` of a finished workdir again with the program of its group, says
    whether the bits are the same, and leaves its model in only/UID/."""
    if place.record["status"] not in ENDED:
        raise UserError(
            f"The run in {place.path} is not finished; end it first: the same command without "
            "--only."
        )
    with tempfile.TemporaryDirectory() as folder:
        # Stages are replayed against what is stored; what they tell goes to a folder that goes.
        scratch = pathlib.Path(folder)
        (scratch / "checkpoints").symlink_to(place.path / "checkpoints")
        lanes = Lanes(
            task=context.task,
            config=context.config,
            workdir=scratch,
            signals=Signals(),
            progress=lambda watched: None,
            varied=context.varied,
            start=start,
        )
        found = _find(lanes, uid, stages, context)
        told = lanes.again(found)
    same = _same_bits(found, told)
    out = place.path / FOLDER / uid
    out.mkdir(parents=True, exist_ok=True)
    writers.write_json(out / "config.json", configs.to_data(context.config))
    export.save_model(out / "model", context.task, context.config, Blend([told]))
    metric, score = context.objective.score, told.history[context.score_name()]
    console.line(f"trial {uid}, seed {told.trial.seed}, {told.status}")
    for path, value in told.trial.settings.items():
        console.line(f"  {path} = {value}")
    console.line(
        f"  validation {metric.metric} {best(told, context.score_name()):.6g} at step "
        f"{told.best_step}, {score[-1]:.6g} at the end"
    )
    words = "the same bits as in the sweep" if same else "OTHER BITS than in the sweep"
    console.line(f"  {words}; its model: {out}", "" if same else "red")
    return same


def _find(lanes: Lanes, uid: str, stages: Sequence[Any], context: Context) -> Result:
    """The trial's longest training, found by replaying the stages."""
    known: dict[str, Result] = {}
    for stage in stages:
        generator, answer = stage.run(context), None
        while True:
            try:
                request = generator.send(answer)
            except StopIteration as end:
                carried = {**context.carried, **end.value.settings}
                context = context._replace(carried=carried)
                break
            answer = None
            if isinstance(request, Trials):
                answer = lanes.train(stage.__name__.rpartition(".")[2], request)
                for result in answer:
                    other = known.setdefault(result.trial.uid, result)
                    if other.rounds[0] <= result.rounds[0]:
                        known[result.trial.uid] = result
    if uid not in known:
        raise UserError(f"There is no trial {uid!r} in this run; trials.csv names them all.")
    return known[uid]


def _same_bits(one: Result, other: Result) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in (
            (one.losses, other.losses),
            *((values, other.history[name]) for name, values in one.history.items()),
        )
    )
