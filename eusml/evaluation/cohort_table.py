"""Characteristics of the cases per class and per partition, as the first table of a clinical paper has them."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from eusml.data.manifest import BOX_COLUMNS, MADE_COLUMNS, REQUIRED_COLUMNS
from eusml.data.split import FOLD_COLUMN

_NO_COVARIATES = {*REQUIRED_COLUMNS, *BOX_COLUMNS, *MADE_COLUMNS, FOLD_COLUMN, "patient_id", "partition", "synthetic"}
MAX_LEVELS = 12
"""A text with more different values than this is a name or a remark, and no characteristic."""
_FEW_NUMBERS = 3
"""A number with at most this many values, such as a probe's frequency, is counted like a text."""
_SMALL_EXPECTATION = 5.0
_DRAWS = 2000


@dataclass(frozen=True)
class Group:
    """One column of the table: `train`, GIST."""

    part: str
    label: str
    cases: int


@dataclass(frozen=True)
class Row:
    """One characteristic, or one level of it."""

    name: str
    level: str
    """Empty for a number."""
    mean: Sequence[float]
    """Of each group; nan where the characteristic is counted, or nobody in the group has a value."""
    sd: Sequence[float]
    count: Sequence[int]
    """Cases of each group at this level; for a number, those whose value is known."""
    known: Sequence[int]
    """Cases of each group whose value is known."""


@dataclass(frozen=True)
class Comparison:
    """Whether the classes differ in a characteristic, over all partitions together."""

    p: float
    """nan where no test can be made."""
    test: str
    """`welch`, `chi_squared`, `fisher`, `fisher_monte_carlo` or `none`."""


@dataclass(frozen=True)
class CohortTable:
    """Table 1."""

    groups: Sequence[Group]
    rows: Sequence[Row]
    comparisons: dict[str, Comparison]
    """By characteristic."""

    def table(self) -> pd.DataFrame:
        """One row per characteristic, level and group, with mean, sd, count, known and p."""
        rows = [
            {
                "characteristic": row.name,
                "level": row.level,
                "part": group.part,
                "label": group.label,
                "cases": group.cases,
                "mean": row.mean[i],
                "sd": row.sd[i],
                "count": row.count[i],
                "known": row.known[i],
                "p": self.comparisons[row.name].p,
                "test": self.comparisons[row.name].test,
            }
            for row in self.rows
            for i, group in enumerate(self.groups)
        ]
        return pd.DataFrame(rows)


def covariates(table: pd.DataFrame) -> list[str]:
    """The columns of a manifest that describe the patient or the lesion: numbers, and texts of few values."""
    return [
        str(name)
        for name in table.columns
        if name not in _NO_COVARIATES
        and table[name].notna().any()
        and (pd.api.types.is_numeric_dtype(table[name]) or table[name].nunique() <= MAX_LEVELS)
        and table[name].nunique() > 1
    ]


def is_counted(values: "pd.Series[float]") -> bool:
    """Whether a characteristic is counted by its levels, and not averaged."""
    number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return not number or values.nunique() <= _FEW_NUMBERS


def levels(values: "pd.Series[float]") -> dict[object, str]:
    """Every value of a counted characteristic to how it is written, in order."""
    order = sorted(values.dropna().unique(), key=lambda value: (isinstance(value, str), value))
    return {value: _level_text(value) for value in order}


def _level_text(level: object) -> str:
    if isinstance(level, bool | np.bool_):
        return "yes" if level else "no"
    return f"{level:g}" if isinstance(level, int | float | np.number) else str(level)


def cohort_table(table: pd.DataFrame, parts: Sequence[str], labels: Sequence[str]) -> CohortTable:
    """Mean and SD of numbers, counts of levels, by partition and class, and a test between the classes.

    Numbers: Welch's t-test. Levels: chi-squared without correction, or Fisher's exact test (Fisher-Freeman-Halton by
    Monte Carlo beyond 2 x 2) where a count below 5 is expected. No correction for the number of characteristics.

    Args:
        table: one row per case: label, partition, and the covariates.
        parts: partitions, in the order of the columns.
        labels: classes, in that order.
    """
    members = [(part, label) for part in parts for label in labels]
    frames = [table[(table["partition"] == part) & (table["label"] == label)] for part, label in members]
    groups = [Group(part, label, len(frame)) for (part, label), frame in zip(members, frames, strict=True)]
    rows: list[Row] = []
    comparisons = {}
    for name in covariates(table):
        if is_counted(table[name]):
            known = [int(frame[name].notna().sum()) for frame in frames]
            blank = [math.nan] * len(frames)
            for level, text in levels(table[name]).items():
                counts = [int((frame[name] == level).sum()) for frame in frames]
                rows.append(Row(name, text, blank, blank, counts, known))
        else:
            known = [int(frame[name].notna().sum()) for frame in frames]
            rows.append(
                Row(
                    name,
                    "",
                    [_mean(frame[name]) for frame in frames],
                    [_sd(frame[name]) for frame in frames],
                    known,
                    known,
                )
            )
        comparisons[name] = _compared(table, name, labels)
    return CohortTable(groups, rows, comparisons)


def _mean(values: "pd.Series[float]") -> float:
    return float(values.mean()) if values.notna().any() else math.nan


def _sd(values: "pd.Series[float]") -> float:
    return float(values.std(ddof=1)) if values.notna().sum() > 1 else math.nan


def _compared(table: pd.DataFrame, name: str, labels: Sequence[str]) -> Comparison:
    from scipy import stats

    known = table[table[name].notna() & table["label"].isin(labels)]
    if not is_counted(table[name]):
        first, second = (known.loc[known["label"] == label, name].to_numpy(dtype=np.float64) for label in labels)
        if min(len(first), len(second)) < 2 or np.ptp(np.concatenate([first, second])) == 0:
            return Comparison(math.nan, "none")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Comparison(float(stats.ttest_ind(first, second, equal_var=False).pvalue), "welch")
    counts = pd.crosstab(known[name], known["label"]).to_numpy()
    if min(counts.shape) < 2:
        return Comparison(math.nan, "none")
    if stats.contingency.expected_freq(counts).min() >= _SMALL_EXPECTATION:
        return Comparison(float(stats.chi2_contingency(counts, correction=False).pvalue), "chi_squared")
    if counts.shape == (2, 2):
        return Comparison(float(stats.fisher_exact(counts).pvalue), "fisher")
    # The same draws at every call, or the page would differ from one start to the next.
    method = stats.MonteCarloMethod(n_resamples=_DRAWS, rng=np.random.default_rng(0))
    return Comparison(float(stats.fisher_exact(counts, method=method).pvalue), "fisher_monte_carlo")
