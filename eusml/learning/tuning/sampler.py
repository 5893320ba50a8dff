"""What a trial tries next, as a function of the study's seed, of the trial's place in it and of what is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from eusml.learning.tuning.retry import RETRY_OF

_STREAM = 0x7E


class SeededPerTrial(BaseSampler):
    """Multivariate TPE (Bergstra et al. 2011; Falkner, Klein and Hutter 2018, arXiv:1807.01774), a fresh one per trial.

    Optuna's sampler draws from one stream as long as its process lives: after a kill it would start that stream again
    and repeat what it drew. Here each trial has a stream of its own, of which a repeated trial uses none up, so that
    one worker tries the same settings however often it was stopped.
    """

    def __init__(self, seed: int, startup_trials: int) -> None:
        self.seed = seed
        self.startup_trials = startup_trials
        self._now: tuple[int, TPESampler] | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As `TPESampler`."""
        return self._sampler(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As `TPESampler`."""
        return self._sampler(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As `TPESampler`."""
        return self._sampler(study, trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As `TPESampler`."""
        self._sampler(study, trial).after_trial(study, trial, state, values)

    def _sampler(self, study: Study, trial: FrozenTrial) -> TPESampler:
        if self._now is None or self._now[0] != trial.number:
            self._now = (trial.number, self._fresh(study, trial.user_attrs.get(RETRY_OF, trial.number)))
        return self._now[1]

    def _fresh(self, study: Study, number: int) -> TPESampler:
        earlier = study.get_trials(deepcopy=False)[:number]
        place = number - sum(RETRY_OF in trial.user_attrs for trial in earlier)
        seed = int(np.random.SeedSequence([self.seed, place, _STREAM]).generate_state(1)[0])
        return TPESampler(seed=seed, n_startup_trials=self.startup_trials, multivariate=True, constant_liar=True)
