"""What the folds and the repeats of a cross-validation say, each for itself."""

from typing import Any

import numpy as np
import pandas as pd

from eusml.config import EvaluateConfig
from eusml.evaluation import bootstrap
from eusml.evaluation.metrics import evaluate_answers


def by_fold(predictions: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Every measure within every fold, without intervals: folds are few cases, and share their training cases.

    Args:
        predictions: columns repeat, fold, y_true, y_score.
        threshold: a case is called positive from here on.

    Returns:
        Columns repeat, fold, cases and one per measure of `bootstrap.measures`, nan where undefined.
    """
    rows: list[dict[str, Any]] = []
    for (repeat, fold), part in predictions.groupby(["repeat", "fold"], sort=True):
        y_true, y_score = part["y_true"].to_numpy(), part["y_score"].to_numpy()
        found = bootstrap.measures(np.ones((1, len(part))), y_true, y_score, threshold)
        measures = {name: float(values[0]) for name, values in found.items()}
        rows.append({"repeat": repeat, "fold": fold, "cases": len(part), **measures})
    return pd.DataFrame(rows)


def by_repeat(predictions: pd.DataFrame, settings: EvaluateConfig) -> pd.DataFrame:
    """Every measure with its interval in every repeat, in which each case stands once.

    Args:
        predictions: columns repeat, patient_id, y_true, y_score.
        settings: as for `evaluate_answers`.

    Returns:
        Columns repeat, measure, value, ci_low, ci_high, count, total, method.
    """
    tables = []
    for repeat, part in predictions.groupby("repeat", sort=True):
        table = evaluate_answers(part, settings).table()
        tables.append(table.assign(repeat=repeat)[["repeat", *table.columns]])
    return pd.concat(tables, ignore_index=True)
