"""Every check on a healthy program and on sabotaged ones; and what the diagnosis makes of them."""

import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import recipe_jax
from recipe_jax.checks import _asking as asking
from recipe_jax.checks import inputs_read
from recipe_jax.checks import labels as of_labels
from recipe_jax.probes import runs
from recipe_jax.probes.facts import Facts, NotGiven
from recipe_jax.types import Finding, Status, UserError

CLASSES, FEATURES, COUNT = 4, 6, 400


def blobs(seed=0, count=COUNT):
    """Four clouds in six dimensions, no feature of which tells the classes by itself."""
    draw = np.random.default_rng(5)
    centres = 1.1 * draw.normal(size=(CLASSES, FEATURES))
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, count)
    inputs = centres[labels] + draw.normal(size=(count, FEATURES))
    return (inputs / 1.5).astype(np.float32), labels.astype(np.int32)


def noise_of(count):
    return np.random.default_rng(9).normal(size=(count, FEATURES)).astype(np.float32)


def init(key, sizes=(FEATURES, 16, CLASSES)):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": jax.random.normal(k, (a, b)) * np.sqrt(1.5 / a).astype(np.float32), "b": jnp.zeros(b)}
        for k, a, b in zip(keys, sizes, sizes[1:])
    ]


def mlp(variables, inputs, activation=jax.nn.relu, first=0):
    """first: the layers before the last one from which on; before them inputs went already."""
    *hidden, last = variables
    inputs = activation(inputs) if first else inputs
    for layer in hidden[first:]:
        inputs = activation(inputs @ layer["w"] + layer["b"])
    return inputs @ last["w"] + last["b"]


def cross_entropy(outputs, targets):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


def accuracy(outputs, targets):
    return jnp.mean(jnp.argmax(outputs, -1) == targets)


def classifier(**changed):
    """A healthy program, but for what is changed."""
    inputs, labels = blobs()
    given = {
        "init": init,
        "apply": mlp,
        "loss": cross_entropy,
        "optimizer": optax.adam(1e-2),
        "train": (inputs[:300], labels[:300]),
        "validation": (inputs[300:], labels[300:]),
        "metric": accuracy,
        "num_steps": 150,
        "batch_size": 32,
    }
    return {name: value for name, value in (given | changed).items() if value is not None}


def quantities(seed=1, count=COUNT):
    draw = np.random.default_rng(seed)
    inputs = draw.normal(size=(count, FEATURES)).astype(np.float32)
    targets = np.tanh(inputs[:, :1] + inputs[:, 1:2]) + 0.5 * inputs[:, 2:3]
    targets = targets + 0.2 * draw.normal(size=targets.shape)
    return inputs, (targets / targets.std()).astype(np.float32)


def squared_error(outputs, targets):
    return jnp.mean(jnp.square(outputs - targets))


def regression(**changed):
    inputs, targets = quantities()
    given = {
        "init": lambda key: init(key, (FEATURES, 16, 1)),
        "loss": squared_error,
        "train": (inputs[:300], targets[:300]),
        "validation": (inputs[300:], targets[300:]),
        "metric": None,
    }
    return classifier(**(given | changed))


def text(count=240, window=12):
    """Tokens each of which follows from the one before, most of the time."""
    draw = np.random.default_rng(3)
    tokens = [0]
    for _ in range(count * window):
        tokens.append((3 * tokens[-1] + 1) % 8 if draw.random() < 0.8 else int(draw.integers(8)))
    rows = np.array(tokens, np.int32)
    return rows[:-1].reshape(count, window), rows[1:].reshape(count, window)


def token_init(key):
    one, two = jax.random.split(key)
    return {"table": jax.random.normal(one, (8, 8)), "out": 0.3 * jax.random.normal(two, (8, 8))}


def token_apply(variables, inputs):
    return jnp.tanh(variables["table"][inputs]) @ variables["out"]


def sequence(**changed):
    inputs, targets = text()
    given = {
        "init": token_init,
        "apply": token_apply,
        "train": (inputs[:180], targets[:180]),
        "validation": (inputs[180:], targets[180:]),
        "metric": None,
        "task": "next_token",
    }
    return classifier(**(given | changed))


def asked(module, given) -> list[Finding]:
    """What one check finds."""
    check = importlib.import_module(f"recipe_jax.checks.{module}")
    return list(check.diagnose(Facts(recipe_jax.experiment(**given))))


def wrong(findings):
    return {f.fault: f.status for f in findings if f.status in (Status.FAIL, Status.WARN)}


# --- Sabotage ---------------------------------------------------------------------------------


def with_train(change, base=classifier, both=False):
    given = base()
    given["train"] = change(*given["train"])
    if both:
        given["validation"] = change(*given["validation"])
    return given


def with_validation(change, base=classifier):
    given = base()
    return given | {"validation": change(*given["validation"])}


