"""Confidence intervals: of a proportion, and of the area under the ROC curve (AUROC) by DeLong's method."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

from eusml.config import IntervalMethod
from eusml.sentences import Sentence, sentence

Floats = npt.NDArray[np.float64]

STATSMODELS_NAMES: dict[IntervalMethod, str] = {
    "adjusted_wald": "agresti_coull",
    "wilson": "wilson",
    "clopper_pearson": "beta",
    "wald": "normal",
}
METHOD_NAMES: dict[IntervalMethod, Sentence] = {
    "adjusted_wald": sentence("methods.adjusted_wald", "adjusted Wald (Agresti-Coull)"),
    "wilson": sentence("methods.wilson", "Wilson"),
    "clopper_pearson": sentence("methods.clopper_pearson", "Clopper-Pearson"),
    "wald": sentence("methods.wald", "Wald"),
}
"""How a person calls each method."""
_DELONG = sentence("methods.delong", "DeLong, logit scale")
_NEWCOMBE = sentence("methods.newcombe", "Newcombe's method 5, as DeLong's variance is zero or undefined")
_ONE_CLASS = sentence("methods.one_class", "undefined: one class only")
FORMULAS: tuple[Sentence, ...] = (*METHOD_NAMES.values(), _DELONG, _NEWCOMBE, _ONE_CLASS)
"""Methods whose names hold no figures."""


@dataclass(frozen=True)
class Auroc:
    """An area under the ROC curve and its interval; all nan when a class is missing."""

    value: float
    low: float
    high: float
    method: str


@dataclass(frozen=True)
class Components:
    """DeLong's structural components of K scores on the same cases."""

    auroc: Floats
    """[K]"""
    positive: Floats
    """[K, m]: share of the negative cases that each positive case outscores, ties counted as half."""
    negative: Floats
    """[K, n]: share of the positive cases that outscore each negative case."""

    @property
    def covariance(self) -> Floats:
        """[K, K], the covariance of the K areas; nan when a class has fewer than two cases."""
        k, m = self.positive.shape
        n = self.negative.shape[1]
        if min(m, n) < 2:
            return np.full((k, k), math.nan)
        covariance: Floats = np.cov(self.positive).reshape(k, k) / m + np.cov(self.negative).reshape(k, k) / n
        return covariance


def proportion_interval(count: int, total: int, method: IntervalMethod, confidence: float) -> tuple[float, float]:
    """Two-sided interval of the proportion `count / total`, clipped to [0, 1]; (nan, nan) for a total of 0.

    Args:
        count: successes, 0 to `total`.
        total: independent cases.
        method: `adjusted_wald` (Agresti and Coull 1998, doi:10.1080/00031305.1998.10480550), `wilson` (Wilson 1927,
            doi:10.1080/01621459.1927.10502953), `clopper_pearson` (Clopper and Pearson 1934,
            doi:10.1093/biomet/26.4.404), or plain `wald`, which covers far less than it says near 0 and 1 (Brown, Cai
            and DasGupta 2001, doi:10.1214/ss/1009213286).
        confidence: nominal coverage, in (0, 1).
    """
    assert 0 <= count <= total, f"{count} of {total} is no proportion"
    if total == 0:
        return math.nan, math.nan
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(count, total, alpha=1 - confidence, method=STATSMODELS_NAMES[method])
    # All four hold the proportion itself; rounding alone would put Wilson's bound for 0 of 3 a hair above 0.
    value = count / total
    return min(max(float(low), 0.0), value), max(min(float(high), 1.0), value)


