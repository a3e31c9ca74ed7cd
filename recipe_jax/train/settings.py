"""The `train` section: how long one training run is, and how often it is looked at."""

from typing import Annotated, Any, NamedTuple

from recipe_jax.resolve import Between, Count, Fraction
from recipe_jax.types import UserError


class Train(NamedTuple):
    """epochs: passes over the training split; evaluations: looks at both splits on the way, by
    default one an epoch and at most 50; patience: looks without a better validation score before
    the run stops early (None: never); extend: to how many epochs in all the final trainings went on
    after their end, one number each time (`--extend` writes it); hidden: inputs that no model sees,
    by their places in an example laid out flat; resolution: of the images that models see, as a
    share of their height and width."""

    batch_size: Count = 32
    epochs: Count = 40
    evaluations: Count | None = None
    patience: Count | None = None
    extend: tuple[Count, ...] = ()
    hidden: tuple[Annotated[int, Between(0)], ...] = ()
    resolution: Fraction = 1.0


class Length(NamedTuple):
    """A training run in steps: `rounds` times `steps_per_round`."""

    rounds: int
    steps_per_round: int

    @property
    def num_steps(self) -> int:
        """All of them."""
        return self.rounds * self.steps_per_round


MOST_EVALUATIONS = 50


def length(*, epochs: int, batch_size: int, evaluations: int | None, num_examples: int) -> Length:
    """The run's length; rounds are equal, so the last may go a little beyond the last epoch."""
    if batch_size > num_examples:
        raise UserError(
            f"train.batch_size={batch_size} is more than the {num_examples} training examples; "
            f"use at most {num_examples}."
        )
    total = -(-epochs * num_examples // batch_size)
    if total == 0:
        return Length(0, 1)
    rounds = min(total, evaluations or min(epochs, MOST_EVALUATIONS))
    return Length(rounds, -(-total // rounds))


def longer(shorter: Length, *, epochs: int, batch_size: int, num_examples: int) -> Length:
    """A run of so many epochs in rounds as long as those of a shorter one: whatever a round is
    given and looks at is the same in both."""
    total = -(-epochs * num_examples // batch_size)
    return shorter._replace(rounds=max(shorter.rounds, -(-total // shorter.steps_per_round)))


def of_config(train: dict[str, Any], num_examples: int) -> Length:
    """The length that a `train` section asks for."""
    wanted = {name: train[name] for name in ("epochs", "batch_size", "evaluations")}
    return length(**wanted, num_examples=num_examples)
