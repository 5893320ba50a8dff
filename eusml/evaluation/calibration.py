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


_NOTHING = Coefficient(math.nan, math.nan, math.nan)


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
        nan where it is undefined: one class is missing or there is one patient alone; for the slope, too, where all
        probabilities are alike, they part the classes, or the fit does not converge.
    """
    y = y_true.astype(np.float64)
    chance = np.clip(y_score.astype(np.float64), _NEVER_SURE, 1 - _NEVER_SURE)
    logit = np.log(chance / (1 - chance))
    clusters = np.unique(patient_id, return_inverse=True)[1]
    # Of one patient alone nobody can tell how far another would be.
    if len(np.unique(y)) < 2 or clusters.max() == 0:
        return Recalibration(_NOTHING, _NOTHING)
    groups = clusters if clusters.max() + 1 < len(y) else None
    parted = logit[y == 1].min() >= logit[y == 0].max() or logit[y == 1].max() <= logit[y == 0].min()
    tells = not parted and np.ptp(logit) > 0
    return Recalibration(
        intercept=_intercept(y, logit, groups, confidence),
        slope=_slope(y, logit, groups, confidence) if tells else _NOTHING,
    )


def _intercept(
    y: npt.NDArray[np.float64], logit: npt.NDArray[np.float64], groups: npt.NDArray[Any] | None, confidence: float
) -> Coefficient:
    """What is to be added to all logits for the mean probability to be the share of positive cases.

    That is the maximum of the likelihood. It is bracketed, for Newton's method, which statsmodels takes, overshoots
    where some probabilities are all but sure: it then ends in a singular matrix, or far away.

    Args:
        y: [N], 1.0 or 0.0, both of them there.
        logit: [N], finite.
        groups: [N], 0 to the number of patients less one, two patients at least; None where cases are independent.
        confidence: nominal coverage, in (0, 1).
    """
    from scipy.optimize import brentq
    from scipy.special import expit
    from scipy.stats import norm

    def surplus(added: float) -> float:
        return float(np.sum(expit(logit + added) - y))

    # Every probability is below the share of positives at the one end, and above it at the other; one more for the
    # rounding, without which equal logits would leave no bracket at all.
    share = math.log(y.sum() / (len(y) - y.sum()))
    value = float(brentq(surplus, share - logit.max() - 1, share - logit.min() + 1, xtol=1e-12))
    chance = expit(logit + value)
    information = float(np.sum(chance * expit(-logit - value)))
    error = 1 / math.sqrt(information)
    if groups is not None:
        # The sandwich of one coefficient, corrected for few groups as statsmodels does it for the slope.
        of_group = np.bincount(groups, weights=y - chance)
        count = len(of_group)
        error = math.sqrt(count / (count - 1) * float(np.sum(of_group**2))) / information
    half = float(norm.ppf((1 + confidence) / 2)) * error
    return Coefficient(value, value - half, value + half)


def _slope(
    y: npt.NDArray[np.float64], logit: npt.NDArray[np.float64], groups: npt.NDArray[Any] | None, confidence: float
) -> Coefficient:
    """The slope of the truth on the logit; all nan where statsmodels finds none.

    Args:
        y: [N], 1.0 or 0.0, both of them there.
        logit: [N], finite; does not part the classes.
        groups: as of `_intercept`.
        confidence: nominal coverage, in (0, 1).
    """
    import statsmodels.api as sm

    how: dict[str, Any] = {} if groups is None else {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # Not GLM, whose robust errors are nan where one probability is all but sure.
            model = sm.Logit(y, np.column_stack([np.ones(len(y)), logit])).fit(disp=0, **how)
        except np.linalg.LinAlgError:
            return _NOTHING
    # Where Newton's method gave up halfway, its last step is no estimate.
    if not model.mle_retvals["converged"]:
        return _NOTHING
    low, high = model.conf_int(alpha=1 - confidence)[-1]
    found = float(model.params[-1]), float(low), float(high)
    return Coefficient(*found) if np.isfinite(found).all() else _NOTHING
