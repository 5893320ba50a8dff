import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm
from sklearn.metrics import roc_auc_score

from eusml.config import IntervalMethod
from eusml.evaluation.intervals import auroc_delong, components, proportion_interval, score_interval

COUNTS = st.integers(1, 200).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


def by_hand(count: int, total: int, method: IntervalMethod, confidence: float) -> tuple[float, float]:
    if method in ("wilson", "clopper_pearson"):
        name = {"wilson": "wilson", "clopper_pearson": "exact"}[method]
        found = binomtest(count, total).proportion_ci(confidence, method=name)
        return found.low, found.high
    z = norm.ppf((1 + confidence) / 2)
    if method == "adjusted_wald":
        count, total = count + z**2 / 2, total + z**2
    p = count / total
    half = z * math.sqrt(p * (1 - p) / total)
    return max(p - half, 0.0), min(p + half, 1.0)


@settings(max_examples=60)
@given(
    counts=COUNTS,
    method=st.sampled_from(["adjusted_wald", "wilson", "clopper_pearson", "wald"]),
    confidence=st.sampled_from([0.8, 0.95, 0.99]),
)
def test_proportions_agree_with_scipy_and_the_textbook_and_hold_the_estimate(
    counts: tuple[int, int], method: IntervalMethod, confidence: float
) -> None:
    count, total = counts
    low, high = proportion_interval(count, total, method, confidence)
    assert (low, high) == pytest.approx(by_hand(count, total, method, confidence), abs=1e-9)
    assert 0.0 <= low <= count / total + 1e-12
    assert count / total - 1e-12 <= high <= 1.0


def test_no_cases_no_interval() -> None:
    assert all(math.isnan(bound) for bound in proportion_interval(0, 0, "wilson", 0.95))


def covered(method: IntervalMethod, total: int, p: float) -> float:
    """Exact coverage: the chance of all counts whose interval holds p."""
    bounds = [proportion_interval(count, total, method, 0.95) for count in range(total + 1)]
    return float(sum(binom.pmf(count, total, p) for count, (low, high) in enumerate(bounds) if low <= p <= high))


@pytest.mark.parametrize("p", [0.5, 0.7, 0.8, 0.91, 0.95, 0.99])
def test_adjusted_wald_covers_what_it_says_where_plain_wald_does_not(p: float) -> None:
    assert covered("adjusted_wald", 14, p) >= 0.93
    if p > 0.9:
        assert covered("wald", 14, p) < 0.75


SCORES = st.lists(st.integers(0, 6), min_size=2, max_size=25)


