"""A trained model of text on a new text: the nats of every character, or how it goes on."""

import csv
import io
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from recipe_jax.data import _stream, text
from recipe_jax.types import UserError

BATCH = 64
"""Windows at a time."""


def surprise(data: pathlib.Path, encoder: Any, program: Callable[..., Any]) -> tuple[str, int]:
    """CSV, a row a character: its place, itself, its nats, and what was likeliest there; and how
    many have nats.

    The first one is given, and has none. The text is read in windows one after the other, as
    validation and test are, so the mean of the column is their nats_per_char.
    """
    tokens = _tokens(data, encoder)
    inputs, targets = _stream.windows(tokens, encoder.window)
    nats, likeliest = np.zeros(targets.shape), np.zeros(targets.shape, int)
    for first in range(0, len(inputs), BATCH):
        # Batches of one size, so that the program is compiled once.
        rows = np.arange(first, first + BATCH) % len(inputs)
        found = np.asarray(program(inputs[rows]))[: len(inputs) - first]
        part = slice(first, first + len(found))
        asked = np.maximum(targets[part], 0)[..., None]
        nats[part] = -np.log(np.maximum(np.take_along_axis(found, asked, -1)[..., 0], 1e-30))
        likeliest[part] = found.argmax(-1)
    asked, file = targets >= 0, io.StringIO()
    rows = csv.writer(file)
    rows.writerow(["place", encoder.unit, "nats", "likeliest"])
    names = encoder.names
    rows.writerow([0, names[tokens[0]], "", ""])
    told = zip(tokens[1:], nats[asked], likeliest[asked])
    rows.writerows(
        [place, names[token], f"{value:.6g}", names[guess]]
        for place, (token, value, guess) in enumerate(told, 1)
    )
    return file.getvalue(), int(asked.sum())


def _tokens(data: pathlib.Path, encoder: Any) -> np.ndarray:
    tokens = encoder.encode(text.read(str(data), "--data"))
    if len(tokens) < 2:
        raise UserError(f"--data {data} holds one {encoder.unit}; at least 2 are needed.")
    return tokens


def going_on(
    data: pathlib.Path,
    encoder: Any,
    program: Callable[..., Any],
    *,
    length: int,
    temperature: float,
) -> str:
    """The text and `length` characters more; the same ones every time.

    temperature: what the logarithms of probabilities are divided by; 0 takes the likeliest.
    """
    tokens = list(encoder.encode(text.read(str(data), "--data")))
    known, draw = len(tokens), np.random.default_rng(0)
    for _ in range(length):
        seen = tokens[-encoder.window :]
        window = np.zeros((1, encoder.window), np.int32)
        window[0, : len(seen)] = seen
        found = np.asarray(program(window))[0, len(seen) - 1].astype(np.float64)
        if encoder.has_unknown:
            found[0] = 0.0
        sharp = (found / found.max()) ** (1.0 / temperature) if temperature else found
        drawn = draw.choice(len(sharp), p=sharp / sharp.sum()) if temperature else sharp.argmax()
        tokens.append(int(drawn))
    return text.read(str(data), "--data") + encoder.decode(np.array(tokens[known:]))
