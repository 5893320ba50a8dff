"""Tables as CSV that a spreadsheet opens without running anything, and back.

Excel and LibreOffice take a cell that starts with `=`, `+`, `-` or `@` for a formula, whoever wrote the name of the
patient or of the file that stands there (CSV injection, https://owasp.org/www-community/attacks/CSV_Injection). So
such a cell gets a single quote in front, and so does one that starts with a quote already: reading takes one away.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

_SKIPPED = r"(?:[^\S\t\r\n]|[\"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060\ufeff])*+"
"""What a spreadsheet drops or does not show in front of a formula; tabs and ends of lines are starts of their own."""
_START = r"(^|[;\t\r\n])"
"""Where a cell can start: a spreadsheet whose list separator is `;` or a tab parts our commas' cells there, for it does
not know a quotation mark inside a line, and then a line break inside a cell starts a row."""
_RISKY = re.compile(rf"{_START}(?='|[\t\r\n]|{_SKIPPED}[=+\-@＝＋－＠])")
_PERHAPS_RISKY = re.compile(r"['\t\r\n=+\-@＝＋－＠]")
_GUARDED = re.compile(rf"{_START}'")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def to_csv_text(table: pd.DataFrame) -> str:
    """CSV text of a table, without its index; no cell or column name of it runs as a formula.

    Numbers stay as they are, and so does text that is a plain number (`-3.5`), unless it has a sign and starts a row
    of several cells. A table without risky cells gives exactly pandas' own CSV.

    Args:
        table: columns with different names. Text may hold anything but lone surrogates.
    """
    # A copy of no data: only text columns are replaced.
    safe = table.copy(deep=False)
    several = len(table.columns) > 1
    names = [_guarded(name, several and place == 0) for place, name in enumerate(table.columns)]
    safe.columns = pd.Index(names, dtype=object)
    broken = any("\r" in name for name in safe.columns if isinstance(name, str))
    for place, dtype in enumerate(table.dtypes):
        if is_numeric_dtype(dtype) or is_bool_dtype(dtype) or is_datetime64_any_dtype(dtype):
            continue
        cells = [_guarded(cell, several and place == 0) for cell in table.iloc[:, place].astype(object)]
        broken = broken or any("\r" in cell for cell in cells if isinstance(cell, str))
        safe.isetitem(place, pd.array(cells, dtype=object))
    # A carriage return inside a cell is put in quotation marks only where rows end with one, too; otherwise it would
    # read back as the end of a row.
    return str(safe.to_csv(index=False, lineterminator="\r\n" if broken else "\n"))


def from_csv_text(text: str, text_columns: Sequence[str] = ()) -> pd.DataFrame:
    """The table that `to_csv_text` wrote.

    Kept exactly: text of the columns named, numbers to the last bit, missing cells, column names. Not kept: an empty
    text is a missing cell afterwards, the index is gone, and text of columns that are not named becomes numbers where
    all of it looks like numbers, as with `pandas.read_csv`.

    Args:
        text: CSV.
        text_columns: columns that hold text even where it looks like numbers, `007` and `NA`; those that the table
            lacks do not matter.

    Raises:
        ValueError: the text is empty or no table.
    """
    # A row of one cell that holds a space is a row. And no column is guessed in pieces, which would mix its kinds.
    how: dict[str, Any] = {"keep_default_na": False, "skip_blank_lines": False, "low_memory": False}
    # The names first, as text: pandas would read its own into those that are empty.
    head = pd.read_csv(io.StringIO(text), header=None, nrows=1, dtype=str, **how)
    names = [_unguarded(name) for name in head.iloc[0]]
    kinds = dict.fromkeys(text_columns, str)
    table: pd.DataFrame = pd.read_csv(
        io.StringIO(text), header=0, names=names, index_col=False, dtype=kinds, na_values=[""], **how
    )
    for place, dtype in enumerate(table.dtypes):
        if not (is_numeric_dtype(dtype) or is_bool_dtype(dtype)):
            table.isetitem(place, table.iloc[:, place].map(_unguarded).astype(dtype).array)
    return table


def read_csv(path: Path, text_columns: Sequence[str] = ()) -> pd.DataFrame:
    """The table in a file that holds the text of `to_csv_text` as UTF-8; see `from_csv_text`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, empty or no table.
    """
    return from_csv_text(path.read_bytes().decode("utf-8"), text_columns)


def _guarded(cell: object, starts_row: bool) -> object:
    # Where the comma is a decimal comma, `-3` at the start of a row and the cell after it are read as one, `-3,1*…`.
    if not isinstance(cell, str) or not _PERHAPS_RISKY.search(cell):
        return cell
    if _NUMBER.fullmatch(cell) and not starts_row:
        return cell
    return _RISKY.sub(r"\1'", cell)


def _unguarded(cell: object) -> object:
    # Every place where a cell can start has a quote of ours if there is any quote at all, so one is ours.
    return _GUARDED.sub(r"\1", cell) if isinstance(cell, str) and "'" in cell else cell
