"""Batch sizes that ran, at equal numbers of examples seen."""

import dataclasses
import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

from recipe_jax.recipe import deciding
from recipe_jax.recipe.base import Context, Planned
from recipe_jax.recipe.deciding import Change, Decided, Verdict
from recipe_jax.types import Finding, Status

FACTORS = (1 / 16, 1 / 4, 4)
"""Beside the configured size. Four times is the cap above: a size that the devices may not hold is
not worth stopping a run for, and small batches are what may generalise better (Keskar et al. 2017).
"""
LEAST, MOST = 8, 512
LEAST_BATCHES = 4
"""In an epoch."""
LINEAR = ("sgd",)
"""Optimisers whose rate grows with the batch size (Goyal et al. 2017). Those that divide by the
root of a mean square take its square root (Malladi et al. 2022), and so does any other here."""


class Probe(NamedTuple):
    """A batch size, and the change that tries it."""

    size: int
    change: Change


def probes(context: Context) -> list[Probe]:
    """Every size with the rate scaled for it, and with the rate as it is."""
    now = int(context.setting("train.batch_size"))
    most = min(MOST, len(context.task.train.targets) // LEAST_BATCHES)
    rate = context.setting("optim.learning_rate")
    found = []
    for factor in FACTORS:
        size = round(now * factor)
        if size != now * factor or not LEAST <= size <= most:
            continue
        settings = {"train.batch_size": size}
        found.append(Probe(size, Change(f"{size}, same rate", settings)))
        if rate is not None:
            scaled = scaled_rate(rate, factor, context.setting("optim.name"))
            change = Change(
                f"{size}, rate {scaled:.2g}", settings | {"optim.learning_rate": scaled}
            )
            found.append(Probe(size, change))
    return found


def scaled_rate(rate: float, factor: float, optimiser: str) -> float:
    """The rate for batches `factor` times as large, to three digits; the moments stay as they
    are."""
    scaled = rate * (factor if optimiser in LINEAR else math.sqrt(factor))
    return float(f"{scaled:.3g}")


def planned(context: Context) -> list[Planned]:
    """What stands, and every size: a program each, of more steps where it is smaller."""
    now, found = int(context.setting("train.batch_size")), probes(context)
    if not found:
        return []
    parts = [(0, 1, 1.0)] + [
        (1, sum(each.size == size for each in found), now / size)
        for size in sorted({each.size for each in found})
    ]
    return [
        deciding.planned(context, lanes - 1, programs=programs)._replace(part=part)
        for programs, lanes, part in parts
    ]


def measured(context: Context) -> Generator[Any, Any, tuple[Mapping[str, Any], Finding]]:
    """FIT8, REG5: (the settings that are kept, what was found). Each run sees as many examples as
    the others, on the same seeds. A size goes on only where its gain is surely worth it; none is
    told of that did not run to its end."""
    found, now = probes(context), int(context.setting("train.batch_size"))
    common: dict[str, Any] = {"check": "batch_sizes", "row": "FIT8 REG5"}
    if not found:
        count = len(context.task.train.targets)
        return {}, Finding(
            status=Status.SKIP,
            summary=f"No size to try beside {now}: from {LEAST} to {MOST}, and with at least "
            f"{LEAST_BATCHES} batches in the {count} training examples.",
            **common,
        )
    stands = Change(f"batches of {now}", context.quiet)
    decided = yield from deciding.decide(
        context, [each.change for each in found], base=stands, label="batch sizes"
    )
    told = deciding.finding(context, decided, base=stands, **common)
    # A size is offered at a rate at which no seed diverged.
    ran = [p for p, verdict in zip(found, decided.verdicts) if not verdict.diverged]
    sizes = sorted({now, *(each.size for each in ran)})
    lost = sorted({each.size for each in found} - set(sizes))
    summary = f"{told.summary} Ran to their end: {', '.join(map(str, sizes))}"
    summary += f"; some seeds of {', '.join(map(str, lost))} diverged." if lost else "."
    summary += _largest(found, decided, now)
    evidence = {**told.evidence, "sizes": [each.size for each in found], "ran": sizes}
    return (
        dict(decided.kept[0].change.settings) if decided.kept else {},
        dataclasses.replace(told, summary=summary, evidence=evidence),
    )


def _largest(found: Sequence[Probe], decided: Decided, now: int) -> str:
    """The largest size that is as good, for those who want speed; "" where there is none."""

    def as_good(verdict: Verdict) -> bool:
        return not verdict.diverged and bool(verdict.gain.low > -decided.least)

    good = [p for p, verdict in zip(found, decided.verdicts) if p.size > now and as_good(verdict)]
    if not good:
        return ""
    return f" A batch of {good[0].change.name}, costs nothing that is worth keeping."
