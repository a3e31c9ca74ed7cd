"""A sweep's speed beside its alternatives: lane-steps per second, interleaved, compiled before.

    python scripts/bench_sweep.py [--peers] [--repeats 5] [--shapes cnn,gru] [--sides a,b,c]

One lane-step is one training step of one trial. The sides, of which every repeat runs each once:

a  by hand: shard_map over the devices, each maps over blocks of a vmap (by_hand.py); the fastest of
   several widths and, where there is a choice, of gradients: JAX's own, or this package's
b  this package: the lanes of a sweep, as its engine runs them
c  this package: one compiled run after another
d  by hand: a jitted step called from Python, one run
e  PyTorch: a training loop, one process a core and one thread each; all processes together
f  Optuna around that loop, one trial after another, its own overhead included
g  Ray Tune around that loop, one process a trial, its own overhead included

All train the same network with AdamW for the same rounds of 100 steps, and all look at loss and
accuracy of as many training and validation examples before the first step and after every round.
Programs are compiled, and processes started, warm and Ray initialised before the clock starts. The
peers are those of bench_peers.py in an environment of their own, which --peers makes. Where jax has
an accelerator, e to g use PyTorch on CUDA: e is one process then; without CUDA they are skipped.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple

import jax
import numpy as np
from bench_step import STEPS, mlp_config, of_package, seconds
from by_hand import (
    Network,
    Work,
    cnn,
    gru,
    mlp,
    num_devices,
    plain_conv,
    plain_gru,
    scanned,
    sharded,
    stepped,
)

from recipe_jax import assembly
from recipe_jax import config as configs
from recipe_jax.app import drive
from recipe_jax.data import base as data_base
from recipe_jax.data import idx
from recipe_jax.models import _conv, _recurrence
from recipe_jax.types import Task, num_params

PACKAGES = ("torch==2.13.0", "optuna", "ray[tune]", "numpy")
SIDES = {
    "a": "scan + shard_map by hand",
    "b": "this package",
    "c": "one run after another",
    "d": "jitted step from Python",
    "e": "PyTorch loop",
    "f": "Optuna",
    "g": "Ray Tune",
}
PEERS = {"e": "torch", "f": "optuna", "g": "ray"}
EXAMPLES, CLASSES = 5000, 10
TIMES, FEATURES = 64, 16
PLATEAU = (1, 8, 64, 512, 4096)
# AdamW reads and writes the weights and two moments, and reads the gradient: 7 float32 a parameter.
OPTIMIZER_BYTES = 7 * 4


class Shape(NamedTuple):
    """A network and batch to compare at.

    config: what this package is given; networks: the same by hand, by whose gradients; peer: the
    same for bench_peers.py; data: which task; rounds, lanes (of a and b on CPU) and trials (of c, f
    and g): what keeps a repeat under minutes; probe: steps of the runs by which a form by hand is
    chosen.
    """

    config: dict[str, Any]
    networks: dict[str, Network]
    peer: dict[str, Any]
    data: str
    rounds: int
    lanes: int
    trials: int
    probe: int


def mlp_shape(width: int, batch: int, rounds: int) -> Shape:
    """Digits of 8 x 8 pixels through two hidden layers."""
    return Shape(
        config=mlp_config(width, batch),
        networks={"": mlp(64, width, CLASSES)},
        peer={"name": "mlp", "width": width},
        data="digits",
        rounds=rounds,
        lanes=32,
        trials=32,
        probe=500,
    )


def cnn_shape() -> Shape:
    """Images of 28 x 28 pixels, the gradients of convolutions JAX's own or this package's."""
    rules = {"own gradients": _conv.conv, "": plain_conv}
    channels, dense = (32, 64), 128
    return Shape(
        config=completed({"name": "cnn", "channels": channels, "dense": dense}, batch=64),
        networks={
            name: cnn((28, 28, 1), channels, dense, CLASSES, conv) for name, conv in rules.items()
        },
        peer={"name": "cnn", "channels": channels, "dense": dense},
        data="images",
        rounds=1,
        lanes=8,
        trials=8,
        probe=20,
    )


def gru_shape() -> Shape:
    """Sequences of 64 steps, the gradients of the recurrence JAX's own or this package's."""
    rules = {"own gradients": _recurrence.gru, "": plain_gru}
    return Shape(
        config=completed({"name": "rnn", "cell": "gru", "width": 128}, batch=32),
        networks={name: gru(FEATURES, 128, CLASSES, rule) for name, rule in rules.items()},
        peer={"name": "gru", "width": 128},
        data="sequences",
        rounds=1,
        lanes=8,
        trials=8,
        probe=20,
    )


def completed(model: dict[str, Any], *, batch: int) -> dict[str, Any]:
    """The completed config of a model with AdamW."""
    optim = {"name": "adamw", "learning_rate": 1e-3}
    given = {"model": model, "train": {"batch_size": batch}, "optim": optim}
    return configs.as_dict(configs.complete(given))


def all_shapes() -> dict[str, Shape]:
    """Every shape by its name."""
    rounds = {32: 10, 128: 5, 512: 2}
    mlps = {
        f"mlp-{width}-{batch}": mlp_shape(width, batch, rounds[width])
        for width in rounds
        for batch in (16, 128)
    }
    return {**mlps, "cnn": cnn_shape(), "gru": gru_shape()}


def load_task(data: str, mnist: str | None) -> Task:
    """Digits, the idx files of a folder, or random numbers: the speed is the same for any."""
    if data == "digits":
        return drive.load_task(configs.as_dict(configs.complete({})))
    prepare = partial(data_base.prepare, validation=0.1, test=0.1)
    if data == "images" and mnist:
        return prepare(idx.build(path=mnist), max_examples=EXAMPLES)
    rng = np.random.default_rng(0)
    shape = (28, 28, 1) if data == "images" else (TIMES, FEATURES)
    source = data_base.from_arrays(
        f"random {data}",
        rng.normal(size=(EXAMPLES, *shape)).astype(np.float32),
        targets=rng.integers(CLASSES, size=EXAMPLES, dtype=np.int32),
        kind="classification",
        modality="image" if data == "images" else "sequence",
        class_names=tuple(map(str, range(CLASSES))),
        target_names=("label",),
    )
    return prepare(source)


# --- The sides ---------------------------------------------------------------------------------


class Side(NamedTuple):
    """program: does the work and gives the lane-steps per second; note: what of it was chosen."""

    program: Callable[[], float]
    note: str = ""


def timed(program: Callable[[], Any], lane_steps: int) -> Callable[[], float]:
    """The program as one that gives its lane-steps per second."""
    return lambda: lane_steps / seconds(program)


def side_a(shape: Shape, work: Work, task: Task, lanes: int) -> Side:
    """By hand, in the form that was fastest with one block a device: a map does block after block,
    so its lanes take as long whatever their number."""
    probe = Work(1, min(shape.probe, work.total()), work.batch)
    rates, best = {}, 0.0
    for name, network in shape.networks.items():
        for width in widths(lanes):
            few = num_devices(lanes) * width
            program = sharded(scanned(network, probe, task), width, few)
            jax.block_until_ready(program())
            rate = max(timed(program, few * probe.total())() for _ in range(3))
            rates[name, width] = rate
            # Past its best width a network only gets slower, and the worst forms take minutes.
            if rate < best / 1.2:
                break
            best = max(best, rate)
    name, width = max(rates, key=lambda form: rates[form])
    program = sharded(scanned(shape.networks[name], work, task), width, lanes)
    layout = f"vmap {width}" if width > 1 else "map"
    return Side(timed(program, lanes * work.total()), ", ".join(filter(None, (name, layout))))


def widths(lanes: int) -> list[int]:
    """The widths of a vmap that are tried: those that fill every device with whole blocks."""
    each = lanes // num_devices(lanes)
    return [width for width in (1, 4, 8, 16, 32, 64, 128) if each % width == 0]


def side_b(shape: Shape, work: Work, task: Task, lanes: int) -> Side:
    """This package's engine; the note is the width of its blocks."""
    program, block = of_package(shape.config, work.rounds, task, lanes=lanes, steps=work.steps)
    return Side(timed(program, lanes * work.total()), str(block))


