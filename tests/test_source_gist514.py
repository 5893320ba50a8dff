"""GIST514-DB in miniature: real JPEG files and COCO files as downloaded."""

import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from eusml.config import DataConfig
from eusml.data.manifest import BOX_COLUMNS, Cases, two_classes
from eusml.data.sources import read_cases
from eusml.data.sources.gist514 import read_gist514
from eusml.errors import DataError
from tests.gist514_files import ALL, HEIGHT, IMAGES, WIDTH, Coco, annotation, drop, edit, put, write_gist514
from tests.memory import measured, needs_proc


@pytest.fixture
def gist514(tmp_path: Path) -> Path:
    root = tmp_path / "usd514_jpeg_roi"
    write_gist514(root)
    return root


def read(path: Path) -> Cases:
    return read_cases(DataConfig(source="gist514", path=path), path.parent / "work")


def box_of(cases: Cases, name: str) -> list[int]:
    row = cases.table.set_index("case_id").loc[name]
    return [int(row[column]) for column in BOX_COLUMNS]


def test_images_get_class_box_and_fold(gist514: Path) -> None:
    cases = read(gist514)
    table = cases.table
    assert table["case_id"].tolist() == [f"{n}.jpg" for n in range(IMAGES)]
    assert table["label"].tolist() == ["leiomyoma", "GIST"] * 5
    assert table["published_fold"].tolist() == [0, 1, 2, 3, 4] * 2
    assert table["patient_id"].tolist() == table["case_id"].tolist()
    assert box_of(cases, "3.jpg") == [13, 5, 21, 13]  # 13.25 to 33.75, 5.5 to 17.75
    assert all((cases.root / image).is_file() for image in table["image"])
    assert cases.source == "GIST514-DB usd514_jpeg_roi"
    assert not cases.synthetic
    assert cases.excluded == ()
    (note,) = cases.notes
    assert "names no patients" in note
    assert two_classes(table, DataConfig().positive_class, cases.source) == "leiomyoma"


def test_several_annotations_are_united_into_one_box(gist514: Path) -> None:
    edit(gist514, lambda all_: all_["annotations"].append(annotation(99, 4, 2, [40, 30.5, 10, 7])))
    assert box_of(read(gist514), "3.jpg") == [13, 5, 37, 33]


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ([0, 0, WIDTH, HEIGHT], [0, 0, WIDTH, HEIGHT]),
        ([-0.4, -0.9, 10, 10], [0, 0, 10, 10]),
        ([50, 40, 14.5, 8.9], [50, 40, 14, 8]),
        ([10.1, 5, 20.9, 10], [10, 5, 21, 10]),
        ([10.000000001, 5, 20, 9.999999999], [10, 5, 20, 10]),
        ([3, 4, 0.5, 0.5], [3, 4, 1, 1]),
    ],
)
def test_boxes_are_rounded_outwards_and_clipped_by_less_than_a_pixel(
    gist514: Path, bbox: list[float], expected: list[int]
) -> None:
    edit(gist514, lambda all_: all_["annotations"][3].update(bbox=bbox))
    assert box_of(read(gist514), "3.jpg") == expected


@pytest.mark.parametrize(
    "bbox",
    [
        *([-1, 5, 10, 10], [5, -1.5, 10, 10], [50, 5, 15, 10], [5, 40, 10, 9]),
        *([WIDTH, 5, 0.5, 10], [-0.5, 5, 0.3, 10], [1e308, 5, 1e308, 10], [5, 5, 1e400, 5]),
    ],
)
def test_boxes_outside_their_image_are_refused(gist514: Path, bbox: list[float]) -> None:
    edit(gist514, lambda all_: all_["annotations"][3].update(bbox=bbox))
    with pytest.raises(DataError, match=r"image '3\.jpg' does not lie inside its 64 x 48 pixels|bbox\[2\]"):
        read(gist514)


