"""Plug-ins with one fault each, for configs/broken.py; they are written as one's own would be."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics

from recipe_jax.augment.base import Augment
from recipe_jax.data import base, breast_cancer, digits
from recipe_jax.models import mlp
from recipe_jax.models.base import flat, num_features
from recipe_jax.objectives import _metrics, classification
from recipe_jax.resolve import Count, NonNegative
from recipe_jax.types import Model, Objective, Spec

# --- Data ------------------------------------------------------------------------------------


def other_labels() -> base.Source:
    """Digits with the labels of other images, as when two files are read in two orders."""
    source = digits.build()
    targets = np.random.default_rng(0).permutation(source.targets)
    return dataclasses.replace(source, targets=targets)


def answered() -> base.Source:
    """Tumours with a column that was filled in after the diagnosis."""
    source = breast_cancer.build()
    treatment = source.targets + np.random.default_rng(0).normal(scale=0.02, size=569)
    return base.from_arrays(
        "treated tumours",
        np.column_stack([source.raw, treatment]),
        targets=source.targets,
        kind="classification",
        class_names=source.class_names,
    )


# --- Augmentation ----------------------------------------------------------------------------


def images_alone(spec: Spec, /) -> Augment:
    """Shuffles the images of a batch, and leaves the labels where they were."""

    def augment(key: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
        return jax.random.permutation(key, inputs), targets

    return augment


# --- Models ----------------------------------------------------------------------------------


def low_biases(
    spec: Spec, /, *, width: Count = 64, depth: Count = 2, below: NonNegative = 30.0
) -> Model:
    """A multilayer perceptron whose hidden biases start far below zero: no unit is ever active, and
    what is not active has no gradient."""
    model = mlp.build(spec, width=width, depth=depth)

    def lowered(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path)
        return leaf - below if "layers" in name and "bias" in name else leaf

    def init(key: Any) -> tuple[Any, Any]:
        params, state = model.init(key)
        return jax.tree_util.tree_map_with_path(lowered, params), state

    return model._replace(init=init)


def square_roots(spec: Spec, /, *, width: Count = 64, least: NonNegative = 0.0) -> Model:
    """One hidden layer of square roots. Where a unit is at zero its slope is infinite, and infinity
    times the zero slope of the maximum is NaN: the loss is finite and its gradient is not."""

    def init(key: Any) -> tuple[Any, Any]:
        one, two = jax.random.split(key)
        features, outputs = num_features(spec), spec.num_outputs
        draw = jax.nn.initializers.he_normal()
        return {
            "hidden": draw(one, (features, width)),
            "output": draw(two, (width, outputs)),
            "bias": jnp.asarray(spec.prior_outputs, jnp.float32),
        }, {}

    def apply(params: Any, state: Any, inputs: Any, *, key: Any, train: bool) -> tuple[Any, Any]:
        hidden = jnp.sqrt(jnp.maximum(flat(inputs) @ params["hidden"], least))
        return hidden @ params["output"] + params["bias"], state

    return Model(init, apply)


# --- Objectives ------------------------------------------------------------------------------


def softmax_twice(spec: Spec, /) -> Objective:
    """The loss takes a softmax of what is given to it, and is given probabilities."""
    healthy = classification.build(spec)
    return healthy._replace(loss=lambda outputs, y: healthy.loss(jax.nn.softmax(outputs), y))


def wrong_sign(spec: Spec, /) -> Objective:
    """The logarithm of the right answer's probability, to be made small: a minus is missing."""
    healthy = classification.build(spec)
    return healthy._replace(loss=lambda outputs, y: -healthy.loss(outputs, y))


def lowest_wins(spec: Spec, /) -> Objective:
    """The accuracy of the class that is thought least likely: argmin where argmax was meant."""
    counted = metrics.Collection.create(
        loss=_metrics.mean_of(lambda *, loss, **_: loss),
        accuracy=_metrics.mean_of(
            lambda *, outputs, targets, **_: (outputs.argmin(-1) == targets).astype(jnp.float32)
        ),
    )
    return classification.build(spec)._replace(metrics=counted)
