"""What the first layer has learnt to look at: its weights beside those that training began with."""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from recipe_jax import assembly
from recipe_jax.probes import trace
from recipe_jax.recipe.base import Context
from recipe_jax.types import Finding, Result, Status, Trials

READS = ("dot_general", "conv_general_dilated", "gather")
"""What a layer does with its inputs and its weights."""
SHUFFLES = 99
MOST_UNITS, MOST_NUMBERS = 64, 40_000
MOST_TOKENS, MOST_FEATURES = 40, 40
STILL = 1e-6
"""A unit's weights that changed by less of their norm have not learnt."""


class Layer(NamedTuple):
    """The first layer's weights. name: of the parameter; before, after: one a model, of one
    shape, the last axis the unit (of an embedding, the number of a token's vector)."""

    name: str
    before: Sequence[np.ndarray]
    after: Sequence[np.ndarray]


def measured(context: Context, results: Sequence[Result]) -> Generator[Any, Any, Finding]:
    """REG10: the weights of trained models, asked for once more as they began."""
    healthy = [result for result in results if result.status != "diverged"]
    if not healthy:
        return _skipped("The runs diverged.")
    began = yield Trials(
        label="weights at the start",
        trials=tuple(result.trial for result in healthy),
        epochs=0,
        keep="last",
    )
    place = located(context, healthy[0])
    if place is None:
        return _skipped("The model's first operation on its inputs has no weights of its own.")
    name, leaf = place
    before, after = (
        [np.asarray(jax.tree.leaves(_weights(each)[0])[leaf], np.float64) for each in runs]
        for runs in (began, healthy)
    )
    return examine(context, Layer(name, before, after))


def located(context: Context, result: Result) -> tuple[str, int] | None:
    """(name, place among the leaves) of the parameter that meets the inputs first: the one that a
    product, a convolution or a look-up joins with what depends on inputs alone."""
    built = assembly.of_config(context.config, context.task.spec, result.trial.settings)
    params, model_state = _weights(result)
    spec = context.task.spec
    batch = jax.ShapeDtypeStruct((2, *spec.input_shape), spec.input_dtype)

    def outputs(params: Any, inputs: Any) -> Any:
        state = built.model.begun(model_state, 2)
        return built.model.apply(params, state, inputs, key=jax.random.key(0), train=False)[0]

    shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, params))
    told = trace.flat(outputs, shapes, batch)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = [".".join(str(getattr(key, "key", key)) for key in path) for path, _ in leaves]
    *weights, inputs = told.inputs
    origins = told.origins({**dict(zip(weights, names)), inputs: ""})
    for step in told.steps:
        if step.name in READS:
            read = [origins.get(value, frozenset()) for value in step.reads if value]
            own = [each for each in read if each and "" not in each]
            if frozenset({""}) in read and len(own) == 1 and len(own[0]) == 1:
                (name,) = own[0]
                return name, names.index(name)
    return None


def examine(context: Context, layer: Layer) -> Finding:
    """How far the units have moved, and for weights that lie as pixels do how many are smoother
    than their own pixels in random order, where chance gives one in twenty.

    A layer of which most units have not moved does not learn; that alone is a warning.
    """
    moved = np.concatenate([_moved(*each) for each in zip(layer.before, layer.after)])
    still = float((moved < STILL).mean())
    evidence: dict[str, Any] = {"parameter": layer.name, "moved": float(np.median(moved))}
    evidence |= {"still": still} | _drawn(context, layer)
    told = (
        f"The {len(moved)} units of the first layer, {layer.name}, over {len(layer.after)} models, "
        f"have moved by {np.median(moved):.2g} of their length (median)"
    )
    smooth = [_smooth_units(context, kernels) for kernels in (layer.before, layer.after)]
    if None not in smooth:
        evidence |= {"smooth_before": smooth[0], "smooth": smooth[1]}
        told += (
            f"; {smooth[1]:.0%} are smoother than their own pixels in random order, at the start "
            f"{smooth[0]:.0%}, by chance 5%"
        )
    elif _is_embedding(context, layer):
        told = (
            f"The {len(layer.after[0])} tokens' vectors, {layer.name}, have moved by "
            f"{np.median(moved):.2g} of their length (median)"
        )
    told += f"; {int((moved < STILL).sum())} have not moved at all" if still else ""
    return Finding(
        check="first_layer",
        row="REG10",
        status=Status.WARN if still > 0.5 else Status.PASS,
        summary=f"{told}.",
        evidence=evidence,
        remedy="Look whether units are dead, and whether a gradient reaches this layer."
        if still > 0.5
        else "",
        fault="C9" if still > 0.5 else "",
    )


