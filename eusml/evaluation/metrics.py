"""All measures of one network's answers on one partition, each with its interval, its counts and how it was made."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from eusml.config import EvaluateConfig, IntervalMethod
from eusml.errors import DataError
from eusml.evaluation import bootstrap
from eusml.evaluation.intervals import METHOD_NAMES, auroc_delong, proportion_interval, score_interval
from eusml.sentences import Sentence, sentence

PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
RESAMPLED = ("balanced_accuracy", "f1", "mcc", "auprc", "brier")
"""No formula fits them: their intervals are resampled always, those of the others only where patients recur."""
MEASURES = (*PROPORTIONS, "balanced_accuracy", "f1", "mcc", "auroc", "auprc", "brier")
UNDEFINED = "undefined (0/0)"
_UNDEFINED_METHOD = sentence("methods.undefined", "none: the measure is undefined")


@dataclass(frozen=True)
class Estimate:
    """One measure and its interval."""

    value: float
    """nan where the measure is 0/0."""
    low: float
    """nan where no honest interval can be given; `method` says why."""
    high: float
    count: int | None
    """Numerator, for proportions."""
    total: int | None
    """Denominator, for proportions; 0 where undefined."""
    method: str
    """How the interval was made, a `Sentence`."""

    def text(self, digits: int = 3) -> str:
        """`26/29 = 0.897 (0.728-0.972)`, without what there is not."""
        if math.isnan(self.value):
            return UNDEFINED
        fraction = "" if self.total is None else f"{self.count}/{self.total} = "
        return f"{fraction}{self.value:.{digits}f} ({interval_text(self.low, self.high, digits)})"


@dataclass(frozen=True)
class Metrics:
    """One network on one partition; the positive class is what `y_true` 1 stands for."""

    estimates: Mapping[str, Estimate]
    """By measure, in the order of `MEASURES`."""
    tp: int
    fp: int
    tn: int
    fn: int
    patients: int
    confidence: float
    """Nominal coverage of every interval."""

    @property
    def cases(self) -> int:
        """Number of images."""
        return self.tp + self.fp + self.tn + self.fn

    @property
    def clustered(self) -> bool:
        """Whether some patient has more than one image."""
        return self.patients < self.cases

    def flat(self, part: str) -> dict[str, float]:
        """`{part}/sensitivity`, `_ci_low`, `_ci_high`, `_count`, `_total` and so on; what is undefined is left out."""
        values: dict[str, float] = {}
        for measure, estimate in self.estimates.items():
            name = f"{part}/{measure}"
            values |= {name: estimate.value, f"{name}_ci_low": estimate.low, f"{name}_ci_high": estimate.high}
            if estimate.count is not None and estimate.total is not None:
                values |= {f"{name}_count": float(estimate.count), f"{name}_total": float(estimate.total)}
        for count in ("tp", "fp", "tn", "fn", "cases", "patients"):
            values[f"{part}/{count}"] = float(getattr(self, count))
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def table(self) -> pd.DataFrame:
        """One row per measure: measure, value, ci_low, ci_high, count, total, method."""
        rows = [
            {
                "measure": measure,
                "value": estimate.value,
                "ci_low": estimate.low,
                "ci_high": estimate.high,
                "count": estimate.count,
                "total": estimate.total,
                "method": estimate.method,
            }
            for measure, estimate in self.estimates.items()
        ]
        table = pd.DataFrame(rows).astype({"count": "Int64", "total": "Int64"})
        # As objects, for pandas' own text keeps no sentences.
        return table.assign(method=pd.Series([row["method"] for row in rows], dtype=object))

    def interval_table(self) -> pd.DataFrame:
        """One row per proportion: measure, count, total, value, `<method>_low` and `_high` of each method, note."""
        note = "several images per patient: all four are too narrow" if self.clustered else ""
        rows = []
        for measure in PROPORTIONS:
            estimate = self.estimates[measure]
            count, total = estimate.count, estimate.total
            assert count is not None
            assert total is not None
            row: dict[str, object] = {"measure": measure, "count": count, "total": total, "value": estimate.value}
            for method in get_args(IntervalMethod):
                low, high = proportion_interval(count, total, method, self.confidence)
                row |= {f"{method}_low": low, f"{method}_high": high}
            rows.append({**row, "note": note})
        return pd.DataFrame(rows)

    def one_line(self) -> str:
        """`accuracy 26/29 = 0.897 (0.728-0.972), AUROC 0.93 (0.80-0.98)`."""
        return f"accuracy {self.estimates['accuracy'].text()}, AUROC {self.estimates['auroc'].text(2)}"


def evaluate(
    y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], patient_id: npt.NDArray[Any], settings: EvaluateConfig
) -> Metrics:
    """Every measure with its interval.

    With one image per patient: the proportions get the chosen binomial interval, AUROC DeLong's, the rest the
    percentile interval of a bootstrap. With several, images are not independent and the first two would be too
    narrow: then patients are resampled for all of them.

    Args:
        y_true: [N], 1 for the positive class and 0 for the other.
        y_score: [N], probability of the positive class, 0 to 1.
        patient_id: [N].
        settings: threshold, interval method, nominal coverage, number of resamples.

    Raises:
        DataError: the three differ in length or are empty, a label is neither 0 nor 1, a score is no probability.
    """
    check_answers(y_true, y_score, patient_id)
    y_true, y_score = y_true.astype(np.int64), y_score.astype(np.float64)
    values = bootstrap.measures(np.ones((1, len(y_true))), y_true, y_score, settings.threshold)
    drawn = bootstrap.resampled_measures(y_true, y_score, patient_id, settings.threshold, settings.bootstrap_samples)
    positive, called = y_true == 1, y_score >= settings.threshold
    members = _denominators(positive, called)
    patients = len(np.unique(patient_id))
    estimates = {}
    method: str
    for measure in MEASURES:
        value = float(values[measure][0])
        count, total = None, None
        if measure in PROPORTIONS:
            count, total = int((members[measure] & (positive == called)).sum()), int(members[measure].sum())
        if math.isnan(value):
            low, high, method = math.nan, math.nan, _UNDEFINED_METHOD
        elif patients < len(y_true) or measure in RESAMPLED:
            low, high, method = _resampled(
                measure, value, drawn[measure], y_true, patient_id, members.get(measure), settings
            )
        elif measure == "auroc":
            area = auroc_delong(y_true, y_score, settings.confidence)
            low, high, method = area.low, area.high, area.method
        else:
            assert count is not None
            assert total is not None
            low, high = proportion_interval(count, total, settings.interval, settings.confidence)
            method = METHOD_NAMES[settings.interval]
        estimates[measure] = Estimate(value, low, high, count, total, method)
    return Metrics(
        MappingProxyType(estimates),
        tp=int((positive & called).sum()),
        fp=int((~positive & called).sum()),
        tn=int((~positive & ~called).sum()),
        fn=int((positive & ~called).sum()),
        patients=patients,
        confidence=settings.confidence,
    )


def evaluate_answers(predictions: pd.DataFrame, settings: EvaluateConfig) -> Metrics:
    """`evaluate` of a table of answers: columns y_true, y_score, patient_id."""
    y_true, y_score, patient_id = (predictions[name].to_numpy() for name in ("y_true", "y_score", "patient_id"))
    return evaluate(y_true, y_score, patient_id, settings)


def check_answers(y_true: npt.NDArray[Any], y_score: npt.NDArray[Any], patient_id: npt.NDArray[Any]) -> None:
    """Refuse what no measure can be computed from.

    Raises:
        DataError: as `evaluate`.
    """
    if not len(y_true) == len(y_score) == len(patient_id):
        raise DataError(
            f"{len(y_true)} labels, {len(y_score)} scores and {len(patient_id)} patients do not belong together"
        )
    if len(y_true) == 0:
        raise DataError("there are no cases to measure on")
    if not np.isin(y_true, (0, 1)).all():
        raise DataError(f"y_true must be 0 or 1, found {np.unique(y_true)[:5].tolist()}")
    outside = ~((y_score >= 0) & (y_score <= 1))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(f"y_score must be a probability from 0 to 1, found {y_score[row]} in row {row}")


def interval_text(low: float, high: float, digits: int = 3) -> str:
    """`0.728-0.972`, or `no interval`."""
    return "no interval" if math.isnan(low) else f"{low:.{digits}f}-{high:.{digits}f}"


Mask = npt.NDArray[np.bool_]


def _denominators(positive: Mask, called: Mask) -> dict[str, Mask]:
    """For each proportion the cases in its denominator; its numerator are those called rightly."""
    groups = (positive, ~positive, called, ~called, np.ones_like(positive))
    return dict(zip(PROPORTIONS, groups, strict=True))


def _resampled(
    measure: str,
    value: float,
    drawn: npt.NDArray[np.float64],
    y_true: npt.NDArray[np.int64],
    patient_id: npt.NDArray[Any],
    members: Mask | None,
    settings: EvaluateConfig,
) -> tuple[float, float, str]:
    """Low, high and method of the bootstrap interval, or of what takes its place where resampling shows no spread.

    A measure that is the same in every resample (15 of 15 right) has no percentile interval: [1, 1] would claim a
    certainty that is not there. Proportions and AUROC then get the interval of as many independent observations as
    there are patients, which holds however alike the images of one patient are; the others get none.
    """
    found = bootstrap.percentiles(drawn, settings.confidence)
    if not found.constant:
        return found.low, found.high, bootstrap_method(len(drawn), found.undefined)
    if members is not None and value in (0.0, 1.0):
        patients = len(np.unique(patient_id[members]))
        low, high = proportion_interval(int(value) * patients, patients, settings.interval, settings.confidence)
        template = "{method} over {patients} patients: no resample differs"
        name = METHOD_NAMES[settings.interval]
        return low, high, sentence("methods.of_patients", template, method=name, patients=patients)
    if measure == "auroc":
        positives, negatives = (len(np.unique(patient_id[y_true == label])) for label in (1, 0))
        low, high = score_interval(value, positives, negatives, settings.confidence)
        template = "Newcombe's method 5 over {positives} + {negatives} patients: no resample differs"
        return low, high, sentence("methods.newcombe_patients", template, positives=positives, negatives=negatives)
    why = sentence("methods.no_spread", "none: no resample differs, so the bootstrap shows no spread")
    return math.nan, math.nan, why


def bootstrap_method(samples: int, undefined: int = 0) -> Sentence:
    """What a bootstrap interval is called.

    Args:
        samples: resamples that were drawn.
        undefined: those of them in which the measure is undefined.
    """
    if not undefined:
        return sentence("methods.bootstrap", "patient-wise bootstrap, {samples} resamples", samples=samples)
    return sentence(
        "methods.bootstrap_undefined",
        "patient-wise bootstrap, {samples} resamples, {undefined} of them undefined and left out",
        samples=samples,
        undefined=undefined,
    )
