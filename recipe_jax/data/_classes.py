"""Which classes there are: choosing some, and refusing those too small to split."""

import numpy as np

from recipe_jax import resolve
from recipe_jax.types import UserError


def choose(class_names: tuple[str, ...], classes: tuple[str, ...]) -> list[int]:
    """The numbers of the classes named, ascending; all of them where none is named."""
    for name in classes:
        if name not in class_names:
            raise UserError(
                f"data.classes: there is no class {name!r}{resolve.nearest(name, class_names)}"
            )
    return [i for i, name in enumerate(class_names) if not classes or name in classes]


def check_shares(shares: tuple[float, ...], class_names: tuple[str, ...]) -> None:
    """Refuses shares that are not one a class."""
    if not class_names:
        raise UserError("data.class_fractions is for classification, and the target is a quantity.")
    if len(shares) != len(class_names):
        raise UserError(
            f"data.class_fractions={shares} must hold {len(class_names)} shares, one for each of "
            f"{', '.join(class_names)}."
        )


def check_size(targets: np.ndarray, class_names: tuple[str, ...]) -> None:
    """Refuses a class too small for three splits; without class names, too few examples at all."""
    if not class_names:
        if len(targets) < 3:
            raise UserError(
                f"There are {len(targets)} examples, and three splits need at least 3; add some."
            )
        return
    if len(class_names) < 2:
        raise UserError(
            f"The target holds one class only ({', '.join(class_names)}); classification needs two."
        )
    name, count = _rarest(targets, class_names)
    if count < 3:
        raise UserError(
            f"Class {name!r} has {count} example{'s' * (count != 1)}, and three splits need at "
            f"least 3; {_remedy(class_names)}."
        )


def check_split(split: str, targets: np.ndarray, class_names: tuple[str, ...], why: str) -> None:
    """Refuses a split that has no example, or none of some class; why: how that may be."""
    problem = f"in the {split} split, {why}; "
    if not class_names:
        if not len(targets):
            raise UserError(f"No example is {problem}add distinct examples.")
        return
    name, count = _rarest(targets, class_names)
    if not count:
        raise UserError(f"No example of class {name!r} is {problem}{_remedy(class_names)}.")


def _rarest(targets: np.ndarray, class_names: tuple[str, ...]) -> tuple[str, int]:
    counts = np.bincount(targets, minlength=len(class_names))
    return class_names[int(counts.argmin())], int(counts.min())


def _remedy(class_names: tuple[str, ...]) -> str:
    remedy = "add examples of it, or list the other classes in data.classes"
    if all(name.lstrip("-").isdigit() for name in class_names):
        remedy += ", or set data.task='regression' if the target is a quantity"
    return remedy
