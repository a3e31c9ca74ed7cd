"""What happens inside a function: its primitive operations in order, calls opened up.

A program that nobody here wrote has no layers to ask; its jaxpr has. Calls (jit, custom rules,
remat) are opened; the bodies of loops and branches are listed by `operations` alone, since their
values belong to no one place.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

# Primitives that only wrap a jaxpr which runs once, and the parameter that holds it.
_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_LOOPS = ("scan", "while", "cond")


def operations(jaxpr: Any) -> Iterator[str]:
    """The names of all primitives of a closed or open jaxpr, in order: of calls and loops, and of
    what is inside them."""
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield eqn.primitive.name
        for inner in core.jaxprs_in_params(eqn.params):
            yield from operations(inner)


def watched(
    function: Callable[..., Any], chosen: Callable[[Any], bool]
) -> Callable[..., tuple[Any, list[Any]]]:
    """The function that gives, beside its outputs, the (inputs, outputs) of every chosen equation
    outside loops, in order. It can be jitted, and is the same computation."""

    def run(*args: Any) -> tuple[Any, list[Any]]:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        seen: list[Any] = []

        def visit(eqn: Any, given: list[Any]) -> list[Any]:
            found = _bound(eqn, given)
            if chosen(eqn):
                seen.append((given, found))
            return found

        outputs = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args), visit)
        return jax.tree.unflatten(jax.tree.structure(shape), outputs), seen

    return run


def first_not_finite(
    function: Callable[..., Any], args: Any, healthy: Any, *, named: Sequence[str]
) -> tuple[str | None, list[str]]:
    """Where function(*args) leaves the finite, and the names of its leaves in the order in which
    they are read (named: "" for those that do not count).

    Where: the one read last on the way to the first value that is NaN, or that is infinite where it
    is not with `healthy` arguments: masks are infinite in every run. "" where none was read, and
    None where no value is such. A loop is one operation.
    """
    closed = jax.make_jaxpr(function)(*args)
    read: dict[str, None] = {}  # in order
    blamed: list[str] = []

    def visit(eqn: Any, given: list[Any]) -> list[Any]:
        known = [each if isinstance(each, _Known) else _Known(each, each) for each in given]
        names = frozenset[str]().union(*(each.names for each in known))
        read.update(dict.fromkeys(sorted(names)))
        found = _bound(eqn, [each.value for each in known])
        beside = _bound(eqn, [each.healthy for each in known])
        if not blamed and any(map(_broken, found, beside)):
            blamed.append(next((name for name in reversed(read) if name in names), ""))
        return [_Known(value, healthy, names) for value, healthy in zip(found, beside)]

    pairs = zip(jax.tree.leaves(args), jax.tree.leaves(healthy), named, strict=True)
    leaves = [_Known(value, beside, frozenset({name} - {""})) for value, beside, name in pairs]
    _evaluate(closed.jaxpr, closed.consts, leaves, visit)
    return (blamed[0] if blamed else None), [*read]


class _Known(NamedTuple):
    """A value, what it is in the healthy run, and the names of what it comes from."""

    value: Any
    healthy: Any
    names: frozenset[str] = frozenset()


def _broken(value: Any, healthy: Any) -> bool:
    if not jnp.issubdtype(jnp.result_type(value), jnp.inexact):
        return False
    return bool((jnp.isnan(value) | (jnp.isinf(value) & jnp.isfinite(healthy))).any())


def _bound(eqn: Any, given: list[Any]) -> list[Any]:
    found = eqn.primitive.bind(*given, **eqn.params)
    return list(found) if eqn.primitive.multiple_results else [found]


def _evaluate(
    jaxpr: Any, consts: Any, args: Any, visit: Callable[[Any, list[Any]], list[Any]]
) -> list[Any]:
    """Its outputs; `visit` carries out each equation that is no call."""
    values: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    values.update(zip(jaxpr.constvars, consts))
    values.update(zip(jaxpr.invars, args))
    for eqn in jaxpr.eqns:
        given = [read(atom) for atom in eqn.invars]
        inner = next((eqn.params[name] for name in _CALLS if name in eqn.params), None)
        if inner is not None and eqn.primitive.name not in _LOOPS:
            closed = inner if hasattr(inner, "consts") else core.ClosedJaxpr(inner, ())
            found = _evaluate(closed.jaxpr, closed.consts, given, visit)
        else:
            found = visit(eqn, given)
        values.update(zip(eqn.outvars, found))
    return [read(atom) for atom in jaxpr.outvars]


def longest_loop(jaxpr: Any) -> int:
    """The product of lengths along the deepest nest of scans; 1 without any."""
    longest = 1
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        length = int(eqn.params.get("length", 1)) if eqn.primitive.name == "scan" else 1
        for inner in core.jaxprs_in_params(eqn.params):
            longest = max(longest, length * longest_loop(inner))
    return longest


class Step(NamedTuple):
    """One operation of a computation laid out flat: what it is called, which values it reads and
    makes (numbers of values; None for a constant written in place), and their abstract values."""

    name: str
    reads: tuple[int | None, ...]
    makes: tuple[int, ...]
    eqn: Any


class Flat(NamedTuple):
    """A whole computation without calls: its operations in order, the values that go in and out."""

    steps: list[Step]
    inputs: list[int]
    outputs: list[int | None]

    def origins(self, groups: dict[int, str]) -> dict[int, frozenset[str]]:
        """Which of the named values, inputs or others, every value depends on."""
        found = {value: frozenset({name}) for value, name in groups.items()}
        for step in self.steps:
            reach = frozenset().union(*(found.get(v, frozenset()) for v in step.reads if v))
            for value in step.makes:
                found[value] = reach | found.get(value, frozenset())
        return found

    def makers(self) -> dict[int, Step]:
        """The operation that makes each value."""
        return {value: step for step in self.steps for value in step.makes}


def flat(function: Callable[..., Any], *args: Any) -> Flat:
    """The computation of a function, laid out flat. Values are numbered from 1."""
    closed = jax.make_jaxpr(function)(*args)
    counter = itertools.count(1)
    steps: list[Step] = []
    inputs = [next(counter) for _ in closed.jaxpr.invars]
    outputs = _lay_out(closed.jaxpr, inputs, counter, steps)
    return Flat(_live(steps, outputs), inputs, outputs)


def _live(steps: list[Step], outputs: Sequence[int | None]) -> list[Step]:
    """Those whose results the outputs depend on."""
    wanted, kept = set(outputs), []
    for step in reversed(steps):
        if wanted.intersection(step.makes):
            wanted.update(step.reads)
            kept.append(step)
    return kept[::-1]


def _lay_out(
    jaxpr: Any, given: Sequence[int | None], counter: Iterator[int], steps: list[Step]
) -> list[int | None]:
    number: dict[Any, int | None] = dict(zip(jaxpr.invars, given))
    number |= {var: next(counter) for var in jaxpr.constvars}

    def read(atom: Any) -> int | None:
        return None if isinstance(atom, core.Literal) else number[atom]

    for eqn in jaxpr.eqns:
        reads = tuple(read(atom) for atom in eqn.invars)
        inner = next((eqn.params[name] for name in _CALLS if name in eqn.params), None)
        if inner is not None and eqn.primitive.name not in _LOOPS:
            made = _lay_out(getattr(inner, "jaxpr", inner), reads, counter, steps)
        else:
            made = [next(counter) for _ in eqn.outvars]
            steps.append(Step(eqn.primitive.name, reads, tuple(made), eqn))
        number.update(zip(eqn.outvars, made))
    return [read(atom) for atom in jaxpr.outvars]
