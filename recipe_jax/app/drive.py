"""Drives stages: answers what they ask, tells what they find, writes it all down.

A stage is replayed from its start on every resume; what was trained before answers from the
checkpoints, so it comes to the same place, finds the same, and goes on from there.
"""

import contextlib
import pathlib
import re
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from recipe_jax import assembly, provenance, resolve, study, tracking, writers
from recipe_jax import config as configs
from recipe_jax.app import (
    again,
    answers,
    breaking,
    budgeting,
    disk,
    export,
    extend,
    loading,
    lock,
    plan,
)
from recipe_jax.app.console import Console
from recipe_jax.app.lanes import Lanes
from recipe_jax.app.signals import Signals
from recipe_jax.app.using import Models
from recipe_jax.app.workdir import Workdir, open_workdir
from recipe_jax.data import base as data_base
from recipe_jax.recipe import ablation
from recipe_jax.recipe import budget as budgets
from recipe_jax.recipe.base import Context, Human, Ran, fitting
from recipe_jax.recipe.settings import Recipe
from recipe_jax.search.base import Search
from recipe_jax.track.base import Opener
from recipe_jax.track.base import Run as Tracked
from recipe_jax.train.starting import Loaded
from recipe_jax.types import (
    ENDED,
    Asked,
    Broken,
    Decision,
    Finding,
    Measured,
    Objective,
    Outputs,
    Samples,
    Scores,
    Split,
    Status,
    Task,
    Trials,
    UserError,
)

DONE, GATE_CLOSED = 0, 1
KINDS = ("classification", "regression", "next_token")
"""Objectives that are named as the kind of task they are for."""
TRAIN_OF_A_TRIAL = ("batch_size", "hidden", "resolution")
"""Keys of section train that a search or a change may set."""
# What every finished run leaves behind, besides its record and perhaps a model.
WRITTEN = (
    "findings.json",
    "metrics.jsonl",
    "trials.csv",
    "tensorboard",
    "report.json",
    "report.html",
)
# Settings that a resumed run may be given anew need not be said again.
HELD = re.compile(r"--?(no)?config\.(?!train\.extend\b|checkpoint\b|recipe\.force\b)")


