"""Are there broken examples: of one value, of another range, with a mark for what is missing?"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from recipe_jax.checks import data_audit, values
from recipe_jax.checks._telling import fault, healthy
from recipe_jax.probes.examples import Examples
from recipe_jax.types import Finding, Split

FAINT, GLARING = 0.05, 20.0
"""Of the usual span from an example's lowest to its highest number."""
SHOWN = 24


def look(examples: Examples) -> Iterator[Finding]:
    """Images and sequences one by one, tables column by column."""
    if examples.task.modality == "table":
        yield from _stand_ins(examples)
    else:
        yield from _spans(examples)


def _spans(examples: Examples) -> Iterator[Finding]:
    """In their own units: constant, hardly varying, or far wider than the others."""
    task = examples.task
    both = Split(*(np.concatenate(pair) for pair in zip(examples.train, examples.validation)))
    raw = np.asarray(task.encoder.decode(both.inputs))
    with np.errstate(invalid="ignore"):
        constant, faint, glaring = kinds(raw.reshape(len(raw), -1))
    what = "images" if task.modality == "image" else "sequences"
    parts = {"all of one value": constant, "hardly varying": faint, "of far wider range": glaring}
    told = ", ".join(f"{int(each.sum())} {name}" for name, each in parts.items())
    summary = f"Of {len(raw)} {what}, {told}{examples.among}."
    bad = np.flatnonzero(constant | faint | glaring)
    if not len(bad):
        yield healthy("corrupt", summary, row="DATA1")
        return
    names = [next(name for name, each in parts.items() if each[place]) for place in bad]
    yield fault(
        "corrupt",
        "A8",
        summary,
        f"Look at these {what}: were they read or written wrongly, or divided twice?",
        row="DATA1 DATA2",
        certainty="heuristic",
        warn=True,
        **data_audit.picture(task, both, bad[:SHOWN]),
        reason=names[:SHOWN],
        all_ids=[str(name) for name in both.ids[bad[:200]]],
        all_reasons=names[:200],
    )


def kinds(
    rows: Float[np.ndarray, "n numbers"],
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Rows all of one value, with a far smaller span than usual, and with a far larger one."""
    span = rows.max(1) - rows.min(1)
    constant = span == 0
    usual = float(np.median(span[~constant])) if (~constant).any() else 0.0
    return constant, ~constant & (span < FAINT * usual), span > GLARING * usual


def _stand_ins(examples: Examples) -> Iterator[Finding]:
    """One number far from all others that occurs again and again, such as -999."""
    columns = {name: each for name, each in examples.columns.items() if each.dtype != object}
    named: list[dict[str, Any]] = []
    for name, column in columns.items():
        present = column[np.isfinite(column)]
        if len(present):
            for _, value, count in values.stand_ins(present[:, None]):
                named.append({"column": name, "value": float(f"{value:.6g}"), "count": count})
    if not named:
        yield healthy(
            "corrupt",
            f"None of {len(columns)} columns of numbers has a value far from all others that "
            f"occurs again and again{examples.among}.",
            row="DATA1",
        )
        return
    first = named[0]
    yield fault(
        "corrupt",
        "A7",
        f"{len(named)} of {len(columns)} columns of numbers hold one value far from all others "
        f"again and again: {first['column']} is {first['value']:g} {first['count']} times"
        f"{examples.among}.",
        "This looks like a mark for missing values: leave the cells empty, then they are imputed.",
        row="DATA1 DATA2",
        certainty="statistical",
        warn=True,
        column=[each["column"] for each in named],
        value=[each["value"] for each in named],
        count=[each["count"] for each in named],
    )
