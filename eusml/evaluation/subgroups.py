"""The same measures in parts of the reported cases: by probe, size, site, whatever is known of them."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from eusml.config import EvaluateConfig
from eusml.evaluation.cohort_table import covariates, is_counted, levels
from eusml.evaluation.intervals import METHOD_NAMES, auroc_delong, proportion_interval

CUTS: dict[str, tuple[float, ...]] = {"size_mm": (10.0, 20.0)}
"""Where numbers are cut: at what guidelines act on (20 mm) and a half of it; all others at their thirds."""
_THIRDS = (1 / 3, 2 / 3)
SMALLEST = 5
"""Sub-groups of fewer cases are not shown."""


@dataclass(frozen=True)
class Subgroups:
    """Measures by sub-group."""

    table: pd.DataFrame
    """Columns covariate, level, cases, positives, measure, value, ci_low, ci_high, count, total, method."""
    clustered: bool
    """Patients have several images: the intervals, which take images for independent, are too narrow."""


def subgroups(predictions: pd.DataFrame, cases: pd.DataFrame, settings: EvaluateConfig) -> Subgroups:
    """Accuracy, sensitivity, specificity and AUROC by every covariate that is known.

    Args:
        predictions: case_id, patient_id, y_true, y_score, y_pred.
        cases: case_id and covariates of the same cases.
        settings: interval method and nominal coverage.
    """
    # Of repeated cross-validation the first answer to each case, lest one case counts several times.
    once = predictions.drop_duplicates("case_id")
    names = covariates(cases)
    # Side by side, in the same order, and not in one table: a covariate may be called as a column of the answers is,
    # `fold` for instance.
    answered = once.merge(cases[["case_id"]], on="case_id", how="inner")
    known = once[["case_id"]].merge(cases[["case_id", *names]], on="case_id", how="inner")
    rows: list[dict[str, object]] = []
    for name in names:
        of_case = _levels(known[name], name)
        for level in of_case.cat.categories:
            part = answered[(of_case == level).to_numpy()]
            if len(part) >= SMALLEST:
                rows += [{"covariate": name, "level": str(level), **row} for row in _measured(part, settings)]
    columns = [
        "covariate",
        "level",
        "cases",
        "positives",
        "measure",
        "value",
        "ci_low",
        "ci_high",
        "count",
        "total",
        "method",
    ]
    table = pd.DataFrame(rows, columns=columns).astype({"count": "Int64", "total": "Int64"})
    # As objects, for pandas' own text keeps no sentences.
    table = table.assign(method=pd.Series([row["method"] for row in rows], dtype=object))
    # A covariate of which one level alone is large enough parts nothing.
    several = table.groupby("covariate")["level"].transform("nunique") > 1
    return Subgroups(table[several].reset_index(drop=True), bool(once["patient_id"].nunique() < len(once)))


def _levels(values: "pd.Series[float]", name: str) -> "pd.Series[Any]":
    """Each case's level as an ordered category of text."""
    if is_counted(values):
        texts = levels(values)
        return values.map(texts).astype(pd.CategoricalDtype(list(texts.values()), ordered=True))
    cuts = CUTS.get(name) or tuple(float(f"{cut:.3g}") for cut in np.nanquantile(values.to_numpy(float), _THIRDS))
    edges = sorted({-math.inf, *cuts, math.inf})
    names = [f"≤ {edges[1]:g}"]
    names += [f"> {low:g}–{high:g}" for low, high in pairwise(edges[1:-1])]
    names += [f"> {edges[-2]:g}"]
    return pd.cut(values, edges, labels=names)


def _measured(part: pd.DataFrame, settings: EvaluateConfig) -> list[dict[str, object]]:
    y_true, y_pred = part["y_true"].to_numpy(dtype=np.int64), part["y_pred"].to_numpy(dtype=np.int64)
    right, positive = y_true == y_pred, y_true == 1
    common = {"cases": len(part), "positives": int(positive.sum())}
    rows: list[dict[str, object]] = []
    of = {"accuracy": np.ones_like(positive), "sensitivity": positive, "specificity": ~positive}
    for measure, members in of.items():
        count, total = int((right & members).sum()), int(members.sum())
        low, high = proportion_interval(count, total, settings.interval, settings.confidence)
        value = count / total if total else math.nan
        rows.append(
            {
                **common,
                "measure": measure,
                "value": value,
                "ci_low": low,
                "ci_high": high,
                "count": count,
                "total": total,
                "method": METHOD_NAMES[settings.interval],
            }
        )
    area = auroc_delong(y_true, part["y_score"].to_numpy(dtype=np.float64), settings.confidence)
    rows.append(
        {
            **common,
            "measure": "auroc",
            "value": area.value,
            "ci_low": area.low,
            "ci_high": area.high,
            "count": None,
            "total": None,
            "method": area.method,
        }
    )
    return rows
