"""Which transformations leave labels predictable?"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax.probes import neighbours
from recipe_jax.probes.examples import Examples, by_constant, comparable, right_of
from recipe_jax.probes.facts import NotGiven
from recipe_jax.resolve import resolve
from recipe_jax.types import Finding, Spec, Status

MOST_TRAIN, MOST_HELD = 2000, 500
NEIGHBOURS = 5
LEAST_SKILL, LEAST_HELD = 0.1, 20
KEEPS, LOSES = 0.9, 0.5
SHOWN = 6


class Change(NamedTuple):
    """A transformation: what it does to inputs, the settings that make it an augmentation ("" where
    there is none), and what it means for the architecture."""

    name: str
    apply: Callable[[np.ndarray], np.ndarray]
    settings: tuple[tuple[str, float], ...] = ()
    means: str = ""


def look(examples: Examples) -> Iterator[Finding]:
    """Neighbours among the training examples as they are must know transformed validation examples;
    and transformed copies of the training examples must not mislead them about raw ones."""
    task = examples.task
    if len(examples.validation.targets) < LEAST_HELD:
        raise NotGiven(f"there are fewer than {LEAST_HELD} validation examples")
    train, held = examples.train.first(MOST_TRAIN), examples.validation.first(MOST_HELD)
    answers = examples.answers[: len(train.targets)]

    def scaled(inputs: np.ndarray) -> np.ndarray:
        return comparable(train.inputs, inputs, by_column=task.modality == "table")[1]

    def right(found: neighbours.Nearest) -> np.ndarray:
        return right_of(task.spec, answers[found.places].mean(1), held.targets)

    rows, asked = scaled(train.inputs), scaled(held.inputs)
    among_raw = neighbours.nearest(rows, asked, NEIGHBOURS)
    raw, chance = right(among_raw), by_constant(task.spec, held.targets)
    skill = float(raw.mean()) - chance
    if skill < LEAST_SKILL:
        raise NotGiven("neighbours do not predict the target, so nothing is lost by changing it")
    told = []
    for change in changes(task.modality, task.spec):
        both = change.apply(np.concatenate([held.inputs, train.inputs]))
        moved, own = both[: len(asked)], scaled(both[len(asked) :])
        kept = float(right(neighbours.nearest(rows, scaled(moved), NEIGHBOURS)).mean())
        more = right(neighbours.closer(among_raw, neighbours.nearest(own, asked, NEIGHBOURS)))
        gain = float((more - raw).mean())
        error = float((more - raw).std() / np.sqrt(len(raw)))
        told.append(
            {
                "name": change.name,
                "kept": kept,
                "gain": gain,
                "verdict": verdict((kept - chance) / skill, gain, error),
                "settings": [f"{key}={value:g}" for key, value in change.settings],
                "means": change.means,
                "example": moved[:SHOWN],
            }
        )
    yield _finding(examples, told, raw=float(raw.mean()), chance=chance, first=held.inputs[:SHOWN])


def verdict(kept: float, gain: float, error: float) -> str:
    """kept: share of the skill that is left on transformed examples; gain: of transformed copies
    for raw examples, with its standard error."""
    if gain < -2.0 * error and gain < -0.01:
        return "misleads"
    if kept >= KEEPS or (gain > 2.0 * error and kept >= LOSES):
        return "keeps labels"
    return "destroys labels" if kept < LOSES else "unclear"


def changes(modality: str, spec: Spec) -> list[Change]:
    """What is tried on this kind of examples."""
    if modality == "image":
        return [
            Change("mirror", lambda x: x[:, :, ::-1], (("flip_probability", 0.5),)),
            Change("upside down", lambda x: x[:, ::-1]),
            _moved(spec, "shift", "shift by up to 1 pixel", "pixels", 1.0, means=CONVOLVE),
            _moved(spec, "shift", "shift by up to 2 pixels", "pixels", 2.0, means=CONVOLVE),
            _moved(spec, "rotation", "turn by up to 10°", "degrees", 10.0),
            _moved(spec, "rotation", "turn by up to 30°", "degrees", 30.0),
            _noise(0.2, "noise_deviation"),
            Change("negative", lambda x: x.min() + x.max() - x),
        ]
    noise = [_noise(size, "deviation") for size in (0.1, 0.3)]
    if modality == "sequence":
        tenth = max(1, spec.input_shape[0] // 10)
        later = Change(
            f"start {tenth} steps later",
            lambda x: np.concatenate([x[:, tenth:], x[:, -1:].repeat(tenth, 1)], 1),
            means="a recurrent network, or one that pools over time",
        )
        return [*noise, later, Change("backwards", lambda x: x[:, ::-1])]
    hidden = Change(
        "a tenth of the numbers hidden",
        lambda x: np.where(np.random.default_rng(6).random(x.shape) < 0.1, np.float32(0), x),
        (("rate", 0.1),),
    )
    return [*noise, hidden, Change("all signs reversed", lambda x: -x)]


CONVOLVE = "convolutions: model.name=cnn"


def _noise(size: float, setting: str) -> Change:
    def apply(inputs: np.ndarray) -> np.ndarray:
        drawn = np.random.default_rng(5).standard_normal(inputs.shape, np.float32)
        return inputs + np.float32(size) * drawn

    return Change(f"noise of {size:g} deviations", apply, ((setting, size),))


def _moved(spec: Spec, plugin: str, name: str, key: str, size: float, *, means: str = "") -> Change:
    """The augmentation itself, as it would train."""

    def apply(inputs: np.ndarray) -> np.ndarray:
        targets = jnp.zeros(len(inputs), jnp.int32)
        augment = _compiled(spec.input_shape, plugin, key)
        return np.asarray(augment(size, jax.random.key(5), jnp.asarray(inputs), targets))

    return Change(name, apply, ((f"{plugin}_{key}", size),), means)


@functools.cache
def _compiled(shape: tuple[int, ...], plugin: str, key: str) -> Callable[..., Any]:
    """(strength, random key, inputs, targets) -> inputs; one program for all strengths."""
    spec = Spec(kind="classification", input_shape=shape, num_outputs=2, prior=(0.5, 0.5))
    build = resolve("augment", plugin)
    return jax.jit(
        lambda size, random, inputs, targets: build(spec, **{key: size})(random, inputs, targets)[0]
    )


def _finding(
    examples: Examples,
    told: list[dict[str, Any]],
    *,
    raw: float,
    chance: float,
    first: np.ndarray,
) -> Finding:
    task = examples.task
    fine = [each for each in told if each["verdict"] == "keeps labels"]
    bad = [each["name"] for each in told if each["verdict"] in ("destroys labels", "misleads")]
    measure = "accuracy" if task.spec.kind == "classification" else "r2"
    summary = f"Neighbours know raw validation examples with {measure} {raw:.3g}; "
    kept = ", ".join(f"{each['name']} ({each['kept']:.3g})" for each in fine)
    summary += f"labels stay under {kept}" if fine else "labels stay under none of what was tried"
    if bad:
        summary += f"; not under {', '.join(bad)}"
    shown = {
        "kind": task.modality,
        "before": _shown(task, first),
        "after": [
            _shown(task, np.clip(each.pop("example"), first.min(), first.max())) for each in told
        ],
    }
    return Finding(
        check="symmetries",
        row="DATA5 REG2",
        status=Status.PASS,
        summary=f"{summary}.",
        remedy=_proposal(task.modality, fine),
        evidence={"changes": told, "raw": raw, "chance": chance, "measure": measure}
        | (shown if task.modality in ("image", "sequence") else {}),
    )


def _proposal(modality: str, fine: list[dict[str, Any]]) -> str:
    """The settings to paste, the strongest of each kind, and what they say of the architecture."""
    settings = {key: value for each in fine for key, value in map(_pair, each["settings"])}
    means = list(dict.fromkeys(each["means"] for each in fine if each["means"]))
    parts = [f"As architecture, to be tried: {' and '.join(means)}"] if means else []
    if settings and modality == "image":
        given = " ".join(f"--config.augment.{key}={value}" for key, value in settings.items())
        parts.append(f"As augmentation, to be tried: --config.augment.name=image {given}")
    elif settings:
        names = {"deviation": "noise", "rate": "feature_dropout"}
        given = " or ".join(
            f"--config.augment.name={names[key]} --config.augment.{key}={value}"
            for key, value in settings.items()
        )
        parts.append(f"As augmentation, to be tried: {given}")
    # Flags come last and without a stop, so that they can be pasted.
    return ". ".join(parts)


def _pair(setting: str) -> tuple[str, str]:
    key, _, value = setting.partition("=")
    return key, value


def _shown(task: Any, inputs: np.ndarray) -> np.ndarray:
    raw = np.asarray(task.encoder.decode(np.asarray(inputs)))
    return raw.squeeze(-1) if task.modality == "image" and raw.shape[-1] == 1 else raw
