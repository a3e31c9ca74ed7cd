"""A training program of anybody's, as plain functions and arrays, in the one form that checks ask.

Nothing here trains, prints or guesses: what was not given is None, and the checks that need it say
so.
"""

import inspect
import numbers
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from recipe_jax import adapters
from recipe_jax.types import Arrays, PyTree, UserError

TASKS = ("classification", "regression", "next_token", "other")
# How a function may call what it is told beyond variables and inputs.
KEYS = ("key", "rng", "rngs", "rng_key", "prng_key", "dropout_key", "dropout_rng")
TRAINS = adapters.TRAINS | {"is_train": True, "eval": False}


class Program(NamedTuple):
    """What would be trained, and on what.

    init: (key) -> variables, any pytree
    apply: (variables, inputs, *, key, train) -> (outputs, variables)
    loss: (outputs, targets) -> a number, or one per example
    optimizer: an optax transformation of the whole of the weights
    step: (state, batch, key) -> (state, loss), in place of `optimizer`; `state` is its first state
    batches: (epoch) -> iterator of (inputs, targets), in place of `train`
    metric: (outputs, targets) -> a number; schedule: (step) -> rate
    augment: (key, inputs, targets) -> both
    frozen: names of the parts of the weights that are meant to stay as they are
    task: one of TASKS; None where it has to be read off the targets
    unseen: places of an input laid out flat that `apply` hides on purpose
    rows: (n,) the row of its file at which each example of `train` stood; None where they stand as
        they were read
    """

    init: Callable[..., PyTree] | None = None
    apply: Callable[..., tuple[Any, PyTree]] | None = None
    loss: Callable[..., Any] | None = None
    optimizer: Any = None
    step: Callable[..., Any] | None = None
    state: PyTree = None
    train: Arrays | None = None
    validation: Arrays | None = None
    batches: Callable[[int], Iterable[Any]] | None = None
    metric: Callable[..., Any] | None = None
    schedule: Callable[..., Any] | None = None
    num_steps: int | None = None
    batch_size: int | None = None
    augment: Callable[..., tuple[Any, Any]] | None = None
    frozen: tuple[str, ...] = ()
    task: str | None = None
    unseen: tuple[int, ...] = ()
    rows: np.ndarray | None = None


def experiment(
    *,
    init: Callable[..., PyTree] | None = None,
    apply: Callable[..., Any] | None = None,
    loss: Callable[..., Any] | None = None,
    optimizer: Any = None,
    step: Callable[..., Any] | None = None,
    state: PyTree = None,
    train: Any = None,
    validation: Any = None,
    batches: Callable[..., Iterable[Any]] | None = None,
    metric: Callable[..., Any] | None = None,
    schedule: Callable[..., Any] | None = None,
    num_steps: int | None = None,
    batch_size: int | None = None,
    augment: Callable[..., Any] | None = None,
    frozen: str | Iterable[str] = (),
    task: str | None = None,
) -> Program:
    """A program from plain functions and arrays, for `diagnose`.

    init: (key) -> variables, any pytree (for Linen {"params": ..., "batch_stats": ...})
    apply: (variables, inputs, *, key, train) -> outputs, or (outputs, variables). It may ask for
        less, and under other usual names ("rngs", "training", "deterministic", ...).
    loss: (outputs, targets) -> a number, or one per example
    optimizer: an optax transformation; or step: (state, batch, key) -> (state, loss), with state
    train, validation: (inputs, targets), one array each, examples along the first axis (what has
        several parts is packed into one, and taken apart in apply and loss); or batches: (epoch)
        -> iterator of (inputs, targets), the order in which the program sees them
    metric: (outputs, targets) -> a number; schedule: (step) -> rate, as the optimiser uses it
    num_steps, batch_size: what is planned
    augment: (key, inputs, targets) -> (inputs, targets), or (key, inputs) -> inputs
    frozen: names in the paths of those weights that are meant to stay as they are
    task: "classification", "regression", "next_token", or "other", whose outputs the loss alone
        understands; read off the targets, outputs and loss when not given

    Everything may be left out; what is not given is not judged. UserError says what does not fit.
    """
    functions = {"init": init, "apply": apply, "loss": loss, "step": step, "batches": batches}
    functions |= {"metric": metric, "schedule": schedule, "augment": augment}
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise UserError(f"{name}= must be a function, not {type(function).__name__}.")
    if optimizer is not None and not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise UserError("optimizer= must be an optax transformation, such as optax.adam(1e-3).")
    if optimizer is not None and step is not None:
        raise UserError("Give optimizer= or step=, not both: one of them makes the update.")
    if (step is None) != (state is None):
        raise UserError("step= and state= belong together: give both or neither.")
    if (init is None) != (apply is None):
        raise UserError("init= and apply= belong together: give both or neither.")
    if train is None and batches is None:
        raise UserError("There is nothing to train on: give train=(inputs, targets) or batches=.")
    if train is not None and batches is not None:
        raise UserError("Give train=(inputs, targets) or batches=, not both.")
    if task is not None and task not in TASKS:
        raise UserError(f"task={task!r} is unknown; use one of {', '.join(TASKS)}.")
    for name, value in (("num_steps", num_steps), ("batch_size", batch_size)):
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if value is not None and not (whole and int(value) >= 1):
            raise UserError(f"{name}={value!r} must be a whole number of at least 1.")
    return Program(
        init=init,
        apply=_adapted_apply(apply) if apply else None,
        loss=loss,
        optimizer=optimizer,
        step=step,
        state=state,
        train=_arrays("train", train),
        validation=_arrays("validation", validation),
        batches=_adapted_batches(batches) if batches else None,
        metric=metric,
        schedule=schedule,
        num_steps=None if num_steps is None else int(num_steps),
        batch_size=None if batch_size is None else int(batch_size),
        augment=_adapted_augment(augment) if augment else None,
        frozen=(frozen,) if isinstance(frozen, str) else tuple(frozen),
        task=task,
    )


