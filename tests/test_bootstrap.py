import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from eusml.evaluation import bootstrap


def cases(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores on a coarse grid so that many are equal."""
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, 2, count)
    return y_true, np.clip(np.round(rng.normal(0.35 + 0.3 * y_true, 0.25), 1), 0, 1)


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.3, 0.5, 0.75]))
def test_a_weight_of_k_counts_as_k_cases(seed: int, threshold: float) -> None:
    y_true, y_score = cases(30, seed)
    weights = np.random.default_rng(seed + 1).integers(0, 4, 30)
    found = bootstrap.measures(weights[None].astype(float), y_true, y_score, threshold)
    labels, scores = np.repeat(y_true, weights), np.repeat(y_score, weights)
    if len(np.unique(labels)) < 2 or len(np.unique(scores >= threshold)) < 2:
        return
    called = (scores >= threshold).astype(int)
    expected = {
        "sensitivity": oracle.recall_score(labels, called),
        "specificity": oracle.recall_score(labels, called, pos_label=0),
        "ppv": oracle.precision_score(labels, called),
        "npv": oracle.precision_score(labels, called, pos_label=0),
        "accuracy": oracle.accuracy_score(labels, called),
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, called),
        "f1": oracle.f1_score(labels, called),
        "mcc": oracle.matthews_corrcoef(labels, called),
        "auroc": oracle.roc_auc_score(labels, scores),
        "auprc": oracle.average_precision_score(labels, scores),
        "brier": oracle.brier_score_loss(labels, scores),
    }
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(expected)


def test_nothing_divided_by_nothing_is_undefined() -> None:
    one = np.ones((1, 4))
    all_negative = bootstrap.measures(one, np.zeros(4), np.full(4, 0.1), 0.5)
    undefined = {name for name, value in all_negative.items() if math.isnan(value[0])}
    assert undefined == {"sensitivity", "ppv", "balanced_accuracy", "f1", "mcc", "auroc", "auprc"}
    assert all_negative["specificity"][0] == all_negative["accuracy"][0] == 1.0
    none_called = bootstrap.measures(one, np.array([1, 1, 0, 0]), np.full(4, 0.1), 0.5)
    assert math.isnan(none_called["ppv"][0])
    assert math.isnan(none_called["mcc"][0])
    assert none_called["f1"][0] == none_called["sensitivity"][0] == 0.0


def test_images_of_one_patient_are_drawn_together() -> None:
    y_true, y_score = cases(40, 3)
    once = bootstrap.resampled_measures(y_true, y_score, np.arange(40), 0.5, 200)
    twice = bootstrap.resampled_measures(
        np.repeat(y_true, 2), np.repeat(y_score, 2), np.repeat(np.arange(40), 2), 0.5, 200
    )
    # A second copy of every image adds no knowledge: drawn image by image, the spread would shrink.
    for name in once:
        assert twice[name] == pytest.approx(once[name], nan_ok=True)
    apart = bootstrap.resampled_measures(np.repeat(y_true, 2), np.repeat(y_score, 2), np.arange(80), 0.5, 200)
    assert apart["accuracy"].std() < 0.85 * once["accuracy"].std()


def test_resamples_do_not_depend_on_order_or_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    y_true, y_score = cases(30, 4)
    patients = np.array([f"p{i // 2}" for i in range(30)], dtype=object)
    plain = bootstrap.resampled_measures(y_true, y_score, patients, 0.5, 150)
    order = np.random.default_rng(0).permutation(30)
    shuffled = bootstrap.resampled_measures(y_true[order], y_score[order], patients[order], 0.5, 150)
    monkeypatch.setattr(bootstrap, "_CHUNK_NUMBERS", 30 * 7)
    chunked = bootstrap.resampled_measures(y_true, y_score, patients, 0.5, 150)
    for name, values in plain.items():
        assert values.shape == (150,)
        assert shuffled[name] == pytest.approx(values, nan_ok=True)
        assert chunked[name] == pytest.approx(values, nan_ok=True)
    assert np.unique(plain["brier"]).size > 100


def test_percentiles_leave_out_and_count_what_is_undefined() -> None:
    values = np.concatenate([np.linspace(0, 1, 101), np.full(7, math.nan)])
    found = bootstrap.percentiles(values, 0.9)
    assert (found.low, found.high, found.undefined, found.constant) == (
        pytest.approx(0.05),
        pytest.approx(0.95),
        7,
        False,
    )
    for nothing in (np.full(9, math.nan), np.full(9, 1.0)):
        same = bootstrap.percentiles(nothing, 0.9)
        assert same.constant
        assert math.isnan(same.low)
        assert math.isnan(same.high)
