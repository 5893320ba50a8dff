"""`manifest.csv` as people's programs write it: Excel's separators, encodings and decimal commas, Windows paths."""

import codecs
import csv
import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from eusml.data.manifest import BOX_COLUMNS, MAX_TEXT_CHARS, REQUIRED_COLUMNS, TEXT_COLUMNS
from eusml.data.sources.tree import name_key, readable
from eusml.errors import DataError
from eusml.sentences import Sentence, sentence

MANIFEST = "manifest.csv"
MAX_BYTES = 64 * 1024 * 1024
_KNOWN = (*TEXT_COLUMNS, *BOX_COLUMNS, "size_mm", "age_years", "sex", "synthetic")
"""Columns that mean something to eusml, whose names are understood in other spellings, too: `Case ID`."""
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SAVE_AS = "open it in Excel or LibreOffice and save it as 'CSV UTF-8 (comma delimited)'"
_DECIMAL = re.compile(r"[+-]?([0-9]+(,[0-9]+)?|,[0-9]+)([eE][+-]?[0-9]+)?")
_END = "\0"
"""A cell that no table holds, for it is refused before."""
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def find_manifest(root: Path) -> Path | None:
    """The manifest of a folder, in whatever case its name is written; None if there is none.

    Raises:
        DataError: there are two, or it is no file; or the folder cannot be read.
    """
    try:
        found = sorted(path for path in root.iterdir() if path.name.lower() == MANIFEST)
    except OSError as error:
        raise DataError(f"folder {readable(str(root))} cannot be read: {error.strerror}") from None
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"{root} holds {names}; keep the one that is meant")
    if found and not found[0].is_file():
        what = "a folder" if found[0].is_dir() else "a link that leads nowhere" if found[0].is_symlink() else "no file"
        raise DataError(f"{found[0]} is {what}; a table with the columns {', '.join(REQUIRED_COLUMNS)} is expected")
    return found[0] if found else None


