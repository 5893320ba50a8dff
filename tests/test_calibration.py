"""Expected calibration error against values worked out by hand, and against scores that are right by construction."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize
from scipy.special import expit, logit

from eusml.evaluation.calibration import calibration_error, recalibration
from tests.conftest import answers


def test_by_hand() -> None:
    # Bins of a fifth: 0.1 and 0.15 with no positive (surplus 0.25), 0.5 with a positive (-0.5), 0.9 and 1.0 (-0.1).
    y_score = np.array([0.1, 0.15, 0.5, 0.9, 1.0])
    assert calibration_error(np.array([0, 0, 1, 1, 1]), y_score, bins=5) == pytest.approx((0.25 + 0.5 + 0.1) / 5)


def test_the_ends() -> None:
    y_true = np.array([0, 1, 0, 1])
    assert calibration_error(y_true, y_true.astype(float)) == 0.0
    assert calibration_error(y_true, 1.0 - y_true) == 1.0
    assert calibration_error(y_true, np.full(4, 0.5)) == 0.0


def test_what_a_bin_overstates_another_does_not_make_good() -> None:
    y_true = np.array([0, 0, 1, 1])
    assert calibration_error(y_true, np.array([0.35, 0.35, 0.65, 0.65])) == pytest.approx(0.35)


def test_chance_alone_gives_about_a_tenth_on_60_cases_and_little_on_many() -> None:
    rng = np.random.default_rng(0)

    def mean_error(cases: int) -> float:
        draws = []
        for _ in range(200):
            y_score = rng.uniform(size=cases)
            draws.append(calibration_error((rng.uniform(size=cases) < y_score) * 1, y_score))
        return float(np.mean(draws))

    assert 0.08 < mean_error(60) < 0.16
    assert mean_error(6000) < 0.02


def by_likelihood(y_true: np.ndarray, logit: np.ndarray, *, with_slope: bool) -> tuple[float, float]:
    """Estimate and standard error of the last coefficient, by maximising the likelihood with scipy alone."""

    def loss(at: np.ndarray) -> float:
        eta = at[0] + (at[1] if with_slope else 1.0) * logit
        return float(np.sum(np.logaddexp(0, eta) - y_true * eta))

    found = minimize(loss, [0.0, 1.0] if with_slope else [0.0], method="BFGS", options={"gtol": 1e-8})
    eta = found.x[0] + (found.x[1] if with_slope else 1.0) * logit
    weight = 1 / (2 + np.exp(eta) + np.exp(-eta))
    design = np.column_stack([np.ones_like(logit), logit] if with_slope else [np.ones_like(logit)])
    error = np.sqrt(np.linalg.inv(design.T @ (weight[:, None] * design))[-1, -1])
    return float(found.x[-1]), float(error)


@pytest.mark.parametrize("seed", [0, 1])
def test_intercept_and_slope_are_the_most_likely_ones(seed: int) -> None:
    table = answers(seed, 80)
    table["y_score"] = table["y_score"].clip(0.02, 0.98)
    y_true, y_score = table["y_true"].to_numpy(), table["y_score"].to_numpy()
    found = recalibration(y_true, y_score, table["patient_id"].to_numpy(), 0.95)
    logit = np.log(y_score / (1 - y_score))
    for coefficient, with_slope in ((found.intercept, False), (found.slope, True)):
        value, error = by_likelihood(y_true, logit, with_slope=with_slope)
        assert coefficient.value == pytest.approx(value, abs=1e-4)
        assert coefficient.low == pytest.approx(value - 1.959964 * error, abs=1e-3)
        assert coefficient.high == pytest.approx(value + 1.959964 * error, abs=1e-3)


def test_perfect_probabilities_have_slope_one_and_stretched_ones_less() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 1.5, 20_000)
    y_true = (rng.random(20_000) < 1 / (1 + np.exp(-logit))).astype(int)
    patients = np.arange(20_000)
    right = recalibration(y_true, 1 / (1 + np.exp(-logit)), patients, 0.95)
    assert right.slope.value == pytest.approx(1, abs=0.05)
    assert right.intercept.value == pytest.approx(0, abs=0.05)
    extreme = recalibration(y_true, 1 / (1 + np.exp(-2 * logit)), patients, 0.95)
    assert extreme.slope.value == pytest.approx(0.5, abs=0.03)
    low = recalibration(y_true, 1 / (1 + np.exp(-(logit - 1))), patients, 0.95)
    assert low.intercept.value == pytest.approx(1, abs=0.05)


def test_copies_of_patients_widen_no_confidence() -> None:
    table = answers(0, 60)
    columns = [table[name].to_numpy() for name in ("y_true", "y_score", "patient_id")]
    once = recalibration(*columns, 0.95).slope
    copied = recalibration(*(np.repeat(values, 4) for values in columns), 0.95).slope
    assert copied.value == pytest.approx(once.value, abs=1e-6)
    assert copied.high - copied.low > 0.8 * (once.high - once.low)


@pytest.mark.parametrize(
    ("y_true", "y_score"),
    [([1, 1, 1], [0.2, 0.5, 0.7]), ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]), ([0, 1, 0, 1], [0.5] * 4)],
)
def test_a_slope_that_cases_cannot_tell_is_nan(y_true: list[int], y_score: list[float]) -> None:
    found = recalibration(np.array(y_true), np.array(y_score), np.arange(len(y_true)), 0.95)
    assert np.isnan([found.slope.value, found.slope.low, found.slope.high]).all()


@pytest.mark.parametrize(
    ("y_true", "y_score"),
    [
        (  # Newton's method meets a singular matrix.
            [1, 1, 0, 1, 1, 1, 1, 1, 0, 1],
            [0.997, 0.98, 0.00109, 0.937, 0.621, 0.000262, 1.0, 0.801, 0.00024, 1.0],
        ),
        ([0, 0, 0, 0, 0, 0, 0, 1], [1.0, 1.0, 1.0, 1.0, 1.0, 0.9999, 0.999, 0.0]),
        ([1, 0, 1, 1], [0.0] * 4),  # all alike
        ([1, 0], [1.0, 0.0]),
    ],
)
@pytest.mark.parametrize("patients", [1, 2])
def test_an_intercept_is_found_however_sure_probabilities_are(
    y_true: list[int], y_score: list[float], patients: int
) -> None:
    ids = np.arange(len(y_true)) // patients
    found = recalibration(np.array(y_true), np.array(y_score), ids, 0.95).intercept
    if ids.max() == 0:
        assert math.isnan(found.value)
        return
    at = logit(np.clip(y_score, 1e-6, 1 - 1e-6)) + found.value
    assert expit(at).sum() == pytest.approx(sum(y_true), abs=1e-9)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("images", [1, 3])
def test_an_intercept_and_its_interval_are_those_of_statsmodels(images: int) -> None:
    table = answers(3, 60)
    y_true, y_score = table["y_true"].to_numpy(), np.clip(table["y_score"].to_numpy(), 0.02, 0.98)
    groups = np.arange(60) // images
    how = {"cov_type": "cluster", "cov_kwds": {"groups": groups}} if images > 1 else {}
    model = sm.Logit(y_true, np.ones((60, 1)), offset=logit(y_score)).fit(disp=0, tol=1e-12, **how)
    found = recalibration(y_true, y_score, groups, 0.9).intercept
    expected = [model.params[0], *model.conf_int(alpha=0.1)[0]]
    assert [found.value, found.low, found.high] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("y_true", "steps"),
    [
        ([0, 1, 1, 0, 1, 1, 0, 0, 0, 0], [1, 1, -2, 3, 2, -1, 1, -1, -3, -2]),  # statsmodels meets a singular matrix
        ([0, 1, 0, 0, 1, 1, 0, 0, 0, 0], [-1, -3, 2, 3, -1, 0, 0, -3, -2, -1]),  # it does not converge
    ],
)
def test_a_network_that_says_all_but_the_same_of_everybody_has_no_slope(y_true: list[int], steps: list[int]) -> None:
    found = recalibration(np.array(y_true), 0.7 + 1e-13 * np.array(steps), np.arange(10), 0.95)
    assert np.isnan([found.slope.value, found.slope.low, found.slope.high]).all()
    assert found.intercept.value == pytest.approx(logit(np.mean(y_true)) - logit(0.7))


def test_a_slope_without_an_interval_is_none() -> None:
    found = recalibration(np.array([0, 0, 1, 1]), np.array([0.0, 1.0, 1.0, 0.0]), np.array([0, 0, 1, 1]), 0.95)
    assert math.isnan(found.slope.value)


def test_one_patient_alone_tells_nothing() -> None:
    for y_true, y_score in (([0, 1], [0.3, 0.6]), ([0, 1, 0, 1], [0.3, 0.6, 0.7, 0.2])):
        found = recalibration(np.array(y_true), np.array(y_score), np.zeros(len(y_true)), 0.95)
        numbers = [getattr(of, name) for of in (found.intercept, found.slope) for name in ("value", "low", "high")]
        assert np.isnan(numbers).all()
