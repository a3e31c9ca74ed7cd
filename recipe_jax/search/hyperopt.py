"""hyperopt's tree of Parzen estimators (Bergstra et al. 2011), in whole batches."""

from collections.abc import Sequence
from typing import Any

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


def build(*, trials: Count = 64, batch: Count = 16, space: Space = ()) -> Search:
    """A search that learns from its scores, `batch` settings at a time.

    hyperopt has no notion of a batch: a setting that is asked for and not yet measured is told as
    one with the mean loss, so the next ones keep away from it. space: as in search/random.py.
    """
    try:
        import hyperopt
    except ImportError as error:
        raise UserError(
            "search.name=hyperopt needs the package hyperopt: pip install hyperopt, or take "
            "--config.search.name=optuna."
        ) from error

    def ask(
        history: Sequence[Told], key: Key[Array, ""], axes: Sequence[Axis], count: int
    ) -> list[Settings]:
        """`count` new settings for this history."""
        if not axes:
            return [{} for _ in range(count)]
        space = {
            axis.path: hyperopt.hp.randint(axis.path, len(axis.choices))
            if axis.kind == "choice"
            else hyperopt.hp.uniform(axis.path, 0.0, 1.0)
            for axis in axes
        }
        domain = hyperopt.Domain(lambda point: 0.0, space)
        trials = hyperopt.Trials()
        values = losses(history)
        for told, loss in zip(history, values):
            _tell(trials, domain, axes, told.settings, float(loss))
        liar = float(values.mean()) if len(values) else 0.0
        seeds = np.random.default_rng(seed_of(key, history)).integers(2**31, size=count)
        asked = []
        for seed in seeds:
            number = len(trials.trials)
            (document,) = hyperopt.tpe.suggest([number], domain, trials, int(seed), verbose=False)
            point = {path: value[0] for path, value in document["misc"]["vals"].items()}
            places = [axis.place_at(point[axis.path]) for axis in axes]
            asked.append(settings_at(axes, places))
            _tell(trials, domain, axes, asked[-1], liar)
        return asked

    return Search(ask=ask, trials=trials, axes=read_space(space), batch=batch, row="TUNE3")


def _tell(trials: Any, domain: Any, axes: Sequence[Axis], settings: Settings, loss: float) -> None:
    """Puts a finished setting in; axes that were not there stay without a value."""
    import hyperopt

    number = len(trials.trials)
    found = {
        axis.path: axis.coordinate(settings[axis.path]) for axis in axes if axis.path in settings
    }
    misc = {
        "tid": number,
        "cmd": domain.cmd,
        "workdir": domain.workdir,
        "idxs": {axis.path: [number] if axis.path in found else [] for axis in axes},
        "vals": {axis.path: [found[axis.path]] if axis.path in found else [] for axis in axes},
    }
    result = {"loss": loss, "status": hyperopt.STATUS_OK}
    (document,) = trials.new_trial_docs([number], [None], [result], [misc])
    document["state"] = hyperopt.JOB_STATE_DONE
    trials.insert_trial_doc(document)
    trials.refresh()
