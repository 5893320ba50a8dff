"""One study: workers that take trials until there are as many as asked for, and what is known of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from eusml.config import MAXIMISED, Config, with_settings
from eusml.errors import EusmlError, TuningError
from eusml.learning.epoch import EpochResult
from eusml.learning.tuning.objective import InnerFolds, fold_value, shortened
from eusml.learning.tuning.pruning import epoch_pruner, worse_fold_by_fold
from eusml.learning.tuning.retry import ERROR, FOLD_VALUES, RECORDED_AS, WORKER, repeat, repeat_lost_trials
from eusml.learning.tuning.sampler import SeededPerTrial
from eusml.learning.tuning.space import starting_point, suggest, values_of
from eusml.learning.tuning.storage import DEFAULT, DEFINITION, open_study
from eusml.workers import Worker

_POLL_S = 0.5
_UNCLAIMED_AFTER_HEARTBEATS = 4


@dataclass(frozen=True)
class TrialRecord:
    """One configuration that was tried."""

    number: int
    state: str
    """`complete`, `pruned` or `failed`; `running`, `waiting`; `lost` when its worker died and it was queued again."""
    settings: dict[str, Any]
    """Dotted name to value."""
    value: float | None
    """The objective; None without."""
    fold_values: tuple[float, ...]
    """The objective in every inner fold that was finished."""
    curve: dict[int, float] = field(repr=False)
    """Log loss in the first fold by epoch (from 1), whatever the objective is."""
    started: datetime | None
    ended: datetime | None
    error: str | None
    is_default: bool
    """The setting as it stood before tuning."""
    worker: str | None
    """Name of the process that runs or ran it."""
    recorded_as: str | None
    """What the caller called it when it began."""

    @property
    def tried(self) -> bool:
        """Whether it counts: it came to an end of its own."""
        return self.state in ("complete", "pruned", "failed")

    @property
    def seconds(self) -> float:
        """Wall time; 0 while it runs."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else 0.0


