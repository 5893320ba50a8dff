"""CSV that runs nothing in a spreadsheet and reads back."""

import csv
import io
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import eusml
from eusml.tables import from_csv_text, read_csv, to_csv_text

NASTY = st.sampled_from("'=+-@;,|\t\r\n \"!\x00\x0b\x1f\x85\xa0\u200b\u2028\u3000\ufeff＝＋－＠0.eA")
TEXT = st.text(st.one_of(NASTY, st.characters(exclude_categories=["Cs"])), min_size=1, max_size=10)
CELLS = st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT), min_size=1, max_size=5)
NAMES = st.lists(TEXT, min_size=3, max_size=3, unique=True)


def table_of(cells: list[tuple[str | None, str | None]], names: list[str]) -> pd.DataFrame:
    first, second = (pd.Series(list(column), dtype=str) for column in zip(*cells, strict=True))
    numbers = np.arange(len(cells)) - 1.5
    return pd.DataFrame(dict(zip(names, (first, numbers, second), strict=True)))


def would_run(cell: str) -> bool:
    """What a spreadsheet takes for a formula, told in other words than the code's."""
    shown = cell.lstrip("".join(map(chr, range(33))) + '"\x7f\x85\xa0\u200b\u2028\u3000\ufeff')
    number = re.fullmatch(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?", cell)
    return shown[:1] in set("=+-@＝＋－＠") and not number


def as_spreadsheets_part_it(text: str) -> list[str]:
    """The cells of a CSV text as read where the list separator is a comma, a semicolon or a tab."""
    return [cell for sep in ",;\t" for row in csv.reader(io.StringIO(text, newline=""), delimiter=sep) for cell in row]


@settings(max_examples=300)
@given(CELLS, NAMES)
@example([("=1", "'=1"), ("''", "-3.5"), ("-3", None)], ["+a", "n", "'b"])
@example([(" ", "a\r\nb"), (None, "\r"), ("NA", "nan")], ["\r", "n", "b"])
def test_every_text_reads_back_exactly(cells: list[tuple[str | None, str | None]], names: list[str]) -> None:
    table = table_of(cells, names)
    text = to_csv_text(table)
    pd.testing.assert_frame_equal(from_csv_text(text, [names[0], names[2]]), table, check_column_type=False)
    alone = table[[names[0]]]
    again = from_csv_text(to_csv_text(alone), names)
    pd.testing.assert_frame_equal(again, alone, check_column_type=False)


@settings(max_examples=300)
@given(CELLS, NAMES)
@example([("a", "x;=1+1")], ["a", "n", "b"])
@example([("a", 'x\n ;"=1+1"')], ["a", "n", "b"])
@example([("-3", "1*cmd|' /C calc'!A0")], ["a", "n", "b"])
def test_no_cell_runs_whatever_the_separator(cells: list[tuple[str | None, str | None]], names: list[str]) -> None:
    table = table_of(cells, names)[[names[0], names[2], names[1]]]
    text = to_csv_text(table)
    # The numbers come last: a true number at the start of a row keeps its sign, whatever follows it.
    assert [cell for cell in as_spreadsheets_part_it(text) if would_run(cell)] == []


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\tx",
        "\rx",
        " =1",
        "\u3000=1",
        "＝1",
        "＋1",
        "－1",
        "＠A",
        "-inf",
        "- 3",
    ],
)
def test_formulas_get_a_quote_and_so_do_quotes(cell: str) -> None:
    table = pd.DataFrame({"case": ["a"], "text": [cell], "quoted": ["'" + cell], cell: [1]})
    rows = list(csv.reader(io.StringIO(to_csv_text(table), newline="")))
    assert rows[1][1].startswith("'" + cell[0])
    assert rows[1][2].startswith("''" + cell[0])
    assert rows[0][3].startswith("'" + cell[0])
    assert from_csv_text(to_csv_text(table), ["case", "text", "quoted"]).to_dict("list") == table.to_dict("list")


def test_true_numbers_and_plain_text_are_pandas_own_csv() -> None:
    table = pd.DataFrame(
        {
            "case_id": ["a", "007", "间质瘤", "b-c=d"],
            "n": [-1, 2, 3, 4],
            "x": [-0.1, np.nan, np.inf, 1e-300],
            "number": ["-3.5", "+2", "-1e-5", "-.5"],
            "flag": [True, False, True, True],
            "mixed": [-1, "b", None, -2.5],
        }
    )
    assert to_csv_text(table) == table.to_csv(index=False)


def test_numbers_read_back_to_the_last_bit_and_kinds_stay() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.random(3000) * 10.0 ** rng.integers(-20, 20, 3000), "n": np.arange(3000) - 7})
    table["flag"] = table["n"] > 5
    pd.testing.assert_frame_equal(from_csv_text(to_csv_text(table)), table, check_exact=True)


def test_what_is_not_kept_is_what_the_docstring_says() -> None:
    table = pd.DataFrame({"case_id": ["", "007"], "age": ["1", "2"]}, index=[5, 6])
    again = from_csv_text(to_csv_text(table), ["case_id"])
    assert again["case_id"].isna().tolist() == [True, False]
    assert again["case_id"][1] == "007"
    assert again["age"].tolist() == [1, 2]


def test_an_empty_table_and_an_empty_file(tmp_path: Path) -> None:
    assert from_csv_text(to_csv_text(pd.DataFrame({"a": [], "=b": []}))).columns.tolist() == ["a", "=b"]
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(ValueError, match="No columns"):
        read_csv(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(ValueError, match="utf-8"):
        read_csv(tmp_path / "a.csv")


def test_a_file_reads_back_with_its_line_breaks(tmp_path: Path) -> None:
    table = pd.DataFrame({"case_id": ["a\r\nb", "c\rd"], "label": ["=x", "y\n"]})
    (tmp_path / "a.csv").write_bytes(to_csv_text(table).encode())
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv"), table)


@pytest.mark.parametrize("piece", ["\n ", "; ", " ", "\t", "'", "\n'", ' "'])
def test_long_cells_take_no_longer_than_their_length(piece: str) -> None:
    start = time.process_time()
    table = pd.DataFrame({"a": ["x" + piece * 200_000]})
    pd.testing.assert_frame_equal(from_csv_text(to_csv_text(table)), table)
    assert time.process_time() - start < 5


def test_nothing_else_writes_csv() -> None:
    """`to_csv` and the csv module's writers leave formulas as they are: what is written goes through `eusml.tables`."""
    root = Path(eusml.__file__).parent
    # They make text that is hashed, or parsed at once, and never a file.
    for_itself = {"commands/cohort.py", "data/manifest.py", "data/sources/table.py", "tables.py"}
    writes = re.compile(r"\.to_csv\(|csv\.(Dict)?[wW]riter\(")
    found = [file.relative_to(root).as_posix() for file in root.rglob("*.py") if writes.search(file.read_text("utf-8"))]
    assert set(found) <= for_itself