def side_c(shape: Shape, work: Work, task: Task, trials: int) -> Side:
    """This package's program of a single run, once a trial."""
    program, _ = of_package(shape.config, work.rounds, task, lanes=1, steps=work.steps)
    return Side(timed(lambda: [program() for _ in range(trials)], trials * work.total()))


def side_d(shape: Shape, work: Work, task: Task) -> Side:
    """A jitted step called from Python; the faster gradients of those that there are."""
    rates = {}
    for name, network in shape.networks.items():
        program = stepped(network, work, task)
        jax.block_until_ready(program())
        rates[name] = timed(program, work.total())()
    best = max(rates, key=lambda name: rates[name])
    return Side(timed(stepped(shape.networks[best], work, task), work.total()), best)


class Peers(NamedTuple):
    """python: of the peers' environment; found: what bench_peers.py says of it; device: for
    PyTorch; missing: side -> why it is skipped."""

    python: pathlib.Path
    found: dict[str, Any]
    device: str
    missing: dict[str, str]


def find_peers(folder: pathlib.Path) -> Peers:
    """What is installed in the folder."""
    python = folder / "bin" / "python"
    device = "cpu" if on_cpu() else "cuda"
    try:
        found = json.loads(subprocess.check_output([*command(python), '{"peer": "about"}']))
    except (OSError, subprocess.CalledProcessError):
        reason = f"no PyTorch in {folder}; --peers installs the peers there"
        return Peers(python, {}, device, dict.fromkeys(PEERS, reason))
    if device == "cuda" and not found["cuda"]:
        reason = f"jax has {jax.devices()[0].device_kind} and PyTorch has no CUDA"
        return Peers(python, found, device, dict.fromkeys(PEERS, reason))
    reason = f"not installed in {folder}; --peers installs it there"
    return Peers(python, found, device, {s: reason for s, n in PEERS.items() if not found[n]})


