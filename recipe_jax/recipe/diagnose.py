"""Stage diagnose: one verdict from all that was found, and what to try next."""

import pathlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recipe_jax.recipe import bigger, extending, retrospect
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.types import Decision, Finding, Status

EXPECTS = "The curves say what holds the score back, and which change would pay most."
ALWAYS = True
"""Also after a gate has closed."""
NEXT, LONGEST = 3, 48
"""Steps that are told, and characters of the folder that is proposed for one."""
KEEPS = "keeps labels"
LATE = 0.2
"""The last part of a run, where a loss that still falls says that it ended too early."""
FALLING = 0.02
"""Of all that the loss fell: what it falls by in the last part of a run that ended too early."""

WRONG = ("not learning", "rate too high")
"""Verdicts that are no mere limit of what was learnt."""
REMEDIES = {
    "not learning": "Begin with the first cause that stage skeleton names.",
    "rate too high": "Lower the rate: it sets what all other settings are worth.",
    "rate too low or too short": "Let it go on, or raise the rate: the loss is still falling.",
    "under-fitting": "More layers, more units, less dropout, less decay.",
    "over-fitting": "More data, augmentation, a regulariser, a smaller model.",
    "healthy": "What is left is worth little: more data, or another kind of model.",
}

LEARNT = 0.5
"""Of what the best constant leaves: who takes that off has learnt, however wide the interval of the
score, as where a few examples make most of it."""
LINEAR, CONSTANTS = "linear", ("majority", "mean")


class Step(NamedTuple):
    """Something to try: why, what it is worth in the score (measured or extrapolated, more is
    better), and the settings that do it; extend: or how many epochs this run should go on to."""

    name: str
    gain: float
    settings: Mapping[str, Any] = {}
    measured: bool = True
    extend: int = 0


def run(context: Context) -> Stage:
    """DIAG1, DIAG2, DIAG3, ENV6, ENV8: nothing is trained."""
    yield retrospect.expectations(context)
    yield retrospect.stopping(context)
    found = {each.check: each.evidence for each in context.findings if each.evidence}
    if "curves" not in found or "test_score" not in found:
        yield _stopped(context)
        return Decision(summary="Mend the first finding that failed; the rest rests on it.")
    verdict, told, evidence = judged(context, found)
    steps = sorted(candidates(context, found, verdict), key=lambda each: -each.gain)
    steps = [each for each in steps if each.gain > 0][:NEXT]
    metric = context.objective.score.metric
    yield Finding(
        check="verdict",
        row="DIAG1 DIAG2 DIAG3",
        status=Status.WARN if verdict in WRONG else Status.PASS,
        summary=f"{verdict[0].upper()}{verdict[1:]}: {told}",
        remedy="" if verdict == "healthy" else _remedy(context, found, verdict),
        evidence=evidence
        | {
            "verdict": verdict,
            "metric": metric,
            "next": [
                {
                    "name": each.name,
                    "gain": each.gain if np.isfinite(each.gain) else None,
                    "measured": each.measured,
                    "command": command(context, each),
                }
                for each in steps
            ],
        },
    )
    more = bigger.examine(context, found)
    if more is not None:
        yield more
    first = f" Next: {steps[0].name}." if steps else ""
    remedy = _remedy(context, found, verdict)
    return Decision(summary=f"{verdict[0].upper()}{verdict[1:]}. {remedy}{first}")


def planned(context: Context) -> list[Planned]:
    """Nothing is trained."""
    return []


def _remedy(context: Context, found: Mapping[str, Any], verdict: str) -> str:
    """What is done about it; against over-fitting without what was measured not to help."""
    if verdict != "over-fitting":
        return REMEDIES[verdict]
    metric, sign = context.objective.score.metric, context.objective.score.sign()
    gain = found.get("learning_curve", {}).get("gain")
    tried, ladder = found.get("regularisers"), found.get("model_ladder")
    helps = not tried or any(tried["kept"])
    twice = f" (twice as much would bring about {gain:.2g} of {metric})" if gain else ""
    words = [
        *([f"more data{twice}"] if gain is None or gain > 0 else []),
        *([] if context.task.modality == "text" else ["augmentation"]),
        *(["a regulariser"] if helps else []),
        *([] if ladder and _best_is_largest(sign, ladder) else ["a smaller model"]),
    ]
    listed = ", ".join(words)
    told = [f"{listed[0].upper()}{listed[1:]}."] if words else []
    return " ".join(told + ([] if helps else ["No regulariser that was tried was seen to help."]))


def _best_is_largest(sign: float, ladder: Mapping[str, Any]) -> bool:
    """Of the ladder of models the largest has the best score on validation."""
    means = sign * np.asarray(ladder["validation_score"], float).mean(1)
    return bool(means.argmax() == len(means) - 1)


def _stopped(context: Context) -> Finding:
    """Where a gate closed before the end: what closed it."""
    failed = [each for each in context.findings if each.status == Status.FAIL]
    common: dict[str, Any] = {"check": "verdict", "row": "SKEL20 DIAG1 DIAG2 DIAG3"}
    if not failed:
        return Finding(status=Status.SKIP, summary="No model was trained to the end.", **common)
    first = next((each for each in failed if each.check == "first_cause"), failed[0])
    return Finding(
        status=Status.WARN,
        summary=f"Stopped: {first.summary}",
        fault=first.fault,
        remedy=first.remedy,
        **common,
    )


