"""Several arms on the same cases: one table, and what the cases say about each pair, no more than that."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from eusml.config import EvaluateConfig
from eusml.evaluation import bootstrap
from eusml.evaluation.alignment import same_cases
from eusml.evaluation.metrics import evaluate
from eusml.evaluation.paired_tests import accuracy_difference, auroc_difference, holm, resampled_difference

_FEW_CASES = 100
"""Below this, exact McNemar finds a 10-point difference less than half the time (9 % at 29 cases, 72 % at 142)."""


@dataclass(frozen=True)
class PairedResult:
    """Arm A against arm B on the same cases; every difference is A minus B."""

    arm_a: str
    arm_b: str
    cases: int
    patients: int
    confidence: float
    only_a_right: int
    only_b_right: int
    accuracy_difference: float
    accuracy_low: float
    accuracy_high: float
    mcnemar_p: float
    """Exact; nan with several images per patient, for which the test does not hold."""
    accuracy_p: float
    """McNemar's; with several images per patient that of the bootstrap."""
    auroc_difference: float
    auroc_low: float
    auroc_high: float
    auroc_p: float
    accuracy_p_holm: float
    """Corrected for the number of pairs that were tested together (Holm 1979)."""
    auroc_p_holm: float
    method: str

    def sentence(self) -> str:
        """What these cases say about the two in words; an order only where interval and corrected p agree on one."""
        accuracy = self._verdict(
            "accuracy", self.accuracy_low, self.accuracy_high, self.accuracy_p, self.accuracy_p_holm
        )
        auroc = self._verdict("AUROC", self.auroc_low, self.auroc_high, self.auroc_p, self.auroc_p_holm)
        seen = (
            f"{self.arm_a} against {self.arm_b}, {self.cases} cases: {self.only_a_right} right by the first alone, "
            f"{self.only_b_right} by the second alone (p {self.accuracy_p:.2g}); "
            f"accuracy {_signed(self.accuracy_difference, self.accuracy_low, self.accuracy_high)}, {accuracy}; "
            f"AUROC {_signed(self.auroc_difference, self.auroc_low, self.auroc_high)} (p {self.auroc_p:.2g}), {auroc}."
        )
        if "no order" in seen and self.cases < _FEW_CASES:
            seen += f" With {self.cases} cases a difference can hardly be seen: none seen does not mean none there."
        return seen

    def _verdict(self, measure: str, low: float, high: float, p: float, p_holm: float) -> str:
        if math.isnan(low):
            return "no order can be told"
        if low <= 0.0 <= high:
            return "no order can be told: the interval covers zero"
        if not p < 1 - self.confidence:
            return "no order can be told: the test does not bear out the interval"
        if not p_holm < 1 - self.confidence:
            return "no order can be told once all pairs are counted"
        return f"{self.arm_a if low > 0 else self.arm_b} has the higher {measure} here"


def side_by_side(predictions: Mapping[str, pd.DataFrame], settings: EvaluateConfig) -> pd.DataFrame:
    """All arms' measures: one row per arm and measure.

    Args:
        predictions: arm to its answers with columns case_id, patient_id, y_true, y_score.
        settings: as for `evaluate`.

    Returns:
        Columns arm, measure, value, ci_low, ci_high, count, total, method.

    Raises:
        DataError: as `same_cases`.
    """
    tables = []
    for arm, answers in same_cases(predictions).items():
        y_true, y_score, patients = (answers[name].to_numpy() for name in ("y_true", "y_score", "patient_id"))
        tables.append(evaluate(y_true, y_score, patients, settings).table().assign(arm=arm))
    table = pd.concat(tables, ignore_index=True)
    return table[["arm", *table.columns.drop("arm")]]


def compare_all(
    predictions: Mapping[str, pd.DataFrame], *, confidence: float, samples: int = 2000
) -> list[PairedResult]:
    """Every pair of arms, in order, with p values corrected for their number (Holm 1979, JSTOR 4615733).

    Args:
        predictions: arm to its answers with columns case_id, patient_id, y_true, y_score, y_pred.
        confidence: nominal coverage of the intervals, each for itself.
        samples: resamples, where patients have several images.

    Raises:
        DataError: as `same_cases`.
    """
    aligned = same_cases(predictions)
    pairs = [
        _compare_pair(a, aligned[a], b, aligned[b], confidence=confidence, samples=samples)
        for a, b in combinations(aligned, 2)
    ]
    by_accuracy = holm([pair.accuracy_p for pair in pairs])
    by_auroc = holm([pair.auroc_p for pair in pairs])
    return [
        replace(pair, accuracy_p_holm=accuracy, auroc_p_holm=auroc)
        for pair, accuracy, auroc in zip(pairs, by_accuracy, by_auroc, strict=True)
    ]


def _compare_pair(
    name_a: str, a: pd.DataFrame, name_b: str, b: pd.DataFrame, *, confidence: float, samples: int
) -> PairedResult:
    y_true = a["y_true"].to_numpy(dtype=np.int64)
    right_a, right_b = (table["y_pred"].to_numpy(dtype=np.int64) == y_true for table in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    score_a, score_b = (table["y_score"].to_numpy(dtype=np.float64) for table in (a, b))
    accuracy = accuracy_difference(only_a, only_b, len(a), confidence)
    auroc = auroc_difference(y_true, score_a, score_b, confidence)
    mcnemar_p, method = accuracy.p, "exact McNemar, Agresti-Min interval; DeLong"
    patients = a["patient_id"].to_numpy()
    count = int(a["patient_id"].nunique())
    if count < len(a):
        # Images of one patient are not independent: both formulas would be too sure of themselves.
        mcnemar_p, method = math.nan, f"patient-wise bootstrap, {samples} resamples"
        calls = [table["y_pred"].to_numpy(dtype=np.float64) for table in (a, b)]
        called = [bootstrap.resampled_measures(y_true, y_pred, patients, 0.5, samples)["accuracy"] for y_pred in calls]
        accuracy = resampled_difference(accuracy.value, called[0] - called[1], confidence)
        scores = (score_a, score_b)
        areas = [bootstrap.resampled_measures(y_true, score, patients, 0.5, samples)["auroc"] for score in scores]
        auroc = resampled_difference(auroc.value, areas[0] - areas[1], confidence)
    return PairedResult(
        arm_a=name_a,
        arm_b=name_b,
        cases=len(a),
        patients=count,
        confidence=confidence,
        only_a_right=only_a,
        only_b_right=only_b,
        accuracy_difference=accuracy.value,
        accuracy_low=accuracy.low,
        accuracy_high=accuracy.high,
        mcnemar_p=mcnemar_p,
        accuracy_p=accuracy.p,
        auroc_difference=auroc.value,
        auroc_low=auroc.low,
        auroc_high=auroc.high,
        auroc_p=auroc.p,
        accuracy_p_holm=accuracy.p,
        auroc_p_holm=auroc.p,
        method=method,
    )


def _signed(value: float, low: float, high: float) -> str:
    interval = "no interval" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}"
    return "undefined" if math.isnan(value) else f"{value:+.3f} ({interval})"