def execute(
    *,
    what: str,
    stages: Sequence[Any],
    config: Mapping[str, Any],
    overrides: Mapping[str, Any],
    workdir: pathlib.Path,
    argv: Sequence[str],
    console: Console,
    overwrite: bool = False,
    allow_nonbitwise: bool = False,
    dry_run: bool = False,
    only: str = "",
    epochs: int | None = None,
    asks: str = Human().command,
    beside: Callable[[pathlib.Path], contextlib.AbstractContextManager[None]] | None = None,
) -> int:
    """Carries out `stages` (modules of recipe/) on a workdir; the exit code.

    allow_nonbitwise: go on where what decides the bits has changed, and write that down; only: of a
    finished workdir, train this trial again and nothing else; epochs: of a finished workdir, train
    on to so many in all; asks: the command that asks a person about the same examples; beside: what
    goes on in this process while the run does, given its folder.
    """
    if not any(getattr(stage, "EXTENDS", False) for stage in stages):
        extend.refuse(what, config, epochs)
    config = extend.asked(workdir, config, epochs, overwrite=overwrite)
    task = load_task(config)
    objective = make_objective(config, task)
    # What does not fit the task is refused before a file is written.
    model = assembly.of_config(config, task.spec).model
    jax.eval_shape(model.init, jax.random.key(0))
    start = loading.start_of(config, model)
    context = make_context(config, task, objective)._replace(command=_command(what, argv))
    spent = budgeting.spent(context, stages, workdir, overwrite=overwrite)
    context = budgeting.with_budget(context, spent.budget)
    opener = _opener(config)
    record = _record(what, config=config, overrides=overrides, argv=argv, task=task, stages=stages)
    if start is not None:
        record["start"] = {"fingerprint": start.fingerprint, "loaded": sorted(start.arrays)}
    searches = any(getattr(stage, "SEARCHES", False) for stage in stages)
    varied = context.varied if searches else frozenset()
    planned = plan.of_stages(stages, context)
    record["plan"] = plan.as_data(planned) | {"budget": spent.as_data()}
    reads = any(getattr(stage, "READS_ANSWERS", False) for stage in stages)
    told = answers.read(workdir / answers.NAME, task) if reads else ()
    record["answers"] = writers.plain(told)
    lines = plan.describe(planned, context, workdir=workdir)
    lines += budgeting.told(spent, config, stages)
    if dry_run:
        settings = configs.to_data(config)
        if not console.tell("config", settings=settings):
            console.line(writers.to_json(settings, indent=2))
        console.header(f"experiments.{what} would carry out", lines)
        return DONE
    if only and (overwrite or not (workdir / "run.json").is_file()):
        raise UserError(f"--only {only} is for a finished run; there is none in {workdir}.")
    with lock.held(workdir), disk.errors_told(workdir):
        place = open_workdir(
            workdir,
            config=config,
            record=record,
            overwrite=overwrite,
            allow_nonbitwise=allow_nonbitwise,
        )
        known = answers.recorded(place.record["answers"])
        context = context._replace(human=Human(known, asks))
        if known:
            lines.append(f"answers   {len(known)} of people, in {answers.NAME}")
        for changed in place.record["nonbitwise"]:
            lines.append(f"bits      not those of one undisturbed run: {'; '.join(changed)}")
        if only:
            same = again.train_again(
                place, only, stages=stages, context=context, console=console, start=start
            )
            return DONE if same else GATE_CLOSED
        report = place.path / "report.html"
        if place.resumed and _is_complete(place):
            console.line(f"This run is finished ({place.record['status']}): {report}")
            return place.record["exit_code"]
        disk.check_space(place.path, disk.needed(planned, context))
        console.header(f"experiments.{what}" + (" (going on)" if place.resumed else ""), lines)
        watched = contextlib.nullcontext() if beside is None else beside(place.path)
        with contextlib.closing(console), watched:
            run = _Run(place, context, console, spent=spent, varied=varied, start=start)
            exit_code = run.carry_out(stages, context)
        name = f"{place.record['name']} · {place.path.name}"
        try:
            tracking.to_service(opener, Tracked(name, place.path))
        # Whatever a service that is not ours raises: the run is whole without it.
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            console.line(f"{config['track']['name']} could not be told of the run: {why}", "yellow")
        console.line(f"\nReport: {report}")
        return exit_code


def _opener(config: Mapping[str, Any]) -> Opener:
    """What opens the service that the run is told to at its end."""
    section = dict(config["track"])
    return resolve.resolve("track", section.pop("name"))(**section)


def load_task(config: Mapping[str, Any]) -> Task:
    """The data section as a prepared task."""
    section = dict(config["data"])
    build = resolve.resolve("data", section.pop("name"))
    common = resolve.keywords(data_base.prepare)
    source = build(**{k: v for k, v in section.items() if k not in common})
    task = data_base.prepare(source, **{k: v for k, v in section.items() if k in common})
    batch_size = config["train"]["batch_size"]
    if batch_size > len(task.train.targets):
        raise UserError(
            f"train.batch_size={batch_size} is more than the {len(task.train.targets)} training "
            f"examples; use at most {len(task.train.targets)}."
        )
    return task


def make_objective(config: Mapping[str, Any], task: Task) -> Objective:
    """The objective with the config's numbers, for judging on the host."""
    section = dict(config["objective"])
    name = section.pop("name")
    if name in KINDS and name != task.spec.kind:
        classes = name == "classification" and "task" in config["data"] and _may_be_classes(task)
        raise UserError(
            f"The targets of {task.name} mean {task.spec.kind}, the objective is {name}; "
            f"say --config.objective.name={task.spec.kind}"
            + (", or, if they are classes, --config.data.task=classification." if classes else ".")
        )
    return resolve.resolve("objectives", name)(task.spec, **section)


