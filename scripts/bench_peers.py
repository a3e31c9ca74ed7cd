"""The work of bench_sweep.py in PyTorch: a plain loop, Optuna, or Ray Tune, as a JSON job says.

    python scripts/bench_peers.py '{"peer": "about"}'

It needs torch and numpy, for two of the jobs optuna or ray, and nothing of this package. A job has
peer: "about" (prints what is installed), "loop", "optuna" or "ray"; data: an .npz with inputs and
targets, held_inputs and held_targets; network, batch, rounds, steps, trials, cores, device. When
all is imported and warm it prints "ready" and waits for a line; then it works and prints
{"seconds", "lane_steps"}.

A trial trains the network with AdamW without decay, takes its batches from a fresh permutation
every epoch, keeps the loss of every step, and looks at loss and accuracy of as many training and
held out examples before the first step and after every round.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

RATES = (1e-4, 1e-2)


class LastState(torch.nn.Module):
    """A GRU layer's state after the last step: (batch, time, features) -> (batch, width)."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.layer = torch.nn.GRU(features, width, batch_first=True)

    def forward(self, x: Any) -> Any:
        """cuDNN's GRU: the reset gate acts after the recurrent product."""
        return self.layer(x)[1][0]


def mlp(shape: tuple[int, ...], classes: int, *, width: int) -> Any:
    """Two hidden layers of ReLUs on the flattened input."""
    nn = torch.nn
    hidden = (nn.Linear(int(np.prod(shape)), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, classes))


def cnn(shape: tuple[int, ...], classes: int, *, channels: list[int], dense: int) -> Any:
    """3 x 3 convolution, ReLU and 2 x 2 maximum for each of `channels`, then a dense layer;
    images are (colours, height, width)."""
    nn = torch.nn
    colours, height, width = shape
    layers: list[Any] = []
    for fan_in, fan_out in zip([colours, *channels], channels):
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    pixels = (height >> len(channels)) * (width >> len(channels)) * channels[-1]
    dense_layer = (nn.Flatten(), nn.Linear(pixels, dense), nn.ReLU())
    return nn.Sequential(*layers, *dense_layer, nn.Linear(dense, classes))


def gru(shape: tuple[int, ...], classes: int, *, width: int) -> Any:
    """One GRU layer over (time, features); the state after the last step gives logits."""
    return torch.nn.Sequential(LastState(shape[-1], width), torch.nn.Linear(width, classes))


NETWORKS = {"mlp": mlp, "cnn": cnn, "gru": gru}


def load(job: dict[str, Any]) -> dict[str, Any]:
    """The job's data as tensors on its device."""
    with np.load(job["data"]) as arrays:
        return to_tensors(dict(arrays), job["device"])


def to_tensors(arrays: dict[str, Any], device: str) -> dict[str, Any]:
    """The splits on a device; images have their colours first, as PyTorch's convolutions do."""
    # Ray's object store lends read-only memory, and from_numpy would warn of it.
    data = {name: torch.from_numpy(array.copy()).to(device) for name, array in arrays.items()}
    for name in ("inputs", "held_inputs"):
        if data[name].ndim == 4:
            data[name] = data[name].permute(0, 3, 1, 2).contiguous()
    for name in ("targets", "held_targets"):
        data[name] = data[name].long()
    return data


def train(job: dict[str, Any], data: dict[str, Any], rate: float) -> float:
    """One trial; the last accuracy on what was held out."""
    torch.manual_seed(0)
    options = dict(job["network"])
    classes = int(data["targets"].max()) + 1
    make = NETWORKS[options.pop("name")]
    model = make(tuple(data["inputs"].shape[1:]), classes, **options).to(job["device"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    inputs, targets, size = data["inputs"], data["targets"], job["batch"]
    losses, batches = [], iter(())
    accuracy = look(model, data)
    for _ in range(job["rounds"]):
        for _ in range(job["steps"]):
            rows = next(batches, None)
            if rows is None:
                order = torch.randperm(len(targets), device=job["device"])
                batches = iter(order[: len(order) // size * size].split(size))
                rows = next(batches)
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        accuracy = look(model, data)
    torch.stack(losses).cpu()
    return accuracy


def look(model: Any, data: dict[str, Any]) -> float:
    """Loss and accuracy of both splits; the accuracy on what was held out."""
    count, accuracy = len(data["held_targets"]), 0.0
    model.eval()
    with torch.no_grad():
        for kind in ("", "held_"):
            x, y = data[kind + "inputs"][:count], data[kind + "targets"][:count]
            logits = model(x)
            torch.nn.functional.cross_entropy(logits, y).item()
            accuracy = (logits.argmax(-1) == y).float().mean().item()
    model.train()
    return accuracy


def by_loop(job: dict[str, Any]) -> Callable[[], Any]:
    """One trial after another in this process, on one thread."""
    torch.set_num_threads(1)
    data = load(job)
    train({**job, "rounds": 1, "steps": 10}, data, RATES[0])
    return lambda: [train(job, data, RATES[0]) for _ in range(job["trials"])]


def by_optuna(job: dict[str, Any]) -> Callable[[], Any]:
    """A study over the rate as Optuna's PyTorch example has it: the default sampler, one trial
    after another, PyTorch's own number of threads. `n_jobs` would be threads of one interpreter."""
    import optuna  # pyright: ignore[reportMissingImports]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = load(job)
    train({**job, "rounds": 1, "steps": 10}, data, RATES[0])

    def objective(trial: Any) -> float:
        return train(job, data, trial.suggest_float("rate", *RATES, log=True))

    def work() -> None:
        optuna.create_study(direction="maximize").optimize(objective, n_trials=job["trials"])

    return work


def by_ray(job: dict[str, Any]) -> Callable[[], Any]:
    """Ray Tune's random search over the rate: a process and a core a trial, as many at once as
    there are cores. The data lies in Ray's object store."""
    import ray  # pyright: ignore[reportMissingImports]
    from ray import tune  # pyright: ignore[reportMissingImports]

    ray.init(num_cpus=job["cores"], include_dashboard=False, logging_level="ERROR")
    with np.load(job["data"]) as arrays:
        shared = dict(arrays)

    def trainable(config: dict[str, Any], arrays: dict[str, Any]) -> dict[str, float]:
        torch.set_num_threads(1)
        return {"accuracy": train(job, to_tensors(arrays, job["device"]), config["rate"])}

    share = {"cpu": 1} if job["device"] == "cpu" else {"cpu": 1, "gpu": 1 / job["cores"]}
    one = tune.with_resources(tune.with_parameters(trainable, arrays=shared), share)

    def work() -> None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            results = tune.Tuner(
                one,
                param_space={"rate": tune.loguniform(*RATES)},
                tune_config=tune.TuneConfig(
                    metric="accuracy", mode="max", num_samples=job["trials"]
                ),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            ).fit()
        if results.errors:
            raise results.errors[0]

    return work


PEERS = {"loop": by_loop, "optuna": by_optuna, "ray": by_ray}


def about() -> dict[str, Any]:
    """Versions, None for what is not installed, and whether PyTorch has a CUDA device."""
    found: dict[str, Any] = {"cuda": torch.cuda.is_available()}
    for name in ("torch", "optuna", "ray"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def main() -> None:
    """Does the job of the command line."""
    job = json.loads(sys.argv[1])
    if job["peer"] == "about":
        print(json.dumps(about()))
        return
    work = PEERS[job["peer"]](job)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    lane_steps = job["trials"] * job["rounds"] * job["steps"]
    print(json.dumps({"seconds": seconds, "lane_steps": lane_steps}), flush=True)


if __name__ == "__main__":
    main()
