"""Runs the trials that a stage asks for: grouped into programs, checkpointed, never run twice.

Every group of trials with one program is stored when it is done, under a digest of all that decides
its bits. Asked for again, after a kill or by another command, the stored result answers. The rows
of metrics.jsonl are a function of results, so replaying a run writes the same file again.
"""

import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax import assembly, ensemble, keys, trees, writers
from recipe_jax import config as configs
from recipe_jax.app.signals import Signals
from recipe_jax.assembly import Static
from recipe_jax.checkpoint import Checkpoints, Restored, flatten, unflatten
from recipe_jax.feed import batches
from recipe_jax.sweep import plan, population
from recipe_jax.train import settings
from recipe_jax.train.chunk import NORM_EVERY
from recipe_jax.train.evaluate import EvalBatches, apply_model, outputs_over
from recipe_jax.train.fit import Data, Record, fit, make_round, make_start, repeated
from recipe_jax.train.generate import generate
from recipe_jax.train.settings import Length
from recipe_jax.types import (
    Arrays,
    Lane,
    Model,
    Outputs,
    Result,
    Samples,
    Split,
    Task,
    Trial,
    Trials,
    num_params,
)

EVAL_BATCH, EVAL_TOKENS = 512, 8192
# Windows of a text that evaluation reads on at least: one in so many begins with nothing carried.
WINDOWS_IN_A_ROW = 16
# A start runs once, and its many random draws are slow to optimise: this compiles in a third of
# the time.
START_OPTIONS = {"xla_backend_optimization_level": 1}


class Kind(NamedTuple):
    """What trials of one program share."""

    static: Static
    batch_size: int
    length: Length
    patience: int | None


class Group(NamedTuple):
    """Trials of one program: their places in the request, and their numbers."""

    kind: Kind
    places: list[int]
    trials: list[Trial]
    numbers: list[dict[str, float]]


class Layout(NamedTuple):
    """How a group's lanes become calls: lanes in a block, and rounds in a call."""

    width: int
    rounds: int


class Ready(NamedTuple):
    """A group, how to build it, its layout, and what is stored of it."""

    group: Group
    build: Any
    layout: Layout
    store: Checkpoints
    stored: Restored | None


class Programs(NamedTuple):
    """A group's mesh and its compiled programs (futures): the start, and a round of training."""

    mesh: Any
    start: Any
    advance: Any


class Curves(NamedTuple):
    """What a group has measured so far, host arrays: history "split/metric" (lanes, evaluations);
    losses and grad_norms (lanes, steps); stopped (lanes, rounds): frozen before that round."""

    history: dict[str, np.ndarray]
    losses: np.ndarray
    grad_norms: np.ndarray
    stopped: np.ndarray

    def extended(self, record: Record) -> "Curves":
        """With the rounds of one more call: (lanes, rounds, ...)."""
        lanes = len(self.stopped)
        return Curves(
            {k: np.concatenate([v, record.metrics[k]], 1) for k, v in self.history.items()},
            np.concatenate([self.losses, record.losses.reshape(lanes, -1)], 1),
            np.concatenate([self.grad_norms, record.grad_norms.reshape(lanes, -1)], 1),
            np.concatenate([self.stopped, record.stopped], 1),
        )


