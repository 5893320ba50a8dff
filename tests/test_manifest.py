"""`manifest.csv` as people's programs write it, not as it should be."""

import codecs
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_folder import make, read, refused

TABLE = "case_id,image,label\nc1,a.png,GIST\nc2,b.png,leiomyoma\n"


def listed(tmp_path: Path, table: str | bytes) -> Path:
    """A folder with images a.png, b.png and images/a.png, and this manifest."""
    root = make(tmp_path / "study", "a.png", "b.png", "images/a.png")
    return make(root, "manifest.csv", data=table.encode() if isinstance(table, str) else table)


def rows(root: Path) -> list[list[str]]:
    return read(root).table[["case_id", "image", "label"]].values.tolist()


EXPECTED = [["c1", "a.png", "GIST"], ["c2", "b.png", "leiomyoma"]]
READ_RIGHT: dict[str, str | bytes] = {
    "mark": codecs.BOM_UTF8 + TABLE.encode(),
    "UTF-16": codecs.BOM_UTF16_LE + TABLE.replace(",", "\t").encode("utf-16-le"),
    "UTF-16 of a Mac": codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
    "semicolons": TABLE.replace(",", ";"),
    "tabs": TABLE.replace(",", "\t"),
    "separator named": "sep=;\r\n" + TABLE.replace(",", ";"),
    "Windows": TABLE.replace("\n", "\r\n"),
    "old Mac": TABLE.replace("\n", "\r"),
    "spaces": ' case_id , image\t, label \n c1 , "a.png" ,GIST \n\xa0c2,b.png,\u3000leiomyoma\n',
    "other case": TABLE.replace("case_id", "Case_ID").replace("image", "IMAGE"),
    "other spelling": TABLE.replace("case_id", "Case ID").replace("label", "Label"),
    "empty rows and columns of Excel": "case_id,image,label,,\nc1,a.png,GIST,,\nc2,b.png,leiomyoma,,\n,,,,\n,,,,\n",
    "empty lines": TABLE.replace("\n", "\n\n"),
    "no end": TABLE.rstrip(),
    "quoted": '"case_id","image","label"\n"c1","a.png","GIST"\n"c2","b.png","leiomyoma"',
    "separators in cells": 'case_id;image;label;"a, b, c, d, e"\nc1;a.png;GIST;"x;y"\nc2;b.png;leiomyoma;\n',
    "dot and slashes": TABLE.replace("a.png", "./a.png").replace("b.png", ".//b.png"),
    "file in other case": TABLE.replace("a.png", "A.PNG"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ_RIGHT)
def test_manifests_of_all_programs_are_read(name: str, tmp_path: Path) -> None:
    assert rows(listed(tmp_path, READ_RIGHT[name])) == EXPECTED


def test_the_manifests_own_name_may_be_in_capitals_but_not_twice(tmp_path: Path) -> None:
    root = listed(tmp_path, TABLE)
    (root / "manifest.csv").rename(root / "Manifest.CSV")
    assert rows(root) == EXPECTED
    make(root, "manifest.csv")
    assert "holds Manifest.CSV and manifest.csv; keep the one" in refused(root)


def test_what_was_understood_rather_than_read_is_said(tmp_path: Path) -> None:
    table = "Case ID;image;label;size_mm;note;n\nc1;A.png;GIST;12,5;1,5;1\nc2;b.png;leiomyoma;7;1.5;2\n"
    cases = read(listed(tmp_path, table))
    assert cases.table["size_mm"].tolist() == [12.5, 7.0]
    assert cases.table["note"].tolist() == ["1,5", "1.5"]  # it cannot be told which of the two is the decimal sign
    assert cases.table["n"].tolist() == [1, 2]
    columns, commas, case = cases.notes
    assert columns == "manifest.csv: columns were read under other names: 'Case ID' as case_id."
    assert commas == "manifest.csv: decimal commas were read in size_mm."
    assert "1 of the images are written in other upper or lower case" in case


def test_a_comma_between_digits_is_text_where_commas_part_the_cells(tmp_path: Path) -> None:
    table = 'case_id,image,label,size\nc1,a.png,GIST,"1,250"\nc2,b.png,leiomyoma,"7"\n'  # a thousand, perhaps
    cases = read(listed(tmp_path, table))
    assert (cases.table["size"].tolist(), cases.notes) == (["1,250", "7"], ())


def test_a_synthetic_cohort_stays_one_whatever_the_column_is_called(tmp_path: Path) -> None:
    assert read(
        listed(tmp_path, TABLE.replace("label\n", "label,Synthetic\n").replace("GIST\n", "GIST,yes\n"))
    ).synthetic


def test_line_breaks_in_cells_and_labels_in_chinese(tmp_path: Path) -> None:
    table = 'case_id,image,label,note\nc1,a.png,间质瘤,"two\nlines, ""quoted"""\nc2,b.png,平滑肌瘤,\n'
    cases = read(listed(tmp_path, table), "间质瘤")
    assert cases.table["note"].tolist()[0] == 'two\nlines, "quoted"'
    assert cases.table["label"].tolist() == ["间质瘤", "平滑肌瘤"]


def test_labels_and_files_are_found_however_accents_are_stored(tmp_path: Path) -> None:
    composed, decomposed = "Müller", unicodedata.normalize("NFD", "Müller")
    root = make(tmp_path / "study", f"{decomposed}.png", "b.png")
    make(root, "manifest.csv", data=f"case_id,image,label\n1,{composed}.png,{decomposed}\n2,b.png,b\n".encode())
    cases = read(root, composed)
    assert (root / cases.table["image"][0]).is_file()
    assert cases.table["label"].tolist() == [composed, "b"]


def test_windows_paths_become_this_systems(tmp_path: Path) -> None:
    assert rows(listed(tmp_path, TABLE.replace("a.png", "images\\a.png")))[0][1] == "images/a.png"
    if os.name != "nt":  # where a backslash may be a part of a name
        root = make(listed(tmp_path, TABLE.replace("a.png", "x\\a.png")), "x\\a.png")
        assert rows(root)[0][1] == "x\\a.png"


def test_patients_that_differ_in_case_only_are_pointed_out(tmp_path: Path) -> None:
    table = "case_id,image,label,patient_id\nc1,a.png,GIST,P1\nc2,b.png,GIST,p1\n"
    (note,) = read(listed(tmp_path, table)).notes
    assert "Taken for different patients, although only upper and lower case or accents differ: P1 and p1." == note


def test_two_lesions_of_one_patient_in_one_image_are_two_cases(tmp_path: Path) -> None:
    head = "case_id,patient_id,image,label,bbox_x,bbox_y,bbox_w,bbox_h\n"
    assert len(rows(listed(tmp_path, head + "c1,p,a.png,x,0,0,8,8\nc2,p,a.png,x,8,8,8,8\n"))) == 2
    message = refused(listed(tmp_path, head + "c1,p,a.png,x,0,0,8,8\nc2,q,a.png,x,8,8,8,8\n"))
    assert "cases c1, c2 are different boxes in one image, 'a.png', so they are of one patient" in message
    message = refused(listed(tmp_path, head + "c1,p,a.png,x,0,0,8,8\nc2,p,./a.png,x,0,0,8,8\n"))
    assert "cases c1, c2 have the same image 'a.png'" in message


SAVE = "save it as 'CSV UTF-8 (comma delimited)'"
HEAD = "case_id,image,label\n"
WRONG: dict[str, tuple[str | bytes, str]] = {
    "GBK": ((TABLE + "c3,c.png,间质瘤\n").encode("gbk"), "is not UTF-8 (line 4, byte 0x"),
    "cp1252": (TABLE.replace("c1", "Müller").encode("cp1252"), "manifest.csv is not UTF-8 (line 2, byte 0xfc)"),
    "how to save": (TABLE.replace("c1", "Müller").encode("cp1252"), SAVE),
    "half of UTF-16": (codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le")[:-1], "is UTF-16 by its mark and damaged"),
    "UTF-16 without a mark": (TABLE.encode("utf-16-le"), "no text: it holds zero bytes"),
    "workbook": (b"PK\x03\x04 and so on", "is an Excel workbook and no CSV"),
    "nothing": ("", "cannot be read as a table: it is empty"),
    "only a mark": (codecs.BOM_UTF8 + b"\r\n", "cannot be read as a table: it is empty"),
    "only a hint": ("sep=;\n", "cannot be read as a table: it is empty"),
    "only a header": (HEAD, "holds no cases"),
    "only a header and empty rows": (HEAD + ",,\n,,\n", "holds no cases"),
    "no label": ("case_id,image\nc1,a.png\n", "lacks the column label; it has case_id, image"),
    "near names": ("case_id,images,labels\nc1,a.png,x\n", "it has case_id, images, labels; is 'images' meant for"),
    "no name": (",case_id,image,label\n0,c1,a.png,GIST\n", "column 1 has no name in the header"),
    "the same name": ("case_id,image,Label,LABEL\nc1,a.png,x,x\n", "column 'label' stands more than once"),
    "decimal commas": ("case_id,image,label,size_mm\nc1,a.png,GIST,3,5\n", "line 2 has 5, the header 4; put cells"),
    "line of a long row": ('case_id,image,label\n"c\n1",a.png,x\nc2,b.png,y,z\n', "line 4 has 4, the header 3"),
    "open quotation mark": (HEAD + 'c1,a.png,x\nc2,"b.png,y\nc3,c.png,z\n', "mark that opens in line 3 is not closed"),
    "endless quotation": (HEAD + 'c1,"' + "x" * 200_000, "field larger than field limit (131072); is a quotation mark"),
    "huge label": (HEAD + f"c1,a.png,{'x' * 5000}\n", "label in data row 1 has 5,000 characters, at most 1,000"),
    "huge path": (HEAD + "c1," + "..\\" * 9000 + ",x\n", "image in data row 1 has 27,000 characters"),
    "long name": (HEAD + f"c1,{'x' * 300}.png,x\n", "of case c1 cannot be read: File name too long"),
    "drive": (HEAD + "c1,C:\\data\\b.png,x\n", "must be a path below"),
    "drive, what to write": (HEAD + "c1,C:\\data\\images\\a.png,x\n", "relative to it; write images/a.png"),
    "share": (HEAD + "c1,\\\\server\\share\\a.png,x\n", "relative to it; write a.png"),
    "root": (HEAD + "c1,/data/nowhere.png,x\n", "'/data/nowhere.png' of case c1 must be a path below"),
    "above": (HEAD + "c1,..\\..\\secret.png,x\n", "without '..'"),
    "folder": (HEAD + "c1,images,x\n", "image 'images' of case c1 is a folder; one image file is expected"),
    "itself": (HEAD + "c1,./,x\n", "image './' of case c1 is a folder"),
    "own column": ("case_id,image,label,group_id\nc1,a.png,x,g\n", "eusml makes the column group_id itself"),
    "case twice": (HEAD + "c1,a.png,x\nc1,b.png,x\n", "share their patient_id, not their case_id"),
    "file twice": (HEAD + "c1,a.png,x\nc2,.\\a.png,y\n", "cases c1, c2 have the same image 'a.png'"),
    "labels alike": (HEAD + "c1,a.png,GIST\nc2,b.png,gist\n", "labels 'GIST' and 'gist' would be two classes"),
    "labels of full width": (HEAD + "c1,a.png,GIST\nc2,b.png,ＧＩＳＴ\n", "labels 'GIST' and '\\uff27\\uff29"),
    "invisible sign": (HEAD + "c1,a.png,GIST\nc2,b.png,GI\u200bST\n", "labels 'GIST' and 'GI\\u200bST'"),
    "text box": ("case_id;image;label;bbox_x;bbox_y;bbox_w;bbox_h\nc1;a.png;x;1.234,5;2;3;4\n", "is '1.234,5', exp"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_manifest_is_said(name: str, tmp_path: Path) -> None:
    table, expected = WRONG[name]
    assert expected in refused(listed(tmp_path, table))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [(lambda path: path.mkdir(), "manifest.csv is a folder; a table with the columns case_id, image, label"),
     (lambda path: path.symlink_to("gone"), "manifest.csv is a link that leads nowhere")],
)  # fmt: skip
def test_a_manifest_that_is_no_file(spoil: Callable[[Path], None], expected: str, tmp_path: Path) -> None:
    spoil(tmp_path / "manifest.csv")
    assert expected in refused(tmp_path)
