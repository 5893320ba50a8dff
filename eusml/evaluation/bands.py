"""Pointwise confidence bands around a ROC and a precision-recall curve, by resampling patients.

At every false-positive rate (or recall) of a grid the band holds the middle share of the resampled curves there: what
pROC calls `ci.se` (Robin et al. 2011, doi:10.1186/1471-2105-12-77), with whole patients drawn (`bootstrap`). A band is
pointwise: it promises nothing about the curve as a whole, and where no resample differs it has no width.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eusml.evaluation.bootstrap import patient_weights

Floats = npt.NDArray[np.float64]
GRID = np.linspace(0.0, 1.0, 101)
"""Rates at which the bands are given."""
BAND_SAMPLES = 500
"""Enough for the 2.5th percentile of a band that is looked at; tables rest on the number that was set."""


def roc_band(
    y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], patient_id: npt.NDArray[Any], confidence: float, samples: int
) -> pd.DataFrame:
    """Sensitivity over the false-positive rate.

    Args:
        y_true: [N], 1 or 0.
        y_score: [N], higher means more likely positive.
        patient_id: [N].
        confidence: nominal coverage at each point, in (0, 1).
        samples: number of resamples.

    Returns:
        Columns fpr, tpr, tpr_low, tpr_high at every point of `GRID`; no rows where a class is missing.
    """
    return _band(y_true, y_score, patient_id, confidence, samples, _roc, ("fpr", "tpr"))


def precision_recall_band(
    y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], patient_id: npt.NDArray[Any], confidence: float, samples: int
) -> pd.DataFrame:
    """Precision over recall, as `roc_band`; the precision at a recall is that of the first threshold that reaches it.

    Returns:
        Columns recall, precision, precision_low, precision_high.
    """
    return _band(y_true, y_score, patient_id, confidence, samples, _precision_recall, ("recall", "precision"))


def _band(
    y_true: npt.NDArray[Any],
    y_score: npt.NDArray[Any],
    patient_id: npt.NDArray[Any],
    confidence: float,
    samples: int,
    curve: Any,
    names: tuple[str, str],
) -> pd.DataFrame:
    x, y = names
    columns = [x, y, f"{y}_low", f"{y}_high"]
    if len(np.unique(y_true)) < 2:
        return pd.DataFrame(columns=columns, dtype=np.float64)
    order = np.argsort(-y_score, kind="stable")
    # Cases of equal score enter together.
    ends = np.flatnonzero(np.diff(y_score[order], append=-np.inf) != 0)
    positive = (y_true[order] == 1).astype(np.float64)

    def at_grid(weights: Floats) -> Floats:
        tp = np.cumsum(weights[:, order] * positive, axis=1)[:, ends]
        fp = np.cumsum(weights[:, order] * (1 - positive), axis=1)[:, ends]
        both = (tp[:, -1] > 0) & (fp[:, -1] > 0)
        return np.array([curve(t, f) for t, f in zip(tp[both], fp[both], strict=True)]).reshape(-1, len(GRID))

    (found,) = at_grid(np.ones((1, len(y_true))))
    drawn = np.concatenate([at_grid(weights) for weights in patient_weights(patient_id, samples, len(y_true))])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return pd.DataFrame(dict(zip(columns, (GRID, found, low, high), strict=True)))


def _roc(tp: Floats, fp: Floats) -> Floats:
    """Sensitivity at the grid: on the curve's straight pieces, the highest one where it is upright."""
    fpr, tpr = np.concatenate([[0.0], fp / fp[-1]]), np.concatenate([[0.0], tp / tp[-1]])
    # Rounding must not put a rate of 0.3 above the grid's. The last of points above one another is the highest, and the
    # piece that begins there leads on: between two upright pieces the curve is level, unless scores are equal.
    here = np.minimum(np.searchsorted(fpr, GRID + 1e-9, side="right"), len(fpr) - 1) - 1
    along = np.clip((GRID - fpr[here]) / np.maximum(fpr[here + 1] - fpr[here], 1e-12), 0.0, 1.0)
    return np.asarray(tpr[here] + along * (tpr[here + 1] - tpr[here]), dtype=np.float64)


def _precision_recall(tp: Floats, fp: Floats) -> Floats:
    recall, precision = tp / tp[-1], tp / np.maximum(tp + fp, 1e-12)
    # Rounding must not put a recall of 0.3 above the grid's.
    reached = np.minimum(np.searchsorted(recall, GRID - 1e-9), len(recall) - 1)
    return np.asarray(precision[reached], dtype=np.float64)
