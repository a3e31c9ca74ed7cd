"""Training as one writes it by hand in JAX: the networks, and three forms of the same work.

`scanned` is one run as a nested scan, `sharded` many runs as shard_map + map + vmap of it, and
`stepped` one run as a jitted step called from Python. All take optax.adamw without decay or
clipping, draw an order of the examples every epoch with jax.random.permutation, keep the loss of
every step, and look at loss and accuracy of as many training and validation examples, before the
first step and after every round.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, PartitionSpec

from recipe_jax.types import Task


class Network(NamedTuple):
    """init: (key) -> params; forward: (params, inputs (batch, ...)) -> logits (batch, classes)."""

    init: Callable[..., Any]
    forward: Callable[..., Any]


class Work(NamedTuple):
    """What one run does: rounds of so many steps, each on a batch of so many examples."""

    rounds: int
    steps: int
    batch: int

    def total(self) -> int:
        """Steps of one run."""
        return self.rounds * self.steps


class Training(NamedTuple):
    """start: (key) -> carry; step: (rate, carry, rows (batch,)) -> (carry, loss); look: (carry) ->
    loss and accuracy of both splits; order: (key, work) -> rows (steps, batch) of the run."""

    start: Callable[..., Any]
    step: Callable[..., Any]
    look: Callable[..., Any]
    order: Callable[..., Any]


def mlp(features: int, width: int, classes: int) -> Network:
    """Two hidden layers of ReLUs on the flattened input."""
    sizes = (features, width, width, classes)

    def init(key: Any) -> Any:
        keys = jax.random.split(key, len(sizes) - 1)
        return [_dense(*each) for each in zip(keys, sizes[:-1], sizes[1:])]

    def forward(params: Any, x: Any) -> Any:
        x = x.reshape(len(x), -1)
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = params[-1]
        return x @ w + b

    return Network(init, forward)


def cnn(
    shape: tuple[int, ...],
    channels: tuple[int, ...],
    dense: int,
    classes: int,
    conv: Callable[..., Any],
) -> Network:
    """3 x 3 convolution, ReLU and 2 x 2 maximum for each of `channels`, then a dense layer.

    shape: of an image (height, width, colours); conv: (images NHWC, kernel HWIO) -> images NHWC.
    """
    height, width, colours = shape
    fans = (colours, *channels)
    pixels = (height >> len(channels)) * (width >> len(channels)) * channels[-1]

    def init(key: Any) -> Any:
        *keys, first, last = jax.random.split(key, len(channels) + 2)
        convs = [
            (jax.nn.initializers.he_normal()(k, (3, 3, a, b)), jnp.zeros(b))
            for k, a, b in zip(keys, fans[:-1], fans[1:])
        ]
        return convs, _dense(first, pixels, dense), _dense(last, dense, classes)

    def forward(params: Any, x: Any) -> Any:
        convs, (w, b), (v, c) = params
        for kernel, bias in convs:
            x = jax.nn.relu(conv(x, kernel) + bias)
            n, h, w_, d = x.shape
            x = x.reshape(n, h // 2, 2, w_ // 2, 2, d).max((2, 4))
        return jax.nn.relu(x.reshape(len(x), -1) @ w + b) @ v + c

    return Network(init, forward)


def plain_conv(x: Any, kernel: Any) -> Any:
    """A convolution as JAX has it, with its own rule for gradients."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def gru(features: int, width: int, classes: int, recurrence: Callable[..., Any]) -> Network:
    """One layer of a GRU over (batch, time, features); the state after the last step gives logits.

    recurrence: (kernel (width, 3 width), inputs' share (time, batch, 3 width), first state) ->
    (states, last state).
    """

    def init(key: Any) -> Any:
        first, second, last = jax.random.split(key, 3)
        recurrent = jax.random.normal(second, (width, 3 * width)) / jnp.sqrt(width)
        return _dense(first, features, 3 * width), recurrent, _dense(last, width, classes)

    def forward(params: Any, x: Any) -> Any:
        (w, b), recurrent, (v, c) = params
        shares = x.swapaxes(0, 1) @ w + b
        return recurrence(recurrent, shares, jnp.zeros((len(x), width)))[1] @ v + c

    return Network(init, forward)


def plain_gru(kernel: Any, shares: Any, first: Any) -> Any:
    """The recurrence as one scan that JAX differentiates."""

    def step(h: Any, x: Any) -> Any:
        x_r, x_z, x_n = jnp.split(x, 3, -1)
        h_r, h_z, h_n = jnp.split(h @ kernel, 3, -1)
        z = jax.nn.sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + jax.nn.sigmoid(x_r + h_r) * h_n)
        h = n + z * (h - n)
        return h, h

    last, states = jax.lax.scan(step, first, shares)
    return states, last


