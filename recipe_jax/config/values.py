"""One value against its keyword: type, range and items, with a sentence where it does not fit."""

import inspect
import math
from typing import Any

from recipe_jax import resolve
from recipe_jax.config import plain
from recipe_jax.resolve import Keyword
from recipe_jax.types import UserError

MEANING = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a tuple, such as (1, 2)",
}


def meaning(keyword: Keyword) -> str:
    """What a keyword takes, for a sentence."""
    if keyword.type is tuple and keyword.item is not None and keyword.item.type is str:
        return "a tuple, such as ('one', 'two') or ('one',)"
    return MEANING[keyword.type]


def checked(path: str, keyword: Keyword, value: Any) -> Any:
    """The value as the keyword's type, or UserError. An int is a float; a bool is not an int; None
    is where the default is None."""
    wanted = keyword.type
    if value is inspect.Parameter.empty:
        raise UserError(f"config.{path} has no default; set it to {MEANING[wanted]}.")
    if value is None and keyword.default is None:
        return None
    if wanted is float and isinstance(value, str) and value in ("inf", "-inf", "nan"):
        value = float(value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if wanted is tuple and isinstance(value, list | tuple):
        value = plain.frozen(value)
    exact = isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))
    if not exact:
        raise UserError(
            f"config.{path}={value!r} is of type {type(value).__name__}; it must be "
            f"{meaning(keyword)} ({wanted.__name__})."
        )
    return _in_range(path, keyword, value)


def _in_range(path: str, keyword: Keyword, value: Any) -> Any:
    """The value, of the keyword's type already, or UserError."""
    if keyword.range is not None and value not in keyword.range:
        if isinstance(keyword.range, resolve.OneOf) and keyword.type is str:
            names = list(map(str, keyword.range.values))
            raise UserError(f"config.{path}: there is no {value!r}{resolve.nearest(value, names)}")
        raise UserError(f"config.{path}={value!r} is out of range: it must be {keyword.range}.")
    if keyword.type is float and keyword.range is None and math.isnan(value):
        raise UserError(f"config.{path} is NaN; a number is needed.")
    if keyword.item is not None:
        return tuple(_item(f"{path}[{i}]", keyword.item, each) for i, each in enumerate(value))
    return value


def _item(path: str, keyword: Keyword, value: Any) -> Any:
    """One item of a tuple. A whole number may stand for text: classes are named 0, 1, 2."""
    if keyword.type is str and type(value) is int:
        return value
    if value is None:
        raise UserError(f"config.{path}=None must be {MEANING[keyword.type]}.")
    return checked(path, keyword, value)