def textbook(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas [K] and their covariance [K, K] from all pairs, as DeLong et al. write it."""
    wins = (positive[:, :, None] > negative[:, None, :]) + 0.5 * (positive[:, :, None] == negative[:, None, :])
    areas = wins.mean(axis=(1, 2))
    k, m, n = wins.shape
    s10, s01 = np.zeros((k, k)), np.zeros((k, k))
    for r in range(k):
        for s in range(k):
            v10 = [(wins[r, i].mean() - areas[r]) * (wins[s, i].mean() - areas[s]) for i in range(m)]
            v01 = [(wins[r, :, j].mean() - areas[r]) * (wins[s, :, j].mean() - areas[s]) for j in range(n)]
            s10[r, s], s01[r, s] = sum(v10) / (m - 1), sum(v01) / (n - 1)
    return areas, s10 / m + s01 / n


@settings(max_examples=80)
@given(data=st.data(), m=st.integers(2, 12), n=st.integers(2, 12))
def test_fast_components_are_the_textbook_ones_with_ties(data: st.DataObject, m: int, n: int) -> None:
    scores = np.array(data.draw(st.lists(st.integers(0, 5), min_size=2 * (m + n), max_size=2 * (m + n))), float)
    scores = scores.reshape(2, m + n)
    # Classes mixed, so that nothing rests on their order.
    y_true = np.random.default_rng(0).permutation(np.repeat([1, 0], [m, n]))
    areas, covariance = textbook(scores[:, y_true == 1], scores[:, y_true == 0])
    found = components(y_true, scores)
    assert found.auroc == pytest.approx(areas)
    assert found.covariance == pytest.approx(covariance, abs=1e-12)
    assert found.auroc[0] == pytest.approx(roc_auc_score(y_true, scores[0]))


@settings(max_examples=80)
@given(positive=SCORES, negative=SCORES)
def test_the_area_lies_inside_its_interval_and_mirrors_when_the_classes_swap(
    positive: list[int], negative: list[int]
) -> None:
    y_true = np.repeat([1, 0], [len(positive), len(negative)])
    y_score = np.array([*positive, *negative], float)
    area = auroc_delong(y_true, y_score, 0.95)
    assert area.value == pytest.approx(roc_auc_score(y_true, y_score))
    assert 0.0 <= area.low <= area.value <= area.high <= 1.0
    assert area.high - area.low > 0.05
    mirrored = auroc_delong(1 - y_true, y_score, 0.95)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - area.high, 1 - area.low), abs=1e-6)
    stretched = auroc_delong(y_true, np.exp(y_score), 0.95)
    assert (stretched.low, stretched.high) == pytest.approx((area.low, area.high))
    # However good it looks, it is not better evidenced than perfect parting of as many cases.
    perfect = auroc_delong(y_true, y_true.astype(float), 0.95)
    assert area.low <= perfect.low


def test_perfectly_parted_cases_claim_no_certainty() -> None:
    y_true = np.repeat([1, 0], [14, 15])
    perfect = auroc_delong(y_true, y_true.astype(float), 0.95)
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.860, abs=5e-4)
    assert "Newcombe" in perfect.method
    reversed_ = auroc_delong(y_true, 1.0 - y_true, 0.95)
    assert (reversed_.low, reversed_.high) == pytest.approx((0.0, 1 - perfect.low), abs=1e-6)
    more = auroc_delong(np.repeat([1, 0], [140, 150]), np.repeat([1.0, 0.0], [140, 150]), 0.95)
    assert perfect.low < more.low < 1.0
    assert auroc_delong(y_true, y_true.astype(float), 0.99).low < perfect.low


def test_a_score_that_tells_nothing_has_a_wide_interval_around_one_half() -> None:
    area = auroc_delong(np.repeat([1, 0], [14, 15]), np.full(29, 0.3), 0.95)
    assert area.value == 0.5
    assert area.low < 0.35
    assert area.high > 0.65


def test_one_case_of_a_class_and_none() -> None:
    single = auroc_delong(np.array([1, 0, 0, 0]), np.array([0.5, 0.1, 0.2, 0.9]), 0.95)
    assert single.value == pytest.approx(2 / 3)
    assert single.low < 0.3
    assert single.high > 0.9
    none = auroc_delong(np.ones(5), np.linspace(0, 1, 5), 0.95)
    assert math.isnan(none.value)
    assert math.isnan(none.low)
    assert "one class" in none.method


@pytest.mark.parametrize("value", [0.02, 0.5, 0.8, 0.99, 1.0])
def test_bounds_of_the_score_interval_solve_newcombes_equation(value: float) -> None:
    m, n, z = 14, 15, norm.ppf(0.975)
    low, high = score_interval(value, m, n, 0.95)
    star = (m + n) / 2
    for bound in {low, high} - {1.0}:
        q = (1 - bound) / (2 - bound) + bound / (1 + bound)
        error = math.sqrt(bound * (1 - bound) * (1 + (star - 1) * q) / (m * n))
        assert abs(bound - value) == pytest.approx(z * error, rel=1e-6)
    assert low < value <= high


def test_delong_on_the_logit_scale_covers_what_it_says_where_the_plain_one_does_not() -> None:
    rng = np.random.default_rng(0)
    y_true, true_area, z = np.repeat([1, 0], [14, 15]), 0.9, norm.ppf(0.975)
    shift = norm.ppf(true_area) * math.sqrt(2)
    repeats, inside, inside_plain = 800, 0, 0
    for _ in range(repeats):
        y_score = rng.normal(shift * y_true, 1.0)
        area = auroc_delong(y_true, y_score, 0.95)
        inside += area.low <= true_area <= area.high
        half = z * math.sqrt(components(y_true, y_score[None]).covariance[0, 0])
        inside_plain += area.value - half <= true_area <= area.value + half
    assert 0.93 <= inside / repeats <= 0.99
    assert inside_plain / repeats < 0.90
