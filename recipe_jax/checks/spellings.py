"""Is one class, or one level of a column, written in several ways?"""

from collections.abc import Iterator, Sequence

from recipe_jax.checks._telling import fault
from recipe_jax.probes.examples import Examples
from recipe_jax.types import Finding

LEAST = 3
"""Letters of a word: shorter ones, as "a" and "A" or "Aa" and "AA", are often codes that differ by
case on purpose."""
LISTED = 3


def look(examples: Examples) -> Iterator[Finding]:
    """Only where some differ by case or by space around them alone."""
    task = examples.task
    words = {"the target": tuple(map(str, task.class_names))}
    if task.modality == "text":
        return
    for column in getattr(task.encoder, "columns", ()):
        words[f"column {column.name}"] = column.levels
    found = {where: alike for where, each in words.items() if (alike := written_alike(each))}
    if not found:
        return
    told = [
        f"{where} holds {' and '.join(map(repr, group))}"
        for where, alike in found.items()
        for group in alike
    ]
    more = f", and {len(told) - LISTED} more" if len(told) > LISTED else ""
    yield fault(
        "spellings",
        "B10",
        f"Words that differ by case or space alone count as different: "
        f"{'; '.join(told[:LISTED])}{more}.",
        "If they mean the same, write them in one way.",
        row="DATA1 DATA2",
        certainty="statistical",
        warn=True,
    )


def written_alike(words: Sequence[str]) -> list[list[str]]:
    """Words that are one but for case and space around them, where any of those is more than a
    code of a letter or two."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word.strip().casefold(), []).append(word)
    alike = {key: group for key, group in groups.items() if len(group) > 1}
    return list(alike.values()) if any(len(key) >= LEAST for key in alike) else []
