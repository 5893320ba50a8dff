"""Patient-wise bootstrap: whole patients are drawn, so that images of one patient stay together.

Source: Efron and Tibshirani 1993, *An introduction to the bootstrap* (doi:10.1007/978-1-4899-4541-9), percentile
interval; drawing whole clusters: Field and Welsh 2007 (doi:10.1111/j.1467-9868.2007.00593.x).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_SEED = 0
"""One fixed seed: two scores of the same patients are resampled alike, which makes their differences paired."""
_CHUNK_NUMBERS = 2_000_000
"""Resamples are worked on in chunks of about this many weights (16 MB)."""


@dataclass(frozen=True)
class Percentiles:
    """A percentile interval over resamples."""

    low: float
    high: float
    undefined: int
    """Resamples in which the measure was 0/0; they are left out."""
    constant: bool
    """All defined resamples gave one value, or none was defined: `low` and `high` are nan, as nothing varied."""


def percentiles(values: Floats, confidence: float) -> Percentiles:
    """Percentile interval.

    Args:
        values: [R], a measure in every resample, nan where undefined.
        confidence: nominal coverage, in (0, 1).
    """
    defined = values[~np.isnan(values)]
    undefined = len(values) - len(defined)
    # Sums in another order differ in the last digits only.
    if len(defined) == 0 or np.ptp(defined) < 1e-12:
        return Percentiles(math.nan, math.nan, undefined, constant=True)
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Percentiles(float(low), float(high), undefined, constant=False)


def resampled_measures(
    y_true: npt.NDArray[Any],
    y_score: npt.NDArray[Any],
    patient_id: npt.NDArray[Any],
    threshold: float,
    samples: int,
) -> dict[str, Floats]:
    """Every measure of `measures` in each of `samples` resamples of the patients; the same for any order of cases.

    Args:
        y_true: [N], 1 or 0.
        y_score: [N], 0 to 1.
        patient_id: [N].
        threshold: positive from here on.
        samples: R, number of resamples.

    Returns:
        Measure name to float64 [R], nan where a resample leaves it undefined.
    """
    chunks = [
        measures(weights, y_true, y_score, threshold) for weights in patient_weights(patient_id, samples, len(y_true))
    ]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def measures(
    weights: Floats, y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], threshold: float
) -> dict[str, Floats]:
    """All measures at once for R weightings of the same N cases; a case of weight 2 counts as two.

    Undefined (0/0) is nan. `auprc` is average precision, the sum of precision times gain in recall over descending
    scores; `brier` is the mean squared error of the probability (Brier 1950,
    doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2); `mcc` is Matthews' correlation (1975,
    doi:10.1016/0005-2795(75)90109-9).

    Args:
        weights: [R, N], not negative.
        y_true: [N], 1 or 0.
        y_score: [N], 0 to 1.
        threshold: a case is called positive from here on.

    Returns:
        Measure name to float64 [R].
    """
    positive, called = y_true == 1, y_score >= threshold
    groups = [positive & called, ~positive & called, ~positive & ~called, positive & ~called]
    tp, fp, tn, fn = (weights @ np.stack(groups, axis=1).astype(np.float64)).T
    sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    total = weights.sum(axis=1)
    auroc, auprc = _areas(weights, positive, y_score)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": _ratio(tp, tp + fp),
        "npv": _ratio(tn, tn + fn),
        "accuracy": _ratio(tp + tn, total),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "auroc": auroc,
        "auprc": auprc,
        "brier": _ratio(weights @ (y_score - positive) ** 2, total),
    }


def _areas(weights: Floats, positive: npt.NDArray[np.bool_], y_score: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Area under the ROC curve and average precision, [R] each."""
    order = np.argsort(-y_score, kind="stable")
    # Cases of equal score cannot be told apart: they enter together.
    starts = np.flatnonzero(np.diff(y_score[order], prepend=np.inf) != 0)
    ordered = weights[:, order]
    gained_tp = np.add.reduceat(ordered * positive[order], starts, axis=1)
    gained_fp = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    tp, fp = np.cumsum(gained_tp, axis=1), np.cumsum(gained_fp, axis=1)
    below = fp[:, -1:] - fp + gained_fp / 2
    auroc = _ratio((gained_tp * below).sum(axis=1), tp[:, -1] * fp[:, -1])
    # Before the first case that a resample holds, precision is 0/0 and nothing is gained.
    precision = np.divide(tp, tp + fp, out=np.zeros_like(tp), where=tp + fp > 0)
    auprc = _ratio((gained_tp * precision).sum(axis=1), tp[:, -1])
    return auroc, auprc


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(denominator, math.nan), where=denominator != 0)


def patient_weights(patient_id: npt.NDArray[Any], samples: int, cases: int) -> Iterator[Floats]:
    """How often each case counts in each resample of the patients, in chunks of [R, N]; the same at every call."""
    patients, of_case = np.unique(patient_id, return_inverse=True)
    rng = np.random.default_rng(_SEED)
    chance = np.full(len(patients), 1 / len(patients))
    rows = max(_CHUNK_NUMBERS // cases, 1)
    for start in range(0, samples, rows):
        drawn = rng.multinomial(len(patients), chance, size=min(rows, samples - start))
        yield drawn[:, of_case].astype(np.float64)
