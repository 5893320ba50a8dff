"""Folders as users have them, not as they should be."""

import os
from pathlib import Path

import numpy as np
import pytest

from eusml.config import DataConfig
from eusml.data.images import encode_png
from eusml.data.manifest import Cases, two_classes
from eusml.data.sources.folder import read_folder
from eusml.data.sources.tree import walk
from eusml.errors import DataError

PNG = encode_png(np.full((16, 16), 7, np.uint8))
DICOM = bytes(128) + b"DICM" + bytes(8)


def make(root: Path, *names: str, data: bytes = PNG) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def read(root: Path, positive: str = "GIST") -> Cases:
    return read_folder(DataConfig(source="folder", path=root, positive_class=positive), root, iter)


def refused(root: Path, positive: str = "GIST") -> str:
    with pytest.raises(DataError) as caught:
        read(root, positive)
    return str(caught.value)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make(tmp_path / "images" / "study", "GIST/a.png", "GIST/b.png", "leiomyoma/c.png")


# Which folder is meant.


@pytest.mark.parametrize("positive", ["GIST", "malignant"])  # whether or not the folder has the class's name
@pytest.mark.parametrize("given", ["images", ".", "images/study/GIST", "images/study/leiomyoma"])
def test_a_path_at_the_wrong_level_is_answered_by_the_right_one(
    given: str, positive: str, study: Path, tmp_path: Path
) -> None:
    message = refused(tmp_path / given, positive)
    assert f"is -P data.path={study} meant? It holds GIST, leiomyoma." in message


def test_the_right_path_is_quoted_where_a_shell_needs_it(tmp_path: Path) -> None:
    root = make(tmp_path / "my images", "x y/GIST/a.png", "x y/leiomyoma/b.png")
    assert f"-P 'data.path={root}/x y' meant" in refused(root)


def test_a_class_folder_with_patients_is_one_level_too_low(tmp_path: Path) -> None:
    root = make(tmp_path / "study", "GIST/p1/a.png", "GIST/p2/b.png", "leiomyoma/p3/c.png")
    for name in ("GIST", "leiomyoma"):
        assert f"is -P data.path={root} meant?" in refused(root / name)
    assert read(root).table["label"].tolist() == ["GIST", "GIST", "leiomyoma"]


def test_a_manifest_above_or_below_is_found(tmp_path: Path) -> None:
    root = make(tmp_path / "study", "manifest.csv", "images/a.png", "images/b.png")
    for given in (tmp_path, root / "images"):
        assert f"is -P data.path={root} meant? It holds manifest.csv." in refused(given)


def test_classes_at_two_places_are_both_named(tmp_path: Path) -> None:
    root = make(tmp_path, "x/GIST/a.png", "x/leiomyoma/b.png", "y/GIST/a.png", "y/leiomyoma/b.png")
    message = refused(root)
    assert "sub-folders x, y and none called 'GIST'" in message
    assert f"classes lie in {root / 'x'}, {root / 'y'}" in message


def test_images_without_classes_anywhere(tmp_path: Path) -> None:
    message = refused(make(tmp_path / "all", "a.png", "b.png"))
    assert "holds 2 images itself, and no sub-folder per class; put them in" in message


def test_images_beside_the_classes_are_counted_as_left_out(study: Path) -> None:
    make(study, "overview.png")
    cases = read(study)
    assert len(cases.table) == 3
    assert [(one.case_id, one.reason) for one in cases.excluded] == [("overview.png", "lies beside the class folders")]


def test_a_folder_with_a_classs_name_in_other_case_is_offered(tmp_path: Path) -> None:
    cases = read(make(tmp_path, "gist/a.png", "leiomyoma/b.png"))
    with pytest.raises(DataError, match=r"-P data\.positive_class=gist"):
        two_classes(cases.table, "GIST", cases.source)


# What else lies there.

