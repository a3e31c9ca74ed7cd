"""Starting from weights that were trained elsewhere: which leaf is which, and which stay frozen."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax import resolve
from recipe_jax.types import PyTree, UserError


class Start(NamedTuple):
    """The `start` section. path: the workdir of a finished run, its model's folder, or a .npz file
    of named arrays; "" starts from scratch. names: "theirs=ours", what the names there begin with
    and what they begin with here. frozen: beginnings of the names of weights that do not train."""

    path: str = ""
    names: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()


class Loaded(NamedTuple):
    """Leaves of weights and model state by their names here; fingerprint: SHA-256 of the file."""

    arrays: Mapping[str, np.ndarray]
    frozen: tuple[str, ...]
    fingerprint: str


def matched(theirs: Mapping[str, np.ndarray], like: PyTree, start: Start) -> Mapping[str, Any]:
    """The arrays that this model takes over, by its own names; those of other names stay out.

    like: (params, model_state), arrays or their shapes. UserError where a name of `start` is
    nobody's, where a shape does not fit, and where nothing would be taken over.
    """
    params, model_state = like
    own = _named(params) | _named(model_state)
    renamed = _renamed(theirs, own, start)
    for prefix in start.frozen:
        if not any(begins(name, prefix) for name in _named(params)):
            raise UserError(
                f"start.frozen: no weight begins with {prefix!r}"
                f"{resolve.nearest(prefix, _beginnings(_named(params)))}"
            )
    found = {name: array for name, array in renamed.items() if name in own}
    if not found:
        raise UserError(
            f"Nothing in {start.path} has the name of a weight of this model; it has "
            f"{_some(theirs)}, the model has {_some(own)}: say "
            "--config.start.names=\"('theirs=ours',)\"."
        )
    for name, array in found.items():
        if array.shape != own[name].shape:
            raise UserError(
                f"{name} has shape {tuple(array.shape)} in {start.path} and "
                f"{tuple(own[name].shape)} in this model; bring the model to that shape, or leave "
                f"it out with --config.start.names=\"('{name}=',)\"."
            )
    return found


def put_in(tree: PyTree, arrays: Mapping[str, Any]) -> PyTree:
    """The tree with these leaves in place of its own, where they have its names and its shapes: a
    trial of another width draws what does not fit."""

    def chosen(path: Any, leaf: Any) -> Any:
        found = arrays.get(_name(path))
        fits = found is not None and found.shape == leaf.shape
        return jnp.asarray(found, leaf.dtype) if fits else leaf

    return jax.tree_util.tree_map_with_path(chosen, tree)


def held(tree: PyTree, frozen: Sequence[str]) -> PyTree:
    """True for the leaves whose names begin with one of `frozen`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: any(begins(_name(path), prefix) for prefix in frozen), tree
    )


def begins(name: str, prefix: str) -> bool:
    """Whether the name's first parts are the prefix: "layers.1" begins "layers.1.bias", and not
    "layers.10.bias"; "" begins every name."""
    return not prefix or f"{name}.".startswith(f"{prefix}.")


def _renamed(
    theirs: Mapping[str, np.ndarray], own: Mapping[str, Any], start: Start
) -> dict[str, np.ndarray]:
    """By the first rule that fits; "theirs=" leaves out what begins so."""
    rules = [rule.partition("=") for rule in start.names]
    for rule, (before, mark, after) in zip(start.names, rules):
        if not mark:
            raise UserError(f"start.names: {rule!r} must be 'theirs=ours'.")
        if not any(begins(name, before) for name in theirs):
            raise UserError(
                f"start.names: nothing in {start.path} begins with {before!r}"
                f"{resolve.nearest(before, _beginnings(theirs))}"
            )
        if after and not any(begins(name, after) for name in own):
            raise UserError(
                f"start.names: no weight of this model begins with {after!r}"
                f"{resolve.nearest(after, _beginnings(own))}"
            )
    found = {}
    for name, array in theirs.items():
        rule = next((rule for rule in rules if begins(name, rule[0])), None)
        if rule is None:
            found[name] = array
        elif rule[2]:
            found[rule[2] + name.removeprefix(rule[0])] = array
    return found


def _named(tree: PyTree) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _beginnings(names: Mapping[str, Any]) -> list[str]:
    parts = [name.split(".") for name in names]
    return sorted({".".join(each[:n]) for each in parts for n in range(1, len(each) + 1)})


def _some(names: Mapping[str, Any]) -> str:
    listed = sorted(names)
    return ", ".join(map(repr, listed[:3])) + (", ..." if len(listed) > 3 else "")
