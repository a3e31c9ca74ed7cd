"""Base programs of the fault bench: small, healthy, each in a style of its own.

A program is a function (seed, parts) -> keyword arguments of `recipe_jax.experiment`. Parts are
what a fault may replace.
"""

import functools
import gzip
import itertools
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn import datasets

import recipe_jax

COUNT = 1000
WINDOW = 24
LETTERS = " abcdefghijklmnopqrstuvwxyz"


def as_is(value: Any, *_: Any) -> Any:
    """The value itself: what a part does that nobody replaced."""
    return value


def unchanged(train: Any, validation: Any, _: Any) -> tuple[Any, Any]:
    """Both sets of arrays as they are."""
    return train, validation


class Parts(NamedTuple):
    """What can be replaced in a base program; None is the program's own.

    data: (train, validation, rng) -> both, after normalisation
    kernel, out_bias: initialisers; bias: first value of the hidden biases
    between: (activations, layer, train, key) -> activations, after every hidden layer
    head: (outputs) -> outputs; extra: outputs that no class uses
    norm, dropout: how digits_cnn runs its BatchNorm and its dropout
    rate: factor on the learning rate; schedule: (rate, steps) -> schedule
    optimizer: (rate) -> optax transformation; wrap: (transformation) -> transformation
    """

    data: Callable[..., Any] = unchanged
    activation: Callable[..., Any] | None = None
    kernel: Callable[..., Any] | None = None
    bias: float = 0.0
    out_bias: Callable[..., Any] = jax.nn.initializers.zeros
    depth: int | None = None
    between: Callable[..., Any] = as_is
    head: Callable[..., Any] = as_is
    extra: int = 0
    norm: str = "proper"
    dropout: str = "proper"
    loss: Callable[..., Any] | None = None
    rate: float = 1.0
    schedule: Callable[..., Any] | None = None
    optimizer: Callable[..., Any] | None = None
    wrap: Callable[..., Any] = as_is
    num_steps: int | None = None


OWN = Parts()


def standardised(train: Any, validation: Any) -> tuple[Any, Any]:
    """Both, each feature by the mean and deviation that it has in train."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation = np.where(deviation < 1e-6, 1.0, deviation)
    return tuple(((each - mean) / deviation).astype(np.float32) for each in (train, validation))


def split(inputs: Any, targets: Any, seed: int, share: float = 0.2) -> tuple[Any, Any]:
    """(train, validation) of at most COUNT examples, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(inputs))[:COUNT]
    held = int(len(order) * share)
    rest, out = order[held:], order[:held]
    return (inputs[rest], targets[rest]), (inputs[out], targets[out])


@functools.cache
def digits() -> tuple[Any, Any]:
    """Pixels in 0 to 1 and labels."""
    inputs, targets = datasets.load_digits(return_X_y=True)
    return (inputs / 16.0).astype(np.float32), targets.astype(np.int32)


def idx(path: pathlib.Path) -> Any:
    """The array in a file of the idx format, compressed or not."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    shape = [int.from_bytes(raw[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


@functools.cache
def images() -> tuple[Any, Any]:
    """MNIST pooled to 14x14 where FAULT_BENCH_MNIST names its folder, else 8x8 digits."""
    folder = os.environ.get("FAULT_BENCH_MNIST")
    if not folder:
        inputs, targets = digits()
        return inputs.reshape(-1, 8, 8, 1), targets
    pixels = idx(min(pathlib.Path(folder).glob("train-images*")))[: 10 * COUNT]
    labels = idx(min(pathlib.Path(folder).glob("train-labels*")))[: 10 * COUNT]
    pooled = pixels.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4))[..., None] / 255.0
    return pooled.astype(np.float32), labels.astype(np.int32)


def image_arrays(seed: int) -> tuple[Any, Any]:
    """(train, validation) of images, all pixels by one mean and one deviation."""
    (inputs, targets), (others, answers) = split(*images(), seed)
    mean, deviation = inputs.mean(), inputs.std()
    return ((inputs - mean) / deviation, targets), ((others - mean) / deviation, answers)


def digit_arrays(seed: int) -> tuple[Any, Any]:
    """(train, validation) of digits in rows of 64."""
    (inputs, targets), (others, answers) = split(*digits(), seed)
    mean, deviation = inputs.mean(), inputs.std()
    return ((inputs - mean) / deviation, targets), ((others - mean) / deviation, answers)


@functools.cache
def table(name: str) -> tuple[Any, Any]:
    """A table of scikit-learn's: "iris", "wine", "breast_cancer" or "diabetes"."""
    inputs, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
    return inputs.astype(np.float32), targets


