"""Configs as plain data: nested dicts, strict JSON, and what differs between two."""

import math
from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from recipe_jax.types import UserError


def as_dict(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Plain nested dicts; lists are tuples."""
    plain = {}
    for key in config:
        try:
            value = config[key]
        except config_dict.RequiredValueError as error:
            raise UserError(
                f"The config requires a value for {key!r}; set it in the file."
            ) from error
        is_section = isinstance(value, ml_collections.ConfigDict)
        plain[key] = as_dict(value) if is_section else frozen(value)
    return plain


def to_data(config: Any) -> Any:
    """The config as strict JSON data: infinities and NaN become strings."""
    if isinstance(config, Mapping):
        return {key: to_data(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_data(value) for value in config]
    if isinstance(config, float) and not math.isfinite(config):
        return str(config)
    return config


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """ "section.key: a -> b" for every value that differs between two configs as JSON data."""
    flat, flat_other = flat_settings(one), flat_settings(other)
    return [
        f"{key}: {flat.get(key)!r} -> {flat_other.get(key)!r}"
        for key in sorted({*flat, *flat_other})
        if flat.get(key) != flat_other.get(key)
    ]


def frozen(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(frozen(each) for each in value) if isinstance(value, list | tuple) else value


def flat_settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """ "section.key" -> value."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
