"""How wide a block of lanes is: a table by device kind and size class, never a timing.

The width decides the bits (population.py), so it may depend on nothing that varies from run to run
of one config: not on the number of devices, not on a stopwatch.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
from jax.extend import core as jax_core

from recipe_jax.resolve import Between, Count, OneOf
from recipe_jax.types import Model

# Widest block by multiply-adds of a forward pass, measured by scripts/tune_blocks.py on CPU with
# lanes over two host devices: a small network gains from a wide vmap, a large one loses cache, and
# convolutions and inner loops lose their fast kernels. The width of accelerators is not measured.
CPU_WIDTHS = ((1_000_000, 16), (4_000_000, 2))
ACCELERATOR_WIDTH = 128
# (lanes, width): from so many lanes on, blocks are that wide at most. Steps this coarse let
# requests of different sizes share one compiled program, and leave blocks for every device.
STEPS = ((256, 128), (32, 16), (8, 4))
# Rough times of a training step on one CPU core, forward and backward, and of a call worth making.
SECONDS_A_STEP, SECONDS_A_MULTIPLY_ADD, SECONDS_A_CALL = 15e-6, 3e-10, 0.25
SECONDS_A_COMPILE = 8.0


class Sweep(NamedTuple):
    """The `sweep` section. seeds: on how many each setting of a sweep is measured; folds: each of
    them by cross-validation over so many parts of the training split (0: on the validation split);
    bootstrap: each seed trains on its own resample of the training examples; block: lanes in a
    block, a power of two; 0 takes it from the table.

    Powers of two fill vector registers. In a block of 3 lanes the elements left over take another
    path through the processor, and a lane's rounding may depend on its place (seen with jaxlib
    0.12: the last bit of a loss).
    """

    seeds: Count = 1
    folds: Annotated[int, Between(0, 100)] = 0
    bootstrap: bool = False
    block: Annotated[int, OneOf((0, *(2**n for n in range(13))))] = 0


class Speed(NamedTuple):
    """What a machine was timed at: seconds of a step of one lane, all devices busy with lanes, of
    networks of so many multiply-adds a batch, in rising order; and of compiling one program.

    timing_seconds: what it took to find this out."""

    multiply_adds: tuple[int, ...]
    step_seconds: tuple[float, ...]
    program_seconds: float
    timing_seconds: float = 0.0

    def step(self, multiply_adds: int) -> float:
        """Seconds of a step of one lane of any network: what it roughly costs, times how far the
        timed ones are from that; in between by how many multiply-adds there are."""
        timed = [_rough(each) for each in self.multiply_adds]
        ratios = [measured / rough for measured, rough in zip(self.step_seconds, timed)]
        rough = _rough(multiply_adds)
        return rough * float(np.interp(rough, timed, ratios))


class Cost(NamedTuple):
    """What a forward pass does: multiply-adds of all matrix products, and whether it has a
    convolution or a loop."""

    multiply_adds: int
    special: bool


def block_width(cost: Cost, *, num_lanes: int, platform: str) -> int:
    """The width for `num_lanes` lanes of a program of this cost."""
    multiply_adds, loops_or_convolutions = cost
    if platform == "cpu":
        widest = 1
        if not loops_or_convolutions:
            widest = next((w for limit, w in CPU_WIDTHS if multiply_adds < limit), 1)
    else:
        widest = ACCELERATOR_WIDTH
    return min(widest, next((width for lanes, width in STEPS if num_lanes >= lanes), 1))


def rounds_at_once(cost: Cost, *, width: int, steps_per_round: int, rounds: int) -> int:
    """How many rounds one call does: a divisor of `rounds`, so many that a call takes about a
    quarter of a second: handing over a call costs a millisecond. Estimated, never timed."""
    seconds = steps_per_round * (
        SECONDS_A_STEP + SECONDS_A_MULTIPLY_ADD * width * cost.multiply_adds
    )
    wanted = max(1, int(SECONDS_A_CALL / seconds))
    return max(n for n in range(1, max(1, rounds) + 1) if max(1, rounds) % n == 0 and n <= wanted)


def seconds(cost: Cost, *, lane_steps: int, programs: int, devices: int) -> float:
    """What these steps may take on so many CPU cores, right within a factor of two or three: they
    are not timed, and a program may come from a cache."""
    a_step = _rough(cost.multiply_adds)
    return (programs * SECONDS_A_COMPILE + lane_steps * a_step) / devices


def _rough(multiply_adds: int) -> float:
    """Seconds of a training step on one CPU core."""
    return SECONDS_A_STEP + SECONDS_A_MULTIPLY_ADD * multiply_adds


def model_cost(model: Model, batch: Any) -> Cost:
    """The cost of a model's forward pass on a batch, the shape of its inputs."""

    def forward(params: Any, model_state: Any, inputs: Any) -> Any:
        return model.apply(params, model_state, inputs, key=jax.random.key(0), train=True)[0]

    return cost_of(forward, *jax.eval_shape(model.init, jax.random.key(0)), batch)


def cost_of(forward: Callable[..., Any], *arguments: Any) -> Cost:
    """The cost of a forward pass on one batch; arguments may be abstract."""
    return _cost(jax.make_jaxpr(forward)(*arguments).jaxpr)


def _cost(jaxpr: Any) -> Cost:
    total, special = 0, False
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contract, _), _ = equation.params["dimension_numbers"]
            lhs = equation.invars[0].aval.shape
            total += int(np.prod(equation.outvars[0].aval.shape)) * int(
                np.prod([lhs[axis] for axis in contract])
            )
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            total += int(np.prod(equation.outvars[0].aval.shape) * np.prod(kernel)) // kernel[-1]
        special |= equation.primitive.name in ("conv_general_dilated", "scan", "while")
        # The steps of a scan are work too; those of a `while` are not known.
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in jax_core.jaxprs_in_params(equation.params):
            more, inner_special = _cost(inner)
            total, special = total + times * more, special or inner_special
    return Cost(total, special)
