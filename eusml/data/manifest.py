"""The table of cases: one row per image, checked once where it enters and trusted from there on.

Columns: `case_id` (unique), `patient_id`, `image` (path below the source's root), `label`; optional `bbox_x`,
`bbox_y`, `bbox_w`, `bbox_h` (pixels of the picture as a viewer shows it); any other column is a covariate and is
carried along.
"""

import difflib
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eusml.data.boxes import Box
from eusml.errors import DataError
from eusml.sentences import Sentence, sentence

REQUIRED_COLUMNS = ("case_id", "image", "label")
BOX_COLUMNS = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
MADE_COLUMNS = ("group_id", "y_true", "pixels_sha256")
"""What preparation adds to a manifest, so that no covariate may be called so."""
TEXT_COLUMNS = ("case_id", "patient_id", "image", "label")
MAX_TEXT_CHARS = 1000
"""Of a name, a path or a label. No person writes longer ones; an unclosed quotation mark makes them."""
_SHOWN = 5


@dataclass(frozen=True)
class Exclusion:
    """A case that was found and is not studied."""

    case_id: str
    reason: str
    """Why, in a few words that several cases may share: they are counted by it. A `Sentence`, or plain text."""


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
    """What a person should know about the source, a `Sentence` each; the audit shows them."""


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


def no_patients(source: str) -> Sentence:
    """What is to be known of a public source without patients."""
    return sentence(
        "notes.no_patients",
        "{source} names no patients: every image counts as a patient of its own, so two images of one patient can "
        "stand on both sides of a split.",
        source=source,
    )


def box_of(row: Mapping[Any, Any]) -> Box | None:
    """The box of a checked row, in whole pixels; None where it has none."""
    if BOX_COLUMNS[0] not in row or pd.isna(row[BOX_COLUMNS[0]]):
        return None
    x, y, w, h = (round(row[name]) for name in BOX_COLUMNS)
    return x, y, w, h


def table_digest(table: pd.DataFrame) -> str:
    """SHA-256 of a table's CSV text."""
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


def check_table(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """A copy of the table with `patient_id` filled in and every column of the right kind.

    Args:
        table: as read; text columns hold text.
        where: what to call it in messages: the path of the file.

    Raises:
        DataError: a column is missing, a cell empty or endless, a `case_id` stands twice, one file is two cases, two
            labels differ in nothing one sees, a box is not four numbers.
    """
    missing = [name for name in REQUIRED_COLUMNS if name not in table.columns]
    if missing:
        near = {name: difflib.get_close_matches(name, table.columns, n=1, cutoff=0.6) for name in missing}
        hints = "".join(f"; is {found[0]!r} meant for {name!r}?" for name, found in near.items() if found)
        raise DataError(f"{where} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}{hints}")
    if table.empty:
        raise DataError(f"{where} holds no cases")
    own = [name for name in MADE_COLUMNS if name in table.columns]
    if own:
        raise DataError(f"{where}: eusml makes the column {', '.join(own)} itself; rename or delete it")
    table = table.copy().reset_index(drop=True)
    if "patient_id" not in table.columns:
        table.insert(1, "patient_id", table["case_id"])
    for name in TEXT_COLUMNS:
        cells = table[name].astype("string").str.strip()
        empty = cells.isna() | (cells == "")
        if empty.any():
            raise DataError(f"{where}: {name} is empty in data row {_listed((np.flatnonzero(empty) + 1).tolist())}")
        endless = np.flatnonzero(cells.str.len() > MAX_TEXT_CHARS)
        if len(endless):
            cell = cells.iloc[endless[0]]
            raise DataError(
                f"{where}: {name} in data row {endless[0] + 1} has {len(cell):,} characters, at most "
                f"{MAX_TEXT_CHARS:,} are expected; it starts with {cell[:40]!r}"
            )
        table[name] = cells.astype(object)
    # A Mac writes the letters of a folder's name otherwise than a keyboard does, and both look the same.
    table["label"] = table["label"].map(lambda label: unicodedata.normalize("NFC", label))
    _check_labels(table, where)
    twice = table.loc[table["case_id"].duplicated(), "case_id"].unique().tolist()
    if twice:
        raise DataError(
            f"{where}: case_id must be unique, but {_listed(twice)} stands more than once. Every image is a case of "
            "its own; images of one patient share their patient_id, not their case_id"
        )
    table = _check_boxes(table, where)
    _check_files(table, where)
    return table


def two_classes(table: pd.DataFrame, positive_class: str, where: str) -> str:
    """Name of the class that is not the positive one.

    Raises:
        DataError: there is one class only, there are more than two, or none is called `positive_class`.
    """
    counts = table["label"].value_counts()
    found = ", ".join(f"{name!r} ({count})" for name, count in counts.items())
    if positive_class not in counts.index:
        same = [name for name in counts.index if str(name).casefold() == positive_class.casefold()]
        near = same or difflib.get_close_matches(positive_class, list(counts.index), n=1)
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


def _check_files(table: pd.DataFrame, where: str) -> None:
    """Refuse a file that is the image of several cases, unless they are different boxes of one patient."""
    boxes = [name for name in BOX_COLUMNS if name in table.columns]
    for file, rows in table[table["image"].duplicated(keep=False)].groupby("image", sort=False):
        names = f"cases {_listed(rows['case_id'].tolist())}"
        if not boxes or rows.duplicated(boxes).any():
            raise DataError(
                f"{where}: {names} have the same image {file!r}; delete all rows of it but one, or name the right files"
            )
        if rows["patient_id"].nunique() > 1:
            raise DataError(
                f"{where}: {names} are different boxes in one image, {file!r}, so they are of one patient and must "
                f"share a patient_id; they have {_listed(rows['patient_id'].unique().tolist())}"
            )


def _check_labels(table: pd.DataFrame, where: str) -> None:
    """Refuse labels that a person reads as one class: another case, full-width letters, characters without a width."""
    seen: dict[str, str] = {}
    for label in table["label"].unique():
        visible = "".join(sign for sign in label if unicodedata.category(sign) != "Cf")
        earlier = seen.setdefault(unicodedata.normalize("NFKC", visible).casefold(), label)
        if earlier != label:
            cases = _listed(table.loc[table["label"] == label, "case_id"].tolist())
            raise DataError(
                f"{where}: labels {_told_apart(earlier, label)} would be two classes although they read alike; "
                f"write one of them everywhere (the second is that of case {cases})"
            )


def _told_apart(first: str, second: str) -> str:
    """Two texts for a message, in escapes where a person could not tell them apart otherwise."""
    plain = first.isprintable() and second.isprintable() and first.casefold() == second.casefold()
    return f"{first!r} and {second!r}" if plain else f"{first!a} and {second!a}"


def has_boxes(table: pd.DataFrame, where: str) -> bool:
    """Whether the table has the columns of a lesion's box.

    Raises:
        DataError: it has some of them.
    """
    present = [name for name in BOX_COLUMNS if name in table.columns]
    if present and len(present) < len(BOX_COLUMNS):
        raise DataError(f"{where} has {', '.join(present)} only; a box needs {', '.join(BOX_COLUMNS)}")
    return bool(present)


def _check_boxes(table: pd.DataFrame, where: str) -> pd.DataFrame:
    if not has_boxes(table, where):
        return table
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
