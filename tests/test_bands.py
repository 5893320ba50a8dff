"""ROC and precision-recall bands against scikit-learn's curves and the variance that theory gives."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from eusml.evaluation.bands import GRID, precision_recall_band, roc_band


def scored(positives: int, negatives: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y_true = np.repeat([1, 0], [positives, negatives])
    return y_true, norm.cdf(rng.normal(1.2 * y_true, 1)), np.arange(len(y_true))


@pytest.mark.parametrize("decimals", [16, 1])
def test_the_roc_is_that_of_scikit_learn(decimals: int) -> None:
    """Level between two steps, slanting where both classes have cases of one score, as rounded scores have many."""
    y_true, y_score, patients = scored(9, 14)
    y_score = y_score.round(decimals)
    fpr, tpr, _ = roc_curve(y_true, y_score, drop_intermediate=False)
    expected = [_sensitivity(fpr, tpr, x) for x in GRID]
    np.testing.assert_allclose(roc_band(y_true, y_score, patients, 0.95, 100)["tpr"], expected)


def _sensitivity(fpr: np.ndarray, tpr: np.ndarray, x: float) -> float:
    """At a rate, by going along the curve's pieces."""
    found = 0.0
    for x0, x1, y0, y1 in zip(fpr[:-1], fpr[1:], tpr[:-1], tpr[1:], strict=True):
        if x0 <= x + 1e-9:
            found = y1 if x1 <= x + 1e-9 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return found


@pytest.mark.parametrize("decimals", [16, 1])
def test_the_area_below_the_drawn_roc_is_the_auroc(decimals: int) -> None:
    y_true, y_score, patients = scored(9, 14)
    y_score = y_score.round(decimals)
    band = roc_band(y_true, y_score, patients, 0.95, 100)
    area = float(np.trapezoid(band["tpr"], band["fpr"]))
    # Each of at most 14 steps is drawn within a hundredth of where it is.
    assert area == pytest.approx(roc_auc_score(y_true, y_score), abs=0.005)


def test_the_precision_is_that_of_scikit_learn() -> None:
    y_true, y_score, patients = scored(40, 60)
    band = precision_recall_band(y_true, y_score, patients, 0.95, 100)
    precision, recall, _ = precision_recall_curve(y_true, y_score)
    for row in band[band["recall"] > 0].to_dict("records"):
        first = np.flatnonzero(recall >= row["recall"] - 1e-9)[-1]  # the highest threshold that reaches this recall
        assert row["precision"] == pytest.approx(precision[first])


def test_the_width_of_the_roc_band_is_what_theory_says() -> None:
    """Pepe 2003, 5.2.4: of a sensitivity at a false-positive rate, the binomial variance and that of the threshold."""
    m, n, x = 300, 400, 0.2
    band = roc_band(*scored(m, n), 0.95, 2000).set_index("fpr").loc[x]
    threshold = norm.ppf(1 - x)
    sensitivity, slope = norm.sf(threshold - 1.2), norm.pdf(threshold - 1.2) / norm.pdf(threshold)
    error = np.sqrt(sensitivity * (1 - sensitivity) / m + slope**2 * x * (1 - x) / n)
    assert band["tpr_high"] - band["tpr_low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_a_patient_with_copies_counts_once() -> None:
    y_true, y_score, patients = scored(40, 60)
    once = roc_band(y_true, y_score, patients, 0.95, 200)
    copies = roc_band(*(np.repeat(values, 3) for values in (y_true, y_score, patients)), 0.95, 200)
    np.testing.assert_allclose(once, copies)


@pytest.mark.parametrize("band", [roc_band, precision_recall_band])
def test_one_class_has_no_curve(band: object) -> None:
    assert len(band(np.ones(5), np.linspace(0, 1, 5), np.arange(5), 0.95, 100)) == 0  # type: ignore[operator]


def test_parted_classes_have_a_band_without_width() -> None:
    y_true = np.repeat([1, 0], 5)
    band = roc_band(y_true, np.where(y_true == 1, 0.9, 0.1), np.arange(10), 0.95, 100)
    assert (band[["tpr", "tpr_low", "tpr_high"]] == 1).all().all()
