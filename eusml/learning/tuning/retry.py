"""Trials whose worker died, once more.

Workers of one folder know of each other at once. Of workers elsewhere a database knows by Optuna's heartbeat. A trial
whose worker died before it could say who it is belongs to nobody, and is known by that.
"""

import time
import warnings

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from eusml.workers import Worker

WORKER = "worker"
"""User attribute of a running trial: who runs it."""
RETRY_OF = "retry_of"
"""User attribute of a trial that repeats another one: that one's number."""
FOLD_VALUES = "fold_values"
"""User attribute of a trial: its figure in every inner fold that it finished."""
RECORDED_AS = "recorded_as"
"""User attribute of a trial: what the caller calls it, which a repeated one is not called."""
ERROR = "error"
"""User attribute of a trial that failed for a reason of its own."""
MAX_RETRIES = 3
"""A trial that killed its worker this often and once more is at fault itself."""


def repeat_lost_trials(study: optuna.Study, worker: Worker, unclaimed_after_s: float) -> None:
    """End every trial that nobody runs any more, and put each in the queue again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # Of workers elsewhere. Optuna itself looks only before it begins a trial, and whoever waits begins none.
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(WORKER)
        lost = _age_s(trial) > unclaimed_after_s if owner is None else worker.is_gone(owner)
        if lost and _ended(study, trial):
            repeat(study, trial)


def repeat(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a lost trial's settings again, with the inner folds that it had finished.

    Also Optuna's callback for a trial without a heartbeat.
    """
    first = trial.user_attrs.get(RETRY_OF, trial.number)
    retries = sum(other.user_attrs.get(RETRY_OF) == first for other in study.get_trials(deepcopy=False))
    if retries >= MAX_RETRIES:
        return
    kept = {name: value for name, value in trial.user_attrs.items() if name not in (WORKER, RECORDED_AS, ERROR)}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**kept, RETRY_OF: first},
            # The first fold's curve, if that fold was finished; else it is trained on again.
            intermediate_values=trial.intermediate_values if FOLD_VALUES in kept else None,
            system_attrs=trial.system_attrs,  # with the parameters of the first trial, which are asked for, not drawn
        )
    )


def _ended(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether it was this call that ended the trial: of several workers one alone may repeat it."""
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, RuntimeError):
        return False
    return True


def _age_s(trial: FrozenTrial) -> float:
    return time.time() - trial.datetime_start.timestamp() if trial.datetime_start else 0.0