def table_arrays(name: str, seed: int) -> tuple[Any, Any]:
    """(train, validation) of a table, standardised; of diabetes the targets too, as (n, 1)."""
    (inputs, targets), (others, answers) = split(*table(name), seed, 0.25)
    inputs, others = standardised(inputs, others)
    if name == "diabetes":
        targets, answers = standardised(targets[:, None], answers[:, None])
    else:
        targets, answers = targets.astype(np.int32), answers.astype(np.int32)
    return (inputs, targets), (others, answers)


@functools.cache
def windows() -> Any:
    """Different stretches of English, as numbers of letters, none overlapping another."""
    import pydoc_data.topics

    text = " ".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    text = re.sub("[^a-z]+", " ", text.lower())
    codes = np.array([LETTERS.index(letter) for letter in text], np.int32)
    rows = codes[: len(codes) // (WINDOW + 1) * (WINDOW + 1)].reshape(-1, WINDOW + 1)
    return np.unique(rows, axis=0)


def text_arrays(seed: int) -> tuple[Any, Any]:
    """(train, validation) of letters and the letters that follow them."""
    rows = windows()
    return split(rows[:, :-1], rows[:, 1:], seed)


def series(seed: int, count: int = COUNT, length: int = 16, classes: int = 4) -> tuple[Any, Any]:
    """Noise with a short motif at some place; the class is which motif."""
    rng = np.random.default_rng(seed)
    motifs = 1.5 * np.random.default_rng(0).normal(size=(classes, 5, 3))
    targets = rng.integers(0, classes, count).astype(np.int32)
    inputs = 0.5 * rng.normal(size=(count, length, 3))
    for row, place in enumerate(rng.integers(0, length - 4, count)):
        inputs[row, place : place + 5] += motifs[targets[row]]
    return inputs.astype(np.float32), targets


def series_arrays(seed: int) -> tuple[Any, Any]:
    """(train, validation) of noise with motifs."""
    (inputs, targets), (others, answers) = split(*series(seed), seed)
    mean, deviation = inputs.mean(axis=(0, 1)), inputs.std(axis=(0, 1))
    return ((inputs - mean) / deviation, targets), ((others - mean) / deviation, answers)


def cross_entropy(outputs: Any, targets: Any) -> Any:
    """Mean over the batch, of logits and integer labels."""
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


def squared_error(outputs: Any, targets: Any) -> Any:
    """Mean over the batch."""
    return jnp.mean((outputs - targets) ** 2)


def logistic(outputs: Any, targets: Any) -> Any:
    """Mean over the batch, of one logit an example and targets 0 or 1."""
    return optax.sigmoid_binary_cross_entropy(outputs, targets).mean()


def accuracy(outputs: Any, targets: Any) -> Any:
    """Share of right answers."""
    return jnp.mean(jnp.argmax(outputs, axis=-1) == targets)


def sign_accuracy(outputs: Any, targets: Any) -> Any:
    """Share of right answers, of one logit an example."""
    return jnp.mean((outputs > 0) == (targets > 0.5))


def negative_error(outputs: Any, targets: Any) -> Any:
    """Minus the mean squared error: higher is better."""
    return -jnp.mean((outputs - targets) ** 2)


def cosine(rate: float, steps: int) -> Callable[..., Any]:
    """Warm-up over a tenth of the steps, then a cosine down to a twentieth of the rate."""
    return optax.warmup_cosine_decay_schedule(rate / 10, rate, steps // 10, steps, rate / 20)


def constant(rate: float, _: int) -> Callable[..., Any]:
    """The same rate all the time."""
    return optax.constant_schedule(rate)


def assembled(
    parts: Parts,
    seed: int,
    arrays: tuple[Any, Any],
    loss: Callable[..., Any],
    metric: Callable[..., Any],
    *,
    rate: float,
    steps: int,
    optimizer: Callable[..., Any] = optax.adam,
    schedule: Callable[..., Any] = constant,
    **others: Any,
) -> dict[str, Any]:
    """Keyword arguments of `experiment`, from the parts and from what the program itself does."""
    steps = parts.num_steps or steps
    schedule = (parts.schedule or schedule)(rate * parts.rate, steps)
    train, validation = parts.data(*arrays, np.random.default_rng(seed + 1))
    return {
        "loss": parts.loss or loss,
        "optimizer": parts.wrap((parts.optimizer or optimizer)(schedule)),
        "train": train,
        "validation": validation,
        "metric": metric,
        "schedule": schedule,
        "num_steps": steps,
        "batch_size": 32,
        **others,
    }


def trainable(variables: Any) -> tuple[Any, dict[str, Any]]:
    """(weights, the rest): of Linen's collections "params" are the weights."""
    if isinstance(variables, dict) and "params" in variables:
        rest = {name: value for name, value in variables.items() if name != "params"}
        return variables["params"], rest
    return variables, {}


def together(weights: Any, rest: dict[str, Any], variables: Any) -> Any:
    """Variables again, of the kind given."""
    if isinstance(variables, dict) and "params" in variables:
        return {"params": weights, **rest}
    return weights


class Progress(NamedTuple):
    """The state of a program that makes its own steps."""

    variables: Any
    optimizer: Any
    count: Any


def step_of(program: Any, penalty: Callable[..., Any] = lambda weights: 0.0) -> Callable[..., Any]:
    """(state, batch, key) -> (state, loss), by the program's own apply, loss and optimiser."""
    apply, loss, optimizer = program.apply, program.loss, program.optimizer

    def step(state: Progress, batch: Any, key: Any) -> tuple[Progress, Any]:
        """One update."""
        inputs, targets = batch
        weights, rest = trainable(state.variables)

        def total(weights: Any) -> tuple[Any, Any]:
            variables = together(weights, rest, state.variables)
            outputs, variables = apply(variables, inputs, key=key, train=True)
            return jnp.mean(loss(outputs, targets)) + penalty(weights), variables

        (value, variables), gradient = jax.value_and_grad(total, has_aux=True)(weights)
        updates, progress = optimizer.update(gradient, state.optimizer, weights)
        weights = optax.apply_updates(weights, updates)
        after = together(weights, trainable(variables)[1], variables)
        return Progress(after, progress, state.count + 1), value

    return step


def first_state(program: Any, seed: int) -> Progress:
    """The state before the first step."""
    variables = program.init(jax.random.key(seed))
    progress = program.optimizer.init(trainable(variables)[0])
    return Progress(variables, progress, jnp.zeros((), jnp.int32))


def as_step(
    kwargs: dict[str, Any], seed: int, penalty: Callable[..., Any] = lambda weights: 0.0
) -> dict[str, Any]:
    """The same program, giving step= and state= instead of optimizer=."""
    program = recipe_jax.experiment(**kwargs)
    others = {name: value for name, value in kwargs.items() if name != "optimizer"}
    return {**others, "step": step_of(program, penalty), "state": first_state(program, seed)}


def as_batches(
    kwargs: dict[str, Any], order: Callable[[int, Any], Any], count: int = 32
) -> dict[str, Any]:
    """The same program, giving batches= in the order (epoch, targets) -> indices."""
    inputs, targets = kwargs["train"]

    def batches(epoch: int) -> Any:
        """The batches of an epoch, all full."""
        indices = order(epoch, targets)
        for first in range(0, len(indices) - count + 1, count):
            chosen = indices[first : first + count]
            yield inputs[chosen], targets[chosen]

    others = {name: value for name, value in kwargs.items() if name != "train"}
    return {**others, "batches": batches}


def mlp_init(parts: Parts, sizes: list[int], kernel: Callable[..., Any]) -> Callable[..., Any]:
    """(key) -> weights, a dict a layer."""

    def init(key: Any) -> dict[str, Any]:
        """Fresh weights."""
        weights = {}
        for layer, (inner, outer) in enumerate(itertools.pairwise(sizes)):
            key, first, second = jax.random.split(key, 3)
            last = layer == len(sizes) - 2
            bias = parts.out_bias(second, (outer,)) if last else jnp.full((outer,), parts.bias)
            weights[f"layer{layer}"] = {"kernel": kernel(first, (inner, outer)), "bias": bias}
        return weights

    return init


def mlp_apply(parts: Parts, activation: Callable[..., Any]) -> Callable[..., Any]:
    """(weights, inputs, key, train) -> outputs."""

    def apply(weights: Any, inputs: Any, *, key: Any = None, train: bool = False) -> Any:
        """The network."""
        hidden = inputs
        *inner, last = [weights[f"layer{layer}"] for layer in range(len(weights))]
        for layer, each in enumerate(inner):
            hidden = activation(hidden @ each["kernel"] + each["bias"])
            hidden = parts.between(hidden, layer, train, key)
        return parts.head(hidden @ last["kernel"] + last["bias"])

    return apply


def digits_mlp(seed: int, parts: Parts = OWN) -> dict[str, Any]:
    """Digits, plain JAX, relu, Adam at one rate."""
    kernel = parts.kernel or jax.nn.initializers.he_normal()
    depth = 2 if parts.depth is None else parts.depth
    sizes = [64] + [48] * depth + [10 + parts.extra]
    return assembled(
        parts,
        seed,
        digit_arrays(seed),
        cross_entropy,
        accuracy,
        rate=2e-3,
        steps=300,
        init=mlp_init(parts, sizes, kernel),
        apply=mlp_apply(parts, parts.activation or jax.nn.relu),
    )


def digits_stream(seed: int, parts: Parts = OWN) -> dict[str, Any]:
    """Digits again, as batches that are shuffled anew every epoch, under a cosine."""
    schedule = parts.schedule or cosine
    kwargs = digits_mlp(seed, parts._replace(schedule=schedule))
    return as_batches(kwargs, lambda epoch, targets: shuffled(seed, epoch, len(targets)))


def shuffled(seed: int, epoch: int, count: int) -> Any:
    """The order of one epoch."""
    return np.random.default_rng([seed, epoch]).permutation(count)


class Cnn(nn.Module):
    """Two convolutions with BatchNorm, dropout, and a dense head."""

    parts: Parts

    @nn.compact
    def __call__(self, inputs: Any, train: bool) -> Any:
        """Logits."""
        parts, activation = self.parts, self.parts.activation or nn.relu
        kernel = parts.kernel or nn.initializers.he_normal()
        bias = nn.initializers.constant(parts.bias)
        key = self.make_rng("dropout") if self.has_rng("dropout") else None
        own = {"always_train": False, "always_eval": True}.get(parts.norm, not train)
        quiet = {"always": False, "never": True}.get(parts.dropout, not train)
        hidden = inputs
        for layer, width in enumerate((8, 16)):
            hidden = nn.Conv(width, (3, 3), kernel_init=kernel, bias_init=bias)(hidden)
            hidden = nn.BatchNorm(use_running_average=own, momentum=0.9)(hidden)
            hidden = parts.between(activation(hidden), layer, train, key)
            hidden = nn.max_pool(hidden, (2, 2), (2, 2))
        hidden = hidden.reshape(len(hidden), -1)
        rate = 0.9 if parts.dropout == "confused" else 0.1
        hidden = nn.Dropout(rate, deterministic=quiet or key is None)(hidden)
        last = nn.initializers.lecun_normal() if parts.kernel is None else kernel
        outputs = nn.Dense(10 + parts.extra, kernel_init=last, bias_init=parts.out_bias)(hidden)
        return parts.head(outputs)


def digits_cnn(seed: int, parts: Parts = OWN) -> dict[str, Any]:
    """Images, Flax Linen, BatchNorm and dropout, Adam under a cosine."""
    model, arrays = Cnn(parts), image_arrays(seed)
    example = jnp.zeros((2, *arrays[0][0].shape[1:]), jnp.float32)

    def init(key: Any) -> Any:
        """Fresh variables."""
        first, second = jax.random.split(key)
        return model.init({"params": first, "dropout": second}, example, False)

    def apply(variables: Any, inputs: Any, *, train: bool, rngs: Any) -> Any:
        """The network, and its statistics where they move."""
        rngs = {name: key for name, key in rngs.items() if key is not None}
        if train or parts.norm == "always_train":
            outputs, after = model.apply(variables, inputs, train, rngs=rngs, mutable="batch_stats")
            frozen = parts.norm == "never_updated" or not train
            return outputs if frozen else (outputs, after)
        return model.apply(variables, inputs, train, rngs=rngs)

    return assembled(
        parts,
        seed,
        arrays,
        cross_entropy,
        accuracy,
        rate=3e-3,
        steps=200,
        schedule=cosine,
        init=init,
        apply=apply,
    )


class Regression(nn.Module):
    """A stack of dense layers and one output."""

    parts: Parts

    @nn.compact
    def __call__(self, inputs: Any, train: bool, key: Any) -> Any:
        """(n, 1) numbers."""
        parts, activation = self.parts, self.parts.activation or nn.tanh
        kernel = parts.kernel or nn.initializers.lecun_normal()
        bias = nn.initializers.constant(parts.bias)
        hidden = inputs
        for layer in range(2 if parts.depth is None else parts.depth):
            hidden = activation(nn.Dense(24, kernel_init=kernel, bias_init=bias)(hidden))
            hidden = parts.between(hidden, layer, train, key)
        return parts.head(nn.Dense(1, kernel_init=kernel, bias_init=parts.out_bias)(hidden))


def diabetes_mlp(seed: int, parts: Parts = OWN) -> dict[str, Any]:
    """Regression on a table, Flax Linen, tanh, AdamW."""
    model = Regression(parts)

    def init(key: Any) -> Any:
        """Fresh variables."""
        return model.init(key, jnp.zeros((2, 10), jnp.float32), False, None)

    def apply(variables: Any, inputs: Any, *, train: bool = False, key: Any = None) -> Any:
        """The network."""
        return model.apply(variables, inputs, train, key)

    return assembled(
        parts,
        seed,
        table_arrays("diabetes", seed),
        squared_error,
        negative_error,
        rate=2e-3,
        steps=150,
        optimizer=functools.partial(optax.adamw, weight_decay=1e-3),
        init=init,
        apply=apply,
        task="regression",
    )


def text_gru(seed: int, parts: Parts = OWN) -> dict[str, Any]:
    """The next letter, a GRU in plain JAX over time, Adam with clipping under a cosine."""
    kernel = parts.kernel or jax.nn.initializers.glorot_uniform()
    activation = parts.activation or jnp.tanh
    width, embedding, letters = 48, 24, len(LETTERS)

    def init(key: Any) -> dict[str, Any]:
        """Fresh weights."""
        table, gates, memory, update, recall, out, bias = jax.random.split(key, 7)
        return {
            "embedding": 0.5 * jax.random.normal(table, (letters, embedding)),
            "gates": {
                "input": kernel(gates, (embedding, 2 * width)),
                "state": kernel(memory, (width, 2 * width)),
                "bias": jnp.full((2 * width,), parts.bias),
            },
            "candidate": {
                "input": kernel(update, (embedding, width)),
                "state": kernel(recall, (width, width)),
                "bias": jnp.full((width,), parts.bias),
            },
            "out": {
                "kernel": kernel(out, (width, letters + parts.extra)),
                "bias": parts.out_bias(bias, (letters + parts.extra,)),
            },
        }

    def apply(weights: Any, tokens: Any, *, key: Any = None, train: bool = False) -> Any:
        """Logits of the next letter at every place."""
        gates, candidate, out = weights["gates"], weights["candidate"], weights["out"]
        letters = parts.between(weights["embedding"][tokens], 0, train, key)

        def advance(state: Any, letter: Any) -> tuple[Any, Any]:
            both = jax.nn.sigmoid(letter @ gates["input"] + state @ gates["state"] + gates["bias"])
            keep, reset = jnp.split(both, 2, axis=-1)
            inner = letter @ candidate["input"] + (reset * state) @ candidate["state"]
            state = keep * state + (1 - keep) * activation(inner + candidate["bias"])
            return state, state

        start = jnp.zeros((len(tokens), width), letters.dtype)
        states = jax.lax.scan(advance, start, jnp.swapaxes(letters, 0, 1))[1]
        states = parts.between(jnp.swapaxes(states, 0, 1), 1, train, key)
        return parts.head(states @ out["kernel"] + out["bias"])

    return assembled(
        parts,
        seed,
        text_arrays(seed),
        cross_entropy,
        accuracy,
        rate=1e-2,
        steps=300,
        optimizer=lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate)),
        schedule=cosine,
        init=init,
        apply=apply,
        task="next_token",
    )


