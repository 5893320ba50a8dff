import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from sklearn.datasets import make_moons
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.svm import SVC

from eusml.errors import DataError
from eusml.evaluation.resampled_t import MEASURES, compare_folds, corrected_t, sentences


@cache
def moons() -> dict[str, pd.DataFrame]:
    """Two support-vector machines of scikit-learn's example *Statistical comparison of models using grid search*."""
    x, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    rows: dict[str, list[pd.DataFrame]] = {"rbf": [], "linear": []}
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    for number, (train, test) in enumerate(folds.split(x, y)):
        for kernel, tables in rows.items():
            decision = SVC(kernel=kernel).fit(x[train], y[train]).decision_function(x[test])
            names = [f"c{case}" for case in test]
            table = pd.DataFrame({"case_id": names, "patient_id": names, "y_true": y[test]})
            score = 1 / (1 + np.exp(-decision))
            tables.append(table.assign(
                y_score=score, y_pred=(score >= 0.5) * 1, repeat=number // 10, fold=number % 10))  # fmt: skip
    return {kernel: pd.concat(tables, ignore_index=True) for kernel, tables in rows.items()}


def test_it_is_that_of_scikit_learns_published_example() -> None:
    table = compare_folds(moons(), 0.95).set_index("measure")
    found = table.loc["auroc"]
    # What its formulas give for these folds: corrected t 0.750 and p 0.227, one-sided; uncorrected t 2.611.
    assert (found["arm_a"], found["arm_b"], found["folds"], found["left_out"]) == ("rbf", "linear", 100, 0)
    assert round(found["t"], 3) == 0.750
    assert round(found["p"] / 2, 3) == 0.227
    assert round(found["t"] * math.sqrt((1 / 100 + 1 / 9) / (1 / 100)), 3) == 2.611


def test_every_measure_is_that_of_the_textbook_formula_on_scikit_learns_figures() -> None:
    confidence = 0.9
    table = compare_folds(moons(), confidence).set_index("measure")
    oracles = {
        "accuracy": lambda rows: accuracy_score(rows["y_true"], rows["y_pred"]),
        "auroc": lambda rows: roc_auc_score(rows["y_true"], rows["y_score"]),
        "log_loss": lambda rows: log_loss(rows["y_true"], rows["y_score"]),
    }
    assert set(table.index) == set(MEASURES) == set(oracles)
    for measure, oracle in oracles.items():
        by_fold = {
            arm: np.array([oracle(rows) for _, rows in answers.groupby(["repeat", "fold"])])
            for arm, answers in moons().items()
        }
        difference = by_fold["rbf"] - by_fold["linear"]
        mean = sum(difference) / 100
        variance = sum((value - mean) ** 2 for value in difference) / 99
        distribution = student(df=99, loc=mean, scale=math.sqrt((1 / 100 + 10 / 90) * variance))
        found = table.loc[measure]
        assert (found["a"], found["b"]) == pytest.approx((by_fold["rbf"].mean(), by_fold["linear"].mean()))
        assert found["difference"] == pytest.approx(mean)
        assert (found["ci_low"], found["ci_high"]) == pytest.approx(distribution.interval(confidence))
        assert found["p"] == pytest.approx(2 * min(distribution.cdf(0), distribution.sf(0)))


def test_folds_in_which_a_measure_is_undefined_are_left_out_and_said() -> None:
    differences = np.array([0.1, math.nan, 0.3, -0.1, math.nan])
    test, train = np.array([4.0, 9.0, 6.0, 5.0, 9.0]), np.array([16.0, 1.0, 14.0, 15.0, 1.0])
    found = corrected_t(differences, test, train, 0.95)
    kept = [0, 2, 3]
    assert vars(found) == pytest.approx(
        vars(corrected_t(differences[kept], test[kept], train[kept], 0.95)) | {"left_out": 2, "method": found.method}
    )
    assert (found.folds, found.left_out) == (3, 2)
    assert "2 left out, where the measure is undefined" in found.method
    # By hand: mean 0.1, variance 0.04, mean ratio (4/16 + 6/14 + 5/15) / 3.
    assert found.t == pytest.approx(0.1 / math.sqrt(0.04 * (1 / 3 + (1 / 4 + 3 / 7 + 1 / 3) / 3)))


@pytest.mark.parametrize(
    ("differences", "why"),
    [
        ([0.2, math.nan, math.nan], "fewer than 2 folds"),
        ([math.nan] * 3, "fewer than 2 folds"),
        ([0.2] * 3, "all folds differ by the same"),
        ([0.0] * 3, "all folds differ by the same"),
        ([0.1 + 0.2, 0.3, 0.3], "all folds differ by the same"),
    ],
)
def test_without_spread_there_is_no_p(differences: list[float], why: str) -> None:
    found = corrected_t(np.array(differences), np.full(3, 5.0), np.full(3, 10.0), 0.95)
    assert why in found.method
    assert all(math.isnan(value) for value in (found.p, found.t, found.low, found.high))
    known = [value for value in differences if not math.isnan(value)]
    assert found.difference == pytest.approx(np.mean(known) if known else math.nan, nan_ok=True)


def small(seed: int, folds: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i in range(24)]
    y_true = np.arange(24) % 2
    score = np.clip(rng.normal(0.4 + 0.2 * y_true, 0.2), 0, 1)
    return pd.DataFrame({"case_id": names, "patient_id": names, "y_true": y_true, "y_score": score,
                         "y_pred": (score >= 0.5) * 1, "fold": np.arange(24) // 2 % folds})  # fmt: skip


def test_a_fold_of_one_class_has_no_auroc_and_keeps_the_rest() -> None:
    one_class = {
        name: small(seed).assign(y_true=lambda t: np.where(t["fold"] == 2, 1, t["y_true"]))
        for seed, name in enumerate("ab")
    }
    table = compare_folds(one_class, 0.95).set_index("measure")
    assert table["folds"].to_dict() == {"accuracy": 4, "auroc": 3, "log_loss": 4}
    assert table["left_out"].to_dict() == {"accuracy": 0, "auroc": 1, "log_loss": 0}
    kept = {name: answers[answers["fold"] != 2] for name, answers in one_class.items()}
    of_kept = compare_folds(kept, 0.95).set_index("measure")
    for column in ("a", "b", "difference"):
        assert table.loc["auroc", column] == pytest.approx(of_kept.loc["auroc", column])


def test_a_sure_error_is_costly_and_not_infinite() -> None:
    a = small(0)
    wrong = a.assign(y_score=a["y_score"].where(a.index != 0, 1.0))
    table = compare_folds({"a": a, "wrong": wrong}, 0.95).set_index("measure")
    assert math.isfinite(table.loc["log_loss", "difference"])
    assert table.loc["log_loss", "b"] > table.loc["log_loss", "a"] + 1


def test_pairs_are_corrected_by_measure_and_read_as_sentences() -> None:
    table = compare_folds({"a": small(0), "b": small(1), "c": small(2)}, 0.95)
    assert len(table) == 9
    for _, rows in table.groupby("measure"):
        assert rows["p_holm"].min() == pytest.approx(min(3 * rows["p"].min(), 1))
    texts = sentences(table)
    assert texts[0].startswith("a against b, accuracy averaged over folds: ")
    assert all("corrected resampled t-test, 4 folds" in text for text in texts)
    same = sentences(compare_folds({"a": small(0), "again": small(0)}, 0.95))
    assert "+0.000 (no interval), p nan" in same[0]
    assert "no test: all folds differ by the same" in same[0]


def test_other_folds_or_none_to_train_on_are_refused() -> None:
    a = small(0)
    with pytest.raises(DataError, match=r"a and b cannot be compared: fold differs for case c0, c1, c8, c9"):
        compare_folds({"a": a, "b": a.assign(fold=a["fold"].replace({0: 3}))}, 0.95)
    with pytest.raises(DataError, match="one fold only"):
        compare_folds({"a": a.assign(fold=0), "b": a.assign(fold=0)}, 0.95)
    with pytest.raises(DataError, match="one fold only"):
        compare_folds({name: pd.concat([a.assign(repeat=0), a.assign(repeat=1, fold=0)]) for name in "ab"}, 0.95)