def test_empty_boxes_are_refused(gist514: Path) -> None:
    edit(gist514, lambda all_: all_["annotations"][3].update(bbox=[5, 5, 0, 5]))
    with pytest.raises(DataError, match=r"bbox \[5.*\] of image '3\.jpg' is empty"):
        read(gist514)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("images"), "images: Field required"),
        (drop("annotations"), "annotations: Field required"),
        (drop("images", 2, "file_name"), "images[2].file_name: Field required"),
        (drop("images", 2, "width"), "images[2].width: Field required"),
        (drop("annotations", 2, "bbox"), "annotations[2].bbox: Field required"),
        (drop("annotations", 2, "category_id"), "annotations[2].category_id: Field required"),
        (put("12", "images", 2, "id"), "images[2].id: Input should be a valid integer"),
        (put(True, "annotations", 2, "category_id"), "annotations[2].category_id: Input should be a valid integer"),
        (put(0, "images", 2, "height"), "images[2].height: Input should be greater than or equal to 1"),
        (put("10", "annotations", 2, "bbox", 1), "annotations[2].bbox[1]: Input should be a valid number"),
        (put([1, 2, 3], "annotations", 2, "bbox"), "annotations[2].bbox"),
        (put(float("nan"), "annotations", 2, "bbox", 1), "annotations[2].bbox[1]: Input should be a finite number"),
        (put({}, "images"), "images: Input should be a valid"),
        (put([], "images"), "an annotation is of image id 1, which images does not list"),
        (put(77, "annotations", 2, "image_id"), "an annotation is of image id 77, which images does not list"),
        (put(4, "annotations", 2, "image_id"), "image '2.jpg' has no annotation, so neither class nor box"),
        (put(1, "images", 2, "id"), "two images have the same id"),
        (put("1.jpg", "images", 2, "file_name"), "images lists '1.jpg' more than once"),
        (put(3, "annotations", 2, "category_id"), "image '2.jpg' is of category_id 3; 1 (lmym) or 2 (GIST)"),
        (put("GIST", "categories", 0, "name"), "category 1 is called 'GIST'; in GIST514-DB 1 is lmym"),
        (put(3, "categories", 0, "id"), "category 3 is called 'lmym'"),
        *[
            (put(name, "images", 2, "file_name"), f"file_name {name!r} must be the name of a file below images/")
            for name in ("../2.jpg", "a/../../2.jpg", "/etc/passwd", "C:/2.jpg", "a\\2.jpg", "", " ", "2\n.jpg", "\0")
        ],
    ],
)
def test_what_is_wrong_in_an_annotation_file_is_named(
    gist514: Path, change: Callable[[Coco], object], message: str
) -> None:
    edit(gist514, change)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read(gist514)
    assert str(gist514 / ALL) in str(caught.value)


def test_two_categories_on_one_image_are_refused(gist514: Path) -> None:
    edit(gist514, lambda all_: all_["annotations"].append(annotation(99, 4, 1, [1, 1, 9, 9])))
    with pytest.raises(DataError, match=r"image '3\.jpg' is annotated as lmym \(1\) and as GIST \(2\)"):
        read(gist514)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Invalid JSON: EOF"),
        (b"[]", "Input should be an object"),
        (b"null", "Input should be an object"),
        (b'{"images": [', "Invalid JSON"),
        (b"[" * 1_000_000, "Invalid JSON: recursion limit exceeded"),
        (b'{"images": [{"id": ' + b"9" * 10_000 + b"}]}", "number out of range"),
        (b"\xff\xfe{\0}\0", "Invalid JSON"),
        (b'{"images": [{"file_name": "\\ud800"}]}', "Invalid JSON"),
        (b" " * 16_000_001, "has 16 MB; at most 16 MB are read"),
    ],
)
def test_a_file_that_is_no_coco_file_is_named(gist514: Path, content: bytes, message: str) -> None:
    (gist514 / ALL).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read(gist514)
    assert str(gist514 / ALL) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_byte_order_mark_does_not_matter(gist514: Path) -> None:
    (gist514 / ALL).write_bytes(b"\xef\xbb\xbf" + (gist514 / ALL).read_bytes())
    assert len(read(gist514).table) == IMAGES


