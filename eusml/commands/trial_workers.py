"""Who takes the trials of a study: this process, or several that it starts and waits for (`tune.workers`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eusml.commands.processes import run_processes, sharing_threads
from eusml.commands.terminal import say
from eusml.config import Config
from eusml.errors import ConfigError
from eusml.learning.tuning.objective import InnerFolds, TrainingCases
from eusml.learning.tuning.study import TrialRecord, Tuning, open_tuning
from eusml.ranks import current
from eusml.tracking import runs, trials
from eusml.workers import Worker, working

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_IMAGE_SIZE = "data.image_size_px"


@dataclass(frozen=True)
class RecordedStudy:
    """One arm's study and where it is recorded."""

    tuning: Tuning
    run: runs.Run
    tags: Mapping[str, str]
    """Of every run that is part of it."""


@dataclass(frozen=True)
class _Errand:
    """What a process that is started needs to work on a study."""

    config: Config
    cases: Mapping[int, TrainingCases]
    """By side of the images, pixels."""
    folds: "Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]"
    name: str
    definition: dict[str, Any]
    folder: Path
    run: runs.Run
    tags: Mapping[str, str]


def take_trials(found: RecordedStudy, worker: Worker) -> None:
    """Take trials until the study has as many as asked for, in `tune.workers` processes.

    Raises:
        ConfigError: several workers are asked for under torchrun.
        EusmlError: the study or the store cannot be reached.
    """
    settings = found.tuning.config.tune
    if settings.workers > 1 and current().count > 1:
        raise ConfigError(
            "processes started by torchrun train every trial together, so tune.workers must be 1 there; without "
            "torchrun, workers train a trial each"
        )
    count = min(settings.workers, settings.trials - sum(record.tried for record in found.tuning.records()))
    if count > 1:
        errand = _errand(found, count)
        say(f"  {count} workers, CPU threads of each: {errand.config.train.threads}")
        run_processes(_work, [errand] * count)
    # All of them, or what workers that died left over; whatever ended them says so here.
    _take(found.tuning, found.run, found.tags, worker)


def _take(tuning: Tuning, run: runs.Run, tags: Mapping[str, str], worker: Worker) -> None:
    tuning.work(
        worker,
        begin=lambda number, tried: trials.begin_trial(run, number, tried, tags),
        end=lambda record: _trial_ended(tuning.config, record),
    )


def _errand(found: RecordedStudy, workers: int) -> _Errand:
    config, inner = found.tuning.config, found.tuning.inner
    sizes = [config.data.image_size_px]
    if searched := config.tune.space.get(_IMAGE_SIZE):
        assert searched.choices is not None, "check_space refuses a range"
        sizes = [int(str(size)) for size in searched.choices]
    return _Errand(
        config=sharing_threads(config, workers),
        cases={size: inner.cases(size) for size in sizes},
        folds=inner.folds,
        name=found.tuning.name,
        definition=found.tuning.definition,
        folder=found.tuning.folder,
        run=found.run,
        tags=found.tags,
    )


def _work(errand: _Errand) -> None:
    """What a started process does."""
    inner = InnerFolds(errand.cases.__getitem__, errand.folds)
    tuning = open_tuning(errand.config, inner, errand.name, errand.definition, errand.folder)
    with working(errand.config.work_dir / "workers") as worker:
        _take(tuning, errand.run, errand.tags, worker)


def _trial_ended(config: Config, record: TrialRecord) -> None:
    assert record.recorded_as is not None
    trials.end_trial(record.recorded_as, record)
    tried = ", ".join(f"{name.removeprefix('train.')} {_short(value)}" for name, value in record.settings.items())
    metric = config.tune.metric
    outcome = f"{metric} {record.value:.4f}" if record.value is not None else record.state
    outcome += f": {record.error}" if record.error else ""
    say(f"  trial {record.number}: {outcome}, {record.seconds:.0f} s ({tried})" + (" as it stood" * record.is_default))


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else runs.param_text(value)
