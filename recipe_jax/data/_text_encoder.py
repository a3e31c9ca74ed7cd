"""Text to numbers of tokens and back: characters that training holds, or bytes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int32

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
NUM_BYTES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """unit "character": token 0 stands for what training never held, tokens 1, 2, ... for the
    characters in `symbols`, which ascend; "byte": a token is the byte of UTF-8 (symbols is "").

    window: how many tokens the model sees at once.
    """

    unit: str
    symbols: str
    window: int

    @property
    def num_tokens(self) -> int:
        """The size of the vocabulary."""
        return NUM_BYTES if self.unit == "byte" else 1 + len(self.symbols)

    @property
    def has_unknown(self) -> bool:
        """Whether token 0 stands for what training never held."""
        return self.unit == "character"

    @property
    def names(self) -> tuple[str, ...]:
        """Each token as a person can read it."""
        if self.unit == "byte":
            return tuple(_name(chr(i)) if i < 128 else f"\\x{i:02x}" for i in range(NUM_BYTES))
        return (UNKNOWN, *map(_name, self.symbols))

    def encode(self, raw: str | np.ndarray) -> Int32[np.ndarray, " length"]:
        """The tokens of a text, or of the symbols that `read` gave."""
        found = read(raw, self.unit) if isinstance(raw, str) else raw
        if self.unit == "byte":
            return found.astype(np.int32)
        known = read(self.symbols, self.unit)
        place = np.minimum(np.searchsorted(known, found), len(known) - 1)
        return np.where(known[place] == found, place + 1, 0).astype(np.int32)

    def decode(self, tokens: np.ndarray) -> str:
        """The text of tokens (length,); what is no UTF-8 is shown as the replacement character."""
        if self.unit == "byte":
            return np.asarray(tokens, np.uint8).tobytes().decode("utf-8", "replace")
        table = np.array([UNKNOWN, *self.symbols])
        return "".join(table[np.asarray(tokens)])

    def to_json(self) -> dict[str, Any]:
        """Plain text and numbers."""
        return {"type": "text", **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TextEncoder":
        """The encoder that gave `content`."""
        return cls(unit=content["unit"], symbols=content["symbols"], window=content["window"])


def read(text: str, unit: str) -> np.ndarray:
    """The symbols of a text (length,): code points, or the bytes of UTF-8."""
    if unit == "byte":
        return np.frombuffer(text.encode(), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def fit(training: np.ndarray, *, unit: str, window: int) -> TextEncoder:
    """The encoder whose vocabulary is what the training symbols hold."""
    known = "" if unit == "byte" else "".join(map(chr, np.unique(training)))
    return TextEncoder(unit=unit, symbols=known, window=window)


def _name(symbol: str) -> str:
    if symbol == " ":
        return "space"
    return symbol if symbol.isprintable() else repr(symbol)[1:-1]