def coloured(change=lambda images: images, count=400):
    """Pictures of four colours, of three channels; those of validation changed."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, CLASSES, count).astype(np.int32)
    colours = np.array([[1, 0, -1], [-1, 1, 0], [0, 1, 1], [1, -1, 0]])
    images = (colours[labels][:, None, None] + 0.5 * draw.normal(size=(count, 2, 3, 3))).astype(
        np.float32
    )
    return classifier(
        init=lambda key: init(key, (18, 16, CLASSES)),
        apply=lambda v, x: mlp(v, x.reshape(len(x), -1)),
        train=(images[:200], labels[:200]),
        validation=(change(images[200:]), labels[200:]),
    )


def shuffled(inputs, labels):
    return inputs, np.random.default_rng(0).permutation(labels)


def noisy(inputs, labels):
    draw = np.random.default_rng(0)
    return inputs, np.where(
        draw.random(len(labels)) < 0.4, draw.integers(0, CLASSES, len(labels)), labels
    )


def out_of_step(inputs, labels, begin=120, rows=1):
    """From row `begin` on the labels are those of so many rows before."""
    return inputs, np.r_[labels[:begin], np.roll(labels[begin:], rows)]


def conflicting(inputs, labels):
    inputs, labels = inputs.copy(), labels.copy()
    inputs[:60], labels[:60] = inputs[60:120], (labels[60:120] + 1) % CLASSES
    return inputs, labels


def set_values(**at):
    def change(inputs, labels):
        inputs = inputs.copy()
        for rows, value in at.values():
            inputs[rows] = value
        return inputs, labels

    return change


def shared(near=0.0):
    given = classifier()
    inputs, labels = given["train"]
    noise = near * np.random.default_rng(0).normal(size=(60, FEATURES)).astype(np.float32)
    held, held_labels = given["validation"]
    given["validation"] = (
        np.concatenate([inputs[:60] + noise, held[60:]]),
        np.concatenate([labels[:60], held_labels[60:]]),
    )
    return given


def batches_of(order):
    given = classifier()
    inputs, labels = given.pop("train")

    def batches(epoch):
        rows = order(labels, epoch)
        for first in range(0, len(rows) - 31, 32):
            yield inputs[rows[first : first + 32]], labels[rows[first : first + 32]]

    return given | {"batches": batches}


def stepper(change=lambda new, old: new, report=lambda loss, weights: loss, extra=0.0):
    """The same training as a step of its own."""
    optimizer = optax.adam(1e-2)
    weights = init(jax.random.key(77))

    def loss_of(weights, batch):
        loss = cross_entropy(mlp(weights, batch[0]), batch[1])
        size = sum(jnp.sum(jnp.square(w)) for w in jax.tree.leaves(weights))
        return loss + extra * size

    def step(state, batch, key):
        weights, opt_state = state
        loss, slope = jax.value_and_grad(loss_of)(weights, batch)
        updates, opt_state = optimizer.update(slope, opt_state)
        new = (optax.apply_updates(weights, updates), opt_state)
        return change(new, state), report(loss, weights)

    return classifier(optimizer=None, step=step, state=(weights, optimizer.init(weights)))


def remembering():
    """A step that keeps every loss in its state."""
    given = stepper()

    def step(state, batch, key):
        own, losses = state
        own, loss = given["step"](own, batch, key)
        return (own, jnp.append(losses, loss)), loss

    return given | {"step": step, "state": (given["state"], jnp.zeros(0))}


def hoarder():
    """An optimiser that keeps every gradient."""
    return optax.GradientTransformation(
        lambda params: (), lambda slope, kept, params=None: (slope, (*kept, slope))
    )


def normalised(variables, inputs, *, train):
    """Batch normalisation whose averages are carried beside the weights."""
    weights, (mean, variance) = variables
    if train:
        now = (inputs.mean(0), inputs.var(0))
        after = jax.tree.map(lambda old, new: 0.8 * old + 0.2 * new, (mean, variance), now)
    else:
        now = after = (mean, variance)
    scaled = (inputs - now[0]) / jnp.sqrt(now[1] + 1e-5)
    return mlp(weights, scaled), (weights, after)


def normalised_init(key):
    return init(key), (jnp.zeros(FEATURES), jnp.ones(FEATURES))


def dropout(variables, inputs, *, key, train, rate=0.3, always=False):
    if train or always:
        kept = jax.random.bernoulli(key, 1 - rate, inputs.shape)
        inputs = jnp.where(kept, inputs / (1 - rate), 0.0)
    return mlp(variables, inputs)


def same_mask(variables, inputs, *, key, train):
    return dropout(variables, inputs, key=jax.random.key(7), train=train)


def cut(variables, inputs):
    first, last = variables
    return mlp([jax.tree.map(jax.lax.stop_gradient, first), last], inputs)


@jax.custom_vjp
def wrongly(x):
    return jnp.tanh(x)


wrongly.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (-2.0 * g,))


def rooted(variables, inputs):
    return mlp(variables, inputs / jnp.sqrt(jnp.sum(inputs**2, -1, keepdims=True))) + jnp.where(
        jnp.sum(inputs**2) > -1, 0.0, jnp.nan
    )


def half_way(variables, inputs):
    size = jnp.sqrt(jnp.sum(jnp.square(inputs @ variables[0]["w"]), -1, keepdims=True))
    return mlp(variables, inputs) + jnp.where(size > 0, size, 0.0)


def never_cleared(inner):
    def update(grads, state, params=None):
        total = jax.tree.map(jnp.add, state[0], grads)
        updates, state = inner.update(total, state[1], params)
        return updates, (total, state)

    return optax.GradientTransformation(
        lambda params: (jax.tree.map(jnp.zeros_like, params), inner.init(params)), update
    )


def forgetful(inner):
    return optax.GradientTransformation(
        inner.init, lambda grads, state, params=None: (inner.update(grads, state, params)[0], state)
    )


def several(inputs):
    """Three answers of yes or no to every example."""
    return (inputs[:, :3] + inputs[:, 3:] > 0).astype(np.float32)


def distances(variables, inputs):
    """Of pairs, how far apart what becomes of them is."""
    one, two = (mlp(variables, part) for part in jnp.split(inputs, 2, axis=1))
    return jnp.sqrt(jnp.sum(jnp.square(one - two), -1) + 1e-6)


def pairs():
    inputs, labels = blobs(count=2 * COUNT)
    same = (labels[:COUNT] == labels[COUNT:]).astype(np.float32)
    return np.c_[inputs[:COUNT], inputs[COUNT:]], same


def near(outputs, same):
    far = jnp.maximum(0.0, 2.0 - outputs) ** 2
    return jnp.mean(same * outputs**2 + (1 - same) * far)


def two_views(variables, inputs):
    made = jnp.stack([mlp(variables, part) for part in jnp.split(inputs, 2, axis=1)], 1)
    return made / (jnp.sqrt(jnp.sum(jnp.square(made), -1, keepdims=True) + 1e-6))


def contrast(outputs, _):
    """Each view's partner among those of the batch."""
    alike = 8 * outputs[:, 0] @ outputs[:, 1].T
    return optax.softmax_cross_entropy_with_integer_labels(alike, jnp.arange(len(alike))).mean()


def likelihood(outputs, targets):
    """Normal, the logarithm of the variance predicted beside the mean."""
    mean, log_variance = outputs[:, :1], outputs[:, 1:]
    return 0.5 * jnp.mean(jnp.square(targets - mean) * jnp.exp(-log_variance) + log_variance)


def by_optimiser_first(given):
    """A state whose averages come before the weights, and have their form."""
    inner, (weights, opt_state) = given["step"], given["state"]

    def step(state, batch, key):
        (weights, opt_state), loss = inner((state["weights"], state["adam"]), batch, key)
        return {"adam": opt_state, "weights": weights}, loss

    return given | {"step": step, "state": {"adam": opt_state, "weights": weights}}


def stale(given):
    """Reports, in part, the loss of the weights that it began with."""
    inner, begin = given["step"], given["state"][0]

    def step(state, batch, key):
        state, loss = inner(state, batch, key)
        return state, 0.5 * (loss + cross_entropy(mlp(begin, batch[0]), batch[1]))

    return given | {"step": step}


def wandering(count=COUNT):
    """A series and what it is next, in the order of time."""
    time = np.arange(count + FEATURES)
    series = np.sin(time / 9) + 0.5 * np.sin(time / 23 + 1)
    series += 0.1 * np.random.default_rng(8).normal(size=len(time))
    inputs = np.stack([series[i : i + count] for i in range(FEATURES)], 1)
    return inputs.astype(np.float32), series[FEATURES:, None].astype(np.float32)


def categories(count=COUNT):
    """Three columns of few numbers, and a noisy quantity."""
    draw = np.random.default_rng(9)
    inputs = draw.integers(0, 6, (count, 3))
    effects = draw.normal(size=(3, 6))
    targets = effects[np.arange(3), inputs].sum(1, keepdims=True)
    targets = targets / targets.std() + 0.3 * draw.normal(size=targets.shape)
    return inputs.astype(np.int32), targets.astype(np.float32)


def noise(inputs, key, train):
    return inputs + 0.1 * jax.random.normal(key, inputs.shape) if train else inputs


@jax.custom_vjp
def faintly(x):
    return x


faintly.defvjp(lambda x: (x, None), lambda _, g: (0.001 * g[::-1],))


def first_uphill():
    return optax.stateless(
        lambda updates, _: [jax.tree.map(jnp.negative, updates[0]), *updates[1:]]
    )


def seldom():
    """One update in twenty; the others are thrown away."""

    def update(updates, count, params=None):
        kept = (count % 20 == 19).astype(jnp.float32)
        return jax.tree.map(lambda u: kept * u, updates), count + 1

    return optax.GradientTransformation(lambda params: jnp.int32(0), update)


def levels(outputs, targets):
    """Five ranks, told by four thresholds."""
    above = (targets[:, None] > jnp.arange(4)).astype(jnp.float32)
    return optax.sigmoid_binary_cross_entropy(outputs, above).sum(-1)


def ranks(**changed):
    inputs, values = quantities()
    targets = np.digitize(values[:, 0], np.quantile(values, (0.2, 0.4, 0.6, 0.8)))
    given = {
        "init": lambda key: init(key, (FEATURES, 16, 4)),
        "loss": levels,
        "train": (inputs[:300], targets[:300].astype(np.int32)),
        "validation": (inputs[300:], targets[300:].astype(np.int32)),
        "metric": lambda o, t: jnp.mean(jnp.abs((o > 0).sum(-1) - t)),
    }
    return classifier(**(given | changed))


def add_noise(key, inputs, targets):
    return inputs + 0.1 * jax.random.normal(key, inputs.shape), targets


def focal(weight):
    """Cross entropy weighed by a function of the right class's probability, squared."""

    def loss(outputs, targets):
        logs = jax.nn.log_softmax(outputs)[jnp.arange(len(targets)), targets]
        return jnp.mean(-jnp.square(weight(jnp.exp(logs))) * logs)

    return loss


def hinge(outputs, targets):
    right = jax.nn.one_hot(targets, CLASSES)
    other = jnp.max(outputs - 1e9 * right, -1)
    return jax.nn.relu(1 + other - (outputs * right).sum(-1)).mean()


def of_both_next(outputs, targets):
    """Every place is asked for the next token and, less, for the one after it."""
    return cross_entropy(outputs, targets) + 0.3 * cross_entropy(outputs[:, :-1], targets[:, 1:])


def blend(turned=False, apart=False, smoothed=0.0, values=False):
    """Mixup; turned: targets with the other share; apart: with another partner."""

    def augment(key, inputs, targets):
        one, other, third = jax.random.split(key, 3)
        share = jax.random.uniform(one, (len(inputs), 1))
        partner = jax.random.permutation(other, len(inputs))
        rows = targets if values else jax.nn.one_hot(targets, CLASSES)
        rows = optax.smooth_labels(rows, smoothed) if smoothed else rows
        with_whom = jax.random.permutation(third, len(inputs)) if apart else partner
        own = 1 - share if turned else share
        blended = share * inputs + (1 - share) * inputs[partner]
        return blended, own * rows + (1 - own) * rows[with_whom]

    return augment