JUNK = ["Thumbs.db", "thumbs.DB", ".DS_Store", "desktop.ini", "Desktop.ini", "._a.png", ".hidden.png", ".git/x.png",
        "__MACOSX/GIST/a.png", "__MACOSX/a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "~$list.xlsx"]  # fmt: skip


@pytest.mark.parametrize("place", ["", "GIST/", "junk only/"])
def test_what_systems_leave_behind_is_not_there(place: str, study: Path) -> None:
    make(study, *(place + name for name in JUNK))
    cases = read(study)
    assert cases.table["case_id"].tolist() == ["GIST/a.png", "GIST/b.png", "leiomyoma/c.png"]
    assert (cases.notes, cases.excluded) == ((), ())


def test_files_that_are_no_images_are_counted(study: Path) -> None:
    make(study, "list.xlsx", "GIST/notes.TXT", "GIST/more.txt", "leiomyoma/README", data=b"x")
    cases = read(study)
    assert len(cases.table) == 3
    assert cases.notes == ("Ignored as no images: 4 files (.txt 2, no suffix 1, .xlsx 1).",)


def test_a_folder_of_other_files_is_no_class_that_goes_unnoticed(study: Path) -> None:
    make(study, "reports/a.pdf", "reports/Thumbs.db")
    assert "reports holds no image (.png, " in refused(study)
    assert "only 1 other files and links; fill it, or move it elsewhere" in refused(study)


@pytest.mark.parametrize("name", ["GIST/x.dcm", "GIST/x.DICOM", "GIST/IM0001", "x.1.2"])
def test_dicom_is_known_by_name_or_content_and_pointed_to(name: str, study: Path) -> None:
    make(study, name, data=DICOM)
    assert read(study).notes == (
        "Left out: DICOM files, 1; -P data.source=dicom reads it instead of the other images.",
    )


def test_dicom_alone_is_an_error(study: Path, tmp_path: Path) -> None:
    make(tmp_path / "d", "GIST/1", "leiomyoma/2", data=DICOM)
    assert "holds 2 DICOM files and no images; -P data.source=dicom reads them" in refused(tmp_path / "d")
    make(study, "normal/3", data=DICOM)
    assert "normal holds no image" in refused(study)
    assert "but 1 DICOM files; -P data.source=dicom" in refused(study)


def test_suffixes_in_capitals_spaces_and_chinese_names(tmp_path: Path) -> None:
    names = ["平滑肌瘤/张 三 (2).JPEG", "间质瘤/a b.PNG", "间质瘤/图像.Tif"]
    cases = read(make(tmp_path / "图 像", *names), "间质瘤")
    assert cases.table["image"].tolist() == names
    assert cases.table["label"].tolist() == ["平滑肌瘤", "间质瘤", "间质瘤"]
    assert cases.source == "folder 图 像"


def test_names_that_differ_in_case_only_are_two_and_said_to_be(study: Path) -> None:
    make(study, "GIST/A.png", "GIST/a.PNG")
    cases = read(study)
    assert len(cases.table) == 5
    (note,) = cases.notes
    assert "Taken for different files" in note
    assert "GIST/A.png and GIST/a.PNG and GIST/a.png" in note


def test_class_folders_that_differ_in_case_only_are_refused(study: Path) -> None:
    make(study, "gist/x.png")
    assert "labels 'GIST' and 'gist' would be two classes although they read alike" in refused(study)


def test_links_are_not_followed_to_folders_and_lead_to_files(study: Path, tmp_path: Path) -> None:
    (study / "GIST" / "loop").symlink_to(study)
    (study / "self").symlink_to("self")
    (study / "leiomyoma" / "gone.png").symlink_to("nowhere.png")
    (study / "leiomyoma" / "linked.png").symlink_to("c.png")
    (study / "other").symlink_to(make(tmp_path / "elsewhere", "d.png"))  # one loop: two are endless when followed
    cases = read(study)
    assert cases.table["image"].tolist()[2:] == ["leiomyoma/c.png", "leiomyoma/linked.png"]
    assert cases.notes == (
        "Not followed: 2 links to folders (GIST/loop, other); put the folder itself there.",
        "Left out: 2 links to a file that does not exist (leiomyoma/gone.png, self).",
    )


def test_a_class_that_is_a_link_is_said_to_be_missing(tmp_path: Path) -> None:
    root = make(tmp_path / "study", "GIST/a.png")
    (root / "leiomyoma").symlink_to(make(tmp_path / "elsewhere", "b.png"))
    assert "study: leiomyoma: links to folders are not followed" in refused(root)


def test_a_path_that_is_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "loop is a link that leads nowhere" in refused(tmp_path / "loop")
    assert "cannot be read (File name too long)" in refused(tmp_path / ("x" * 300))


def test_names_that_are_not_utf8_are_refused_with_the_way_out(study: Path) -> None:
    with open(os.fsencode(study) + b"/GIST/" + "张.png".encode("gbk"), "wb") as file:
        file.write(PNG)
    message = refused(study)
    assert r"1 name not UTF-8: GIST/\udcd5\udcc5.png" in message
    assert "convmv -r -f gbk" in message


def test_pipes_are_not_waited_for_and_a_folder_nobody_may_read_is_named(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(study / "GIST" / "pipe.png")
    assert walk(study).others == ("GIST/pipe.png",)
    scandir = os.scandir

    def forbidden(path: Path) -> object:
        if Path(path).name == "leiomyoma":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert "leiomyoma cannot be read: Permission denied" in refused(study)
