"""human.jsonl: what people answered, a line an answer, and the command that asks them."""

import dataclasses
import math
import pathlib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recipe_jax import writers
from recipe_jax.types import Answer, Task, UserError

NAME = "human.jsonl"
FIELDS = tuple(field.name for field in dataclasses.fields(Answer))
# The settings that decide which examples are asked, or whether the config fits its data at all.
ANY = re.compile(r"--?(no)?config\.")
NEEDED = re.compile(r"--?(no)?config\.(data|objective|seed|train\.batch_size)\b")


def read(path: pathlib.Path, task: Task) -> tuple[Answer, ...]:
    """The answers in a file, in its order; none where there is no file. UserError names a line that
    is no answer, or none that fits this task."""
    found = []
    for number, row in enumerate(writers.read_jsonl(path), start=1):
        try:
            answer = _answer(row)
            if answer.fingerprint == task.fingerprint:
                check(answer, task)
        except ValueError as error:
            raise UserError(
                f"{path}, line {number} is no answer ({error}); remove the line."
            ) from error
        found.append(answer)
    return tuple(found)


def recorded(rows: Iterable[Mapping[str, Any]]) -> tuple[Answer, ...]:
    """The answers that run.json holds."""
    try:
        return tuple(map(_answer, rows))
    except ValueError as error:
        raise UserError(
            f"run.json holds an answer that is none ({error}); start anew with --overwrite."
        ) from error


def check(answer: Answer, task: Task) -> None:
    """ValueError where an answer does not fit the task."""
    if not 0 <= answer.place < len(task.validation.targets):
        raise ValueError(f"there is no example {answer.place}")
    told, kind = answer.answer, task.spec.kind
    if told is None:
        return
    if isinstance(told, str):
        if kind == "regression" or told not in task.class_names:
            raise ValueError(f"{told!r} is no class")
    elif kind != "regression" or len(told) != task.spec.num_outputs:
        raise ValueError(f"{list(told)} is no value of the target")


def asking(path: str, argv: Sequence[str]) -> str:
    """The command that asks a person about the data of a command line with its config at `path`.

    It names no workdir: what a run finds is the same in every folder.
    """
    return _command("human", path, settings(argv, NEEDED))


def running(path: str, argv: Sequence[str], workdir: str | None) -> str:
    """The command that carries out the recipe on the config and the workdir of a command line."""
    more = [] if workdir is None else ["--workdir", workdir]
    return _command("run", path, [*settings(argv, ANY), *more])


def _command(what: str, path: str, words: Sequence[str]) -> str:
    return shlex.join(["python", "-m", f"experiments.{what}", "--config", path, *words])


def settings(argv: Sequence[str], wanted: re.Pattern[str]) -> list[str]:
    """Those settings on a command line, each in one word or in two, as they were given."""
    words = []
    for word, after in zip(argv, [*argv[1:], ""]):
        if wanted.match(word):
            alone = "=" in word or not after or after.startswith("-")
            words += [word] if alone else [word, after]
    return words


def _answer(row: Any) -> Answer:
    """A row as an answer; ValueError where it is none."""
    if not isinstance(row, dict) or set(row) != set(FIELDS):
        raise ValueError(f"it must hold {', '.join(FIELDS)}")
    words = ("fingerprint", "person", "example", "note")
    if not all(isinstance(row[name], str) for name in words):
        raise ValueError(f"{', '.join(words)} must be text")
    if type(row["place"]) is not int:
        raise ValueError("place must be a whole number")
    if not _is_number(row["spent_seconds"]):
        raise ValueError("spent_seconds must be a number")
    told = row["answer"]
    if isinstance(told, list) and all(map(_is_number, told)):
        told = tuple(map(float, told))
    elif not isinstance(told, str | None):
        raise ValueError("answer must be a text, a list of numbers, or null")
    return Answer(**{**row, "answer": told, "spent_seconds": float(row["spent_seconds"])})


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
