"""One ConfigDict with every hyperparameter, defaults included: loading, completing, overriding.

A section is the `name` of a plug-in and the keywords of its `build`; defaults and ranges are
written once, in that signature, and read from it here. Below this package a config is a plain dict.
"""

from recipe_jax.config.command_line import Parsed, parse
from recipe_jax.config.completion import check, complete, defaults, with_settings
from recipe_jax.config.files import load
from recipe_jax.config.plain import as_dict, differences, flat_settings, frozen, to_data
from recipe_jax.config.sections import NAMED, PLAIN, SECTIONS, section_keywords
from recipe_jax.config.values import meaning

__all__ = [
    "NAMED",
    "PLAIN",
    "SECTIONS",
    "Parsed",
    "as_dict",
    "check",
    "complete",
    "defaults",
    "differences",
    "flat_settings",
    "frozen",
    "load",
    "meaning",
    "parse",
    "section_keywords",
    "to_data",
    "with_settings",
]
