"""Clinical baselines: what a few numbers about the patient tell without any image.

A network that is no better than the size of the lesion has not learned to read images. Logistic regression on
standardised predictors, fitted on the training partition only.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linprog

Floats = npt.NDArray[np.float64]

PREDICTORS: dict[str, tuple[str, ...]] = {
    "size alone": ("size_mm",),
    "age + sex + size": ("age_years", "sex", "size_mm"),
}
"""Name of each baseline and the columns it uses."""


@dataclass(frozen=True)
class Baseline:
    """One baseline's answers, or why there are none."""

    name: str
    scores: Mapping[str, Floats] = field(default_factory=dict)
    """Partition to float64 [N], probability of the positive class in the order of the partition's table."""
    reason: str = ""
    """Why it was left out; empty when it was not."""


class _LeftOut(Exception):
    """The reason why a baseline cannot be fitted or used."""


def clinical_baselines(train: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> tuple[Baseline, ...]:
    """Fit every baseline of `PREDICTORS` on `train` and apply it to the other tables.

    A baseline is left out, with its reason, when one of its columns is missing, empty or not a number somewhere, does
    not vary in `train`, or parts the classes of `train` perfectly, so that the likelihood has no maximum (Albert and
    Anderson 1984, doi:10.1093/biomet/71.1.1).

    Args:
        train: columns y_true (1 or 0) and, where known, size_mm, age_years and sex (two values).
        others: partition to its table, which needs no y_true.
    """
    return tuple(_baseline(name, columns, train, others) for name, columns in PREDICTORS.items())


def _baseline(name: str, columns: tuple[str, ...], train: pd.DataFrame, others: Mapping[str, pd.DataFrame]) -> Baseline:
    try:
        levels = {column: _levels(train, column) for column in columns if column == "sex"}
        fitted_on = _predictors(train, columns, levels, "train")
        mean, spread = fitted_on.mean(axis=0), fitted_on.std(axis=0)
        for column, deviation in zip(columns, spread, strict=True):
            if not deviation > 0:
                raise _LeftOut(f"{column} is the same for all cases of train")
        coefficients = _fit((fitted_on - mean) / spread, train["y_true"].to_numpy(dtype=np.float64))
        scores = {}
        for part, table in others.items():
            design = (_predictors(table, columns, levels, part) - mean) / spread
            scores[part] = _probability(coefficients[0] + design @ coefficients[1:])
    except _LeftOut as left_out:
        return Baseline(name, reason=str(left_out))
    return Baseline(name, scores)


def _predictors(table: pd.DataFrame, columns: tuple[str, ...], levels: Mapping[str, list[str]], part: str) -> Floats:
    """float64 [N, K], in the order of `columns`; a column of two levels becomes 0 and 1."""
    values = []
    for column in columns:
        if column not in table.columns:
            raise _LeftOut(f"{part} has no column {column}")
        if column in levels:
            words = _words(table, column)
            number = words.map({level: float(place) for place, level in enumerate(levels[column])})
        else:
            number = pd.to_numeric(table[column], errors="coerce")
        finite = np.isfinite(number.to_numpy(dtype=np.float64))
        if not finite.all():
            expected = " or ".join(levels[column]) if column in levels else "a number"
            raise _LeftOut(f"{column} is not {expected} for {(~finite).sum()} of {len(table)} cases of {part}")
        values.append(number.to_numpy(dtype=np.float64))
    return np.stack(values, axis=1)


def _levels(train: pd.DataFrame, column: str) -> list[str]:
    if column not in train.columns:
        raise _LeftOut(f"train has no column {column}")
    found = sorted(_words(train, column).dropna().unique().tolist())
    if len(found) != 2:
        raise _LeftOut(f"{column} should have two values in train, found {', '.join(found) or 'none'}")
    return found


def _words(table: pd.DataFrame, column: str) -> "pd.Series[str]":
    words = table[column].astype("string").str.strip().str.lower()
    return words.mask(words == "").astype(object)


def _fit(design: Floats, y_true: Floats) -> Floats:
    """Intercept and K slopes of the maximum-likelihood logistic regression.

    Raises:
        _LeftOut: one class only, separation, or a fit that does not converge.
    """
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    if len(np.unique(y_true)) < 2:
        raise _LeftOut("train has one class only")
    with_intercept = np.column_stack([np.ones(len(design)), design])
    if is_separated(with_intercept, y_true):
        raise _LeftOut("the predictors part the classes of train perfectly; logistic regression has no finite fit")
    # Newton on centred, scaled predictors needs no warning of statsmodels to be trusted: any of them is a reason.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            result = GLM(y_true, with_intercept, family=Binomial()).fit(maxiter=100)
        except (Warning, np.linalg.LinAlgError, ValueError) as problem:
            raise _LeftOut(f"logistic regression failed: {problem}") from None
    if not result.converged:
        raise _LeftOut("logistic regression did not converge")
    return np.asarray(result.params, dtype=np.float64)


def is_separated(design: Floats, y_true: Floats) -> bool:
    """Whether some direction of the predictors has all positive cases on one side and all negative on the other.

    Cases on the boundary itself do not hinder it, as long as not all lie there: the likelihood then has no maximum.
    Found exactly by linear programming (Konis 2007, doctoral thesis, Oxford): is there a direction in which no case
    lies on the wrong side and some lie on the right one?

    Args:
        design: [N, K], intercept included.
        y_true: [N], 1 or 0.
    """
    sides = np.where(y_true[:, None] == 1, design, -design)
    found = linprog(-sides.sum(axis=0), A_ub=-sides, b_ub=np.zeros(len(sides)), bounds=(-1, 1), method="highs")
    assert found.fun is not None, f"zero is always feasible and the box is bounded, yet: {found.message}"
    return bool(-found.fun > 1e-6 * math.sqrt(len(sides)))


def _probability(logit: Floats) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(logit), dtype=np.float64)
