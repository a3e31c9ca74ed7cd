"""Runs the trials that a stage asks for: grouped into programs, checkpointed, never run twice.

Every group of trials with one program is stored when it is done, under a digest of all that decides
its bits. Asked for again, after a kill or by another command, the stored result answers. The rows
of metrics.jsonl are a function of results, so replaying a run writes the same file again.

A group may pause, for a stage to decide what goes on. Its states then stay in memory until others
have gone on from them; on disk they are written only when a save is due, and where they are missing
after a kill the group is trained to its pause again, to the same bits. Those of a final training
stay on disk at its end, until a longer one has gone on from them.
"""

import collections
import math
import os
import pathlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax import assembly, trees, writers
from recipe_jax.app import groups, memory, rows
from recipe_jax.app.groups import Curves, Group, Layout
from recipe_jax.app.signals import Signals
from recipe_jax.app.watched import Watched
from recipe_jax.assembly import Static
from recipe_jax.checkpoint import Checkpoints, Restored, flatten, unflatten
from recipe_jax.sweep import plan, population
from recipe_jax.train.evaluate import cut
from recipe_jax.train.fit import Data, fit, make_round, make_start, repeated
from recipe_jax.train.starting import Loaded
from recipe_jax.types import (
    Arrays,
    Lane,
    Model,
    PyTree,
    Result,
    Score,
    Task,
    Trials,
    UserError,
)


class Ready(NamedTuple):
    """A group that can be trained: who asks, how to build it, its layout, from which round to
    which, and what is stored of it; spread: the lanes that its devices are chosen for, which are
    those that began, so that fewer that go on need no other program; lasting: its states stay on
    disk at its end."""

    stage: str
    keep: str
    until: int
    label: str
    group: Group
    build: Any
    layout: Layout
    first: int
    spread: int
    store: Checkpoints
    stored: Restored | None
    lasting: bool

    @property
    def name(self) -> str:
        """Of the group, here and on disk."""
        return self.store.directory.name

    @property
    def first_look(self) -> int:
        """The first that is its own: of one that goes on the look at the pause is its parent's."""
        return self.first + 1 if self.group.parent else 0

    @property
    def pauses(self) -> bool:
        """Whether others may go on from it."""
        return self.until < self.group.kind.length.rounds


class Trained(NamedTuple):
    """A group at its end or pause: what is stored of it by name, and its states (lanes, ...)."""

    arrays: dict[str, np.ndarray]
    states: PyTree


class Sized(NamedTuple):
    """What follows from the static half of a setting alone: the model, the shapes of its weights
    and of its state, and the cost of a batch's forward pass."""

    model: Model
    weights: PyTree
    cost: plan.Cost


class Programs(NamedTuple):
    """A group's mesh and its compiled programs (futures): the start, and a round of training."""

    mesh: Any
    start: Any
    advance: Any


