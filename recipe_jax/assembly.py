"""From settings to an Experiment: what is static is chosen once, numbers arrive traced.

The sections of the step (model, objective, optim, schedule, augment) are split by the type of each
keyword: a `float` is a number, so that lanes of one program may differ in it; all else is static,
and lanes that differ there belong to different programs. A number at which a knob is off
(`clip_norm` infinite, `l2` zero) is static too, and its work is left out.
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recipe_jax import resolve
from recipe_jax.types import Experiment, Model, PyTree, Spec, UserError

FAMILIES = {
    "model": "models",
    "objective": "objectives",
    "optim": "optim",
    "schedule": "schedules",
    "augment": "augment",
}


class Seen(NamedTuple):
    """What a model sees of an example: all but the places that are hidden, at a share of an image's
    height and width."""

    hidden: tuple[int, ...] = ()
    resolution: float = 1.0


class Static(NamedTuple):
    """The static half of a setting: one (section, name, keywords) for each section, and what the
    model sees. Hashable."""

    sections: tuple[tuple[str, str, tuple[tuple[str, Any], ...]], ...]
    seen: Seen = Seen()


def split(
    config: Mapping[str, Mapping[str, Any]], varied: Collection[str] = ()
) -> tuple[Static, dict[str, float]]:
    """A completed config's step sections as their static half and their numbers.

    varied: "section.keyword" of what a search varies; it is a number also where it is off, so that
    the setting at which it is off needs no program of its own.
    """
    sections, numbers = [], {}
    for section, family in FAMILIES.items():
        values = dict(config[section])
        name = values.pop("name")
        known = resolve.keywords(resolve.resolve(family, name))
        fixed = []
        for keyword, value in sorted(values.items()):
            path = f"{section}.{keyword}"
            if known[keyword].traced and (value != known[keyword].off or path in varied):
                numbers[path] = float(value)
            else:
                fixed.append((keyword, tuple(value) if isinstance(value, list) else value))
        sections.append((section, name, tuple(fixed)))
    given = {k: v for k, v in config.get("train", {}).items() if k in Seen._fields}
    seen = Seen(**given)
    return Static(tuple(sections), seen._replace(hidden=tuple(seen.hidden))), numbers


BEGINS = {"schedule": "constant", "augment": "none"}
"""The sections that no first state depends on, and what stands for them in its program."""


def beginning(static: Static, numbers: Mapping[str, Any]) -> tuple[Static, dict[str, Any]]:
    """What a first state and its scores depend on: settings that differ beyond it begin alike."""
    sections = tuple(
        (section, BEGINS[section], ()) if section in BEGINS else (section, name, fixed)
        for section, name, fixed in static.sections
    )
    kept = {k: v for k, v in numbers.items() if k.partition(".")[0] not in BEGINS}
    return static._replace(sections=sections), kept


def make_build(
    static: Static, spec: Spec, num_steps: int
) -> Callable[[Mapping[str, Any]], Experiment]:
    """The function from one lane's numbers to its Experiment; it is called inside the trace."""

    def build(numbers: Mapping[str, Any]) -> Experiment:
        parts = {}
        for section, name, fixed in static.sections:
            prefix = section + "."
            floats = {k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)}
            context = {
                "model": (_at_resolution(spec, static.seen.resolution),),
                "optim": (),
                "schedule": (num_steps,),
            }.get(section, (spec,))
            parts[section] = resolve.resolve(FAMILIES[section], name)(
                *context, **dict(fixed), **floats
            )
        return Experiment(
            model=_blinkered(
                _shrinking(parts["model"], spec, static.seen.resolution), spec, static.seen.hidden
            ),
            objective=parts["objective"],
            optimizer=parts["optim"],
            schedule=parts["schedule"],
            augment=parts["augment"],
        )

    return build