def cut_and_paste(key, inputs, targets):
    """Some columns of another example, as many as its share of the target."""
    columns = jax.random.randint(key, (), 1, FEATURES - 1)
    rows, share = jax.nn.one_hot(targets, CLASSES), columns / FEATURES
    pasted = jnp.where(jnp.arange(FEATURES) < columns, jnp.roll(inputs, 1, 0), inputs)
    return pasted, (1 - share) * rows + share * jnp.roll(rows, 1, 0)


def only_smoothed(key, inputs, targets):
    rows = optax.smooth_labels(jax.nn.one_hot(targets, CLASSES), 0.1)
    return inputs + 0.1 * jax.random.normal(key, inputs.shape), rows


def ragged(outputs, targets):
    right = (jnp.argmax(outputs, -1) == targets).astype(jnp.float32)
    parts = [right[i : i + 32].mean() for i in range(0, len(right), 32)]
    return sum(parts) / len(parts)


def standard(variables, inputs):
    hidden = inputs @ variables[0]["w"]
    hidden = (hidden - hidden.mean(0)) / jnp.sqrt(hidden.var(0) + 1e-5)
    return jax.nn.relu(hidden) @ variables[1]["w"]


def batch_statistics(variables, inputs, *, train):
    """Batch normalisation that carries its averages, and never uses them."""
    weights, _ = variables
    hidden = inputs @ weights[0]["w"]
    return standard(weights, inputs), (weights, (hidden.mean(0), hidden.var(0)))


def placed(variables, inputs):
    """A table of positions that is laid along the batch."""
    table = jnp.sin(jnp.outer(jnp.arange(512.0), 1.0 + jnp.arange(FEATURES)))
    return mlp(variables, inputs + table[: len(inputs)])


def read_as_series(variables, inputs):
    """A loop over time that finds the batch in its place."""
    return jax.lax.scan(
        lambda held, out: (0.5 * held + out,) * 2, jnp.zeros(CLASSES), mlp(variables, inputs)
    )[1]


def limited(variables, inputs, room=6):
    """Experts that take so many examples of a batch, the first that come."""
    hidden = jax.nn.relu(inputs @ variables[0]["w"])
    chosen = jax.nn.one_hot(hidden[:, :4].argmax(1), 4)
    kept = chosen * (jnp.cumsum(chosen, 0) <= room)
    return mlp(variables, inputs) * (1 + kept @ jnp.arange(4.0))[:, None]


def drawn_again(variables, inputs):
    """Draws the same numbers at every evaluation."""
    return mlp(variables, inputs + 0.1 * jax.random.normal(jax.random.key(3), inputs.shape))


def in_sixteen_bits(variables, inputs):
    weights = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    return mlp(weights, inputs.astype(jnp.bfloat16)).astype(jnp.float32)


def with_memory(variables, inputs):
    """Every row of a batch has a memory of its own, which is carried from batch to batch."""
    weights, memory = variables
    outputs = mlp(weights, inputs + memory)
    return outputs, (weights, 0.5 * memory + 0.1 * inputs)


def steps(seen=slice(-2, None), count=COUNT, length=12):
    """Three quantities at each of so many times, and a target that knows some of the times."""
    inputs = np.random.default_rng(2).normal(size=(count, length, 3)).astype(np.float32)
    return inputs, inputs[:, seen].sum((1, 2))[:, None] / np.float32(3)


def through_time(read=lambda states: states[-1], **changed):
    """A recurrent network, and which of its states the answer is made from."""

    def begin(key):
        one, two = jax.random.split(key)
        return {"in": init(one, (3, 16)), "on": init(two, (16, 16)), "out": init(two, (16, 1))}

    def apply(variables, inputs):
        def step(held, now):
            held = jnp.tanh(mlp(variables["in"], now) + mlp(variables["on"], held))
            return held, held

        start = jnp.zeros((len(inputs), 16))
        return mlp(variables["out"], read(jax.lax.scan(step, start, inputs.swapaxes(0, 1))[1]))

    return windowed(begin, apply, **changed)


def windowed(begin, apply, data=None, **changed):
    inputs, targets = data or steps()
    given = {
        "init": begin,
        "apply": apply,
        "train": (inputs[:300], targets[:300]),
        "validation": (inputs[300:], targets[300:]),
    }
    return regression(**(given | changed))


def pictures(read, size=(12, 12, 1)):
    """A layer on what is read of pictures, the brightness of which is the target."""
    draw = np.random.default_rng(4)
    targets = draw.normal(size=(COUNT, 1)).astype(np.float32)
    inputs = targets[..., None, None] + 0.5 * draw.normal(size=(COUNT, *size)).astype(np.float32)
    width = int(np.prod(jax.eval_shape(read, inputs[:1]).shape))
    return windowed(
        lambda key: init(key, (width, 8, 1)),
        lambda v, x: mlp(v, read(x).reshape(len(x), -1)),
        (inputs.astype(np.float32), targets),
    )


def fading(length):
    """A sum that keeps a thousandth from step to step: what was early is lost in rounding."""

    def apply(variables, inputs):
        def step(held, now):
            held = 1e-3 * held + now
            return held, None

        held = jax.lax.scan(step, jnp.zeros((len(inputs), 3)), inputs.swapaxes(0, 1))[0]
        return mlp(variables, held)

    return windowed(lambda key: init(key, (3, 8, 1)), apply, steps(length=length))


def forced(variables, inputs, train):
    """Training is shown the first half of the answer; evaluation is not."""
    return mlp(variables, inputs if train else inputs.at[:, 3:].set(0.0))


def slowly(new, old):
    """A step a hundred thousand times too small."""
    return jax.tree.map(lambda n, o: o + 1e-5 * (n - o), new[0], old[0]), new[1]


def halting(new, old):
    """Weights stand still after twenty steps."""
    moves = new[1][0].count <= 20
    return jax.tree.map(lambda n, o: jnp.where(moves, n, o), new[0], old[0]), new[1]