class Lanes:
    """Answers the requests of stages by training; the only place where training programs run."""

    def __init__(
        self,
        *,
        task: Task,
        config: Mapping[str, Any],
        workdir: pathlib.Path,
        signals: Signals,
        progress: Callable[..., None],
        writer: writers.Writer | None = None,
    ):
        self.task, self.config, self.workdir = task, config, workdir
        self.signals, self.progress, self.writer = signals, progress, writer
        self.metrics = writers.JsonlWriter(workdir / "metrics.jsonl", truncate_to=0)
        self.trial_rows: list[dict[str, Any]] = []
        self.lane_steps = 0
        self.damage: list[str] = []
        self.widths: dict[str, int] = {}
        # Compiling leaves the interpreter free, so the programs of a request compile side by side.
        self._compilers = futures.ThreadPoolExecutor(max_workers=os.cpu_count())
        self._compiled: dict[Any, futures.Future[Any]] = {}
        self._output_programs: dict[Any, Any] = {}
        self._data: dict[tuple[int, bool], Data] = {}

    # --- Training ----------------------------------------------------------------------------

    def train(self, stage: str, request: Trials) -> list[Result]:
        """One Result a trial, in the order of the request."""
        results: list[Result | None] = [None] * len(request.trials)
        prepared = [self._prepare(stage, group, request.keep) for group in self._groups(request)]
        for number, ready in enumerate(prepared, 1):
            label = request.label
            if len(prepared) > 1:
                label += f" {number}/{len(prepared)}"
            for place, result in zip(
                ready.group.places, self._train_group(stage, label, ready, request.keep)
            ):
                results[place] = result
        done = [result for result in results if result is not None]
        self.trial_rows += [_trial_row(stage, request.label, result) for result in done]
        return done

    def _prepare(self, stage: str, group: Group, keep: str) -> Ready:
        """What is stored of a group; where it is not finished, its programs begin to compile."""
        length = group.kind.length
        build = assembly.make_build(group.kind.static, self.task.spec, max(1, length.num_steps))
        layout = self._layout(build, group)
        store = Checkpoints(
            self.workdir / "checkpoints" / f"{stage}-{self._digest(group, layout, keep)}",
            keep=self.config["checkpoint"]["keep"],
        )
        self.widths[store.directory.name] = layout.width
        stored = store.restore()
        self.damage += store.damage
        if stored is None or not stored.meta["finished"]:
            self._programs(group, build, layout)
        return Ready(group, build, layout, store, stored)

    def _groups(self, request: Trials) -> list[Group]:
        """The trials by the program that they need, in the order of their first appearance."""
        found: dict[Kind, Group] = {}
        for place, trial in enumerate(request.trials):
            config = configs.with_settings(self.config, trial.settings)
            static, numbers = assembly.split(config)
            length = settings.length(
                epochs=request.epochs,
                batch_size=config["train"]["batch_size"],
                evaluations=request.evaluations or config["train"]["evaluations"],
                num_examples=len(self.task.train.targets),
            )
            kind = Kind(static, config["train"]["batch_size"], length, config["train"]["patience"])
            group = found.setdefault(kind, Group(kind, [], [], []))
            group.places.append(place)
            group.trials.append(trial)
            group.numbers.append(numbers)
        return list(found.values())

    def _train_group(self, stage: str, label: str, ready: Ready, keep: str) -> list[Result]:
        group, stored = ready.group, ready.stored
        if stored is not None and stored.meta["finished"]:
            arrays = stored.arrays
            self._log(stage, label, group, _curves(arrays), first=0)
        else:
            arrays = self._run(stage, label, ready, keep)
        self.lane_steps += group.kind.length.num_steps * len(group.trials)
        like = _weights_like(_model(ready.build, group))
        return [_result(group, lane, arrays, like) for lane in range(len(group.trials))]

    def _run(self, stage: str, label: str, ready: Ready, keep: str) -> dict[str, np.ndarray]:
        """Trains a group from its last checkpoint or from the start; the arrays that are stored."""
        group, build, layout, store, stored = ready
        kind, num_lanes = group.kind, len(group.trials)
        width, programs = layout.width, self._programs(group, build, layout)
        mesh, start = programs.mesh, programs.start.result()
        data = self._device_data(mesh, _model(build, group).begin is not None)
        lanes = population.to_waves(self._host_lanes(group), width=width, mesh=mesh)
        first = 0
        states, records = None, None
        if stored is not None:
            like = start.out_info[0]
            like = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct((num_lanes, *leaf.shape[2:]), leaf.dtype), like
            )
            try:
                host_states = unflatten(like, stored.arrays, "states")
                states = population.to_waves(host_states, width=width, mesh=mesh)
                curves, first = _curves(stored.arrays), stored.step
            except ValueError as error:
                self.damage.append(f"{store.directory}: {error}")
        if states is None:
            begun = [start(wave, data) for wave in lanes]
            states = [state for state, _ in begun]
            looked = population.from_waves([record for _, record in begun], num_lanes)
            curves = Curves(
                {name: value[:, None] for name, value in looked.metrics.items()},
                looked.losses,
                looked.grad_norms,
                np.zeros((num_lanes, 0), bool),
            )
        self._log(stage, label, group, curves, first=0)

        def advance(states: list[Any]) -> tuple[list[Any], list[Any]]:
            moved = [programs.advance.result()(*each, data) for each in zip(lanes, states)]
            return [state for state, _ in moved], [record for _, record in moved]

        saved_at = time.monotonic()
        pending = None
        done = first
        rounds = kind.length.rounds
        for done, moved, records in fit(
            advance, states, first_round=first, num_rounds=rounds, at_once=layout.rounds
        ):
            states = moved
            # Reading blocks until the devices are done: the next call is already on its way.
            if pending is not None:
                curves = self._take(stage, label, group, curves, pending)
            pending = records
            stop = self.signals.received
            due = time.monotonic() - saved_at >= self.config["checkpoint"]["every_seconds"]
            if done < kind.length.rounds and (stop or due):
                curves, pending = self._take(stage, label, group, curves, pending), None
                host = population.from_waves(states, num_lanes)
                store.save(done, {"states": host, **_tree(curves)}, {"finished": False})
                saved_at = time.monotonic()
                if stop:
                    self.signals.leave()
        if pending is not None:
            curves = self._take(stage, label, group, curves, pending)
        final = population.from_waves(states, num_lanes)
        best = final.best
        tree: dict[str, Any] = {
            **_tree(curves),
            "best": {"score": best.score, "step": best.step},
        }
        if keep:
            kept = best if keep == "best" else final
            model_state = _model(build, group).kept(kept.model_state)
            tree["weights"] = (kept.params, model_state)
        store.save(kind.length.rounds, tree, {"finished": True})
        store.keep_only(kind.length.rounds)
        self.progress(stage, label, done=kind.length.rounds, total=kind.length.rounds)
        if self.signals.received:
            self.signals.leave()
        return flatten(tree)

    def _take(self, stage: str, label: str, group: Group, curves: Curves, records: Any) -> Curves:
        """Reads the records of a call, and writes their rows."""
        first = curves.stopped.shape[1] + 1
        curves = curves.extended(population.from_waves(records, len(group.trials)))
        self._log(stage, label, group, curves, first=first)
        self.progress(stage, label, done=curves.stopped.shape[1], total=group.kind.length.rounds)
        return curves

    def _log(self, stage: str, label: str, group: Group, curves: Curves, *, first: int) -> None:
        """Writes the rows of every evaluation from `first` on."""
        evaluations = next(iter(curves.history.values())).shape[1]
        per = group.kind.length.steps_per_round
        for evaluation in range(first, evaluations):
            step = evaluation * per
            epoch = step * group.kind.batch_size / len(self.task.train.targets)
            for lane, trial in enumerate(group.trials):
                if evaluation and curves.stopped[lane, evaluation - 1]:
                    continue
                for split in ("train", "validation"):
                    values = {
                        name.removeprefix(split + "/"): value[lane, evaluation]
                        for name, value in curves.history.items()
                        if name.startswith(split + "/")
                    }
                    if split == "train" and evaluation:
                        steps = slice(step - per, step)
                        with np.errstate(over="ignore", invalid="ignore"):
                            values["batch_loss"] = curves.losses[lane, steps].mean()
                            norms = curves.grad_norms[lane, steps][::NORM_EVERY]
                            values["grad_norm"] = norms.mean()
                    place = {"stage": stage, "request": label, "trial": trial.uid}
                    row = {
                        **place,
                        "step": step,
                        "epoch": round(epoch, 6),
                        "split": split,
                        **values,
                    }
                    self.metrics.write(row)
        self.metrics.flush()

    # --- Programs and data -------------------------------------------------------------------

    def _layout(self, build: Any, group: Group) -> Layout:
        """From the cost of a forward pass and the number of lanes; `sweep.block` sets the width."""
        kind, spec = group.kind, self.task.spec
        inputs = jax.ShapeDtypeStruct((kind.batch_size, *spec.input_shape), spec.input_dtype)
        model = _model(build, group)

        def forward(params: Any, model_state: Any, inputs: Any) -> Any:
            return model.apply(params, model_state, inputs, key=jax.random.key(0), train=True)[0]

        cost = plan.cost_of(forward, *_weights_like(model), inputs)
        width = self.config["sweep"]["block"] or plan.block_width(
            cost, num_lanes=len(group.trials), platform=jax.default_backend()
        )
        rounds = plan.rounds_at_once(
            cost,
            width=width,
            steps_per_round=kind.length.steps_per_round,
            rounds=kind.length.rounds,
        )
        return Layout(width, rounds)

    def _programs(self, group: Group, build: Any, layout: Layout) -> Programs:
        """The group's two programs, compiling in the background from the first time it is asked."""
        kind, width = group.kind, layout.width
        mesh = population.mesh_for(len(group.trials), width)
        place = (width, mesh.devices.size)
        carries = _model(build, group).begin is not None
        data = population.abstract(self._device_data(mesh, carries), mesh, population.WHOLE)
        lanes = population.abstract(
            population.to_waves(self._host_lanes(group), width=width, mesh=mesh)[0], mesh
        )
        seed, length = self.config["seed"], kind.length
        first = make_start(build, seed=seed, batch_size=kind.batch_size if carries else None)
        start = population.spread(first, lane_arguments=1, width=width, mesh=mesh)
        begin_key = (kind.static, kind.batch_size if carries else None, *place)
        if begin_key not in self._compiled:
            self._compiled[begin_key] = self._compilers.submit(
                lambda: start.lower(lanes, data).compile(START_OPTIONS)
            )
        if not length.rounds:
            return Programs(mesh, self._compiled[begin_key], None)
        round_key = (kind.static, kind.batch_size, length.steps_per_round, kind.patience)
        round_key += (assembly.horizon(kind.static, length.num_steps), layout.rounds, *place)
        if round_key not in self._compiled:
            one_round = make_round(
                build,
                seed=seed,
                num_steps=length.steps_per_round,
                batch_size=kind.batch_size,
                patience=kind.patience,
                windows=self.task.spec.kind == "next_token",
            )
            advance = population.spread(
                repeated(one_round, layout.rounds),
                lane_arguments=2,
                width=width,
                mesh=mesh,
                donate=(1,),
            )

            def compile_round() -> Any:
                states = population.abstract(jax.eval_shape(start, lanes, data)[0], mesh)
                return advance.lower(lanes, states, data).compile()

            self._compiled[round_key] = self._compilers.submit(compile_round)
        return Programs(mesh, self._compiled[begin_key], self._compiled[round_key])

    def _host_lanes(self, group: Group) -> Lane:
        return population.make_lanes(group.trials, group.numbers, len(self.task.train.targets))

    def _device_data(self, mesh: Any, carries: bool) -> Data:
        key = (mesh.devices.size, carries)
        if key not in self._data:
            train, validation = self.task.train.arrays, self.task.validation.arrays
            seen = Arrays(*(each[: len(validation.targets)] for each in train))
            data = Data(train, cut(seen, carries=carries), cut(validation, carries=carries))
            self._data[key] = population.replicate(data, mesh)
        return self._data[key]

    def _digest(self, group: Group, layout: Layout, keep: str) -> str:
        """Names all that decides the bits of a group's result."""
        trials = [(t.seed, t.num_examples, t.show_inputs) for t in group.trials]
        content = [
            [group.kind, trials, group.numbers, layout, keep, self.config["seed"]],
            self.task.fingerprint,
        ]
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]

    # --- Using what was trained --------------------------------------------------------------

    def outputs(self, request: Outputs, split: Split) -> np.ndarray:
        """What every trained model gives on the split: (trials, examples, outputs)."""
        return np.stack([self._outputs_of(result, split) for result in request.results])

    def _outputs_of(self, result: Result, split: Split) -> np.ndarray:
        assert result.weights is not None, "the request that trained it must keep its weights"
        config = configs.with_settings(self.config, result.trial.settings)
        static, numbers = assembly.split(config)
        build = assembly.make_build(static, self.task.spec, 1)

        def run(numbers: Any, weights: Any, inputs: Any) -> Any:
            params, model_state = weights
            return outputs_over(
                build(numbers), params, model_state, inputs, result.trial.show_inputs
            )

        key = (static, result.trial.show_inputs)
        program = self._output_programs.setdefault(key, jax.jit(run))
        numbers = {name: jnp.float32(value) for name, value in numbers.items()}
        carries = build(numbers).model.begin is not None
        inputs = cut(split.arrays, carries=carries).inputs
        found = program(numbers, result.weights, inputs)
        in_order = np.asarray(found).swapaxes(0, 1)
        return in_order.reshape(-1, *found.shape[2:])[: len(split.targets)]

    def samples(self, request: Samples) -> list[str]:
        """Each prompt with what the models, averaged, write after it.

        A prompt's own text decides its random draws, beside the seed: no other prompt does.
        """
        first, encoder, spec = request.results[0], self.task.encoder, self.task.spec
        config = configs.with_settings(self.config, first.trial.settings)
        static, numbers = assembly.split(config)
        build = assembly.make_build(static, spec, 1)
        (window,) = spec.input_shape
        told = [encoder.encode(prompt)[-window:] for prompt in request.prompts]
        prompts = np.zeros((len(told), window), np.int32)
        for row, tokens in zip(prompts, told):
            row[: len(tokens)] = tokens
        key = keys.lane_key(self.config["seed"], first.trial.seed)
        drawn = jnp.stack([keys.derive(key, "samples " + prompt) for prompt in request.prompts])

        def write(numbers: Any, weights: Any, prompts: Any, temperature: Any) -> Any:
            built = build(numbers)

            def outputs_of(inputs: Any) -> Any:
                def member(each: Any) -> Any:
                    params, model_state = each
                    return apply_model(built, params, model_state, inputs)[0]

                return ensemble.average(jax.lax.map(member, weights), spec.kind)

            return generate(
                outputs_of,
                prompts,
                jnp.array([len(tokens) for tokens in told], jnp.int32),
                keys=drawn,
                length=request.length,
                temperature=temperature,
                allowed=jnp.asarray(spec.prior) > 0.0,
            )

        numbers = {name: jnp.float32(value) for name, value in numbers.items()}
        weights = trees.stack([result.weights for result in request.results])
        written = jax.jit(write)(numbers, weights, prompts, jnp.float32(request.temperature))
        texts = [encoder.decode(row) for row in np.asarray(written)]
        return [prompt + text for prompt, text in zip(request.prompts, texts)]