def install_peers(folder: pathlib.Path) -> None:
    """Makes the peers' environment."""
    venv.create(folder, with_pip=True, symlinks=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *PACKAGES], check=True)


def command(python: pathlib.Path) -> list[str]:
    """What starts bench_peers.py."""
    return [str(python), str(pathlib.Path(__file__).with_name("bench_peers.py"))]


def side_of_peer(peer: str, peers: Peers, job: dict[str, Any], processes: int) -> Side:
    """A peer in so many processes at once; the rate is that of all together."""
    line = json.dumps({**job, "peer": peer, "device": peers.device})

    def program() -> float:
        with contextlib.ExitStack() as stack:
            running = [
                stack.enter_context(started([*command(peers.python), line]))
                for _ in range(processes)
            ]
            for process in running:
                answer(process, "ready")
            for process in running:
                print("go", file=process.stdin, flush=True)
            done = [json.loads(answer(process, "{")) for process in running]
        return sum(each["lane_steps"] / each["seconds"] for each in done)

    return Side(program)


def started(arguments: list[str]) -> subprocess.Popen[str]:
    """A process to talk to."""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True, env=environment)


def answer(process: subprocess.Popen[str], start: str) -> str:
    """The process's next line that begins so; libraries print lines of their own."""
    for line in process.stdout or ():
        if line.startswith(start):
            return line
    raise RuntimeError("bench_peers.py ended without an answer; its own message is above.")


# --- Measuring ---------------------------------------------------------------------------------


class Measured(NamedTuple):
    """lanes: of a and b; rates: side -> lane-steps per second of every repeat; notes: side -> what
    was chosen; compile_seconds: side -> what its first run took longer than its later ones."""

    lanes: int
    rates: dict[str, list[float]]
    notes: dict[str, str]
    compile_seconds: dict[str, float]


