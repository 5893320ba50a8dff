"""Several arms on the same cases: one table, and what the cases say about each pair, no more than that."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from eusml.config import EvaluateConfig
from eusml.evaluation import bootstrap, power
from eusml.evaluation.alignment import same_cases
from eusml.evaluation.metrics import bootstrap_method, evaluate_answers
from eusml.evaluation.paired_tests import accuracy_difference, auroc_difference, holm, resampled_difference
from eusml.evaluation.power import POWER
from eusml.sentences import sentence

PairedMeasure = Literal["accuracy", "auroc"]
EXACT = sentence("methods.mcnemar", "exact McNemar, Agresti-Min interval; DeLong")
PAIRED_MEASURES: tuple[PairedMeasure, ...] = get_args(PairedMeasure)
Order = Literal["a", "b", "undefined", "interval", "test", "pairs"]
"""Which of two arms is better, or what stands against saying so."""


@dataclass(frozen=True)
class PairedResult:
    """Arm A against arm B on the same cases; every difference is A minus B."""

    arm_a: str
    arm_b: str
    cases: int
    repeats: int
    """How many times every case was answered, by networks of different folds; 1 but for repeated cross-validation."""
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
    level: float
    """What p must be below to count whatever the other pairs say: 1 - confidence, shared among all pairs."""
    smallest_accuracy_difference: float
    """Smallest true difference that would be seen at `level` with power 0.8; nan where none could have been."""
    smallest_auroc_difference: float
    method: str

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "PairedResult":
        """Back from `vars`, also by way of JSON, which has null for what is not a number.

        Raises:
            TypeError: not such a dictionary.
        """
        known: dict[str, Any] = {name: math.nan if value is None else value for name, value in fields.items()}
        return cls(**known)

    def order(self, measure: PairedMeasure) -> Order:
        """Which arm is better, or why neither can be said to be: interval, test and corrected test must agree."""
        low, high, p, p_holm = (getattr(self, f"{measure}_{name}") for name in ("low", "high", "p", "p_holm"))
        if math.isnan(low):
            return "undefined"
        if low <= 0.0 <= high:
            return "interval"
        if not p < 1 - self.confidence:
            return "test"
        if not p_holm < 1 - self.confidence:
            return "pairs"
        return "a" if low > 0 else "b"

    def better(self, measure: PairedMeasure) -> str | None:
        """Name of the arm that is better; None where no order can be told."""
        return {"a": self.arm_a, "b": self.arm_b}.get(self.order(measure))

    def sentence(self) -> str:
        """What these cases say about the two in words."""
        accuracy, auroc = self._verdict("accuracy", "accuracy"), self._verdict("auroc", "AUROC")
        cases = f"{self.cases} cases" + (f" in each of {self.repeats} repeats" if self.repeats > 1 else "")
        seen = (
            f"{self.arm_a} against {self.arm_b}, {cases}: {self.only_a_right} right by the first alone, "
            f"{self.only_b_right} by the second alone (p {self.accuracy_p:.2g}); "
            f"accuracy {_signed(self.accuracy_difference, self.accuracy_low, self.accuracy_high)}, {accuracy}; "
            f"AUROC {_signed(self.auroc_difference, self.auroc_low, self.auroc_high)} (p {self.auroc_p:.2g}), {auroc}."
        )
        if "no order" in seen:
            return f"{seen} {self._could_have_seen()}: none seen does not mean none there."
        return f"{seen} {self._could_have_seen()}."

    def _could_have_seen(self) -> str:
        accuracy = _at_least("accuracy", self.smallest_accuracy_difference)
        auroc = _at_least("AUROC", self.smallest_auroc_difference)
        return (
            f"These {self.cases} cases could have shown {accuracy} and {auroc} (power {POWER}, level {self.level:.2g})"
        )

    def _verdict(self, measure: PairedMeasure, called: str) -> str:
        better = self.better(measure)
        return f"{better} has the higher {called} here" if better else _NO_ORDER[self.order(measure)]


_NO_ORDER: Mapping[str, str] = {
    "undefined": "no order can be told",
    "interval": "no order can be told: the interval covers zero",
    "test": "no order can be told: the test does not bear out the interval",
    "pairs": "no order can be told once all pairs are counted",
}


def side_by_side(predictions: Mapping[str, pd.DataFrame], settings: EvaluateConfig) -> pd.DataFrame:
    """All arms' measures: one row per arm and measure.

    Args:
        predictions: arm to its answers with columns case_id, patient_id, y_true, y_score.
        settings: as for `evaluate_answers`.

    Returns:
        Columns arm, measure, value, ci_low, ci_high, count, total, method.

    Raises:
        DataError: as `same_cases`.
    """
    tables = [
        evaluate_answers(answers, settings).table().assign(arm=arm) for arm, answers in same_cases(predictions).items()
    ]
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
    names = list(combinations(aligned, 2))
    # Holm asks this of the smallest p and less of the others, so it is enough whatever they are.
    level = (1 - confidence) / max(len(names), 1)
    pairs = [
        _compare_pair(a, aligned[a], b, aligned[b], confidence=confidence, level=level, samples=samples)
        for a, b in names
    ]
    by_accuracy = holm([pair.accuracy_p for pair in pairs])
    by_auroc = holm([pair.auroc_p for pair in pairs])
    return [
        replace(pair, accuracy_p_holm=accuracy, auroc_p_holm=auroc)
        for pair, accuracy, auroc in zip(pairs, by_accuracy, by_auroc, strict=True)
    ]


def _compare_pair(
    name_a: str, a: pd.DataFrame, name_b: str, b: pd.DataFrame, *, confidence: float, level: float, samples: int
) -> PairedResult:
    y_true = a["y_true"].to_numpy(dtype=np.int64)
    right_a, right_b = (table["y_pred"].to_numpy(dtype=np.int64) == y_true for table in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    score_a, score_b = (table["y_score"].to_numpy(dtype=np.float64) for table in (a, b))
    accuracy = accuracy_difference(only_a, only_b, len(a), confidence)
    auroc = auroc_difference(y_true, score_a, score_b, confidence)
    mcnemar_p, method = accuracy.p, EXACT
    smallest = power.smallest_accuracy_difference(len(a), (only_a + only_b) / len(a), level)
    patients = int(a["patient_id"].nunique())
    if patients < len(a):
        # Images of one patient are not independent: both formulas would be too sure of themselves.
        mcnemar_p, method = math.nan, bootstrap_method(samples)
        accuracy = resampled_difference(accuracy.value, _drawn(a, b, "y_pred", "accuracy", samples), confidence)
        auroc = resampled_difference(auroc.value, _drawn(a, b, "y_score", "auroc", samples), confidence)
        smallest = power.smallest_difference(accuracy.standard_error, level)
    return PairedResult(
        arm_a=name_a,
        arm_b=name_b,
        cases=int(a["case_id"].nunique()),
        repeats=int(a["repeat"].nunique()) if "repeat" in a.columns else 1,
        patients=patients,
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
        level=level,
        smallest_accuracy_difference=smallest,
        smallest_auroc_difference=power.smallest_difference(auroc.standard_error, level),
        method=method,
    )


def _drawn(a: pd.DataFrame, b: pd.DataFrame, column: str, measure: str, samples: int) -> npt.NDArray[np.float64]:
    """float64 [R], the difference of a measure in every resample of the patients."""
    y_true, patients = a["y_true"].to_numpy(dtype=np.int64), a["patient_id"].to_numpy()
    of_a, of_b = (
        bootstrap.resampled_measures(y_true, table[column].to_numpy(np.float64), patients, 0.5, samples)[measure]
        for table in (a, b)
    )
    return of_a - of_b


def _at_least(measure: str, smallest: float) -> str:
    if math.isnan(smallest):
        return f"no difference of {measure} however large"
    # Rounded up, for a smaller one could not have been seen.
    return f"a difference of {measure} of {math.ceil(100 * smallest) / 100:.2f} or more"


def _signed(value: float, low: float, high: float) -> str:
    interval = "no interval" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}"
    return "undefined" if math.isnan(value) else f"{value:+.3f} ({interval})"
