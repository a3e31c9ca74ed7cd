"""The outputs of a model that is several, of one setting or of many."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax import assembly, ensemble, trees
from recipe_jax import config as configs
from recipe_jax.types import Blend, Experiment, PyTree, Spec


class Part(NamedTuple):
    """Members that are built alike: their places in the blend, the function from their numbers to
    an Experiment, and what differs, axis 0 the member: numbers and (params, model_state)."""

    places: tuple[int, ...]
    build: Callable[[Mapping[str, Any]], Experiment]
    numbers: dict[str, Any]
    weights: PyTree


def parts(model: Blend, config: Mapping[str, Any], spec: Spec) -> list[Part]:
    """The members by what they are built of, in the order of their first appearance."""
    found: dict[Any, list[int]] = {}
    told: list[tuple[Any, dict[str, float]]] = []
    for place, member in enumerate(model.members):
        own = configs.with_settings(config, member.trial.settings)
        # A rate that is off in one and not in another is a number in both.
        static, numbers = assembly.split(own, [f"model.{name}" for name in own["model"]])
        of_model = {path: n for path, n in numbers.items() if path.startswith("model.")}
        told.append((static, numbers))
        network = next(each for each in static.sections if each[0] == "model")
        found.setdefault((network, static.seen, tuple(of_model)), []).append(place)
    return [
        Part(
            tuple(places),
            _build(told[places[0]], spec),
            {
                path: np.array([told[i][1][path] for i in places], np.float32)
                for path in told[places[0]][1]
                if path.startswith("model.")
            },
            trees.stack([model.members[i].weights for i in places]),
        )
        for places in found.values()
    ]


def outputs(
    model: Blend, parts: Sequence[Part], kind: str, apply: Callable[[Experiment, Any, Any], Any]
) -> jax.Array:
    """The outputs of the whole; `apply` is (experiment, params, model_state) -> one member's."""
    found = []
    for part in parts:

        def member(each: Any, build: Any = part.build) -> Any:
            numbers, weights = each
            return apply(build(numbers), *weights)

        found.append(jax.lax.map(member, (part.numbers, part.weights)))
    order = [place for part in parts for place in part.places]
    shares = [model.shares[place] for place in order] if model.shares else None
    averaged = ensemble.average(jnp.concatenate(found), kind, shares)
    return averaged if kind == "regression" else averaged / model.temperature


def _build(told: Any, spec: Spec) -> Callable[[Mapping[str, Any]], Experiment]:
    """Told the numbers of the model alone: nothing else of a trained one matters."""
    static, known = told
    build = assembly.make_build(static, spec, 1)
    others = {path: value for path, value in known.items() if not path.startswith("model.")}
    return lambda numbers: build(others | dict(numbers))
