"""Prediction sets: every label that cannot be ruled out at a chosen error rate.

Conformal prediction by class (Vovk, Gammerman and Shafer 2005, doi:10.1007/b106715, Mondrian predictors; library
crepes): of new cases of *either* class at most the error rate lack their label, on average over draws of the
calibrating cases, if these and the new ones come from the same source. Both labels, or none, is an answer, too: these
cases cannot tell.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from crepes import ConformalClassifier

Floats = npt.NDArray[np.float64]


def prediction_sets(
    y_true: npt.NDArray[np.int64], y_score: Floats, asked: Floats, error_rate: float
) -> npt.NDArray[np.bool_]:
    """Which labels each new case may have.

    With fewer than 1 / error_rate - 1 calibrating cases of a class that label is never ruled out.

    Args:
        y_true: [N], 1 or 0, of the calibrating cases.
        y_score: [N], their probabilities of the positive class.
        asked: [M], probabilities of the new cases.
        error_rate: of the cases of each class, the share that may lack their label, in (0, 1).

    Returns:
        bool [M, 2]: whether the set holds the negative and the positive class.
    """
    negative = _by_class(1 - y_score[y_true == 0], 1 - asked)
    positive = _by_class(y_score[y_true == 1], asked)
    return np.stack([negative, positive], axis=1) > error_rate


def _by_class(known: Floats, asked: Floats) -> Floats:
    """P [M] of new cases being of a class, from probabilities of that class for its known [N] and the new cases."""
    if len(known) == 0:
        return np.ones(len(asked))
    p: Any = _fitted(1 - known).predict_p((1 - asked)[:, None], smoothing=False)
    return np.asarray(p, dtype=np.float64)[:, 0]


def _fitted(nonconformity: Floats) -> "ConformalClassifier":
    from crepes import ConformalClassifier

    return ConformalClassifier().fit(nonconformity)
