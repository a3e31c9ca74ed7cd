"""Models to make one of: other seeds, the best few settings, snapshots of one run, other models."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recipe_jax.recipe import extending, measuring, text
from recipe_jax.recipe.base import Context, Planned
from recipe_jax.recipe.measuring import Tried
from recipe_jax.train import settings as train_settings
from recipe_jax.types import Finding, Result, Status, Trial, Trials

FIRST_SEED, FOLD_SEED, SNAPSHOT_SEED = 400, 500, 520
LABEL, LINEAR = "members", "linear"
SEEDS, SETTINGS, SNAPSHOTS = "seeds", "best settings", "snapshots"
"""Ways to several models; LINEAR is another one, for the blends alone."""


class Pool(NamedTuple):
    """All that was trained. ways: of each what it is; trainings: way -> full trainings it took."""

    results: list[Result]
    ways: list[str]
    trainings: dict[str, int]

    def of(self, way: str) -> list[Result]:
        """Those of one way."""
        return [result for result, own in zip(self.results, self.ways) if own == way]

    def only(self, places: Any) -> "Pool":
        """Some of them."""
        results, ways = ([each[i] for i in places] for each in (self.results, self.ways))
        return Pool(results, ways, self.trainings)


def train(context: Context) -> Generator[Any, Any, Pool]:
    """SQZ1: `recipe.members` seeds of the present setting, as many models of the best settings,
    snapshots of one run, and a linear model."""
    count, epochs = context.recipe.members, context.config["train"]["epochs"]
    chosen = yield from best_settings(context)
    trials = {SEEDS: [context.trial(FIRST_SEED + i) for i in range(count)]}
    if chosen:
        trials[SETTINGS] = [
            Trial(settings=chosen[i % len(chosen)], seed=FIRST_SEED + count + i)
            for i in range(count)
        ]
    if has_linear(context):
        trials[LINEAR] = [_linear(context)]
    asked = Trials(
        label=LABEL,
        trials=tuple(trial for each in trials.values() for trial in each),
        epochs=epochs,
        keep="best",
    )
    results = yield from extending.train(context, asked)
    ways = [way for way, each in trials.items() for _ in each]
    trainings = {way: len(each) for way, each in trials.items()}
    if chosen:
        trainings[SETTINGS] += _candidates(context) * context.recipe.folds
    taken = yield from snapshots(context)
    ways += [SNAPSHOTS] * len(taken)
    return Pool([*results, *taken], ways, {**trainings, SNAPSHOTS: min(1, len(taken))})


def best_settings(context: Context) -> Generator[Any, Any, list[Mapping[str, Any]]]:
    """The better half of the search's candidates by cross-validation: each is trained as often as
    there are folds, and scored on the fold that it did not see. None without candidates."""
    if not context.candidates or not _candidates(context):
        return []
    folds = context.recipe.folds
    results = yield Trials(
        label="folds",
        trials=tuple(
            Trial(settings=each, seed=FOLD_SEED, fold=(fold, folds))
            for each in context.candidates
            for fold in range(folds)
        ),
        epochs=context.config["train"]["epochs"],
    )
    tried = [
        Tried(dict(each), results[i * folds : (i + 1) * folds], 1.0)
        for i, each in enumerate(context.candidates)
    ]
    order = measuring.ranked(context, tried)
    kept = order[: -(-len(order) // 2)]
    sign, metric = context.objective.score.sign(), context.objective.score.metric
    scores = np.array([[sign * measuring.score(context, [r]) for r in t.results] for t in tried])
    means = scores.mean(1)
    place = order.index(0) + 1
    yield Finding(
        check="fold_scores",
        row="SQZ1 ENV3",
        status=Status.PASS,
        summary=f"{len(order)} best settings of the search over {folds} folds of the training "
        f"split: out-of-fold {metric} from {means[order[0]]:.4g} to {means[order[-1]]:.4g}; "
        f"setting 1, which goes on, is number {place} of them. The first {len(kept)} make an "
        "ensemble.",
        evidence={
            "places": [i + 1 for i in order],
            "settings": [_differing(context.candidates)[i] for i in order],
            "scores": scores[order],
            "kept": [i in kept for i in order],
            "metric": metric,
        },
    )
    return [context.candidates[i] for i in kept]


def snapshots(context: Context) -> Generator[Any, Any, list[Result]]:
    """One run whose rate falls along a cosine again and again, and its weights at the end of every
    cycle: several models at the price of one (Huang et al. 2017)."""
    rounds, cycles = _cycles(context)
    if cycles < 2:
        return []
    settings = {"schedule.name": "cosine", "schedule.cycles": cycles, "train.patience": None}
    carried = {k: v for k, v in context.carried.items() if not k.startswith("schedule.")}
    trial = Trial(settings={**carried, **settings}, seed=SNAPSHOT_SEED)
    taken: list[Result] = []
    for _ in range(cycles):
        (result,) = yield Trials(
            label="snapshots",
            trials=(trial,),
            epochs=context.config["train"]["epochs"],
            evaluations=rounds,
            keep="last",
            pauses=tuple(rounds // cycles * number for number in range(1, cycles)),
            after=tuple(taken[-1:]),
        )
        taken.append(result)
    # What is kept is the end of a cycle, also where a look before it was better.
    return [each._replace(best_step=int(each.steps[-1])) for each in taken]


def planned(context: Context) -> list[Planned]:
    """Folds, members and the run of the snapshots."""
    count, epochs = context.recipe.members, context.config["train"]["epochs"]
    candidates = _candidates(context)
    lanes = count * (1 + bool(candidates)) + has_linear(context)
    wanted = [Planned(lanes, extending.epochs(context), 1 + has_linear(context))]
    if _cycles(context)[1] > 1:
        wanted.append(Planned(1, epochs, 1))
    if candidates:
        wanted.append(Planned(candidates * context.recipe.folds, epochs, 1))
    return wanted


def has_linear(context: Context) -> bool:
    """Whether a linear model is another one than the model, and can read the inputs."""
    name = context.setting("model.name")
    return name not in (LINEAR, "constant") and not text.is_text(context.task)


def _linear(context: Context) -> Trial:
    carried = {k: v for k, v in context.carried.items() if not k.startswith("model.")}
    return Trial(settings={**carried, "model.name": LINEAR}, seed=FIRST_SEED)


def _candidates(context: Context) -> int:
    """How many settings are compared over folds: none of a text, whose windows overlap."""
    folds, examples = context.recipe.folds, len(context.task.train.targets)
    if folds < 2 or text.is_text(context.task):
        return 0
    if examples - examples // folds < context.setting("train.batch_size") or folds > examples:
        return 0
    if not context.candidates and (context.axes or context.search.complete):
        # Before the search: as many as it will hand on.
        return min(context.recipe.candidates, context.search.trials)
    return len(context.candidates)


def _cycles(context: Context) -> tuple[int, int]:
    """Looks of the run of the snapshots, a whole number in every cycle, and cycles."""
    train, examples = context.config["train"], len(context.task.train.targets)
    length = train_settings.of_config(train, examples)
    steps = -(-train["epochs"] * examples // context.setting("train.batch_size"))
    cycles = max(1, min(context.recipe.snapshots, steps))
    each = max(1, min(round(length.rounds / cycles), steps // cycles))
    return cycles * each, cycles


def _differing(candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each without what all have in common."""
    paths = dict.fromkeys(path for each in candidates for path in each)
    apart = [path for path in paths if len({str(each.get(path)) for each in candidates}) > 1]
    return [{path: each.get(path) for path in apart} for each in candidates]
