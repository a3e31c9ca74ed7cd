"""The short trainings that several checks look at: made once, together, as lanes of one program.

A lane differs from its neighbours in what it is shown (an affine change of the inputs, which rows,
whose labels) and in what its updates are multiplied by. Every lane begins with the same weights,
and all but "one batch" and "permuted" see the same examples in the same order, so that two lanes
differ by the one intervention alone.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.probes import trace
from recipe_jax.probes.facts import Crashed, Facts, NotGiven, as_numpy, guarded, is_float

MOST_STEPS, FEWEST_STEPS = 300, 80
LOOKS = 10
"""So often a training is looked at, at equal distances."""
LOOKED_AT = 256
"""So many held-out examples, and as many of training."""
OPERATIONS = 3e10
"""Multiplications and additions that all trainings together may cost: some seconds of two cores."""
FACTORS = {
    "0.001 x": 1e-3,
    "0.01 x": 0.01,
    "0.1 x": 0.1,
    "10 x": 10.0,
    "100 x": 100.0,
    "1000 x": 1e3,
}
ALL = ("normal", "one batch", "zero inputs", "permuted", *FACTORS)
ESSENTIAL = ("normal", "one batch", "0.01 x", "0.1 x", "10 x", "100 x")


class Lane(NamedTuple):
    """One training as it went.

    losses, norms, sizes, agreements: (steps,) training loss of the batch; norms of gradient and of
    update; how far the update points down the gradient (cosine of update and negative gradient)
    each: (steps, arrays) the same cosine of every learnt array by itself
    looks: steps after which it was looked at
    held_out, trained: (looks, examples) skill on both kinds of examples (Facts.skill)
    held_loss: (looks,) the program's own loss of the held-out examples
    begin, first, last: the variables before the first step, after the first look and at the end
    """

    losses: np.ndarray
    norms: np.ndarray
    sizes: np.ndarray
    agreements: np.ndarray
    each: np.ndarray
    looks: np.ndarray
    held_out: np.ndarray
    trained: np.ndarray
    held_loss: np.ndarray
    begin: Any
    first: Any
    last: Any

    @property
    def best(self) -> np.ndarray:
        """Skill on held-out examples at the look where its mean was best."""
        return self.held_out[int(np.argmax(self.held_out.mean(-1)))]

    @property
    def learnt(self) -> float:
        """Mean skill on what was trained on, at its best."""
        return float(self.trained.mean(-1).max())

    @property
    def finite(self) -> bool:
        """Whether every loss was a number."""
        return bool(np.isfinite(self.losses).all())


def train(facts: Facts) -> dict[str, Lane]:
    """All short trainings, by name. NotGiven where there is no way to train."""
    facts.given("apply", "loss")
    if facts.judged_by_loss:
        _ = facts.loss_scale  # NotGiven before anything is trained
    if facts.program.step is not None:
        return _with_step(facts)
    facts.given("optimizer")
    return _with_optimizer(facts)


class Shown(NamedTuple):
    """What one lane is shown, and how fast it goes: leaves have a leading lane axis."""

    scale: Any
    shift: Any
    rows: Any
    labels: Any
    factor: Any
    augmented: Any


def _with_optimizer(facts: Facts) -> dict[str, Lane]:
    step, names, steps = _step(facts), ALL, MOST_STEPS
    cost = _operations(facts)
    if cost * len(ALL) * MOST_STEPS > OPERATIONS:
        names = ESSENTIAL
        steps = int(np.clip(OPERATIONS / (cost * len(names)), FEWEST_STEPS, MOST_STEPS))
    if _standardising(facts) is not None:
        names = (*names, "standardised")
    if facts.program.augment is not None and _comparable(facts):
        names = (*names, "not augmented")
    steps = LOOKS * max(1, steps // LOOKS)
    shown = _shown(facts, names, steps)
    optimizer = facts.program.optimizer
    with guarded("optimizer"):
        opt_state = optimizer.init(facts.optimised(facts.variables))
    begin = (facts.variables, opt_state)
    found = None
    if not (has_convolution(facts) and jax.default_backend() == "cpu"):
        found = _together(facts, step, begin=begin, shown=shown, count=len(names), steps=steps)
    if found is None:
        found = _apart(facts, step, begin=begin, shown=shown, count=len(names), steps=steps)
    return dict(zip(names, found))


def _together(
    facts: Facts, step: Any, *, begin: Any, shown: Shown, count: int, steps: int
) -> list[Lane] | None:
    """All lanes as one program; None where the program's functions cannot be vectorised."""
    look = jax.vmap(functools.partial(_outputs, facts), in_axes=(0, 0, None))
    begin = jax.tree.map(lambda leaf: jnp.stack([leaf] * count), begin)
    try:
        part = _collect(facts, _scan(step), jax.jit(look), state=begin, shown=shown, steps=steps)
    except Crashed as crash:
        if isinstance(crash.error, NotImplementedError | ValueError | TypeError):
            return None
        raise
    return [_lane(facts, part, lambda leaf, i=i: leaf[i]) for i in range(count)]