def _may_be_classes(task: Task) -> bool:
    """Whether the targets are whole numbers, one an example, each of them twice or more on average:
    as counts of something are, and as names of classes are."""
    targets = np.asarray(task.train.targets, np.float64)
    if targets.ndim != 2 or targets.shape[1] != 1:
        return False
    # Targets were put on one scale in float32, which is exact to seven digits of their range.
    values = targets * np.asarray(task.spec.target_scale) + np.asarray(task.spec.target_mean)
    rounded = np.round(values)
    whole = np.abs(values - rounded).max() <= min(0.1, 1e-5 * float(np.abs(values).max() + 1))
    return bool(whole) and 2 * len(np.unique(rounded)) <= len(rounded)


def _check_space(config: Mapping[str, Any], task: Task, search: Search) -> None:
    """UserError where an axis is no setting of a trial, or a value does not fit it."""
    choices: dict[str, tuple[Any, ...]] = {}
    for axis in search.axes:
        other = {} if axis.when is None else {axis.when[0]: None}
        for path in other:
            words = axis.when[1] if axis.when else ()
            other[path] = next(each for each in choices[path] if str(each) in words)
        ends = axis.choices if axis.kind == "choice" else (axis.low, axis.high)
        choices[axis.path] = axis.choices
        keyword = _keyword_of(config, axis.path, other, "search")
        numbers = {"uniform": float, "log": float, "int": int, "log_int": int}
        wanted = numbers.get(axis.kind, keyword.type)
        if keyword.type is not wanted:
            kinds = {float: "'uniform' or 'log'", int: "'int' or 'log_int'"}
            raise UserError(
                f"search.space: {axis.path} is {configs.meaning(keyword)}, not for {axis.kind!r}; "
                f"write {kinds.get(keyword.type, chr(39) + 'choice' + chr(39))}."
            )
        for end in ends:
            _check_setting(config, task, {**other, axis.path: end}, "search")
    for each in search.listed:
        for path in each:
            _keyword_of(config, path, each, "search")
        _check_setting(config, task, each, "search")


def _check_changes(config: Mapping[str, Any], task: Task, texts: Sequence[str]) -> None:
    """UserError where one of recipe.changes is no change of a trial's settings."""
    for change in ablation.read(texts):
        where = f"recipe.changes: {change.name!r}"
        for path in change.settings:
            _keyword_of(config, path, change.settings, where)
        _check_setting(config, task, change.settings, where)


def _keyword_of(
    config: Mapping[str, Any], path: str, beside: Mapping[str, Any], where: str
) -> resolve.Keyword:
    """The keyword that a setting sets, beside other settings; UserError offers the nearest. where:
    the config asks for it."""
    train = configs.section_keywords("train")
    known = {f"train.{key}": train[key] for key in TRAIN_OF_A_TRIAL}
    for part in assembly.FAMILIES:
        name = beside.get(f"{part}.name", config[part]["name"])
        known[f"{part}.name"] = resolve.Keyword("name", str, None, None)
        for key, keyword in configs.section_keywords(part, name).items():
            known[f"{part}.{key}"] = keyword
    if path not in known:
        raise UserError(
            f"{where}: there is no setting {path!r} of a trial{resolve.nearest(path, [*known])}"
        )
    return known[path]


def _check_setting(
    config: Mapping[str, Any], task: Task, setting: Mapping[str, Any], where: str
) -> None:
    changed = configs.with_settings(config, setting)
    if changed["train"]["batch_size"] > len(task.train.targets):
        raise UserError(
            f"{where}: train.batch_size={changed['train']['batch_size']} is more than the "
            f"{len(task.train.targets)} training examples."
        )
    assembly.of_config(changed, task.spec)


def make_context(config: Mapping[str, Any], task: Task, objective: Objective) -> Context:
    """What the first stage has in hand, by the budget that the config names."""
    budget = budgets.named(config)
    whole = budgets.filled(config, budget)
    search = budgeting.search_of(whole, task)
    _check_space(config, task, search)
    _check_changes(config, task, config["recipe"]["changes"])
    if not all(config["recipe"]["prompts"]):
        raise UserError("recipe.prompts holds an empty text; write at least one character.")
    pruning = dict(config["prune"])
    prune = resolve.resolve("prune", pruning.pop("name"))(**pruning)
    return Context(
        task,
        config,
        objective,
        Recipe(**whole["recipe"]),
        search,
        prune,
        {},
        (),
        budget=budget,
        defaults=configs.as_dict(configs.defaults(config)),
    )


