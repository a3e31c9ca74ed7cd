"""The `recipe` section: how much the stages may spend, and what they do about a closed gate."""

from typing import Annotated, NamedTuple

from recipe_jax.resolve import Between, Count, NonNegative, OneOf, Positive


class Recipe(NamedTuple):
    """The stages' knobs.

    budget: what the knobs are that the config leaves out, and `search.trials` (recipe/budget.py);
    the numbers below are those of medium. budget_seconds: in place of a name, how long the run may
    take on this machine; it is timed once, before the first stage, and the numbers that follow are
    kept in run.json, so another machine or another day gives others.

    force: go on after a FAIL; seeds: lanes a comparison is paired over; looks: how often they are
    doubled, and a comparison looked at, while it is open; members: of an ensemble;
    candidates: the best settings of the search, of which those for an ensemble are chosen by
    cross-validation over so many folds of the training split; snapshots: of one run, for
    another ensemble (below 2 folds or snapshots there is none of that kind);
    probe_epochs: length of the short trainings before tuning (None: as train.epochs);
    range_epochs: length of the runs of the learning-rate range test;
    smallest_gain: a change is kept when the interval of its gain lies wholly above this share of
    the validation score's standard error (and above half a percent of the score);
    changes: what stage overfit tries beside what stands, one at a time, each as text such as
    "optim.name=lion optim.learning_rate=1e-4" (none: a layer more, and a layer less).

    For text: prompts are what the finished model goes on from in the report, for sample_length
    tokens each; none means the first words of the validation text. temperature: what logits are
    divided by before drawing; 0 takes the likeliest token.
    """

    budget: Annotated[str, OneOf(("small", "medium", "large"))] = "medium"
    budget_seconds: Positive | None = None
    force: bool = False
    seeds: Count = 4
    looks: Count = 2
    members: Count = 8
    candidates: Count = 6
    folds: Annotated[int, Between(0)] = 5
    snapshots: Annotated[int, Between(0)] = 5
    probe_epochs: Count | None = None
    range_epochs: Count = 3
    smallest_gain: Positive = 0.1
    changes: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    sample_length: Count = 300
    temperature: NonNegative = 0.8