class Transformer(nnx.Module):
    """Positions, one block of attention, the mean over time, a dense head."""

    def __init__(self, parts: Parts, rngs: nnx.Rngs) -> None:
        kernel = parts.kernel or nnx.initializers.lecun_normal()
        bias = nnx.initializers.constant(parts.bias)
        made = functools.partial(nnx.Linear, kernel_init=kernel, rngs=rngs)
        self.lift = made(3, 32)
        self.places = nnx.Param(0.1 * jax.random.normal(rngs.params(), (16, 32)))
        self.before = nnx.LayerNorm(32, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, 32, kernel_init=kernel, decode=False, rngs=rngs)
        self.between = nnx.LayerNorm(32, rngs=rngs)
        self.widen = made(32, 64, bias_init=bias)
        self.narrow = made(64, 32)
        self.out = made(32, 4 + parts.extra, bias_init=parts.out_bias)

    def __call__(self, inputs: Any, parts: Parts, train: bool, key: Any) -> Any:
        """Logits."""
        activation = parts.activation or jax.nn.gelu
        hidden = self.lift(inputs) + self.places[...]
        hidden = hidden + self.attention(self.before(hidden))
        hidden = parts.between(hidden, 0, train, key)
        hidden = hidden + self.narrow(activation(self.widen(self.between(hidden))))
        hidden = parts.between(hidden, 1, train, key)
        return parts.head(self.out(hidden.mean(axis=1)))


