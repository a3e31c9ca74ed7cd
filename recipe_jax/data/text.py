"""Any text, learnt by its next character (or byte): a UTF-8 file, or the text that is in Python."""

import functools
from typing import Annotated

from recipe_jax.data import _files, _text_encoder, base
from recipe_jax.resolve import Count, OneOf
from recipe_jax.types import UserError

MOST_DEFAULT = 500_000
"""Characters of the default text that are used, so that it trains in minutes."""


def build(
    *,
    path: str = "",
    unit: Annotated[str, OneOf(("character", "byte"))] = "character",
    window: Count = 64,
) -> base.Stream:
    """path: a UTF-8 text file; empty takes the help topics that Python ships with (so they differ
    by its version). window: how many characters the model sees at once. The text is split where it
    stands: training, then validation, then test. The vocabulary is that of the training split."""
    text = read(path, "data.path") if path else _help_topics()
    return base.Stream(
        name="text",
        raw=_text_encoder.read(text, unit),
        window=window,
        fit=functools.partial(_text_encoder.fit, unit=unit, window=window),
        unit=unit,
    )


def read(path: str, key: str) -> str:
    """The text of a UTF-8 file that config key or flag `key` names, line ends as they are."""
    file = _files.locate(path, key=key)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{key}: {path} is not UTF-8 text (byte {error.start} is "
            f"0x{error.object[error.start]:02x}); save it as UTF-8."
        ) from error
    if not text:
        raise UserError(f"{key}: {path} holds no text; name another file.")
    return text


def _help_topics() -> str:
    try:
        from pydoc_data import topics
    except ImportError as error:
        raise UserError(
            "This Python comes without its help topics, the default text; set data.path to a "
            "UTF-8 file."
        ) from error
    return "\n".join(topics.topics[name] for name in sorted(topics.topics))[:MOST_DEFAULT]
