import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from eusml.evaluation.baselines import PREDICTORS, clinical_baselines, is_separated


def patients(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, 2, count)
    return pd.DataFrame(
        {
            "y_true": y_true,
            "age_years": rng.normal(51 + 7 * y_true, 10),
            "sex": rng.choice(["male", "female"], count),
            "size_mm": rng.lognormal(2.1 + 0.9 * y_true, 0.6),
        }
    )


TRAIN, TEST = patients(113, 0), patients(29, 1)


def test_scores_are_those_of_plain_maximum_likelihood() -> None:
    found = clinical_baselines(TRAIN, {"test": TEST, "train": TRAIN})
    assert [baseline.name for baseline in found] == list(PREDICTORS)
    for baseline in found:
        assert baseline.reason == ""
        columns = list(PREDICTORS[baseline.name])
        design = [table[columns].replace({"female": 0.0, "male": 1.0}).astype(float) for table in (TRAIN, TEST)]
        oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(design[0].to_numpy(), TRAIN["y_true"])
        assert baseline.scores["test"] == pytest.approx(oracle.predict_proba(design[1].to_numpy())[:, 1], abs=1e-4)
        # Maximum likelihood with an intercept: the mean probability is the share of positive cases.
        assert baseline.scores["train"].mean() == pytest.approx(TRAIN["y_true"].mean())


def test_only_the_training_partition_is_fitted_and_scaled_on() -> None:
    alone = clinical_baselines(TRAIN, {"test": TEST})
    beside = clinical_baselines(TRAIN, {"test": TEST.drop(columns="y_true"), "far": TEST.assign(size_mm=900.0)})
    first_row = clinical_baselines(TRAIN, {"test": TEST.iloc[:1]})
    for one, other, row in zip(alone, beside, first_row, strict=True):
        assert other.scores["test"] == pytest.approx(one.scores["test"])
        assert row.scores["test"] == pytest.approx(one.scores["test"][:1])


def reasons(train: pd.DataFrame, test: pd.DataFrame = TEST) -> dict[str, str]:
    found = clinical_baselines(train, {"test": test})
    for baseline in found:
        assert bool(baseline.reason) != bool(baseline.scores)
    return {baseline.name: baseline.reason for baseline in found}


def test_missing_columns_leave_a_baseline_out_with_the_reason() -> None:
    assert reasons(TRAIN.drop(columns="age_years")) == {
        "size alone": "",
        "age + sex + size": "train has no column age_years",
    }
    assert reasons(TRAIN, TEST.drop(columns="sex"))["age + sex + size"] == "test has no column sex"
    assert reasons(TRAIN.drop(columns="sex"))["age + sex + size"] == "train has no column sex"
    assert set(reasons(TRAIN[["y_true"]]).values()) == {"train has no column size_mm", "train has no column sex"}


def test_missing_and_odd_values_are_named_and_counted() -> None:
    gaps = TRAIN.assign(size_mm=TRAIN["size_mm"].where(TRAIN.index > 2))
    assert reasons(gaps)["size alone"] == "size_mm is not a number for 3 of 113 cases of train"
    words = TEST.assign(size_mm=["12 mm", *TEST["size_mm"].astype(str)[1:]])
    assert reasons(TRAIN, words)["size alone"] == "size_mm is not a number for 1 of 29 cases of test"
    other = TEST.assign(sex=["unknown", *TEST["sex"][1:]])
    assert reasons(TRAIN, other)["age + sex + size"] == "sex is not female or male for 1 of 29 cases of test"
    three = TRAIN.assign(sex=["", "x", *TRAIN["sex"][2:]])
    assert reasons(three)["age + sex + size"] == "sex should have two values in train, found female, male, x"


def test_numbers_as_text_and_another_spelling_of_sex_are_understood() -> None:
    spelled = TEST.assign(sex=TEST["sex"].str.title() + " ", size_mm=TEST["size_mm"].astype(str))
    for one, other in zip(
        clinical_baselines(TRAIN, {"test": TEST}), clinical_baselines(TRAIN, {"test": spelled}), strict=True
    ):
        assert other.scores["test"] == pytest.approx(one.scores["test"])


def test_what_cannot_be_fitted_is_left_out_without_a_warning() -> None:
    parted = TRAIN.assign(size_mm=10.0 + 20.0 * TRAIN["y_true"] + np.linspace(0, 5, len(TRAIN)))
    assert set(reasons(parted).values()) == {
        "the predictors part the classes of train perfectly; logistic regression has no finite fit"
    }
    assert reasons(TRAIN.assign(size_mm=12.0))["size alone"] == "size_mm is the same for all cases of train"
    assert reasons(TRAIN.assign(y_true=1))["size alone"] == "train has one class only"
    twins = TRAIN.assign(age_years=2 * TRAIN["size_mm"])
    assert reasons(twins)["size alone"] == ""


def test_separation_is_found_exactly() -> None:
    def separated(values: list[float], labels: list[int]) -> bool:
        return is_separated(np.column_stack([np.ones(len(values)), values]), np.array(labels, float))

    assert separated([1, 2, 3, 4], [0, 0, 1, 1])
    assert separated([1, 2, 3, 4], [1, 1, 0, 0])
    # Quasi-separated: the classes touch in one value, and the likelihood still has no maximum.
    assert separated([1, 2, 2, 3], [0, 0, 1, 1])
    assert not separated([1, 2, 3, 4], [0, 1, 0, 1])
    assert not separated([1, 3, 2, 4], [0, 0, 1, 1])
