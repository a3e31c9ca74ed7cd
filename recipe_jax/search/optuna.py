"""Optuna's samplers (Akiba et al. 2019): TPE, Gaussian process or CMA-ES, in whole batches."""

from collections.abc import Sequence
from typing import Annotated, Any

from jaxtyping import Array, Key

from recipe_jax.resolve import Count, OneOf
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

NEEDS = {"gp": "torch", "cmaes": "cmaes"}


def build(
    *,
    trials: Count = 64,
    batch: Count = 16,
    sampler: Annotated[str, OneOf(("tpe", "gp", "cmaes"))] = "tpe",
    space: Space = (),
) -> Search:
    """A search that learns from its scores, `batch` settings at a time.

    The study is built anew from the history for every batch, so that it depends on nothing else.
    Within a batch the settings still to be measured count as bad ones, so they keep apart. sampler
    gp needs torch, cmaes the package cmaes. space: as in search/random.py; numbers are searched on
    their scale, mapped to [0, 1].
    """
    import optuna

    if sampler in NEEDS:
        import importlib.util

        if importlib.util.find_spec(NEEDS[sampler]) is None:
            raise UserError(
                f"search.sampler={sampler} needs the package {NEEDS[sampler]}: "
                f"pip install {NEEDS[sampler]}, or take --config.search.sampler=tpe."
            )
    make = {
        "tpe": optuna.samplers.TPESampler,
        "gp": optuna.samplers.GPSampler,
        "cmaes": optuna.samplers.CmaEsSampler,
    }[sampler]

    def ask(
        history: Sequence[Told], key: Key[Array, ""], axes: Sequence[Axis], count: int
    ) -> list[Settings]:
        """`count` new settings for this history."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # A choice is told by its number: Optuna stores no tuples.
        spans = {
            axis.path: CategoricalDistribution(range(len(axis.choices)))
            if axis.kind == "choice"
            else FloatDistribution(0.0, 1.0)
            for axis in axes
        }

        def point(settings: Settings) -> dict[str, Any]:
            return {
                axis.path: axis.coordinate(settings[axis.path])
                for axis in axes
                if axis.path in settings
            }

        study = optuna.create_study(sampler=make(seed=seed_of(key, history)))
        for told, loss in zip(history, losses(history)):
            params = point(told.settings)
            known: dict[str, Any] = {path: spans[path] for path in params}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=known, value=float(loss))
            )
        asked = []
        for _ in range(count):
            trial, places, settings = study.ask(), [], {}
            for axis in axes:
                place = 0.0
                if axis.active(settings):
                    place = axis.place_at(
                        trial.suggest_categorical(axis.path, range(len(axis.choices)))
                        if axis.kind == "choice"
                        else trial.suggest_float(axis.path, 0.0, 1.0)
                    )
                places.append(place)
                settings = settings_at(axes[: len(places)], places)
            asked.append(settings)
        return asked

    return Search(ask=ask, trials=trials, axes=read_space(space), batch=batch, row="TUNE3")
