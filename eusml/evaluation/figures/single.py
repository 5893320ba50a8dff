"""Figures of single runs: those of the report, with a note below in the place of the caption that a page would give."""

import math
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import pandas as pd

from eusml.evaluation.bands import BAND_SAMPLES, precision_recall_band, roc_band
from eusml.evaluation.calibration import RELIABILITY_BINS, reliability
from eusml.evaluation.figures import counts, course, curves
from eusml.evaluation.figures.drawing import PART_TITLES, Drawing, Frame, Panels
from eusml.evaluation.metrics import Metrics, interval_text

_COURSE = {"train": "training cases", "test": "held-out cases"}
_TOO_NARROW = " They are too narrow, for some patients have several images."


def of_evaluation(
    arm: str,
    metrics: Mapping[str, Metrics],
    answers: Mapping[str, pd.DataFrame],
    classes: tuple[str, str],
    samples: int,
    *,
    synthetic: bool,
    out_of_fold: bool = False,
) -> list[Drawing]:
    """`confusion`, `roc`, `precision_recall` and `calibration` of one network, a panel for each partition.

    Args:
        arm: name of the network.
        metrics: partition to its measures.
        answers: partition to columns y_true, y_score, patient_id.
        classes: the negative and the positive one.
        samples: most resamples behind a band.
        synthetic: whether the images are made up.
        out_of_fold: whether `test` is all cases, cross-validated.
    """
    keys = {part: "all" if out_of_fold and part == "test" else part for part in metrics}
    by_key = {keys[part]: measured for part, measured in metrics.items()}
    arrays = {keys[part]: _arrays(table) for part, table in answers.items()}
    titles = {key: _counted(PART_TITLES.get(key, key), measured) for key, measured in by_key.items()}
    confidence, samples = next(iter(metrics.values())).confidence, min(samples, BAND_SAMPLES)
    percent = f"{100 * confidence:g} %"
    band = f"Bands: pointwise {percent}, patient-wise bootstrap, {samples} resamples."

    def frame(note: str, measure: str = "") -> Frame:
        told = {key: f"{title}\n{_area(by_key[key], measure)}" for key, title in titles.items()} if measure else titles
        return Frame(synthetic, note, titles=told)

    def area(measure: str) -> str:
        found = [measured.estimates[measure] for measured in by_key.values()]
        methods = dict.fromkeys(estimate.method for estimate in found if not math.isnan(estimate.low))
        return f"Intervals of {measure.upper()}: {percent}, {'; '.join(methods) or 'none'}."

    rocs, recalls = (
        {key: {arm: make(*found, confidence, samples)} for key, found in arrays.items()}
        for make in (roc_band, precision_recall_band)
    )
    bins: Panels = {key: {arm: reliability(*found[:2])} for key, found in arrays.items()}
    shares = {key: float(y_true.mean()) for key, (y_true, _, _) in arrays.items()}
    confused = {key: {arm: _counts(measured)} for key, measured in by_key.items()}
    bars = f"{RELIABILITY_BINS} bins of equal width, with positives and cases; bars: 95 % Wilson intervals."
    bars += _TOO_NARROW * any(measured.clustered for measured in by_key.values())
    return [
        counts.confusion(
            "confusion", confused, classes, frame("Number of cases, and of all cases of the same true class.")
        ),
        curves.roc("roc", rocs, frame(f"{band} {area('auroc')} Dotted: chance.", "auroc")),
        curves.precision_recall(
            "precision_recall", recalls, shares, frame(f"{band} {area('auprc')} Dotted: share of positives.", "auprc")
        ),
        curves.calibration("calibration", bins, frame(f"{bars} Dotted: perfect calibration.")),
    ]


def of_comparison(
    table: pd.DataFrame, measure: str, confidence: float, *, synthetic: bool, out_of_fold: bool = False
) -> Drawing:
    """One measure of all networks with intervals, by partition; the figure is called after it.

    Args:
        table: columns part, arm, measure, value, ci_low, ci_high, total, method.
        measure: which one.
        confidence: nominal coverage of the intervals, in (0, 1).
        synthetic: whether the images are made up.
        out_of_fold: whether `test` is all cases, cross-validated.
    """
    # Every case is in the denominator of accuracy.
    cases = table[table["measure"] == "accuracy"].groupby("part")["total"].first()
    rows = table[table["measure"] == measure]
    titles = {part: PART_TITLES.get("all" if out_of_fold and part == "test" else part, part) for part in cases.index}
    named = rows.assign(cases=rows["part"].map(lambda part: f"{titles[part]},\nn = {cases[part]}"))
    methods = "; ".join(dict.fromkeys(rows.loc[rows["ci_low"].notna(), "method"])) or "none"
    name = measure.upper() if measure == "auroc" else measure.capitalize()
    note = f"{name} with its intervals: {100 * confidence:g} %, {methods}. Dotted: one half."
    return counts.forest(measure, named, "cases", "arm", Frame(synthetic, note), reference=0.5)


def of_course(
    name: str, histories: Mapping[str, pd.DataFrame], cases: Mapping[str, int], *, synthetic: bool
) -> Drawing:
    """Learning curves.

    Args:
        name: of the files.
        histories: network to its curve, as `learning_curves` takes them.
        cases: partition, `train` or `test`, to its number of cases, where it is known and the same for all networks.
        synthetic: whether the images are made up.
    """
    known = [f"{cases[part]} {_COURSE[part]}" for part in _COURSE if cases.get(part)]
    note = f"n = {', '.join(known)}. Nothing is chosen or stopped by the held-out curve."
    return course.learning_curves(name, histories, Frame(synthetic, note))


def _arrays(table: pd.DataFrame) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    return table["y_true"].to_numpy(), table["y_score"].to_numpy(), table["patient_id"].to_numpy()


def _counted(title: str, metrics: Metrics) -> str:
    patients = f" images of {metrics.patients} patients" if metrics.clustered else ""
    return f"{title}, n = {metrics.cases}{patients}"


def _area(metrics: Metrics, measure: str) -> str:
    found = metrics.estimates[measure]
    if math.isnan(found.value):
        return f"{measure.upper()} undefined"
    return f"{measure.upper()} {found.value:.3f} ({interval_text(found.low, found.high)})"


def _counts(metrics: Metrics) -> dict[str, float]:
    return {name: getattr(metrics, name) for name in ("tp", "fp", "tn", "fn")}