def read_table(path: Path) -> tuple[pd.DataFrame, tuple[Sentence, ...]]:
    """A manifest as it stands in the file: nothing is checked but that it is a table.

    UTF-8 with or without a mark, or UTF-16 with one; commas, semicolons or tabs, told by the header; numbers with a
    decimal comma where the separator is no comma. Cells lose spaces around them, and columns that eusml knows get
    their own names: `Case ID` is `case_id`.

    Returns:
        The table, `TEXT_COLUMNS` as text and numbers as numbers, and what was understood rather than read, a sentence
        each.

    Raises:
        DataError: too large, not text in a known encoding, a column without a name or with one that stands twice, a
            row with too many cells, a quotation mark that is not closed.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{path} has {size:,} bytes; at most {MAX_BYTES:,} are read, enough for 500,000 cases")
        text = _decoded(path.read_bytes(), path)
        separator, rows = _parsed(text, path)
    except OSError as error:
        raise DataError(f"{path} cannot be read as a table: {error.strerror}") from None
    names, notes = _named(rows.pop(0)[1], rows, path)
    body = [_fitted(cells, names, line, path) for line, cells in rows]
    while body and not any(body[-1]):
        body.pop()  # Excel leaves rows of empty cells below a table that was longer once
    if separator != ",":
        with_comma = _decimal_commas_to_points(names, body)
        if with_comma:
            template = "{file}: decimal commas were read in {columns}."
            notes.append(sentence("notes.decimal_commas", template, file=path.name, columns=with_comma))
    plain = io.StringIO(newline="")
    csv.writer(plain).writerows([names, *body])
    plain.seek(0)
    kinds = dict.fromkeys(TEXT_COLUMNS, str)
    table = pd.read_csv(plain, index_col=False, dtype=kinds, keep_default_na=False, na_values=[""], low_memory=False)
    return table, tuple(notes)


def local_images(table: pd.DataFrame, root: Path, where: str) -> tuple[pd.DataFrame, tuple[Sentence, ...]]:
    """The table with `image` as paths that can be opened below `root`, and a note on what was understood for that.

    Windows paths get slashes; where a file's name differs from the cell in upper and lower case only, or in how its
    accents are stored, the file's own name is taken. Files that do not exist stay as they are.

    Args:
        table: of `read_table`.
        root: the folder that the paths are relative to.
        where: what to call the table in messages.

    Raises:
        DataError: a path is absolute or leads out of `root`, or is that of a folder.
    """
    if "image" not in table.columns:
        return table, ()
    listings: dict[Path, dict[str, list[str]]] = {}
    names, respelled = [], 0
    cases = table["case_id"] if "case_id" in table.columns else pd.Series(range(1, len(table) + 1))
    for case_id, image in zip(cases, table["image"], strict=True):
        name = image
        if isinstance(image, str) and len(image) <= MAX_TEXT_CHARS:
            try:
                name = _local(image, root)
                if not _is_there(root / name):
                    found = _ignoring_case(root, name, listings)
                    respelled += found != name
                    name = found
            except _Refused as why:
                raise DataError(f"{where}: image {readable(image)!r} of case {case_id} {why}") from None
        names.append(name)
    template = "{where}: {count} of the images are written in other upper or lower case or accents than their files."
    note = sentence("notes.respelled", template, where=where, count=respelled)
    return table.assign(image=names), (note,) if respelled else ()


def _decoded(data: bytes, path: Path) -> str:
    if data.startswith(_WORKBOOKS):
        raise DataError(f"{path} is an Excel workbook and no CSV, whatever its name says; {_SAVE_AS}")
    utf16 = data.startswith(_UTF16)
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if utf16:
            raise DataError(f"{path} is UTF-16 by its mark and damaged at byte {error.start}; {_SAVE_AS}") from None
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} is not UTF-8 (line {line}, byte 0x{data[error.start]:02x}), but perhaps in the code page of a "
            f"Windows computer, GBK or cp1252, which cannot be told for sure; {_SAVE_AS}"
        ) from None
    if "\0" in text:
        raise DataError(f"{path} is no text: it holds zero bytes, perhaps as UTF-16 without a mark; {_SAVE_AS}")
    if not text.strip():
        raise DataError(f"{path} cannot be read as a table: it is empty")
    return text


def _parsed(text: str, path: Path) -> tuple[str, list[tuple[int, list[str]]]]:
    """The separator, and rows as their first line and their cells, the header first."""
    hint = re.match(r'"?sep=([,;\t])"?\r?\n', text, re.IGNORECASE)  # what some programs write for Excel's sake
    before, text = (1, text[hint.end() :]) if hint else (0, text)
    try:
        separator = hint[1] if hint else _separator(text)
        rows = list(_rows(text + f"\n{_END}\n", separator, before))
    except csv.Error as error:
        # The one limit of csv's: a cell of 131,072 characters.
        raise DataError(f"{path} cannot be read as a table: {error}; is a quotation mark not closed?") from None
    line, last = rows.pop()
    if last != [_END]:  # it was taken for a part of a cell
        raise DataError(f"{path} cannot be read as a table: a quotation mark that opens in line {line} is not closed")
    if not rows:
        raise DataError(f"{path} cannot be read as a table: it is empty")
    return separator, rows


def _separator(text: str) -> str:
    """That which parts the header into the most names that are known, or else into the most names."""

    def names(separator: str) -> tuple[int, int]:
        _, header = next(_rows(text, separator, 0), (1, []))
        return sum(_known(name) is not None for name in header), len(header)

    return max(_SEPARATORS, key=names)


def _rows(text: str, separator: str, before: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    line = before + 1
    for cells in reader:
        if cells:
            yield line, [cell.strip() for cell in cells]
        line = before + reader.line_num + 1


def _known(name: str) -> str | None:
    """The column that a name of a header means, if it is one of those that eusml knows."""
    spelled = re.sub(r"[\s_-]+", "_", name.strip().casefold())
    return spelled if spelled in _KNOWN else None


def _named(header: list[str], rows: list[tuple[int, list[str]]], path: Path) -> tuple[list[str], list[Sentence]]:
    """Names of the columns and a note on those that were understood."""
    while header and not header[-1] and not any(any(cells[len(header) - 1 :]) for _, cells in rows):
        header = header[:-1]  # a column that Excel keeps empty
    if "" in header:
        raise DataError(f"{path}: column {header.index('') + 1} has no name in the header; name it or delete it")
    # A name that is there as it should be is meant; another spelling of it beside it is a column of its own.
    own = {name: _known(name) for name in header}
    names = [name if own[name] is None or own[name] in own else str(own[name]) for name in header]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column {', '.join(map(repr, twice))} stands more than once")
    changed = [(old, new) for old, new in zip(header, names, strict=True) if old != new]
    understood = [sentence("notes.column", "{old!r} as {new}", old=old, new=new) for old, new in changed]
    template = "{file}: columns were read under other names: {columns}."
    note = sentence("notes.columns", template, file=path.name, columns=understood)
    return names, [note] if understood else []


def _fitted(cells: list[str], names: list[str], line: int, path: Path) -> list[str]:
    """As many cells as there are columns."""
    if any(cells[len(names) :]):
        raise DataError(
            f"{path} has rows with more cells than its header names: line {line} has {len(cells)}, the header "
            f"{len(names)}; put cells that hold the separator, as in 3,5, in quotation marks"
        )
    return (cells + [""] * (len(names) - len(cells)))[: len(names)]


def _decimal_commas_to_points(names: list[str], body: list[list[str]]) -> list[str]:
    """Change `body`; names of the columns where all cells are numbers and some have a comma."""
    changed = []
    for place, name in enumerate(names):
        filled = [row[place] for row in body if row[place]]
        if name in TEXT_COLUMNS or not any("," in cell for cell in filled):
            continue
        if all(_DECIMAL.fullmatch(cell) for cell in filled):
            changed.append(name)
            for row in body:
                row[place] = row[place].replace(",", ".")
    return changed


class _Refused(Exception):
    """What is wrong with an image's path."""