def auroc_delong(y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], confidence: float) -> Auroc:
    """AUROC with DeLong's variance (DeLong, DeLong and Clarke-Pearson 1988, doi:10.2307/2531595).

    The interval is symmetric on the logit scale (Pepe 2003, *The statistical evaluation of medical tests for
    classification and prediction*, Oxford, chapter 5), not on the plain one: it cannot leave (0, 1), and for 14 + 15
    cases of true area 0.9 it covers 95 % where the plain one covers 87 % (`tests/test_intervals.py`).

    Near 0 and 1 DeLong's variance is too small, and it is exactly zero where all cases are parted: [1, 1] would claim
    a certainty that is not there. Where the variance is zero or undefined, the interval is `score_interval`; and no
    bound goes beyond that of perfectly parted classes, so that an imperfect score is never better evidenced than a
    perfect one on the same cases.

    Args:
        y_true: [N], 1 for positive and 0 for negative cases, independent of one another.
        y_score: [N], finite; higher means more likely positive.
        confidence: nominal coverage, in (0, 1).
    """
    positives = int((y_true == 1).sum())
    negatives = len(y_true) - positives
    if min(positives, negatives) == 0:
        return Auroc(math.nan, math.nan, math.nan, _ONE_CLASS)
    parts = components(y_true, y_score[None, :])
    value, variance = float(parts.auroc[0]), float(parts.covariance[0, 0])
    # Rounding leaves a variance of about 1e-34 where the components are all equal.
    if not variance > 1e-20:
        low, high = score_interval(value, positives, negatives, confidence)
        return Auroc(value, low, high, _NEWCOMBE)
    logit = math.log(value / (1 - value))
    half = norm.ppf((1 + confidence) / 2) * math.sqrt(variance) / (value * (1 - value))
    low, high = (float(1 / (1 + math.exp(-bound))) for bound in (logit - half, logit + half))
    lowest_of_perfect = score_interval(1.0, positives, negatives, confidence)[0]
    # By symmetry the highest bound of an area of 0 is 1 minus that.
    return Auroc(value, min(low, lowest_of_perfect), max(high, 1 - lowest_of_perfect), _DELONG)


def score_interval(value: float, positives: int, negatives: int, confidence: float) -> tuple[float, float]:
    """Interval of an AUROC from the value and the counts alone, also where the value is 0 or 1.

    All areas A with |A - value| <= z * sqrt(V(A)), V being Hanley and McNeil's variance (1982,
    doi:10.1148/radiology.143.1.7063747) with both class sizes replaced by their mean: method 5 of Newcombe 2006
    (doi:10.1002/sim.2324). For 14 + 15 perfectly parted cases it gives 0.86 to 1.

    Args:
        value: the estimate, 0 to 1.
        positives: independent positive cases, at least 1.
        negatives: independent negative cases, at least 1.
        confidence: nominal coverage, in (0, 1).
    """
    z = float(norm.ppf((1 + confidence) / 2))
    extra = (positives + negatives) / 2 - 1

    def excess(area: float) -> float:
        variance = area * (1 - area) * (1 + extra * ((1 - area) / (2 - area) + area / (1 + area)))
        return (area - value) ** 2 - z**2 * variance / (positives * negatives)

    # `excess` is positive outside the interval and negative inside. At a value of 1 it is zero at 1 itself, so the
    # search for the lower bound stops just short of it.
    tiny = 1e-9
    low = 0.0 if value <= tiny else float(brentq(excess, 0.0, min(value, 1 - tiny)))
    high = 1.0 if value >= 1 - tiny else float(brentq(excess, max(value, tiny), 1.0))
    return low, high


def components(y_true: npt.NDArray[Any], y_scores: npt.NDArray[Any]) -> Components:
    """DeLong's structural components in O(N log N) from midranks (Sun and Xu 2014, doi:10.1109/LSP.2014.2337313).

    Args:
        y_true: [N], 1 for positive and 0 for negative cases, both present.
        y_scores: [K, N], finite.
    """
    positive, negative = y_scores[:, y_true == 1], y_scores[:, y_true == 0]
    m, n = positive.shape[1], negative.shape[1]
    ranks = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    of_positive = (ranks[:, :m] - rankdata(positive, axis=1)) / n
    of_negative = 1.0 - (ranks[:, m:] - rankdata(negative, axis=1)) / m
    return Components(of_positive.mean(axis=1), of_positive, of_negative)
