"""Breaks runs at random, for as long as it is let, and holds them against runs left alone.

    python scripts/soak.py [--minutes 10] [--seed 0] [--parts kills,saves,flips,fuzz] [--out DIR]

kills   a random config (model, optimiser, search, pruning, folds; train, sweep or run), once left
        alone and once stopped by SIGKILL and SIGTERM at random moments and while it saves, a bit of
        a checkpoint flipped now and then in between; what the two leave behind has the same bits
saves   a process that does nothing but save is killed; what is read back is what was written
flips   one bit of every file of a checkpoint, at random places: named, and the one before is used
fuzz    files that nobody meant to write (tests/fuzzing.py), 200 of a reader in turn

Without --minutes it goes on until Ctrl-C. It prints the counts of each round and of all; exit code
1 where anything was not as promised, and the folder of it is kept. The same seed draws the same
configs, kills and files, but a moment falls where the machine is then.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from recipe_jax import checkpoint  # noqa: E402
from recipe_jax.checkpoint import Checkpoints  # noqa: E402

COMPARED = ("metrics.jsonl", "findings.json", "trials.csv", "model/model.json")
ENDED = (0, 1)
# Before a process listens, SIGTERM ends it in its own way.
STOPPED = (-signal.SIGKILL, -signal.SIGTERM, 130, 143)
MOST_SECONDS = 600
"""A process that takes longer hangs."""
SAVER = """
import pathlib, sys
from scripts import soak
store = soak.Checkpoints(pathlib.Path(sys.argv[1]))
for step in range(int(sys.argv[2]), 10**9):
    store.save(step, soak.tree(step), {"step": step})
    print(step, flush=True)
"""


class Broken(Exception):
    """Something was not as promised; says what, and in which folder."""


class Drawn(NamedTuple):
    """A command and its config."""

    what: str
    config: dict[str, Any]


def draw_run(draw: random.Random) -> Drawn:
    """A tiny run, each of its kinds as likely as the others."""
    what = draw.choice(("train", "train", "sweep", "sweep", "run"))
    long = what == "train"
    model = draw.choice(
        ({"name": "linear"}, {"name": "mlp", "width": 8, "depth": 1, "dropout": 0.1})
    )
    optim = {"name": draw.choice(("adamw", "sgd", "lion", "rmsprop")), "learning_rate": 0.01}
    config: dict[str, Any] = {
        "seed": draw.randrange(1000),
        "data": {"name": draw.choice(("iris", "wine"))},
        "model": model,
        "optim": optim,
        "schedule": {"name": draw.choice(("constant", "cosine", "plateau"))},
        "train": {
            "batch_size": 16,
            "epochs": 2000 if long else 18,
            "evaluations": 40 if long else 9,
        },
        "checkpoint": {"every_seconds": draw.choice((0.0, 0.0, 0.5))},
        "search": {"name": draw.choice(("random", "sobol", "optuna")), "trials": 9},
        "sweep": {"seeds": draw.choice((1, 2)), "folds": draw.choice((0, 3))},
        "prune": {"name": draw.choice(("none", "halving", "hyperband", "population"))},
        "recipe": {"budget": "small", "force": True},
    }
    return Drawn(what, config)


# --- Kills ------------------------------------------------------------------------------------


def begin(drawn: Drawn, workdir: pathlib.Path) -> subprocess.Popen[str]:
    """The command as a user gives it. Compiled programs are kept beside the workdirs."""
    config = workdir.with_name("config.json")
    config.write_text(json.dumps(drawn.config))
    command = ["--config", str(config), "--workdir", str(workdir)]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(workdir.with_name("programs"))}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{drawn.what}", *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], codes: tuple[int, ...]) -> int:
    """Its exit code, one of these."""
    try:
        _, errors = process.communicate(timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise Broken(f"it hangs: no end after {MOST_SECONDS} s") from error
    if process.returncode not in codes:
        raise Broken(f"exit code {process.returncode}: {errors[-2000:]}")
    return process.returncode


def wait_for_save(process: subprocess.Popen[str], workdir: pathlib.Path, seconds: float) -> None:
    """Returns while a checkpoint is being written, at the latest after so many seconds."""
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        if any(workdir.glob("checkpoints/*/unfinished-*")):
            return
        time.sleep(0.001)


def flip_somewhere(folder: pathlib.Path, draw: random.Random) -> bool:
    """Flips one bit of one file under a folder; whether there was any."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    if not files:
        return False
    flip(draw.choice(files), draw)
    return True


