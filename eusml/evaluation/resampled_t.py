"""Corrected resampled t-test: two ways of training, compared over the folds of a (repeated) cross-validation.

Source: Nadeau and Bengio 2003 (doi:10.1023/A:1024068626366). Folds share most of their training cases, so their
differences are not independent, and a plain t-test finds far too much; the variance is enlarged by the ratio of test
to training cases.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t as student

from eusml.errors import DataError
from eusml.evaluation.alignment import check_equal, same_cases
from eusml.evaluation.intervals import components
from eusml.evaluation.paired_tests import holm

Floats = npt.NDArray[np.float64]

MEASURES = ("accuracy", "auroc", "log_loss")
"""Of log loss, less is better."""
_COLUMNS = (
    "arm_a", "arm_b", "measure", "a", "b", "difference", "ci_low", "ci_high", "t", "p", "p_holm", "folds", "left_out",
    "method",
)  # fmt: skip
_NEVER_SURE = float(np.finfo(np.float64).eps)
"""Scores count as at least this far from 0 and 1 in log loss: one sure error is costly there and not infinite."""


@dataclass(frozen=True)
class ResampledT:
    """Mean difference over folds; nan where nothing can be said."""

    difference: float
    low: float
    high: float
    t: float
    p: float
    """Two-sided."""
    folds: int
    """How many were used."""
    left_out: int
    """Folds in which the measure is undefined."""
    method: str


def corrected_t(differences: Floats, test_cases: Floats, train_cases: Floats, confidence: float) -> ResampledT:
    """The test and its interval: variance times 1/J + test cases / training cases, J - 1 degrees of freedom.

    Fewer than two folds, or differences that are all equal, give no p: no spread was seen, which is no proof that
    there is none.

    Args:
        differences: float64 [J], first minus second in each fold; nan where undefined, which is left out.
        test_cases: [J], how many cases each fold was measured on.
        train_cases: [J], how many its networks were trained on; the ratio of the two is averaged over the folds used.
        confidence: nominal coverage of the interval, in (0, 1).
    """
    used = ~np.isnan(differences)
    values, folds = differences[used], int(used.sum())
    left_out = len(differences) - folds
    method = f"corrected resampled t-test, {folds} folds"
    if left_out:
        method += f"; {left_out} left out, where the measure is undefined"
    difference = float(values.mean()) if folds else math.nan
    # Sums in another order differ in the last digits only.
    if folds < 2 or np.ptp(values) < 1e-12:
        why = "fewer than 2 folds" if folds < 2 else "all folds differ by the same"
        nan = math.nan
        return ResampledT(difference, nan, nan, nan, nan, folds, left_out, f"{method}; no test: {why}")
    ratio = float((test_cases[used] / train_cases[used]).mean())
    error = math.sqrt(float(values.var(ddof=1)) * (1 / folds + ratio))
    half = float(student.ppf((1 + confidence) / 2, folds - 1)) * error
    p = float(2 * student.sf(abs(difference) / error, folds - 1))
    return ResampledT(difference, difference - half, difference + half, difference / error, p, folds, left_out, method)


def compare_folds(predictions: Mapping[str, pd.DataFrame], confidence: float) -> pd.DataFrame:
    """Every pair of arms, measure by measure.

    Args:
        predictions: arm to its answers with columns case_id, patient_id, y_true, y_score, y_pred, fold and, when
            repeated, repeat. Every network was trained on all other cases of its repeat.
        confidence: nominal coverage of the intervals, each for itself.

    Returns:
        Columns arm_a, arm_b, measure, a, b (means over the folds used), difference, ci_low, ci_high, t, p, p_holm
        (corrected for the pairs of the measure), folds, left_out, method.

    Raises:
        DataError: as `same_cases`, or two arms had other folds, or a repeat has one fold only.
    """
    aligned = same_cases(predictions)
    check_equal(aligned, ("fold",))
    sizes = _sizes(next(iter(aligned.values())))
    measured = {arm: _measured(table) for arm, table in aligned.items()}
    rows: list[dict[str, Any]] = []
    for measure in MEASURES:
        tested = [
            {"arm_a": a, "arm_b": b, "measure": measure}
            | _tested(measured[a][measure], measured[b][measure], sizes, confidence)
            for a, b in combinations(aligned, 2)
        ]
        corrected = holm([row["p"] for row in tested])
        rows += [{**row, "p_holm": p} for row, p in zip(tested, corrected, strict=True)]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def sentences(table: pd.DataFrame) -> list[str]:
    """The rows of `compare_folds` in words, one sentence each."""
    texts = []
    for row in table.to_dict("records"):
        value, low, high = (row[name] for name in ("difference", "ci_low", "ci_high"))
        interval = "no interval" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}"
        seen = "undefined" if math.isnan(value) else f"{value:+.3f} ({interval})"
        texts.append(
            f"{row['arm_a']} against {row['arm_b']}, {row['measure']} averaged over folds: {seen}, p {row['p']:.2g}, "
            f"for all pairs {row['p_holm']:.2g} ({row['method']})."
        )
    return texts


def _tested(a: "pd.Series[float]", b: "pd.Series[float]", sizes: pd.DataFrame, confidence: float) -> dict[str, Any]:
    """One row of the table, from a measure of two arms by fold."""
    differences = np.asarray(a - b, dtype=np.float64)
    test, train = (sizes[name].to_numpy(dtype=np.float64) for name in ("test", "train"))
    result = corrected_t(differences, test, train, confidence)
    used = ~np.isnan(differences)
    means = {"a": float(a[used].mean()), "b": float(b[used].mean())}
    found = {**vars(result), "ci_low": result.low, "ci_high": result.high}
    return means | {name: found[name] for name in _COLUMNS if name in found}


def _measured(table: pd.DataFrame) -> pd.DataFrame:
    """Every measure in every fold, in the order of `_sizes`."""
    return pd.DataFrame([_measures(rows) for _, rows in table.groupby(_fold_keys(table))])


def _measures(rows: pd.DataFrame) -> dict[str, float]:
    y_true, y_score = rows["y_true"].to_numpy(dtype=np.int64), rows["y_score"].to_numpy(dtype=np.float64)
    both = 0 < y_true.sum() < len(y_true)
    of_truth = np.clip(np.where(y_true == 1, y_score, 1 - y_score), _NEVER_SURE, 1 - _NEVER_SURE)
    return {
        "accuracy": float((rows["y_pred"].to_numpy() == y_true).mean()),
        "auroc": float(components(y_true, y_score[None, :]).auroc[0]) if both else math.nan,
        "log_loss": float(-np.log(of_truth).mean()),
    }


def _sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Columns test and train: how many cases every fold was measured on, and how many others its repeat holds.

    Raises:
        DataError: a repeat has one fold only, so that its training cases are not known.
    """
    test = table.groupby(_fold_keys(table)).size()
    whole = test.groupby(level=0).transform("sum") if "repeat" in table.columns else test.sum()
    train = whole - test
    if (train == 0).any():
        raise DataError("a repeat has one fold only, and the corrected t-test compares folds; make two or more")
    return pd.DataFrame({"test": test, "train": train})


def _fold_keys(table: pd.DataFrame) -> list[str]:
    return ["repeat", "fold"] if "repeat" in table.columns else ["fold"]
