"""How far stated probabilities are from what came true."""

from typing import Any

import numpy as np
import numpy.typing as npt


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
