"""The facts about one program that checks ask for. Each is computed when first asked, and once.

Whatever the program's own functions raise arrives as `Crashed`, with the name of the function; what
a check needs and was not given is `NotGiven`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from recipe_jax.probes import trace
from recipe_jax.probes.meaning import Meaning, read
from recipe_jax.program import Program
from recipe_jax.types import Arrays, PyTree

if TYPE_CHECKING:
    from recipe_jax.probes import by_loss, outcomes, runs, simple

MOST_EXAMPLES = 1000
"""Of larger data a random subset of this size is examined."""
MOST_BATCH, MOST_OUTPUTS = 64, 200_000
STREAMED = 2048
"""So many examples of each of two epochs are drawn from a program that gives batches."""
CARRIED = ("batch_stats", "running", "moving", "ema", "stats")
"""Names by which weights that are carried, not learnt, are known in trees of plain arrays."""


class NotGiven(Exception):
    """A check does not apply; the text says why."""


class Crashed(Exception):
    """A function of the examined program raised."""

    def __init__(self, where: str, error: BaseException):
        self.where, self.error = where, error
        lines = str(error).strip().splitlines() or [""]
        super().__init__(f"{where} raised {type(error).__name__}: {lines[0][:300]}")


class Leaf(NamedTuple):
    """One array of the variables: where it is, and whether training is meant to change it."""

    name: str
    trained: bool
    frozen: bool


class Facts:
    """Facts about `program`, examined with randomness from `seed`."""

    def __init__(self, program: Program, seed: int = 0):
        self.program = program
        self.key = jax.random.key(seed)

    def given(self, *names: str) -> None:
        """NotGiven unless the program has all of these."""
        for name in names:
            if getattr(self.program, name) is None:
                raise NotGiven(f"{name}= was not given")

    # --- Data --------------------------------------------------------------------------------

    @functools.cached_property
    def epochs(self) -> list[list[Arrays]]:
        """The first batches of two epochs, of a program that gives batches."""
        self.given("batches")
        epochs = []
        for epoch in range(2):
            batches, count = [], 0
            with guarded("batches"):
                for batch in self.program.batches(epoch):  # pyright: ignore[reportOptionalCall]
                    inputs, targets = batch
                    batches.append(Arrays(np.asarray(inputs), np.asarray(targets)))
                    count += len(batches[-1].inputs)
                    if count >= STREAMED:
                        break
            if not batches:
                raise Crashed("batches", ValueError(f"epoch {epoch} has no batch"))
            epochs.append(batches)
        return epochs

    @functools.cached_property
    def all_train(self) -> Arrays:
        """All training examples that there are arrays of, in the order in which they came."""
        if self.program.train is not None:
            return self.program.train
        batches = self.epochs[0]
        return Arrays(
            np.concatenate([batch.inputs for batch in batches]),
            np.concatenate([batch.targets for batch in batches]),
        )

    @functools.cached_property
    def train(self) -> Arrays:
        """Training examples in random order, at most MOST_EXAMPLES."""
        return self._subset(self.all_train)

    @functools.cached_property
    def all_rows(self) -> np.ndarray:
        """(n,) the row at which each of `all_train` stood where it was read; its place where that
        is not known."""
        rows, count = self.program.rows, len(self.all_train.inputs)
        return np.arange(count) if rows is None else rows

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """(n,) the same of `train`."""
        return self.all_rows[_chosen(len(self.all_train.inputs))]

    @functools.cached_property
    def validation(self) -> Arrays:
        """Validation examples in random order, at most MOST_EXAMPLES."""
        self.given("validation")
        return self._subset(self.program.validation)  # pyright: ignore[reportArgumentType]

    @property
    def has_validation(self) -> bool:
        """Whether there are examples to judge by that were not trained on."""
        return self.program.validation is not None

    def _subset(self, arrays: Arrays) -> Arrays:
        return Arrays(*(array[_chosen(len(arrays.inputs))] for array in arrays))

    @functools.cached_property
    def batch_size(self) -> int:
        """As planned, as streamed, or 32; never more than there is."""
        planned = self.program.batch_size
        if planned is None and self.program.train is None:
            planned = len(self.epochs[0][0].inputs)
        return max(1, min(planned or 32, MOST_BATCH, len(self.train.inputs)))

    @functools.cached_property
    def batch(self) -> Arrays:
        """The first examples, as many as a batch."""
        return Arrays(*(jnp.asarray(array[: self.batch_size]) for array in self.train))

    def more(self, number: int) -> Arrays:
        """Another batch; the first has number 0."""
        size, count = self.batch_size, len(self.train.inputs)
        rows = (np.arange(size) + number * size) % count
        return Arrays(*(jnp.asarray(array[rows]) for array in self.train))

    @functools.cached_property
    def float_inputs(self) -> bool:
        """Whether inputs are quantities; if not, they are numbers of tokens."""
        return self.train.inputs.dtype.kind in "fV"

    # --- Variables ---------------------------------------------------------------------------

    @functools.cached_property
    def variables(self) -> PyTree:
        """What the program begins with."""
        self.given("init")
        with guarded("init"):
            return self.program.init(self.key)  # pyright: ignore[reportOptionalCall]

    @functools.cached_property
    def after_apply(self) -> tuple[Any, PyTree]:
        """(outputs, variables) of the first batch in training."""
        return self.forward(self.variables, self.batch.inputs, self.key, True)

    @functools.cached_property
    def leaves(self) -> list[Leaf]:
        """Every array of the variables, in the order of jax.tree.leaves."""
        flat = jax.tree.leaves_with_path(self.variables)
        learnt = self._learnt([path for path, _ in flat])
        return [
            Leaf(name, bool(is_float(leaf) and chosen), frozen)
            for (path, leaf), chosen in zip(flat, learnt)
            for name in [jax.tree_util.keystr(path, simple=True, separator="/")]
            for frozen in [any(part in name for part in self.program.frozen)]
        ]

    def _learnt(self, paths: list[Any]) -> list[bool]:
        """Whether each array is one that training learns, by its collection or its kind."""
        variables = self.variables
        if isinstance(variables, Mapping) and "params" in variables:
            return [getattr(path[0], "key", None) == "params" for path in paths]
        kinds = jax.tree.leaves(variables, is_leaf=lambda x: isinstance(x, nnx.Variable))
        if any(isinstance(kind, nnx.Variable) for kind in kinds):
            return [isinstance(kind, nnx.Param) for kind in kinds for _ in jax.tree.leaves(kind)]
        before, after = jax.tree.leaves(variables), jax.tree.leaves(self.after_apply[1])
        same = [
            before is after or bool(np.array_equal(as_numpy(before), as_numpy(after)))
            for before, after in zip(before, after)
        ]
        names = [jax.tree_util.keystr(path).lower() for path in paths]
        return [
            unchanged and not any(part in name for part in CARRIED)
            for unchanged, name in zip(same, names)
        ]

    @functools.cached_property
    def places(self) -> list[int]:
        """Which leaves are learnt."""
        return [place for place, leaf in enumerate(self.leaves) if leaf.trained]

    @functools.cached_property
    def carried(self) -> list[int]:
        """Which leaves of floats are carried from step to step but not learnt."""
        flat = jax.tree.leaves(self.variables)
        return [p for p, leaf in enumerate(self.leaves) if not leaf.trained and is_float(flat[p])]

    @functools.cached_property
    def names(self) -> list[str]:
        """Names of the learnt leaves."""
        return [self.leaves[place].name for place in self.places]

    def learnt(self, variables: PyTree) -> list[Any]:
        """The learnt leaves of some variables."""
        flat = jax.tree.leaves(variables)
        return [flat[place] for place in self.places]

    def with_learnt(self, variables: PyTree, learnt: list[Any]) -> PyTree:
        """The variables with other learnt leaves."""
        flat, structure = jax.tree.flatten(variables)
        for place, leaf in zip(self.places, learnt):
            flat[place] = leaf
        return jax.tree.unflatten(structure, flat)

    def optimised(self, variables: PyTree) -> PyTree:
        """The part of the variables that the optimiser is given: the collection "params", the
        Params
        of a Flax state, the one branch that holds all that is learnt, or everything."""
        if isinstance(variables, Mapping) and "params" in variables:
            return variables["params"]
        if isinstance(variables, nnx.State):
            return nnx.filter_state(variables, nnx.Param)
        branch = self._branch
        return variables if branch is None else variables[branch]

    @functools.cached_property
    def _branch(self) -> Any:
        """Key of the one branch of dict, tuple or list that holds the learnt leaves and no
        others."""
        variables = self.variables
        if len(self.places) == len(self.leaves) or not isinstance(variables, dict | tuple | list):
            return None
        keys = list(variables) if isinstance(variables, dict) else range(len(variables))
        first = 0
        for key in sorted(keys) if isinstance(variables, dict) else keys:
            count = len(jax.tree.leaves(variables[key]))
            if self.places == list(range(first, first + count)):
                return key
            first += count
        return None

    def with_optimised(self, variables: PyTree, part: PyTree) -> PyTree:
        """The variables after the optimiser changed its part; what is not learnt stays."""
        if len(jax.tree.leaves(part)) == len(self.places):
            return self.with_learnt(variables, jax.tree.leaves(part))
        changed = jax.tree.leaves(part)
        return self.with_learnt(variables, [changed[place] for place in self.places])

    # --- The functions -----------------------------------------------------------------------

    @functools.cached_property
    def apply(self) -> Callable[..., tuple[Any, PyTree]]:
        """The program's own, its errors named."""
        self.given("apply")

        def apply(variables: PyTree, inputs: Any, key: Any, train: bool) -> tuple[Any, PyTree]:
            with guarded("apply"):
                return self.program.apply(  # pyright: ignore[reportOptionalCall]
                    variables, inputs, key=key, train=train
                )

        return apply

    @functools.cached_property
    def forward(self) -> Callable[..., tuple[Any, PyTree]]:
        """(variables, inputs, key, train) -> (outputs, variables), compiled."""
        return jax.jit(self.apply, static_argnums=3)

    def laid_out(self, train: bool) -> tuple[trace.Flat, dict[int, str]]:
        """(the computation of the first batch's outputs laid out flat, which of its inputs are
        "weights" and "inputs"); the last of its inputs is the key."""
        layout = trace.flat(
            lambda learnt, x, key: self.apply(
                self.with_learnt(self.variables, learnt), x, key, train
            )[0],
            self.learnt(self.variables),
            self.batch.inputs,
            self.key,
        )
        *weights, inputs, _ = layout.inputs
        return layout, dict.fromkeys(weights, "weights") | {inputs: "inputs"}

    def loss(self, outputs: Any, targets: Any) -> Any:
        """The program's loss as one number."""
        self.given("loss")
        with guarded("loss"):
            value = self.program.loss(outputs, targets)  # pyright: ignore[reportOptionalCall]
            return jnp.mean(jnp.asarray(value))

    @functools.cached_property
    def compiled_loss(self) -> Callable[..., Any]:
        """(outputs, targets) -> one number."""
        self.given("loss")
        return jax.jit(self.loss)

    @functools.cached_property
    def single_losses(self) -> Callable[..., Any]:
        """(outputs, targets) -> (n,), the loss of every example alone; outputs may be a tree."""

        def single(outputs: Any, target: Any) -> Any:
            return self.loss(jax.tree.map(lambda leaf: leaf[None], outputs), target[None])

        return jax.jit(jax.vmap(single))

    @functools.cached_property
    def loss_gradient(self) -> Callable[..., Any]:
        """(outputs, targets) -> the loss's gradient by the outputs."""
        self.given("loss")
        return jax.jit(jax.grad(self.loss))

    def objective(
        self, learnt: list[Any], variables: PyTree, inputs: Any, targets: Any, key: Any
    ) -> tuple[Any, PyTree]:
        """(loss of a batch in training, the variables after it), by the learnt leaves."""
        outputs, after = self.apply(self.with_learnt(variables, learnt), inputs, key, True)
        return self.loss(outputs, targets).astype(jnp.float32), after

    @functools.cached_property
    def gradient(self) -> Callable[..., tuple[tuple[Any, PyTree], list[Any]]]:
        """((loss, variables after), gradient by the learnt leaves), compiled."""
        self.given("loss", "apply")
        return jax.jit(jax.value_and_grad(self.objective, has_aux=True))

    # --- Trainings ---------------------------------------------------------------------------

    @functools.cached_property
    def lanes(self) -> "dict[str, runs.Lane]":
        """The short trainings, by name."""
        from recipe_jax.probes import runs

        return runs.train(self)

    @functools.cached_property
    def outcome(self) -> "outcomes.Outcome":
        """Whether training works."""
        from recipe_jax.probes import outcomes

        return outcomes.judge(self)

    @functools.cached_property
    def simple(self) -> "simple.Simple":
        """What simple models make of the same data."""
        from recipe_jax.probes import simple

        return simple.fit(self)

    # --- What it is about --------------------------------------------------------------------

    @functools.cached_property
    def any_outputs(self) -> Any:
        """What the program gives for the first batch at the start, not in training: an array, or a
        tree of several."""
        return self.forward(self.variables, self.batch.inputs, self.key, False)[0]

    @property
    def outputs(self) -> Any:
        """The same, one array."""
        if not hasattr(self.any_outputs, "shape"):
            raise NotGiven("apply gives several arrays, whose meaning is not known")
        return self.any_outputs

    @functools.cached_property
    def usual_meaning(self) -> Meaning:
        """What targets and outputs of their form usually mean."""
        if self.program.task == "other":
            raise NotGiven("task='other': what targets and outputs mean is the program's own")
        outputs = self.outputs if self.program.apply is not None else None
        found = read(
            self.all_train, None if outputs is None else np.shape(outputs), self.program.task
        )
        if found is None:
            raise NotGiven("what the targets mean cannot be told from their form")
        return found

    @functools.cached_property
    def meaning(self) -> Meaning:
        """What targets and outputs mean; NotGiven where that is not known, or the program's own
        loss reads them in another way."""
        from recipe_jax.probes import reading

        found = self.usual_meaning
        if reason := reading.contradicted(self):
            raise NotGiven(reason)
        return found

    @property
    def known(self) -> Meaning | None:
        """The meaning; None where it is not known."""
        try:
            return self.meaning
        except NotGiven:
            return None

    def skill(self, outputs: Any, targets: Any) -> np.ndarray:
        """(n,) how good each answer is: 0 for the best constant, 1 for perfect; by the meaning, or
        where there is none by the program's own loss."""
        from recipe_jax.probes import by_loss

        if self.known is not None and self.form != "linked":
            return self.meaning.skill(as_numpy(outputs), targets, self.form)
        return by_loss.skill(self, outputs, targets)

    @property
    def judged_by_loss(self) -> bool:
        """Whether `skill` goes by the loss."""
        return self.known is None or self.form == "linked"

    @functools.cached_property
    def free_outputs(self) -> tuple[Any, np.ndarray]:
        """The outputs that suit every example of the batch, and the loss on the way there."""
        from recipe_jax.probes import by_loss

        return by_loss.descend_freely(self)

    @functools.cached_property
    def loss_scale(self) -> "by_loss.Scale":
        """What outputs of unknown meaning are judged by."""
        from recipe_jax.probes import by_loss

        return by_loss.measure(self)

    @functools.cached_property
    def lowest(self) -> np.ndarray:
        """Outputs at which the loss of the batch is lowest, found by Adam on outputs alone: from
        zero, for values from the mean of the targets."""
        targets, shape = self.batch.targets, np.shape(self.outputs)
        begin, scale = np.zeros(shape, np.float32), 1.0
        if begin.size > MOST_OUTPUTS:
            raise NotGiven("the outputs are too many")
        if self.usual_meaning.kind == "values":
            scale = float(np.sqrt(self.usual_meaning.variance).mean())
            rows = (begin.size // self.usual_meaning.classes, self.usual_meaning.classes)
            begin = (
                np.broadcast_to(self.usual_meaning.prior, rows).reshape(shape).astype(np.float32)
            )
        optimizer = optax.adam(optax.cosine_decay_schedule(0.3 * scale, 300))

        @jax.jit
        def run(outputs: Any) -> Any:
            def step(state: Any, _: None) -> Any:
                outputs, opt_state = state
                slope = jax.grad(self.loss)(outputs, targets)
                updates, opt_state = optimizer.update(slope, opt_state)
                return (outputs + updates, opt_state), None

            return jax.lax.scan(step, (outputs, optimizer.init(outputs)), None, length=300)[0][0]

        return as_numpy(run(jnp.asarray(begin)))

    def same_scale(self) -> None:
        """NotGiven where outputs say the targets on another scale, as the logarithm of a rate."""
        if self.form == "linked":
            raise NotGiven("outputs are on another scale than the targets")

    @functools.cached_property
    def form(self) -> str:
        """What the outputs are: "logits", "probabilities", "log probabilities", "values", or
        "linked"
        (quantities on another scale than the targets, as the logarithm of a rate)."""
        found = self._form
        if self.program.loss is None:
            return found
        targets = np.asarray(self.batch.targets)
        if self.usual_meaning.kind == "binary" and found == "logits":
            # Squared errors from 0 and 1 are lowest there, not far out.
            sure = self.usual_meaning.perfect(targets, "logits", np.shape(self.outputs))
            plain = (sure > 0).astype(np.float32)
            costs = [float(self.compiled_loss(o, targets)) for o in (plain, sure, 1 - plain)]
            return "probabilities" if costs[0] < min(costs[1:]) else found
        if self.usual_meaning.kind != "values" or len(targets) < 4:
            return found
        best, wanted = self.lowest.ravel(), targets.ravel()
        if not np.isfinite(best).all():
            return found
        off = np.abs(best - wanted) / max(float(wanted.std()), 1e-12)
        ordered = float(np.corrcoef(best.argsort().argsort(), wanted.argsort().argsort())[0, 1])
        return "linked" if float(np.median(off)) > 0.3 and ordered > 0.95 else found

    @functools.cached_property
    def _form(self) -> str:
        several = [self.outputs]
        for scale in (3.0, 10.0):
            outputs, _ = self.forward(self.scattered(scale), self.batch.inputs, self.key, False)
            several.append(outputs)
        return self.usual_meaning.form([as_numpy(each) for each in several])

    def scattered(self, scale: float, draw: int = 0) -> PyTree:
        """The variables, the learnt ones with noise of `scale` times their own size added."""
        own = jax.random.fold_in(self.key, draw)

        def scatter(number: int, leaf: Any) -> Any:
            key = jax.random.fold_in(own, number)
            size = scale * jnp.maximum(jnp.sqrt(jnp.mean(jnp.square(leaf))), 0.1)
            return (leaf + size * jax.random.normal(key, leaf.shape)).astype(leaf.dtype)

        return self.with_learnt(
            self.variables,
            [scatter(number, leaf) for number, leaf in enumerate(self.learnt(self.variables))],
        )


def _chosen(count: int) -> np.ndarray:
    """Which of so many examples are looked at, in which order."""
    return np.random.default_rng(0).permutation(count)[:MOST_EXAMPLES]


def joined(outputs: Any) -> np.ndarray:
    """Outputs as one host array; several arrays of a tree side by side, a row an example."""
    if hasattr(outputs, "shape"):
        return as_numpy(outputs)
    return np.concatenate(
        [as_numpy(leaf).reshape(len(leaf), -1) for leaf in outputs_of(outputs)], 1
    )


def outputs_of(outputs: Any) -> list[Any]:
    """The arrays of a tree of outputs that have a row an example."""
    leaves = [leaf for leaf in jax.tree.leaves(outputs) if np.ndim(leaf)]
    if not leaves or len({len(leaf) for leaf in leaves}) > 1:
        raise NotGiven("apply gives several arrays that do not have a row an example each")
    return leaves


class guarded:
    """What the program's function of this name raises becomes Crashed."""

    def __init__(self, where: str):
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, Crashed | NotGiven):
            raise Crashed(self.where, error) from error


def is_float(leaf: Any) -> bool:
    """Whether an array holds floats, the small ones that jax brings included."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def as_numpy(leaf: Any) -> np.ndarray:
    """A host array that numpy can compute with; random keys as their bits."""
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return array.astype(np.float64) if is_float(leaf) else array
