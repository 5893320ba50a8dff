from pathlib import Path

import pytest

from eusml.data.images import encode_png
from eusml.data.questions import Question, read_questions
from eusml.errors import DataError
from tests.pictures import speckled


def test_a_folder_is_asked_about_file_by_file_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.PNG", "a/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode_png(speckled(0)))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "dead.png").write_bytes(b"")  # that it is none is found out when it is asked about
    found = read_questions(tmp_path)
    assert [one.case_id for one in found] == ["a/b.jpg", "a/z.PNG", "b.png", "dead.png"]
    assert found[0] == Question("a/b.jpg", tmp_path / "a/b.jpg", None)


def test_a_table_gives_names_and_boxes_and_a_bad_row_is_one_row(tmp_path: Path) -> None:
    table = tmp_path / "ask.csv"
    table.write_text(
        "case_id;image;bbox_x;bbox_y;bbox_w;bbox_h\n"
        "one;one.png;1;2,6;30;40\n"
        "two;two.png;;;;\n"
        "three;three.png;1;2;;4\n"
        "four;;1;2;3;4\n"
        "five;five.png;1;2;inf;4\n"
    )
    found = {one.case_id: one for one in read_questions(table)}
    assert found["one"] == Question("one", tmp_path / "one.png", (1, 3, 30, 40))
    assert found["two"].box is None
    assert found["two"].error is None
    assert found["three"].error == "a box needs four numbers of pixels, found 1, 2, nan, 4"
    assert found["four"].error == "line 5 names no image"
    assert found["five"].error is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name\nx\n", "has no column image"),
        ("image\n", "has no rows"),
        ("image,bbox_x,bbox_y,bbox_w,bbox_height\na.png,1,2,3,4\n", "has bbox_x, bbox_y, bbox_w only"),
        ("image\n/etc/passwd\n", "must be a path below"),
    ],
)
def test_a_table_that_is_none_is_said(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "ask.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_questions(tmp_path / "ask.csv")


def test_nothing_to_ask_about_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"predict\.images is not given"):
        read_questions(None)
    with pytest.raises(DataError, match="does not exist"):
        read_questions(tmp_path / "away")
    with pytest.raises(DataError, match="holds no images"):
        read_questions(tmp_path)
