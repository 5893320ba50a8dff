"""Expected calibration error against values worked out by hand, and against scores that are right by construction."""

import numpy as np
import pytest

from eusml.evaluation.calibration import calibration_error


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
