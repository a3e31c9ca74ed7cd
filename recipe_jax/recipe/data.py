"""Stage data: look at the examples before anything is trained on them."""

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterator

from recipe_jax import checks
from recipe_jax.checks import text_audit
from recipe_jax.probes.examples import Examples
from recipe_jax.probes.facts import NotGiven
from recipe_jax.recipe import environment
from recipe_jax.recipe.base import Context, Planned, Stage
from recipe_jax.types import Decision, Finding, Status, Task

EXPECTS = "The data are what their description says: no bad values, no leak between the splits."
FIRST = (
    *("data_audit", "distributions", "spellings", "duplicates", "near_copies", "label_errors"),
    *("outliers", "corrupt", "oracle", "normalisation", "columns", "symmetries", "splits", "drift"),
    *("feed_order", "sample_size", "class_balance"),
)
"""Questions in the order in which they are told; those not named here come after them."""


def run(context: Context) -> Stage:
    """ENV1, ENV7: what the run is made of. DATA1 to DATA11, SKEL8: findings about the examples;
    nothing is trained."""
    task = context.task
    yield from environment.examine(context)
    yield from looked_at(task)
    train, validation = len(task.train.targets), len(task.validation.targets)
    return Decision(
        summary=f"{task.name}: {train} training and {validation} validation examples go on; "
        f"{task.test.num_examples} test examples stay sealed."
    )


def looked_at(task: Task) -> Iterator[Finding]:
    """What was found while reading, and what the examples answer."""
    yield from task.notes
    if task.modality == "text":
        yield from text_audit.audit(task)
        return
    examples = Examples(task)
    for name, look in questions():
        yield from answered(name, look, examples)


def questions() -> list[tuple[str, Callable[[Examples], Iterator[Finding]]]]:
    """(name, look) of every module of checks that looks at examples: it is found by existing."""
    names = [found.name for found in pkgutil.iter_modules(checks.__path__)]
    modules = {name: importlib.import_module(f"{checks.__name__}.{name}") for name in names}
    there = sorted(name for name, module in modules.items() if hasattr(module, "look"))
    order = [*(name for name in FIRST if name in there), *(n for n in there if n not in FIRST)]
    return [(name, modules[name].look) for name in order]


def answered(
    name: str, look: Callable[[Examples], Iterator[Finding]], examples: Examples
) -> Iterator[Finding]:
    """What a check finds; a question that does not apply says why."""
    try:
        # What is not finite is told as a finding; numpy need not say so beside it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield from list(look(examples))
    except NotGiven as reason:
        yield Finding(check=name, row="DATA1", status=Status.SKIP, summary=f"Not asked: {reason}.")


def planned(context: Context) -> list[Planned]:
    """Nothing is trained."""
    return []