def measure(sides: Mapping[str, Side], repeats: int, *, lanes: int) -> Measured:
    """Every side once a repeat, in turn."""
    programs = {name: side.program for name, side in sides.items()}
    # Processes of peers start anew each time and warm up themselves.
    first = {name: seconds(programs[name]) for name in programs if name not in PEERS}
    rates, spent = {name: [] for name in programs}, {name: [] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            began = time.perf_counter()
            rates[name].append(program())
            spent[name].append(time.perf_counter() - began)
    compiling = {name: first[name] - statistics.median(spent[name]) for name in first}
    return Measured(lanes, rates, {name: side.note for name, side in sides.items()}, compiling)


def make_sides(
    name: str, task: Task, given: argparse.Namespace, peers: Peers, folder: str
) -> dict[str, Side]:
    """The sides that were asked for and are there; the data of peers goes into the folder."""
    shape, work = all_shapes()[name], work_of(name, given)
    lanes, trials = lanes_of(shape, given), 2 if given.quick else shape.trials
    data = save(task, pathlib.Path(folder) / f"{shape.data}.npz")
    cores = os.cpu_count() or 1
    job = {"network": shape.peer, "data": str(data), "cores": cores, **work._asdict()}
    alone = {**job, "trials": 1}
    several = {**job, "trials": trials}
    makers: dict[str, Callable[[], Side]] = {
        "a": partial(side_a, shape, work, task, lanes),
        "b": partial(side_b, shape, work, task, lanes),
        "c": partial(side_c, shape, work, task, trials),
        "d": partial(side_d, shape, work, task),
        "e": partial(side_of_peer, "loop", peers, alone, cores if peers.device == "cpu" else 1),
        "f": partial(side_of_peer, "optuna", peers, several, 1),
        "g": partial(side_of_peer, "ray", peers, several, 1),
    }
    return {side: makers[side]() for side in given.sides if side not in peers.missing}


def save(task: Task, file: pathlib.Path) -> pathlib.Path:
    """The task's training and validation splits, for bench_peers.py."""
    held = task.validation
    np.savez(
        file,
        inputs=task.train.inputs,
        targets=task.train.targets,
        held_inputs=held.inputs,
        held_targets=held.targets,
    )
    return file


def lanes_of(shape: Shape, given: argparse.Namespace) -> int:
    """The lanes of a and b. On CPU those of a large network go one after another: few will do."""
    return given.lanes or (4 if given.quick else shape.lanes if on_cpu() else 512)


def on_cpu() -> bool:
    """Whether jax has no accelerator."""
    return jax.default_backend() == "cpu"


def work_of(name: str, given: argparse.Namespace) -> Work:
    """What a run of this shape does under the options."""
    shape = all_shapes()[name]
    rounds = given.rounds or (1 if given.quick else shape.rounds)
    return Work(rounds, 10 if given.quick else STEPS, shape.config["train"]["batch_size"])


# --- Telling -----------------------------------------------------------------------------------


def spread(values: list[float]) -> str:
    """Median [lower quartile, upper quartile]."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{number(middle)} [{number(low)}, {number(high)}]"


def number(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def header(sides: str) -> str:
    """The first two lines of the table."""
    others = [f"b / {side}: {SIDES[side]}" for side in sides if side != "b"]
    columns = ["shape", "lanes", "b: lane-steps/s", "block", "compile, s", *others]
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def row(name: str, measured: Measured, sides: str) -> str:
    """A shape's line: ratios of runs of one repeat."""
    ours = measured.rates["b"]
    compiling = number(measured.compile_seconds["b"])
    cells = [name, str(measured.lanes), spread(ours), measured.notes["b"], compiling]
    for side in sides.replace("b", ""):
        if side not in measured.rates:
            cells.append("skipped")
            continue
        note = measured.notes[side]
        ratios = [b / other for b, other in zip(ours, measured.rates[side])]
        cells.append(spread(ratios) + (f" ({note})" if note else ""))
    return f"| {' | '.join(cells)} |"


def circumstances(given: argparse.Namespace, peers: Peers) -> dict[str, str]:
    """When, where and with what these figures were measured."""
    known = ("jax", "jaxlib", "flax", "optax", "numpy")
    versions = {"python": platform.python_version()} | {n: metadata.version(n) for n in known}
    versions |= {n: peers.found[n] for n in PEERS.values() if peers.found.get(n)}
    device = jax.devices()[0].device_kind
    return {
        "date": datetime.date.today().isoformat(),
        "device": f"{len(jax.devices())} x {device}, {os.cpu_count()} cores",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "command": shlex.join(["python", *sys.argv]),
    }


def plateau(name: str, shape: Shape, task: Task, work: Work, bandwidth: float | None) -> None:
    """Prints this package's speed by the number of lanes, and its share of the rate at which the
    optimiser alone would fill the memory's bandwidth (GB/s)."""
    model, *_ = assembly.of_config(shape.config, task.spec)
    params = num_params(jax.eval_shape(model.init, jax.random.key(0))[0])
    print(f"\n{name}, {params:,} parameters\n")
    print("| lanes | block | lane-steps/s | share of roofline |\n|---|---|---|---|")
    for lanes in PLATEAU:
        side = side_b(shape, work, task, lanes)
        side.program()
        rates = [side.program() for _ in range(3)]
        share = "-"
        if bandwidth:
            roof = bandwidth * 1e9 / (OPTIMIZER_BYTES * params)
            share = f"{statistics.median(rates) / roof:.1%}"
        print(f"| {lanes} | {side.note} | {spread(rates)} | {share} |", flush=True)


def parse() -> argparse.Namespace:
    """The options, with what they leave open filled in."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--repeats", type=int, help="2 or more; 5, or 2 with --quick")
    options.add_argument("--shapes", default=",".join(all_shapes()))
    options.add_argument("--sides", default=",".join(SIDES), help="b is always one of them")
    options.add_argument("--lanes", type=int, help="of a and b; 32 (cnn, gru: 8) on CPU, else 512")
    options.add_argument("--rounds", type=int, help="of every run; by default the shape's own")
    options.add_argument("--quick", action="store_true", help="few steps: does it work?")
    options.add_argument("--mnist", help="the folder of the idx files; without it, random images")
    options.add_argument("--json", type=pathlib.Path, help="a file for all measurements")
    options.add_argument("--peers", action="store_true", help="install PyTorch, Optuna and Ray")
    folder = pathlib.Path.home() / ".cache" / "recipe_jax" / "bench-peers"
    options.add_argument("--peers-folder", type=pathlib.Path, default=folder)
    options.add_argument("--plateau", action="store_true", help="also b at 1 to 4096 lanes")
    options.add_argument("--bandwidth", type=float, help="GB/s of the device's memory")
    given = options.parse_args()
    given.shapes = given.shapes.split(",")
    given.sides = "".join(sorted({"b", *given.sides.split(",")}))
    for asked, known in ((given.shapes, all_shapes()), (given.sides, SIDES)):
        for name in asked:
            if name not in known:
                options.error(f"{name} is none of {', '.join(known)}")
    given.repeats = given.repeats or (2 if given.quick else 5)
    if given.repeats < 2:
        options.error("--repeats must be 2 or more: quartiles are told")
    return given


def main() -> None:
    """Prints the table, a line as soon as it is measured."""
    jax.config.update("jax_num_cpu_devices", max(2, os.cpu_count() or 2))
    given = parse()
    if given.peers:
        install_peers(given.peers_folder)
    peers = find_peers(given.peers_folder)
    for side in given.sides:
        if side in peers.missing:
            print(f"{side}, {SIDES[side]}, is skipped: {peers.missing[side]}")
    tasks = {}
    everything: dict[str, Any] = circumstances(given, peers) | {"shapes": {}}
    print(header(given.sides), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in given.shapes:
            data = all_shapes()[name].data
            if data not in tasks:
                tasks[data] = load_task(data, given.mnist)
            sides = make_sides(name, tasks[data], given, peers, folder)
            measured = measure(sides, given.repeats, lanes=lanes_of(all_shapes()[name], given))
            everything["shapes"][name] = measured._asdict()
            print(row(name, measured, given.sides), flush=True)
    print()
    for name, task in tasks.items():
        print(f"The {name} are {task.name}; the speed is the same for any values.")
    print(", ".join(f"{key}: {value}" for key, value in everything.items() if key != "shapes"))
    if given.json:
        given.json.write_text(json.dumps(everything, indent=1))
    if given.plateau:
        for name in given.shapes:
            shape = all_shapes()[name]
            plateau(name, shape, tasks[shape.data], work_of(name, given), given.bandwidth)


if __name__ == "__main__":
    main()
