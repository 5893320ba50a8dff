"""How far stated probabilities are from what came true."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eusml.evaluation.intervals import proportion_interval


def calibration_error(y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], bins: int = 10) -> float:
    """Expected calibration error: how far the share of positive cases is from the stated probability, on average.

    Cases are put into bins of equal width by their probability of the positive class; the mean distance between
    probability and share of positives is weighted by the cases in each bin. It is never negative, so chance alone lifts
    it: a perfectly calibrated network shows about 0.1 on 60 cases.

    Source: Guo, Pleiss, Sun and Weinberger 2017 (https://proceedings.mlr.press/v70/guo17a.html), equation 3; here of
    the probability of the positive class instead of that of the predicted one.

    Args:
        y_true: [N], 1 or 0, at least one case.
        y_score: [N], probability of the positive class, 0 to 1.
        bins: number of bins.

    Returns:
        0 to 1.
    """
    of_case = np.minimum((y_score.astype(np.float64) * bins).astype(np.int64), bins - 1)  # 1.0 is in the last one
    # Where a bin holds n cases, n times the distance of the means is the distance of the sums.
    surplus = np.bincount(of_case, weights=y_score - y_true, minlength=bins)
    return float(np.abs(surplus).sum() / len(y_true))


RELIABILITY_BINS = 5
"""As many as thirty cases can fill."""


def reliability(y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], bins: int = RELIABILITY_BINS) -> pd.DataFrame:
    """Stated probability against what came true, in bins of equal width that hold a case.

    Args:
        y_true: [N], 1 or 0.
        y_score: [N], probability of the positive class, 0 to 1.
        bins: how many there are from 0 to 1.

    Returns:
        Columns predicted (mean), observed (share), low, high (95 % Wilson), count, total.
    """
    of_case = np.minimum((y_score * bins).astype(int), bins - 1)
    rows = []
    for index in np.unique(of_case):
        inside = of_case == index
        total, count = int(inside.sum()), int(y_true[inside].sum())
        interval = proportion_interval(count, total, "wilson", 0.95)
        rows.append((float(y_score[inside].mean()), count / total, *interval, count, total))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "count", "total"])


_NEVER_SURE = 1e-6
"""Probabilities count as at least this far from 0 and 1: the logit of one that is sure would be infinite."""


@dataclass(frozen=True)
class Coefficient:
    """An estimate with its interval; all nan where the cases cannot tell it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Recalibration:
    """What a logistic regression of the truth on the logit of the probability finds.

    Source: Cox 1958 (doi:10.1093/biomet/45.3-4.562); Van Calster et al. 2019 (doi:10.1186/s12916-019-1466-7).
    """

    intercept: Coefficient
    """Calibration in the large, at a slope of one: 0 where the mean probability holds, above it where it is too low."""
    slope: Coefficient
    """1 where probabilities spread as they should; below it they are too extreme."""


def recalibration(
    y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], patient_id: npt.NDArray[Any], confidence: float
) -> Recalibration:
    """Intercept and slope with Wald intervals; robust ones where patients have several images.

    Args:
        y_true: [N], 1 or 0.
        y_score: [N], probability of the positive class, 0 to 1.
        patient_id: [N].
        confidence: nominal coverage, in (0, 1).

    Returns:
        nan where it is undefined: one class is missing, all probabilities are alike, or they part the classes.
    """
    import statsmodels.api as sm

    y = y_true.astype(np.float64)
    chance = np.clip(y_score.astype(np.float64), _NEVER_SURE, 1 - _NEVER_SURE)
    logit = np.log(chance / (1 - chance))
    one = np.ones((len(y), 1))
    nothing = Coefficient(math.nan, math.nan, math.nan)
    if len(np.unique(y)) < 2:
        return Recalibration(nothing, nothing)
    clusters = np.unique(patient_id, return_inverse=True)[1]
    clustered = clusters.max() + 1 < len(y)
    how: dict[str, Any] = {"cov_type": "cluster", "cov_kwds": {"groups": clusters}} if clustered else {}

    def fitted(design: npt.NDArray[np.float64], **offset: Any) -> Coefficient:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Not GLM, whose robust errors are nan where one probability is all but sure.
            model = sm.Logit(y, design, **offset).fit(disp=0, **how)
        low, high = model.conf_int(alpha=1 - confidence)[-1]
        return Coefficient(float(model.params[-1]), float(low), float(high))

    parted = logit[y == 1].min() >= logit[y == 0].max() or logit[y == 1].max() <= logit[y == 0].min()
    tells = not parted and np.ptp(logit) > 0
    return Recalibration(
        intercept=fitted(one, offset=logit),
        slope=fitted(np.column_stack([one, logit])) if tells else nothing,
    )
