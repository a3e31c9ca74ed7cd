"""One function for every fault of the catalogue that can be seen through `experiment`.

A plant is (program, strength, seed) -> keyword arguments of `experiment` with the fault in them, or
None where it does not apply. Strength is "mild" or "severe". The decorator says which row it is.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import recipe_jax
from scripts.faults import programs
from scripts.faults.programs import Parts

Kwargs = dict[str, Any]
PLANTS: dict[str, Callable[..., Kwargs | None]] = {}
TRANSFORMATION: Any = optax.GradientTransformation
# Rows that no observation tells apart.
SAME = ({"A1", "B1"}, {"A4", "F2"}, {"C13", "C14"}, {"C16", "F3"}, {"E6", "E7"})
NOT_PLANTED = {
    "B9": "whether statistics were fitted on train and validation is not seen in the arrays",
    "F5": "how often a test set was looked at is not part of the interface",
    "F6": "how a best checkpoint is chosen is not part of the interface",
}


def row(name: str, **facts: Any) -> Callable[..., Any]:
    """Says which row a plant is of.

    wrong_number: it makes a reported number better or wrong, not the model worse
    cost_only: it costs nothing in score
    own_data: its own validation arrays are what it is scored on
    by_metric: its outputs mean something else, so that the metric and the loss at the best scale
        judge it
    also: rows that no observation tells apart from it as it is planted here
    """

    def mark(plant: Callable[..., Any]) -> Callable[..., Any]:
        plant.row = name
        plant.equal = next((same for same in SAME if name in same), {name}) | facts.get(
            "also", set()
        )
        for fact in ("wrong_number", "cost_only", "own_data", "by_metric"):
            setattr(plant, fact, facts.get(fact, False))
        PLANTS[plant.__name__] = plant
        return plant

    return mark


def pick(strength: str, severe: Any, mild: Any) -> Any:
    """One of the two, by the strength."""
    return severe if strength == "severe" else mild


def with_data(program: Any, seed: int, change: Callable[..., Any]) -> Kwargs:
    """The program on other arrays: (train, validation, rng) -> both."""
    return program(seed, Parts(data=change))


def on_train(change: Callable[..., Any]) -> Callable[..., Any]:
    """A change of the training arrays alone: (inputs, targets, rng) -> both."""
    return lambda train, validation, rng: (change(*train, rng), validation)


def on_inputs(change: Callable[..., Any]) -> Callable[..., Any]:
    """The same change of the inputs of both: (inputs) -> inputs."""
    return lambda train, validation, _: (
        (change(train[0]), train[1]),
        (change(validation[0]), validation[1]),
    )


def streamed(program: Any) -> bool:
    """Whether it gives batches, not arrays."""
    return program is programs.digits_stream


def numeric(program: Any) -> bool:
    """Whether its inputs are numbers that can be scaled, not letters."""
    return program is not programs.text_gru


def continuous(program: Any) -> bool:
    """Whether its targets are numbers."""
    return program is programs.diabetes_mlp


def binary(program: Any) -> bool:
    """Whether it tells two classes apart by one logit."""
    return program is programs.cancer_step


def labelled(program: Any) -> bool:
    """Whether every example has one label of several."""
    return not continuous(program) and not binary(program) and numeric(program)


def by_logits(program: Any) -> bool:
    """Whether its outputs are logits of several classes."""
    return not continuous(program) and not binary(program)


def layered(program: Any) -> bool:
    """Whether it is a plain stack of layers with an activation between."""
    return numeric(program) and program is not programs.series_transformer


def other_targets(targets: Any, share: float, rng: Any) -> Any:
    """Targets, a share of them drawn again from all."""
    hit = rng.random(targets.shape) < share
    return np.where(hit, rng.permutation(targets.ravel()).reshape(targets.shape), targets)


def wrapped(kwargs: Kwargs, change: Callable[..., Any]) -> Kwargs:
    """The program with another apply: change is (apply, variables, inputs, key, train) -> outputs.

    The step of a program that makes its own is made again from the new apply.
    """
    inner: Any = recipe_jax.experiment(**kwargs).apply

    def apply(variables: Any, inputs: Any, *, key: Any, train: bool) -> Any:
        """The network, changed."""
        return change(inner, variables, inputs, key, train)

    return {**kwargs, "apply": apply}


def on_apply(program: Any, seed: int, change: Callable[..., Any], parts: Any = None) -> Any:
    """The program with its apply changed; None for a program whose step holds its own apply."""
    return None if binary(program) else wrapped(program(seed, parts or Parts()), change)


def on_loss(program: Any, seed: int, change: Callable[..., Any]) -> Kwargs:
    """The program with another loss: change is (loss, outputs, targets) -> number."""
    loss = program(seed)["loss"]
    return program(seed, Parts(loss=lambda outputs, targets: change(loss, outputs, targets)))


def on_updates(program: Any, seed: int, change: Callable[..., Any]) -> Kwargs:
    """The program with changed updates: (updates, weights, count) -> updates."""

    def wrap(inner: Any) -> Any:
        def init(weights: Any) -> Any:
            return inner.init(weights), jnp.zeros((), jnp.int32)

        def update(gradient: Any, state: Any, weights: Any = None) -> Any:
            updates, progress = inner.update(gradient, state[0], weights)
            return change(updates, weights, state[1]), (progress, state[1] + 1)

        return TRANSFORMATION(init, update)

    return program(seed, Parts(wrap=wrap))


def scaled(tree: Any, factor: Any) -> Any:
    """Every leaf times a number."""
    return jax.tree.map(lambda leaf: leaf * jnp.asarray(factor, leaf.dtype), tree)


def leafwise(tree: Any, change: Callable[..., Any]) -> Any:
    """Leaves by (number of the leaf, number of leaves, leaf) -> leaf."""
    leaves, structure = jax.tree.flatten(tree)
    changed = [change(number, len(leaves), leaf) for number, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, changed)


def dropped(values: Any, rate: float, key: Any) -> Any:
    """Dropout."""
    key = jax.random.key(0) if key is None else key
    kept = jax.random.bernoulli(key, 1 - rate, values.shape)
    return jnp.where(kept, values / (1 - rate), 0.0)


@row("A1")
def a1_shuffled_labels(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Targets have nothing to do with the inputs: shuffled, or one place off."""

    def change(inputs: Any, targets: Any, rng: Any) -> Any:
        moved = pick(strength, rng.permutation(targets), np.roll(targets, 1, axis=0))
        return inputs, moved

    return with_data(program, seed, on_train(change))


