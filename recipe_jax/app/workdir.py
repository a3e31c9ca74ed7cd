"""The workdir: opened anew, gone on with, or refused; and the record of the run, run.json."""

import json
import pathlib
import re
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from recipe_jax import config as configs
from recipe_jax import writers
from recipe_jax.app import answers, extend
from recipe_jax.types import UserError

OURS = (
    "checkpoints",
    "config.json",
    "findings.json",
    "metrics.jsonl",
    "model",
    "only",
    "report.html",
    "report.json",
    "run.json",
    "study.log",
    "tensorboard",
    "trials.csv",
)
UNFINISHED = re.compile(r"\.(.+?)(\.\d+)?\.tmp")
RECORDED = (
    *("what", "data", "packages", "devices", "status", "exit_code", "test_openings", "stages"),
    "written",
)
ENDED = ("done", "gate closed")
SHOWN = 5
"""Settings that differ, of those that are many."""
# What decides the bits besides config and data: going on under another of these is refused.
BITWISE = ("jax", "jaxlib", "flax", "optax", "numpy")


class Workdir:
    """One run's folder. `record` is the content of run.json; `save` writes it."""

    def __init__(self, path: pathlib.Path, record: dict[str, Any], *, resumed: bool):
        self.path, self.record, self.resumed = path, record, resumed

    def save(self) -> None:
        """run.json as it stands."""
        writers.write_json(self.path / "run.json", self.record)

    def opened_test(self, stage: str, reason: str) -> None:
        """Writes down that the test split is opened, before it is; a replay is the same opening."""
        opening = {"stage": stage, "reason": reason}
        if opening not in self.record["test_openings"]:
            self.record["test_openings"].append(opening)
            self.save()


def open_workdir(
    path: pathlib.Path,
    *,
    config: Mapping[str, Any],
    record: dict[str, Any],
    overwrite: bool,
) -> Workdir:
    """The workdir for this config: new, or the one that an earlier run of the same left behind."""
    path = path.resolve()
    if path.exists() and not path.is_dir():
        raise UserError(f"--workdir {path} is a file; name a folder.")
    try:
        found = {p.name for p in path.iterdir()} if path.is_dir() else set()
        if found >= {"config.json", "run.json"}:
            if not overwrite:
                resumed = _resume(path, config, record)
                _remove(path, (name for name in found - {*OURS} if _ours(name)))
                for half_written in (path / "model").glob(".*.tmp"):
                    half_written.unlink()
                for half_written in path.glob("checkpoints/*/unfinished-*"):
                    shutil.rmtree(half_written)
                return resumed
        elif found:
            _refuse_foreign(path, found, config, overwrite=overwrite)
        record = {**record, "opened_before": _openings(path, record)}
        _remove(path, filter(_ours, found))
        path.mkdir(parents=True, exist_ok=True)
        writers.write_json(path / "config.json", configs.to_data(config))
        new = Workdir(path, record, resumed=False)
        new.save()
    except OSError as error:
        raise UserError(f"--workdir {path} cannot be used: {error.strerror}.") from error
    return new


def read_json(path: pathlib.Path) -> Any:
    """A JSON file of a workdir, or UserError that says what is wrong with it."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there: is {path.parent} the workdir of a run?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}.") from error


def _openings(path: pathlib.Path, record: Mapping[str, Any]) -> int:
    """How often runs on the same data that are overwritten now had opened the test split."""
    try:
        old = read_json(path / "run.json")
        if old["data"]["name"] != record["data"]["name"]:
            return 0
        return old.get("opened_before", 0) + len(old["test_openings"])
    except (UserError, KeyError, TypeError):
        return 0


def _ours(name: str) -> bool:
    """A run writes files of this name; a kill may leave one that it had not finished writing."""
    unfinished = UNFINISHED.fullmatch(name)
    return (unfinished[1] if unfinished else name) in OURS


def _remove(path: pathlib.Path, names: Iterable[str]) -> None:
    """Files and whole folders of a workdir; what a link points to stays."""
    for name in sorted(names):
        target = path / name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def _refuse_foreign(
    path: pathlib.Path, found: set[str], config: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Nothing that may be somebody's is removed: without a run.json, only what a run of this config
    leaves when it is killed before it wrote one, unless overwriting was asked for."""
    _refuse_files(path, found)
    whole = {name for name in found if name in OURS}
    begun = whole <= {"config.json"} and all(
        not configs.differences(read_json(path / name), configs.to_data(config)) for name in whole
    )
    if not (begun or overwrite):
        raise UserError(
            f"--workdir {path} holds {', '.join(sorted(whole))} and no record of a run; choose an "
            "empty or a new folder, or start anew with --overwrite."
        )


