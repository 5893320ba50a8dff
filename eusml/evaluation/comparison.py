"""Several arms on the same cases: one table, and what the cases say about each pair, no more than that."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from eusml.config import EvaluateConfig
from eusml.errors import DataError
from eusml.evaluation import bootstrap
from eusml.evaluation.intervals import components
from eusml.evaluation.metrics import check_answers, evaluate

_SHOWN = 5
_FEW_CASES = 100
"""Below this, exact McNemar finds a 10-point difference less than half the time (9 % at 29 cases, 72 % at 142)."""


@dataclass(frozen=True)
class Difference:
    """First minus second, on the same cases; nan where nothing can be said."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided."""


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


def same_cases(predictions: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables, all in the first one's order of cases.

    Raises:
        DataError: two arms were not measured on the same cases, labels or patients; it names the cases.
    """
    aligned: dict[str, pd.DataFrame] = {}
    for arm, table in predictions.items():
        twice = table.loc[table["case_id"].duplicated(), "case_id"].tolist()
        if twice:
            raise DataError(f"{arm}: case {_listed(twice)} stands more than once")
        check_answers(table["y_true"].to_numpy(), table["y_score"].to_numpy(), table["patient_id"].to_numpy())
        if not aligned:
            first, reference = arm, table.reset_index(drop=True)
            aligned[arm] = reference
            continue
        differing = sorted(set(reference["case_id"]) ^ set(table["case_id"]), key=str)
        if differing:
            raise DataError(
                f"{first} and {arm} cannot be compared: only one of them was measured on case {_listed(differing)}"
            )
        ordered = table.set_index("case_id").loc[reference["case_id"]].reset_index()
        for column in ("y_true", "patient_id"):
            differs = ordered[column].to_numpy() != reference[column].to_numpy()
            if differs.any():
                cases = reference.loc[differs, "case_id"].tolist()
                raise DataError(f"{first} and {arm} cannot be compared: {column} differs for case {_listed(cases)}")
        aligned[arm] = ordered
    return aligned


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
    return Difference(difference, max(difference - half, -1.0), min(difference + half, 1.0), p)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction (1979, JSTOR 4615733); nan stays nan and does not count."""
    values = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return [float(value) for value in values]


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
        accuracy = _resampled_difference(accuracy.value, called[0] - called[1], confidence)
        scores = (score_a, score_b)
        areas = [bootstrap.resampled_measures(y_true, score, patients, 0.5, samples)["auroc"] for score in scores]
        auroc = _resampled_difference(auroc.value, areas[0] - areas[1], confidence)
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


def _resampled_difference(value: float, drawn: npt.NDArray[np.float64], confidence: float) -> Difference:
    """Percentile interval, and the p value that goes with it: twice the smaller tail beyond zero, never quite 0."""
    found = bootstrap.percentiles(drawn, confidence)
    if found.constant:
        return Difference(value, math.nan, math.nan, math.nan)
    defined = drawn[~np.isnan(drawn)]
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return Difference(value, found.low, found.high, min(2 * (tail + 1) / (len(defined) + 1), 1.0))


def _signed(value: float, low: float, high: float) -> str:
    interval = "no interval" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}"
    return "undefined" if math.isnan(value) else f"{value:+.3f} ({interval})"


def _listed(values: list[object]) -> str:
    more = len(values) - _SHOWN
    return ", ".join(map(str, values[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