def _at_resolution(spec: Spec, resolution: float) -> Spec:
    """The examples as the model sees them."""
    if resolution == 1.0:
        return spec
    if len(spec.input_shape) != 3 or spec.input_dtype != "float32":
        raise UserError(f"train.resolution={resolution:g} is for images; leave it out.")
    height, width, colours = spec.input_shape
    sides = tuple(round(side * resolution) for side in (height, width))
    if min(sides) < 1:
        raise UserError(
            f"train.resolution={resolution:g} leaves nothing of {height} x {width} pixels; the "
            f"least is {1 / min(height, width):.2g}."
        )
    return dataclasses.replace(spec, input_shape=(*sides, colours))


def _shrinking(model: Model, spec: Spec, resolution: float) -> Model:
    """The model that sees images at this share of their height and width, averaged or
    interpolated."""
    sides = _at_resolution(spec, resolution).input_shape
    if sides == spec.input_shape:
        return model

    def apply(params: PyTree, model_state: PyTree, inputs: Any, **others: Any) -> Any:
        # One by one: the size of a batch may be a symbol, in a program that is exported.
        smaller = jax.vmap(lambda image: jax.image.resize(image, sides, "linear", antialias=True))
        return model.apply(params, model_state, smaller(inputs), **others)

    return model._replace(apply=apply)


def _blinkered(model: Model, spec: Spec, hidden: tuple[int, ...]) -> Model:
    """The model that sees zeros, the training mean, at these places of an input laid out flat."""
    if not hidden:
        return model
    if spec.input_dtype != "float32":
        raise UserError(
            "train.hidden is for quantities, and these examples are tokens; leave it out."
        )
    size = math.prod(spec.input_shape)
    if max(hidden) >= size:
        raise UserError(
            f"train.hidden names the place {max(hidden)}, and an example has {size} numbers; the "
            f"last one has the place {size - 1}."
        )
    shown = np.ones(size, bool)
    shown[list(hidden)] = False
    mask = shown.reshape(spec.input_shape)

    def apply(params: PyTree, model_state: PyTree, inputs: Any, **others: Any) -> Any:
        return model.apply(params, model_state, jnp.where(mask, inputs, 0.0), **others)

    return model._replace(apply=apply)


def of_config(
    config: Mapping[str, Mapping[str, Any]], spec: Spec, settings: Mapping[str, Any] | None = None
) -> Experiment:
    """The one Experiment of a completed config, with "section.key" -> value put in.

    UserError where a part does not fit the task.
    """
    sections = {section: dict(config[section]) for section in FAMILIES}
    sections["train"] = dict(config.get("train", {}))
    settings = settings or {}
    for section, family in FAMILIES.items():
        if f"{section}.name" in settings:
            # What another plug-in does not know is left behind, as a trial leaves it.
            known = resolve.keywords(resolve.resolve(family, settings[f"{section}.name"]))
            sections[section] = {k: v for k, v in sections[section].items() if k in known}
    for path, value in settings.items():
        section, _, key = path.partition(".")
        if section in sections:
            sections[section][key] = value
    static, numbers = split(sections)
    return make_build(static, spec, 1)({name: jnp.float32(n) for name, n in numbers.items()})


def horizon(static: Static, num_steps: int) -> int:
    """`num_steps` where the schedule looks at the length of the run, else 1.

    Runs of different lengths under a schedule that does not look share one program.
    """
    return 1 if is_open(static, num_steps) else num_steps


def is_open(static: Static, num_steps: int) -> bool:
    """Whether a training of `num_steps` may go on after its end (`goes_on`)."""
    name, fixed = next((n, f) for section, n, f in static.sections if section == "schedule")
    return goes_on(name, dict(fixed), num_steps)


def goes_on(name: str, keywords: Mapping[str, Any], num_steps: int) -> bool:
    """Whether a schedule is the same for a run of `num_steps` and for longer ones: it may then go
    on after its end."""

    def height(length: int) -> str:
        schedule = resolve.resolve("schedules", name)(length, **keywords)
        return str(jax.make_jaxpr(lambda step: jnp.asarray(schedule(step)))(0))

    # Lengths far apart too: a share of neighbours may round to the same number of steps.
    first = max(2, num_steps)
    return all(height(length) == height(first) for length in (first + 1, 2 * first, 10 * first))