def smoothness(kernels: Float[np.ndarray, "height width units"]) -> Float[np.ndarray, " units"]:
    """Moran's I of each unit: the correlation of a weight with its neighbours down and right."""
    centred = kernels - kernels.mean((0, 1))
    down, right = centred[1:] * centred[:-1], centred[:, 1:] * centred[:, :-1]
    pairs = down[..., 0].size + right[..., 0].size
    power = np.maximum(np.square(centred).mean((0, 1)), 1e-30)
    return (down.sum((0, 1)) + right.sum((0, 1))) / pairs / power


def smooth_units(kernels: Float[np.ndarray, "height width units"]) -> float:
    """The share of units that are smoother than 95 % of their pixels in random order."""
    height, width, units = kernels.shape
    own, draw = smoothness(kernels), np.random.default_rng(0)
    flat, above = kernels.reshape(height * width, units), np.zeros(units, int)
    for _ in range(SHUFFLES):
        shuffled = flat[draw.permutation(len(flat))].reshape(kernels.shape)
        above += smoothness(shuffled) >= own
    return float((1 + above <= 0.05 * (1 + SHUFFLES)).mean())


def _smooth_units(context: Context, kernels: Sequence[np.ndarray]) -> float | None:
    """None where weights do not lie as pixels do, or too few of them side by side."""
    pictures = [_as_pictures(context, each) for each in kernels]
    if pictures[0] is None or min(pictures[0].shape[:2]) < 3:
        return None
    return float(np.mean([smooth_units(each) for each in pictures if each is not None]))


def _as_pictures(context: Context, kernel: np.ndarray) -> np.ndarray | None:
    """(height, width, units), the mean over colours; None for what is no picture."""
    shape = context.task.spec.input_shape
    if context.task.modality != "image":
        return None
    if kernel.ndim == 2 and len(kernel) == np.prod(shape):
        kernel = kernel.reshape(*shape, -1)
    return kernel.mean(2) if kernel.ndim == 4 else None


def _is_embedding(context: Context, layer: Layer) -> bool:
    tokens = len(context.task.spec.prior)
    return context.task.modality == "text" and layer.after[0].shape[:-1] == (tokens,)


def _moved(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Of every unit, the norm of its change over its own, at the start or the end: the larger."""
    before, after = (each.reshape(-1, each.shape[-1]) for each in (before, after))
    norm = np.maximum(*(np.linalg.norm(each, axis=0) for each in (before, after)))
    return np.linalg.norm(after - before, axis=0) / np.maximum(norm, 1e-12)


def _drawn(context: Context, layer: Layer) -> dict[str, Any]:
    """What the figure shows of the first model: pictures of units, the vectors of tokens in a
    plane, or weights by feature and unit."""
    both = {"before": layer.before[0], "after": layer.after[0]}
    if _is_embedding(context, layer):
        return _plane(context, layer.after[0])
    found = {name: _as_pictures(context, kernel) for name, kernel in both.items()}
    pictures = {name: each for name, each in found.items() if each is not None}
    if pictures:
        pixels = 2 * int(np.prod(pictures["after"].shape[:2]))
        units = int(np.clip(MOST_NUMBERS // pixels, 1, MOST_UNITS))
        return {name: _scaled(each[..., :units]) for name, each in pictures.items()}
    after = both["after"]
    if after.ndim != 2 or not len(after):
        return {}
    names = context.task.feature_names
    names = names if len(names) == len(after) else [f"input {i + 1}" for i in range(len(after))]
    rows = np.argsort(-np.linalg.norm(after, axis=1), kind="stable")[:MOST_FEATURES]
    columns = np.argsort(np.abs(after).argmax(0), kind="stable")[:MOST_UNITS]
    shown = {name: np.round(each[np.ix_(rows, columns)], 4) for name, each in both.items()}
    return shown | {"features": [names[i] for i in rows]}


def _scaled(kernels: np.ndarray) -> np.ndarray:
    """(units, height, width), each by its largest weight."""
    largest = np.maximum(np.abs(kernels).max((0, 1)), 1e-30)
    return np.round(np.moveaxis(kernels / largest, -1, 0), 2)


def _plane(context: Context, vectors: np.ndarray) -> dict[str, Any]:
    """The vectors of the commonest tokens in the plane of their two principal components."""
    common = np.argsort(-np.asarray(context.task.spec.prior), kind="stable")[:MOST_TOKENS]
    centred = vectors[common] - vectors[common].mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    # A component's sign is free: fixed here, so that it is the same everywhere.
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(1)])[:, None]
    explained = np.square(sizes[:2]).sum() / max(float(np.square(sizes).sum()), 1e-30)
    return {
        "tokens": [context.task.class_names[i] for i in common],
        "plane": np.round(centred @ axes.T, 4),
        "explained": float(explained),
    }


def _weights(result: Result) -> Any:
    assert result.weights is not None, "the request that trained it must keep its weights"
    return result.weights


def _skipped(why: str) -> Finding:
    return Finding(check="first_layer", row="REG10", status=Status.SKIP, summary=why)
