"""Healthy programs, the unusual among them: `healthy(number)` is always the same program."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn import datasets

from scripts.faults import programs

Kwargs = dict[str, Any]
COUNT = 264

ACTIVATIONS = {"relu": nn.relu, "gelu": nn.gelu, "tanh": nn.tanh, "silu": nn.silu}
KERNELS = {
    "he": nn.initializers.he_normal(),
    "lecun": nn.initializers.lecun_normal(),
    "glorot": nn.initializers.glorot_uniform(),
    "orthogonal": nn.initializers.orthogonal(),
}
OPTIMIZERS = {
    "sgd": (2e-2, lambda rate: optax.sgd(rate, momentum=0.9)),
    "adam": (3e-3, optax.adam),
    "adamw": (3e-3, lambda rate: optax.adamw(rate, weight_decay=1e-2)),
    "rmsprop": (2e-3, optax.rmsprop),
    "lion": (6e-4, optax.lion),
}
DATA = ("digits", "iris", "wine", "breast_cancer", "diabetes", "synthetic")


@functools.cache
def plane(seed: int, outputs: int = 1) -> tuple[Any, Any]:
    """A smooth function of eight numbers, with a little noise."""
    made: Any = datasets.make_regression(
        600, 8, n_informative=6, n_targets=outputs, noise=5.0, random_state=seed
    )
    inputs, targets = made[0], made[1].reshape(600, outputs)
    return inputs.astype(np.float32), (targets + 20 * np.sin(2 * inputs[:, :1])).astype(np.float32)


def synthetic_arrays(seed: int, outputs: int = 1) -> tuple[Any, Any]:
    """(train, validation) of a regression, both sides standardised."""
    (inputs, targets), (others, answers) = programs.split(*plane(seed, outputs), seed)
    inputs, others = programs.standardised(inputs, others)
    targets, answers = programs.standardised(targets, answers)
    return (inputs, targets), (others, answers)


def arrays_of(name: str, seed: int) -> tuple[Any, Any]:
    """(train, validation) by the name of the data."""
    if name == "digits":
        return programs.digit_arrays(seed)
    if name == "synthetic":
        return synthetic_arrays(seed)
    return programs.table_arrays(name, seed)


class Net(nn.Module):
    """A stack of dense layers, with what the healthy programs vary."""

    outputs: int
    widths: tuple[int, ...] = (32, 32)
    activation: Callable[..., Any] = nn.relu
    kernel: Callable[..., Any] = KERNELS["he"]
    last: Callable[..., Any] = KERNELS["lecun"]
    out_bias: Callable[..., Any] = nn.initializers.zeros
    norm: str = "none"
    dropout: float = 0.0
    residual: bool = False
    branch: Callable[..., Any] | None = None
    head: Callable[..., Any] = programs.as_is
    before: Callable[..., Any] = programs.as_is
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: Any, train: bool = False) -> Any:
        """Outputs (n, outputs), or whatever the head makes of them."""
        hidden = self.before(inputs.reshape(len(inputs), -1))
        for layer, width in enumerate(self.widths):
            kernel = self.branch if self.residual and layer and self.branch else self.kernel
            name = f"layer{layer}"
            inner = hidden
            if self.residual and layer:
                inner = nn.LayerNorm(dtype=self.dtype)(inner)
            inner = nn.Dense(width, kernel_init=self.kernel, dtype=self.dtype, name=name)(inner)
            if self.norm == "layer":
                inner = nn.LayerNorm(dtype=self.dtype)(inner)
            if self.norm == "batch":
                inner = nn.BatchNorm(use_running_average=not train, momentum=0.9)(inner)
            inner = self.activation(inner)
            if self.residual and layer:
                inner = nn.Dense(width, kernel_init=kernel, dtype=self.dtype)(inner)
                hidden = hidden + inner
            else:
                hidden = inner
            if self.dropout:
                hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        out = nn.Dense(self.outputs, kernel_init=self.last, bias_init=self.out_bias, name="out")
        return self.head(out(hidden).astype(jnp.float32))


def linen(model: nn.Module, example: Any) -> Kwargs:
    """init= and apply= of a Linen module (inputs, train)."""

    def init(key: Any) -> Any:
        """Fresh variables."""
        return model.init({"params": key, "dropout": key}, example, False)

    def apply(variables: Any, inputs: Any, *, train: bool, key: Any) -> Any:
        """The network, and its statistics where it has some."""
        rngs = {} if key is None else {"dropout": key}
        if train and "batch_stats" in variables:
            return model.apply(variables, inputs, True, rngs=rngs, mutable=["batch_stats"])
        return model.apply(variables, inputs, train, rngs=rngs)

    return {"init": init, "apply": apply}


def program(
    name: str,
    seed: int,
    *,
    optimizer: str = "adam",
    clip: bool = False,
    schedule: str = "constant",
    steps: int = 250,
    arrays: Any = None,
    outputs: Any = None,
    **net: Any,
) -> Kwargs:
    """A healthy program on the data of that name; `net` goes to the network."""
    train, validation = arrays or arrays_of(name, seed)
    numbers = name in ("diabetes", "synthetic")
    outputs = outputs or (train[1].shape[-1] if numbers else int(train[1].max()) + 1)
    size, made = OPTIMIZERS[optimizer]
    rates = getattr(programs, schedule)(size * (1 if schedule == "constant" else 1.5), steps)
    made = optax.chain(optax.clip_by_global_norm(5.0), made(rates)) if clip else made(rates)
    return {
        "optimizer": made,
        "schedule": rates,
        "train": train,
        "validation": validation,
        "loss": programs.squared_error if numbers else programs.cross_entropy,
        "metric": programs.negative_error if numbers else programs.accuracy,
        "num_steps": min(steps, 120) if name == "diabetes" else steps,
        "batch_size": 32,
        **linen(Net(outputs, **net), jnp.zeros((2, *train[0].shape[1:]), train[0].dtype)),
    }


def grid(seed: int) -> Kwargs:
    """Data, width, depth, activation, init, optimiser, schedule, normalisation by lot."""
    rng = np.random.default_rng(seed)
    norm = rng.choice(["none", "layer", "batch"])
    return program(
        str(rng.choice(DATA)),
        seed,
        optimizer=str(rng.choice(list(OPTIMIZERS))),
        clip=bool(rng.integers(2)),
        schedule=str(rng.choice(["constant", "cosine"])),
        widths=(int(rng.choice([16, 32, 64])),) * int(rng.integers(1, 4)),
        activation=ACTIVATIONS[str(rng.choice(list(ACTIVATIONS)))],
        kernel=KERNELS[str(rng.choice(list(KERNELS)))],
        norm=str(norm),
    )


def base(seed: int) -> Kwargs:
    """One of the base programs as it is."""
    return list(programs.PROGRAMS.values())[seed % len(programs.PROGRAMS)](seed)


def base_of_another_kind(seed: int) -> Kwargs:
    """A base program with another activation, init and optimiser."""
    rng = np.random.default_rng(seed)
    names = ("digits_mlp", "digits_cnn", "digits_stream", "text_gru", "series_transformer")
    parts = programs.Parts(
        kernel=KERNELS[str(rng.choice(["lecun", "glorot"]))],
        schedule=programs.cosine,
        optimizer=lambda rate: optax.adamw(rate, weight_decay=1e-3),
    )
    return programs.PROGRAMS[names[seed % len(names)]](seed, parts)


def frozen_backbone(seed: int) -> Kwargs:
    """Random features that stay, and a head that trains: declared."""
    kwargs = program("digits", seed, widths=(128,), schedule="cosine")
    labels = lambda weights: {name: "still" if name == "layer0" else "moves" for name in weights}  # noqa: E731
    chosen: Any = {"still": optax.set_to_zero(), "moves": optax.adam(1e-2)}
    kwargs["schedule"] = programs.constant(1e-2, 0)
    return {**kwargs, "optimizer": optax.multi_transform(chosen, labels), "frozen": ("layer0",)}


def stopped_backbone(seed: int) -> Kwargs:
    """A backbone behind stop_gradient: declared."""
    kwargs = programs.digits_mlp(
        seed,
        programs.Parts(
            depth=1,
            rate=3.0,
            between=lambda hidden, layer, train, key: jax.lax.stop_gradient(hidden),
        ),
    )
    return {**kwargs, "frozen": "layer0"}


def zero_last_layer(seed: int) -> Kwargs:
    """The last layer starts at zero."""
    return program(("digits", "synthetic", "wine")[seed % 3], seed, last=nn.initializers.zeros)


def zero_residual_branch(seed: int) -> Kwargs:
    """Residual branches start at zero."""
    zeros, name = nn.initializers.zeros, ("digits", "synthetic")[seed % 2]
    return program(name, seed, widths=(32,) * 4, residual=True, branch=zeros)


def residual_net(seed: int) -> Kwargs:
    """A deep residual net."""
    small = nn.initializers.variance_scaling(0.25, "fan_in", "normal")
    return program("digits", seed, widths=(32,) * 7, residual=True, branch=small, clip=True)


def label_smoothing(seed: int) -> Kwargs:
    """Labels smoothed by 0.1."""

    def loss(outputs: Any, targets: Any) -> Any:
        """Against smoothed labels."""
        hot = optax.smooth_labels(jax.nn.one_hot(targets, outputs.shape[-1]), 0.1)
        return optax.softmax_cross_entropy(outputs, hot).mean()

    return {**program("digits", seed, schedule="cosine"), "loss": loss}


def tiny_data(seed: int) -> Kwargs:
    """Forty examples."""
    (inputs, targets), validation = arrays_of(("iris", "wine")[seed % 2], seed)
    arrays = (inputs[:40], targets[:40]), validation
    kwargs = program("iris", seed, arrays=arrays, widths=(16,), steps=120)
    return {**kwargs, "batch_size": 20}


def imbalanced_with_prior(seed: int) -> Kwargs:
    """Few of one class; the last bias starts at the logarithm of their shares."""
    inputs, targets = programs.table("breast_cancer")
    rng = np.random.default_rng(seed)
    kept = (targets == 1) | (rng.random(len(targets)) < 0.25)
    train, validation = programs.split(inputs[kept], targets[kept].astype(np.int32), seed, 0.25)
    first, second = programs.standardised(train[0], validation[0])
    shares = np.bincount(train[1]) / len(train[1])
    return program(
        "breast_cancer",
        seed,
        arrays=((first, train[1]), (second, validation[1])),
        out_bias=lambda key, shape, dtype=None: jnp.log(jnp.asarray(shares, jnp.float32)),
    )


def dropout_half(seed: int) -> Kwargs:
    """Dropout of one half."""
    return program("digits", seed, widths=(128,), dropout=0.5, steps=300)


def narrow_weights(seed: int) -> Kwargs:
    """Weights in bfloat16 at a rate at which their updates are not lost."""
    kwargs = program("digits", seed, widths=(48,))
    init = kwargs["init"]

    def rounded(key: Any) -> Any:
        """Fresh variables in bfloat16."""
        return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), init(key))

    rate = programs.constant(1e-2, 0)
    optimizer = optax.sgd(programs.constant(5e-2, 0), momentum=0.9)
    if seed % 2:
        optimizer = optax.adam(rate)
    return {**kwargs, "init": rounded, "optimizer": optimizer, "schedule": None}


def narrow_computation(seed: int) -> Kwargs:
    """Weights in float32, computation in bfloat16."""
    return program("digits", seed, dtype=jnp.bfloat16, schedule="cosine")


def log_shares(seed: int) -> Kwargs:
    """Outputs are log probabilities, the loss takes the right one."""

    def loss(outputs: Any, targets: Any) -> Any:
        """Minus the log probability of the label."""
        return -jnp.mean(jnp.take_along_axis(outputs, targets[:, None], axis=-1))

    return {**program(("digits", "wine")[seed % 2], seed, head=nn.log_softmax), "loss": loss}


def shares(seed: int) -> Kwargs:
    """Outputs are probabilities, the loss takes the logarithm of the right one."""

    def loss(outputs: Any, targets: Any) -> Any:
        """Minus the log of the probability of the label."""
        return -jnp.mean(jnp.log(jnp.take_along_axis(outputs, targets[:, None], -1) + 1e-9))

    return {**program(("digits", "wine")[seed % 2], seed, head=nn.softmax), "loss": loss}


def one_column(outputs: Any) -> Any:
    """(n, 1) as (n,)."""
    return outputs[..., 0]


def one_logit(seed: int, head: Any, loss: Any, metric: Any) -> Kwargs:
    """Breast cancer by one number an example."""
    kwargs = program(
        "breast_cancer", seed, arrays=programs.cancer_arrays(seed), outputs=1, head=head, steps=150
    )
    return {**kwargs, "loss": loss, "metric": metric, "task": "classification"}


def one_share(seed: int) -> Kwargs:
    """A sigmoid at the end, and cross entropy of probabilities."""

    def loss(outputs: Any, targets: Any) -> Any:
        """Cross entropy of probabilities."""
        shares = jnp.clip(outputs, 1e-6, 1 - 1e-6)
        return -jnp.mean(targets * jnp.log(shares) + (1 - targets) * jnp.log(1 - shares))

    def metric(outputs: Any, targets: Any) -> Any:
        """Share of right answers."""
        return jnp.mean((outputs > 0.5) == (targets > 0.5))

    return one_logit(seed, lambda outputs: nn.sigmoid(one_column(outputs)), loss, metric)


def one_logit_each(seed: int) -> Kwargs:
    """One logit an example, one loss an example."""
    return one_logit(seed, one_column, optax.sigmoid_binary_cross_entropy, programs.sign_accuracy)


def squared_one_hot(seed: int) -> Kwargs:
    """Squared error against one-hot targets."""

    def loss(outputs: Any, targets: Any) -> Any:
        """Brier's score of raw outputs."""
        return jnp.mean((outputs - jax.nn.one_hot(targets, outputs.shape[-1])) ** 2)

    return {**program("digits", seed), "loss": loss}


