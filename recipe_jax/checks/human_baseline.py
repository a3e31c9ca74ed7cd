"""How well does a person do on the very examples that the network is judged by?"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from recipe_jax.types import Answer, Finding, Objective, Split, Status, Task, judge

DRAWS = 1000
LEVEL = 0.05
"""Of the sign test that says a person does better."""
MOST_SHOWN = 16
UNSURE = -1
"""The class number of "I cannot tell": it is never right."""
ROW = "SKEL4"


class Score(NamedTuple):
    """A mean over examples with its 95 % interval; NaN ends where there are too few to tell."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        ends = f" [{self.low:.4g}, {self.high:.4g}]" if np.isfinite(self.low) else ""
        return f"{self.value:.4g}{ends}"


def order(task: Task, seed: int) -> Int[np.ndarray, " examples"]:
    """Validation examples in the order in which they are asked, by the seed alone."""
    draw = np.random.default_rng([seed, zlib.crc32(b"human baseline")])
    return draw.permutation(len(task.validation.targets))


def latest(answers: Sequence[Answer], task: Task) -> dict[str, tuple[Answer, ...]]:
    """Each person's answers on this task: of an example that was answered twice the last one."""
    people: dict[str, dict[int, Answer]] = {}
    for answer in answers:
        if answer.fingerprint == task.fingerprint:
            people.setdefault(answer.person, {})[answer.place] = answer
    return {person: tuple(found.values()) for person, found in people.items()}


def metric_of(objective: Objective, task: Task) -> str:
    """What a person is scored by: the share of right classes or characters, else mse or mae."""
    if task.spec.kind != "regression":
        return "accuracy"
    return "mae" if objective.score.metric == "mae" else "mse"


def last_asked(split: Split) -> Int[np.ndarray, " windows"]:
    """The last place of every window of text at which a token is asked."""
    return (split.targets >= 0).sum(1) - 1


def truths(task: Task) -> np.ndarray:
    """What is asked of each validation example: its class, the token that comes after its window,
    or the values in the targets' own units (examples, outputs)."""
    split = task.validation
    if task.spec.kind == "next_token":
        return split.targets[np.arange(len(split.targets)), last_asked(split)]
    return split.targets if task.spec.kind == "classification" else own_units(task, split.targets)


def said(task: Task, answers: Sequence[Answer]) -> np.ndarray:
    """Answers as class numbers, or as values in the targets' own units (answers, outputs).

    Who cannot tell a class is wrong, and who cannot tell a value has the training mean.
    """
    if task.spec.kind == "regression":
        mean = task.spec.target_mean
        return np.array([mean if each.answer is None else each.answer for each in answers], float)
    number = {name: i for i, name in enumerate(task.class_names)}
    return np.array([number.get(str(each.answer), UNSURE) for each in answers], int)


def losses(values: np.ndarray, targets: np.ndarray, metric: str) -> Float[np.ndarray, " examples"]:
    """1 for a wrong class and 0 for a right one, or the squared or absolute error of the values."""
    if metric == "accuracy":
        return (values != targets).astype(float)
    errors = np.abs(values - targets)
    return (errors if metric == "mae" else errors**2).mean(1)


def score(found: Float[np.ndarray, " examples"], metric: str) -> Score:
    """The metric over examples of these losses: with Wilson's interval for an accuracy, else with
    the percentiles of bootstrap resamples (Efron 1979)."""
    count = len(found)
    if metric == "accuracy":
        right = int((found == 0).sum())
        interval = stats.binomtest(right, count).proportion_ci(method="wilson")
        return Score(right / count, float(interval.low), float(interval.high))
    if count < 2:
        return Score(float(found.mean()), float("nan"), float("nan"))
    draws = np.random.default_rng(0).integers(0, count, (DRAWS, count))
    low, high = np.percentile(found[draws].mean(1), [2.5, 97.5])
    return Score(float(found.mean()), float(low), float(high))


def losses_of(task: Task, answers: Sequence[Answer], metric: str) -> Float[np.ndarray, " answers"]:
    """How wrong each of a person's answers is."""
    return losses(said(task, answers), truths(task)[places(answers)], metric)


def examine(
    task: Task,
    objective: Objective,
    answers: Sequence[Answer],
    outputs: Float[np.ndarray, "examples *output"],
    *,
    command: str,
) -> Finding:
    """Every person beside the network on the same examples; SKIP where nobody has answered.

    outputs: the network's on the whole validation split; command: asks a person. It WARNs when the
    exact sign test over the examples on which they differ says that a person does better.
    """
    people = latest(answers, task)
    if not people:
        return _nobody(len(answers), command)
    metric, predicted = metric_of(objective, task), _predicted(task, objective, outputs)
    compared = [_compared(task, metric, found, predicted) for found in people.values()]
    better = [each["name"] for each in compared if each["p_value"] < LEVEL]
    return judge(
        not better,
        " ".join(_sentence(task, metric, each) for each in compared),
        otherwise=Status.WARN,
        check="human_baseline",
        row=ROW,
        certainty="statistical",
        remedy=f"{' and '.join(better)} did better on the same examples, so there is more in them "
        "than the network takes out: look at those that it alone gets wrong.",
        evidence={
            "metric": metric,
            "maximise": metric == "accuracy",
            "people": compared,
            "differing": _differing(task, metric, people, predicted),
        }
        | _values(task, people, predicted),
    )


