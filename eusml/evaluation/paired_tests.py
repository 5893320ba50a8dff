"""What two arms' answers on the same cases say about their difference: tests, intervals, correction for many pairs."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from eusml.evaluation import bootstrap
from eusml.evaluation.intervals import components


@dataclass(frozen=True)
class Difference:
    """First minus second, on the same cases; nan where nothing can be said."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided."""
    standard_error: float = math.nan
    """Of `value`; nan where the test needs none."""


def accuracy_difference(only_a: int, only_b: int, cases: int, confidence: float) -> Difference:
    """Paired difference of accuracy: exact McNemar test, adjusted Wald interval.

    Source: McNemar 1947 (doi:10.1007/BF02295996), two-sided exact form; interval of Agresti and Min 2005
    (doi:10.1002/sim.1781): half a case is added to each of the four cells, then Wald, clipped to [-1, 1].

    Args:
        only_a: cases that only the first arm has right.
        only_b: cases that only the second arm has right.
        cases: all independent cases.
        confidence: nominal coverage of the interval, in (0, 1).
    """
    from statsmodels.stats.contingency_tables import mcnemar

    # Where both are right or both wrong is nothing to the test.
    p = float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue) if only_a + only_b else 1.0
    a, b, total = only_a + 0.5, only_b + 0.5, cases + 2
    centre = (a - b) / total
    half = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(a + b - (a - b) ** 2 / total) / total
    return Difference((only_a - only_b) / cases, max(centre - half, -1.0), min(centre + half, 1.0), min(p, 1.0))


def auroc_difference(
    y_true: npt.NDArray[np.int64], score_a: npt.NDArray[np.float64], score_b: npt.NDArray[np.float64], confidence: float
) -> Difference:
    """Paired difference of AUROC (DeLong, DeLong and Clarke-Pearson 1988, doi:10.2307/2531595).

    Where its variance is zero (the same ranking twice, or both perfect) or undefined (a class of one case), interval
    and p are nan: no spread was seen, which is no proof that there is none.

    Args:
        y_true: [N], 1 or 0, independent cases.
        score_a: [N], first arm.
        score_b: [N], second arm.
        confidence: nominal coverage of the interval, in (0, 1).
    """
    if y_true.min() == y_true.max():
        return Difference(math.nan, math.nan, math.nan, math.nan)
    parts = components(y_true, np.stack([score_a, score_b]))
    difference = float(parts.auroc[0] - parts.auroc[1])
    contrast = np.array([1.0, -1.0])
    variance = float(contrast @ parts.covariance @ contrast)
    if not variance > 1e-20:
        return Difference(difference, math.nan, math.nan, math.nan)
    error = math.sqrt(variance)
    half = float(norm.ppf((1 + confidence) / 2)) * error
    p = float(2 * norm.sf(abs(difference) / error))
    return Difference(difference, max(difference - half, -1.0), min(difference + half, 1.0), p, error)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (1979, JSTOR 4615733); nan stays nan and does not count."""
    values = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return [float(value) for value in values]


def resampled_difference(value: float, drawn: npt.NDArray[np.float64], confidence: float) -> Difference:
    """Percentile interval, and the p value that goes with it: twice the smaller tail beyond zero, never quite 0."""
    found = bootstrap.percentiles(drawn, confidence)
    if found.constant:
        return Difference(value, math.nan, math.nan, math.nan)
    defined = drawn[~np.isnan(drawn)]
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    p = min(2 * (tail + 1) / (len(defined) + 1), 1.0)
    return Difference(value, found.low, found.high, p, float(defined.std(ddof=1)))