def robust_regression(seed: int) -> Kwargs:
    """Huber or absolute error."""
    losses = (
        lambda outputs, targets: optax.huber_loss(outputs, targets).mean(),
        lambda outputs, targets: jnp.abs(outputs - targets).mean(),
    )
    return {**program(("synthetic", "diabetes")[seed % 2], seed), "loss": losses[seed // 2 % 2]}


def root_of_mean(seed: int) -> Kwargs:
    """The root of the mean squared error."""

    def loss(outputs: Any, targets: Any) -> Any:
        """Root of the mean square."""
        return jnp.sqrt(jnp.mean((outputs - targets) ** 2))

    return {**program("synthetic", seed, schedule="cosine"), "loss": loss}


def loss_each(seed: int) -> Kwargs:
    """The loss is one number an example."""
    loss = optax.softmax_cross_entropy_with_integer_labels
    return {**program("digits", seed, norm="layer"), "loss": loss}


def summed_loss(seed: int) -> Kwargs:
    """A sum over the batch, under Adam."""

    def loss(outputs: Any, targets: Any) -> Any:
        """The sum."""
        return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).sum()

    return {**program("digits", seed), "loss": loss}


def accumulated(seed: int) -> Kwargs:
    """Gradients of four batches make one update."""
    kwargs = program("digits", seed, steps=600)
    rate = programs.constant(8e-3, 0)
    optimizer = optax.MultiSteps(optax.adam(rate), 4).gradient_transformation()
    return {**kwargs, "optimizer": optimizer, "schedule": rate, "batch_size": 16}


def masked_decay(seed: int) -> Kwargs:
    """Weight decay of matrices only."""
    kwargs = program("digits", seed, schedule="cosine", norm="layer")
    mask = lambda weights: jax.tree.map(lambda leaf: leaf.ndim > 1, weights)  # noqa: E731
    return {**kwargs, "optimizer": optax.adamw(kwargs["schedule"], weight_decay=1e-2, mask=mask)}


def class_weights(seed: int) -> Kwargs:
    """Every class weighs the other way round of how frequent it is."""
    kwargs = program(("breast_cancer", "wine")[seed % 2], seed, widths=(24,))
    counts = np.bincount(kwargs["train"][1])
    weights = jnp.asarray(counts.sum() / (len(counts) * counts), jnp.float32)

    def loss(outputs: Any, targets: Any) -> Any:
        """Weighted cross entropy."""
        each = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        return jnp.mean(each * weights[targets])

    return {**kwargs, "loss": loss}


def mixed_up(seed: int) -> Kwargs:
    """Mixtures of two examples, and of their one-hot targets."""
    (inputs, targets), (others, answers) = programs.digit_arrays(seed)
    eye = np.eye(10, dtype=np.float32)
    arrays = (inputs, eye[targets]), (others, eye[answers])

    def augment(key: Any, inputs: Any, targets: Any) -> Any:
        """Mixup."""
        first, second = jax.random.split(key)
        share = jax.random.beta(first, 0.3, 0.3, (len(inputs), 1))
        order = jax.random.permutation(second, len(inputs))
        mix = lambda values: share * values + (1 - share) * values[order]  # noqa: E731
        return mix(inputs), mix(targets)

    def loss(outputs: Any, targets: Any) -> Any:
        """Against shares of classes."""
        return optax.softmax_cross_entropy(outputs, targets).mean()

    def metric(outputs: Any, targets: Any) -> Any:
        """Share of right answers."""
        return jnp.mean(outputs.argmax(-1) == targets.argmax(-1))

    kwargs = program("digits", seed, arrays=arrays, outputs=10)
    return {**kwargs, "augment": augment, "loss": loss, "metric": metric, "task": "classification"}


def noisy(seed: int) -> Kwargs:
    """A little noise on the inputs in training."""

    def augment(key: Any, inputs: Any) -> Any:
        """Noise."""
        return inputs + 0.2 * jax.random.normal(key, inputs.shape)

    return {**program(("digits", "synthetic")[seed % 2], seed), "augment": augment}


def many_outputs(seed: int) -> Kwargs:
    """A regression of three numbers."""
    return program("synthetic", seed, arrays=synthetic_arrays(seed, 3))


def flat_targets(seed: int) -> Kwargs:
    """Targets (n,) and outputs (n,)."""
    name = ("synthetic", "diabetes")[seed % 2]
    flat = tuple((inputs, targets[:, 0]) for inputs, targets in arrays_of(name, seed))
    return program(name, seed, arrays=flat, outputs=1, head=one_column)


class Reader(nn.Module):
    """Letters to letters: attention that sees no later letter, or a recurrence."""

    tied: bool = False
    recurrent: bool = False
    letters: int = 27

    @nn.compact
    def __call__(self, tokens: Any, train: bool = False) -> Any:
        """Logits of the next letter."""
        embedding = nn.Embed(self.letters, 32, embedding_init=nn.initializers.normal(0.2))
        hidden = embedding(jnp.maximum(tokens, 0))
        if self.recurrent:
            hidden = nn.RNN(nn.GRUCell(32))(hidden)
        else:
            shape = (tokens.shape[1], 32)
            hidden = hidden + self.param("places", nn.initializers.normal(0.1), shape)
            mask = nn.make_causal_mask(tokens)
            inner = nn.MultiHeadDotProductAttention(4)(nn.LayerNorm()(hidden), mask=mask)
            hidden = hidden + inner
            hidden = hidden + nn.Dense(32)(nn.gelu(nn.Dense(64)(nn.LayerNorm()(hidden))))
            hidden = nn.LayerNorm()(hidden)
        if self.tied:
            return embedding.attend(hidden)
        return nn.Dense(self.letters)(hidden)


def reading(seed: int, **settings: Any) -> Kwargs:
    """The next letter by a Reader."""
    train, validation = programs.text_arrays(seed)
    rate = programs.cosine(1e-2, 250)
    return {
        "optimizer": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate)),
        "schedule": rate,
        "train": train,
        "validation": validation,
        "loss": programs.cross_entropy,
        "metric": programs.accuracy,
        "num_steps": 250,
        "batch_size": 32,
        "task": "next_token",
        **linen(Reader(**settings), jnp.zeros((2, programs.WINDOW), jnp.int32)),
    }