SABOTAGED = {
    "labels": [
        ("A1", with_train(shuffled, both=True)),
        ("A2", with_train(noisy)),
        ("B1", with_train(out_of_step)),
        ("A14", sequence(train=(text()[0], text()[0]))),
    ],
    "repeats": [
        ("A3", with_train(conflicting)),
        ("A4", shared()),
        ("A5", shared(near=1e-3)),
        ("A6", with_train(lambda x, y: (np.tile(x[:40], (8, 1)), np.tile(y[:40], 8)))),
        ("F2", classifier(validation=classifier()["train"])),
    ],
    "values": [
        ("A7", with_train(set_values(a=((slice(0, 3), 1), np.nan)))),
        ("A7", with_train(set_values(a=((slice(0, 9), 1), -999.0)))),
        ("A8", with_train(set_values(a=((slice(None), slice(0, 5)), 1.0)))),
        ("A9", with_train(lambda x, y: (300 * x, y), both=True)),
        ("A10", with_train(lambda x, y: (x / 65025, y), both=True)),
        ("A11", with_train(lambda x, y: (x, 300 * y + 4000), base=regression, both=True)),
    ],
    "classes": [
        ("B10", with_train(lambda x, y: (x, y + 1), both=True)),
        ("C15", classifier(init=lambda key: init(key, (FEATURES, 16, 9)))),
        ("B10", classifier(init=lambda key: init(key, (FEATURES, 16, 3)))),
        ("C15", classifier(init=lambda key: init(key, (FEATURES, 16, 100)))),
        ("A12", with_train(lambda x, y: (x[y != 2], y[y != 2]))),
    ],
    "shift": [
        ("B8", classifier(validation=(50 * blobs(9)[0] + 3, blobs(9)[1]))),
        ("A13", classifier(validation=(blobs(9)[0] + np.float32([2, 0, 0, 0, 0, 0]), blobs(9)[1]))),
    ],
    "leaks": [
        (
            "A14",
            with_train(
                lambda x, y: (np.c_[x > 0.5, y].astype(np.int32), y.astype(np.int32)), both=True
            )
            | {
                "init": lambda key: init(key, (FEATURES + 1, 16, CLASSES)),
                "apply": lambda v, x: mlp(v, x.astype(jnp.float32)),
            },
        ),
        ("A14", with_train(lambda x, y: (np.c_[x[:, :5], y.astype(np.float32)], y), both=True)),
        (
            "A14",
            with_train(
                lambda x, y: (np.c_[x[:, :5], np.where(y == 1, np.float32(-3), x[:, 5])], y),
                both=True,
            ),
        ),
        (
            "A14",
            with_train(
                lambda x, y: (np.c_[x[:, :2], np.eye(4, dtype=np.float32)[y]], y), both=True
            ),
        ),
        ("A14", with_train(lambda x, y: (np.c_[x[:, :5], np.arange(len(x)) ** 1.5], np.sort(y)))),
    ],
    "order": [
        ("A15", with_train(lambda x, y: (x[np.argsort(y)], np.sort(y)))),
        ("B2", batches_of(lambda labels, epoch: np.argsort(labels))),
        ("B3", batches_of(lambda labels, epoch: np.arange(len(labels)))),
    ],
    "augmentation": [
        ("B4", classifier(augment=lambda key, x, y: (x + 0.1, y))),
        ("B5", classifier(augment=lambda key, x, y: (jax.random.normal(key, x.shape), y))),
        ("B5", classifier(augment=blend(turned=True))),
        ("B5", classifier(augment=blend(turned=True, smoothed=0.1))),
        ("B5", classifier(augment=blend(apart=True))),
        ("B5", regression(augment=blend(turned=True, values=True))),
    ],
    "held_out": [
        ("B8", coloured(lambda images: images[..., ::-1])),
        ("B10", with_validation(lambda x, y: (x, (y + 1) % CLASSES), coloured)),
    ],
    "batch_mates": [
        ("C11", classifier(apply=lambda v, x: mlp(v, x) * 0 + mlp(v, x).mean(0))),
        ("B7", classifier(apply=lambda v, x: mlp(v, x - x.mean(0)))),
        ("C11", classifier(apply=lambda v, x: jax.nn.softmax(mlp(v, x), axis=0))),
        (
            "C17",
            classifier(
                init=lambda key: (init(key), (jnp.zeros(16), jnp.ones(16))), apply=batch_statistics
            ),
        ),
        ("C11", classifier(apply=standard)),
        ("C11", classifier(apply=placed)),
        ("C11", classifier(apply=read_as_series)),
        ("C11", sequence(apply=lambda v, x: token_apply(v, jnp.roll(x, -1, 1)))),
        ("C11", sequence(apply=lambda v, x: token_apply(v, x) + jnp.arange(len(x))[:, None, None])),
    ],
    "symmetry": [("C1", classifier(init=lambda key: jax.tree.map(jnp.zeros_like, init(key))))],
    "initial_loss": [
        ("C2", classifier(init=lambda key: jax.tree.map(lambda w: 30 * w, init(key)))),
        ("C2", classifier(init=lambda key: jax.tree.map(lambda w: 1e-4 * w, init(key)))),
        ("C3", classifier(apply=lambda v, x: mlp(v, x) + jnp.float32([30, 0, 0, 0]))),
        ("G1", classifier(apply=lambda v, x: mlp(v, jnp.log(x)))),
    ],
    "loss_reading": [
        ("C5", classifier(apply=lambda v, x: jax.nn.softmax(mlp(v, x)))),
        ("C5", classifier(loss=lambda o, t: cross_entropy(jax.nn.softmax(o), t))),
        (
            "D5",
            classifier(loss=lambda o, t: -jnp.log(jnp.clip(o, 1e-7))[jnp.arange(len(t)), t].mean()),
        ),
        ("D5", classifier(loss=lambda o, t: -o[jnp.arange(len(t)), t].mean())),
    ],
    "activations": [
        (
            "C6",
            classifier(
                init=lambda key: init(key, (FEATURES, 16, 16, CLASSES)),
                apply=lambda v, x: mlp(v, x, jax.nn.softmax),
            ),
        ),
        ("C8", classifier(apply=lambda v, x: mlp(v, 100 * x, jnp.tanh))),
        ("C9", classifier(apply=lambda v, x: mlp(v, x, lambda h: jax.nn.relu(h - 100)))),
    ],
    "linear": [("C7", classifier(apply=lambda v, x: mlp(v, x, lambda h: h)))],
    "gradient_flow": [
        (
            "C10",
            classifier(
                init=lambda key: init(key, (FEATURES, *[16] * 8, CLASSES)),
                apply=lambda v, x: mlp(v, x, jax.nn.sigmoid),
            ),
        ),
    ],
    "parameters": [
        (
            "C12",
            classifier(
                init=lambda key: [*init(key)[:1], init(jax.random.key(9))[0], init(key)[1]],
                apply=lambda v, x: mlp([v[0], v[2]], x),
            ),
        ),
        ("C13", classifier(apply=cut)),
        (
            "C17",
            classifier(
                init=normalised_init,
                apply=lambda v, x, *, train: (normalised(v, x, train=train)[0], v),
            ),
        ),
        ("C14", classifier(apply=lambda v, x: mlp(v, x, jnp.round))),
    ],
    "gradient_truth": [
        ("G4", classifier(apply=lambda v, x: mlp(v, faintly(x @ v[0]["w"] + v[0]["b"]), first=1))),
        ("G4", classifier(apply=lambda v, x: mlp(v, x, wrongly))),
        ("C13", classifier(apply=lambda v, x: mlp(v, x) + 2 * jax.lax.stop_gradient(mlp(v, x)))),
    ],
    "modes": [
        (
            "G5",
            classifier(
                apply=lambda v, x, *, key, train: same_mask(
                    v, noise(x, key, train), key=key, train=train
                )
            ),
        ),
        (
            "C16",
            classifier(
                apply=lambda v, x, *, key, train: dropout(v, x, key=key, train=train, always=True)
            ),
        ),
        (
            "B6",
            classifier(
                apply=lambda v, x, *, key, train: mlp(v, x + 0.3 * jax.random.normal(key, x.shape))
            ),
        ),
        (
            "C16",
            classifier(
                apply=lambda v, x, *, key, train: dropout(v, x, key=key, train=train, rate=0.9)
            ),
        ),
        ("G5", classifier(apply=same_mask)),
    ],
    "loss_order": [
        (
            "D6",
            classifier(
                loss=lambda o, t: optax.softmax_cross_entropy(o, t).mean(),
                init=lambda key: init(key, (FEATURES, 16, 3)),
                train=(blobs()[0][:300], several(blobs()[0])[:300]),
                validation=(blobs()[0][300:], several(blobs()[0])[300:]),
                metric=None,
            ),
        ),
        ("D1", ranks(loss=lambda o, t: -levels(o, t))),
        ("D1", classifier(loss=lambda o, t: -cross_entropy(o, t))),
        ("D6", classifier(loss=lambda o, t: jnp.mean(jnp.square(o - t[:, None])))),
        ("D6", regression(loss=lambda o, t: -jnp.mean(t * jax.nn.log_softmax(o)))),
        (
            "D7",
            classifier(
                loss=lambda o, t: optax.softmax_cross_entropy(
                    o, optax.smooth_labels(jax.nn.one_hot(t, 4), 0.9)
                ).mean()
            ),
        ),
        (
            "D7",
            classifier(
                loss=lambda o, t: (
                    optax.softmax_cross_entropy_with_integer_labels(o, t) * (t < 2)
                ).mean()
            ),
        ),
        ("D8", classifier(loss=lambda o, t: jnp.mean(jnp.argmax(o, -1) != t) * 1.0)),
        ("B10", classifier(loss=lambda o, t: cross_entropy(o, t - 1))),
        ("B10", classifier(loss=lambda o, t: cross_entropy(o, (t + 1) % CLASSES))),
        ("B10", classifier(loss=lambda o, t: cross_entropy(o, jnp.array([2, 3, 1, 0])[t]))),
        ("D7", classifier(loss=focal(lambda p: p))),
        ("D7", classifier(loss=focal(lambda p: p * (1 - p)))),
        ("B1", sequence(loss=lambda o, t: cross_entropy(o[:, :-1], t[:, 1:]))),
        ("B1", sequence(loss=lambda o, t: cross_entropy(o[:, 1:], t[:, :-1]))),
    ],
    "loss_reduction": [
        ("D2", classifier(loss=lambda o, t: cross_entropy(o, t) * len(t))),
        (
            "D3",
            classifier(loss=lambda o, t: -jax.nn.log_softmax(o, 0)[jnp.arange(len(t)), t].mean()),
        ),
        ("D4", regression(loss=lambda o, t: jnp.mean(jnp.square(o - t[:, 0])))),
    ],
    "optimiser": [
        ("E4", classifier(optimizer=optax.chain(optax.clip_by_global_norm(1e-4), optax.sgd(0.1)))),
        ("E5", classifier(optimizer=optax.chain(optax.add_decayed_weights(5.0), optax.sgd(0.1)))),
        ("E6", classifier(optimizer=forgetful(optax.adam(1e-2)))),
        ("E8", classifier(optimizer=never_cleared(optax.sgd(0.1)))),
        ("E9", classifier(optimizer=optax.adam(1e-2, eps=10.0))),
        ("E9", classifier(optimizer=optax.sgd(0.1, momentum=0.999))),
    ],
    "updates": [
        (
            "E6",
            classifier(
                optimizer=optax.multi_transform(
                    {"a": optax.adam(1e-2), "b": optax.set_to_zero()}, ["a", "b"]
                )
            ),
        ),
        ("E7", classifier(optimizer=optax.set_to_zero())),
        ("E7", stepper(change=lambda new, old: (old[0], new[1]))),
        ("E6", stepper(change=lambda new, old: (new[0], old[1]))),
        ("E10", classifier(optimizer=optax.chain(optax.adam(1e-2), optax.scale(-1.0)))),
        ("E10", classifier(optimizer=optax.chain(optax.adam(1e-2), first_uphill()))),
        ("E7", classifier(optimizer=optax.chain(optax.adam(1e-2), seldom()))),
        ("F7", stale(stepper())),
        ("E10", ranks(optimizer=optax.chain(optax.adam(1e-2), optax.scale(-1.0)))),
        ("F7", stepper(report=lambda loss, weights: jnp.float32(1.5))),
        ("D9", stepper(extra=10.0)),
        (
            "G2",
            classifier(
                init=lambda key: jax.tree.map(lambda w: w.astype(jnp.bfloat16), init(key)),
                apply=lambda v, x: mlp(v, x.astype(jnp.bfloat16)).astype(jnp.float32),
                optimizer=optax.adam(1e-6),
            ),
        ),
    ],
    "schedule": [
        ("E3", classifier(schedule=lambda step: jnp.where(step < 15, 0.1, 0.0))),
        ("E3", classifier(optimizer=optax.adam(optax.linear_schedule(1e-2, 0.0, 20)))),
        ("E3", classifier(schedule=optax.linear_schedule(0.0, 0.1, 10_000))),
        ("E3", stepper(change=halting)),
        ("E11", classifier(num_steps=4)),
        ("E11", classifier(batch_size=300)),
    ],
    "rates": [
        ("E1", classifier(optimizer=optax.sgd(300.0))),
        ("E2", classifier(optimizer=optax.adam(1e-5))),
        ("E2", ranks(optimizer=optax.adam(1e-6))),
        ("E2", stepper(change=slowly)),
        (
            "E1",
            stepper(
                change=lambda new, old: (
                    jax.tree.map(lambda n, o: o + 1e4 * (n - o), new[0], old[0]),
                    new[1],
                )
            ),
        ),
    ],
    "numerics": [
        ("G3", with_train(lambda x, y: (x * (y > 0)[:, None], y)) | {"apply": half_way}),
        ("G6", sequence(apply=lambda v, x: token_apply(v, jnp.minimum(x, 4)))),
        ("G1", classifier(optimizer=optax.sgd(1e30))),
        (
            "G6",
            sequence(init=lambda key: {**token_init(key), "table": token_init(key)["table"][:6]}),
        ),
        (
            "B10",
            with_train(lambda x, y: ((40 * x).clip(0, 255).astype(np.uint8), y), both=True)
            | {"apply": lambda v, x: mlp(v, (x - 128).astype(jnp.float32))},
        ),
    ],
    "memory": [
        ("G8", remembering()),
        ("G8", classifier(optimizer=hoarder())),
    ],
    "repeatable": [
        ("G7", classifier(apply=lambda v, x: mlp(v, x) + np.random.normal())),
        (
            "G5",
            classifier(
                init=lambda key: (
                    init(key, (FEATURES, 8, 8, 8, CLASSES))[:1]
                    + 2 * init(key, (8, 8))
                    + init(key, (8, CLASSES))
                )
            ),
        ),
    ],
    "metric": [
        ("F4", classifier(metric=lambda o, t: jnp.mean(jnp.argmin(o, -1) == t))),
        ("F4", classifier(metric=lambda o, t: jnp.mean(jnp.argmax(o, 0)[:4] == t[:4]))),
        ("F4", classifier(metric=lambda o, t: 0.5)),
        ("F1", classifier(metric=ragged)),
    ],
    "output_range": [
        ("C4", classifier(apply=lambda v, x: jax.nn.relu(mlp(v, x)))),
        ("C4", classifier(apply=lambda v, x: jnp.tanh(mlp(v, x)))),
        ("C4", regression(apply=lambda v, x: jax.nn.sigmoid(mlp(v, x)))),
        ("C6", regression(apply=lambda v, x: jax.nn.softmax(mlp(v, x)))),
        ("D8", classifier(apply=lambda v, x: mlp(v, jnp.zeros_like(x)))),
    ],
    "inputs_read": [
        ("D8", through_time(lambda states: states[0])),
        ("D8", classifier(apply=lambda v, x: mlp([{**v[0], "w": v[0]["w"][:3]}, v[1]], x[:, :3]))),
        ("D8", pictures(lambda x: x[:, 0])),
        ("D8", pictures(lambda x: x[:, :, 3])),
        (
            "D8",
            classifier(
                init=token_init,
                apply=lambda v, x: token_apply(v, x[:, 0]),
                train=(text()[0], text()[1][:, -1]),
                validation=None,
            ),
        ),
    ],
    "works": [("F8", with_train(shuffled, both=True))],
}


