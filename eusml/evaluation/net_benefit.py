"""Decision curves: what acting on a probability is worth beside acting on everybody or on nobody.

Source: Vickers and Elkin 2006 (doi:10.1177/0272989X06295361). The net benefit at a threshold probability t is
TP / n - FP / n * t / (1 - t): true positives, less false positives weighed by the odds at which one would act.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eusml.evaluation.bootstrap import patient_weights

THRESHOLDS = np.round(np.arange(0.01, 1.0, 0.01), 2)
"""Threshold probabilities of a decision curve."""


def net_benefit(
    y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], thresholds: npt.NDArray[np.float64] = THRESHOLDS
) -> pd.DataFrame:
    """Net benefit of acting where the probability is at least the threshold, on everybody, and on nobody.

    Args:
        y_true: [N], 1 or 0, at least one case.
        y_score: [N], probability of the positive class, 0 to 1.
        thresholds: [T], in (0, 1).

    Returns:
        Columns threshold, model, everybody, nobody.
    """
    model = _model(np.ones((1, len(y_true))), y_true, y_score, thresholds)[0]
    share = float(np.mean(y_true == 1))
    everybody = share - (1 - share) * thresholds / (1 - thresholds)
    return pd.DataFrame({"threshold": thresholds, "model": model, "everybody": everybody, "nobody": 0.0})


def net_benefit_band(
    y_true: npt.NDArray[Any],
    y_score: npt.NDArray[Any],
    patient_id: npt.NDArray[Any],
    confidence: float,
    samples: int,
    thresholds: npt.NDArray[np.float64] = THRESHOLDS,
) -> pd.DataFrame:
    """The same with columns model_low and model_high: a pointwise band of resampled patients."""
    drawn = np.concatenate(
        [_model(weights, y_true, y_score, thresholds) for weights in patient_weights(patient_id, samples, len(y_true))]
    )
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return net_benefit(y_true, y_score, thresholds).assign(model_low=low, model_high=high)


def _model(
    weights: npt.NDArray[np.float64],
    y_true: npt.NDArray[Any],
    y_score: npt.NDArray[Any],
    thresholds: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """float64 [R, T], of R weightings of the cases."""
    # A case of class 1 is worth 1 where it is acted on, one of class 0 minus the odds.
    acted = y_score[:, None] >= thresholds[None, :]
    odds = thresholds / (1 - thresholds)
    positive = weights @ (acted & (y_true == 1)[:, None]).astype(np.float64)
    negative = weights @ (acted & (y_true != 1)[:, None]).astype(np.float64)
    benefit: npt.NDArray[np.float64] = (positive - negative * odds) / weights.sum(axis=1, keepdims=True)
    return benefit
