import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from eusml.config import EvaluateConfig
from eusml.errors import DataError
from eusml.evaluation.comparison import side_by_side
from eusml.evaluation.differences import paired_differences
from eusml.evaluation.metrics import MEASURES
from eusml.evaluation.paired_tests import auroc_difference

SETTINGS = EvaluateConfig(bootstrap_samples=4000)


def answers(count: int, strength: float, seed: int, shared: float = 0.0) -> pd.DataFrame:
    """Scores of which `shared` is common to all seeds."""
    y_true = np.arange(count) % 2
    noise = shared * np.random.default_rng(99).normal(size=count) + np.random.default_rng(seed).normal(size=count)
    names = [f"c{i}" for i in range(count)]
    y_score = 1 / (1 + np.exp(-(strength * (2 * y_true - 1) + noise)))
    return pd.DataFrame({"case_id": names, "patient_id": names, "y_true": y_true, "y_score": y_score})


ARMS = {"a": answers(90, 1.0, 0, shared=1.0), "b": answers(90, 0.6, 1, shared=1.0)}


def rows(arms: dict[str, pd.DataFrame], settings: EvaluateConfig = SETTINGS) -> pd.DataFrame:
    return paired_differences(arms, settings).set_index("measure")


def wins(y_true: np.ndarray, y_score: np.ndarray) -> float:
    """Share of pairs of a positive and a negative case in which the positive one has the higher score."""
    excess = np.subtract.outer(y_score[y_true == 1], y_score[y_true == 0])
    return float(np.mean((excess > 0) + 0.5 * (excess == 0)))


ORACLES = {
    "accuracy": lambda y, s: np.mean((s >= 0.5) == y),
    "mcc": lambda y, s: np.corrcoef(y, s >= 0.5)[0, 1],
    "auroc": wins,
    "brier": lambda y, s: np.mean((s - y) ** 2),
}


def test_each_row_is_what_scipys_paired_bootstrap_of_textbook_formulas_says() -> None:
    found = rows(ARMS)
    assert list(found.index) == list(MEASURES)
    y_true = ARMS["a"]["y_true"].to_numpy()
    scores = [arm["y_score"].to_numpy() for arm in ARMS.values()]
    for measure, figure in ORACLES.items():
        a, b = (figure(y_true, score) for score in scores)
        row = found.loc[measure]
        assert (row["a"], row["b"], row["difference"]) == pytest.approx((a, b, a - b))

        def difference(cases: np.ndarray, figure: object = figure) -> float:
            return figure(y_true[cases], scores[0][cases]) - figure(y_true[cases], scores[1][cases])  # type: ignore[operator]

        expected = scipy_bootstrap((np.arange(90),), difference, vectorized=False, n_resamples=1000,
                                   method="percentile", rng=0)  # fmt: skip
        width = row["ci_high"] - row["ci_low"]
        low, high = expected.confidence_interval
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), abs=0.08 * width)


def test_pairing_narrows_the_interval_as_delong_says() -> None:
    row = rows(ARMS).loc["auroc"]
    y_true, (a, b) = ARMS["a"]["y_true"].to_numpy(), (arm["y_score"].to_numpy() for arm in ARMS.values())
    delong = auroc_difference(y_true, a, b, 0.95)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((delong.low, delong.high), abs=0.02)
    # Had each arm its own patients, the interval would be wider by half.
    alone = side_by_side(ARMS, SETTINGS).query("measure == 'auroc'")
    unpaired = math.sqrt(((alone["ci_high"] - alone["ci_low"]) ** 2).sum())
    assert row["ci_high"] - row["ci_low"] < 0.8 * unpaired


def test_an_arm_does_not_differ_from_itself_and_the_other_way_round_the_sign_turns() -> None:
    itself = rows({"a": ARMS["a"], "again": ARMS["a"]})
    assert (itself["difference"] == 0).all()
    assert itself["ci_low"].isna().all()
    assert itself["method"].str.startswith("none: no resample differs").all()
    one, other = rows(ARMS), rows({"b": ARMS["b"], "a": ARMS["a"]})
    assert other["difference"].to_numpy() == pytest.approx(-one["difference"].to_numpy())
    assert other["ci_low"].to_numpy() == pytest.approx(-one["ci_high"].to_numpy())


@pytest.mark.parametrize("how", ["images of a patient", "repeats"])
def test_copies_of_all_rows_add_no_knowledge(how: str) -> None:
    def thrice(table: pd.DataFrame) -> pd.DataFrame:
        copies = [
            table.assign(repeat=number) if how == "repeats" else table.assign(case_id=f"{number}-" + table["case_id"])
            for number in range(3)
        ]
        return pd.concat(copies).sample(frac=1, random_state=len(table))

    once, copied = rows(ARMS), rows({name: thrice(table) for name, table in ARMS.items()})
    for column in ("a", "b", "difference", "ci_low", "ci_high"):
        assert copied[column].to_numpy() == pytest.approx(once[column].to_numpy())


def test_what_is_undefined_is_counted_or_said() -> None:
    # Patients that are drawn without a positive case leave sensitivity and AUROC undefined.
    few = {name: table.iloc[:6].assign(y_true=[1, 0, 0, 0, 0, 0]) for name, table in ARMS.items()}
    found = rows(few)
    share = found.loc["auroc", "undefined"] / SETTINGS.bootstrap_samples
    assert share == pytest.approx((5 / 6) ** 6, abs=0.03)
    assert f"{found.loc['auroc', 'undefined']} of them undefined and left out" in found.loc["auroc", "method"]
    assert found.loc["accuracy", "undefined"] == 0
    none = rows({name: table.assign(y_true=0) for name, table in few.items()})
    assert none.loc["auroc", ["a", "b", "difference", "ci_low", "ci_high"]].isna().all()
    assert none.loc["auroc", "method"] == "none: the measure is undefined"


def test_all_pairs_in_order_and_only_on_the_same_cases() -> None:
    three = {**ARMS, "c": answers(90, 0.2, 2)}
    table = paired_differences(three, EvaluateConfig(bootstrap_samples=100))
    assert table[["arm_a", "arm_b"]].drop_duplicates().to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert len(table) == 3 * len(MEASURES)
    shuffled = {**ARMS, "b": ARMS["b"].sample(frac=1, random_state=0)}
    pd.testing.assert_frame_equal(rows(shuffled), rows(ARMS))
    with pytest.raises(DataError, match="only one of them was measured on case c0"):
        paired_differences({**ARMS, "b": ARMS["b"].iloc[1:]}, SETTINGS)
