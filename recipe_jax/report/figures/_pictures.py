"""Examples as a person sees them: pictures, lines, passages and table rows, as safe HTML."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import markupsafe
import numpy as np
from PIL import Image

from recipe_jax.report import numbers

MAX_PICTURES = 60
MAX_SIDE = 64
MAX_LINES = 4
MAX_ROWS = 24
MAX_COLUMNS = 24
MAX_WORDS = 80
FILTERED = 6
"""A table that can be sorted can be filtered too from so many rows on."""


FILTER = markupsafe.Markup(
    '<input class="filter" type="search" placeholder="Filter: words that a row must hold" '
    'aria-label="Filter the rows below">'
)


def gallery(
    images: Any, captions: Sequence[str], *, groups: Sequence[str] = ()
) -> markupsafe.Markup:
    """Pictures with captions, all on one scale of grey; those of one group stand in one row."""
    stacked = np.array(images[:MAX_PICTURES], dtype=np.float64)
    low, high = extent(stacked)
    figures = [
        markupsafe.Markup(
            '<figure><img src="{}" alt="{}" decoding="async"><figcaption>{}</figcaption></figure>'
        ).format(png(image, low, high), alt, short(caption))
        for image, caption, alt in zip(stacked, captions, _alts(captions, groups))
    ]
    return _in_rows(figures, groups)


def curves(
    sequences: Any, captions: Sequence[str], *, groups: Sequence[str] = ()
) -> markupsafe.Markup:
    """Sequences (time, features) as lines over time, one a feature; each feature is drawn from its
    lowest to its highest value of all that are shown."""
    stacked = np.array(sequences[:MAX_PICTURES], dtype=np.float64)[:, :, :MAX_LINES]
    spans = [extent(stacked[..., feature]) for feature in range(stacked.shape[-1])]
    figures = []
    for sequence, caption, alt in zip(stacked, captions, _alts(captions, groups)):
        figures.append(
            markupsafe.Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(
                lines(sequence.T, spans, alt), short(caption)
            )
        )
    return _in_rows(figures, groups)


def _alts(captions: Sequence[str], groups: Sequence[str]) -> list[str]:
    """What is read aloud in place of each picture: its group and its caption."""
    names = [str(group) for group in groups] + [""] * len(captions)
    return [
        short(", ".join(filter(None, (name, caption))) or "example")
        for name, caption in zip(names, captions)
    ]


def lines(
    values: Sequence[np.ndarray] | np.ndarray, spans: Sequence[tuple[float, float]], label: str
) -> markupsafe.Markup:
    """Lines over time, each (points,), in one small picture, each in its own span from low to
    high."""
    drawn = markupsafe.Markup("").join(
        markupsafe.Markup('<polyline class="line{}" points="{}"/>').format(i, _points(line, *span))
        for i, (line, span) in enumerate(zip(values, spans))
    )
    return markupsafe.Markup(
        '<svg viewBox="0 0 100 50" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(label, drawn)


def _points(values: np.ndarray, low: float, high: float) -> str:
    """Where a line goes in a box of 100 by 50; what is not finite is left out."""
    across = np.linspace(0.0, 100.0, len(values)) if len(values) > 1 else np.array([50.0])
    down = 48.0 - 46.0 * (values - low) / max(high - low, 1e-12)
    return " ".join(f"{x:.4g},{y:.4g}" for x, y in zip(across, down) if np.isfinite(y))


def _in_rows(figures: Sequence[markupsafe.Markup], groups: Sequence[str]) -> markupsafe.Markup:
    """Small figures, those of one group in one row under its name."""
    names = [str(group) for group in groups[: len(figures)]] or [""] * len(figures)
    rows: dict[str, list[markupsafe.Markup]] = {}
    for figure, name in zip(figures, names):
        rows.setdefault(name, []).append(figure)
    parts = [
        markupsafe.Markup('<div class="row">{}<div class="pictures">{}</div></div>').format(
            markupsafe.Markup('<span class="group">{}</span>').format(short(name)) if name else "",
            markupsafe.Markup("").join(row),
        )
        for name, row in rows.items()
    ]
    return markupsafe.Markup('<div class="gallery">{}</div>').format(
        markupsafe.Markup("").join(parts)
    )


def table(
    columns: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    *,
    caption: str = "",
    sortable: bool = False,
    most_rows: int = MAX_ROWS,
) -> markupsafe.Markup:
    """Rows under named columns; numbers stand flush right; a long table says what is left out.

    sortable: by any column, and a long one can be filtered by words.
    """
    shown = [list(row)[:MAX_COLUMNS] for row in rows[:most_rows]]
    head = [short(column) for column in columns[:MAX_COLUMNS]]
    cut = []
    if len(rows) > most_rows:
        cut.append(f"{len(rows) - most_rows} more rows")
    if len(columns) > MAX_COLUMNS:
        cut.append(f"{len(columns) - MAX_COLUMNS} more columns")
    if cut:
        caption = f"{caption} ({' and '.join(cut)} are in report.json)".strip()
    cells = [[_cell(value) for value in row] for row in shown]
    join = markupsafe.Markup("").join
    return markupsafe.Markup(
        '{}<div class="scroll{}"><table{}>{}<thead><tr>{}</tr></thead><tbody>{}</tbody></table>'
        "</div>"
    ).format(
        FILTER if sortable and len(shown) >= FILTERED else "",
        " tall" if len(shown) > MAX_ROWS else "",
        markupsafe.Markup(' class="sortable"') if sortable else "",
        markupsafe.Markup("<caption>{}</caption>").format(caption) if caption else "",
        join(markupsafe.Markup('<th scope="col">{}</th>').format(name) for name in head),
        join(markupsafe.Markup("<tr>{}</tr>").format(join(row)) for row in cells),
    )


def passages(
    texts: Sequence[str], *, before: Sequence[str] = (), captions: Sequence[str] = ()
) -> markupsafe.Markup:
    """Texts as they are, line ends too; `before` each stands what it goes on from."""
    parts = []
    for i, words in enumerate(texts[:MAX_ROWS]):
        caption = captions[i] if i < len(captions) else ""
        parts.append(
            markupsafe.Markup('<figure class="passage">{}<pre>{}{}</pre></figure>').format(
                markupsafe.Markup("<figcaption>{}</figcaption>").format(caption) if caption else "",
                markupsafe.Markup("<b>{}</b>").format(before[i]) if i < len(before) else "",
                words,
            )
        )
    return markupsafe.Markup('<div class="passages">{}</div>').format(
        markupsafe.Markup("").join(parts)
    )


def png(image: np.ndarray, low: float, high: float, *, side: int = MAX_SIDE) -> str:
    """A data URI of an image (height, width) or (height, width, 1 or 3), at most `side` dots in
    each direction."""
    grey = (np.nan_to_num(image, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-12)
    dots = np.clip(np.rint(grey * 255), 0, 255).astype(np.uint8)
    if dots.ndim == 3 and dots.shape[-1] != 3:
        dots = dots[..., 0]
    if max(dots.shape[:2]) > 4 * side:
        stride = max(dots.shape[:2]) // (2 * side)
        dots = np.ascontiguousarray(dots[::stride, ::stride])
    picture = Image.fromarray(dots)
    if max(picture.size) > side:
        picture.thumbnail((side, side))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def extent(values: Any) -> tuple[float, float]:
    """Lowest and highest finite value."""
    array = np.asarray(values, np.float64)
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def short(value: Any) -> str:
    """A cell's or a caption's words, cut short."""
    words = numbers.sensible(value)
    return words if len(words) <= MAX_WORDS else f"{words[: MAX_WORDS - 1]}…"


def spark(counts: Sequence[Any]) -> markupsafe.Markup:
    """A histogram that fits into a cell."""
    heights = np.asarray([count or 0 for count in counts], np.float64)
    top = float(heights.max(initial=0.0))
    if not top > 0:
        return markupsafe.Markup("")
    width = 100.0 / len(heights)
    path = "".join(
        f"M{i * width:.4g},30V{30 - 28 * height / top:.4g}h{0.86 * width:.4g}V30Z"
        for i, height in enumerate(heights)
        if height
    )
    return markupsafe.Markup(
        '<svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="{}"/></svg>'
    ).format(path)


def _cell(value: Any) -> markupsafe.Markup:
    """One cell; the number in full is kept for sorting and for the pointer."""
    if isinstance(value, markupsafe.Markup):
        return markupsafe.Markup("<td>{}</td>").format(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return markupsafe.Markup('<td class="number" data-value="{}">{}</td>').format(
            repr(value), short(value)
        )
    return markupsafe.Markup("<td>{}</td>").format(short(value))


DRAWN = {"image": ("images", gallery), "sequence": ("sequences", curves)}
"""Kind of evidence -> the key of the examples in it, and what draws them."""