def _local(image: str, root: Path) -> str:
    """The path as this system writes it.

    Raises:
        _Refused: it is absolute or leads out of the folder.
    """
    # Elsewhere than on Windows a backslash may be a part of a name, so the name as it stands comes first.
    windows = re.search(r"\\|^[A-Za-z]:", image) and not os.path.exists(root / image)
    path = PureWindowsPath(image) if windows else PurePosixPath(image)
    if path.anchor:
        parts = path.parts[1:]
        ends = ("/".join(parts[at:]) for at in range(len(parts)))
        inside = next((end for end in ends if os.path.isfile(root / end)), None)
        meant = f"; write {inside}" if inside else ""
        raise _Refused(f"must be a path below {readable(str(root))}, relative to it{meant}")
    if ".." in path.parts:
        raise _Refused(f"must be a path below {readable(str(root))}, without '..'")
    return path.as_posix()


def _is_there(path: Path) -> bool:
    """Whether the file exists.

    Raises:
        _Refused: it is no file, or the system cannot say.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno in _MISSING:
            return False
        raise _Refused(f"cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise _Refused(f"is {'a folder' if stat.S_ISDIR(mode) else 'no file'}; one image file is expected")
    return True


def _ignoring_case(root: Path, name: str, listings: dict[Path, dict[str, list[str]]]) -> str:
    """The one file of a name that is the same but for case and accents; `name` itself if there is none."""
    folder = root
    for part in PurePosixPath(name).parts:
        if folder not in listings:
            listings[folder] = _listing(folder)
        same = listings[folder].get(name_key(part), [])
        if len(same) != 1:
            return name
        folder = folder / same[0]
    return folder.relative_to(root).as_posix()


def _listing(folder: Path) -> dict[str, list[str]]:
    """Names in a folder by what they are without case and accents."""
    found: dict[str, list[str]] = {}
    try:
        for name in os.listdir(folder):
            found.setdefault(name_key(name), []).append(name)
    except OSError:
        return {}
    return found
