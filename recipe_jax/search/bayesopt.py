"""BayesianOptimization: a Gaussian process and expected improvement (Snoek et al. 2012)."""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Key

from recipe_jax.resolve import Count
from recipe_jax.search.base import (
    Axis,
    Search,
    Settings,
    Space,
    Told,
    losses,
    read_space,
    seed_of,
    settings_at,
)
from recipe_jax.types import UserError

# So many first settings are drawn at random: a process needs points to begin with.
FIRST = 8


def build(*, trials: Count = 64, batch: Count = 8, space: Space = ()) -> Search:
    """A search that learns from its scores, `batch` settings at a time.

    Within a batch the settings still to be measured count as the worst one (constant liar), so they
    keep apart. It fits a Gaussian process for every setting: for some hundreds of trials at most.
    space: as in search/random.py; every axis is told as a number in [0, 1], a choice as its part of
    it, and one whose condition does not hold as 0.5.
    """
    try:
        import bayes_opt
    except ImportError as error:
        raise UserError(
            "search.name=bayesopt needs the package bayesian-optimization: "
            "pip install bayesian-optimization, or take --config.search.name=optuna."
        ) from error

    def ask(
        history: Sequence[Told], key: Key[Array, ""], axes: Sequence[Axis], count: int
    ) -> list[Settings]:
        """`count` new settings for this history."""
        if not axes:
            return [{} for _ in range(count)]
        seed = seed_of(key, history)
        if len(history) < FIRST:
            drawn = np.random.default_rng(seed).uniform(size=(count, len(axes)))
            return [settings_at(axes, row) for row in drawn]
        liar = bayes_opt.acquisition.ConstantLiar(
            bayes_opt.acquisition.ExpectedImprovement(xi=0.01), strategy="min"
        )
        optimizer = bayes_opt.BayesianOptimization(
            f=None,
            pbounds={axis.path: (0.0, 1.0) for axis in axes},
            acquisition_function=liar,
            random_state=seed,
            verbose=0,
            allow_duplicate_points=True,
        )
        for told, loss in zip(history, losses(history)):
            place = {
                axis.path: axis.place(told.settings[axis.path])
                if axis.path in told.settings
                else 0.5
                for axis in axes
            }
            optimizer.register(place, -float(loss))
        asked = []
        with warnings.catch_warnings():
            # A length scale at the end of its range is no news to who asked for a setting.
            warnings.simplefilter("ignore")
            for _ in range(count):
                place = optimizer.suggest()
                asked.append(settings_at(axes, np.array([place[axis.path] for axis in axes])))
        return asked

    return Search(ask=ask, trials=trials, axes=read_space(space), batch=batch, row="TUNE3")
