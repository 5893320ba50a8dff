"""Table 1 against pandas and scipy, and what it does with what is missing."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from eusml.evaluation.cohort_table import cohort_table, covariates


def cases(count: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = np.where(np.arange(count) % 2, "GIST", "LM")
    return pd.DataFrame(
        {
            "case_id": [f"c{i}" for i in range(count)],
            "patient_id": [f"p{i}" for i in range(count)],
            "image": [f"{i}.png" for i in range(count)],
            "label": label,
            "y_true": (label == "GIST") * 1,
            "partition": np.where(np.arange(count) < 40, "train", "test"),
            "age_years": rng.normal(50 + 10 * (label == "GIST"), 8),
            "sex": rng.choice(["male", "female"], count),
            "site": rng.choice(["body", "fundus", "cardia"], count, p=[0.85, 0.1, 0.05]),
            "probe_mhz": rng.choice([7.5, 20.0], count),
            "ulcer": rng.random(count) < 0.1,
            "remark": [f"seen on day {i}" for i in range(count)],
            "device": "SU-9000",
            "nothing": np.nan,
        }
    )


def test_covariates_are_what_describes_a_case() -> None:
    assert covariates(cases()) == ["age_years", "sex", "site", "probe_mhz", "ulcer"]


def test_means_counts_and_tests_are_those_of_pandas_and_scipy() -> None:
    table = cases()
    found = cohort_table(table, ["train", "test"], ["GIST", "LM"])
    assert [(group.part, group.label) for group in found.groups] == [
        ("train", "GIST"), ("train", "LM"), ("test", "GIST"), ("test", "LM"),
    ]  # fmt: skip
    (age,) = (row for row in found.rows if row.name == "age_years")
    train = table[(table["partition"] == "train") & (table["label"] == "GIST")]
    assert (age.mean[0], age.sd[0]) == (train["age_years"].mean(), train["age_years"].std())
    (male,) = (row for row in found.rows if row.level == "male")
    assert sum(male.count) == (table["sex"] == "male").sum()
    assert male.count[0] == (train["sex"] == "male").sum()
    gist, lm = (table.loc[table["label"] == label, "age_years"] for label in ("GIST", "LM"))
    assert found.comparisons["age_years"].p == stats.ttest_ind(gist, lm, equal_var=False).pvalue
    assert found.comparisons["age_years"].test == "welch"
    by_sex = pd.crosstab(table["sex"], table["label"])
    assert found.comparisons["sex"].p == stats.chi2_contingency(by_sex, correction=False).pvalue
    assert found.comparisons["ulcer"].p == pytest.approx(
        stats.fisher_exact(pd.crosstab(table["ulcer"], table["label"])).pvalue
    )
    assert found.comparisons["ulcer"].test == "fisher"
    assert found.comparisons["site"].test == "fisher_monte_carlo"
    assert [row.level for row in found.rows if row.name == "probe_mhz"] == ["7.5", "20"]


def test_tables_1_of_the_study_gives_its_p_values() -> None:
    """Sex of 69 + 73 cases: 26/43 against 28/45, as statsmodels' two-sample test of proportions has it, too."""
    from statsmodels.stats.proportion import proportions_ztest

    sex = ["male"] * 26 + ["female"] * 43 + ["male"] * 28 + ["female"] * 45
    table = pd.DataFrame({"label": ["GIST"] * 69 + ["LM"] * 73, "sex": sex, "partition": "all"})
    found = cohort_table(table, ["all"], ["GIST", "LM"])
    assert found.comparisons["sex"].p == pytest.approx(proportions_ztest([26, 28], [69, 73])[1])


def test_what_is_missing_is_counted_and_not_made_up() -> None:
    table = cases()
    table.loc[:9, "age_years"] = np.nan
    table.loc[:9, "sex"] = None
    found = cohort_table(table, ["train"], ["GIST", "LM"])
    (age,) = (row for row in found.rows if row.name == "age_years")
    assert list(age.known) == [15, 15]
    assert sum(row.count[0] for row in found.rows if row.name == "sex") == 15


def test_no_covariates_give_no_rows() -> None:
    assert not cohort_table(cases()[["case_id", "label", "partition"]], ["train"], ["GIST", "LM"]).rows


def test_a_class_without_values_gives_no_test() -> None:
    table = cases()
    table.loc[table["label"] == "LM", "age_years"] = np.nan
    assert cohort_table(table, ["train"], ["GIST", "LM"]).comparisons["age_years"].test == "none"
