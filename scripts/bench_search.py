"""What a search costs and what it finds: pruning, learning from scores, overhead a trial.

    python scripts/bench_search.py [--repeats 10] [--parts halving,tpe,overhead]

halving   successive halving beside full runs of the same settings: lane-steps, and the best
          validation score; repeats differ in settings and in seeds
tpe       Optuna's TPE in batches of 32, 256 settings, beside random search over 512: validation
          loss of the winner, trained again on 5 seeds that no search has seen
overhead  seconds a trial of a sweep of 10,000 trials of a tiny network, from a cold start to the
          report, without what its programs compute: proposals, bookkeeping, disk, page
"""

import argparse
import contextlib
import io
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from recipe_jax import config as configs
from recipe_jax.app import commands, drive
from recipe_jax.app.lanes import Lanes
from recipe_jax.app.signals import Signals
from recipe_jax.recipe import searching
from recipe_jax.recipe.base import Context, best, standard_error
from recipe_jax.recipe.searching import Searched
from recipe_jax.types import Score, Trials

SPACE = (
    ("optim.learning_rate", "log", 1e-4, 1.0),
    ("optim.weight_decay", "log", 1e-5, 1.0),
    ("model.dropout", "uniform", 0.0, 0.7),
    ("model.init_gain", "log", 0.1, 10.0),
    ("optim.b1", "uniform", 0.5, 0.99),
)
KINDS = {"digits": "classification", "diabetes": "regression"}
NEW_SEEDS = range(900, 905)


def context_of(data: str, seed: int, search: Mapping[str, Any], prune: str = "none") -> Context:
    """What a sweep's stage has in hand; the validation loss decides."""
    given = {
        "seed": seed,
        "data": {"name": data},
        "objective": {"name": KINDS[data]},
        "model": {"name": "mlp", "width": 32, "depth": 1},
        "train": {"batch_size": 32, "epochs": 18},
        "search": {"space": SPACE, **search},
        "prune": {"name": prune},
    }
    config = configs.as_dict(configs.complete(given))
    task = drive.load_task(config)
    objective = drive.make_objective(config, task)
    return drive.make_context(config, task, objective._replace(score=Score("loss", False)))


class Trained:
    """A search carried out in a folder that goes; its lane-steps and what was compiled."""

    def __init__(self, context: Context):
        with tempfile.TemporaryDirectory() as folder:
            lanes = Lanes(
                task=context.task,
                config=context.config,
                workdir=pathlib.Path(folder),
                signals=Signals(),
                progress=lambda watched: None,
                varied=context.varied,
            )
            self.searched = self._answer(searching.search(context, context.axes), lanes)
            self.lane_steps = lanes.lane_steps
            settings = self.searched.settings[self.searched.order[0]]
            again = Trials(
                label="again",
                trials=tuple(context.trial(seed, settings) for seed in NEW_SEEDS),
                epochs=context.config["train"]["epochs"],
            )
            losses = [best(each, "validation/loss") for each in lanes.train("sweep", again)]
            self.winner = float(np.mean(losses))

    def _answer(self, generator: Any, lanes: Lanes) -> Searched:
        answer = None
        while True:
            try:
                request = generator.send(answer)
            except StopIteration as end:
                return end.value
            answer = lanes.train("sweep", request) if isinstance(request, Trials) else None

    @property
    def best_score(self) -> float:
        """The best validation loss of the search itself."""
        return -float(self.searched.scores[self.searched.order[0]])


def halving(repeats: int) -> None:
    """Full runs beside halving."""
    for data in KINDS:
        full, pruned, errors, steps = [], [], [], []
        for seed in range(repeats):
            asked = {"name": "random", "trials": 81}
            whole = Trained(context_of(data, seed, asked))
            short = Trained(context_of(data, seed, asked, prune="halving"))
            full.append(whole.best_score)
            pruned.append(short.best_score)
            steps.append(whole.lane_steps / short.lane_steps)
            count = len(context_of(data, seed, asked).task.validation.targets)
            errors.append(standard_error(whole.best_score, "loss", None, count))
        within = sum(b - a <= error for a, b, error in zip(full, pruned, errors))
        print(
            f"halving {data}: {statistics.median(steps):.2f} x fewer lane-steps; best validation "
            f"loss {statistics.median(pruned):.4g} against {statistics.median(full):.4g} of full "
            f"runs (medians of {repeats}); within one standard error "
            f"({statistics.median(errors):.2g}) in {within} of {repeats}",
            flush=True,
        )


def tpe(repeats: int) -> None:
    """TPE beside random search with twice as many settings."""
    for data in KINDS:
        learnt, drawn = [], []
        for seed in range(repeats):
            asked = {"name": "optuna", "trials": 256, "batch": 32}
            learnt.append(Trained(context_of(data, seed, asked)).winner)
            drawn.append(Trained(context_of(data, seed, {"name": "random", "trials": 512})).winner)
        won = sum(a <= b for a, b in zip(learnt, drawn))
        print(
            f"tpe {data}: winner's validation loss on new seeds {statistics.median(learnt):.4g} "
            f"after 256 settings in batches of 32, random {statistics.median(drawn):.4g} after 512 "
            f"(medians of {repeats}; TPE is not worse in {won})",
            flush=True,
        )


def overhead(_: int) -> None:
    """Two sizes of one sweep: their difference is free of imports and compiling."""
    config = {
        "data": {"name": "iris"},
        "model": {"name": "mlp", "width": 8, "depth": 1},
        "train": {"batch_size": 16, "epochs": 10},
        "sweep": {"block": 16},
    }
    space = [["optim.learning_rate", "log", 1e-4, 1.0], ["optim.weight_decay", "log", 1e-5, 0.1]]
    for name, sizes in {"random": (2000, 10_000), "sobol": (2048, 10_240)}.items():
        seconds = []
        for trials in sizes:
            with tempfile.TemporaryDirectory() as folder:
                search = {"name": name, "trials": trials, "space": space}
                path = pathlib.Path(folder) / "tiny.json"
                path.write_text(json.dumps(config | {"search": search}))
                words = ["sweep", "--config", str(path), "--workdir", f"{folder}/w"]
                began = time.perf_counter()
                with contextlib.redirect_stdout(io.StringIO()):
                    assert commands.sweep(words) == 0
                seconds.append(time.perf_counter() - began)
        a_trial = (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])
        print(
            f"overhead {name}: {a_trial * 1e3:.2f} ms a trial, training included "
            f"({sizes[1]:,} trials in {seconds[1]:.1f} s, {sizes[0]:,} in {seconds[0]:.1f} s)",
            flush=True,
        )


def main() -> None:
    """Prints what was found."""
    jax.config.update("jax_num_cpu_devices", 2)
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--repeats", type=int, default=10)
    options.add_argument("--parts", default="halving,tpe,overhead")
    given = options.parse_args()
    parts = {"halving": halving, "tpe": tpe, "overhead": overhead}
    for name in given.parts.split(","):
        parts[name](given.repeats)


if __name__ == "__main__":
    main()