def _apart(
    facts: Facts, step: Any, *, begin: Any, shown: Shown, count: int, steps: int
) -> list[Lane]:
    """Lane after lane, step after step."""
    chunk, look = _loop(step), jax.jit(functools.partial(_outputs, facts))
    found = []
    for i in range(count):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], shown)
        part = _collect(facts, chunk, look, state=begin, shown=own, steps=steps)
        found.append(_lane(facts, part, lambda leaf: leaf))
    return found


def _collect(
    facts: Facts, chunk: Any, look: Any, *, state: Any, shown: Shown, steps: int
) -> dict[str, list[Any]]:
    """Training in LOOKS pieces, looked at after each. Arrays, a leading lane axis where there is
    one."""
    held, own = _looked_at(facts)
    collected: dict[str, list[Any]] = {"seen": [], "held": [], "own": [], "variables": []}
    size = steps // LOOKS
    for piece in range(LOOKS + 1):
        if piece:
            state, seen = chunk(state, shown, jnp.arange((piece - 1) * size, piece * size))
            collected["seen"].append(jax.device_get(seen))
        collected["held"].append(jax.device_get(look(state[0], shown, held.inputs)))
        collected["own"].append(jax.device_get(look(state[0], shown, own.inputs)))
        if piece in (0, 1, LOOKS):
            collected["variables"].append(state[0])
    return collected | {"size": [size]}


def _lane(facts: Facts, part: dict[str, list[Any]], pick: Callable[[Any], Any]) -> Lane:
    held, own = _looked_at(facts)
    seen = [np.concatenate(values) for values in zip(*([*map(pick, s)] for s in part["seen"]))]
    held_outputs = [jax.tree.map(pick, outputs) for outputs in part["held"]]
    own_outputs = [jax.tree.map(pick, outputs) for outputs in part["own"]]
    begin, first, last = (jax.tree.map(pick, variables) for variables in part["variables"])
    return Lane(
        *seen,
        looks=np.arange(LOOKS + 1) * part["size"][0],
        held_out=np.stack([facts.skill(o, held.targets) for o in held_outputs]),
        trained=np.stack([facts.skill(o, own.targets) for o in own_outputs]),
        held_loss=np.array([float(facts.compiled_loss(o, held.targets)) for o in held_outputs]),
        begin=begin,
        first=first,
        last=last,
    )


def _looked_at(facts: Facts) -> tuple[Any, Any]:
    """Held-out examples (of training where there are none) and training examples."""
    own = type(facts.train)(*(array[:LOOKED_AT] for array in facts.train))
    if not facts.has_validation:
        return own, own
    return type(own)(*(array[:LOOKED_AT] for array in facts.validation)), own


def _step(facts: Facts) -> Callable[..., Any]:
    """One step of one lane: ((variables, opt_state), shown, number) -> (the same, what was
    seen)."""
    program = facts.program
    inputs, targets = (jnp.asarray(array) for array in facts.train)

    def step(state: Any, shown: Shown, number: Any) -> tuple[Any, Any]:
        variables, opt_state = state
        rows = shown.rows[number]
        x, y = inputs[rows], targets[shown.labels[rows]]
        key = jax.random.fold_in(facts.key, number)
        if program.augment is not None:
            with guarded("augment"):
                changed_x, changed_y = program.augment(jax.random.fold_in(key, 1), x, y)
            plain = in_form_of(y, changed_y)
            if jnp.shape(changed_x) == x.shape and plain is not None:
                x = jnp.where(shown.augmented, changed_x, x).astype(x.dtype)
                y = jnp.where(shown.augmented, changed_y, plain)
            else:
                x, y = changed_x, changed_y
        x = _changed(x, shown)
        (loss, after), gradient = jax.value_and_grad(facts.objective, has_aux=True)(
            facts.learnt(variables), variables, x, y, key
        )
        zeros = jax.tree.map(_no_gradient, variables)
        grads = facts.optimised(facts.with_learnt(zeros, gradient))
        params = facts.optimised(variables)
        with guarded("optimizer"):
            updates, opt_state = program.optimizer.update(grads, opt_state, params)
        moved = jax.tree.map(lambda p, u: _moved(p, u, shown.factor), params, updates)
        result = facts.with_optimised(after, moved)
        # Where apply gives no variables back, what it carries is as before.
        pairs = list(zip(gradient, facts.learnt(result), facts.learnt(variables)))
        update = [(b.astype(jnp.float32) - a.astype(jnp.float32)) for _, b, a in pairs]
        return (result, opt_state), (loss, *_directions(gradient, update))

    return step