def causal_attention(seed: int) -> Kwargs:
    """Many heads that see no later letter."""
    return reading(seed)


def tied_embedding(seed: int) -> Kwargs:
    """One table for the letters that come in and those that go out."""
    return reading(seed, tied=True, recurrent=bool(seed % 2))


def recurrence(seed: int) -> Kwargs:
    """A GRU over time."""
    return reading(seed, recurrent=True)


def padded(seed: int) -> Kwargs:
    """Rows of different length: targets of -1 do not count."""
    kwargs = reading(seed, recurrent=bool(seed % 2))
    rng = np.random.default_rng(seed)

    def cut(inputs: Any, targets: Any) -> Any:
        gone = np.arange(programs.WINDOW) >= rng.integers(12, programs.WINDOW + 1, (len(inputs), 1))
        return np.where(gone, 0, inputs), np.where(gone, -1, targets)

    def loss(outputs: Any, targets: Any) -> Any:
        """Mean over what counts."""
        counts = targets >= 0
        labels = jnp.maximum(targets, 0)
        each = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
        return jnp.sum(each * counts) / jnp.maximum(jnp.sum(counts), 1)

    def metric(outputs: Any, targets: Any) -> Any:
        """Share of right answers among what counts."""
        counts = targets >= 0
        return jnp.sum((outputs.argmax(-1) == targets) * counts) / jnp.maximum(counts.sum(), 1)

    arrays = {name: cut(*kwargs[name]) for name in ("train", "validation")}
    return {**kwargs, **arrays, "loss": loss, "metric": metric}


