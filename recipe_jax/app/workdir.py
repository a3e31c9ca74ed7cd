"""The workdir: opened anew, gone on with, or refused; and the record of the run, run.json."""

import json
import pathlib
import re
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from recipe_jax import config as configs
from recipe_jax import writers
from recipe_jax.app import answers, extend, lock
from recipe_jax.types import ENDED, UserError

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
RECORDED = {
    "what": str,
    "data": dict,
    "packages": dict,
    "devices": dict,
    "status": str,
    "test_openings": list,
    "stages": list,
    "written": list,
}
"""What run.json holds in any case, beside an exit code."""
SHOWN = 5
"""Settings that differ, of those that are many."""
# Packages that decide the bits, besides config and data.
BITWISE = ("jax", "jaxlib", "flax", "optax", "numpy")
# How many devices share the lanes decides no bit, and this flag says no more than that.
COUNTED = "--xla_force_host_platform_device_count"


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
    allow_nonbitwise: bool = False,
) -> Workdir:
    """The workdir for this config: new, or the one that an earlier run of the same left behind; its
    caller holds the lock. allow_nonbitwise: also where its bits cannot be continued."""
    path = path.resolve()
    if path.exists() and not path.is_dir():
        raise UserError(f"--workdir {path} is a file; name a folder.")
    try:
        found = {p.name for p in path.iterdir()} if path.is_dir() else set()
        # Whoever opens a workdir holds it.
        found -= {lock.NAME}
        if found >= {"config.json", "run.json"}:
            if not overwrite:
                resumed = _resume(path, config, record, allow_nonbitwise=allow_nonbitwise)
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
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())}.") from error


def _openings(path: pathlib.Path, record: Mapping[str, Any]) -> int:
    """How often runs on the same data that are overwritten now had opened the test split."""
    try:
        old = read_json(path / "run.json")
        if old["data"]["name"] != record["data"]["name"]:
            return 0
        return old.get("opened_before", 0) + len(old["test_openings"])
    except (UserError, KeyError, TypeError, AttributeError):
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
    foreign = sorted(name for name in found - {answers.NAME, lock.NAME} if not _ours(name))
    if foreign:
        raise UserError(
            f"--workdir {path} holds files that are no run's ({', '.join(foreign[:3])}); choose an "
            "empty or a new folder."
        )


def _resume(
    path: pathlib.Path,
    config: Mapping[str, Any],
    record: dict[str, Any],
    *,
    allow_nonbitwise: bool,
) -> Workdir:
    stored, old = read_json(path / "config.json"), read_json(path / "run.json")
    _check_record(path / "run.json", old)
    stored = _stored_config(path / "config.json", stored)
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
    if old["data"].get("fingerprint") != record["data"]["fingerprint"]:
        raise UserError(
            f"The data have changed since the run in {path} began; start anew with --overwrite."
        )
    if old.get("start", {}).get("fingerprint") != record.get("start", {}).get("fingerprint"):
        raise UserError(
            f"The weights that the run in {path} starts from have changed since it began; bring "
            "them back, or start anew with --overwrite."
        )
    other = _other_bits(old, record)
    if other and not allow_nonbitwise:
        raise UserError(
            f"The run in {path} was begun with other code or versions ({'; '.join(other)}), so its "
            "bits could not be continued; bring them back, start anew with --overwrite, or go on "
            "all the same with --allow-nonbitwise, which the report will say."
        )
    extended, wanted = old.get("extended", []), given["train"]["extend"]
    done = stored["train"].get("extend", [])
    if wanted != done:
        finished = old["status"] in ENDED and extended == done
        extend.check(path, done, wanted, finished=finished)
    kept = {key: old[key] for key in ("status", "exit_code", "test_openings", "stages", "written")}
    names = [stage["name"] for stage in record["stages"]]
    if [stage["name"] for stage in kept["stages"]] != names:
        kept["stages"] = record["stages"]
    kept["extended"] = extended
    # What was answered since a run began counts when it is told again, after its end.
    kept["answers"] = old.get("answers", [])
    kept["opened_before"] = old.get("opened_before", 0)
    kept["nonbitwise"] = old.get("nonbitwise", []) + ([other] if other else [])
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


def _check_record(path: pathlib.Path, old: Any) -> None:
    """UserError where run.json is not what a run writes."""
    whole = isinstance(old, dict) and "exit_code" in old
    whole = whole and all(isinstance(old.get(name), kind) for name, kind in RECORDED.items())
    # What an older release did not write may be missing, and is a list of lists where it is there.
    for name in ("nonbitwise", "answers", "extended"):
        whole = whole and isinstance(old.get(name, []), list)
    for name in ("numerics", "plugins", "start"):
        whole = whole and isinstance(old.get(name, {}), dict)
    whole = whole and all(isinstance(each, dict) and "name" in each for each in old["stages"])
    if not whole or not all(isinstance(old.get(name, ""), str) for name in ("xla_flags", "code")):
        raise UserError(f"{path} is no run's; start anew with --overwrite.")


def _stored_config(path: pathlib.Path, stored: Any) -> dict[str, Any]:
    """config.json with every setting that has come since at its default; UserError where it is no
    config of this package."""
    try:
        if not isinstance(stored, dict) or not {"seed", "recipe", "train"} <= stored.keys():
            raise UserError("it lacks sections.")
        return configs.to_data(configs.as_dict(configs.complete(stored)))
    except UserError as error:
        raise UserError(
            f"{path} is no run's ({str(error).rstrip('.')}); start anew with --overwrite."
        ) from error


def _other_bits(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What decides the bits and differs between two records, in words; what an older release did
    not record is not compared."""
    before, now = _bits(old), _bits(new)
    shared = [name for name in now if name in before and before[name] != now[name]]
    told = [f"{name} {before[name] or 'none'} -> {now[name] or 'none'}" for name in shared]
    if "plugins" in old:
        there, here = old["plugins"], new["plugins"]
        told += [f"the code of {name}" for name in here if there.get(name) != here[name]]
    if old.get("code", new["code"]) != new["code"]:
        told.append("the code of recipe_jax")
    return told


def _bits(record: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bits besides config, data and code, by name, in short words."""
    packages, devices = record["packages"], record["devices"]
    found = {name: packages.get(name) for name in BITWISE}
    found["device"] = devices.get("kind")
    if isinstance(devices.get("count"), int):
        # Several lanes on one device are compiled by another pipeline than on two or more.
        found["devices"] = "one" if devices["count"] == 1 else "several"
    if devices.get("platform") == "cpu" and "vectors" in devices:
        found["processor"] = devices["vectors"]
    if "xla_flags" in record:
        flags = record["xla_flags"].split()
        found["XLA_FLAGS"] = " ".join(
            sorted(each for each in flags if not each.startswith(COUNTED))
        )
    return found | record.get("numerics", {})
