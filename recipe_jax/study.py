"""A search as an Optuna journal, study.log, that optuna-dashboard opens:

optuna-dashboard study.log --storage-class JournalFileStorage
"""

import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from recipe_jax.search.base import Axis
from recipe_jax.types import Measured

NAME = "study.log"
SIMPLE = (bool, int, float, str, type(None))


def append(path: pathlib.Path, measured: Measured) -> None:
    """Adds finished settings; a diverged one is a failed trial. A value outside its axis, as that
    of the config's own setting may be, stands among the trial's attributes alone."""
    import optuna
    from optuna.storages import JournalStorage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    known = _distributions(measured.axes, measured.settings)
    journal = _Journal(path)
    storage = JournalStorage(cast(Any, journal))
    study = optuna.create_study(
        storage=storage,
        study_name=measured.name,
        direction="maximize" if measured.maximise else "minimize",
        load_if_exists=True,
    )
    trials, states = [], optuna.trial.TrialState
    for settings, score, uid in zip(measured.settings, measured.scores, measured.uids):
        values = {path: _simple(value) for path, value in settings.items()}
        fits = {
            path: value
            for path, value in values.items()
            if path in known and _contains(known[path], value)
        }
        trials.append(
            optuna.trial.create_trial(
                params=fits,
                distributions={path: known[path] for path in fits},
                value=score if math.isfinite(score) else None,
                state=states.COMPLETE if math.isfinite(score) else states.FAIL,
                user_attrs={"trial": uid, **values},
            )
        )
    study.add_trials(trials)
    journal.write()


class _Journal:
    """A journal in memory, until it is written in one piece: Optuna's own goes to the disk and back
    with every trial."""

    def __init__(self, path: pathlib.Path):
        from optuna.storages.journal import JournalFileBackend

        self._file = JournalFileBackend(str(path), lock_obj=cast(Any, _Unlocked()))
        self._logs = list(self._file.read_logs(0))
        self._written = len(self._logs)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """What was written and what waits."""
        return iter(self._logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """These wait."""
        self._logs += logs

    def write(self) -> None:
        """Everything that waits, to the file."""
        self._file.append_logs(self._logs[self._written :])
        self._written = len(self._logs)


class _Unlocked:
    """No lock: a run holds its workdir, and Optuna's own is a file that a killed process leaves for
    the next to wait at."""

    def acquire(self) -> bool:
        """Nobody else writes."""
        return True

    def release(self) -> None:
        """Nobody waits."""


def _distributions(axes: Sequence[Axis], settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One an axis; of settings that a config lists all their values."""
    from optuna import distributions

    found: dict[str, Any] = {}
    for axis in axes:
        if axis.kind == "choice":
            found[axis.path] = distributions.CategoricalDistribution(
                [_simple(value) for value in axis.choices]
            )
        elif axis.whole:
            low, high = int(axis.low), int(axis.high)
            found[axis.path] = distributions.IntDistribution(low, high, log=axis.log)
        else:
            found[axis.path] = distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
    if not axes:
        for path in dict.fromkeys(path for each in settings for path in each):
            values = dict.fromkeys(_simple(each[path]) for each in settings if path in each)
            found[path] = distributions.CategoricalDistribution(tuple(values))
    return found


def _simple(value: Any) -> Any:
    """The value as Optuna stores it."""
    return value if isinstance(value, SIMPLE) else str(value)


def _contains(distribution: Any, value: Any) -> bool:
    if hasattr(distribution, "choices"):
        return value in distribution.choices
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high
