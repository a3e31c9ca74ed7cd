"""What every stage has in hand, and the small statistics that stages share."""

import types
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from recipe_jax.assembly import FAMILIES
from recipe_jax.prune.base import Prune
from recipe_jax.recipe import spaces
from recipe_jax.recipe.budget import Budget
from recipe_jax.recipe.settings import Recipe
from recipe_jax.resolve import keywords, resolve
from recipe_jax.search.base import Axis, Search
from recipe_jax.types import (
    Answer,
    Asked,
    Broken,
    Decision,
    Finding,
    Measured,
    Objective,
    Outputs,
    Result,
    Samples,
    Scores,
    Task,
    Trial,
    Trials,
)

Stage = Generator[
    Trials | Outputs | Scores | Samples | Broken | Measured | Finding | Asked, Any, Decision
]
"""A stage asks for training and outputs, tells findings, and returns its decision.

It is pure: driven again with the same answers it asks, finds and decides the same, which is how a
killed run goes on.
"""


class Human(NamedTuple):
    """What people answered before the run began, and the command that asks them."""

    answers: tuple[Answer, ...] = ()
    command: str = "python -m experiments.human"


class Ran(NamedTuple):
    """A training run as it ended: how, and after how many steps with a finite loss of how many."""

    status: str
    steps: int
    of_steps: int

    @classmethod
    def of(cls, result: Result) -> "Ran":
        """As the result tells it."""
        done, rounds = result.rounds
        of_steps = len(result.losses) // done * rounds if done else 0
        return cls(result.status, int(np.isfinite(result.losses).sum()), of_steps)


class Context(NamedTuple):
    """What a stage knows: the data, the completed config, and what the stages before it decided.

    recipe: with what the budget decides, which the config leaves out; command: what a person types
    to run this config with the settings of this run; candidates: settings that the
    search found good, the best first; ran: every training run of the stages before; defaults: the
    config as it would be with nothing said but which plug-ins.
    """

    task: Task
    config: Mapping[str, Any]
    objective: Objective
    recipe: Recipe
    search: Search
    prune: Prune
    carried: Mapping[str, Any]
    findings: Sequence[Finding]
    command: str = "python -m experiments.run"
    candidates: Sequence[Mapping[str, Any]] = ()
    human: Human = Human()
    budget: Budget = Budget("", {})
    ran: Sequence[Ran] = ()
    defaults: Mapping[str, Any] = types.MappingProxyType({})

    @property
    def epochs(self) -> int:
        """Length of the trainings before tuning."""
        return self.recipe.probe_epochs or self.config["train"]["epochs"]

    def setting(self, path: str) -> Any:
        """A setting as it stands now; None where the plug-ins have no such keyword."""
        section, _, key = path.partition(".")
        there = {"name": self.config[section].get("name"), **self.config[section]}
        name = self.carried.get(f"{section}.name", there["name"])
        if name != there["name"]:
            known = keywords(resolve(FAMILIES[section], name))
            there = {k: there.get(k, keyword.default) for k, keyword in known.items()}
        return self.carried.get(path, there.get(key))

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What is searched over: the config's space, or the ready-made one (spaces.py)."""
        if self.search.axes or self.search.complete:
            return self.search.axes
        return spaces.ready(self.setting)

    @property
    def varied(self) -> frozenset[str]:
        """The settings that the search varies."""
        listed = (path for each in self.search.listed for path in each)
        return frozenset((*(axis.path for axis in self.axes), *listed))

    def trial(self, seed: int, settings: Mapping[str, Any] | None = None, **view: Any) -> Trial:
        """A trial with what was decided so far, and these settings on top."""
        return Trial(seed=seed, settings=fitting({**self.carried, **(settings or {})}), **view)

    @property
    def quiet(self) -> dict[str, Any]:
        """The settings that turn every regulariser and augmentation off, and start from scratch."""
        off = {"model.dropout", "optim.weight_decay", "objective.l2", "objective.label_smoothing"}
        there = {path: 0.0 for path in sorted(off) if self.setting(path) is not None}
        augment = resolve(FAMILIES["augment"], self.setting("augment.name"))
        strengths = {f"augment.{k}": 0.0 for k, v in keywords(augment).items() if v.traced}
        scratch = {"start.path": ""} if self.config["start"]["path"] else {}
        return there | strengths | scratch

    def score_name(self, result_split: str = "validation") -> str:
        """The history entry that decides, such as "validation/accuracy"."""
        return f"{result_split}/{self.objective.score.metric}"


def fitting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without the settings that the plug-ins named among them do not have: those were decided for
    others."""
    known = {
        section: keywords(resolve(FAMILIES[section], settings[f"{section}.name"]))
        for section in FAMILIES
        if f"{section}.name" in settings
    }
    return {
        path: value
        for path, value in settings.items()
        for section, _, key in [path.partition(".")]
        if key == "name" or section not in known or key in known[section]
    }


class Planned(NamedTuple):
    """What a stage will train: lanes, for so many epochs, in so many new programs; part: of these
    epochs, where not every lane is trained to its end, above 1 where smaller batches make more
    steps of them; more: lanes on top at most, if all that is compared stays open."""

    lanes: int
    epochs: int
    programs: int
    part: float = 1.0
    more: int = 0


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def paired_interval(
    differences: Sequence[float] | np.ndarray,
    confidence: float = 0.95,
    *,
    least_variance: float = 0.0,
) -> Interval:
    """Student's interval of the mean of paired differences; infinitely wide for fewer than two.

    least_variance: of one difference, where rounding may hide it.
    """
    values = np.asarray(differences, float)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, -np.inf, np.inf)
    error = np.sqrt(max(float(values.var(ddof=1)), least_variance) / len(values))
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * error
    return Interval(mean, mean - float(half), mean + float(half))


def standard_error(score: float, metric: str, losses: np.ndarray | None, count: int) -> float:
    """Standard error of a mean over `count` examples: binomial for accuracy, else of `losses`."""
    if metric == "accuracy":
        return float(np.sqrt(max(score * (1 - score), 1 / count) / count))
    spread = float(np.std(losses)) if losses is not None and len(losses) > 1 else abs(score)
    return spread / np.sqrt(count)


def final(result: Result, name: str) -> float:
    """The last value of a history entry that was taken before the run ended."""
    values = result.history[name]
    looked = np.flatnonzero(np.isfinite(values))
    return float(values[looked[-1]]) if len(looked) else float("nan")


def best(result: Result, name: str) -> float:
    """A history entry at the evaluation with the best validation score; NaN when there was none."""
    if not np.isfinite(result.best_score):
        return float("nan")
    return float(result.history[name][int(np.searchsorted(result.steps, result.best_step))])
