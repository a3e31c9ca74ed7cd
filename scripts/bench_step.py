"""How much of a hand-written program's speed this package keeps: ratios, interleaved, one process.

    python scripts/bench_step.py [--repeats 15] [--rounds 20]

run: one training run, against a jitted lax.scan written by hand for one device.
sweep: 32 lanes with rates of their own, against a hand-written scan + vmap + shard_map.
Both sides train the same network with Adam for `rounds` rounds of 100 steps, draw a fresh order
every epoch, keep the loss of every step, and look at loss and accuracy of as many training and
validation examples before the first step and after each round; this package does it the way
`experiments.train` does, call by call, with the best weights kept. The programs by hand are one
compiled call (by_hand.py). A ratio above 1: this package does more steps per second.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from by_hand import Work, mlp, scanned, sharded

from recipe_jax import assembly
from recipe_jax import config as configs
from recipe_jax.app import drive
from recipe_jax.sweep import plan, population
from recipe_jax.train.evaluate import cut
from recipe_jax.train.fit import Data, fit, make_round, make_start, repeated
from recipe_jax.types import Arrays, Task, Trial

SHAPES = ((32, 16), (32, 128), (128, 32), (128, 128))
LANES = 32
STEPS = 100


def mlp_config(width: int, batch: int) -> dict[str, Any]:
    """The completed config of what is also written by hand."""
    given = {
        "model": {"name": "mlp", "width": width, "depth": 2},
        "train": {"batch_size": batch},
        "optim": {"name": "adamw", "learning_rate": 1e-3},
    }
    return configs.as_dict(configs.complete(given))


def cost_of(config: dict[str, Any], task: Task) -> plan.Cost:
    """What a forward pass on a batch costs."""
    model = assembly.of_config(config, task.spec).model
    shape = (config["train"]["batch_size"], *task.spec.input_shape)
    return plan.model_cost(model, jax.ShapeDtypeStruct(shape, task.spec.input_dtype))


def of_package(
    config: dict[str, Any], rounds: int, task: Task, *, lanes: int, steps: int = STEPS
) -> tuple[Callable[[], Any], int]:
    """Training by this package, rounds of so many steps, and the width of its blocks."""
    static, numbers = assembly.split(config)
    build = assembly.make_build(static, task.spec, rounds * steps)
    batch, model, cost = config["train"]["batch_size"], build(numbers).model, cost_of(config, task)
    block = config["sweep"]["block"] or plan.block_width(
        cost, num_lanes=lanes, platform=jax.default_backend()
    )
    at_once = plan.rounds_at_once(cost, width=block, steps_per_round=steps, rounds=rounds)
    mesh = population.mesh_for(lanes, block)
    rates = np.logspace(-4, -2, lanes) if lanes > 1 else [1e-3]
    each = [numbers | {"optim.learning_rate": float(rate)} for rate in rates]
    trials = [Trial(seed=seed) for seed in range(lanes)]
    stacked = population.make_lanes(trials, each, len(task.train.targets))
    waves = population.to_waves(stacked, width=block, mesh=mesh)
    held = task.validation.arrays
    seen = Arrays(*(x[: len(held.targets)] for x in task.train.arrays))
    carries = model.begin is not None
    cuts = cut(seen, carries=carries), cut(held, carries=carries)
    data = population.replicate(Data(task.train.arrays, *cuts), mesh)
    first = make_start(build, seed=0, batch_size=batch)
    start = population.spread(first, lane_arguments=1, width=block, mesh=mesh)
    windows = task.spec.kind == "next_token"
    one_round = make_round(
        build, seed=0, num_steps=steps, batch_size=batch, patience=None, windows=windows
    )
    many = repeated(one_round, at_once)
    advance = population.spread(many, lane_arguments=2, width=block, mesh=mesh, donate=(1,))

    def run() -> Any:
        records = []
        for wave in waves:
            begun, _ = start(wave, data)
            for _, _, record in fit(
                lambda state, wave=wave: advance(wave, state, data),
                begun,
                first_round=0,
                num_rounds=rounds,
                at_once=at_once,
            ):
                records.append(record)
        return records

    return run, block


def seconds(program: Callable[[], Any]) -> float:
    """One run of a program, until its last number is there."""
    began = time.perf_counter()
    jax.block_until_ready(program())
    return time.perf_counter() - began


def compare(ours: Callable[[], Any], hand: Callable[[], Any], repeats: int) -> list[float]:
    """Quartiles of (seconds by hand / ours) over interleaved runs, both compiled before."""
    for program in (ours, hand):
        seconds(program)
    return statistics.quantiles([seconds(hand) / seconds(ours) for _ in range(repeats)], n=4)


def main() -> None:
    """Prints the table."""
    jax.config.update("jax_num_cpu_devices", 2)
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--rounds", type=int, default=20)
    given = options.parse_args()
    task = drive.load_task(configs.as_dict(configs.complete({})))
    print("width batch   run: ratio [quartiles]   sweep of 32: ratio (block; by hand)   us a step")
    for width, batch in SHAPES:
        network = mlp(math.prod(task.spec.input_shape), width, task.spec.num_outputs)
        hand = jax.jit(scanned(network, Work(given.rounds, STEPS, batch), task))
        config = mlp_config(width, batch)
        ours, _ = of_package(config, given.rounds, task, lanes=1)
        alone = compare(ours, partial(hand, jax.random.key(0), jnp.float32(1e-3)), given.repeats)
        rounds = max(2, given.rounds // 4)
        hand = scanned(network, Work(rounds, STEPS, batch), task)
        ours, block = of_package(config, rounds, task, lanes=LANES)
        found = {w: compare(ours, sharded(hand, w, LANES), given.repeats) for w in {1, block, 16}}
        best = min(found, key=lambda w: found[w][1])
        sweep = found[best]
        micro = seconds(ours) / rounds / STEPS / LANES * 1e6
        print(
            f"{width:5d} {batch:5d}   {alone[1]:.2f} [{alone[0]:.2f}, {alone[2]:.2f}]"
            f"             {sweep[1]:.2f} [{sweep[0]:.2f}, {sweep[2]:.2f}] ({block}; {best})"
            f"                        {micro:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
