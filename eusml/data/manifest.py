"""The table of cases: one row per image, checked once where it enters and trusted from there on.

Columns: `case_id` (unique), `patient_id`, `image` (path below the source's root), `label`; optional `bbox_x`,
`bbox_y`, `bbox_w`, `bbox_h` (pixels of the stored image); any other column is a covariate and is carried along.
"""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eusml.errors import DataError

REQUIRED_COLUMNS = ("case_id", "image", "label")
BOX_COLUMNS = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
TEXT_COLUMNS = ("case_id", "patient_id", "image", "label")
_SHOWN = 5


@dataclass(frozen=True)
class Exclusion:
    """A case that was found and is not studied."""

    case_id: str
    reason: str
    """Why, in a few words that several cases may share: they are counted by it."""


@dataclass(frozen=True)
class Cases:
    """What a source found: a checked table of images that nobody has decoded yet."""

    root: Path
    """Folder that `image` is relative to."""
    table: pd.DataFrame
    source: str
    """Name of the source and where it lies, for people: `folder /images/2024`."""
    synthetic: bool
    """Whether the images are made up; everything made from them says so."""
    excluded: tuple[Exclusion, ...] = ()
    """What the source found and left out of `table`."""
    notes: tuple[str, ...] = ()
    """What a person should know about the source, a sentence each; the audit shows them."""


@dataclass(frozen=True)
class Manifest:
    """The table of prepared images: that of `Cases` with `y_true` (1 for the positive class) and `pixels_sha256`."""

    table: pd.DataFrame
    source: str
    synthetic: bool
    positive_class: str
    negative_class: str

    @property
    def digest(self) -> str:
        """SHA-256 of the table: who the cases are, their labels and what their prepared pixels are."""
        return table_digest(self.table)

    @property
    def y_true(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """int64 [N], 1 for the positive class."""
        return self.table["y_true"].to_numpy(dtype=np.int64)

    @property
    def repeated_images(self) -> int:
        """Number of images whose prepared pixels occur more than once; the split keeps them on one side."""
        return int(self.table["pixels_sha256"].duplicated(keep=False).sum())


def table_digest(table: pd.DataFrame) -> str:
    """SHA-256 of a table's CSV text."""
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


def check_table(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """A copy of the table with `patient_id` filled in and every column of the right kind.

    Args:
        table: as read; text columns hold text.
        where: what to call it in messages: the path of the file.

    Raises:
        DataError: a column is missing, a cell empty, a `case_id` stands twice, a box is not four numbers.
    """
    missing = [name for name in REQUIRED_COLUMNS if name not in table.columns]
    if missing:
        near = {name: difflib.get_close_matches(name, table.columns, n=1, cutoff=0.6) for name in missing}
        hints = "".join(f"; is {found[0]!r} meant for {name!r}?" for name, found in near.items() if found)
        raise DataError(f"{where} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}{hints}")
    if table.empty:
        raise DataError(f"{where} holds no cases")
    table = table.copy().reset_index(drop=True)
    if "patient_id" not in table.columns:
        table.insert(1, "patient_id", table["case_id"])
    for name in TEXT_COLUMNS:
        cells = table[name].astype("string").str.strip()
        empty = cells.isna() | (cells == "")
        if empty.any():
            raise DataError(f"{where}: {name} is empty in data row {_listed((np.flatnonzero(empty) + 1).tolist())}")
        table[name] = cells.astype(object)
    twice = table.loc[table["case_id"].duplicated(), "case_id"].unique().tolist()
    if twice:
        raise DataError(f"{where}: case_id must be unique, but {_listed(twice)} stands more than once")
    return _check_boxes(table, where)


def two_classes(table: pd.DataFrame, positive_class: str, where: str) -> str:
    """Name of the class that is not the positive one.

    Raises:
        DataError: there is one class only, there are more than two, or none is called `positive_class`.
    """
    counts = table["label"].value_counts()
    found = ", ".join(f"{name!r} ({count})" for name, count in counts.items())
    if positive_class not in counts.index:
        near = difflib.get_close_matches(positive_class, list(counts.index), n=1)
        hint = near[0] if near else counts.index[-1]
        raise DataError(
            f"{where}: no case is labelled {positive_class!r}; the labels are {found}. Name the class whose "
            f"probability is to be reported with -P data.positive_class={hint}"
        )
    if len(counts) == 1:
        raise DataError(f"{where}: all {len(table)} cases are labelled {positive_class!r}; two classes are needed")
    if len(counts) > 2:
        rare = str(counts.index[-1])
        near = difflib.get_close_matches(rare, [str(name) for name in counts.index[:-1]], n=1)
        cases = _listed(table.loc[table["label"] == rare, "case_id"].tolist())
        hint = f"; is {rare!r} (case {cases}) a slip for {near[0]!r}?" if near else ""
        raise DataError(f"{where}: exactly two classes are expected, found {found}{hint}")
    return next(str(name) for name in counts.index if name != positive_class)


def _check_boxes(table: pd.DataFrame, where: str) -> pd.DataFrame:
    present = [name for name in BOX_COLUMNS if name in table.columns]
    if not present:
        return table
    if len(present) < len(BOX_COLUMNS):
        raise DataError(f"{where} has {', '.join(present)} only; a box needs {', '.join(BOX_COLUMNS)}")
    for name in BOX_COLUMNS:
        numbers = pd.to_numeric(table[name], errors="coerce")
        wrong = ~np.isfinite(numbers) & table[name].notna() & (table[name].astype(str).str.strip() != "")
        if wrong.any():
            row = table[wrong].iloc[0]
            found = repr(row[name]) if isinstance(row[name], str) else str(row[name])
            raise DataError(f"{where}: {name} of case {row['case_id']} is {found}, expected pixels")
        table[name] = numbers
    given = table[list(BOX_COLUMNS)].notna().sum(axis=1)
    partial = table[(given > 0) & (given < len(BOX_COLUMNS))]
    if not partial.empty:
        raise DataError(f"{where}: the box of case {_listed(partial['case_id'].tolist())} is incomplete")
    return table


def _listed(values: Sequence[object]) -> str:
    """The first few of many values, and how many more there are."""
    shown = ", ".join(str(value) for value in values[:_SHOWN])
    more = len(values) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
