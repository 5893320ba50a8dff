"""Paired differences of every measure between arms on the same cases, by a bootstrap of whole patients."""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eusml.config import EvaluateConfig
from eusml.evaluation import bootstrap
from eusml.evaluation.alignment import same_cases
from eusml.evaluation.metrics import MEASURES

Floats = npt.NDArray[np.float64]

_COLUMNS = ("arm_a", "arm_b", "measure", "a", "b", "difference", "ci_low", "ci_high", "undefined", "method")


def paired_differences(predictions: Mapping[str, pd.DataFrame], settings: EvaluateConfig) -> pd.DataFrame:
    """Every measure of every pair of arms: both values, the first minus the second, and its percentile interval.

    Every resample draws the same patients for both arms, each with all rows: of several images, and of several repeats
    of a cross-validation, which are measured together.

    Args:
        predictions: arm to its answers with columns case_id, patient_id, y_true, y_score and, when repeated, repeat.
        settings: threshold, nominal coverage of each interval for itself, number of resamples.

    Returns:
        Columns arm_a, arm_b, measure, a, b, difference, ci_low, ci_high, undefined (resamples in which either arm's
        measure is 0/0, which are left out), method. nan where a value is undefined or no resample differs.

    Raises:
        DataError: as `same_cases`.
    """
    aligned = same_cases(predictions)
    values = {arm: _measured(table, settings) for arm, table in aligned.items()}
    drawn = {arm: _resampled(table, settings) for arm, table in aligned.items()}
    rows = [
        {"arm_a": a, "arm_b": b, "measure": measure}
        | _difference(values[a][measure], values[b][measure], drawn[a][measure] - drawn[b][measure], settings)
        for a, b in combinations(aligned, 2)
        for measure in MEASURES
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _measured(table: pd.DataFrame, settings: EvaluateConfig) -> dict[str, float]:
    y_true, y_score = _answers(table)
    found = bootstrap.measures(np.ones((1, len(table))), y_true, y_score, settings.threshold)
    return {name: float(value[0]) for name, value in found.items()}


def _resampled(table: pd.DataFrame, settings: EvaluateConfig) -> dict[str, Floats]:
    patients = table["patient_id"].to_numpy()
    return bootstrap.resampled_measures(*_answers(table), patients, settings.threshold, settings.bootstrap_samples)


def _answers(table: pd.DataFrame) -> tuple[npt.NDArray[np.int64], Floats]:
    return table["y_true"].to_numpy(dtype=np.int64), table["y_score"].to_numpy(dtype=np.float64)


def _difference(a: float, b: float, drawn: Floats, settings: EvaluateConfig) -> dict[str, Any]:
    """What one row says of the two values, from their difference in every resample, float64 [R]."""
    found = bootstrap.percentiles(drawn, settings.confidence)
    low, high = found.low, found.high
    if math.isnan(a - b):
        low, high, method = math.nan, math.nan, "none: the measure is undefined"
    elif found.constant:
        method = "none: no resample differs, so the bootstrap shows no spread"
    else:
        left_out = f", {found.undefined} of them undefined and left out" if found.undefined else ""
        method = f"paired patient-wise bootstrap, {len(drawn)} resamples{left_out}"
    return {
        "a": a,
        "b": b,
        "difference": a - b,
        "ci_low": low,
        "ci_high": high,
        "undefined": found.undefined,
        "method": method,
    }