def cut(arrays: Arrays, *, carries: bool = False) -> EvalBatches:
    """A split in batches for evaluation; the last rows are padded. A window counts by its tokens.

    carries: for a model that carries something from window to window, so rows are long.
    """
    tokens = np.issubdtype(arrays.inputs.dtype, np.integer)
    most = max(1, EVAL_TOKENS // arrays.inputs.shape[1]) if tokens else EVAL_BATCH
    rows = len(arrays.targets) // (WINDOWS_IN_A_ROW if carries else 1)
    batch_size = min(most, max(1, rows))
    stacked, mask = batches.eval_batches(arrays, batch_size)
    return EvalBatches(stacked.inputs, stacked.targets, mask)


def _model(build: Any, group: Group) -> Model:
    return build({name: jnp.float32(value) for name, value in group.numbers[0].items()}).model


def _weights_like(model: Model) -> Any:
    """The shapes of weights and model state."""
    return jax.eval_shape(model.init, jax.random.key(0))


def _tree(curves: Curves) -> dict[str, Any]:
    return {"curves": curves._asdict()}


def _curves(arrays: Mapping[str, np.ndarray]) -> Curves:
    prefix = "curves.history."
    history = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    return Curves(
        history,
        arrays["curves.losses"],
        arrays["curves.grad_norms"],
        arrays["curves.stopped"],
    )


def _result(group: Group, lane: int, arrays: Mapping[str, np.ndarray], like: Any) -> Result:
    """One lane of a finished group's arrays."""
    trial, length, curves = group.trials[lane], group.kind.length, _curves(arrays)
    stopped = curves.stopped[lane]
    frozen_steps = np.repeat(stopped, length.steps_per_round)
    frozen_looks = np.concatenate([[False], stopped])
    losses = np.where(frozen_steps, np.nan, curves.losses[lane])
    norms = np.where(frozen_steps, np.nan, curves.grad_norms[lane])
    bad_steps = np.flatnonzero(~frozen_steps & ~np.isfinite(losses))
    first_bad_step = int(bad_steps[0]) if len(bad_steps) else None
    last = int((~frozen_looks).sum()) - 1
    looks = [curves.history[f"{split}/loss"][lane, last] for split in ("train", "validation")]
    if first_bad_step is None and not np.isfinite(looks).all():
        # The last step broke the weights, and no batch was read after it.
        first_bad_step = max(0, int((~frozen_steps).sum()) - 1)
    score = float(arrays["best.score"][lane])
    stacked = {k: v[lane] for k, v in arrays.items() if k.startswith("weights.")}
    weights = unflatten(like, stacked, "weights") if stacked else None
    return Result(
        trial=trial,
        steps=np.arange(length.rounds + 1) * length.steps_per_round,
        history={
            name: np.where(frozen_looks, np.nan, value[lane])
            for name, value in curves.history.items()
        },
        losses=losses,
        grad_norms=norms,
        best_score=score if np.isfinite(score) else float("nan"),
        best_step=int(arrays["best.step"][lane]),
        status="diverged" if first_bad_step is not None else "stopped" if stopped.any() else "done",
        first_bad_step=first_bad_step,
        num_params=num_params(like[0]),
        weights=weights,
    )


def _trial_row(stage: str, label: str, result: Result) -> dict[str, Any]:
    finals = {name.replace("/", "_"): value for name, value in _last(result).items()}
    return {
        "stage": stage,
        "request": label,
        "trial": result.trial.uid,
        "seed": result.trial.seed,
        "status": result.status,
        "steps": int(np.isfinite(result.losses).sum()),
        "best_score": result.best_score,
        "best_step": result.best_step,
        **finals,
        **result.trial.settings,
        "num_examples": result.trial.num_examples,
        "show_inputs": result.trial.show_inputs,
    }


def _last(result: Result) -> dict[str, float]:
    """The metrics of the last evaluation before the run ended."""
    looked = np.flatnonzero(np.isfinite(result.history["validation/loss"]))
    last = looked[-1] if len(looked) else 0
    return {name: float(values[last]) for name, values in result.history.items()}
