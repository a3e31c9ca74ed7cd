"""Ordinary flax modules, NNX or Linen, as a Model: two pure functions over plain nested dicts."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx

from recipe_jax.types import Model, PyTree, Spec

# Variables that belong to one call: drawn anew from its key, or noted down for a reader.
_PASSING = (nnx.RngState, nnx.Intermediate)

# Arguments by which Linen modules are told that they train, and the value that says so.
TRAINS = {"train": True, "training": True, "is_training": True}
TRAINS |= {"deterministic": False, "use_running_average": False}


def from_nnx(
    make: Callable[[nnx.Rngs], nnx.Module], call: Callable[..., Any] | None = None
) -> Model:
    """A model from a function that makes the module.

    `make` runs in `apply` too, where its Rngs hold that call's key: nnx.Dropout needs no care, and
    what `make` closes over may be traced. The weights it draws there are unused and compiled away.
    `call(module, inputs, *, key, train)` replaces `module(inputs)` where a model wants the key.
    """

    def init(key: jax.Array) -> tuple[PyTree, PyTree]:
        _, params, _, state, _ = _split(make(nnx.Rngs(key)))
        return _plain(params), _plain(state)

    def apply(
        params: PyTree,
        model_state: PyTree,
        inputs: Any,
        *,
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, PyTree]:
        graph, fresh, passing, state, rest = _split(make(nnx.Rngs(0 if key is None else key)))
        module = nnx.merge(
            graph, _filled(fresh, params), passing, _filled(state, model_state), rest
        )
        module = nnx.view(
            module, deterministic=not train, use_running_average=not train, raise_if_not_found=False
        )
        outputs = call(module, inputs, key=key, train=train) if call else module(inputs)
        return outputs, _plain(_split(module)[3]) if train else model_state

    return Model(init, apply)


def from_linen(module: linen.Module, spec: Spec, *, train_argument: str | None = None) -> Model:
    """A model from a Linen module; its collections change in training only.

    `train_argument` names the argument of `__call__` that says whether it trains ("train",
    "deterministic", ...); by default every one of the usual names that `__call__` has.
    """
    accepted = inspect.signature(type(module).__call__).parameters
    names = [train_argument] if train_argument else [name for name in TRAINS if name in accepted]

    def told(train: bool) -> dict[str, Any]:
        return {name: train == TRAINS.get(name, True) for name in names}

    def init(key: jax.Array) -> tuple[PyTree, PyTree]:
        # Linen draws every stream that was not given from "params".
        variables = dict(
            module.init({"params": key}, jnp.zeros((1, *spec.input_shape)), **told(False))
        )
        return variables.pop("params", {}), variables

    def apply(
        params: PyTree,
        model_state: PyTree,
        inputs: jax.Array,
        *,
        key: jax.Array | None,
        train: bool,
    ) -> tuple[Any, PyTree]:
        variables = {"params": params, **model_state}
        if not train:
            return module.apply(variables, inputs, **told(False)), model_state
        streams: Any = {"params": key}
        outputs, state = module.apply(
            variables, inputs, rngs=streams, mutable=list(model_state), **told(True)
        )
        return outputs, {**model_state, **state}

    return Model(init, apply)


def _split(module: nnx.Module) -> tuple[Any, ...]:
    """Graph, weights, what belongs to one call, what is carried, and arrays of no variable."""
    return nnx.split(module, nnx.Param, _PASSING, nnx.Variable, ...)


def _plain(state: Any) -> PyTree:
    """Nested dicts with names as keys: list positions too, so that any file format keeps them."""
    return _renamed(nnx.to_pure_dict(state))


def _renamed(tree: PyTree) -> PyTree:
    return {str(k): _renamed(v) for k, v in tree.items()} if isinstance(tree, dict) else tree


def _filled(state: Any, plain: PyTree) -> Any:
    """The same state with these arrays; one that is missing is a KeyError."""

    def found(path: tuple[Any, ...]) -> Any:
        return functools.reduce(lambda tree, part: tree[str(part)], path, plain)

    return nnx.from_flat_state(
        {path: variable.replace(found(path)) for path, variable in nnx.to_flat_state(state)}
    )
