"""Where a study lives, so that it survives its workers: a journal in a file, or a database."""

import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from eusml.config import TuneConfig
from eusml.errors import TuningError
from eusml.learning.tuning.retry import repeat

T = TypeVar("T")

DEFINITION = "definition"
"""User attribute of a study: all that decides what a trial's figure means, as digests and values."""
DEFAULT = "default"
"""User attribute of the first trial: it is the setting as it stood."""
_DEFINED_WITHIN_S = 30.0
_ATTEMPTS = 20


def open_study(
    settings: TuneConfig,
    name: str,
    definition: Mapping[str, Any],
    first: Mapping[str, Any],
    journal: Path,
    sampler: BaseSampler,
    pruner: BasePruner,
    direction: Literal["minimize", "maximize"],
) -> tuple[optuna.Study, bool]:
    """The study of this name, and whether there was none and it was made now; workers may all call this at once.

    Args:
        settings: where it lives.
        name: its name.
        definition: what must be equal for trials to belong together.
        first: parameters of the first trial.
        journal: file for a study without `settings.storage`.
        sampler: what a trial tries.
        pruner: when one ends early.
        direction: `minimize` or `maximize`.

    Raises:
        TuningError: the storage cannot be reached, or holds a study of this name that is another one.
    """
    storage = _storage(settings, journal)
    try:
        study = optuna.create_study(
            storage=storage, study_name=name, direction=direction, sampler=sampler, pruner=pruner
        )
        _define(study, definition, first)
        return study, True
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=name, sampler=sampler, pruner=pruner)
        began = time.monotonic()
        while DEFINITION not in study.user_attrs:
            # Whoever made the study defines it at once, unless it died in between.
            if time.monotonic() - began > _DEFINED_WITHIN_S:
                _define(study, definition, first)
            time.sleep(0.1)
    _check_definition(study, definition)
    return study, False


def _define(study: optuna.Study, definition: Mapping[str, Any], first: Mapping[str, Any]) -> None:
    study.enqueue_trial(dict(first), user_attrs={DEFAULT: True}, skip_if_exists=True)
    # Last, for others wait for it.
    study.set_user_attr(DEFINITION, dict(definition))


def _check_definition(study: optuna.Study, definition: Mapping[str, Any]) -> None:
    found = study.user_attrs[DEFINITION]
    expected = json.loads(json.dumps(definition))
    differing = sorted(key for key in {*found, *expected} if found.get(key) != expected.get(key))
    if differing:
        details = "\n".join(
            f"  {key}: the study has {json.dumps(found.get(key))}, asked for is {json.dumps(expected.get(key))}"
            for key in differing
        )
        raise TuningError(
            f"the study {study.study_name!r} is another one, whose trials and new ones could not be compared. They "
            f"differ in {', '.join(differing)}:\n{details}\nName a new study with -P tune.study=…"
        )


def _storage(settings: TuneConfig, journal: Path) -> BaseStorage:
    if settings.storage is None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(journal)))
    shown = _without_password(settings.storage)
    try:
        # Optuna's own first call would make tables before it is known that there is a database.
        sqlalchemy.create_engine(settings.storage, poolclass=sqlalchemy.NullPool).connect().close()
    except ImportError as error:
        raise TuningError(f"the study's storage {shown} needs a driver that is not installed: {error}") from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise TuningError(f"the study's storage {shown} cannot be reached: {error}") from None
    try:
        return _patiently(lambda: _database(settings))
    except RuntimeError as error:
        # Optuna and MLflow both keep their version in a table of the same name.
        raise TuningError(
            f"the study's storage {shown} was set up by another program, such as MLflow, or by another version of "
            f"Optuna ({error}); give the study a database of its own"
        ) from None


def _database(settings: TuneConfig) -> RDBStorage:
    assert settings.storage is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            settings.storage,
            heartbeat_interval=settings.heartbeat_s,
            grace_period=4 * settings.heartbeat_s,
            heartbeat_stale_trial_callback=repeat,
        )


def _patiently(make: Callable[[], T]) -> T:
    """Again after a moment, when several workers make the same tables at once and all but one fail."""
    for attempt in range(_ATTEMPTS):
        try:
            return make()
        except sqlalchemy.exc.SQLAlchemyError:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.2)
    raise AssertionError


def _without_password(url: str) -> str:
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url
