"""Predictive values by prevalence: Bayes' theorem by hand, and how often the interval holds the truth."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from eusml.evaluation.predictive_values import values_by_prevalence

AT = np.array([0.03, 0.5])


def test_values_are_those_of_bayes() -> None:
    # The sample of Mercaldo et al. 2007: ApoE4 in 240 of 418 patients with Alzheimer's disease and 87 of 375 without.
    table = values_by_prevalence(240, 178, 288, 87, 0.95, AT)
    se, sp = 240 / 418, 288 / 375
    assert table["ppv"].tolist() == pytest.approx([se * p / (se * p + (1 - sp) * (1 - p)) for p in AT])
    assert table["npv"].tolist() == pytest.approx([sp * (1 - p) / (sp * (1 - p) + (1 - se) * p) for p in AT])
    # The logit interval, equation 5 there.
    half = norm.ppf(0.975) * np.sqrt((1 - se) / se / 418 + sp / (1 - sp) / 375)
    logit = np.log(se * 0.03 / ((1 - sp) * 0.97))
    plain = 1 / (1 + np.exp(-(logit + half * np.array([-1, 1]))))
    assert table.loc[0, ["ppv_low", "ppv_high"]].tolist() == pytest.approx(plain.tolist())


@pytest.mark.parametrize(("se", "sp"), [(0.9, 0.85), (0.7, 0.9), (0.95, 0.95)])
def test_intervals_cover_with_few_cases_too(se: float, sp: float) -> None:
    """Summed over all outcomes of 14 + 15 cases, at a prevalence of 0.3; nothing is simulated."""
    truth = se * 0.3 / (se * 0.3 + (1 - sp) * 0.7)
    covered = 0.0
    for tp, p in enumerate(binom.pmf(np.arange(15), 14, se)):
        for tn, q in enumerate(binom.pmf(np.arange(16), 15, sp)):
            if p * q > 1e-5:
                row = values_by_prevalence(tp, 14 - tp, tn, 15 - tn, 0.95, np.array([0.3])).iloc[0]
                covered += p * q * (row["ppv_low"] <= truth <= row["ppv_high"])
    assert 0.93 <= covered <= 0.98


def test_a_perfect_test_leaves_an_interval() -> None:
    row = values_by_prevalence(14, 0, 15, 0, 0.95, np.array([0.5])).iloc[0]
    assert (row["ppv"], row["npv"]) == (1, 1)
    assert row["ppv_low"] < 0.95
    assert row["ppv_high"] == 1


def test_what_is_undefined_is_nan_or_left_out() -> None:
    assert np.isnan(values_by_prevalence(0, 5, 5, 0, 0.95, AT)["ppv"]).all()  # nobody is called positive
    assert len(values_by_prevalence(3, 2, 0, 0, 0.95, AT)) == 0