def judged(context: Context, found: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """(verdict, why, numbers). Scores are skills here: 0 for the best constant, 1 for perfect."""
    curves, test = found["curves"], found["test_score"]
    trivial, constant = _constant(found)
    best = _best_looks(context, curves)
    train, held = (
        float(np.nanmean(np.asarray(curves[f"{split}_score"])[best]))
        for split in ("train", "validation")
    )
    skills = [_skill(context, score, constant) for score in (train, held)]
    error = abs(float(test["high"]) - float(test["low"])) / 3.92
    error *= np.sqrt(test["count"] / len(context.task.validation.targets))
    noise = error / max(abs(_perfect(context) - constant), 1e-12)
    late, swings = _lately(np.asarray(curves["validation_loss"], float), best[1])
    evidence = {
        "train": train,
        "validation": held,
        "constant": constant,
        "train_skill": skills[0],
        "validation_skill": skills[1],
        "noise": noise,
        "falling": late,
        "swings": swings,
    }
    told = f"training {train:.4g}, validation {held:.4g}, {trivial} {constant:.4g}"
    gap, missing = skills[0] - skills[1], 1.0 - skills[0]
    diverged = not np.isfinite(np.asarray(curves["validation_loss"], float)[:, 1:]).any(1).all()
    if skills[1] <= min(2 * noise, LEARNT):
        how = "no better" if skills[1] <= 0 else "not surely better"
        return "not learning", f"{told}: {how} than {trivial}.", evidence
    if diverged or swings > 0.5:
        return "rate too high", f"{told}; the loss jumps or diverges.", evidence
    if late > FALLING:
        return (
            "rate too low or too short",
            f"{told}; in its last part the validation loss still fell by {late:.0%} of all.",
            evidence,
        )
    if gap > 2 * noise and gap > 0.25 * max(missing, noise):
        return "over-fitting", f"{told}: what is learnt by heart does not carry over.", evidence
    if test.get("behind"):
        better = " and ".join(test["behind"])
        why = (
            f"{told}; on test {better} does better: what is learnt beyond that does not carry over."
        )
        return "over-fitting", why, evidence
    if missing > 0.05 and _larger_helps(context, found):
        return "under-fitting", f"{told}: a larger model did better on both.", evidence
    return "healthy", f"{told}; nothing holds the score back that was looked for.", evidence


def candidates(context: Context, found: Mapping[str, Any], verdict: str) -> Iterator[Step]:
    """What might be tried next, and what it would bring by the measurements that there are."""
    sign = context.objective.score.sign()
    curves = found["curves"]
    if verdict == "rate too low or too short":
        scores = sign * np.nanmean(np.asarray(curves["validation_score"], float), 0)
        part = max(1, round(LATE * len(scores)))
        gain = float(scores[-1] - scores[-1 - part])
        yield _longer(context, gain)
    if verdict == "rate too high" and context.setting("optim.learning_rate") is not None:
        rate = float(f"{context.setting('optim.learning_rate') / 3:.3g}")
        # Nothing else can be judged before: it comes first.
        yield Step("a third of the rate", np.inf, {"optim.learning_rate": rate}, measured=False)
    tried = found.get("regularisers")
    if tried:
        at = int(np.argmax(tried["difference"]))
        if tried["difference"][at] > 0 and not tried["kept"][at]:
            name = f"{tried['names'][at]} with more seeds, which was left undecided"
            settings = {**tried["settings"][at], "recipe.seeds": 4 * context.recipe.seeds}
            yield Step(name, float(tried["difference"][at]), settings)
    ladder = found.get("model_ladder")
    if ladder and context.setting("model.width") is not None:
        scores = sign * np.nanmean(np.asarray(ladder["validation_score"], float), 1)
        gain = float(scores[-1] - scores[ladder["chosen"]])
        width = 2 * int(context.setting("model.width"))
        yield Step("twice the units", gain, {"model.width": width}, measured=False)
    simple = found.get("baselines")
    if simple and LINEAR in simple["names"] and context.setting("model.name") != LINEAR:
        held = sign * np.asarray(curves["validation_score"], float)[_best_looks(context, curves)]
        gain = sign * float(simple["scores"][simple["names"].index(LINEAR)]) - float(held.mean())
        yield Step("a linear model", gain, {"model.name": LINEAR}, measured=False)
    curve = found.get("learning_curve")
    fraction = context.config["data"].get("fraction", 1.0)
    if curve and curve.get("gain") and fraction < 1.0:
        gain = float(curve["gain"])
        yield Step("all of the data", gain, {"data.fraction": 1.0}, measured=False)
    symmetric = found.get("symmetries")
    if symmetric and context.task.modality == "image" and context.setting("augment.name") == "none":
        keeps = [c for c in symmetric["changes"] if c["verdict"] == KEEPS and c["settings"]]
        if keeps:
            best = max(keeps, key=lambda each: each["gain"])
            words = dict(word.split("=") for word in best["settings"])
            settings = {"augment.name": "image"} | {f"augment.{k}": v for k, v in words.items()}
            yield Step(f"augmentation: {best['name']}", float(best["gain"]), settings, False)
    several = found.get("seed_ensemble")
    if several and len(several["scores"]) > 2:
        gain = bigger.last_half(several["scores"], sign=sign)
        members = 2 * context.recipe.members
        yield Step("twice the members", gain, {"recipe.members": members}, measured=False)
    search = found.get("search")
    if search and not context.search.complete:
        gain = bigger.last_half_of_search(search, sign=sign)
        trials = 4 * context.search.trials
        yield Step("a longer search", gain, {"search.trials": trials}, measured=False)


def _longer(context: Context, gain: float) -> Step:
    """Twice the epochs: from the last state, where the schedule did not come to an end there."""
    name = "twice the epochs"
    if extending.ended(context, context.trial(0)):
        epochs = 2 * context.config["train"]["epochs"]
        return Step(name, gain, {"train.epochs": epochs}, measured=False)
    name += " from the last state, with the --workdir of this run"
    return Step(name, gain, measured=False, extend=2 * extending.epochs(context))


def command(context: Context, step: Step) -> str:
    """What to paste: the run's own command with these settings, in a workdir of its own; or what
    makes this run go on."""
    if step.extend:
        return f"{context.command} --extend={step.extend}"
    words = [
        f"--config.{path}={value:g}" if isinstance(value, float) else f"--config.{path}={value}"
        for path, value in step.settings.items()
    ]
    given = shlex.split(context.command)
    if "model.name" in step.settings:  # another model has other settings
        given = _without(given, "--config.model.")
    return " ".join([shlex.join(given), *words, f"--workdir={_workdir(context, step)}"])


def _without(words: Sequence[str], front: str) -> list[str]:
    """A command line without the settings that begin so, in one word each or in two."""
    kept: list[str] = []
    skipped = False
    for word in words:
        value = skipped and not word.startswith("-")
        skipped = word.startswith(front) and "=" not in word
        if not (value or word.startswith(front)):
            kept.append(word)
    return kept


def _workdir(context: Context, step: Step) -> str:
    """Where a command goes that is pasted as it is: the run's own place holds the run."""
    given = shlex.split(context.command)
    path = given[given.index("--config") + 1] if "--config" in given else "run"
    config = pathlib.PurePath(path.partition(":")[0]).stem
    name = re.sub(r"[^a-z0-9]+", "-", f"{config} {step.name}".lower()).strip("-")
    return f"runs/{name[:LONGEST].rstrip('-')}"


def _constant(found: Mapping[str, Any]) -> tuple[str, float]:
    """What the simplest answer is called, and its score on validation; of a run that measured it on
    test alone, there."""
    measured = found.get("baselines") or found["test_score"]["baselines"]
    scores = dict(zip(measured["names"], measured["scores"]))
    scores.pop("network", None)
    name, score = next(iter(scores.items()))
    return "a constant" if name in CONSTANTS else f"{name} counts", float(score)


def _perfect(context: Context) -> float:
    return 1.0 if context.objective.score.maximise else 0.0


def _skill(context: Context, score: float, constant: float) -> float:
    span = _perfect(context) - constant
    return (score - constant) / span if span else 0.0


def _best_looks(context: Context, curves: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """(members, looks) at which the validation score was best."""
    scores = context.objective.score.sign() * np.asarray(curves["validation_score"], float)
    looks = np.where(np.isfinite(scores), scores, -np.inf).argmax(1)
    return np.arange(len(scores)), looks


def _lately(losses: np.ndarray, best: np.ndarray) -> tuple[float, float]:
    """(share of its fall that the median loss made in its last part; how far the loss swings up
    between looks in the second half, as a share of its fall). losses: (members, looks)."""
    middle = np.median(losses, 0)
    if not np.isfinite(middle).all():
        return 0.0, 1.0
    fell = float(middle[0] - middle.min())
    if not fell > 0:
        return 0.0, 1.0
    part = max(1, round(LATE * len(middle)))
    ended_early = np.median(best) >= losses.shape[1] - 1 - part
    late = float(middle[-1 - part] - middle[-1]) / fell if ended_early else 0.0
    rises = np.diff(middle[len(middle) // 2 :])
    return late, float(max(0.0, rises.max(initial=0.0))) / fell


def _larger_helps(context: Context, found: Mapping[str, Any]) -> bool:
    """Whether the ladder's largest rung was the best on validation, beyond its seeds' error."""
    ladder = found.get("model_ladder")
    if not ladder:
        return False
    sign = context.objective.score.sign()
    scores = sign * np.asarray(ladder["validation_score"], float)
    means = scores.mean(1)
    error = scores[-1].std(ddof=1) / np.sqrt(scores.shape[1]) if scores.shape[1] > 1 else 0.0
    return bool(means[-1] >= means.max() and means[-1] > means[:-1].max() + error)
