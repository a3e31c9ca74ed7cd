"""How wide a block of lanes is fastest, by size and kind of network: the table of sweep/plan.py.

    python scripts/tune_blocks.py [--repeats 3] [--lanes 32] [--shapes mlp-32-16,cnn]

For each shape every width of a power of two that fills all devices, compiled before, in turn; the
rate of the fastest is 1.00. The first line of the output names the device: the table holds for that
kind alone. A shape is told by what sweep/plan.py sees of it: multiply-adds of a forward pass, and
whether it has a convolution or an inner loop.
"""

import argparse
import statistics

import jax
from bench_step import STEPS, cost_of, of_package, seconds
from bench_sweep import all_shapes, load_task

from recipe_jax.sweep import plan


def main() -> None:
    """Prints the table."""
    jax.config.update("jax_num_cpu_devices", 2)
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--lanes", type=int, default=32)
    options.add_argument("--steps", type=int, default=STEPS)
    options.add_argument("--shapes", default=",".join(all_shapes()))
    options.add_argument("--mnist", help="the folder of the idx files")
    given = options.parse_args()
    print(f"device: {len(jax.devices())} x {jax.devices()[0].device_kind}; {given.lanes} lanes")
    widths = [2**n for n in range(13) if 2**n * len(jax.devices()) <= max(2, given.lanes)]
    print("| shape | multiply-adds | loops | table | " + " | ".join(map(str, widths)) + " |")
    print("|---" * (4 + len(widths)) + "|")
    for name in given.shapes.split(","):
        shape = all_shapes()[name]
        task = load_task(shape.data, given.mnist)
        cost, programs = cost_of(shape.config, task), {}
        table = plan.block_width(cost, num_lanes=given.lanes, platform=jax.default_backend())
        for width in widths:
            config = shape.config | {"sweep": shape.config["sweep"] | {"block": width}}
            programs[width], _ = of_package(config, 1, task, lanes=given.lanes, steps=given.steps)
            seconds(programs[width])
        found = {
            width: statistics.median(times)
            for width, times in zip(
                programs,
                zip(*([seconds(run) for run in programs.values()] for _ in range(given.repeats))),
            )
        }
        best = min(found.values())
        cells = " | ".join(f"{best / found[width]:.2f}" for width in widths)
        loops = "yes" if cost.special else "no"
        print(f"| {name} | {cost.multiply_adds:,} | {loops} | {table} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