def place_for_answers(path: pathlib.Path, fingerprint: str) -> pathlib.Path:
    """The file for what people answer about the data of this fingerprint; its folder is made.

    It may lie in a workdir before its run, under it or after it; a run of other data is refused.
    """
    path = path.resolve()
    if path.exists() and not path.is_dir():
        raise UserError(f"--workdir {path} is a file; name a folder.")
    try:
        found = {p.name for p in path.iterdir()} if path.is_dir() else set()
        if "run.json" in found:
            data = read_json(path / "run.json").get("data", {})
            if data.get("fingerprint") != fingerprint:
                raise UserError(
                    f"--workdir {path} belongs to a run on other data; choose another --workdir."
                )
        else:
            _refuse_files(path, found)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir {path} cannot be used: {error.strerror}.") from error
    return path / answers.NAME


def _refuse_files(path: pathlib.Path, found: set[str]) -> None:
    # Answers are a person's work: a run reads them, and never removes them.
    foreign = sorted(name for name in found - {answers.NAME} if not _ours(name))
    if foreign:
        raise UserError(
            f"--workdir {path} holds files that are no run's ({', '.join(foreign[:3])}); choose an "
            "empty or a new folder."
        )


def _resume(path: pathlib.Path, config: Mapping[str, Any], record: dict[str, Any]) -> Workdir:
    stored, old = read_json(path / "config.json"), read_json(path / "run.json")
    for name, content, keys in (
        ("config.json", stored, ("seed", "recipe", "train")),
        ("run.json", old, RECORDED),
    ):
        if not isinstance(content, dict) or any(key not in content for key in keys):
            raise UserError(f"{path / name} is no run's; start anew with --overwrite.")
    given = configs.to_data(config)
    # What decides no bit of what was trained may be said afterwards: to go on after a closed gate
    # or after the end, when to save, and who is told.
    held = {**stored, "checkpoint": given["checkpoint"], "track": given["track"]}
    held["train"] = {**stored["train"], "extend": given["train"]["extend"]}
    if given["recipe"]["force"]:
        held["recipe"] = {**stored["recipe"], "force": True}
    changed = configs.differences(held, given)
    if changed:
        more = f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise UserError(
            f"--workdir {path} belongs to another config ({'; '.join(changed[:SHOWN])}{more}); "
            "choose another --workdir, or start anew with --overwrite."
        )
    if old["what"] != record["what"]:
        raise UserError(
            f"--workdir {path} was made by experiments.{old['what']}; choose another --workdir, or "
            "start anew with --overwrite."
        )
    if old["data"]["fingerprint"] != record["data"]["fingerprint"]:
        raise UserError(
            f"The data have changed since the run in {path} began; start anew with --overwrite."
        )
    if old.get("start", {}).get("fingerprint") != record.get("start", {}).get("fingerprint"):
        raise UserError(
            f"The weights that the run in {path} starts from have changed since it began; bring "
            "them back, or start anew with --overwrite."
        )
    other = [
        f"{name} {old['packages'].get(name)} -> {record['packages'][name]}"
        for name in BITWISE
        if old["packages"].get(name) != record["packages"][name]
    ]
    if old["devices"]["kind"] != record["devices"]["kind"]:
        other.append(f"device {old['devices']['kind']} -> {record['devices']['kind']}")
    if other:
        raise UserError(
            f"The run in {path} was begun under other versions ({', '.join(other)}), so its bits "
            "could not be continued; bring them back, or start anew with --overwrite."
        )
    extended, wanted = old.get("extended", []), given["train"]["extend"]
    done = stored["train"].get("extend", [])
    if wanted != done:
        finished = old["status"] in ENDED and extended == done
        extend.check(path, done, wanted, finished=finished)
    kept = {key: old[key] for key in ("status", "exit_code", "test_openings", "stages", "written")}
    kept["extended"] = extended
    # What was answered since a run began counts when it is told again, after its end.
    kept["answers"] = old.get("answers", [])
    kept["opened_before"] = old.get("opened_before", 0)
    ended = kept["status"] in ENDED
    if ended and record["answers"] and record["answers"] != kept["answers"]:
        kept |= {"status": "running", "answers": record["answers"]}
    if ended and extended != wanted:
        kept["status"] = "running"
    if given != stored:
        writers.write_json(path / "config.json", given)
    # Forced, no gate closes: this one did before force was said, if in a command killed since.
    if kept["status"] == "gate closed" and given["recipe"]["force"]:
        kept["status"] = "running"
    return Workdir(path, {**record, **kept}, resumed=True)
