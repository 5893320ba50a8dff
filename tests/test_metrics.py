import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eusml.config import EvaluateConfig
from eusml.errors import DataError
from eusml.evaluation.metrics import MEASURES, PROPORTIONS, Metrics, evaluate

QUICK = EvaluateConfig(bootstrap_samples=100)


def paper_cases() -> tuple[np.ndarray, np.ndarray]:
    """12 of 14 and 14 of 15 right."""
    y_true = np.repeat([1, 0], [14, 15])
    y_score = np.concatenate([np.linspace(0.6, 0.9, 12), [0.2, 0.3], np.linspace(0.05, 0.4, 14), [0.8]])
    return y_true, y_score


def measured(images_per_patient: int = 1, **changed: Any) -> Metrics:
    y_true, y_score = paper_cases()
    return evaluate(y_true, y_score, np.arange(29) // images_per_patient, QUICK.model_copy(update=changed))


def test_counts_and_intervals_are_the_papers_adjusted_wald_ones() -> None:
    result = measured()
    assert (result.tp, result.fn, result.tn, result.fp) == (12, 2, 14, 1)
    found = {
        name: (e.count, e.total, round(100 * e.low, 2), round(100 * e.high, 2))
        for name, e in result.estimates.items()
        if name in PROPORTIONS
    }
    assert found == {
        "sensitivity": (12, 14, 58.81, 97.24),
        "specificity": (14, 15, 68.16, 100.0),
        "ppv": (12, 13, 64.58, 100.0),
        "npv": (14, 16, 62.72, 97.76),
        "accuracy": (26, 29, 72.81, 97.22),
    }
    assert result.one_line().startswith("accuracy 26/29 = 0.897 (0.728-0.972), AUROC 0.90 (0.")
    assert tuple(result.estimates) == MEASURES


SCORES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 20).map(lambda tenth: tenth / 20)), min_size=2, max_size=40
).filter(lambda rows: all(score != 0.5 for _, score in rows))


@settings(max_examples=60)
@given(rows=SCORES, method=st.sampled_from(["adjusted_wald", "wilson"]), images_per_patient=st.integers(1, 3))
def test_intervals_hold_the_value_and_swapping_the_classes_swaps_the_measures(
    rows: list[tuple[int, float]], method: str, images_per_patient: int
) -> None:
    y_true, y_score = (np.array(column) for column in zip(*rows, strict=True))
    patients = np.arange(len(rows)) // images_per_patient
    chosen = QUICK.model_copy(update={"interval": method})
    result, swapped = evaluate(y_true, y_score, patients, chosen), evaluate(1 - y_true, 1 - y_score, patients, chosen)
    if images_per_patient == 1:
        for name in (*PROPORTIONS, "auroc"):
            estimate = result.estimates[name]
            assert math.isnan(estimate.value) or estimate.low <= estimate.value <= estimate.high
    assert (swapped.tp, swapped.fp, swapped.tn, swapped.fn) == (result.tn, result.fn, result.tp, result.fp)
    for name, other in (
        ("sensitivity", "specificity"),
        ("ppv", "npv"),
        ("accuracy", "accuracy"),
        ("mcc", "mcc"),
        ("auroc", "auroc"),
        ("brier", "brier"),
    ):
        a, b = result.estimates[name], swapped.estimates[other]
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), nan_ok=True, abs=1e-9)
        assert (a.count, a.total) == (b.count, b.total)


def test_undefined_is_neither_zero_nor_one() -> None:
    result = evaluate(np.zeros(8), np.full(8, 0.1), np.arange(8), QUICK)
    sensitivity = result.estimates["sensitivity"]
    assert math.isnan(sensitivity.value)
    assert math.isnan(sensitivity.low)
    assert (sensitivity.count, sensitivity.total) == (0, 0)
    assert sensitivity.text() == "undefined (0/0)"
    assert "undefined" in sensitivity.method
    assert result.one_line().endswith("AUROC undefined (0/0)")
    flat = result.flat("test")
    assert "test/sensitivity" not in flat
    assert "test/sensitivity_ci_low" not in flat
    assert (flat["test/sensitivity_count"], flat["test/sensitivity_total"]) == (0.0, 0.0)
    assert flat["test/specificity"] == 1.0
    assert not any(math.isnan(value) for value in flat.values())


def test_flat_names_are_those_of_the_runs() -> None:
    flat = measured().flat("fresh")
    assert flat["fresh/sensitivity"] == pytest.approx(12 / 14)
    assert flat["fresh/sensitivity_ci_low"] == pytest.approx(0.5881, abs=5e-5)
    assert (flat["fresh/accuracy_count"], flat["fresh/accuracy_total"]) == (26.0, 29.0)
    assert (flat["fresh/tp"], flat["fresh/fp"], flat["fresh/tn"], flat["fresh/fn"]) == (12.0, 1.0, 14.0, 2.0)
    assert "fresh/auroc_count" not in flat
    assert flat["fresh/auroc_ci_low"] < flat["fresh/auroc"] < flat["fresh/auroc_ci_high"]


