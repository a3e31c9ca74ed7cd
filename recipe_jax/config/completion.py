"""A config made whole: every keyword of every section, each of the right type and in its range."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from recipe_jax import resolve
from recipe_jax.config.sections import NAMED, PLAIN, SECTIONS, SEED, section_keywords
from recipe_jax.config.values import checked
from recipe_jax.types import UserError


def complete(
    given: Mapping[Any, Any], names: Mapping[str, str] | None = None
) -> ml_collections.ConfigDict:
    """The config with every keyword of every section; `names` are plug-ins chosen on the command
    line, for which the keys that the file set for another plug-in are dropped."""
    names = names or {}
    for section in given:
        if section not in SECTIONS:
            raise UserError(
                f"The config has no section {section!r}{resolve.nearest(str(section), SECTIONS)}"
            )
    completed = {"seed": checked("seed", SEED, given.get("seed", SEED.default))}
    for section in (*NAMED, *PLAIN):
        values = given.get(section, {})
        if not isinstance(values, Mapping):
            raise UserError(f"config.{section} must be a section, not {values!r}.")
        values = dict(values)
        if section in NAMED:
            default = NAMED[section][1]
            in_file = values.pop("name", default)
            if not isinstance(in_file, str):
                raise UserError(f"config.{section}.name={in_file!r} must be text.")
            name = names.get(f"{section}.name", in_file)
            values = values if name == in_file else {}
            known = section_keywords(section, name)
            completed[section] = {"name": name}
        else:
            known, completed[section] = section_keywords(section), {}
        for key in values:
            if key not in known:
                raise UserError(
                    f"config.{section} has no key {key!r}{resolve.nearest(str(key), [*known])}"
                )
        for key, keyword in known.items():
            value = checked(f"{section}.{key}", keyword, values.get(key, keyword.default))
            if value is None:
                value = config_dict.placeholder(keyword.type)
            completed[section][key] = value
    return ml_collections.ConfigDict(completed)


def defaults(config: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A completed config as it would be if nothing but its plug-ins had been named; the names are
    those of a config that names none."""
    usual = complete({section: {"name": config[section]["name"]} for section in NAMED})
    usual.update({section: {"name": name} for section, (_, name) in NAMED.items()})
    return usual


def check(config: Mapping[str, Any]) -> None:
    """Every value has the type and lies in the range of its keyword; UserError names the key."""
    checked("seed", SEED, config["seed"])
    for section in (*NAMED, *PLAIN):
        for key, keyword in section_keywords(section, config[section].get("name", "")).items():
            checked(f"{section}.{key}", keyword, config[section][key])


def with_settings(config: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A checked copy of a completed config with "section.key" -> value put in."""
    changed = {k: dict(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    for path, name in settings.items():
        section, _, key = path.partition(".")
        if key == "name" and section in NAMED:
            # What another plug-in calls by the same name it keeps, all else is its default.
            own = changed[section]
            known = section_keywords(section, name)
            changed[section] = {"name": name} | {
                each: own.get(each, keyword.default) for each, keyword in known.items()
            }
    for path, value in settings.items():
        section, _, key = path.partition(".")
        if section not in changed or key not in changed[section]:
            raise UserError(f"There is no setting {path!r} in the config.")
        changed[section][key] = value
    check(changed)
    return changed