def in_form_of(targets: Any, augmented: Any) -> Any:
    """Targets as augmentation gives them, but for what it does to them: (n,) class numbers beside
    (n, classes) probabilities become rows with a one; None where there is no such form."""
    given, wanted = jnp.shape(targets), jnp.shape(augmented)
    if given == wanted:
        return targets
    numbers = jnp.issubdtype(jnp.result_type(targets), jnp.integer)
    if numbers and is_float(augmented) and wanted[:-1] == given:
        return jax.nn.one_hot(targets, wanted[-1], dtype=augmented.dtype)
    return None


def _comparable(facts: Facts) -> bool:
    """Whether the same training can go without augmentation."""
    augment: Any = facts.program.augment
    with guarded("augment"):
        inputs, targets = jax.eval_shape(augment, facts.key, *facts.batch)
    same = inputs.shape == facts.batch.inputs.shape
    return same and jax.eval_shape(in_form_of, facts.batch.targets, targets) is not None


def _directions(gradient: Sequence[Any], update: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
    """(norm of the gradient, of the update, cosine of update and negative gradient, that of each
    array)."""
    dots = [-jnp.vdot(g.astype(jnp.float32), u) for g, u in zip(gradient, update)]
    lengths = [_norm([g]) * _norm([u]) for g, u in zip(gradient, update)]
    norm, size = _norm(gradient), _norm(update)
    whole = sum(dots, jnp.float32(0.0)) / jnp.maximum(norm * size, 1e-30)
    each = [dot / jnp.maximum(length, 1e-30) for dot, length in zip(dots, lengths)]
    return norm, size, whole, jnp.stack([*each, jnp.float32(0.0)])


def _changed(inputs: Any, shown: Shown) -> Any:
    """Inputs as the lane sees them."""
    return (inputs * shown.scale + shown.shift).astype(inputs.dtype)


def _no_gradient(leaf: Any) -> Any:
    return jnp.zeros_like(leaf) if is_float(leaf) else leaf


def _moved(leaf: Any, update: Any, factor: Any) -> Any:
    if not is_float(leaf):
        return leaf
    return (leaf + (factor * update).astype(leaf.dtype)).astype(leaf.dtype)


def _norm(leaves: Sequence[Any]) -> Any:
    squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in leaves]
    return jnp.sqrt(sum(squares, jnp.float32(0.0)))


def _scan(step: Any) -> Any:
    """All lanes at once, many steps a call."""

    def one(state: Any, shown: Shown, numbers: Any) -> Any:
        return jax.lax.scan(lambda state, number: step(state, shown, number), state, numbers)

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None)))


def _loop(step: Any) -> Any:
    """One lane, one step a call: on CPU the gradient of a convolution is slow inside a scan, and
    slow where every lane has its own kernel."""
    compiled = jax.jit(step)

    def run(state: Any, shown: Shown, numbers: Any) -> Any:
        seen = []
        for number in numbers:
            state, each = compiled(state, shown, number)
            seen.append(each)
        return state, tuple(np.stack(values) for values in zip(*seen))

    return run


def _outputs(facts: Facts, variables: Any, shown: Shown, inputs: Any) -> Any:
    outputs, _ = facts.apply(variables, _changed(inputs, shown), facts.key, False)
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), outputs)