def test_a_case_at_the_threshold_is_called_positive() -> None:
    y_true, y_score = np.array([1, 0, 1, 0]), np.array([0.5, 0.49, 0.7, 0.2])
    assert evaluate(y_true, y_score, np.arange(4), QUICK).fn == 0
    assert evaluate(y_true, y_score, np.arange(4), QUICK.model_copy(update={"threshold": 0.6})).fn == 1


def test_several_images_per_patient_are_resampled_by_patient_and_say_so() -> None:
    single, several = measured(), measured(images_per_patient=2)
    assert (single.patients, several.patients) == (29, 15)
    for name in (*PROPORTIONS, "auroc"):
        assert "bootstrap" not in single.estimates[name].method
        assert "patient-wise bootstrap, 100 resamples" in several.estimates[name].method
        assert several.estimates[name].value == single.estimates[name].value
        assert several.estimates[name].total == single.estimates[name].total
    assert several.interval_table()["note"].str.contains("too narrow").all()
    assert (single.interval_table()["note"] == "").all()


def test_perfect_answers_claim_no_certainty() -> None:
    y_true = np.repeat([1, 0], [14, 16])
    result = evaluate(y_true, 0.1 + 0.8 * y_true, np.arange(30) // 2, QUICK)
    # As sure as 7, 8 and 15 independent patients allow, not 14, 16 and 30 images.
    assert result.estimates["sensitivity"].low == pytest.approx(0.5956, abs=5e-5)
    assert result.estimates["accuracy"].low == pytest.approx(0.7614, abs=5e-5)
    assert "over 7 patients" in result.estimates["sensitivity"].method
    assert "7 + 8 patients" in result.estimates["auroc"].method
    assert 0.6 < result.estimates["auroc"].low < 0.8
    for name in ("f1", "mcc", "balanced_accuracy"):
        estimate = result.estimates[name]
        assert estimate.value == 1.0
        assert math.isnan(estimate.low)
        assert "no spread" in estimate.method
        assert estimate.text() == "1.000 (no interval)"
        assert f"test/{name}_ci_low" not in result.flat("test")


@pytest.mark.parametrize("images_per_patient", [1, 2])
def test_every_interval_holds_the_asked_confidence(images_per_patient: int) -> None:
    narrow, wide = (measured(images_per_patient, confidence=confidence) for confidence in (0.8, 0.99))
    for name in MEASURES:
        a, b = narrow.estimates[name], wide.estimates[name]
        assert b.high - b.low > a.high - a.low > 0, name
    if images_per_patient == 1:
        columns = ["wilson_low", "wald_low", "clopper_pearson_low", "adjusted_wald_low"]
        assert (wide.interval_table()[columns] < narrow.interval_table()[columns]).all(axis=None)


def test_chosen_method_is_the_one_in_the_interval_table() -> None:
    for method in ("adjusted_wald", "wilson", "clopper_pearson", "wald"):
        result = measured(interval=method)
        table = result.interval_table().set_index("measure")
        for name in PROPORTIONS:
            estimate = result.estimates[name]
            assert (estimate.low, estimate.high) == tuple(table.loc[name, [f"{method}_low", f"{method}_high"]])
    assert (
        len({measured(interval=m).estimates["ppv"].low for m in ("adjusted_wald", "wilson", "clopper_pearson", "wald")})
        == 4
    )


def test_table_has_a_row_per_measure_with_whole_counts() -> None:
    table = measured().table()
    assert list(table.columns) == ["measure", "value", "ci_low", "ci_high", "count", "total", "method"]
    assert table["measure"].tolist() == list(MEASURES)
    assert table.set_index("measure").loc["accuracy", "count"] == 26
    assert table.to_csv(index=False).splitlines()[5].split(",")[4:6] == ["26", "29"]


def test_what_cannot_be_measured_is_refused() -> None:
    y_true, y_score = paper_cases()
    patients = np.arange(29)
    with pytest.raises(DataError, match="28 labels, 29 scores and 29 patients"):
        evaluate(y_true[1:], y_score, patients, QUICK)
    with pytest.raises(DataError, match="no cases"):
        evaluate(y_true[:0], y_score[:0], patients[:0], QUICK)
    with pytest.raises(DataError, match=r"y_true must be 0 or 1, found \[0, 2\]"):
        evaluate(2 * y_true, y_score, patients, QUICK)
    for wrong in (math.nan, 1.2, -0.1):
        y_score[3] = wrong
        with pytest.raises(DataError, match=rf"found {wrong} in row 3"):
            evaluate(y_true, y_score, patients, QUICK)
