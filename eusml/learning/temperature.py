"""Probabilities that mean what they say: one temperature for all, fitted on cases that the network was not trained on.

Source: Guo, Pleiss, Sun and Weinberger 2017, *On calibration of modern neural networks* (arXiv:1706.04599).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

_LEAST, _MOST = 0.1, 10.0
"""Bounds of a temperature: beyond them a handful of cases would make every answer sure, or none say anything."""
_NEVER_SURE = 1e-12
"""Probabilities count as at least this far from 0 and 1, so that they have a logit."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What cases that a network was not trained on say of its probabilities."""

    cases: str
    """Which cases, in words."""
    temperature: float
    """Above 1 where the network was too sure of itself."""
    y_true: tuple[int, ...]
    """1 for the positive class; in no order that tells who it was."""
    y_score: tuple[float, ...]
    """Calibrated probabilities of the same cases."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Calibration":
        """Back from `dataclasses.asdict`, also by way of JSON, which makes lists of tuples.

        Raises:
            KeyError, TypeError: not such a dictionary.
        """
        return cls(**{**fields, "y_true": tuple(fields["y_true"]), "y_score": tuple(fields["y_score"])})


def calibrate(y_true: npt.NDArray[np.int64], y_score: Floats, cases: str) -> Calibration:
    """Fit a temperature.

    Args:
        y_true: [N], 1 or 0.
        y_score: [N], probabilities of the positive class by a network that was trained without the case, 0-1.
        cases: which cases they are, in words.
    """
    temperature = fit_temperature(y_true, y_score)
    scores = tempered(y_score, temperature)
    order = np.lexsort((y_true, scores))
    return Calibration(cases, temperature, tuple(y_true[order].tolist()), tuple(scores[order].tolist()))


def fit_temperature(y_true: npt.NDArray[np.int64], y_score: Floats) -> float:
    """The temperature of least log loss, 0.1 to 10; arguments as of `calibrate`."""
    from scipy.optimize import minimize_scalar  # late: a quarter of a second, which a model taken over does not need

    logits = logit(np.clip(y_score, _NEVER_SURE, 1 - _NEVER_SURE)) * np.where(y_true == 1, 1.0, -1.0)

    def log_loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, -logits / np.exp(log_temperature)).mean())

    found = minimize_scalar(log_loss, bounds=(np.log(_LEAST), np.log(_MOST)), method="bounded")
    return float(np.exp(found.x))


def tempered(y_score: Floats, temperature: float) -> Floats:
    """Probabilities [N] at a temperature; their order and what lies above one half do not change."""
    scores: Floats = expit(logit(np.clip(y_score, _NEVER_SURE, 1 - _NEVER_SURE)) / temperature)
    return scores