class Lanes:
    """Answers the requests of stages by training; the only place where training programs run."""

    def __init__(
        self,
        *,
        task: Task,
        config: Mapping[str, Any],
        workdir: pathlib.Path,
        signals: Signals,
        progress: Callable[[Watched], None],
        score: Score | None = None,
        varied: Collection[str] = (),
        start: Loaded | None = None,
    ):
        self.task, self.config, self.workdir = task, config, workdir
        self.signals, self.progress, self.score = signals, progress, score
        self.varied, self.start = frozenset(varied), start
        self.metrics = writers.JsonlWriter(workdir / "metrics.jsonl", truncate_to=0)
        self.trial_rows: list[dict[str, Any]] = []
        self.lane_steps = 0
        # What was trained: multiply-adds of a network's forward pass -> lane-steps.
        self.work: collections.Counter[int] = collections.Counter()
        self.damage: list[str] = []
        self.widths: dict[str, int] = {}
        # Compiling leaves the interpreter free, so the programs of a request compile side by side.
        self._compilers = futures.ThreadPoolExecutor(max_workers=os.cpu_count())
        self._compiled: dict[Any, futures.Future[Any]] = {}
        self._lowered: dict[Any, futures.Future[Any]] = {}
        self._sized: dict[tuple[Static, int], Sized] = {}
        self._data: dict[tuple[int, bool], Data] = {}
        # How every group is trained again.
        self._known: dict[str, Ready] = {}
        self._states: dict[str, PyTree] = {}
        self._best: dict[str, float] = {}
        self._saved_at = time.monotonic()

    # --- Training ----------------------------------------------------------------------------

    def train(self, stage: str, request: Trials) -> list[Result]:
        """One Result a trial, in the order of the request."""
        results: list[Result | None] = [None] * len(request.trials)
        even = self.config["data"].get("balance") == "batch"
        found = groups.grouped(
            request,
            self.config,
            len(self.task.train.targets),
            varied=self.varied,
            classes=self.task.spec.num_outputs if even else 0,
            start=self.start.fingerprint if self.start else "",
        )
        prepared = []
        for number, group in enumerate(found, 1):
            label = request.label + (f" {number}/{len(found)}" if len(found) > 1 else "")
            prepared.append(self._prepare(stage, label, request, group))
        for ready in prepared:
            for place, result in zip(ready.group.places, self._train_group(ready)):
                results[place] = result
        for name in {group.parent for group in found if group.parent}:
            self._states.pop(name, None)
            self._states_store(name).remove()
        done = [result for result in results if result is not None]
        self._write_down(stage, request, done)
        return done

    def again(self, result: Result) -> Result:
        """One trial of a finished request trained again from its start, by its group's programs but
        without the others: the same bits, and its best weights. Nothing is stored."""
        ready, trained = self.until(result, result.rounds[0])
        like = self._size(ready.build, ready.group).weights
        return groups.result(ready.group, 0, trained.arrays, like, ready.name)

    def until(self, result: Result, rounds: int) -> tuple[Ready, Trained]:
        """One trial of a finished request at the end of the last call that goes no further than so
        many rounds, trained from its start; nothing is stored."""
        name, lane = result.place or ("", 0)
        pieces: list[Ready] = []
        while name:
            ready = self._known[name]
            group = ready.group.part(slice(lane, lane + 1))
            pieces.append(ready._replace(group=group, keep="best"))
            name, lane = ready.group.parent, ready.group.rows[lane]
        trained = None
        for whole in reversed(pieces):
            calls = (min(rounds, whole.until) - whole.first) // whole.layout.rounds
            ready = whole._replace(until=whole.first + calls * whole.layout.rounds)
            trained = self._run(ready, log=False, before=trained)
            if ready.until < whole.until:
                break
        assert trained is not None, "a result of a request has a place"
        return ready, trained

    def alone(self, ready: Ready) -> tuple[Lane, Data]:
        """What the first lane of a group is told and reads, for a program of that lane by itself on
        the first device."""
        data = jax.tree.map(lambda leaf: leaf.addressable_data(0), self._device_data(ready))
        lane = trees.take(self._host_lanes(ready.group), 0)
        return jax.tree.map(jnp.asarray, lane), data

    def _prepare(self, stage: str, label: str, request: Trials, group: Group) -> Ready:
        """What is stored of a group; where it is not finished, its programs begin to compile."""
        length = group.kind.length
        build = assembly.make_build(group.kind.static, self.task.spec, max(1, length.num_steps))
        first, layout, spread = 0, None, len(group.trials)
        if group.parent:
            parent = self._known[group.parent]
            first, layout, spread = parent.until, parent.layout, parent.spread
        layout = layout or self._layout(build, group, request.pauses)
        until = groups.next_pause(request.pauses, after=first, rounds=length.rounds)
        if request.paced:
            # What is added need not be as many whole calls as what was there.
            layout = layout._replace(rounds=math.gcd(layout.rounds, until - first))
        lasting = request.lasting and assembly.is_open(group.kind.static, length.num_steps)
        asked = (stage, request.keep, until)
        store = self._store(asked, group, layout)
        ready = Ready(*asked, label, group, build, layout, first, spread, store, None, lasting)
        self.widths[ready.name] = layout.width
        self._known[ready.name] = ready
        stored = ready.store.restore()
        self.damage += ready.store.damage
        if stored is None or not stored.meta["finished"]:
            self._programs(ready)
        return ready._replace(stored=stored)

    def _store(self, asked: tuple[str, str, int], group: Group, layout: Layout) -> Checkpoints:
        """Where a group of these (stage, kept weights, last round) is stored."""
        stage, keep, until = asked
        digest = groups.digest(
            group,
            layout,
            keep=keep,
            until=until,
            seed=self.config["seed"],
            data=self.task.fingerprint,
        )
        folder = self.workdir / "checkpoints" / f"{stage}-{digest}"
        return Checkpoints(folder, keep=self.config["checkpoint"]["keep"])

    def _states_store(self, name: str) -> Checkpoints:
        return Checkpoints(self.workdir / "checkpoints" / f"{name}-states")

    def _train_group(self, ready: Ready) -> list[Result]:
        group, stored = ready.group, ready.stored
        if stored is not None and stored.meta["finished"]:
            arrays = stored.arrays
            curves = Curves.stored(arrays)
            self._log(ready, curves, first=ready.first_look)
            self._show(ready, curves)
        else:
            arrays, states = self._in_memory(ready, log=True)
            if ready.pauses:
                self._states[ready.name] = states
                if self._is_due():
                    self._states_store(ready.name).save(ready.until, {"states": states}, {})
                    self._saved_at = time.monotonic()
        per_round = group.kind.length.steps_per_round
        steps, sized = (ready.until - ready.first) * per_round, self._size(ready.build, group)
        self.lane_steps += steps * len(group.trials)
        self.work[sized.cost.multiply_adds] += steps * len(group.trials)
        like = sized.weights
        return [
            groups.result(group, lane, arrays, like, ready.name)
            for lane in range(len(group.trials))
        ]

    def _states_of(self, name: str) -> PyTree:
        """The states of a group that paused, (lanes, ...); trained again where they are lost."""
        if name not in self._states:
            ready = self._known[name]
            store = self._states_store(name)
            stored, states = store.restore(), None
            if stored is not None:
                try:
                    states = unflatten(self._states_like(ready), stored.arrays, "states")
                except ValueError as error:
                    store.damage.append(f"{store.directory}: {error}")
            self.damage += store.damage
            if states is None:
                states = self._in_memory(ready, log=False).states
            self._states[name] = states
        return self._states[name]

    def _in_memory(self, ready: Ready, *, log: bool) -> Trained:
        """The group trained: at once where its lanes fit into the devices' memory, else in parts
        of as many blocks as do. How many that are decides no bit."""
        programs, lanes = self._programs(ready), len(ready.group.trials)
        wave = ready.layout.width * programs.mesh.devices.size
        waves = math.ceil(lanes / wave)
        most = waves
        if programs.advance is not None and waves > 1:
            most = memory.waves_that_fit(programs.advance.result(), programs.mesh)
        offset = self.metrics.offset()
        if most >= waves:
            try:
                return self._run(ready, log=log)
            except jax.errors.JaxRuntimeError as error:
                if not memory.exhausted(error):
                    raise
                if waves == 1:
                    raise UserError(
                        f"A block of {ready.layout.width} lanes does not fit into the memory of "
                        f"{jax.devices()[0]}; take a narrower one, "
                        f"--config.sweep.block={max(1, ready.layout.width // 2)}, or smaller "
                        "batches."
                    ) from error
            self.metrics.cut_back(offset)
            most = math.ceil(waves / 2)
        parts, stores = [], []
        for first in range(0, lanes, most * wave):
            group = ready.group.part(slice(first, first + most * wave))
            stores.append(self._store(ready[:3], group, ready.layout))
            stored = stores[-1].restore()
            part = ready._replace(group=group, store=stores[-1], stored=stored, lasting=False)
            parts.append(self._in_memory(part, log=log))
        whole = Trained(*(trees.concatenate(each) for each in zip(*parts)))
        if log:
            self._save_end(ready, whole)
            for store in stores:
                store.remove()
        return whole

    def _run(self, ready: Ready, *, log: bool, before: Trained | None = None) -> Trained:
        """Trains a group from its last checkpoint, its parent's states or the start.

        log: for the first time: its rows are written, and it is stored; before: its parent's lanes
        at their pause, where that is no stored group.
        """
        group, layout, store = ready.group, ready.layout, ready.store
        kind, num_lanes = group.kind, len(group.trials)
        programs = self._programs(ready)
        mesh, data = programs.mesh, self._device_data(ready)
        waves = population.to_waves(self._host_lanes(group), width=layout.width, mesh=mesh)
        states, curves = self._first_states(ready, waves, log=log, before=before)

        def advance(states: list[Any]) -> tuple[list[Any], list[Any]]:
            moved = [programs.advance.result()(*each, data) for each in zip(waves, states)]
            return [state for state, _ in moved], [record for _, record in moved]

        def take(curves: Curves, records: Any) -> Curves:
            """Reads the records of a call, writes their rows, shows them."""
            before = curves.rounds
            curves = curves.extended(population.from_waves(records, num_lanes))
            if log:
                self._log(ready, curves, first=before + 1)
            self._show(ready, curves)
            return curves

        pending = None
        for done, moved, records in fit(
            advance,
            states,
            first_round=curves.rounds,
            num_rounds=ready.until,
            at_once=layout.rounds,
        ):
            states = moved
            # Reading blocks until the devices are done: the next call is already on its way.
            if pending is not None:
                curves = take(curves, pending)
            pending = records
            stop = self.signals.received
            if log and done < ready.until and (stop or self._is_due()):
                curves, pending = take(curves, pending), None
                host = population.from_waves(states, num_lanes)
                store.save(done, {"states": host, **_tree(curves)}, {"finished": False})
                self._saved_at = time.monotonic()
                if stop:
                    self.signals.leave()
        if pending is not None:
            curves = take(curves, pending)
        final = population.from_waves(states, num_lanes)
        best = final.best
        tree: dict[str, Any] = {
            **_tree(curves),
            "best": {"score": best.score, "step": best.step},
        }
        if ready.keep:
            kept = best if ready.keep == "best" else final
            model_state = self._size(ready.build, group).model.kept(kept.model_state)
            tree["weights"] = (kept.params, model_state)
        trained = Trained(flatten(tree), final)
        if log:
            self._save_end(ready, trained)
            store.keep_only(ready.until)
            if not ready.pauses:
                self._saved_at = time.monotonic()
        if kind.length.rounds == 0 and log:
            self._show(ready, curves)
        if self.signals.received:
            self.signals.leave()
        return trained

    def _save_end(self, ready: Ready, trained: Trained) -> None:
        """Stores a result, and before it the states that stay: what is finished has them."""
        if ready.lasting:
            states = {"states": trained.states}
            self._states_store(ready.name).save(ready.until, states, {})
        ready.store.save(ready.until, trained.arrays, {"finished": True})

    def _first_states(
        self, ready: Ready, waves: list[Any], *, log: bool, before: Trained | None
    ) -> tuple[list[Any], Curves]:
        """Where training begins: a checkpoint under way, a parent's pause, or new weights; and what
        was measured before."""
        group, stored, mesh = ready.group, ready.stored, self._programs(ready).mesh
        width, num_lanes = ready.layout.width, len(group.trials)
        if stored is not None and not stored.meta["finished"]:
            try:
                like = self._states_like(ready)
                host = unflatten(like, stored.arrays, "states")
                curves = Curves.stored(stored.arrays)
                if log:
                    self._log(ready, curves, first=ready.first_look)
                return population.to_waves(host, width=width, mesh=mesh), curves
            except ValueError as error:
                self.damage.append(f"{ready.store.directory}: {error}")
        if before is not None:
            states = population.to_waves(before.states, width=width, mesh=mesh)
            return states, Curves.stored(before.arrays)
        if group.parent:
            picked = np.array(group.rows)
            states, measured = (
                jax.tree.map(lambda leaf: leaf[picked], each)
                for each in (self._states_of(group.parent), self._curves_of(group.parent))
            )
            return population.to_waves(states, width=width, mesh=mesh), measured
        start, data = self._programs(ready).start.result(), self._device_data(ready)
        begun = [start(_beginning(wave), data) for wave in waves]
        curves = Curves.begun(population.from_waves([record for _, record in begun], num_lanes))
        if log:
            self._log(ready, curves, first=0)
        return [state for state, _ in begun], curves

    def _curves_of(self, name: str) -> Curves:
        """What a group that paused had measured; it is stored."""
        stored = self._known[name].store.restore()
        assert stored is not None, "a group that paused is stored before others go on from it"
        return Curves.stored(stored.arrays)

    def _is_due(self) -> bool:
        """Whether the last save of something under way is long enough ago."""
        return time.monotonic() - self._saved_at >= self.config["checkpoint"]["every_seconds"]

    # --- What is told ------------------------------------------------------------------------

    def _log(self, ready: Ready, curves: Curves, *, first: int) -> None:
        """Writes the rows of every look from look `first` on; look 0 is that of the start."""
        place = {"stage": ready.stage, "request": ready.label}
        self.metrics.write_lines(
            rows.of_curves(ready.group, curves, place, first, len(self.task.train.targets))
        )

    def _show(self, ready: Ready, curves: Curves) -> None:
        """How far it is, for a person who watches."""
        lanes, per_round = len(ready.group.trials), ready.group.kind.length.steps_per_round
        if self.score is not None:
            sign, values = self.score.sign(), curves.history[f"validation/{self.score.metric}"]
            values = sign * values[np.isfinite(values)]
            before = self._best.get(ready.stage, -np.inf)
            self._best[ready.stage] = float(values.max(initial=before))
        best = self._best.get(ready.stage, -np.inf)
        self.progress(
            Watched(
                label=ready.label,
                rounds=(curves.rounds - ready.first, ready.until - ready.first),
                lanes=lanes,
                lane_steps=lanes * per_round,
                diverged=int((~np.isfinite(curves.history["validation/loss"][:, -1])).sum()),
                stopped=int(curves.stopped[:, -1].sum()) if curves.rounds else 0,
                best=(self.score.sign() * best) if self.score and np.isfinite(best) else None,
            )
        )

    def _write_down(self, stage: str, request: Trials, results: list[Result]) -> None:
        """A row a trial; one that goes on has its row mended."""
        told = [groups.trial_row(stage, request.label, result) for result in results]
        if request.after:
            mine = {row["trial"]: row for row in told}
            known = {}
            for place, row in enumerate(self.trial_rows):
                if row["stage"] == stage and row["trial"] in mine:
                    known[row["trial"]] = place
            for uid, place in known.items():
                self.trial_rows[place] = mine[uid]
            told = [row for row in told if row["trial"] not in known]
        self.trial_rows += told

    # --- Programs and data -------------------------------------------------------------------

    def _layout(self, build: Any, group: Group, pauses: Sequence[int]) -> Layout:
        """From the cost of a forward pass and the number of lanes; `sweep.block` sets the width.
        Between two pauses lie whole calls."""
        kind, most = group.kind, group.kind.length.rounds
        cost = self._size(build, group).cost
        width = self.config["sweep"]["block"] or plan.block_width(
            cost, num_lanes=len(group.trials), platform=jax.default_backend()
        )
        rounds = plan.rounds_at_once(
            cost,
            width=width,
            steps_per_round=kind.length.steps_per_round,
            rounds=math.gcd(*(pause for pause in pauses if pause < most), most),
        )
        return Layout(width, rounds, several=len(group.trials) > 1 or width > 1)

    def _programs(self, ready: Ready) -> Programs:
        """The group's two programs, compiling in the background from the first time it is asked."""
        group, build, layout = ready.group, ready.build, ready.layout
        kind, width, length = group.kind, layout.width, group.kind.length
        mesh = population.mesh_for(ready.spread, width)
        place = (kind.sampling, kind.watch, width, mesh.devices.size)
        carries = self._size(build, group).model.begin is not None
        data = population.abstract(self._device_data(ready), mesh, population.WHOLE)
        lanes = population.abstract(
            population.to_waves(self._host_lanes(group.part(slice(1))), width=width, mesh=mesh)[0],
            mesh,
        )
        seed = self.config["seed"]
        loaded = self.start if kind.start else None
        begins, _ = assembly.beginning(kind.static, {})
        first = make_start(
            assembly.make_build(begins, self.task.spec, 1),
            seed=seed,
            loaded=loaded.arrays if loaded else {},
            batch_size=kind.batch_size if carries else None,
            sampling=kind.sampling,
            watch=kind.watch,
        )
        start = population.spread(first, lane_arguments=1, width=width, mesh=mesh)
        begin_key = (begins, kind.batch_size if carries else None, kind.start, *place)
        if begin_key not in self._compiled:
            lowering = self._compilers.submit(lambda: start.lower(_beginning(lanes), data))
            self._lowered[begin_key] = lowering
            self._compiled[begin_key] = self._compilers.submit(lambda: lowering.result().compile())
        # What another process of these lanes compiled has no lowering here; both know the shapes.
        lowered = self._lowered.get(begin_key, self._compiled[begin_key])
        if not length.rounds:
            return Programs(mesh, self._compiled[begin_key], None)
        round_key = (kind.static, kind.batch_size, length.steps_per_round, kind.patience)
        round_key += (
            assembly.horizon(kind.static, length.num_steps),
            layout.rounds,
            kind.start,
            *place,
        )
        if round_key not in self._compiled:
            one_round = make_round(
                build,
                seed=seed,
                num_steps=length.steps_per_round,
                batch_size=kind.batch_size,
                patience=kind.patience,
                windows=self.task.spec.kind == "next_token",
                sampling=kind.sampling,
                watch=kind.watch,
                frozen=loaded.frozen if loaded else (),
            )
            advance = population.spread(
                repeated(one_round, layout.rounds),
                lane_arguments=2,
                width=width,
                mesh=mesh,
                donate=(1,),
            )

            def compile_round() -> Any:
                states = population.abstract(lowered.result().out_info[0], mesh)
                return advance.lower(lanes, states, data).compile()

            self._compiled[round_key] = self._compilers.submit(compile_round)
        return Programs(mesh, self._compiled[begin_key], self._compiled[round_key])

    def _size(self, build: Any, group: Group) -> Sized:
        """Traced once for each static half and size of batch."""
        key, spec = (group.kind.static, group.kind.batch_size), self.task.spec
        if key not in self._sized:
            numbers = {name: jnp.float32(value) for name, value in group.numbers[0].items()}
            model = build(numbers).model
            batch = jax.ShapeDtypeStruct(
                (group.kind.batch_size, *spec.input_shape), spec.input_dtype
            )
            weights = jax.eval_shape(model.init, jax.random.key(0))
            self._sized[key] = Sized(model, weights, plan.model_cost(model, batch))
        return self._sized[key]

    def _states_like(self, ready: Ready) -> Any:
        """The shapes of all states, (lanes, ...)."""
        one, lanes = self._programs(ready).start.result().out_info[0], len(ready.group.trials)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((lanes, *leaf.shape[2:]), leaf.dtype), one
        )

    def _host_lanes(self, group: Group) -> Lane:
        return population.make_lanes(group.trials, group.numbers, len(self.task.train.targets))

    def _device_data(self, ready: Ready) -> Data:
        mesh = population.mesh_for(ready.spread, ready.layout.width)
        carries = self._size(ready.build, ready.group).model.begin is not None
        key = (mesh.devices.size, carries)
        if key not in self._data:
            train, validation = self.task.train.arrays, self.task.validation.arrays
            seen = Arrays(*(each[: len(validation.targets)] for each in train))
            data = Data(train, cut(seen, carries=carries), cut(validation, carries=carries))
            self._data[key] = population.replicate(data, mesh)
        return self._data[key]


def _beginning(wave: Lane) -> Lane:
    """The lanes, with what their first states depend on."""
    return wave._replace(numbers=assembly.beginning(Static(()), wave.numbers)[1])


def _tree(curves: Curves) -> dict[str, Any]:
    return {"curves": curves._asdict()}
