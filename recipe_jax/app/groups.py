"""Trials by the program that they need, and what a trained group of them is as host arrays."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recipe_jax import assembly
from recipe_jax import config as configs
from recipe_jax.assembly import Static
from recipe_jax.checkpoint import unflatten
from recipe_jax.train import settings
from recipe_jax.train.fit import Record
from recipe_jax.train.settings import Length
from recipe_jax.types import Result, Sampling, Trial, Trials, num_params


class Kind(NamedTuple):
    """What trials of one program share; start: fingerprint of the weights that they start from."""

    static: Static
    batch_size: int
    length: Length
    patience: int | None
    sampling: Sampling
    watch: int
    start: str = ""


class Group(NamedTuple):
    """Trials of one program: their places in the request, and their numbers.

    parent: digest of the group whose states they go on from, or "": lane i from its lane `rows[i]`.
    """

    kind: Kind
    parent: str
    places: list[int]
    trials: list[Trial]
    numbers: list[dict[str, float]]
    rows: list[int]

    def part(self, lanes: slice) -> "Group":
        """Some of its trials alone."""
        return self._replace(
            places=self.places[lanes],
            trials=self.trials[lanes],
            numbers=self.numbers[lanes],
            rows=self.rows[lanes],
        )


class Layout(NamedTuple):
    """How a group's lanes become calls: lanes in a block, and rounds in a call.

    several: two devices or more share the lanes; XLA compiles for one alone in another way.
    """

    width: int
    rounds: int
    several: bool


class Curves(NamedTuple):
    """What a group has measured so far, host arrays: history "split/metric" (lanes, evaluations);
    losses (lanes, steps); grad_norms (lanes, rounds) at their last steps; stopped (lanes, rounds):
    frozen before that round; watched (lanes, evaluations, examples, ...), where some are."""

    history: dict[str, np.ndarray]
    losses: np.ndarray
    grad_norms: np.ndarray
    stopped: np.ndarray
    watched: np.ndarray | None = None

    @classmethod
    def begun(cls, record: Any) -> "Curves":
        """With the look at the start alone, a record (lanes, ...) on the host."""
        return cls(
            {name: value[:, None] for name, value in record.metrics.items()},
            record.losses,
            record.grad_norms,
            np.zeros((len(record.losses), 0), bool),
            None if record.watched is None else record.watched[:, None],
        )

    @classmethod
    def stored(cls, arrays: Mapping[str, np.ndarray]) -> "Curves":
        """As they lie in a checkpoint."""
        prefix = "curves.history."
        history = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        others = (arrays[f"curves.{name}"] for name in ("losses", "grad_norms", "stopped"))
        return cls(history, *others)._replace(watched=arrays.get("curves.watched"))

    @property
    def rounds(self) -> int:
        """How many are done."""
        return self.stopped.shape[1]

    def extended(self, record: Record) -> "Curves":
        """With the rounds of one more call: (lanes, rounds, ...)."""
        lanes = len(self.stopped)
        return Curves(
            {k: np.concatenate([v, record.metrics[k]], 1) for k, v in self.history.items()},
            np.concatenate([self.losses, record.losses.reshape(lanes, -1)], 1),
            np.concatenate([self.grad_norms, record.grad_norms.reshape(lanes, -1)], 1),
            np.concatenate([self.stopped, record.stopped], 1),
            None
            if self.watched is None
            else np.concatenate([self.watched, np.asarray(record.watched)], 1),
        )


def grouped(
    request: Trials,
    config: Mapping[str, Any],
    num_examples: int,
    *,
    varied: Collection[str] = (),
    classes: int = 0,
    start: str = "",
) -> list[Group]:
    """The request's trials by program, in the order of their first appearance.

    varied: what the run's search varies (assembly.split); classes: how many have even shares of
    every batch (0: they come as they are); start: fingerprint of the weights that trials begin with
    where they say so, and train the model that the config names.
    """
    found: dict[Any, Group] = {}
    for place, trial in enumerate(request.trials):
        own = configs.with_settings(config, trial.settings)
        static, numbers = assembly.split(own, varied)
        counts = {"batch_size": own["train"]["batch_size"], "num_examples": num_examples}
        length = settings.length(
            epochs=request.paced or request.epochs,
            evaluations=request.evaluations or own["train"]["evaluations"],
            **counts,
        )
        if request.paced:
            length = settings.longer(length, epochs=request.epochs, **counts)
        _, folds = trial.fold or (0, 0)
        same = own["model"]["name"] == config["model"]["name"]
        kind = Kind(
            static,
            own["train"]["batch_size"],
            length,
            own["train"]["patience"],
            Sampling(folds, trial.resampled, classes),
            request.watch,
            start if own["start"]["path"] and same else "",
        )
        parent, row = "", 0
        if request.after:
            held = request.after[place].place
            assert held is not None, "it can go on from what paused alone"
            parent, row = held
        group = found.setdefault((kind, parent), Group(kind, parent, [], [], [], []))
        group.places.append(place)
        group.trials.append(trial)
        group.numbers.append(numbers)
        group.rows.append(row)
    return list(found.values())


def next_pause(pauses: Sequence[int], *, after: int, rounds: int) -> int:
    """Where training that has done `after` rounds of `rounds` stops next."""
    return min([pause for pause in pauses if after < pause < rounds], default=rounds)


def digest(group: Group, layout: Layout, **others: Any) -> str:
    """Names all that decides the bits of a group's result."""
    trials = [
        (t.seed, t.num_examples, t.show_inputs, t.fold, t.resampled, t.goes_on)
        for t in group.trials
    ]
    content = [group.kind, group.parent, group.rows, trials, group.numbers, layout, others]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def result(
    group: Group, lane: int, arrays: Mapping[str, np.ndarray], like: Any, held: str
) -> Result:
    """One lane of a trained group's arrays; `held` names the group's states."""
    trial, length, curves = group.trials[lane], group.kind.length, Curves.stored(arrays)
    stopped = curves.stopped[lane]
    frozen_steps = np.repeat(stopped, length.steps_per_round)
    frozen_looks = np.concatenate([[False], stopped])
    losses = np.where(frozen_steps, np.nan, curves.losses[lane])
    norms = np.where(stopped, np.nan, curves.grad_norms[lane])
    bad_steps = np.flatnonzero(~frozen_steps & ~np.isfinite(losses))
    first_bad_step = int(bad_steps[0]) if len(bad_steps) else None
    last = int((~frozen_looks).sum()) - 1
    looks = [curves.history[f"{split}/loss"][lane, last] for split in ("train", "validation")]
    if first_bad_step is None and not np.isfinite(looks).all():
        # The last step broke the weights, and no batch was read after it.
        first_bad_step = max(0, int((~frozen_steps).sum()) - 1)
    ended = stopped.any() or curves.rounds < length.rounds
    score = float(arrays["best.score"][lane])
    watched = None if curves.watched is None else curves.watched[lane].copy()
    if watched is not None:
        watched[frozen_looks] = np.nan
    stacked = {k: v[lane] for k, v in arrays.items() if k.startswith("weights.")}
    weights = unflatten(like, stacked, "weights") if stacked else None
    return Result(
        trial=trial,
        steps=np.arange(curves.rounds + 1) * length.steps_per_round,
        history={
            name: np.where(frozen_looks, np.nan, value[lane])
            for name, value in curves.history.items()
        },
        losses=losses,
        grad_norms=norms,
        best_score=score if np.isfinite(score) else float("nan"),
        best_step=int(arrays["best.step"][lane]),
        status="diverged" if first_bad_step is not None else "stopped" if ended else "done",
        first_bad_step=first_bad_step,
        num_params=num_params(like[0]),
        weights=weights,
        rounds=(curves.rounds, length.rounds),
        place=(held, lane),
        watched=watched,
    )


def trial_row(stage: str, label: str, result: Result) -> dict[str, Any]:
    """The trial's row of trials.csv."""
    looked = np.flatnonzero(np.isfinite(result.history["validation/loss"]))
    last = looked[-1] if len(looked) else 0
    trial = result.trial
    return {
        "stage": stage,
        "request": label,
        "trial": trial.uid,
        "seed": trial.seed,
        "status": result.status,
        "steps": int(np.isfinite(result.losses).sum()),
        "best_score": result.best_score,
        "best_step": result.best_step,
        **({} if result.first_bad_step is None else {"first_bad_step": result.first_bad_step}),
        **{name.replace("/", "_"): float(values[last]) for name, values in result.history.items()},
        **trial.settings,
        "num_examples": trial.num_examples,
        "show_inputs": trial.show_inputs,
        **({"fold": trial.fold[0]} if trial.fold else {}),
        **({"resampled": True} if trial.resampled else {}),
        **({"goes_on": trial.goes_on} if trial.goes_on else {}),
    }