def flip(path: pathlib.Path, draw: random.Random) -> None:
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def differences(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """What two workdirs should have in common and do not."""
    found = []
    for name in COMPARED:
        left, right = ((each / name) for each in (one, other))
        if left.exists() != right.exists():
            found.append(f"{name} is there once")
        elif left.exists() and left.read_bytes() != right.read_bytes():
            found.append(f"{name} differs")
    if (one / "model/weights.npz").exists():
        with (
            np.load(one / "model/weights.npz") as left,
            np.load(other / "model/weights.npz") as right,
        ):
            for name in sorted({*left.files, *right.files}):
                if name not in left or name not in right:
                    found.append(f"weights {name} are there once")
                elif left[name].tobytes() != right[name].tobytes():
                    found.append(f"weights {name} differ")
    records = [json.loads((each / "run.json").read_text()) for each in (one, other)]
    for name in ("status", "exit_code", "written", "widths", "test_openings", "nonbitwise"):
        if records[0][name] != records[1][name]:
            found.append(f"{name} of run.json: {records[0][name]} and {records[1][name]}")
    left_over = [p for p in other.rglob("*") if "unfinished-" in p.name or p.suffix == ".tmp"]
    found += [f"{path} is left over" for path in [*left_over, *other.glob("run.lock")]]
    return found


def kills(draw: random.Random, folder: pathlib.Path) -> Counter[str]:
    """One config: left alone, and stopped several times."""
    drawn, counts = draw_run(draw), Counter[str]()
    began = time.monotonic()
    code = finish(begin(drawn, folder / "alone"), ENDED)
    seconds = time.monotonic() - began
    workdir = folder / "stopped"
    for _ in range(draw.randint(3, 8)):
        process, way = begin(drawn, workdir), draw.choice(("kill", "kill", "save", "term"))
        saving = False
        # Programs are compiled by now, so it is sooner at its end than the run left alone.
        time.sleep(seconds * draw.uniform(0.05, 0.5))
        if way == "save":
            wait_for_save(process, workdir, seconds)
            time.sleep(draw.uniform(0.0, 0.02))
            saving = any(workdir.glob("checkpoints/*/unfinished-*"))
        if process.poll() is None:
            process.send_signal(signal.SIGTERM if way == "term" else signal.SIGKILL)
        ended = finish(process, (code, *STOPPED))
        if ended in STOPPED:
            named = {"kill": "SIGKILL", "term": "SIGTERM"}
            counts["SIGKILL in a save" if saving else named.get(way, "SIGKILL")] += 1
            if draw.random() < 0.2 and flip_somewhere(workdir / "checkpoints", draw):
                counts["bits flipped under a stopped run"] += 1
        else:
            break
    finish(begin(drawn, workdir), (code,))
    wrong = differences(folder / "alone", workdir)
    if wrong:
        raise Broken(f"experiments.{drawn.what}: {'; '.join(wrong)}")
    counts[f"configs of {drawn.what}"] += 1
    return counts


# --- Saves ------------------------------------------------------------------------------------


def tree(step: int) -> dict[str, Any]:
    """What is saved at a step, five arrays: some 300 kB, which are one file, or 1.3 MB by orbax."""
    draw, size = np.random.default_rng(step), (16, 1000 if step % 2 else 5000)
    arrays = {f"layer{i}": draw.normal(size=size).astype(np.float32) for i in range(4)}
    return {"states": arrays, "step": np.int32(step)}


def whole(found: checkpoint.Restored | None) -> bool:
    """Whether what was read back is what was written at its step."""
    if found is None:
        return False
    wanted = checkpoint.flatten(tree(found.step))
    return wanted.keys() == found.arrays.keys() and all(
        value.tobytes() == found.arrays[name].tobytes() for name, value in wanted.items()
    )


def saves(draw: random.Random, folder: pathlib.Path) -> Counter[str]:
    """Ten kills of a process that saves without a pause."""
    last = 0
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(folder / "store"), str(last + 1)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(draw.randint(1, 3)):
            last = int(process.stdout.readline())
        time.sleep(draw.uniform(0.0, 0.1))
        process.kill()
        said, _ = process.communicate()
        last = max([last, *map(int, said.split("\n")[:-1])])
        store = Checkpoints(folder / "store")
        found = store.restore()
        if not whole(found) or store.damage:
            raise Broken(f"after a kill in a save: {store.damage or 'other bits'}")
        assert found is not None
        if found.step < last:
            raise Broken(f"step {last} was saved, step {found.step} was read back")
        last = found.step
    return Counter({"kills of a process that only saves": 10})


# --- Flips ------------------------------------------------------------------------------------


def flips(draw: random.Random, folder: pathlib.Path) -> Counter[str]:
    """One bit in every file of the newer of two checkpoints, one after the other."""
    store, first = Checkpoints(folder / "store"), draw.randint(1, 2)
    for step in (first, first + 1):
        store.save(step, tree(step), {"step": step})
    count, newer = 0, store.directory / str(first + 1)
    for path in sorted(newer.rglob("*")):
        if not path.is_file() or not path.stat().st_size:
            continue
        content = path.read_bytes()
        for _ in range(3):
            flip(path, draw)
            again = Checkpoints(store.directory)
            found = again.restore()
            if found is None or found.step != first or not whole(found):
                raise Broken(f"one bit of {path} was flipped, and it was not noticed")
            named = str(path.relative_to(newer))
            if len(again.damage) != 1 or named not in again.damage[0]:
                raise Broken(f"one bit of {path} was flipped, and it was not named: {again.damage}")
            path.write_bytes(content)
            count += 1
    return Counter({"bits flipped in checkpoints": count})


# --- Odd files --------------------------------------------------------------------------------


def fuzz(draw: random.Random, folder: pathlib.Path) -> Counter[str]:
    """Files for every reader in turn."""
    import fuzzing  # pyright: ignore[reportMissingImports]
    from hypothesis import HealthCheck, given, seed, settings

    counts = Counter[str]()
    never: list[Any] = [*HealthCheck]
    usual = settings(max_examples=200, deadline=None, database=None, suppress_health_check=never)

    def ask(reader: Any) -> None:
        @seed(draw.randrange(2**32))
        @usual
        @given(reader.files)
        def one(content: bytes) -> None:
            counts[f"odd files {fuzzing.outcome(reader, content, folder)}"] += 1

        one()

    for reader in fuzzing.READERS:
        try:
            ask(reader)
        except Exception as error:
            words = " ".join(["", *getattr(error, "__notes__", ())])
            raise Broken(f"{reader.name}: {type(error).__name__}: {error}{words}") from error
    return counts


PARTS: dict[str, Callable[[random.Random, pathlib.Path], Counter[str]]] = {
    "kills": kills,
    "saves": saves,
    "flips": flips,
    "fuzz": fuzz,
}


def rounds(minutes: float | None) -> Iterator[int]:
    """Numbers of rounds until the time is over."""
    until = None if minutes is None else time.monotonic() + 60 * minutes
    number = 0
    while until is None or time.monotonic() < until:
        yield number
        number += 1


def soak(
    parts: list[str], *, minutes: float | None, seed: int, out: pathlib.Path
) -> tuple[Counter[str], list[str]]:
    """(counts, what was not as promised)."""
    counts, wrong = Counter[str](), []
    with_time = rounds(minutes)
    try:
        for number in with_time:
            part = parts[number % len(parts)]
            draw = random.Random(f"{seed} {number}")
            folder = out / f"{number}-{part}"
            folder.mkdir(parents=True)
            try:
                found = PARTS[part](draw, folder)
                counts += found
                told = ", ".join(f"{name} {count:,}" for name, count in found.items())
                print(f"{folder.name}: {told}", flush=True)
            except Broken as error:
                wrong.append(f"{folder}: {error}")
                print(f"NOT AS PROMISED {wrong[-1]}", flush=True)
            else:
                shutil.rmtree(folder)
    except KeyboardInterrupt:
        pass
    return counts, wrong


def main() -> int:
    """Soaks, prints the counts; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--out", type=pathlib.Path)
    given = parser.parse_args()
    parts = given.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    out = given.out or pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
    counts, wrong = soak(parts, minutes=given.minutes, seed=given.seed, out=out)
    width = max(map(len, counts), default=0)
    for name, count in sorted(counts.items()):
        print(f"{name:<{width}}  {count:>9,}")
    print(f"{'not as promised':<{width}}  {len(wrong):>9,}")
    if not wrong and given.out is None:
        shutil.rmtree(out)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
