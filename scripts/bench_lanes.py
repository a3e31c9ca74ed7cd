"""What lanes cost: the time of 8 training runs together, over that of one alone.

    python scripts/bench_lanes.py --mnist FOLDER [--repeats 7] [--steps 20]

For every config of a network that is not small: two rounds of steps with an evaluation after each,
compiled before, both sides in turn in one process. A ratio below 8: together is cheaper than one
after another.
"""

import argparse
import pathlib
import statistics

import jax
from bench_step import of_package, seconds

from recipe_jax import config as configs
from recipe_jax.app import drive

FOLDER = pathlib.Path(__file__).parent.parent / "configs"
NAMES = ("chars_gru", "chars_transformer", "mnist_cnn", "mnist_resnet")
LANES, ROUNDS = 8, 2


def main() -> None:
    """Prints the table."""
    jax.config.update("jax_num_cpu_devices", 2)
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--mnist", required=True, help="the folder of the idx files")
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--steps", type=int, default=20)
    given = options.parse_args()
    print(
        f"config               {LANES} lanes / 1 lane [quartiles]   block   ms a step of one lane"
    )
    for name in NAMES:
        config = configs.as_dict(configs.complete(configs.load(str(FOLDER / f"{name}.py"))))
        if name.startswith("mnist"):
            config["data"]["path"] = given.mnist
        task = drive.load_task(config)
        one, _ = of_package(config, ROUNDS, task, lanes=1, steps=given.steps)
        many, block = of_package(config, ROUNDS, task, lanes=LANES, steps=given.steps)
        for program in (one, many):
            seconds(program)
        ratios = [seconds(many) / seconds(one) for _ in range(given.repeats)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        milliseconds = seconds(one) / ROUNDS / given.steps * 1e3
        print(
            f"{name:18s}      {middle:.2f} [{low:.2f}, {high:.2f}]           {block:3d}"
            f"       {milliseconds:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