@dataclass(frozen=True)
class Tuning:
    """A study that this process may work on."""

    study: optuna.Study
    config: Config
    """The settings as they stand; `tune` says how to search."""
    inner: InnerFolds
    is_new: bool
    """Whether this process made the study."""
    folder: Path
    """Of the journal."""

    @property
    def name(self) -> str:
        """Of the study."""
        return self.study.study_name

    @property
    def definition(self) -> dict[str, Any]:
        """What must be equal for trials to belong to it."""
        return dict(self.study.user_attrs[DEFINITION])

    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return [self._record(trial) for trial in self.study.get_trials(deepcopy=False)]

    def best(self) -> TrialRecord:
        """The trial with the best objective; of equal ones the first.

        Raises:
            TuningError: none was finished.
        """
        complete = [record for record in self.records() if record.state == "complete"]
        if not complete:
            errors = [f"  trial {record.number}: {record.error}" for record in self.records() if record.error]
            raise TuningError("\n".join([f"no trial of the study {self.name!r} was finished", *errors[-3:]]))
        return min(complete, key=lambda record: (self._sign * _number(record.value), record.number))

    def summary(self) -> str:
        """How many configurations were tried, and what became of them."""
        states = [record.state for record in self.records()]
        counts = {state: states.count(state) for state in ("complete", "pruned", "failed")}
        detail = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        total = sum(counts.values())
        return f"{total} configuration{' was' if total == 1 else 's were'} tried ({detail})."

    @property
    def _sign(self) -> int:
        """What makes a loss of the objective, and of a loss what Optuna's pruners take for one."""
        return -1 if self.config.tune.metric in MAXIMISED else 1

    def recall(self, key: str) -> Any:
        """What a worker noted on the study; None before that."""
        return self.study.user_attrs.get(key)

    def note(self, key: str, value: Any) -> None:
        """Note something on the study for all workers, JSON-ready."""
        self.study.set_user_attr(key, value)

    def work(
        self,
        worker: Worker,
        begin: Callable[[int, dict[str, Any]], str] = lambda number, _: str(number),
        end: Callable[[TrialRecord], None] = lambda _: None,
    ) -> None:
        """Take trials until as many as asked for have ended, whoever took them; then return.

        Args:
            worker: who this process is.
            begin: called with a trial's number and settings before it runs; what it returns is kept on the trial.
            end: called after every trial of this process that came to an end of its own.
        """
        wanted = self.config.tune.trials
        unclaimed_after_s = float(_UNCLAIMED_AFTER_HEARTBEATS * self.config.tune.heartbeat_s)
        while True:
            repeat_lost_trials(self.study, worker, unclaimed_after_s)
            records = self.records()
            if sum(record.tried for record in records) >= wanted:
                return
            if sum(record.tried or record.state == "running" for record in records) >= wanted:
                time.sleep(_POLL_S)  # others are at the last trials; should one die, its trial is for this one
                continue
            known = {record.number for record in records if record.state not in ("running", "waiting")}
            try:
                # One that fails or is pruned: its error and Optuna's call hold one another, and what the device held.
                self.study.optimize(
                    lambda trial: self._objective(trial, worker, begin), 1, catch=(EusmlError,), gc_after_trial=True
                )
            except BaseException:
                # Not the trial's fault: an interruption, or a store that is away. It is for whoever comes next.
                for trial in self._mine(worker, known):
                    repeat(self.study, trial)
                raise
            for trial in self._mine(worker, known):
                end(self._record(trial))

    def _mine(self, worker: Worker, known: set[int]) -> list[FrozenTrial]:
        """The trial that this process ran last, if it is not among those that had ended before."""
        trials = self.study.get_trials(deepcopy=False)
        return [t for t in trials if t.user_attrs.get(WORKER) == worker.name and t.number not in known]

    def _objective(self, trial: optuna.Trial, worker: Worker, begin: Callable[[int, dict[str, Any]], str]) -> float:
        # Of a database (which Optuna wraps into a cache of its own class), before the trial is claimed: one that is
        # claimed has a heartbeat, by which others learn of its end.
        record_heartbeat = getattr(trial.storage, "record_heartbeat", None)
        if record_heartbeat is not None:
            record_heartbeat(trial._trial_id)
        trial.set_user_attr(WORKER, worker.name)
        settings = self.config.tune
        try:
            tried = suggest(trial, settings.space, self.config)
            trial.set_user_attr(RECORDED_AS, begin(trial.number, tried))
            return self._over_folds(trial, shortened(with_settings(self.config, tried), settings.epochs_frac))
        except EusmlError as error:
            trial.set_user_attr(ERROR, str(error))
            raise

    def _over_folds(self, trial: optuna.Trial, config: Config) -> float:
        settings = self.config.tune
        is_default = bool(trial.user_attrs.get(DEFAULT))
        # A trial that was lost with its worker goes on after the folds that it had finished.
        values: list[float] = list(trial.user_attrs.get(FOLD_VALUES, []))

        def on_epoch(result: EpochResult) -> None:
            trial.report(self._sign * result.test_loss, result.epoch)
            if not is_default and trial.should_prune():
                raise optuna.TrialPruned

        for fold in range(len(values), len(self.inner.folds)):
            # Before a fold and not after one, so that a trial that goes on is judged as one that was never lost.
            by_folds = settings.fold_pruner == "wilcoxon" and not is_default
            if by_folds and worse_fold_by_fold(self.study, values, settings.wilcoxon_p):
                raise optuna.TrialPruned
            values.append(fold_value(self.inner, fold, config, settings.metric, on_epoch if fold == 0 else None))
            trial.set_user_attr(FOLD_VALUES, values)
        return sum(values) / len(values)

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        error = trial.user_attrs.get(ERROR)
        lost = trial.state == TrialState.FAIL and error is None
        state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        return TrialRecord(
            number=trial.number,
            state="lost" if lost else state.get(trial.state, trial.state.name.lower()),
            settings=values_of(trial.params, self.config.tune.space),
            value=trial.value if trial.state == TrialState.COMPLETE else None,
            fold_values=tuple(trial.user_attrs.get(FOLD_VALUES, ())),
            curve={epoch: self._sign * value for epoch, value in trial.intermediate_values.items()},
            started=trial.datetime_start,
            ended=trial.datetime_complete,
            error=error,
            is_default=bool(trial.user_attrs.get(DEFAULT)),
            worker=trial.user_attrs.get(WORKER),
            recorded_as=trial.user_attrs.get(RECORDED_AS),
        )


def open_tuning(config: Config, inner: InnerFolds, name: str, definition: dict[str, Any], folder: Path) -> Tuning:
    """The study for these settings, made or found; see `open_study`.

    Args:
        config: settings of one arm.
        inner: training partition and inner folds.
        name: of the study.
        definition: what must be equal for trials to belong together.
        folder: of the journal.

    Raises:
        ConfigError: the space does not hold the settings as they stand.
        TuningError: the storage cannot be reached or holds another study of this name.
    """
    # Optuna's own messages are for who writes against it; ours are in the words of this project.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    settings = config.tune
    first = starting_point(settings.space, config)
    epochs = shortened(config, settings.epochs_frac).train.epochs
    study, is_new = open_study(
        settings,
        name,
        definition,
        first,
        folder / "journal.log",
        SeededPerTrial(settings.seed, settings.startup_trials),
        epoch_pruner(settings, epochs),
        "maximize" if settings.metric in MAXIMISED else "minimize",
    )
    return Tuning(study, config, inner, is_new, folder)


def _number(value: float | None) -> float:
    assert value is not None
    return value