def _nobody(others: int, command: str) -> Finding:
    told, first = "Nobody has answered: how well a person does is not known.", "Answer some"
    if others:
        told = f"The {others} answers in human.jsonl are about other data."
        first = "Move human.jsonl away, answer some"
    return Finding(
        check="human_baseline",
        row=ROW,
        status=Status.SKIP,
        summary=told,
        remedy=f"{first} examples yourself, with this run's --workdir if it has one, and run this "
        f"again: {command}",
    )


def _compared(
    task: Task, metric: str, answers: Sequence[Answer], predicted: np.ndarray
) -> dict[str, Any]:
    """One person beside the network on the same examples."""
    asked = places(answers)
    targets = truths(task)[asked]
    own, network = losses_of(task, answers, metric), losses(predicted[asked], targets, metric)
    ahead, behind = int((own < network).sum()), int((own > network).sum())
    sign_test = stats.binomtest(ahead, max(1, ahead + behind), alternative="greater")
    found = {
        "name": answers[0].person,
        "count": len(answers),
        "unsure": sum(each.answer is None for each in answers),
        "median_seconds": float(np.median([each.spent_seconds for each in answers])),
        "score": score(own, metric)._asdict(),
        "network": score(network, metric)._asdict(),
        "ahead": ahead,
        "behind": behind,
        "p_value": float(sign_test.pvalue),
    }
    if metric != "accuracy":
        found["mean_error"] = float(losses_of(task, answers, "mae").mean())
        found["network_mean_error"] = float(losses(predicted[asked], targets, "mae").mean())
    else:
        right = own == 0
        found["both_right"] = int((right & (network == 0)).sum())
        found["both_wrong"] = int((~right & (network == 1)).sum())
    return found


def _sentence(task: Task, metric: str, each: Mapping[str, Any]) -> str:
    of_what = " of the next character" if task.spec.kind == "next_token" else ""
    unsure = each["unsure"]
    taken = "as wrong" if metric == "accuracy" else "as the training mean"
    untold = f"{unsure} not told, counted {taken}; " if unsure else ""
    many = "example" if each["count"] == 1 else "examples"
    off, network_off = (
        f" ({each[key]:.4g} off on average)" if key in each else ""
        for key in ("mean_error", "network_mean_error")
    )
    return (
        f"A person ({each['name']}): {metric}{of_what} {Score(**each['score'])}{off} on "
        f"{each['count']} validation {many}, {each['median_seconds']:.1f} s each; {untold}the "
        f"network as configured, on the same: {Score(**each['network'])}{network_off}."
    )


def _predicted(task: Task, objective: Objective, outputs: np.ndarray) -> np.ndarray:
    """The network's answers in the form of `said`."""
    if task.spec.kind == "regression":
        return np.asarray(objective.predict(outputs), float)
    if task.spec.kind == "next_token":
        outputs = outputs[np.arange(len(outputs)), last_asked(task.validation)]
    return np.asarray(objective.predict(outputs)).argmax(-1)


def _differing(
    task: Task, metric: str, people: Mapping[str, Sequence[Answer]], predicted: np.ndarray
) -> dict[str, list[str]]:
    """Examples with a note, and those on which a person and the network differ most."""
    rows = []
    for answers in people.values():
        asked = places(answers)
        targets, guesses = truths(task)[asked], predicted[asked]
        apart = np.abs(losses_of(task, answers, metric) - losses(guesses, targets, metric))
        for answer, far, truth, guess in zip(answers, apart, targets, guesses):
            if far or answer.note:
                told = (word(task, truth), shown(answer.answer), word(task, guess), answer.note)
                rows.append((not answer.note, -far, (answer.person, answer.example, *told)))
    rows = [row for *_, row in sorted(rows, key=lambda each: each[:2])][:MOST_SHOWN]
    names = ("person", "example", "truth", "said", "network", "note")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _values(
    task: Task, people: Mapping[str, Sequence[Answer]], predicted: np.ndarray
) -> dict[str, Any]:
    """For regression, what was said beside the truth, of the first target."""
    if task.spec.kind != "regression":
        return {}
    answers = [each for found in people.values() for each in found]
    asked = places(answers)
    return {
        "targets": truths(task)[asked, 0],
        "person_said": said(task, answers)[:, 0],
        "network_said": predicted[asked, 0],
        "unit": task.target_names[0],
    }


def word(task: Task, value: Any) -> str:
    """A class or symbol by its name, values as numbers."""
    return shown(tuple(value)) if np.ndim(value) else task.class_names[int(value)]


def shown(answer: str | tuple[float, ...] | None) -> str:
    """What a person said, in words."""
    if answer is None:
        return "cannot tell"
    if isinstance(answer, str):
        return answer
    return ", ".join(f"{value:.4g}" for value in answer)


def own_units(task: Task, targets: np.ndarray) -> Float[np.ndarray, "examples outputs"]:
    """Targets of a regression as they lie in the data."""
    return np.asarray(targets * np.asarray(task.spec.target_scale) + task.spec.target_mean, float)


def places(answers: Sequence[Answer]) -> Int[np.ndarray, " answers"]:
    """Where in the validation split the answered examples stand."""
    return np.array([each.place for each in answers], int)
