"""Predictive values where the disease is as common as in one's own clinic, from sensitivity and specificity.

A test set has as many patients of each class as were collected; predictive values read off it hold for that share
alone. Intervals: logit method of Mercaldo, Lau and Zhou 2007 (doi:10.1002/sim.2677). Where all or none of a class are
right, half a case is added to both counts, so that 15 of 15 leaves an interval, too. Their adjusted estimates, which
add z²/2 to every count, miss the truth far too often: for 14 + 15 cases of sensitivity and specificity 0.95 they hold
it 46 % of the time, and these 96 % (`tests/test_predictive_values.py`).
"""

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

Floats = npt.NDArray[np.float64]
PREVALENCES = np.round(np.arange(0.01, 1.0, 0.01), 2)
"""Shares of the positive class at which the values are given."""


def values_by_prevalence(
    tp: int, fn: int, tn: int, fp: int, confidence: float, prevalences: Floats = PREVALENCES
) -> pd.DataFrame:
    """PPV and NPV over the share of positives among those who are examined.

    Args:
        tp: positive cases called positive.
        fn: positive cases called negative.
        tn: negative cases called negative.
        fp: negative cases called positive; all of independent cases.
        confidence: nominal coverage, in (0, 1).
        prevalences: [P], in (0, 1).

    Returns:
        Columns prevalence, ppv, ppv_low, ppv_high, npv, npv_low, npv_high; no rows where a class is missing. A value
        is nan where nothing is called so.
    """
    columns = ["prevalence", "ppv", "ppv_low", "ppv_high", "npv", "npv_low", "npv_high"]
    if tp + fn == 0 or tn + fp == 0:
        return pd.DataFrame(columns=columns, dtype=np.float64)
    z = float(norm.ppf((1 + confidence) / 2))
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    ppv = _bayes(sensitivity * prevalences, (1 - specificity) * (1 - prevalences))
    npv = _bayes(specificity * (1 - prevalences), (1 - sensitivity) * prevalences)
    (se, m), (sp, n) = _inside(tp, tp + fn), _inside(tn, tn + fp)
    odds = prevalences / (1 - prevalences)
    ppv_logit, ppv_error = np.log(se / (1 - sp) * odds), math.sqrt((1 - se) / se / m + sp / (1 - sp) / n)
    npv_logit, npv_error = np.log(sp / (1 - se) / odds), math.sqrt(se / (1 - se) / m + (1 - sp) / sp / n)
    values = (
        prevalences,
        *(ppv, expit(ppv_logit - z * ppv_error), expit(ppv_logit + z * ppv_error)),
        *(npv, expit(npv_logit - z * npv_error), expit(npv_logit + z * npv_error)),
    )
    table = pd.DataFrame(dict(zip(columns, values, strict=True)))
    # With half a case more, an interval is not to miss its own estimate.
    for name in ("ppv", "npv"):
        table[f"{name}_low"] = table[[f"{name}_low", name]].min(axis=1)
        table[f"{name}_high"] = table[[f"{name}_high", name]].max(axis=1)
    return table


def _inside(count: int, total: int) -> tuple[float, float]:
    """A proportion that is neither 0 nor 1, and of how many."""
    return (count / total, total) if 0 < count < total else ((count + 0.5) / (total + 1), total + 1)


def _bayes(right: Floats, wrong: Floats) -> Floats:
    total = right + wrong
    return np.divide(right, total, out=np.full_like(total, math.nan), where=total > 0)
