"""Sub-groups: counts that add up, and the interval functions of the whole."""

import numpy as np
import pandas as pd
import pytest

from eusml.config import EvaluateConfig
from eusml.evaluation.intervals import auroc_delong, proportion_interval
from eusml.evaluation.subgroups import SMALLEST, subgroups
from tests.conftest import answers

SETTINGS = EvaluateConfig()


def known(table: pd.DataFrame) -> pd.DataFrame:
    count = len(table)
    rng = np.random.default_rng(1)
    return table[["case_id"]].assign(
        size_mm=rng.uniform(2, 40, count),
        sex=rng.choice(["male", "female"], count),
        age_years=rng.normal(50, 9, count),
        rare=["x"] * (count - 2) + ["y"] * 2,
    )


def test_levels_hold_every_case_once_and_measures_are_those_of_the_part() -> None:
    table = answers(0, 90)
    cases = known(table)
    found = subgroups(table, cases, SETTINGS).table
    for covariate in ("size_mm", "sex", "age_years"):
        rows = found[(found["covariate"] == covariate) & (found["measure"] == "accuracy")]
        assert rows["cases"].sum() == 90
    large = table[cases["size_mm"].to_numpy() > 20]
    row = found[(found["covariate"] == "size_mm") & (found["level"] == "> 20")].set_index("measure")
    right = int((large["y_true"] == large["y_pred"]).sum())
    assert (row.loc["accuracy", "count"], row.loc["accuracy", "total"]) == (right, len(large))
    low, high = proportion_interval(right, len(large), "adjusted_wald", 0.95)
    assert row.loc["accuracy", ["ci_low", "ci_high"]].tolist() == [low, high]
    area = auroc_delong(large["y_true"].to_numpy(), large["y_score"].to_numpy(), 0.95)
    assert row.loc["auroc", "value"] == pytest.approx(area.value)


def test_few_cases_make_no_subgroup() -> None:
    table = answers(0, 90)
    found = subgroups(table, known(table), SETTINGS).table
    assert (found["cases"] >= SMALLEST).all()
    assert "rare" not in set(found["covariate"])  # its other level has two cases


def test_without_covariates_there_are_none() -> None:
    table = answers(0)
    assert subgroups(table, table[["case_id"]], SETTINGS).table.empty


def test_repeats_count_once_and_clusters_are_said() -> None:
    table = answers(0, 40)
    repeated = pd.concat([table.assign(repeat=1), table.assign(repeat=2)])
    cases = known(table)
    pd.testing.assert_frame_equal(subgroups(repeated, cases, SETTINGS).table, subgroups(table, cases, SETTINGS).table)
    assert not subgroups(table, cases, SETTINGS).clustered
    assert subgroups(table.assign(patient_id="p"), cases, SETTINGS).clustered


def test_a_covariate_may_be_called_as_a_column_of_the_answers_is() -> None:
    table = answers(0, 40).assign(repeat=1, fold=0)
    cases = known(table)
    found = subgroups(table, cases.rename(columns={"sex": "fold", "age_years": "y_score"}), SETTINGS).table
    names = found["covariate"].replace({"fold": "sex", "y_score": "age_years"})
    pd.testing.assert_frame_equal(found.assign(covariate=names), subgroups(table, cases, SETTINGS).table)
