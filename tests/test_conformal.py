import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from eusml.evaluation.conformal import prediction_sets


def scores(rng: np.random.Generator, y_true: np.ndarray) -> np.ndarray:
    return expit(rng.normal(np.where(y_true == 1, 1.0, -1.0), 1.5))


def test_a_label_is_ruled_out_when_too_few_of_its_class_look_as_foreign() -> None:
    # Nine of each class: with the new case itself ten, so p is a count in tenths.
    y_true = np.repeat([0, 1], 9)
    y_score = np.concatenate([np.arange(1, 10), np.arange(11, 20)]) / 20
    asked = np.array([0.0, 0.5, 0.525, 0.96, 0.45])
    sets = prediction_sets(y_true, y_score, asked, 0.1)
    # p of class 1 is (1 + how many of its nine score no higher) / 10, that of class 0 (1 + how many no lower) / 10.
    assert sets.tolist() == [[True, False], [False, False], [False, False], [False, True], [True, False]]
    sets = prediction_sets(y_true, y_score, asked, 0.0999)
    assert sets.all()  # 1/10 is the least p of nine cases, so nothing can be ruled out


def test_a_class_without_calibrating_cases_is_never_ruled_out() -> None:
    sets = prediction_sets(np.zeros(99, np.int64), np.linspace(0, 0.5, 99), np.array([0.01, 0.99]), 0.1)
    assert sets.tolist() == [[True, True], [False, True]]


@pytest.mark.parametrize("error_rate", [0.05, 0.1, 0.3])
def test_cases_of_either_class_keep_their_label_as_often_as_asked(error_rate: float) -> None:
    rng = np.random.default_rng(7)
    kept = {0: 0, 1: 0}
    draws, asked_of_each = 400, 5
    for _ in range(draws):
        y_true = np.repeat([0, 1], [40, 60])
        new = np.repeat([0, 1], asked_of_each)
        sets = prediction_sets(y_true, scores(rng, y_true), scores(rng, new), error_rate)
        for label in (0, 1):
            kept[label] += int(sets[new == label, label].sum())
    total = draws * asked_of_each
    for label, cases in ((0, 40), (1, 60)):
        # Exact for exchangeable cases without ties: the share is ceil((n + 1) (1 - e)) / (n + 1) or what p > e gives.
        exact = 1 - np.floor((cases + 1) * error_rate) / (cases + 1)
        # Answers of one draw hang together, so the binomial spread is doubled.
        spread = 2 * (binom.ppf(0.999, total, exact) - total * exact)
        assert abs(kept[label] - total * exact) < spread