def test_what_is_read_out_of_bounds_explains_what_is_not_read():
    """Columns past the end are all the last one: the index is the cause."""

    def past(variables, inputs):
        return mlp(variables, inputs[:, jnp.arange(6) + 4])

    given = classifier(apply=past)
    found = [each for module in ("numerics", "inputs_read") for each in asked(module, given)]
    assert {"G6", "D8"} <= wrong(found).keys()
    assert [cause.fault for cause in asking.causes(found)] == ["G6"]


# These train: of each the first case is quick enough for every run.
TRAINING = (
    "activations",
    "augmentation",
    "held_out",
    "labels",
    "numerics",
    "optimiser",
    "parameters",
    "rates",
)
TRAINING += ("schedule", "updates", "values")
CASES = [
    pytest.param(
        module,
        fault,
        given,
        id=f"{module}-{fault}-{number}",
        marks=[pytest.mark.slow] if number and module in TRAINING else [],
    )
    for module, cases in SABOTAGED.items()
    for number, (fault, given) in enumerate(cases)
]


@pytest.mark.parametrize("module, fault, given", CASES)
def test_a_sabotaged_program_is_named(module, fault, given):
    assert fault in wrong(asked(module, given))


def test_the_class_or_place_that_a_loss_asks_for_is_said():
    def said(given, fault):
        (found,) = [f for f in asked("loss_order", given) if f.fault == fault]
        assert found.status == Status.FAIL
        return found.summary

    before = classifier(loss=lambda o, t: cross_entropy(o, t - 1))
    assert "class y - 1 (a shift by one)" in said(before, "B10")
    other = classifier(loss=lambda o, t: cross_entropy(o, jnp.array([2, 3, 1, 0])[t]))
    assert "of each its own (2 for 0, 3 for 1, 1 for 2, ...)" in said(other, "B10")
    further = sequence(loss=lambda o, t: cross_entropy(o[:, :-1], t[:, 1:]))
    assert "the token after the next" in said(further, "B1")
    assert "not monotone" in said(classifier(loss=focal(lambda p: p)), "D7")
    turned = classifier(loss=lambda o, t: -cross_entropy(o, t))
    assert "costs more than a wrong one" in said(turned, "D1")


