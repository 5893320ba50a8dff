"""When a trial is not worth going on with: between epochs of its first fold, and between folds."""

import warnings
from collections.abc import Sequence

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, WilcoxonPruner
from optuna.trial import TrialState

from eusml.config import TuneConfig
from eusml.learning.tuning.retry import FOLD_VALUES


def epoch_pruner(settings: TuneConfig, epochs: int) -> BasePruner:
    """The study's pruner: it sees the log loss after every epoch of the first fold, negative where more is better."""
    match settings.pruner:
        case "median":
            # Not before a tenth of the epochs: while the learning rate warms up, the loss says little.
            return MedianPruner(n_startup_trials=max(settings.startup_trials, 1), n_warmup_steps=epochs // 10)
        case "hyperband":
            return HyperbandPruner(min_resource=max(epochs // 9, 1), max_resource=epochs, reduction_factor=3)
        case "none":
            return NopPruner()


def worse_fold_by_fold(study: optuna.Study, values: Sequence[float], p: float) -> bool:
    """Whether a trial is worse than the best one, fold by fold (Wilcoxon's signed-rank test), so that it may end.

    Optuna's `WilcoxonPruner` reads a trial's intermediate values as one figure per fold. In this study they are figures
    per epoch, so it is shown a study of two trials made of the folds' figures.

    Args:
        study: the study.
        values: the running trial's figures in the folds that it finished.
        p: one-sided level below which it ends.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete or len(values) < 2:
        return False
    best = study.best_trial
    shown = optuna.create_study(direction=study.direction)
    shown.add_trial(
        optuna.create_trial(value=best.value, intermediate_values=dict(enumerate(best.user_attrs[FOLD_VALUES])))
    )
    running = optuna.create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(values)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return WilcoxonPruner(p_threshold=p).prune(shown, running)