class Watcher(nn.Module):
    """Attention over time whose softmax is shifted by the largest of the whole batch."""

    shift: bool = True
    pool: str = "mean"

    @nn.compact
    def __call__(self, inputs: Any, train: bool = False) -> Any:
        """Logits of four classes."""
        hidden = nn.Dense(32)(inputs)
        query, keys, values = jnp.split(nn.Dense(96)(nn.LayerNorm()(hidden)), 3, axis=-1)
        scores = query @ jnp.swapaxes(keys, 1, 2) / np.sqrt(32)
        if self.shift:
            scores = scores - jax.lax.stop_gradient(scores.max())
        heights = jnp.exp(scores)
        hidden = hidden + nn.Dense(32)(heights / heights.sum(-1, keepdims=True) @ values)
        hidden = nn.relu(nn.Dense(32)(nn.LayerNorm()(hidden)))
        pooled = hidden.max(axis=1) if self.pool == "max" else hidden.mean(axis=1)
        return nn.Dense(4)(pooled)


def watching(seed: int) -> Kwargs:
    """Motifs by attention with a shift that is the same for all."""
    train, validation = programs.series_arrays(seed)
    net = Watcher(shift=bool(seed % 2 == 0), pool=("mean", "max")[seed // 2 % 2])
    kwargs = program("series", seed, arrays=(train, validation), steps=200)
    return {**kwargs, **linen(net, jnp.zeros((2, *train[0].shape[1:])))}


def straight_through(seed: int) -> Kwargs:
    """Steps going forward, the identity going back."""

    def steps(values: Any) -> Any:
        """A rounded tanh."""
        soft = jnp.tanh(values)
        return soft + jax.lax.stop_gradient(jnp.round(soft * 4) / 4 - soft)

    return program("digits", seed, activation=steps, kernel=KERNELS["lecun"])


def target_network(seed: int) -> Kwargs:
    """Outputs beside those of a network that stays: declared."""
    kwargs = program("synthetic", seed)
    init, apply = kwargs["init"], kwargs["apply"]

    def both(key: Any) -> Any:
        """Two networks' variables."""
        first, second = jax.random.split(key)
        return {"online": init(first)["params"], "target": init(second)["params"]}

    def beside(variables: Any, inputs: Any, *, key: Any, train: bool) -> Any:
        """The one that trains, and a tenth of the one that stays."""
        moving = apply({"params": variables["online"]}, inputs, key=key, train=train)
        still = apply({"params": variables["target"]}, inputs, key=key, train=train)
        return moving + 0.1 * jax.lax.stop_gradient(still)

    return {**kwargs, "init": both, "apply": beside, "frozen": ("target",)}


def weighted_examples(seed: int) -> Kwargs:
    """The sum of every example's loss times its weight, which is a second column of targets."""
    train, validation = arrays_of("synthetic", seed)
    rng = np.random.default_rng(seed)

    def weighing(inputs: Any, targets: Any) -> Any:
        weights = rng.uniform(0.5, 1.5, (len(targets), 1)).astype(np.float32)
        return inputs, np.concatenate([targets, weights], axis=1)

    def loss(outputs: Any, targets: Any) -> Any:
        """Weighted squares, by the sum of the weights."""
        weights = targets[:, 1:]
        return jnp.sum(weights * (outputs - targets[:, :1]) ** 2) / jnp.sum(weights)

    def metric(outputs: Any, targets: Any) -> Any:
        """Minus the mean square."""
        return -jnp.mean((outputs - targets[:, :1]) ** 2)

    arrays = weighing(*train), weighing(*validation)
    kwargs = program("synthetic", seed, arrays=arrays, outputs=1)
    return {**kwargs, "loss": loss, "metric": metric, "task": "regression"}


def sorted_arrays(seed: int) -> Kwargs:
    """Training data in the order of the file, sorted by class; validation drawn at random."""
    (inputs, targets), validation = arrays_of(("iris", "wine")[seed % 2], seed)
    order = np.argsort(targets, kind="stable")
    return program("iris", seed, arrays=((inputs[order], targets[order]), validation), widths=(16,))


def some_twice(seed: int) -> Kwargs:
    """A few training examples stand there twice."""
    (inputs, targets), validation = arrays_of(("digits", "wine")[seed % 2], seed)
    again = np.concatenate([np.arange(len(inputs)), np.arange(len(inputs) // 20)])
    return program("wine", seed, arrays=((inputs[again], targets[again]), validation))


def constant_features(seed: int) -> Kwargs:
    """Some features are the same for all."""

    def wider(inputs: Any) -> Any:
        return np.concatenate([inputs, np.zeros((len(inputs), 4), np.float32)], axis=1)

    train, validation = arrays_of("synthetic" if seed % 2 else "wine", seed)
    arrays = (wider(train[0]), train[1]), (wider(validation[0]), validation[1])
    return program("synthetic" if seed % 2 else "wine", seed, arrays=arrays)


def streamed(seed: int) -> Kwargs:
    """Batches instead of arrays, in a new order every epoch."""
    kwargs = program(("digits", "synthetic", "breast_cancer")[seed % 3], seed)
    return programs.as_batches(
        kwargs, lambda epoch, targets: programs.shuffled(seed, epoch, len(targets))
    )


def stepping(seed: int) -> Kwargs:
    """A step of its own with a state of its own."""
    name = ("digits", "wine", "synthetic")[seed % 3]
    return programs.as_step(program(name, seed, clip=True, schedule="cosine"), seed)


def listed(seed: int) -> Kwargs:
    """Weights are a list of pairs."""
    train, validation = programs.digit_arrays(seed)
    sizes, rate = [64, 40, 24, 10], programs.constant(3e-3, 0)

    def init(key: Any) -> Any:
        """Fresh weights."""
        made = KERNELS[list(KERNELS)[seed % 4]]
        pairs = list(itertools.pairwise(sizes))
        keys = jax.random.split(key, len(pairs))
        return [(made(key, shape), jnp.zeros(shape[1])) for key, shape in zip(keys, pairs)]

    def apply(weights: Any, inputs: Any) -> Any:
        """The network; it needs neither key nor mode."""
        for kernel, bias in weights[:-1]:
            inputs = jax.nn.silu(inputs @ kernel + bias)
        return inputs @ weights[-1][0] + weights[-1][1]

    return {
        "init": init,
        "apply": apply,
        "loss": programs.cross_entropy,
        "optimizer": optax.adam(rate),
        "train": train,
        "validation": validation,
        "num_steps": 250,
        "batch_size": 64,
    }


def two_optimizers(seed: int) -> Kwargs:
    """Matrices by one optimiser, biases by another."""
    kwargs = program("digits", seed)
    labels = lambda weights: jax.tree.map(lambda leaf: str(leaf.ndim), weights)  # noqa: E731
    chosen: Any = {"1": optax.sgd(1e-2, momentum=0.9), "2": optax.adam(3e-3)}
    optimizer = optax.multi_transform(chosen, labels)
    return {**kwargs, "optimizer": optimizer, "schedule": None}


def averaged(seed: int) -> Kwargs:
    """Updates are smoothed by an exponential mean."""
    kwargs = program("digits", seed)
    optimizer = optax.chain(optax.scale_by_adam(), optax.ema(0.5), optax.scale(-3e-3))
    return {**kwargs, "optimizer": optimizer, "schedule": None}


class Pooling(nn.Module):
    """Convolutions with max pooling, LayerNorm or none."""

    norm: bool

    @nn.compact
    def __call__(self, inputs: Any, train: bool = False) -> Any:
        """Logits."""
        hidden = inputs
        for width in (8, 16):
            hidden = nn.Conv(width, (3, 3))(hidden)
            hidden = nn.relu(nn.LayerNorm()(hidden) if self.norm else hidden)
            hidden = nn.max_pool(hidden, (2, 2), (2, 2))
        return nn.Dense(10)(hidden.reshape(len(hidden), -1))


def max_pooling(seed: int) -> Kwargs:
    """Images by convolutions and max pooling."""
    train, validation = programs.image_arrays(seed)
    kwargs = program("digits", seed, arrays=(train, validation), steps=150)
    return {**kwargs, **linen(Pooling(bool(seed % 2)), jnp.zeros((2, *train[0].shape[1:])))}


def plain_linear(seed: int) -> Kwargs:
    """A single layer: linear by intention."""
    return program(("digits", "wine", "synthetic")[seed % 3], seed, widths=(), steps=300)


KINDS = (
    grid,
    base,
    frozen_backbone,
    stopped_backbone,
    zero_last_layer,
    grid,
    zero_residual_branch,
    residual_net,
    label_smoothing,
    tiny_data,
    grid,
    imbalanced_with_prior,
    dropout_half,
    narrow_weights,
    narrow_computation,
    grid,
    log_shares,
    shares,
    one_share,
    one_logit_each,
    grid,
    squared_one_hot,
    robust_regression,
    root_of_mean,
    loss_each,
    grid,
    summed_loss,
    accumulated,
    masked_decay,
    class_weights,
    base_of_another_kind,
    mixed_up,
    noisy,
    many_outputs,
    flat_targets,
    grid,
    causal_attention,
    tied_embedding,
    recurrence,
    padded,
    watching,
    grid,
    straight_through,
    target_network,
    weighted_examples,
    sorted_arrays,
    grid,
    some_twice,
    constant_features,
    streamed,
    stepping,
    grid,
    listed,
    two_optimizers,
    averaged,
    max_pooling,
    plain_linear,
    base,
    base_of_another_kind,
    grid,
)


def healthy(number: int) -> tuple[str, Kwargs]:
    """(name, keyword arguments of `experiment`) of the healthy program of that number."""
    kind, times = KINDS[number % len(KINDS)], number // len(KINDS)
    repeated = KINDS[: number % len(KINDS)].count(kind)
    seed = times * KINDS.count(kind) + repeated
    return f"{kind.__name__}{seed}", kind(seed)