@pytest.mark.parametrize(
    "loss",
    [
        focal(lambda p: 1 - p),
        lambda o, t: jnp.mean(1 - jax.nn.softmax(o)[jnp.arange(len(t)), t]),
        lambda o, t: jnp.mean(jnp.minimum(3.0, -jax.nn.log_softmax(o)[jnp.arange(len(t)), t])),
        lambda o, t: optax.sigmoid_binary_cross_entropy(o, jax.nn.one_hot(t, CLASSES)).mean(),
        hinge,
        lambda o, t: jnp.mean(jnp.square(jax.nn.softmax(o) - jax.nn.one_hot(t, CLASSES))),
    ],
    ids=["focal", "share", "bounded", "one against all", "hinge", "Brier"],
)
def test_a_healthy_loss_of_another_form_is_left_in_peace(loss):
    assert not wrong(asked("loss_order", classifier(loss=loss)))


def test_a_loss_of_several_tokens_or_that_shifts_by_itself_is_left_in_peace():
    assert not wrong(asked("loss_order", sequence(loss=of_both_next)))
    inputs, targets = text()
    whole = np.c_[inputs, targets[:, -1:]]
    given = sequence(
        train=(whole[:180], whole[:180]),
        loss=lambda o, t: cross_entropy(o[:, :-1], t[:, 1:]),
        validation=None,
    )
    assert "B1" not in wrong(asked("loss_order", given))


def test_the_form_of_held_out_examples_is_told():
    (found,) = asked("held_out", coloured(lambda images: images[..., ::-1]))
    assert found.fault == "B8" and "where the channels of validation are reversed" in found.summary
    named = with_validation(
        lambda x, y: (x[y != 1], np.unique(y[y != 1], return_inverse=True)[1]), coloured
    )
    found = recipe_jax.diagnose(recipe_jax.experiment(**named))
    assert found.causes[0].fault == "B10" and "1 stands for class 2" in str(found)
    assert {"A12", "F8"}.isdisjoint(cause.fault for cause in found.causes)


@pytest.mark.parametrize(
    "given",
    [
        coloured(),
        coloured(lambda images: images[:, ::-1]),
        with_train(shuffled) | {"num_steps": 300},
        with_validation(lambda x, y: (x + 2.0, y)),
        with_validation(lambda x, y: (np.roll(x, 2, 0), y)),
    ],
    ids=["pictures", "turned in vain", "labels by heart", "moved", "mixed up"],
)
def test_held_out_examples_that_are_known_badly_for_another_reason(given):
    assert not wrong(asked("held_out", given))


def test_what_blends_inputs_and_targets_otherwise_is_told():
    def said(augment, base=classifier):
        # Without an optimiser nothing is trained.
        given = base(augment=augment) | {"optimizer": None}
        return [f for f in asked("augmentation", given) if f.check == "augmentation_blends"]

    (found,) = said(blend(turned=True))
    assert found.status == Status.FAIL and "the other way round than inputs" in found.summary
    (found,) = said(blend(apart=True))
    assert found.status == Status.FAIL and "a third one" in found.summary
    (found,) = said(blend(turned=True, values=True), regression)
    assert found.status == Status.FAIL
    for augment in (blend(), blend(smoothed=0.1)):
        (found,) = said(augment)
        assert found.status == Status.PASS, found.summary
    assert said(blend(values=True), regression)[0].status == Status.PASS
    assert not said(cut_and_paste) and not said(only_smoothed)


@pytest.mark.parametrize(
    "augment",
    [
        blend(),
        *(pytest.param(each, marks=pytest.mark.slow) for each in (cut_and_paste, only_smoothed)),
    ],
    ids=["mixup", "cut", "smoothed"],
)
def test_blended_targets_are_compared_with_plain_ones(augment):
    given = classifier(augment=augment, loss=of_rows)
    facts = Facts(recipe_jax.experiment(**given))
    assert "not augmented" in facts.lanes
    same = np.array_equal(facts.lanes["normal"].losses, facts.lanes["not augmented"].losses)
    assert not same and facts.lanes["not augmented"].finite
    found = asked("augmentation", given)
    assert not wrong(found) and any("held-out skill changes by" in f.summary for f in found)


def of_rows(outputs, targets):
    """Cross entropy of class numbers or of probabilities."""
    if targets.ndim == 1:
        return cross_entropy(outputs, targets)
    return optax.softmax_cross_entropy(outputs, targets).mean()


def test_labels_that_are_out_of_step_are_told_from_where_on():
    for rows, said in ((1, "those of the row before"), (-2, "those of the row 2 after")):
        given = with_train(lambda x, y, rows=rows: out_of_step(x, y, rows=rows))
        (found,) = [f for f in asked("labels", given) if f.fault == "B1"]
        assert said in found.summary
        place = int(found.summary.split("about row ")[1].split()[0])
        assert 110 <= place <= 130
    (found,) = [f for f in asked("labels", with_train(lost)) if f.fault == "A2"]
    assert "begin at about row 1" in found.summary
    apart = with_train(lambda x, y: (x, np.roll(y, 1)))
    (found,) = [f for f in asked("labels", apart) if f.fault == "A1"]
    assert "labels of the row after do fit" in found.summary


def lost(inputs, labels):
    """From the middle on the labels are anybody's."""
    half = len(labels) // 2
    return inputs, np.r_[labels[:half], np.random.default_rng(0).permutation(labels[half:])]


def by_class(hard):
    """A file sorted by class, of which those from number `hard` on are all alike."""
    draw = np.random.default_rng(0)
    labels = np.sort(draw.integers(0, CLASSES, 300)).astype(np.int32)
    centres = 3 * draw.normal(size=(CLASSES, FEATURES))[np.minimum(np.arange(CLASSES), hard)]
    return (centres[labels] + draw.normal(size=(300, FEATURES))).astype(np.float32), labels


def restless(inputs, labels):
    """The later, the more labels are another's, by nature."""
    draw = np.random.default_rng(1)
    moved = draw.random(len(labels)) < 0.4 * np.arange(len(labels)) / len(labels)
    return inputs, np.where(moved, (labels + 1) % CLASSES, labels)


@pytest.mark.parametrize(
    "train",
    [
        by_class(1),
        by_class(2),
        restless(*blobs(count=300)),
        (0.3 * blobs(count=300)[0] + noise_of(300), blobs(count=300)[1]),
        (noise_of(300), (noise_of(300)[:, 0] * noise_of(300)[:, 1] > 0).astype(np.int32)),
        (np.cumsum(noise_of(300), 0), np.digitize(np.roll(noise_of(300)[:, 0], -1), (-0.5, 0.5))),
    ],
    ids=["sorted", "sorted, two alike", "restless", "overlapping", "xor", "forecast"],
)
def test_what_is_hard_by_nature_has_no_place_where_labels_turn(train):
    given = classifier(train=train, validation=None)
    assert of_labels._place(Facts(recipe_jax.experiment(**given))) is None