def _arrays(name: str, given: Any) -> Arrays | None:
    if given is None:
        return None
    try:
        inputs, targets = given
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}= must be a pair (inputs, targets).") from error
    for part in (inputs, targets):
        if isinstance(part, dict | tuple) or (
            isinstance(part, list) and any(np.ndim(each) for each in part)
        ):
            raise UserError(
                f"{name}= must be two arrays, inputs and targets; pack the {len(part)} parts of a "
                f"{type(part).__name__} into one array, and take it apart in apply or loss."
            )
    try:
        inputs, targets = np.asarray(inputs), np.asarray(targets)
    except ValueError as error:
        raise UserError(f"{name}= must hold arrays, every example of one shape.") from error
    for array in (inputs, targets):
        # The small floats that jax brings (bfloat16 and the like) are void to numpy.
        if array.dtype.kind not in "biufV":
            raise UserError(f"{name}= must hold numbers, not {array.dtype}.")
    if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets):
        raise UserError(
            f"{name}= has inputs of shape {inputs.shape} and targets of shape {targets.shape}; "
            "their first axes must be the examples, as many in both."
        )
    if not len(inputs):
        raise UserError(f"{name}= holds no examples.")
    return Arrays(inputs, targets)


def _adapted_apply(apply: Callable[..., Any]) -> Callable[..., tuple[Any, PyTree]]:
    """`apply` under the signature (variables, inputs, *, key, train) -> (outputs, variables)."""
    positional, named = _told(apply)

    def call(variables: PyTree, inputs: Any, *, key: Any, train: bool) -> tuple[Any, PyTree]:
        returned = apply(
            variables,
            inputs,
            *(_value(name, key, train) for name in positional),
            **{name: _value(name, key, train) for name in named},
        )
        return _with_variables(returned, variables)

    return call


def _told(function: Callable[..., Any]) -> tuple[list[str], list[str]]:
    """What it wants to be told beyond variables and inputs: by position, and by name."""
    parameters = _parameters(function)
    beyond = 0 if any(each.kind is each.VAR_POSITIONAL for each in parameters[:2]) else 2
    positional, named = [], []
    for each in parameters[beyond:]:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        if each.name in KEYS or each.name in TRAINS:
            (positional if each.kind is each.POSITIONAL_ONLY else named).append(each.name)
        elif each.default is each.empty:
            raise UserError(
                f"apply= asks for {each.name!r}, which is not known here; give it a default, or "
                "call it key or train."
            )
    return positional, named


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _value(name: str, key: Any, train: bool) -> Any:
    if name in TRAINS:
        return train == TRAINS[name]
    return {"dropout": key} if name == "rngs" else key


def _with_variables(returned: Any, variables: PyTree) -> tuple[Any, PyTree]:
    """(outputs, variables) of what `apply` returned: both, a part of the variables, or neither."""
    if not (isinstance(returned, tuple) and len(returned) == 2):
        return returned, variables
    outputs, after = returned
    if jax.tree.structure(after) == jax.tree.structure(variables):
        return outputs, after
    try:
        names = set(after)
    except TypeError:
        return outputs, variables
    if isinstance(variables, dict) and hasattr(after, "items") and names <= set(variables):
        return outputs, {**variables, **dict(after.items())}
    return outputs, variables


def _adapted_batches(batches: Callable[..., Iterable[Any]]) -> Callable[[int], Iterable[Any]]:
    if any(each.default is each.empty for each in _parameters(batches)):
        return batches
    return batches if _parameters(batches) else lambda epoch: batches()


def _adapted_augment(augment: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """Under the signature (key, inputs, targets) -> (inputs, targets)."""
    needed = [each for each in _parameters(augment) if each.default is each.empty]
    alone = len(needed) == 2

    def call(key: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
        returned = augment(key, inputs) if alone else augment(key, inputs, targets)
        if isinstance(returned, tuple) and len(returned) == 2:
            return returned
        return returned, targets

    return call