def series_transformer(seed: int, parts: Parts = OWN) -> dict[str, Any]:
    """Motifs in noise, Flax NNX, one block of attention, Adam at one rate."""
    structure = nnx.split(Transformer(parts, nnx.Rngs(seed)))[0]

    def init(key: Any) -> Any:
        """Fresh weights."""
        return nnx.split(Transformer(parts, nnx.Rngs(params=key)))[1]

    def apply(state: Any, inputs: Any, *, key: Any = None, train: bool = False) -> Any:
        """The network."""
        return nnx.merge(structure, state)(inputs, parts, train, key)

    return assembled(
        parts,
        seed,
        series_arrays(seed),
        cross_entropy,
        accuracy,
        rate=2e-3,
        steps=200,
        init=init,
        apply=apply,
    )


def cancer_arrays(seed: int) -> tuple[Any, Any]:
    """(train, validation) of the breast cancer table, targets 0. or 1."""
    arrays = table_arrays("breast_cancer", seed)
    return tuple((inputs, targets.astype(np.float32)) for inputs, targets in arrays)


def cancer_step(seed: int, parts: Parts = OWN) -> dict[str, Any]:
    """Two classes by one logit, plain JAX, its own step: SGD with momentum."""
    kernel = parts.kernel or jax.nn.initializers.he_normal()
    sizes = [30] + [16] * (1 if parts.depth is None else parts.depth) + [1]
    apply = mlp_apply(parts, parts.activation or jax.nn.relu)

    def logit(weights: Any, inputs: Any, *, key: Any = None, train: bool = False) -> Any:
        """One number an example."""
        return apply(weights, inputs, key=key, train=train)[..., 0]

    kwargs = assembled(
        parts,
        seed,
        cancer_arrays(seed),
        logistic,
        sign_accuracy,
        rate=3e-2,
        steps=200,
        optimizer=lambda rate: optax.sgd(rate, momentum=0.9),
        schedule=cosine,
        init=mlp_init(parts, sizes, kernel),
        apply=logit,
        task="classification",
    )
    return as_step(kwargs, seed)


PROGRAMS = {
    each.__name__: each
    for each in (
        digits_mlp,
        diabetes_mlp,
        digits_cnn,
        text_gru,
        series_transformer,
        cancer_step,
        digits_stream,
    )
}
