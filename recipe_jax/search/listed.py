"""The settings that a config file lists itself, with `def sweep()`."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Array, Key

from recipe_jax.search.base import Axis, Search, Settings, Told
from recipe_jax.types import UserError

EXAMPLE = "yield {'optim.learning_rate': 1e-3, 'model.dropout': 0.1}"


def build(*, settings: tuple[tuple[Any, ...], ...] = ()) -> Search:
    """A search over exactly these settings, each a tuple of ("section.key", value) pairs."""
    listed = [_read(entry) for entry in settings]
    if not listed:
        raise UserError(
            "search.name=listed has no settings; write a function in the config file, "
            f"def sweep(): {EXAMPLE}"
        )
    seen: set[frozenset[Any]] = set()
    for each in listed:
        if frozenset(each.items()) in seen:
            raise UserError(f"search.settings: {each} is there twice; keep one.")
        seen.add(frozenset(each.items()))

    def ask(
        history: Sequence[Told], key: Key[Array, ""], axes: Sequence[Axis], count: int
    ) -> list[Settings]:
        """The `count` settings that follow those in the history."""
        return listed[len(history) : len(history) + count]

    count = len(listed)
    return Search(
        ask, count, axes=(), batch=count, complete=True, listed=tuple(listed), row="TUNE2"
    )


def _read(entry: Any) -> Settings:
    pairs = entry if isinstance(entry, list | tuple) else (entry,)
    for pair in pairs:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise UserError(f"search.settings: {entry!r} is no setting; {EXAMPLE}")
    return {path: value for path, value in pairs}
