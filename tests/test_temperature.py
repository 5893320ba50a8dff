import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from eusml.learning.temperature import calibrate, fit_temperature, tempered


def answers(seed: int, count: int, sureness: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels that probabilities hold for, and these probabilities with their logits stretched."""
    rng = np.random.default_rng(seed)
    honest = rng.uniform(0.02, 0.98, count)
    return (rng.random(count) < honest).astype(np.int64), expit(sureness * logit(honest))


@pytest.mark.parametrize(("seed", "sureness"), [(0, 3.0), (1, 0.5), (2, 1.0)])
def test_the_temperature_is_that_of_a_logistic_regression_through_the_origin(seed: int, sureness: float) -> None:
    y_true, y_score = answers(seed, 300, sureness)
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logit(y_score)[:, None], y_true)
    assert fit_temperature(y_true, y_score) == pytest.approx(1 / regression.coef_[0, 0], rel=1e-4)


def test_too_sure_a_network_is_found_out() -> None:
    assert fit_temperature(*answers(3, 20_000, 3.0)) == pytest.approx(3.0, rel=0.05)
    assert fit_temperature(*answers(3, 20_000, 0.5)) == pytest.approx(0.5, rel=0.05)


def test_a_perfect_and_a_hopeless_network_get_a_temperature_too() -> None:
    y_true = np.array([0, 0, 1, 1])
    assert fit_temperature(y_true, np.array([0.0, 0.2, 0.9, 1.0])) == pytest.approx(0.1, rel=0.01)
    assert fit_temperature(y_true, np.array([1.0, 0.8, 0.1, 0.0])) == pytest.approx(10.0, rel=0.01)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0.1, 10.0))
def test_neither_order_nor_side_of_one_half_changes(scores: list[float], temperature: float) -> None:
    before = np.sort(np.array(scores))
    after = tempered(before, temperature)
    assert ((after >= 0) & (after <= 1)).all()
    assert (np.diff(after) >= 0).all()
    # Within rounding of one half itself either side will do.
    clear = np.abs(before - 0.5) > 1e-9
    assert ((after >= 0.5) == (before >= 0.5))[clear].all()


def test_what_is_kept_names_nobody_and_is_in_no_order_of_theirs() -> None:
    y_true, y_score = answers(4, 50, 2.0)
    found = calibrate(y_true, y_score, "50 cases")
    assert list(found.y_score) == sorted(found.y_score)
    assert sorted(zip(found.y_score, found.y_true, strict=True)) == sorted(
        zip(tempered(y_score, found.temperature).tolist(), y_true.tolist(), strict=True)
    )
    other = np.random.default_rng(0).permutation(50)
    assert calibrate(y_true[other], y_score[other], "50 cases").y_score == pytest.approx(found.y_score)