def scanned(network: Network, work: Work, task: Task) -> Callable[..., Any]:
    """(key, rate) -> losses and metrics of one run, one nested scan."""
    start, step, look, order = _training(network, task)

    def run(key: Any, rate: Any) -> Any:
        def one_round(carry: Any, rows: Any) -> Any:
            carry, losses = jax.lax.scan(partial(step, rate), carry, rows)
            return carry, (losses, look(carry))

        carry = start(key)
        rows = order(key, work).reshape(work.rounds, work.steps, work.batch)
        return look(carry), jax.lax.scan(one_round, carry, rows)[1]

    return run


def sharded(run: Callable[..., Any], width: int, lanes: int) -> Callable[[], Any]:
    """A sweep over the rate: lanes over the devices, each maps over blocks of a vmap."""
    mesh = jax.make_mesh(
        (num_devices(lanes),),
        ("lanes",),
        axis_types=(AxisType.Auto,),
        devices=jax.devices()[: num_devices(lanes)],
    )
    spec = PartitionSpec("lanes")

    def block(seeds: Any, rates: Any) -> Any:
        one = lambda seed, rate: run(jax.random.key(seed), rate)  # noqa: E731
        if width > 1:
            return jax.vmap(one)(seeds, rates)
        # A batch axis of one would still take the batched forms of convolutions.
        return jax.tree.map(lambda leaf: leaf[None], one(seeds[0], rates[0]))

    def local(seeds: Any, rates: Any) -> Any:
        blocks = seeds.reshape(-1, width), rates.reshape(-1, width)
        return jax.lax.map(lambda lane: block(*lane), blocks)

    program = jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=(spec, spec), out_specs=spec, check_vma=False)
    )
    rates = jnp.logspace(-4, -2, lanes, dtype=jnp.float32)
    return partial(program, jnp.arange(lanes), rates)


def num_devices(lanes: int) -> int:
    """As many devices as share the lanes evenly."""
    return math.gcd(lanes, len(jax.devices()))


def stepped(network: Network, work: Work, task: Task) -> Callable[[], Any]:
    """One run, its step and its look jitted and called from Python."""
    start, step, look, order = _training(network, task)
    step, look = jax.jit(step, donate_argnums=1), jax.jit(look)
    start, order = jax.jit(start), jax.jit(order, static_argnums=1)

    def run() -> Any:
        key, rate = jax.random.key(0), jnp.float32(1e-3)
        carry = start(key)
        losses, metrics = [], [look(carry)]
        for place, rows in enumerate(np.asarray(order(key, work)), 1):
            carry, loss = step(rate, carry, rows)
            losses.append(loss)
            if place % work.steps == 0:
                metrics.append(look(carry))
        return losses, metrics

    return run


def _training(network: Network, task: Task) -> Training:
    """The parts of a run on the task's splits."""
    inputs, targets = jnp.asarray(task.train.inputs), jnp.asarray(task.train.targets)
    held = jnp.asarray(task.validation.inputs), jnp.asarray(task.validation.targets)
    seen = inputs[: len(held[1])], targets[: len(held[1])]
    count = len(targets)

    def mean_loss(logits: Any, y: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def start(key: Any) -> Any:
        params = network.init(key)
        return params, _optimizer(0.0).init(params)

    def step(rate: Any, carry: Any, rows: Any) -> Any:
        params, state = carry
        x, y = inputs[rows], targets[rows]
        loss, grads = jax.value_and_grad(lambda p: mean_loss(network.forward(p, x), y))(params)
        updates, state = _optimizer(rate).update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    def look(carry: Any) -> Any:
        def one(x: Any, y: Any) -> Any:
            logits = network.forward(carry[0], x)
            return mean_loss(logits, y), (logits.argmax(-1) == y).mean()

        return one(*seen), one(*held)

    def order(key: Any, work: Work) -> Any:
        per_epoch = count // work.batch
        keys = jax.random.split(key, -(-work.total() // per_epoch))
        orders = jax.vmap(lambda k: jax.random.permutation(k, count))(keys)
        rows = orders[:, : per_epoch * work.batch].reshape(-1, work.batch)
        return rows[: work.total()]

    return Training(start, step, look, order)


def _optimizer(rate: Any) -> optax.GradientTransformation:
    return optax.adamw(rate, weight_decay=0.0)


def _dense(key: Any, fan_in: int, fan_out: int) -> tuple[Any, Any]:
    """A kernel (He et al. 2015) and a bias."""
    return jax.nn.initializers.he_normal()(key, (fan_in, fan_out)), jnp.zeros(fan_out)