@row("A2")
def a2_label_noise(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A share of the training targets is drawn at random."""
    share = pick(strength, 0.5, 0.25)

    def change(inputs: Any, targets: Any, rng: Any) -> Any:
        return inputs, other_targets(targets, share, rng)

    return with_data(program, seed, on_train(change))


@row("A3")
def a3_conflicting_labels(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The same inputs stand in the training data again, with other targets."""
    share = pick(strength, 0.5, 0.15)

    def change(inputs: Any, targets: Any, rng: Any) -> Any:
        count, order = int(share * len(inputs)), rng.permutation(len(inputs))
        inputs = inputs.copy()
        inputs[order[:count]] = inputs[order[count : 2 * count]]
        return inputs, targets

    return with_data(program, seed, on_train(change))


def leaked(share: float, noise: float) -> Callable[..., Any]:
    """A share of the validation examples are training examples, with some noise."""

    def change(train: Any, validation: Any, rng: Any) -> Any:
        inputs, targets = (each.copy() for each in validation)
        count = int(share * len(inputs))
        taken = rng.choice(len(train[0]), count, replace=False)
        inputs[:count], targets[:count] = train[0][taken], train[1][taken]
        if noise:
            inputs[:count] += (noise * rng.normal(size=inputs[:count].shape)).astype(inputs.dtype)
        return train, (inputs, targets)

    return change


@row("A4", wrong_number=True)
def a4_duplicates_across_split(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Validation holds training examples."""
    return with_data(program, seed, leaked(pick(strength, 0.8, 0.2), 0.0))


@row("A5", wrong_number=True)
def a5_near_duplicates_across_split(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Validation holds training examples with a little noise on them."""
    if not numeric(program):
        return None
    return with_data(program, seed, leaked(pick(strength, 0.8, 0.3), 0.01))


@row("A6")
def a6_duplicates_in_train(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Training data are few examples, many times."""
    share = pick(strength, 0.05, 0.4)

    def change(inputs: Any, targets: Any, rng: Any) -> Any:
        few = rng.choice(len(inputs), max(8, int(share * len(inputs))), replace=False)
        taken = rng.choice(few, len(inputs))
        return inputs[taken], targets[taken]

    return with_data(program, seed, on_train(change))


@row("A7")
def a7_not_a_number(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Some inputs are NaN, or a number that stands for missing."""
    if not numeric(program):
        return None
    value = pick(strength, np.nan, -999.0)

    def change(inputs: Any, targets: Any, rng: Any) -> Any:
        return np.where(rng.random(inputs.shape) < 0.02, value, inputs).astype(np.float32), targets

    return with_data(program, seed, on_train(change))


@row("A8")
def a8_constant_features(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Features hold one number for every example."""
    if not numeric(program):
        return None
    share = pick(strength, 0.8, 0.3)

    def change(train: Any, validation: Any, rng: Any) -> Any:
        gone = rng.random(train[0].shape[1:]) < share
        return tuple(
            (np.where(gone, np.float32(0.0), inputs), targets)
            for inputs, targets in (train, validation)
        )

    return with_data(program, seed, change)


@row("A9", own_data=True)
def a9_unnormalised_inputs(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Inputs far from zero and wide."""
    if not numeric(program):
        return None
    scale, offset = pick(strength, (250.0, 100.0), (15.0, 30.0))
    return with_data(program, seed, on_inputs(lambda inputs: inputs * scale + offset))


@row("A10", own_data=True)
def a10_normalised_twice(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Inputs divided by their range a second time."""
    if not numeric(program):
        return None
    scale = pick(strength, 255.0**2, 255.0)
    return with_data(program, seed, on_inputs(lambda inputs: inputs / scale))


@row("A11", own_data=True)
def a11_unnormalised_targets(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Targets of a regression far from zero and wide."""
    if not continuous(program):
        return None
    scale, offset = pick(strength, (77.0, 152.0), (5.0, 10.0))
    return with_data(
        program,
        seed,
        lambda train, validation, _: tuple(
            (inputs, targets * scale + offset) for inputs, targets in (train, validation)
        ),
    )


@row("A12")
def a12_imbalance(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Classes missing in the training data, or almost."""
    if not (labelled(program) or binary(program)):
        return None

    def change(inputs: Any, targets: Any, rng: Any) -> Any:
        rare = targets >= (np.max(targets) + 1) // 2
        kept = ~rare | (rng.random(len(targets)) < pick(strength, 0.0, 0.03))
        return inputs[kept], targets[kept]

    return with_data(program, seed, on_train(change))


def first_component(inputs: Any) -> Any:
    """Where every example lies along the widest direction of the data."""
    rows = inputs.reshape(len(inputs), -1)
    rows = rows - rows.mean(axis=0)
    return rows @ np.linalg.svd(rows, full_matrices=False)[2][0]


@row("A13", own_data=True)
def a13_shift(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Validation comes from another part of the world than the training data."""
    if not numeric(program):
        return None

    def change(train: Any, validation: Any, rng: Any) -> Any:
        inputs = np.concatenate([train[0], validation[0]])
        targets = np.concatenate([train[1], validation[1]])
        place = first_component(inputs)
        place = place + pick(strength, 0.0, 1.0) * place.std() * rng.normal(size=len(place))
        order = np.argsort(place)
        cut = len(train[0])
        first, rest = np.sort(order[:cut]), np.sort(order[cut:])
        return (inputs[first], targets[first]), (inputs[rest], targets[rest])

    return with_data(program, seed, change)


@row("A14", wrong_number=True)
def a14_target_among_features(program: Any, strength: str, seed: int) -> Kwargs | None:
    """One feature is the target."""
    if not numeric(program):
        return None
    noise = pick(strength, 0.0, 0.05)

    def change(train: Any, validation: Any, rng: Any) -> Any:
        mean, deviation = np.mean(train[1]), np.std(train[1])

        def marked(inputs: Any, targets: Any) -> Any:
            inputs, told = inputs.copy(), (np.reshape(targets, len(targets)) - mean) / deviation
            told = told + noise * rng.normal(size=told.shape)
            inputs.reshape(len(inputs), -1)[:, 0] = told
            return inputs, targets

        return marked(*train), marked(*validation)

    return with_data(program, seed, change)


@row("A15", own_data=True)
def a15_split_in_order(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The file is sorted by target, and its end is the validation data."""
    if not numeric(program):
        return None

    def change(train: Any, validation: Any, rng: Any) -> Any:
        inputs = np.concatenate([train[0], validation[0]])
        targets = np.concatenate([train[1], validation[1]])
        values = targets.reshape(len(targets)).astype(float)
        values = values + pick(strength, 1e-3, 0.3) * values.std() * rng.normal(size=len(values))
        order, cut = np.argsort(values), len(train[0])
        return (inputs[order[:cut]], targets[order[:cut]]), (
            inputs[order[cut:]],
            targets[order[cut:]],
        )

    return with_data(program, seed, change)


def with_order(program: Any, seed: int, order: Callable[..., Any]) -> Kwargs | None:
    """The program as batches in the order (epoch, targets) -> indices."""
    return None if streamed(program) else programs.as_batches(program(seed), order)


@row("B1")
def b1_misaligned_batches(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Inputs are shuffled every epoch and their targets by another order."""
    if streamed(program):
        return None
    inputs, targets = program(seed)["train"]
    kwargs = programs.as_batches(program(seed), programs.as_is)

    def batches(epoch: int) -> Any:
        order = programs.shuffled(seed, epoch, len(inputs))
        shift = pick(strength, programs.shuffled(seed + 1, epoch, len(inputs)), np.roll(order, 1))
        for first in range(0, len(order) - 31, 32):
            yield inputs[order[first : first + 32]], targets[shift[first : first + 32]]

    return {**kwargs, "batches": batches}


@row("B2")
def b2_sorted_batches(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Batches come sorted by target."""

    def order(epoch: int, targets: Any) -> Any:
        values = targets.reshape(len(targets), -1)[:, 0].astype(float)
        rng = np.random.default_rng([seed, epoch])
        noise = pick(strength, 1e-3, 0.3) * values.std() * rng.normal(size=len(values))
        return np.argsort(values + noise)

    return with_order(program, seed, order)


@row("B3")
def b3_same_order(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Every epoch has the same order, or is shuffled only in a tiny buffer."""

    def order(epoch: int, targets: Any) -> Any:
        rng = np.random.default_rng([seed, epoch])
        if strength == "severe":
            return np.arange(len(targets))
        return np.argsort(np.arange(len(targets)) + rng.uniform(0, 16, len(targets)))

    return with_order(program, seed, order)


@row("B4")
def b4_same_augmentation(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Augmentation draws the same noise at every step, or for every example."""
    if not numeric(program):
        return None

    def augment(key: Any, inputs: Any) -> Any:
        """Noise on the inputs."""
        if strength == "severe":
            return inputs + 2.0 * jax.random.normal(jax.random.key(seed), inputs.shape)
        return inputs + 0.5 * jax.random.normal(key, inputs.shape[1:])

    return {**program(seed), "augment": augment}


@row("B5")
def b5_destroying_augmentation(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Augmentation destroys what the label stands for."""
    if not numeric(program):
        return None

    def augment(key: Any, inputs: Any) -> Any:
        """Inputs upside down, or under noise."""
        shape = (len(inputs),) + (1,) * (inputs.ndim - 1)
        hit = jax.random.bernoulli(key, 0.5, shape)
        if strength == "severe":
            return jnp.where(hit, -inputs, inputs) + 3.0 * jax.random.normal(key, inputs.shape)
        turned = inputs.reshape(len(inputs), -1)[:, ::-1].reshape(inputs.shape)
        return jnp.where(hit, turned, inputs)

    return {**program(seed), "augment": augment}


@row("B6")
def b6_augmented_at_eval(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Noise is put on the inputs also at evaluation."""
    if not numeric(program):
        return None
    size = pick(strength, 2.0, 0.7)

    def change(apply: Any, variables: Any, inputs: Any, key: Any, train: bool) -> Any:
        key = jax.random.key(0) if key is None else key
        noisy = inputs + size * jax.random.normal(jax.random.fold_in(key, 7), inputs.shape)
        return apply(variables, noisy, key=key, train=train)

    return on_apply(program, seed, change)


@row("B7")
def b7_wrong_axis(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Inputs are normalised by the batch that they happen to stand in, or each by itself."""
    if not numeric(program):
        return None

    def change(apply: Any, variables: Any, inputs: Any, key: Any, train: bool) -> Any:
        axes = 0 if strength == "severe" else tuple(range(inputs.ndim))
        mean, deviation = inputs.mean(axes), inputs.std(axes)
        return apply(variables, (inputs - mean) / (deviation + 1e-3), key=key, train=train)

    return on_apply(program, seed, change)


@row("B8", own_data=True)
def b8_other_statistics(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Validation is normalised otherwise than the training data, or not at all."""
    if not numeric(program):
        return None
    scale, offset = pick(strength, (20.0, 40.0), (0.5, 1.0))
    return with_data(
        program,
        seed,
        lambda train, validation, _: (train, (validation[0] * scale + offset, validation[1])),
    )


@row("B10")
def b10_labels_off_by_one(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Labels start at one, so that the last lies outside; or only some do."""
    if not by_logits(program):
        return None
    share = pick(strength, 1.1, 0.3)

    def change(train: Any, validation: Any, rng: Any) -> Any:
        return tuple(
            (inputs, targets + (rng.random(targets.shape) < share).astype(np.int32))
            for inputs, targets in (train, validation)
        )

    return with_data(program, seed, change)


@row("B10", own_data=True)
def b10_bytes_wrap(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Pixels went through bytes and wrapped around."""
    if program not in (programs.digits_mlp, programs.digits_cnn, programs.digits_stream):
        return None

    def change(inputs: Any) -> Any:
        bytes_ = (inputs * pick(strength, 400.0, 120.0)).astype(np.int32).astype(np.uint8)
        return (bytes_ / 64.0 - 2.0).astype(np.float32)

    return with_data(program, seed, on_inputs(change))


@row("B10", own_data=True)
def b10_wrong_layout(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Channels are taken for time: a reshape where a transpose belongs."""
    if program is not programs.series_transformer or strength == "mild":
        return None
    change = lambda inputs: np.swapaxes(inputs, 1, 2).reshape(inputs.shape)  # noqa: E731
    return with_data(program, seed, on_inputs(change))


@row("C1")
def c1_constant_init(program: Any, strength: str, seed: int) -> Kwargs | None:
    """All weights of a kernel start the same."""
    value = pick(strength, 0.0, 0.05)
    return program(seed, Parts(kernel=jax.nn.initializers.constant(value)))


@row("C2")
def c2_wrong_scale(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Weights start far too large, or far too small."""
    return program(seed, Parts(kernel=jax.nn.initializers.normal(pick(strength, 8.0, 1.0))))


@row("C2")
def c2_too_small(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Weights start far too small."""
    return program(seed, Parts(kernel=jax.nn.initializers.normal(pick(strength, 1e-6, 1e-3))))


@row("C3")
def c3_output_bias(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The last bias starts far from what the targets are on average."""
    size = pick(strength, 60.0, 8.0)

    def biases(key: Any, shape: Any, *_: Any) -> Any:
        """The first output stands out."""
        return jnp.zeros(shape).at[0].set(size)

    return program(seed, Parts(out_bias=biases))


@row("C4", by_metric=True)
def c4_activated_output(program: Any, strength: str, seed: int) -> Kwargs | None:
    """An activation stands after the last layer."""
    head = pick(strength, jax.nn.relu, jnp.tanh)
    if by_logits(program):
        head = pick(strength, lambda outputs: -jax.nn.relu(outputs), jax.nn.sigmoid)
    return program(seed, Parts(head=head))


@row("C4", by_metric=True)
def c4_relu_output(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A relu stands after the last layer, of classes."""
    if not by_logits(program):
        return None
    return program(seed, Parts(head=pick(strength, jax.nn.relu, jax.nn.relu6)))


@row("C5", by_metric=True)
def c5_double_softmax(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Probabilities go into a loss that wants logits."""
    if continuous(program):
        return None
    head = jax.nn.sigmoid if binary(program) else jax.nn.softmax
    if strength == "mild":
        return program(seed, Parts(head=lambda outputs: 3.0 * head(outputs)))
    return program(seed, Parts(head=head))


@row("C6")
def c6_hidden_softmax(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A softmax or a sigmoid of small values stands between hidden layers."""
    squash = pick(strength, jax.nn.softmax, jax.nn.sigmoid)

    def between(hidden: Any, layer: int, train: bool, key: Any) -> Any:
        return squash(hidden) if layer == 0 or strength == "severe" else hidden

    return program(seed, Parts(between=between))


@row("C6", by_metric=True)
def c6_softmax_of_one(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A softmax over a single output is always one."""
    if not continuous(program) or strength == "mild":
        return None
    return program(seed, Parts(head=jax.nn.softmax))


@row("C7")
def c7_linear_stack(program: Any, strength: str, seed: int) -> Kwargs | None:
    """No activation between the layers."""
    if not layered(program) or strength == "mild":
        return None
    return program(seed, Parts(activation=programs.as_is))


@row("C8")
def c8_saturated(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A tanh whose inputs are so large that it has no slope."""
    if not layered(program):
        return None
    size = pick(strength, 100.0, 15.0)
    return program(seed, Parts(activation=lambda values: jnp.tanh(size * values)))


@row("C9")
def c9_dead_relu(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Hidden biases so low that a relu never opens."""
    if not layered(program):
        return None
    bias = pick(strength, -30.0, -5.0)
    return program(seed, Parts(activation=jax.nn.relu, bias=bias))


@row("C10")
def c10_deep_sigmoids(program: Any, strength: str, seed: int) -> Kwargs | None:
    """So many sigmoids in a row that no gradient reaches the first."""
    if not layered(program) or program is programs.digits_cnn:
        return None
    kernel = jax.nn.initializers.lecun_normal()
    depth = pick(strength, 12, 5)
    return program(seed, Parts(activation=jax.nn.sigmoid, depth=depth, kernel=kernel))


@row("C10")
def c10_exploding(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Many layers, each of which makes everything larger."""
    if not layered(program) or program is programs.digits_cnn:
        return None
    kernel = jax.nn.initializers.variance_scaling(pick(strength, 40.0, 8.0), "fan_in", "normal")
    return program(seed, Parts(activation=jax.nn.relu, depth=8, kernel=kernel))


@row("C11")
def c11_across_the_batch(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Examples of a batch see each other."""

    def between(hidden: Any, layer: int, train: bool, key: Any) -> Any:
        if layer:
            return hidden
        if strength == "severe":
            return jax.nn.softmax(hidden, axis=0) * len(hidden)
        return hidden + jnp.roll(hidden, 1, axis=0)

    return program(seed, Parts(between=between))


@row("C11")
def c11_reshaped(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A reshape where a transpose belongs mixes examples."""
    if strength == "mild":
        return None

    def between(hidden: Any, layer: int, train: bool, key: Any) -> Any:
        if layer:
            return hidden
        flat = hidden.reshape(len(hidden), -1)
        return flat.T.reshape(hidden.shape)

    return program(seed, Parts(between=between))


@row("C12")
def c12_unused_weights(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Weights that nothing reads."""
    if program in (programs.series_transformer, programs.cancer_step):
        return None
    kwargs = program(seed)
    init, width = kwargs["init"], pick(strength, 64, 4)

    def with_spare(key: Any) -> Any:
        """Fresh variables and a layer more."""
        variables, spare = init(key), {"kernel": jax.random.normal(key, (width, width))}
        if "params" in variables:
            return {**variables, "params": {**variables["params"], "spare": spare}}
        return {**variables, "spare": spare}

    def change(apply: Any, variables: Any, inputs: Any, key: Any, train: bool) -> Any:
        if "params" in variables:
            own = {name: each for name, each in variables["params"].items() if name != "spare"}
            outputs, after = apply({**variables, "params": own}, inputs, key=key, train=train)
            return outputs, {**after, "params": variables["params"]}
        own = {name: each for name, each in variables.items() if name != "spare"}
        return apply(own, inputs, key=key, train=train)[0], variables

    return {**wrapped(kwargs, change), "init": with_spare}


@row("C13")
def c13_detached(program: Any, strength: str, seed: int) -> Kwargs | None:
    """No gradient reaches a part of the network."""
    last = pick(strength, 1, 0)

    def between(hidden: Any, layer: int, train: bool, key: Any) -> Any:
        cut = layer == last or binary(program)
        return jax.lax.stop_gradient(hidden) if cut else hidden

    return program(seed, Parts(between=between))


@row("C14")
def c14_rounded(program: Any, strength: str, seed: int) -> Kwargs | None:
    """An operation without a gradient stands on the path."""
    operation = pick(strength, jnp.sign, lambda hidden: jnp.round(8 * hidden) / 8)

    def between(hidden: Any, layer: int, train: bool, key: Any) -> Any:
        return hidden if layer else operation(hidden)

    return program(seed, Parts(between=between))


@row("C15")
def c15_extra_outputs(program: Any, strength: str, seed: int) -> Kwargs | None:
    """More outputs than there are classes."""
    if not by_logits(program):
        return None
    return program(seed, Parts(extra=pick(strength, 990, 5)))


@row("C16")
def c16_dropout_at_eval(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Dropout is active at evaluation too."""
    rate = pick(strength, 0.5, 0.2)
    return program(
        seed, Parts(between=lambda hidden, layer, train, key: dropped(hidden, rate, key))
    )


@row("C16")
def c16_keep_is_drop(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The probability to keep was taken for that to drop."""
    rate = pick(strength, 0.95, 0.85)

    def between(hidden: Any, layer: int, train: bool, key: Any) -> Any:
        return dropped(hidden, rate, key) if train else hidden

    return program(seed, Parts(between=between))


@row("C16")
def c16_dropout_never(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Dropout does nothing in training, and something at evaluation."""
    rate = pick(strength, 0.7, 0.4)

    def between(hidden: Any, layer: int, train: bool, key: Any) -> Any:
        return hidden if train else dropped(hidden, rate, key)

    return program(seed, Parts(between=between))


@row("C17")
def c17_norm_mode(program: Any, strength: str, seed: int) -> Kwargs | None:
    """BatchNorm's statistics are never updated, or those of the batch serve at evaluation."""
    if program is not programs.digits_cnn:
        return None
    return program(seed, Parts(norm=pick(strength, "never_updated", "always_train")))


@row("D1")
def d1_wrong_sign(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The loss is turned around."""
    if strength == "mild":
        return None
    return on_loss(program, seed, lambda loss, outputs, targets: -loss(outputs, targets))


@row("D2")
def d2_sum(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A sum over the batch, or a mean taken twice."""

    def change(loss: Any, outputs: Any, targets: Any) -> Any:
        count = len(outputs)
        return loss(outputs, targets) * pick(strength, float(count), 1.0 / count)

    return on_loss(program, seed, change)


@row("D3")
def d3_wrong_axis(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The softmax of the loss runs over the batch."""
    if not by_logits(program) or strength == "mild":
        return None

    def loss(outputs: Any, targets: Any) -> Any:
        """Cross entropy over the wrong axis."""
        logs = jax.nn.log_softmax(outputs, axis=0)
        return -jnp.mean(jnp.take_along_axis(logs, targets[..., None], axis=-1))

    return program(seed, Parts(loss=loss))


@row("D4")
def d4_broadcast(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Outputs (n, 1) minus targets (n,) are (n, n)."""
    if by_logits(program) or strength == "mild":
        return None

    def loss(outputs: Any, targets: Any) -> Any:
        """Every output against every target."""
        outputs, targets = outputs.reshape(-1, 1), targets.reshape(-1)
        if binary(program):
            return jnp.mean(jnp.logaddexp(0.0, outputs) - outputs * targets)
        return jnp.mean((outputs - targets) ** 2)

    return program(seed, Parts(loss=loss))


@row("D5", by_metric=True)
def d5_logits_as_probabilities(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Logits go into a loss that wants probabilities."""
    if continuous(program):
        return None
    floor = pick(strength, 1e-7, 1e-2)

    def loss(outputs: Any, targets: Any) -> Any:
        """Minus the log of what is no probability."""
        shares = jnp.clip(outputs, floor, 1.0)
        if binary(program):
            other = jnp.clip(1.0 - outputs, floor, 1.0)
            return -jnp.mean(targets * jnp.log(shares) + (1 - targets) * jnp.log(other))
        taken = jnp.take_along_axis(shares, targets[..., None], axis=-1)
        return -jnp.mean(jnp.log(taken))

    return program(seed, Parts(loss=loss))


@row("D6", by_metric=True)
def d6_wrong_loss(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A loss for another kind of task."""
    if binary(program):
        return None

    def loss(outputs: Any, targets: Any) -> Any:
        """Of another task."""
        if continuous(program) and strength == "severe":
            return -jnp.mean(targets * jax.nn.log_softmax(outputs, axis=-1))
        if continuous(program):
            return optax.sigmoid_binary_cross_entropy(outputs, targets).mean()
        if strength == "severe":
            return jnp.mean((outputs - targets[..., None]) ** 2)
        return optax.sigmoid_binary_cross_entropy(outputs, (targets[..., None] > 0) * 1.0).mean()

    return program(seed, Parts(loss=loss))


@row("D7")
def d7_smoothing(program: Any, strength: str, seed: int) -> Kwargs | None:
    """So much label smoothing that hardly a label is left."""
    if continuous(program):
        return None
    share = pick(strength, 0.95, 0.6)

    def loss(outputs: Any, targets: Any) -> Any:
        """Cross entropy against smoothed labels."""
        if binary(program):
            return programs.logistic(outputs, targets * (1 - share) + share / 2)
        hot = optax.smooth_labels(jax.nn.one_hot(targets, outputs.shape[-1]), share)
        return optax.softmax_cross_entropy(outputs, hot).mean()

    return program(seed, Parts(loss=loss))


@row("D7")
def d7_inverted_weights(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Class weights that leave hardly anything of most classes."""
    if not by_logits(program):
        return None
    weight = pick(strength, 0.0, 0.02)

    def loss(outputs: Any, targets: Any) -> Any:
        """Weighted cross entropy."""
        single = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
        return jnp.mean(single * jnp.where(targets < 2, 1.0, weight))

    return program(seed, Parts(loss=loss))


@row("D8")
def d8_detached_loss(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The loss does not depend on the weights, or the outputs not on the inputs."""
    if strength == "severe":
        return on_loss(
            program,
            seed,
            lambda loss, outputs, targets: loss(jax.lax.stop_gradient(outputs), targets),
        )
    if not numeric(program):
        return None
    return on_apply(
        program,
        seed,
        lambda apply, variables, inputs, key, train: apply(
            variables, inputs * 0.0, key=key, train=train
        ),
    )


@row("D9")
def d9_penalty(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A penalty on the weights outweighs the loss of the data."""
    if binary(program) or streamed(program):
        return None
    size = pick(strength, 10.0, 0.1)

    def penalty(weights: Any) -> Any:
        return size * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(weights))

    return programs.as_step(program(seed), seed, penalty)


@row("E1")
def e1_rate_too_high(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The learning rate is far too high."""
    return program(seed, Parts(rate=pick(strength, 1000.0, 100.0)))


@row("E2")
def e2_rate_too_low(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The learning rate is far too low."""
    return program(seed, Parts(rate=pick(strength, 1e-4, 1e-2)))


@row("E3")
def e3_schedule_ends(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The schedule reaches zero long before the end."""
    share = pick(strength, 0.05, 0.2)

    def schedule(rate: float, steps: int) -> Any:
        """Done too early."""
        return optax.cosine_decay_schedule(rate, max(1, int(share * steps)))

    return program(seed, Parts(schedule=schedule))


@row("E3")
def e3_endless_warmup(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A warm-up far longer than the run."""
    times = pick(strength, 500, 30)
    return program(
        seed,
        Parts(schedule=lambda rate, steps: optax.linear_schedule(0.0, rate, times * steps)),
    )


@row("E4")
def e4_tight_clip(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A clip so tight that it is what sets the size of the updates."""
    norm = pick(strength, 1e-4, 2e-3)
    if binary(program):
        wrap = lambda inner: optax.chain(optax.clip_by_global_norm(norm), inner)  # noqa: E731
    else:
        wrap = lambda inner: optax.chain(inner, optax.clip_by_global_norm(norm))  # noqa: E731
    return program(seed, Parts(wrap=wrap))


@row("E5")
def e5_huge_decay(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Decay pulls all weights to zero."""
    share = pick(strength, 0.3, 0.03)
    return on_updates(
        program,
        seed,
        lambda updates, weights, count: jax.tree.map(
            lambda update, weight: update - share * weight, updates, weights
        ),
    )


@row("E6")
def e6_subset(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The optimiser moves only a part of the weights."""

    def change(updates: Any, weights: Any, count: Any) -> Any:
        def kept(number: int, total: int, leaf: Any) -> Any:
            moved = number >= total - 2 if strength == "severe" else number >= 2
            return leaf if moved else jnp.zeros_like(leaf)

        return leafwise(updates, kept)

    return on_updates(program, seed, change)


@row("E6")
def e6_state_not_kept(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The state of the optimiser is made again at every step."""
    if strength == "mild":
        return None

    def wrap(inner: Any) -> Any:
        return TRANSFORMATION(
            inner.init,
            lambda gradient, state, weights=None: (
                inner.update(gradient, state, weights)[0],
                state,
            ),
        )

    return program(seed, Parts(wrap=wrap))


@row("E7")
def e7_update_discarded(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The new weights are thrown away, always or nearly."""
    every = pick(strength, 10**9, 20)

    def change(updates: Any, weights: Any, count: Any) -> Any:
        return scaled(updates, (count % every == every - 1).astype(jnp.float32))

    return on_updates(program, seed, change)


@row("E8")
def e8_never_cleared(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Gradients add up and are never cleared, or only now and then."""

    def wrap(inner: Any) -> Any:
        def init(weights: Any) -> Any:
            return inner.init(weights), jax.tree.map(jnp.zeros_like, weights), jnp.zeros((), int)

        def update(gradient: Any, state: Any, weights: Any = None) -> Any:
            progress, total, count = state
            kept = 1.0 if strength == "severe" else (count % 25 != 0) * 1.0
            total = jax.tree.map(lambda old, new: kept * old + new, total, gradient)
            updates, progress = inner.update(total, progress, weights)
            return updates, (progress, total, count + 1)

        return TRANSFORMATION(init, update)

    return program(seed, Parts(wrap=wrap))


@row("E9")
def e9_wrong_constants(program: Any, strength: str, seed: int) -> Kwargs | None:
    """An epsilon that freezes, or a momentum that runs away."""
    if binary(program):
        momentum = pick(strength, 0.9999, 0.995)
        return program(seed, Parts(optimizer=lambda rate: optax.sgd(rate, momentum=momentum)))
    eps = pick(strength, 100.0, 1.0)
    return program(seed, Parts(optimizer=lambda rate: optax.adam(rate, eps=eps)))


@row("E9")
def e9_wrong_momentum(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Moments with so long a memory that they do not follow."""
    if binary(program):
        return None
    first, second = pick(strength, (0.9995, 0.5), (0.995, 0.9))
    return program(
        seed, Parts(optimizer=lambda rate: optax.adam(rate, b1=first, b2=second, eps=1e-16))
    )


@row("E10")
def e10_ascent(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Updates go uphill, all or those of the first layer."""

    def change(updates: Any, weights: Any, count: Any) -> Any:
        return leafwise(
            updates,
            lambda number, total, leaf: -leaf if strength == "severe" or number < 2 else leaf,
        )

    return on_updates(program, seed, change)


@row("E11")
def e11_too_few_steps(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The run ends long before anything is learnt."""
    return program(seed, Parts(num_steps=pick(strength, 5, 25)))


@row("E11")
def e11_whole_batch(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A batch of everything, for a few epochs; or of one."""
    if "train" not in program(seed):
        return None
    kwargs = program(seed, Parts(num_steps=pick(strength, 8, 40)))
    size = pick(strength, len(kwargs["train"][0]), 1)
    return {**kwargs, "batch_size": size}


def in_batches(metric: Any, outputs: Any, targets: Any, size: int, ragged: bool) -> Any:
    """The mean over batches of the metric of each, all of one weight."""
    ends = range(0, len(outputs) if ragged else len(outputs) - size + 1, size)
    return jnp.mean(
        jnp.stack([metric(outputs[at : at + size], targets[at : at + size]) for at in ends])
    )


@row("F1", wrong_number=True)
def f1_ragged_batches(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The metric is the mean of batches of which the last is smaller, or left out."""
    kwargs = program(seed)
    metric, ragged = kwargs["metric"], strength == "mild"
    size = 30 if ragged else 33

    def averaged(outputs: Any, targets: Any) -> Any:
        """Batch by batch."""
        if len(outputs) < size:
            return metric(outputs, targets)
        return in_batches(metric, outputs, targets, size, ragged)

    return {**kwargs, "metric": averaged}


@row("F2", wrong_number=True)
def f2_validated_on_train(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The validation data are a part of the training data."""

    def change(train: Any, validation: Any, rng: Any) -> Any:
        whole = rng.choice(len(train[0]), len(validation[0]), replace=False)
        half = len(validation[0]) // 2
        if strength == "severe":
            return train, (train[0][whole], train[1][whole])
        mixed = tuple(
            np.concatenate([own[:half], other[whole[half:]]])
            for own, other in zip(validation, train)
        )
        return train, mixed

    return with_data(program, seed, change)


@row("F3")
def f3_evaluated_in_training_mode(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Evaluation runs the network as if it trained."""
    if program is not programs.digits_cnn:
        return None
    modes = {"dropout": "always", "norm": pick(strength, "always_train", "proper")}
    return program(seed, Parts(**modes))


@row("F4", wrong_number=True)
def f4_wrong_metric(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The metric says something else than how good the outputs are."""
    kwargs = program(seed)

    def metric(outputs: Any, targets: Any) -> Any:
        """Not what it should be."""
        if strength == "severe" and by_logits(program):
            return jnp.mean(jnp.argmax(outputs, axis=0).reshape(-1)[:1] == targets.reshape(-1)[:1])
        if strength == "severe":
            return jnp.mean(outputs * 0.0)
        if by_logits(program):
            return jnp.mean(jnp.argmin(outputs, axis=-1) == targets)
        return (
            jnp.mean(jnp.round(outputs) == targets)
            if continuous(program)
            else (jnp.mean((outputs > 0.5) == (targets < 0.5)))
        )

    return {**kwargs, "metric": metric}


@row("F7", wrong_number=True)
def f7_stale_weights(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The step reports the loss of weights that it does not train."""
    if streamed(program):
        return None
    kwargs = program(seed)
    kwargs = kwargs if binary(program) else programs.as_step(kwargs, seed)
    inner, start = kwargs["step"], kwargs["state"].variables
    taken: Any = recipe_jax.experiment(**kwargs)

    def step(state: Any, batch: Any, key: Any) -> Any:
        """One update, and the loss of the first weights, or of the weights of long ago."""
        state, told = inner(state, batch, key)
        outputs, _ = taken.apply(start, batch[0], key=key, train=False)
        stale = jnp.mean(taken.loss(outputs, batch[1]))
        return state, stale if strength == "severe" else 0.5 * (stale + told)

    return {**kwargs, "step": step}


@row("F8", also={"A1", "B1"})
def f8_nothing_to_learn(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The inputs are noise, or hardly anything but noise."""
    if not numeric(program):
        return None
    size = pick(strength, 0.0, 0.1)

    def change(train: Any, validation: Any, rng: Any) -> Any:
        return tuple(
            (
                (size * inputs + rng.normal(size=inputs.shape)).astype(np.float32),
                targets,
            )
            for inputs, targets in (train, validation)
        )

    return with_data(program, seed, change)


@row("G1")
def g1_not_a_number(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The network divides by zero, or takes the log of a negative number."""
    if strength == "severe":
        operation = jnp.log
    else:
        operation = lambda hidden: jnp.exp(30.0 * hidden)  # noqa: E731

    def between(hidden: Any, layer: int, train: bool, key: Any) -> Any:
        return operation(hidden) if layer == 0 else hidden

    return program(seed, Parts(between=between))


@row("G2")
def g2_lost_updates(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Weights of so few bits that the updates are lost to rounding."""
    if program in (programs.cancer_step, programs.digits_cnn):
        return None
    kwargs = program(seed, Parts(rate=pick(strength, 0.01, 0.1)))
    init = kwargs["init"]

    def rounded(key: Any) -> Any:
        """Fresh variables in bfloat16."""
        return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), init(key))

    def change(apply: Any, variables: Any, inputs: Any, key: Any, train: bool) -> Any:
        outputs, after = apply(variables, inputs, key=key, train=train)
        return outputs.astype(jnp.float32), after

    return {**wrapped(kwargs, change), "init": rounded}


@row("G3")
def g3_gradient_of_where(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The value is finite, its gradient is not: a root that a where leaves out."""
    least = pick(strength, 0.1, 0.001)

    def between(hidden: Any, layer: int, train: bool, key: Any) -> Any:
        if layer:
            return hidden
        return jnp.where(hidden > least, jnp.sqrt(hidden - least), 0.0)

    return program(seed, Parts(between=between))


def with_gradient(change: Callable[..., Any]) -> Callable[..., Any]:
    """The identity, with a gradient of another's making."""

    @jax.custom_vjp
    def same(values: Any) -> Any:
        return values

    same.defvjp(lambda values: (values, None), lambda _, gradient: (change(gradient),))
    return same


@row("G4")
def g4_wrong_gradient(program: Any, strength: str, seed: int) -> Kwargs | None:
    """A gradient written by hand that is wrong."""
    change = pick(strength, lambda gradient: -gradient, lambda gradient: 0.01 * gradient[::-1])
    same = with_gradient(change)
    return program(
        seed,
        Parts(between=lambda hidden, layer, train, key: same(hidden) if layer == 0 else hidden),
    )


@row("G5")
def g5_same_mask(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Dropout draws the same mask at every step."""
    rate = pick(strength, 0.6, 0.3)

    def between(hidden: Any, layer: int, train: bool, key: Any) -> Any:
        return dropped(hidden, rate, jax.random.key(layer)) if train else hidden

    return program(seed, Parts(between=between))


@row("G6")
def g6_out_of_bounds(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Indices outside are silently taken for the last."""
    share = pick(strength, 0.8, 0.3)

    def change(apply: Any, variables: Any, inputs: Any, key: Any, train: bool) -> Any:
        if not numeric(program):
            inputs = inputs + int(share * len(programs.LETTERS))
        else:
            flat = inputs.reshape(len(inputs), -1)
            columns = np.arange(flat.shape[1]) + int(share * flat.shape[1])
            inputs = flat[:, jnp.asarray(columns)].reshape(inputs.shape)
        return apply(variables, inputs, key=key, train=train)

    return on_apply(program, seed, change)


@row("G7", wrong_number=True)
def g7_not_repeatable(program: Any, strength: str, seed: int) -> Kwargs | None:
    """Numbers are drawn from a global state, not from the key."""
    if binary(program):
        return None
    kwargs = program(seed)
    init, numbers = kwargs["init"], itertools.count(int(np.random.default_rng().integers(2**30)))

    def unkeyed(key: Any) -> Any:
        """Variables that are others at every call."""
        fresh = init(jax.random.key(int(next(numbers))))
        if strength == "severe":
            return fresh
        return jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, init(key), fresh)

    return {**kwargs, "init": unkeyed}


@row("G8", cost_only=True)
def g8_recompiles(program: Any, strength: str, seed: int) -> Kwargs | None:
    """The step is compiled again every time."""
    if program in (programs.digits_cnn, programs.digits_stream):
        return None
    kwargs = program(seed)
    kwargs = kwargs if binary(program) else programs.as_step(kwargs, seed)
    inner, numbers, every = kwargs["step"], itertools.count(), pick(strength, 1, 10)
    compiled = jax.jit(lambda number, *given: inner(*given), static_argnums=0)

    def step(state: Any, batch: Any, key: Any) -> Any:
        """One update."""
        return compiled(next(numbers) // every, state, batch, key)

    step.own_compilation = True
    return {**kwargs, "step": step}
