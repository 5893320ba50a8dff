import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from eusml.config import EvaluateConfig
from eusml.evaluation.folds import by_fold, by_repeat
from eusml.evaluation.metrics import evaluate


def answers(repeats: int = 2, cases: int = 40) -> pd.DataFrame:
    """Out-of-fold answers: every case once in every repeat."""
    rng = np.random.default_rng(0)
    y_true = np.arange(cases) % 2
    tables = []
    for repeat in range(repeats):
        y_score = np.clip(0.3 * y_true + rng.random(cases) * 0.7, 0, 1)
        tables.append(
            pd.DataFrame(
                {
                    "case_id": [f"c{i}" for i in range(cases)],
                    "patient_id": [f"p{i}" for i in range(cases)],
                    "y_true": y_true,
                    "y_score": y_score,
                    "repeat": repeat + 1,
                    "fold": rng.permutation(cases) % 4 + 1,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def test_every_fold_is_measured_for_itself() -> None:
    table = by_fold(answers(), 0.5)
    assert table[["repeat", "fold"]].to_numpy().tolist() == [[r, f] for r in (1, 2) for f in (1, 2, 3, 4)]
    assert table["cases"].tolist() == [10] * 8
    part = answers().query("repeat == 2 and fold == 3")
    row = table.query("repeat == 2 and fold == 3").iloc[0]
    assert row["auroc"] == pytest.approx(roc_auc_score(part["y_true"], part["y_score"]))
    assert row["accuracy"] == pytest.approx(accuracy_score(part["y_true"], part["y_score"] >= 0.5))


def test_a_fold_of_one_class_has_no_auroc() -> None:
    table = answers().assign(y_true=lambda t: np.where((t["repeat"] == 1) & (t["fold"] == 1), 1, t["y_true"]))
    found = by_fold(table, 0.5)
    assert np.isnan(found.loc[0, "auroc"])
    assert found["auroc"].notna().sum() == 7


def test_every_repeat_is_measured_for_itself_with_intervals_of_single_cases() -> None:
    settings = EvaluateConfig(bootstrap_samples=200)
    table = by_repeat(answers(), settings)
    assert sorted(set(table["repeat"])) == [1, 2]
    accuracy = table.query("repeat == 1 and measure == 'accuracy'").iloc[0]
    assert accuracy["total"] == 40
    assert "wald" in accuracy["method"].lower()


def test_repeats_are_no_further_patients() -> None:
    """An interval of all repeats together is no narrower than the patients allow."""
    settings = EvaluateConfig(bootstrap_samples=2000)
    once, twice = answers(repeats=1), pd.concat([answers(repeats=1)] * 2)
    widths = []
    for table in (once, twice):
        y_true, y_score, patients = (table[name].to_numpy() for name in ("y_true", "y_score", "patient_id"))
        estimate = evaluate(y_true, y_score, patients, settings).estimates["accuracy"]
        widths.append(estimate.high - estimate.low)
    assert widths[1] > 0.85 * widths[0]  # half the width, or 0.71 of it, if repeats were patients