def _shown(facts: Facts, names: Sequence[str], steps: int) -> Shown:
    """What each lane is shown."""
    count, size = len(facts.train.inputs), facts.batch_size
    shape = facts.train.inputs.shape[1:]
    draw = np.random.default_rng(1)
    if facts.program.train is None:
        order = np.arange(steps * size) % len(facts.all_train.inputs)
        # Streams are trained on in their own order, as far as it was drawn.
        place = np.argsort(np.random.default_rng(0).permutation(len(facts.all_train.inputs)))
        order = np.where(place[order] < count, place[order], order % count)
    else:
        rounds = -(-steps * size // count)
        order = np.concatenate([draw.permutation(count) for _ in range(rounds)])
    order = order[: steps * size].reshape(steps, size)
    numbers = np.float32 if facts.float_inputs else facts.train.inputs.dtype
    one, zero = np.ones((1,) * len(shape), numbers), np.zeros((1,) * len(shape), numbers)
    lanes = []
    for name in names:
        scale, shift = one, zero
        if name == "zero inputs":
            scale = zero
        if name == "standardised":
            scale, shift = _standardising(facts)  # pyright: ignore[reportGeneralTypeIssues]
        rows = np.broadcast_to(np.arange(size), (steps, size)) if name == "one batch" else order
        labels = draw.permutation(count) if name == "permuted" else np.arange(count)
        lanes.append(
            Shown(
                np.broadcast_to(scale, shape),
                np.broadcast_to(shift, shape),
                rows,
                labels,
                np.float32(FACTORS.get(name, 1.0)),
                name not in ("not augmented", "one batch"),
            )
        )
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *lanes)


def _standardising(facts: Facts) -> tuple[np.ndarray, np.ndarray] | None:
    """(scale, shift) that give every feature mean 0 and deviation 1; None where they nearly do."""
    inputs = facts.train.inputs
    if not facts.float_inputs:
        return None
    values = as_numpy(inputs)
    if not np.isfinite(values).all():
        return None
    # Of images and series every channel has its own; of tables every column.
    axes = tuple(range(values.ndim - 1)) if values.ndim > 1 else (0,)
    mean, deviation = values.mean(axes), values.std(axes)
    overall = np.sqrt(np.mean(values**2))
    ratio = deviation[deviation > 0]
    even = ratio.size and ratio.max() / ratio.min() < 30
    if 0.1 < overall < 4 and even:
        return None
    deviation = np.where(deviation > 0, deviation, 1.0)
    return (1 / deviation).astype(np.float32), (-mean / deviation).astype(np.float32)


def has_convolution(facts: Facts) -> bool:
    """Whether the program convolves."""
    found = jax.make_jaxpr(lambda v, x: facts.apply(v, x, facts.key, True)[0])(
        facts.variables, facts.batch.inputs
    )
    return any(name == "conv_general_dilated" for name in trace.operations(found))


def _operations(facts: Facts) -> float:
    """Multiplications and additions of one step, by XLA's own count."""
    lowered = facts.gradient.lower(  # pyright: ignore[reportFunctionMemberAccess]
        facts.learnt(facts.variables), facts.variables, *facts.batch, facts.key
    )
    counted = lowered.cost_analysis() or {}
    # A loop's body is counted once: lengths of scans are multiplied in.
    return float(counted.get("flops", 1e6)) * trace.longest_loop(
        jax.make_jaxpr(lambda v, x: facts.apply(v, x, facts.key, True)[0])(
            facts.variables, facts.batch.inputs
        )
    )


# --- Programs that make the step themselves --------------------------------------------------


def variables_in(facts: Facts, state: Any) -> Any:
    """The program's variables as its state holds them now.

    Looked for by structure in the state it begins with: all of them, or the collection "params"
    beside others of their name. NotGiven where the state holds no such tree.
    """
    variables, begin = facts.variables, facts.program.state
    place = _place(begin, variables)
    if place is not None:
        return _at(state, place)
    place = _place(begin, facts.optimised(variables))
    if place is None:
        raise NotGiven("the state of step= holds no tree of the form that init gives")
    changed = facts.with_optimised(variables, _at(state, place))
    if isinstance(variables, dict):
        for name in set(variables) - {"params"}:
            other = _place(begin, variables[name])
            if other is not None and jax.tree.leaves(variables[name]):
                changed = {**changed, name: _at(state, other)}
    return changed