def test_every_image_is_in_one_fold(gist514: Path) -> None:
    second = "annotations/val_anno_crop_split_1.json"
    before = (gist514 / second).read_text()
    edit(gist514, lambda val: val["images"].append({"id": 9, "file_name": "2.jpg", "width": 64, "height": 48}), second)
    expected = r"split_2\.json lists image '2\.jpg', which val_anno_crop_split_1\.json holds, too"
    with pytest.raises(DataError, match=expected):
        read(gist514)
    (gist514 / second).write_text(before)
    edit(gist514, lambda val: val["images"].pop(), second)
    with pytest.raises(DataError, match=r"image '6\.jpg' is in none of the five val files"):
        read(gist514)
    edit(gist514, put("7.JPG", "images", 0, "file_name"), second)
    with pytest.raises(DataError, match=r"split_1\.json lists image '7\.JPG', which .*crop\.json does not know"):
        read(gist514)
    (gist514 / second).unlink()
    with pytest.raises(DataError, match=r"lacks val_anno_crop_split_1\.json; all five folds are needed, or none"):
        read(gist514)


def test_without_folds_there_is_no_column_and_a_note(gist514: Path) -> None:
    for file in gist514.glob("annotations/val_*.json"):
        file.unlink()
    cases = read(gist514)
    assert "published_fold" not in cases.table.columns
    assert "published folds are not there" in cases.notes[1]


def test_images_that_no_annotation_knows_are_counted_and_left_out(gist514: Path) -> None:
    (gist514 / "images/3.jpg").rename(gist514 / "images/stray.JPG")
    (gist514 / "images/Thumbs.db").touch()
    (gist514 / "images/._4.jpg").touch()
    cases = read(gist514)
    assert [(one.case_id, one.reason) for one in cases.excluded] == [("stray.JPG", "not in all_anno_crop.json")]
    assert "3.jpg" in cases.table["case_id"].tolist()  # that its file is missing is the audit's to say


def test_the_folder_is_found_from_above(gist514: Path) -> None:
    expected = read(gist514).table
    download = gist514.parent / "download" / "usd514-db"
    download.mkdir(parents=True)
    gist514.rename(download / gist514.name)
    for path in (download, download.parent):
        assert read(path).table.equals(expected)


def test_the_wrong_place_is_named(gist514: Path, tmp_path: Path) -> None:
    for part in ("images", "annotations"):
        with pytest.raises(DataError, match=r"is a part of GIST514-DB only; give the folder above, .*usd514_jpeg_roi$"):
            read(gist514 / part)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no GIST514-DB, which is known by its annotations, "):
        read(tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a file, not a folder"):
        read_gist514(DataConfig(source="gist514", path=Path(__file__)), tmp_path, iter)
    with pytest.raises(DataError, match=r"data\.path is not given"):
        read_gist514(DataConfig(source="gist514"), tmp_path, iter)


def test_an_archive_of_it_is_read(gist514: Path, tmp_path: Path) -> None:
    archive = tmp_path / "usd514.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(gist514, gist514.name)
    cases = read_cases(DataConfig(source="gist514", path=archive), tmp_path / "work")
    assert cases.table.equals(read(gist514).table)
    assert cases.root.is_relative_to(tmp_path / "work")


READ = """
from eusml.config import DataConfig
from eusml.data.sources.gist514 import read_gist514
from eusml.errors import DataError

def run(path):
    try:
        read_gist514(DataConfig(source="gist514", path=Path(path)), Path(), iter)
    except DataError as error:
        return str(error)
"""


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("item", [b"1,", b"[],", b'{"a":1},', b'{"id":1,"file_name":"","width":1,"height":1},'])
def test_peak_memory_is_bounded(gist514: Path, item: bytes) -> None:
    size = 15_999_000
    start, end = b'{"annotations": [], "images": [', b'{"id":1,"file_name":"","width":1,"height":1}]}'
    (gist514 / ALL).write_bytes(start + item * ((size - len(start) - len(end)) // len(item)) + end)
    before, peak, said = measured(READ, str(gist514))
    assert str(said).startswith(str(gist514 / ALL))
    assert peak - before < 350
