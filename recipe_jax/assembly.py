"""From settings to an Experiment: what is static is chosen once, numbers arrive traced.

The sections of the step (model, objective, optim, schedule, augment) are split by the type of each
keyword: a `float` is a number, so that lanes of one program may differ in it; all else is static,
and lanes that differ there belong to different programs. A number at which a knob is off
(`clip_norm` infinite, `l2` zero) is static too, and its work is left out.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recipe_jax import resolve
from recipe_jax.types import Experiment, Spec

FAMILIES = {
    "model": "models",
    "objective": "objectives",
    "optim": "optim",
    "schedule": "schedules",
    "augment": "augment",
}


class Static(NamedTuple):
    """The static half of a setting: one (section, name, keywords) for each section. Hashable."""

    sections: tuple[tuple[str, str, tuple[tuple[str, Any], ...]], ...]


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
    return Static(tuple(sections)), numbers


def make_build(
    static: Static, spec: Spec, num_steps: int
) -> Callable[[Mapping[str, Any]], Experiment]:
    """The function from one lane's numbers to its Experiment; it is called inside the trace."""

    def build(numbers: Mapping[str, Any]) -> Experiment:
        parts = {}
        for section, name, fixed in static.sections:
            prefix = section + "."
            floats = {k.removeprefix(prefix): v for k, v in numbers.items() if k.startswith(prefix)}
            context = {"optim": (), "schedule": (num_steps,)}.get(section, (spec,))
            parts[section] = resolve.resolve(FAMILIES[section], name)(
                *context, **dict(fixed), **floats
            )
        return Experiment(
            model=parts["model"],
            objective=parts["objective"],
            optimizer=parts["optim"],
            schedule=parts["schedule"],
            augment=parts["augment"],
        )

    return build


def of_config(
    config: Mapping[str, Mapping[str, Any]], spec: Spec, settings: Mapping[str, Any] | None = None
) -> Experiment:
    """The one Experiment of a completed config, with "section.key" -> value put in.

    UserError where a part does not fit the task.
    """
    sections = {section: dict(config[section]) for section in FAMILIES}
    for path, value in (settings or {}).items():
        section, _, key = path.partition(".")
        if section in sections:
            sections[section][key] = value
    static, numbers = split(sections)
    return make_build(static, spec, 1)({name: jnp.float32(n) for name, n in numbers.items()})


def horizon(static: Static, num_steps: int) -> int:
    """`num_steps` where the schedule looks at the length of the run, else 1.

    Runs of different lengths under a schedule that does not look share one program.
    """

    def height(length: int) -> str:
        name, fixed = next((n, f) for section, n, f in static.sections if section == "schedule")
        schedule = resolve.resolve("schedules", name)(length, **dict(fixed))
        return str(jax.make_jaxpr(lambda step: jnp.asarray(schedule(step)))(0))

    return num_steps if height(max(2, num_steps)) != height(max(2, num_steps) + 1) else 1
