"""The `recipe` section: how much the stages may spend, and what they do about a closed gate."""

from typing import NamedTuple

from recipe_jax.resolve import Count, Positive


class Recipe(NamedTuple):
    """The stages' knobs.

    force: go on after a FAIL; seeds: lanes a comparison is paired over; members: of the ensemble;
    probe_epochs: length of the short trainings before tuning (None: as train.epochs);
    range_epochs: length of the runs of the learning-rate range test;
    smallest_gain: a change is kept when the interval of its gain lies wholly above this share of
    the validation score's standard error.
    """

    force: bool = False
    seeds: Count = 5
    members: Count = 8
    probe_epochs: Count | None = None
    range_epochs: Count = 3
    smallest_gain: Positive = 0.1
