"""Plug-in name -> build function: a file of that name in the family's folder, or "module:function".

There is no table to edit. Ranges of keywords are written in the signature:
`dropout: Annotated[float, Between(0, 1)] = 0.0`.
"""

import dataclasses
import difflib
import functools
import importlib
import inspect
import math
import pkgutil
import types
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np

from recipe_jax.types import UserError

LARGEST = 3.4028234663852886e38
"""The largest float32: a number above it is an infinity on the device."""


@dataclasses.dataclass(frozen=True)
class Between:
    """A closed range; `open_low` and `open_high` exclude an end. NaN is never inside."""

    low: float | int
    high: float | int = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float | int) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        # As the device rounds: 0.99999999 is 1 there.
        below = value <= self.high and not (self.open_high and np.float32(value) >= self.high)
        return bool(above and below)

    def __str__(self) -> str:
        low, high = (f"{x:g}" if isinstance(x, float) else str(x) for x in (self.low, self.high))
        sign = ">" if self.open_low else ">="
        if self.high == math.inf:
            return f"{sign} {low}"
        if self.high == LARGEST:
            return f"{sign} {low} and finite"
        low += " (excluded)" if self.open_low else ""
        return f"between {low} and {high}{' (excluded)' if self.open_high else ''}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A fixed set of names, or of numbers."""

    values: tuple[str, ...] | tuple[int, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.values))


@dataclasses.dataclass(frozen=True)
class Off:
    """The value at which a knob does nothing; it is static there, so that its work is left out."""

    value: float


Positive = Annotated[float, Between(0.0, LARGEST, open_low=True)]
NonNegative = Annotated[float, Between(0.0, LARGEST)]
Limit = Annotated[float, Between(0.0, open_low=True), Off(math.inf)]
Penalty = Annotated[float, Between(0.0, LARGEST), Off(0.0)]
Fraction = Annotated[float, Between(0.0, 1.0)]
Rate = Annotated[float, Between(0.0, 1.0), Off(0.0)]
# What a moving average keeps a step: at 1 it would never see a gradient.
DecayRate = Annotated[float, Between(0.0, 1.0, open_high=True)]
Count = Annotated[int, Between(1)]
TYPES = (bool, int, float, str, tuple)
"""What a keyword may be: what a config file and a command line can say."""
MOST_LISTED = 20


@dataclasses.dataclass(frozen=True)
class Keyword:
    """One knob of a build function: its type, default and range, and for a tuple its items'."""

    name: str
    type: Any
    default: Any
    range: Between | OneOf | None
    item: "Keyword | None" = None
    off: float | None = None

    @property
    def traced(self) -> bool:
        """Floats are traced where the section is part of the step; all else is static."""
        return self.type is float


def plugins(family: str) -> list[str]:
    """The names that a family offers: every public module of its folder but `base`."""
    package = importlib.import_module(f"recipe_jax.{family}")
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in names if name != "base" and not name.startswith("_"))


def nearest(word: str, words: Sequence[str], *, otherwise: Sequence[str] | None = None) -> str:
    """ "; did you mean ...?", or `otherwise` (the words themselves) as a list when none is near."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    listed = words if otherwise is None else otherwise
    more = f", ... ({len(listed)} in all)" if len(listed) > MOST_LISTED else "."
    return f"; there are {', '.join(listed[:MOST_LISTED])}{more}"


@functools.cache
def resolve(family: str, name: str) -> Callable[..., Any]:
    """The build function of a plug-in; UserError with the nearest name when there is none."""
    if ":" in name:
        return _foreign(family, name)
    known = plugins(family)
    if name not in known:
        raise UserError(f"There is no {name!r} in {family}{nearest(name, known)}")
    return importlib.import_module(f"recipe_jax.{family}.{name}").build


@functools.cache
def keywords(build: Callable[..., Any]) -> dict[str, Keyword]:
    """The keyword-only arguments of a build function, or the fields of a settings class.

    Without an annotation, the type is that of the default.
    """
    hints = get_type_hints(build, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(build).parameters.items():
        if inspect.isfunction(build) and parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        keyword = _keyword(name, hints.get(name, type(parameter.default)), parameter.default)
        if keyword.type not in TYPES:
            raise UserError(
                f"{build.__module__}.{build.__name__}: the keyword {name!r} must be annotated as "
                f"{', '.join(each.__name__ for each in TYPES[:-1])} or {TYPES[-1].__name__}."
            )
        found[name] = keyword
    return found


def _keyword(name: str, hint: Any, default: Any) -> Keyword:
    bounds, off, item = None, None, None
    choices = get_args(hint) if get_origin(hint) in (types.UnionType, typing.Union) else ()
    for part in (hint, *choices):  # `Annotated[int, ...] | None` has its range inside
        if get_origin(part) is Annotated:
            bounds = next((e for e in get_args(part)[1:] if isinstance(e, Between | OneOf)), None)
            off = next((e.value for e in get_args(part)[1:] if isinstance(e, Off)), None)
    match get_args(hint):
        case (inside, last) if get_origin(hint) is tuple and last is Ellipsis and inside is not Any:
            item = _keyword(name, inside, None)
    return Keyword(name, _bare(hint), default, bounds, item, off)


def _foreign(family: str, name: str) -> Callable[..., Any]:
    """The function of "module:function"."""
    module_name, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), function)
    except Exception as error:  # a module outside the package may raise anything
        problem = " ".join(str(error).split())
        raise UserError(
            f"{family}: cannot import {name}: {type(error).__name__}: {problem}."
        ) from error
    if not inspect.isfunction(found):
        raise UserError(f"{family}: {name} is no function; name one that builds, as module:build.")
    return found


def _bare(hint: Any) -> Any:
    """The Python type of a keyword: annotations and `| None` taken off, tuple[...] -> tuple."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    choices = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) in (types.UnionType, typing.Union) and len(choices) == 1:
        return _bare(choices[0])
    return get_origin(hint) or hint