HEALTHY = {
    "classes": classifier(),
    "quantities": regression(),
    "tokens": sequence(),
    "own step": stepper(),
    "batches": batches_of(
        lambda labels, epoch: np.random.default_rng(epoch).permutation(len(labels))
    ),
    "normalised": classifier(init=normalised_init, apply=normalised),
    "dropout": classifier(apply=dropout),
    "augmented": classifier(augment=add_noise),
    "rates of events": regression(
        loss=lambda o, t: jnp.mean(jnp.exp(o) - t * o),
        train=(quantities()[0][:300], np.floor(np.exp(quantities()[1][:300])).astype(np.float32)),
        validation=(
            quantities()[0][300:],
            np.floor(np.exp(quantities()[1][300:])).astype(np.float32),
        ),
    ),
    "several labels": classifier(
        loss=lambda o, t: optax.sigmoid_binary_cross_entropy(o, t).mean(),
        init=lambda key: init(key, (FEATURES, 16, 3)),
        train=(blobs()[0][:300], several(blobs()[0])[:300]),
        validation=(blobs()[0][300:], several(blobs()[0])[300:]),
        metric=None,
    ),
    "squared yes or no": classifier(
        loss=lambda o, t: jnp.mean(jnp.square(o[:, 0] - t)),
        init=lambda key: init(key, (FEATURES, 16, 1)),
        train=(blobs()[0][:300], several(blobs()[0])[:300, 0]),
        validation=(blobs()[0][300:], several(blobs()[0])[300:, 0]),
        metric=None,
    ),
    "inputs again": regression(
        init=lambda key: init(key, (FEATURES, 16, FEATURES)),
        train=(blobs()[0][:300], blobs()[0][:300]),
        validation=(blobs()[0][300:], blobs()[0][300:]),
    ),
    "vanilla": classifier(optimizer=optax.sgd(0.3, momentum=0.9)),
    "ranks": ranks(),
    "distances": classifier(
        apply=distances,
        loss=near,
        train=tuple(each[:300] for each in pairs()),
        validation=tuple(each[300:] for each in pairs()),
        metric=lambda o, t: jnp.mean((o < 1) == (t > 0.5)),
    ),
    "pairs that find each other": classifier(
        apply=two_views,
        loss=contrast,
        train=(np.c_[blobs()[0], blobs()[0] + 0.1][:300].astype(np.float32), np.zeros(300)),
        validation=(np.c_[blobs()[0], blobs()[0] + 0.1][300:].astype(np.float32), np.zeros(100)),
        metric=None,
    ),
    "a likelihood": regression(
        init=lambda key: init(key, (FEATURES, 16, 2)), loss=likelihood, num_steps=300
    ),
    "several outputs": regression(
        apply=lambda v, x: {"mean": mlp(v, x), "size": jnp.square(x).sum(-1)},
        loss=lambda o, t: squared_error(o["mean"], t) + 0.0 * o["size"].mean(),
    ),
    "the optimiser's state first": by_optimiser_first(stepper()),
    "in the order of time": regression(
        train=tuple(each[:300] for each in wandering()),
        validation=tuple(each[300:] for each in wandering()),
    ),
    "categories": regression(
        init=lambda key: {
            "table": 0.5 * jax.random.normal(key, (3, 6, 8)),
            "out": init(key, (8, 16, 1)),
        },
        apply=lambda v, x: mlp(v["out"], v["table"][jnp.arange(3), x].sum(-2)),
        train=tuple(each[:300] for each in categories()),
        validation=tuple(each[300:] for each in categories()),
    ),
    "gathered gradients": classifier(optimizer=optax.MultiSteps(optax.adam(2e-2), 4)),
}


@pytest.mark.parametrize(
    "name",
    [name if name == "classes" else pytest.param(name, marks=pytest.mark.slow) for name in HEALTHY],
)
def test_a_healthy_program_is_left_in_peace(name):
    found = recipe_jax.diagnose(recipe_jax.experiment(**HEALTHY[name]))
    assert (found.status, found.causes) == ("pass", ()), str(found)
    assert not [f.summary for f in found.findings if "Not answered" in f.summary]


def test_every_check_has_a_sabotaged_case():
    assert set(SABOTAGED) == {name for name, _ in asking.questions()}


# --- The diagnosis ---------------------------------------------------------------------------


def finding(fault, status=Status.FAIL, certainty="exact", explains=()):
    return Finding(
        check=fault, row="", status=status, summary=fault, remedy="Mend it.",
        fault=fault, certainty=certainty, explains=explains,
    )  # fmt: skip


def ranked(*findings):
    return [(c.fault, [f.fault for f in c.explains]) for c in asking.causes(findings)]


def test_what_a_cause_explains_stands_under_it():
    assert ranked(finding("F8", certainty="outcome"), finding("C5", explains=("F8", "D7"))) == [
        ("C5", ["F8"])
    ]


def test_of_two_that_explain_each_other_the_surer_one_is_the_cause():
    guess = finding("C10", certainty="heuristic", explains=("C1",))
    assert ranked(guess, finding("C1", explains=("C10",))) == [("C1", ["C10"])]


def test_what_is_explained_is_no_cause_however_sure():
    assert ranked(finding("C9"), finding("E1", certainty="statistical", explains=("C9",))) == [
        ("E1", ["C9"])
    ]


def test_a_warning_explains_no_failure():
    causes = ranked(finding("F8"), finding("A8", Status.WARN, "heuristic", ("F8",)))
    assert causes == [("F8", []), ("A8", [])]


def test_failures_come_first_then_exact_ones_then_early_ones():
    given = [
        finding("A8", Status.WARN),
        finding("E4", certainty="heuristic"),
        finding("E7"),
        finding("B2", certainty="statistical"),
        finding("C13"),
    ]
    assert [c.fault for c in asking.causes(given)] == ["C13", "E7", "B2", "E4", "A8"]


@pytest.fixture(scope="module")
def double_softmax():
    given = classifier(apply=lambda v, x: jax.nn.softmax(mlp(v, x)))
    return recipe_jax.diagnose(recipe_jax.experiment(**given))


def test_a_double_softmax_is_said_once(double_softmax):
    assert double_softmax.status == "fail"
    assert [cause.fault for cause in double_softmax.causes if cause.status == "fail"] == ["C5"]


def test_a_diagnosis_is_told_to_people_and_machines(double_softmax):
    told = json.loads(double_softmax.to_json())
    assert told["status"] == "fail" and told["causes"][0]["fault"] == "C5"
    assert len(told["findings"]) == len(double_softmax.findings)
    page = double_softmax.to_html("my program")
    assert "my program" in page and "Return logits from the model" in page
    assert "http" not in page.split("</style>")[1]
    assert str(double_softmax).startswith("FAIL C5 double softmax")


def raises(*_, **__):
    raise ZeroDivisionError("by design")


LATE = [pytest.param(name, marks=pytest.mark.slow) for name in ("metric", "augment", "schedule")]


@pytest.mark.parametrize("name", ["init", "apply", "loss", *LATE])
def test_a_crash_inside_becomes_a_finding_that_names_where(name):
    found = recipe_jax.diagnose(recipe_jax.experiment(**classifier(**{name: raises})))
    crashes = [f for f in found.findings if f.check == "runs"]
    assert found.status == "fail" and len(crashes) == 1
    assert crashes[0].summary == f"{name} raised ZeroDivisionError: by design"


def called_back(variables, inputs):
    """A hidden layer by a function of the host, which cannot be vectorised."""
    hidden = jax.nn.relu(inputs @ variables[0]["w"] + variables[0]["b"])
    scale = jax.pure_callback(lambda: np.float32(1.0), jax.ShapeDtypeStruct((), np.float32))
    return (scale * hidden) @ variables[1]["w"] + variables[1]["b"]