def _command(what: str, argv: Sequence[str]) -> str:
    """The command with its config and all settings that a workdir is held to, as a person would
    type it again."""
    words = ["python", "-m", f"experiments.{what}"]
    for place, word in enumerate(argv):
        flag, _, path = word.lstrip("-").partition("=")
        if word.startswith("-") and flag == "config":
            path = path or (argv[place + 1] if place + 1 < len(argv) else "")
            words += ["--config", path]
            break
    return shlex.join([*words, *answers.settings(argv, HELD)])


def _is_complete(place: Workdir) -> bool:
    """The run came to its end, and all that it wrote is still there; else it is replayed."""
    if place.record["status"] not in ENDED:
        return False
    return all((place.path / name).exists() for name in place.record["written"])


class _Run:
    """A run under way: the lanes, what was found so far, and where it is written."""

    def __init__(
        self,
        place: Workdir,
        context: Context,
        console: Console,
        *,
        spent: budgeting.Spent,
        varied: Collection[str],
        start: Loaded | None,
    ):
        self.place, self.console, self.spent = place, console, spent
        self.config, self.task = context.config, context.task
        self.signals = Signals(console.interrupted)
        self.signals.install()
        self.lanes = Lanes(
            task=self.task,
            config=self.config,
            workdir=place.path,
            signals=self.signals,
            progress=console.progress,
            score=context.objective.score,
            varied=varied,
            start=start,
        )
        self.models = Models(self.task, self.config, context.objective)
        # What is replayed is told again.
        (place.path / study.NAME).unlink(missing_ok=True)
        self.findings: list[dict[str, Any]] = []
        self.ran: dict[tuple[str, str, int], Ran] = {}

    def carry_out(self, stages: Sequence[Any], context: Context) -> int:
        """All stages in order, up to a gate that closes; the report is written in any case."""
        record = self.place.record
        record |= {"status": "running", "exit_code": None}
        record["stages"] = [dict(stage) for stage in record["stages"]]
        self.place.save()
        began = time.monotonic()
        closed, ended, model = False, False, None
        last = [stage for stage in stages if not getattr(stage, "ALWAYS", False)][-1]
        for number, stage in enumerate(stages):
            if closed and not getattr(stage, "ALWAYS", False):
                continue
            told, stage_began = record["stages"][number], time.monotonic()
            told["state"] = "running"
            context = self._settled(stages, number, context)
            self.place.save()
            steps = record["plan"]["stages"][number]["lane_steps"]
            self.console.stage(told["name"], told["expects"], lane_steps=steps)
            decision, found = self._drive(stage, told["name"], context)
            told["run_seconds"] = time.monotonic() - stage_began
            told |= {"state": "done", "decision": decision.summary, "lanes": self._lanes_of(told)}
            context = context._replace(
                carried=fitting({**context.carried, **decision.settings}),
                findings=(*context.findings, *found),
                ran=tuple(self.ran.values()),
                candidates=decision.candidates or context.candidates,
            )
            model = decision.model or model
            record |= {"widths": self.lanes.widths, "damaged_checkpoints": self.lanes.damage}
            self.console.decision(decision.summary, told["run_seconds"])
            self.place.save()
            writers.write_trials_csv(self.place.path / "trials.csv", self.lanes.trial_rows)
            if self.signals.received:
                self.signals.leave()
            ended |= stage is last
            if any(f.status is Status.FAIL for f in found) and not context.recipe.force:
                closed, told["state"] = True, "gate closed"
        written = [*WRITTEN]
        self.lanes.metrics.close()
        if model is not None:
            export.save_model(self.place.path / "model", self.task, self.config, model)
            written += [f"model/{name}" for name in export.FILES]
        tracking.to_tensorboard(self.place.path)
        if closed:
            more = ", or go on: the same command with --config.recipe.force"
            way = "mend this" if ended else "mend this" + more
            self.console.line(f"  The gate is closed: {way}.", "red")
        code = GATE_CLOSED if closed else DONE
        record |= {
            "status": "gate closed" if closed else "done",
            "exit_code": code,
            "written": written,
            "extended": [*self.config["train"]["extend"]],
        }
        record["total_seconds"] = time.monotonic() - began
        self.place.save()
        from recipe_jax.report import page  # plotly takes a second to import

        page.build_report(self.place.path)
        return code

    def _settled(self, stages: Sequence[Any], number: int, context: Context) -> Context:
        """With what a budget in seconds leaves for this stage and those after it."""
        changed = budgeting.settled(self.spent, stages, number, context, self.lanes.work)
        if not changed:
            return context
        plan = self.place.record["plan"]
        plan["budget"].setdefault("settled", {})[self.place.record["stages"][number]["name"]] = (
            changed
        )
        decided = {**context.budget.decided, **changed}
        words = ", ".join(f"{path.partition('.')[2]} {number}" for path, number in changed.items())
        self.console.line(f"\nWhat is left of the budget: {words}.")
        return budgeting.with_budget(context, context.budget._replace(decided=decided))

    def _drive(self, stage: Any, name: str, context: Context) -> tuple[Decision, list[Finding]]:
        generator, answer, found = stage.run(context), None, []
        while True:
            try:
                request = generator.send(answer)
            except StopIteration as end:
                return end.value, found
            answer = None
            if isinstance(request, Finding | Asked):
                several = isinstance(request, Asked)
                new = request.findings if several else [request]
                found += new
                self.findings += [{"stage": name, **writers.plain(each)} for each in new]
                writers.write_json(self.place.path / "findings.json", self.findings)
                if several:
                    self.console.asked(request)
                else:
                    self.console.finding(request)
            elif isinstance(request, Trials):
                answer = self.lanes.train(name, request)
                # What goes on is one run, as long as it was meant to be from the start.
                self.ran |= {(name, r.trial.uid, request.epochs): Ran.of(r) for r in answer}
            elif isinstance(request, Measured):
                study.append(self.place.path / study.NAME, request)
            elif isinstance(request, Samples):
                answer = self.models.samples(request)
            elif isinstance(request, Broken):
                answer = breaking.find(self.lanes, request.result)
            elif isinstance(request, Scores):
                split = getattr(self.task, request.split).first(request.first)
                answer = self.models.scores(request, split)
            else:
                split = self._split(name, request).first(request.first)
                answer = self.models.outputs(request, split), split

    def _split(self, stage: str, request: Outputs) -> Split:
        if request.split == "test":
            return self.task.test.open(lambda: self.place.opened_test(stage, request.reason))
        return getattr(self.task, request.split)

    def _lanes_of(self, told: Mapping[str, Any]) -> int:
        return sum(row["stage"] == told["name"] for row in self.lanes.trial_rows)


def _record(
    what: str,
    *,
    config: Mapping[str, Any],
    overrides: Mapping[str, Any],
    argv: Sequence[str],
    task: Task,
    stages: Sequence[Any],
) -> dict[str, Any]:
    return {
        "what": what,
        "name": f"{task.name} · {config['model']['name']}",
        "status": "new",
        "exit_code": None,
        "written": [],
        "extended": [],
        "overrides": configs.to_data(overrides),
        "seed": config["seed"],
        **provenance.provenance(argv),
        "plugins": provenance.plugin_digests(config),
        "data": {
            "name": task.name,
            "fingerprint": task.fingerprint,
            "held_fingerprint": task.held_fingerprint or task.fingerprint,
            "examples": {
                "train": len(task.train.targets),
                "validation": len(task.validation.targets),
                "test": task.test.num_examples,
            },
        },
        "stages": [
            {
                "name": plan.name_of(stage),
                "state": "waiting",
                "expects": stage.EXPECTS,
            }
            for stage in stages
        ],
        "test_openings": [],
        "nonbitwise": [],
    }
