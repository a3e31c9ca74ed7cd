"""Training on: which runs go on after their end, and to how many epochs.

How far a run went stands in its config, `train.extend`, one number each time, so that the config
alone still says what was trained; a command that does not name it means the run as it stands.
"""

import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from recipe_jax.recipe import extending
from recipe_jax.types import UserError


def refuse(what: str, config: Mapping[str, Any], epochs: int | None) -> None:
    """UserError where a command that leaves no last state is asked to train on."""
    if epochs is not None or config["train"]["extend"]:
        raise UserError(
            f"A {what} is not extended: it compares settings at one length. Give train.epochs "
            "another value in another --workdir, or train its best setting by experiments.train."
        )


def asked(
    workdir: pathlib.Path, config: Mapping[str, Any], epochs: int | None, *, overwrite: bool
) -> dict[str, Any]:
    """The config with what its workdir was extended to, and with `epochs` in all as one more, where
    they are asked for; UserError where they are no more than there are."""
    there = () if overwrite else _extended(workdir)
    train = dict(config["train"])
    train["extend"] = tuple(train["extend"]) or there or ()
    if epochs is not None:
        if there is None or overwrite:
            raise UserError(
                f"--extend={epochs} is for a finished run; there is none in {workdir}. Train one "
                f"without it, with --config.train.epochs={epochs} where it shall be that long."
            )
        length = (train["epochs"], *train["extend"])[-1]
        if epochs < length or (epochs == length and not train["extend"]):
            raise UserError(
                f"--extend takes the number of epochs in all; the run in {workdir} has {length}: "
                f"say more, such as --extend={2 * length}."
            )
        if epochs > length:
            train["extend"] = (*train["extend"], epochs)
    grown = (train["epochs"], *train["extend"])
    if any(after <= before for before, after in itertools.pairwise(grown)):
        raise UserError(
            f"config.train.extend={train['extend']} must grow, from more than the "
            f"{train['epochs']} of train.epochs on."
        )
    return {**config, "train": train}


def check(
    path: pathlib.Path, done: Sequence[int], wanted: Sequence[int], *, finished: bool
) -> None:
    """UserError where the run in a workdir cannot go on from `done` to `wanted`.

    done, wanted: values of `train.extend`; finished: it came to its end at `done`.
    """
    if [*wanted[: len(done)]] != [*done] or len(wanted) != len(done) + 1:
        raise UserError(
            f"The run in {path} was extended to {done}, not to {wanted}; go on with --extend, one "
            "step at a time."
        )
    if not finished:
        raise UserError(
            f"The run in {path} is not finished; finish it first: the same command without "
            "--extend."
        )
    found = _outlook(path)
    if found is None:
        raise UserError(
            f"There is nothing to extend in {path}: its run told of no final training, because a "
            "gate closed before."
        )
    if found["ended"]:
        raise UserError(
            f"The run in {path} cannot be extended: its schedule {found['ended']} came to its end "
            f"with it. Schedules that go on are {', '.join(found['go_on'])}; or train anew with "
            f"--config.train.epochs={wanted[-1]} in another --workdir."
        )
    states = set(found["status"])
    if states == {"diverged"}:
        raise UserError(
            f"The run in {path} diverged, which more training does not mend; lower the rate in "
            "another --workdir."
        )
    if states == {"stopped"}:
        raise UserError(
            f"The run in {path} stopped early, as train.patience asks: more epochs would change "
            "nothing. Give train.patience another value in another --workdir."
        )
    if wanted[-1] <= found["epochs"]:
        raise UserError(
            f"The run in {path} has {found['epochs']:g} epochs in whole rounds already; say more "
            f"than {wanted[-1]}."
        )


def _extended(workdir: pathlib.Path) -> tuple[int, ...] | None:
    """What the run in a workdir was extended to; None where there is no run. A file that cannot be
    read is named when the workdir is opened."""
    if not (workdir / "run.json").is_file():
        return None
    try:
        return tuple(json.loads((workdir / "config.json").read_text())["train"]["extend"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _outlook(path: pathlib.Path) -> Mapping[str, Any] | None:
    """What the run said of training on."""
    try:
        told = json.loads((path / "findings.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path / 'findings.json'} is damaged or missing; the same command without --extend "
            "writes it again."
        ) from error
    found = [each["evidence"] for each in told if each["check"] == extending.OUTLOOK]
    return found[-1] if found else None