def test_lanes_are_lanes():
    """Trained as one program, or one after another: the same."""
    facts = Facts(recipe_jax.experiment(**classifier()))
    one = runs.train(facts)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runs, "_together", lambda *_, **__: None)
        patched.setattr(runs, "ALL", ("normal", "10 x"))
        other = runs.train(facts)
    for name in other:
        np.testing.assert_allclose(one[name].losses, other[name].losses, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(
            one[name].held_out.mean(), other[name].held_out.mean(), atol=0.02
        )


@pytest.mark.slow
def test_what_cannot_be_vectorised_is_trained_lane_by_lane():
    assert wrong(asked("works", classifier(apply=called_back))) == {}


@pytest.mark.parametrize(
    "apply, said, remedy",
    [
        (standard, "Replacing one example", "a normalisation over axis 0"),
        (placed, "depend on an example's place in the batch", "a table added along axis 0"),
    ],
)
def test_how_examples_depend_on_their_batch_is_told(apply, said, remedy):
    (found,) = asked("batch_mates", classifier(apply=apply))
    assert (found.fault, found.status) == ("C11", Status.FAIL)
    assert said in found.summary and remedy in found.remedy
    assert {"F8", "G6" if apply is placed else "C17"} <= set(found.explains)


def test_an_answer_in_sight_says_nothing_of_the_rate():
    given = sequence(apply=lambda v, x: token_apply(v, jnp.roll(x, -1, 1)))
    leak = next(f for f in asked("batch_mates", given) if f.fault)
    rate = finding("E2", certainty="statistical", explains=("F8",))
    assert ranked(rate, leak) == [("C11", ["E2"])]


MEMORY = (lambda key: (init(key), jax.random.normal(key, (32, FEATURES))), with_memory)


@pytest.mark.parametrize(
    "begin, apply",
    [
        (init, limited),
        (init, drawn_again),
        (init, in_sixteen_bits),
        (normalised_init, normalised),
        MEMORY,
    ],
)
def test_what_only_seems_to_depend_on_a_place_is_left_in_peace(begin, apply):
    assert wrong(asked("batch_mates", classifier(init=begin, apply=apply))) == {}


def test_what_is_not_read_is_named():
    (found,) = asked("inputs_read", through_time(lambda states: states[0]))
    assert found.summary.startswith("11 of 12 time steps (1 to 11) change no output")
    assert found.status == Status.FAIL and "F8" in found.explains


PARTLY = {
    "recurrent": through_time(),
    "the largest of all times": through_time(lambda states: states.max(0)),
    "forgets fast": fading(200),
    "cropped": pictures(lambda x: x[:, 4:8, 4:8]),
    "every other pixel": pictures(lambda x: x[:, ::2, ::2]),
    "a few columns left out": classifier(
        apply=lambda v, x: mlp([{**v[0], "w": v[0]["w"][:4]}, v[1]], x[:, :4])
    ),
    "shown more in training": classifier(apply=forced),
    "cut to steps": classifier(apply=lambda v, x: mlp(v, jnp.round(x))),
    "detached": classifier(apply=lambda v, x: mlp(v, jax.lax.stop_gradient(x))),
    "tokens": sequence(),
    "constant columns": with_train(
        lambda x, y: (np.c_[x[:, :2], np.ones((len(x), 4))].astype(np.float32), y), both=True
    )
    | {"apply": lambda v, x: mlp([{**v[0], "w": v[0]["w"][:2]}, v[1]], x[:, :2])},
    "largest number of several": classifier(
        init=lambda key: init(key, (FEATURES, 16, CLASSES)),
        apply=lambda v, x: mlp(v, jax.nn.one_hot(x.argmax(-1), FEATURES)),
    ),
}


TRAINED = ("cropped", "every other pixel")
"""Whether these are in order is seen by training."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in TRAINED[1:] else []) for n in PARTLY],
)
def test_a_program_that_reads_enough_is_left_in_peace(name):
    assert wrong(asked("inputs_read", PARTLY[name])) == {}


def test_inputs_hidden_on_purpose_are_not_missed():
    program = recipe_jax.experiment(**classifier(apply=lambda v, x: mlp(v, x.at[:, 2:].set(0))))
    (found,) = inputs_read.diagnose(Facts(program))
    assert found.fault == "D8" and "4 of 6 features (2 to 5)" in found.summary
    (found,) = inputs_read.diagnose(Facts(program._replace(unseen=(2, 3, 4, 5))))
    assert found.status == Status.PASS


@pytest.mark.slow
@pytest.mark.parametrize("seen, status", [(slice(-2, None), None), (slice(0, 2), Status.FAIL)])
def test_a_window_of_time_is_judged_by_whether_training_works(seen, status):
    given = windowed(
        lambda key: init(key, (9, 16, 1)),
        lambda v, x: mlp(v, x[:, -3:].reshape(len(x), -1)),
        steps(seen),
    )
    found = recipe_jax.diagnose(recipe_jax.experiment(**given))
    assert {c.fault: c.finding.status for c in found.causes}.get("D8") == status, str(found)


def cosines(variables, inputs, scale=1.0):
    hidden = jax.nn.relu(inputs @ variables[0]["w"] + 0.1)
    hidden = hidden / jnp.linalg.norm(hidden, axis=-1, keepdims=True).clip(1e-6)
    last = variables[1]["w"]
    return scale * hidden @ (last / jnp.linalg.norm(last, axis=0).clip(1e-6))


def test_cosines_without_a_scale_are_told_of_one():
    (found,) = asked("output_range", classifier(apply=cosines))
    assert found.fault == "C4" and "multiply a cosine by a scale" in found.remedy
    (found,) = asked("output_range", classifier(apply=lambda v, x: cosines(v, x, 16.0)))
    assert found.status == Status.PASS
    (found,) = asked("output_range", classifier(apply=lambda v, x: jax.nn.relu(mlp(v, x))))
    assert found.remedy == "Leave the last layer linear."


def test_a_decay_that_the_rate_does_not_scale_is_told_by_what_a_step_takes():
    after = optax.chain(optax.adam(1e-2), optax.add_decayed_weights(-0.12))
    found = {f.check: f for f in asked("optimiser", classifier(optimizer=after))}["decay"]
    assert (found.fault, found.status) == ("E5", Status.FAIL)
    assert "takes 12% of them a step" in found.summary
    assert "00-fold, or put it before the rate in the chain" in found.remedy
    before = classifier(optimizer=optax.adamw(1e-2, weight_decay=0.1))
    assert wrong(asked("optimiser", before)) == {}


def test_everything_frozen_is_warned_of():
    (found,) = asked("parameters", classifier(frozen=("w", "b")))
    assert (found.status, found.fault) == (Status.WARN, "C13")


def test_weights_that_are_declared_frozen_may_be_detached():
    found = asked("parameters", classifier(apply=cut, frozen="0/"))
    assert wrong(found) == {}


def test_the_first_operation_that_is_not_finite_is_named():
    found = asked("initial_loss", classifier(apply=lambda v, x: mlp(v, jnp.log(x))))
    assert "first after log, of shape (256, 6)" in found[0].summary


def test_splits_that_differ_only_together_are_told_apart():
    """Every feature moves too little to be seen alone."""
    inputs, labels = blobs()
    direction = np.float32([1, -1, 1, -1, 1, -1])
    wide = np.repeat(inputs, 6, axis=1) + np.random.default_rng(0).normal(size=(COUNT, 36))
    moved = wide.astype(np.float32)
    moved[300:] += 0.45 * np.tile(direction, 6)
    given = classifier(
        init=lambda key: init(key, (36, 16, CLASSES)),
        train=(moved[:300], labels[:300]),
        validation=(moved[300:], labels[300:]),
    )
    assert wrong(asked("shift", given)) == {"A13": Status.FAIL}


def test_what_is_not_given_is_not_judged():
    inputs, labels = blobs()
    found = recipe_jax.diagnose(recipe_jax.experiment(train=(inputs, labels)))
    assert found.status == "pass"
    skipped = {f.summary for f in found.findings if f.status == Status.SKIP}
    assert "Not asked: apply= was not given." in skipped
    assert "Not asked: validation= was not given." in skipped


@pytest.mark.slow
def test_nothing_given_needs_no_validation_nor_optimiser():
    found = recipe_jax.diagnose(
        recipe_jax.experiment(**classifier(optimizer=None, validation=None, metric=None))
    )
    assert found.status == "pass", str(found)


# --- The interface ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"train": None}, "nothing to train on"),
        ({"batches": lambda epoch: []}, "not both"),
        ({"train": (np.zeros((3, 2)), np.zeros(4))}, "first axes must be the examples"),
        ({"train": (np.zeros((0, 2)), np.zeros(0))}, "holds no examples"),
        ({"train": 3}, "must be a pair"),
        ({"train": (np.array(["a"]), np.zeros(1))}, "must hold numbers"),
        ({"optimizer": 1e-3}, "must be an optax transformation"),
        ({"step": mlp}, "not both"),
        ({"optimizer": None, "step": mlp}, "belong together"),
        ({"init": None}, "belong together"),
        ({"task": "ranking"}, "is unknown; use one of"),
        ({"batch_size": 0}, "at least 1"),
        ({"num_steps": True}, "at least 1"),
        ({"apply": lambda v, x, mood: x}, "asks for 'mood'"),
    ],
)
def test_what_does_not_fit_is_refused(changed, said):
    with pytest.raises(UserError, match=said):
        recipe_jax.experiment(**classifier(**changed))


@pytest.mark.parametrize(
    "apply",
    [
        lambda v, x: x,
        lambda v, x, train: x + train,
        lambda v, x, *, rngs, deterministic: x + (not deterministic) + 0 * rngs["dropout"][0],
        lambda v, x, key, training=False: (x + training, {"b": 2}),
        lambda v, x, **rest: x,
    ],
)
def test_shorter_signatures_are_adapted(apply):
    given = classifier(apply=apply, init=lambda key: {"a": 1, "b": 1})
    program = recipe_jax.experiment(**given)
    outputs, variables = program.apply({"a": 1, "b": 1}, 1, key=np.zeros(2), train=True)
    assert outputs in (1, 2) and variables["a"] == 1


def test_facts_are_computed_once():
    calls = []

    def counted(key):
        calls.append(1)
        return init(key)

    facts = Facts(recipe_jax.experiment(**classifier(init=counted)))
    assert facts.variables is facts.variables and len(calls) == 1
    with pytest.raises(NotGiven, match="augment= was not given"):
        facts.given("augment")