def _place(state: Any, like: Any) -> tuple[int, ...] | None:
    """Where in the state a tree of this form is: the numbers of the children on the way.

    Averages of the optimiser have the form of the weights, and begin at zero: of several places
    the one with the fewest arrays of zeros is taken, then the one on the shortest way, the first.
    """
    wanted, own = _shapes(like), _empty(like)
    found = [
        (max(0, _empty(tree) - own), len(way), way)
        for way, tree in _subtrees(state)
        if _shapes(tree) == wanted
    ]
    return min(found, default=(0, 0, None))[2]


def _empty(tree: Any) -> int:
    """How many arrays of a tree are zero throughout."""
    return sum(not np.any(as_numpy(leaf)) for leaf in jax.tree.leaves(tree))


def _shapes(tree: Any) -> Any:
    try:
        leaves = [
            (np.shape(leaf), str(getattr(leaf, "dtype", ""))) for leaf in jax.tree.leaves(tree)
        ]
        paths = [jax.tree_util.keystr(p, simple=True) for p, _ in jax.tree.leaves_with_path(tree)]
        return paths, leaves
    except (TypeError, ValueError):
        return None


def _children(tree: Any) -> list[Any]:
    children, _ = jax.tree.flatten(tree, is_leaf=lambda node: node is not tree)
    return [] if len(children) == 1 and children[0] is tree else children


def _subtrees(tree: Any, way: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any]]:
    """(numbers of the children on the way, subtree), from the top down."""
    yield way, tree
    for number, child in enumerate(_children(tree)):
        yield from _subtrees(child, (*way, number))


def _at(tree: Any, way: tuple[int, ...]) -> Any:
    for number in way:
        tree = _children(tree)[number]
    return tree


def own_step(facts: Facts) -> Callable[..., tuple[Any, Any]]:
    """(state, batch, key) -> (state, loss): the program's own, compiled where that can be."""
    given: Any = facts.program.step

    def step(state: Any, batch: Any, key: Any) -> tuple[Any, Any]:
        with guarded("step"):
            returned = given(state, batch, key)
            if not (isinstance(returned, tuple) and len(returned) >= 2):
                raise TypeError("step must return (state, loss)")
            return returned[0], returned[1]

    compiled = jax.jit(step)

    def run(state: Any, batch: Any, key: Any) -> tuple[Any, Any]:
        # A step that donates its state would take it from the program's owner.
        state = jax.tree.map(lambda leaf: jnp.copy(leaf) if hasattr(leaf, "shape") else leaf, state)
        try:
            return compiled(state, batch, key)
        except Crashed as crash:
            if isinstance(crash.error, jax.errors.JAXTypeError):
                return step(state, batch, key)
            raise

    return run


def _with_step(facts: Facts) -> dict[str, Lane]:
    names = ("normal", "one batch", "zero inputs")
    cost = _operations(facts)
    steps = int(np.clip(OPERATIONS / (cost * len(names)), FEWEST_STEPS, MOST_STEPS))
    steps = LOOKS * max(1, steps // LOOKS)
    shown = _shown(facts, names, steps)
    step = own_step(facts)
    inputs, targets = (jnp.asarray(array) for array in facts.train)
    gradient = facts.gradient

    def chunk(state: Any, shown: Shown, numbers: Any) -> Any:
        variables, own, _ = state
        seen = []
        for number in np.asarray(numbers):
            rows = shown.rows[number]
            batch = (_changed(inputs[rows], shown), targets[rows])
            own, loss = step(own, batch, jax.random.fold_in(facts.key, int(number)))
            after = variables_in(facts, own)
            before = facts.learnt(variables)
            update = [b - a for a, b in zip(before, facts.learnt(after))]
            unknown = jnp.float32(jnp.nan)
            told = unknown, _norm(update), unknown, jnp.full(len(update) + 1, jnp.nan)
            if number < 30:
                key = jax.random.fold_in(facts.key, int(number))
                told = _directions(gradient(before, variables, *batch, key)[1], update)
            variables = after
            mean = jnp.mean(jnp.asarray(loss, jnp.float32))
            seen.append(tuple(np.asarray(x) for x in (mean, *told)))
        return (variables, own, None), tuple(np.array(column) for column in zip(*seen))

    look = jax.jit(functools.partial(_outputs, facts))
    found = {}
    for i, name in enumerate(names):
        begin = (variables_in(facts, facts.program.state), facts.program.state, None)
        lane = jax.tree.map(lambda leaf, i=i: leaf[i], shown)
        part = _collect(facts, chunk, look, state=begin, shown=lane, steps=steps)
        found[name] = _lane(facts, part, lambda leaf: leaf)
    return found
