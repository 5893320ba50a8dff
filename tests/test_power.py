import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from eusml.evaluation.power import mcnemar_power, smallest_accuracy_difference, smallest_difference


def test_power_is_that_of_published_examples() -> None:
    # Tests of the R package pwrss, power.exact.mcnemar(prob10 = 0.20, prob01 = 0.10), validated by PASS and G*Power.
    assert mcnemar_power(100, 0.1, 0.3, 0.05) == pytest.approx(0.373077084, abs=1e-9)
    assert mcnemar_power(249, 0.1, 0.3, 0.05) == pytest.approx(0.801446921, abs=1e-9)
    assert smallest_accuracy_difference(249, 0.3, 0.05) == pytest.approx(0.1, abs=0.0003)
    # The study's 29 and 142 cases, where a fifth of them is judged differently.
    assert [round(mcnemar_power(cases, 0.1, 0.2, 0.05), 2) for cases in (29, 142)] == [0.09, 0.72]


@pytest.mark.parametrize(("cases", "share", "level"), [(29, 0.2, 0.05), (40, 0.5, 0.05 / 6), (142, 0.15, 0.1)])
def test_a_simulated_test_sees_the_smallest_difference_four_times_out_of_five(
    cases: int, share: float, level: float
) -> None:
    difference = smallest_accuracy_difference(cases, share, level)
    total = max(share, difference)
    rng = np.random.default_rng(0)
    cells = [(total + difference) / 2, (total - difference) / 2, 1 - total]
    drawn = rng.multinomial(cases, cells, size=4000)[:, :2]
    p_of = {(a, b): binomtest(a, a + b).pvalue if a + b else 1.0 for a, b in {tuple(map(int, row)) for row in drawn}}
    seen = np.mean([p_of[a, b] < level for a, b in drawn])
    assert seen == pytest.approx(0.8, abs=0.025)


def test_too_few_cases_could_have_shown_no_difference_at_all() -> None:
    # All of 5 discordant cases on one side: p = 2 / 32. All of 6: p = 2 / 64, which has chance difference^6.
    assert math.isnan(smallest_accuracy_difference(5, 0.0, 0.05))
    assert smallest_accuracy_difference(6, 0.0, 0.05) == pytest.approx(0.8 ** (1 / 6))
    assert math.isnan(smallest_accuracy_difference(6, 0.0, 2 / 64))
    assert mcnemar_power(10, 0.0, 0.0, 0.05) == 0.0


@settings(max_examples=40)
# A share is a count of cases among others: none, or no less than a thousandth. At 1e-308 scipy overflows.
@given(cases=st.integers(6, 300), share=st.just(0.0) | st.floats(0.001, 1), level=st.floats(0.001, 0.04))
def test_more_cases_more_agreement_and_a_looser_level_show_smaller_differences(
    cases: int, share: float, level: float
) -> None:
    found = smallest_accuracy_difference(cases, share, level)
    if math.isnan(found):
        assert mcnemar_power(cases, 1.0, 1.0, level) < 0.8
        return
    assert mcnemar_power(cases, found, max(share, found), level) == pytest.approx(0.8, abs=1e-6)
    assert smallest_accuracy_difference(cases, share, level + 0.01) <= found + 1e-9
    assert smallest_accuracy_difference(4 * cases, share, level) < found


def test_a_normal_test_sees_its_smallest_difference_four_times_out_of_five() -> None:
    difference = smallest_difference(0.05, 0.05)
    seen = np.abs(np.random.default_rng(0).normal(difference, 0.05, 20_000)) / 0.05 > norm.ppf(0.975)
    assert seen.mean() == pytest.approx(0.8, abs=0.01)
    # (1.960 + 0.842) * 0.05
    assert difference == pytest.approx(0.1401, abs=1e-4)
    for unknown in (math.nan, 0.0, 0.5):
        assert math.isnan(smallest_difference(unknown, 0.05))
