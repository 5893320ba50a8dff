"""Archives as they come, and names that would lead out of their folder."""

import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from eusml.config import DataConfig
from eusml.data.images import encode_png
from eusml.data.sources import read_cases
from eusml.data.sources.archive import is_archive, unpack
from eusml.errors import DataError, PrivateDataError
from tests.archives import TARS, add, files_below, refused, write, write_tar, write_zip

TREE = {
    "胃间质瘤 2024/GIST/病例 1.png": b"one",
    "胃间质瘤 2024/GIST/病例 2.png": b"two" * 1000,
    "胃间质瘤 2024/leiomyoma/empty.png": b"",
}


def png(value: int) -> bytes:
    noise = np.random.default_rng(value).integers(0, 256, (40, 40), dtype=np.uint8)
    return encode_png(cv2.GaussianBlur(noise, (3, 3), 0))


@pytest.mark.parametrize("suffix", [".zip", *TARS])
def test_every_kind_is_unpacked_and_its_top_folder_passed_over(tmp_path: Path, suffix: str) -> None:
    archive = write(tmp_path / f"cases{suffix}", TREE)
    assert is_archive(archive)
    folder = unpack(archive, tmp_path / "work")
    assert folder.name == "胃间质瘤 2024"
    assert files_below(folder.parent) == TREE
    assert folder.is_relative_to(tmp_path / "work" / "unpacked")


def test_without_a_single_top_folder_all_members_are_the_folder(tmp_path: Path) -> None:
    members = {"GIST/a.png": b"a", "leiomyoma/b.png": b"b"}
    folder = unpack(write_zip(tmp_path / "my cases.v1.zip", members), tmp_path / "work")
    assert folder.name == "my cases.v1"
    assert files_below(folder) == members
    one_file = unpack(write_zip(tmp_path / "one.zip", {"a.png": b"a"}), tmp_path / "work")
    assert files_below(one_file) == {"a.png": b"a"}


def test_what_systems_add_is_left_out(tmp_path: Path) -> None:
    extra = ("__MACOSX/top/._a.png", ".DS_Store", "top/.DS_Store", "top/._a.png", "top/Thumbs.db")
    members = dict.fromkeys(extra, b"junk") | {"top/a.png": b"a"}
    for archive in (write_zip(tmp_path / "mac.zip", members), write_tar(tmp_path / "mac.tar", members)):
        folder = unpack(archive, tmp_path / "work")
        assert folder.name == "top"
        assert files_below(folder.parent) == {"top/a.png": b"a"}


def test_folders_and_leading_dots_are_read(tmp_path: Path) -> None:
    path = tmp_path / "dots.tar"
    with tarfile.open(path, "w") as packed:
        add(packed, "./", kind=tarfile.DIRTYPE)
        add(packed, "./top/", kind=tarfile.DIRTYPE)
        add(packed, "./top/hollow/", kind=tarfile.DIRTYPE)
        add(packed, "./top/a.png", b"a")
    folder = unpack(path, tmp_path / "work")
    assert sorted(entry.name for entry in folder.iterdir()) == ["a.png", "hollow"]


def test_a_second_call_reuses_what_is_whole_and_a_changed_archive_is_unpacked_anew(tmp_path: Path) -> None:
    archive, work = write_zip(tmp_path / "cases.zip", TREE), tmp_path / "work"
    folder = unpack(archive, work)
    (folder / "mark").touch()
    assert unpack(archive, work) == folder
    assert (folder / "mark").exists()
    write_zip(archive, TREE | {"胃间质瘤 2024/GIST/3.png": b"three"})
    assert files_below(unpack(archive, work)).keys() >= {"GIST/3.png"}


def test_what_a_killed_start_left_is_not_taken_for_whole(tmp_path: Path) -> None:
    archive, work = write_zip(tmp_path / "cases.zip", TREE), tmp_path / "work"
    whole = unpack(archive, work).parent.parent
    (whole / "cases" / "胃间质瘤 2024" / "half.png").touch()
    whole.rename(whole.with_name(f"{whole.name}.tmp"))
    assert files_below(unpack(archive, work).parent) == TREE
    assert list((work / "unpacked").iterdir()) == [whole]


def test_an_archive_stands_for_its_folder(tmp_path: Path) -> None:
    members = {f"{label}/{i}.png": png(i) for i, label in enumerate(["GIST", "GIST", "leiomyoma", "leiomyoma"])}
    archive = write_zip(tmp_path / "cases.ZIP", members)
    settings = DataConfig(source="folder", path=archive)
    cases = read_cases(settings, tmp_path / "work")
    assert cases.table["image"].tolist() == sorted(members)
    assert cases.source == "folder cases"
    assert all((cases.root / image).read_bytes() == members[image] for image in cases.table["image"])


def test_what_is_wrong_with_an_archive_of_dicom_files_is_not_for_the_store(tmp_path: Path) -> None:
    """Names of its files may be names of patients."""
    archive = write_zip(tmp_path / "export.zip", {"GIST/MUELLER^ANNA.dcm": b"a", "GIST/Mueller^Anna.dcm": b"b"})
    with pytest.raises(PrivateDataError, match="MUELLER"):
        read_cases(DataConfig(source="dicom", path=archive), tmp_path / "work")
    with pytest.raises(DataError) as told:
        read_cases(DataConfig(source="folder", path=archive), tmp_path / "work")
    assert type(told.value) is DataError


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "a/../../evil.png",
        "/tmp/evil.png",
        "a\\..\\..\\evil.png",
        "..\\evil.png",
        "C:/evil.png",
        "C:evil",
    ],
)
def test_nothing_is_written_outside(tmp_path: Path, suffix: str, name: str) -> None:
    archive = write(tmp_path / f"slip{suffix}", {"fine.png": b"fine", name: b"evil"})
    refused(archive, "which could lie outside its folder")
    assert not Path("/tmp/evil.png").exists()


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31m.png", "/".join("d" * 70)])
def test_names_that_no_image_has_are_refused(tmp_path: Path, suffix: str, name: str) -> None:
    refused(write(tmp_path / f"odd{suffix}", {name: b"a"}), "a name that no image has")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes, word: str) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as packed:
        add(packed, "a.png", b"a")
        add(packed, "way-out", kind=kind, link="../../../../etc")
        add(packed, "way-out/passwd", b"evil")
    refused(path, f"'way-out', {word}")


@pytest.mark.parametrize(("mode", "word"), [(stat.S_IFLNK, "a symbolic link"), (stat.S_IFIFO, "a device")])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, mode: int, word: str) -> None:
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as packed:
        member = zipfile.ZipInfo("出口")
        member.external_attr = (mode | 0o777) << 16
        packed.writestr(member, "../../../etc")
    refused(path, f"'出口', {word}")


def test_sparse_members_are_refused(tmp_path: Path) -> None:
    """Their gigabytes of zeros stand nowhere in the stream, so nothing would count them."""
    header = bytearray(tarfile.TarInfo("huge.png").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:398] = header[398:410] = b"0" * 11 + b"\0"
    header[483:495] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "sparse.tar"
    path.write_bytes(bytes(header) + bytes(10240))
    refused(path, r"'huge\.png', a sparse file")


def test_a_size_below_zero_is_refused(tmp_path: Path) -> None:
    """tarfile would go back, and round and round (CVE-2025-8194)."""
    header = bytearray(tarfile.TarInfo("a.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" + (256**11 - 1024).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "back.tar"
    path.write_bytes(bytes(header) + bytes(10240))
    refused(path, "a header points back")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize(
    ("first", "second"),
    [("GIST/a.png", "GIST/A.PNG"), ("GIST/a.png", "gist/b.png"), ("GIST/caf\u00e9", "GIST/cafe\u0301")],
)
def test_names_that_are_one_on_other_systems_are_refused(tmp_path: Path, suffix: str, first: str, second: str) -> None:
    refused(write(tmp_path / f"names{suffix}", {first: b"1", second: b"2"}), "which are one name where case does not")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("names", [("a.png", "a.png"), ("a.png", "./a.png"), ("a", "a/b.png"), ("a/b.png", "a")])
def test_nothing_is_written_over(tmp_path: Path, suffix: str, names: tuple[str, str]) -> None:
    path = tmp_path / f"twice{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name in names:
                packed.writestr(name, name)
    else:
        with tarfile.open(path, "w") as tar:
            for name in names:
                add(tar, name, name.encode())
    refused(path, "holds '.+' twice")


def set_flag(path: Path, flag: int) -> None:
    """Set a flag of a zip's only member in both of its headers."""
    data = bytearray(path.read_bytes())
    for at in (6, data.rindex(b"PK\x01\x02") + 8):
        data[at : at + 2] = struct.pack("<H", struct.unpack_from("<H", data, at)[0] | flag)
    path.write_bytes(data)


def test_an_encrypted_zip_is_told_so(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "secret.zip", {"a.png": b"a" * 100})
    set_flag(archive, 0x1)
    refused(archive, "is encrypted; unpack it with its password")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_take_memory_without_bound_are_refused(tmp_path: Path, method: int) -> None:
    archive = write_zip(tmp_path / "other.zip", {"a.png": b"a" * 100}, method)
    refused(archive, f"packed by method {method}; only stored")


@pytest.mark.parametrize(("encoding", "expected"), [("gb2312", "胃/病例 1.png"), ("utf-8", "胃/病例 1.png")])
def test_names_of_a_zip_that_says_no_encoding(tmp_path: Path, encoding: str, expected: str) -> None:
    raw = "胃/病例 1.png".encode(encoding)
    path = write_zip(tmp_path / "names.zip", {"x" * len(raw): b"a"})
    path.write_bytes(path.read_bytes().replace(b"x" * len(raw), raw))
    assert files_below(unpack(path, tmp_path / "work").parent) == {expected: b"a"}


def test_western_names_stay_what_they_are(tmp_path: Path) -> None:
    for number, name in enumerate(["Müller Straße.png", "ñandú ÑÉ.png", "Größe.png", "íó.png"]):
        raw = name.encode("cp437")
        path = write_zip(tmp_path / f"{number}.zip", {"x" * len(raw): b"a"})
        path.write_bytes(path.read_bytes().replace(b"x" * len(raw), raw))
        assert files_below(unpack(path, tmp_path / "work")) == {name: b"a"}


def test_names_of_a_tar_in_another_encoding(tmp_path: Path) -> None:
    def packed(name: str, encoding: str) -> Path:
        path = tmp_path / f"{encoding}.tar"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding=encoding) as tar:
            add(tar, name, b"a")
        return path

    assert files_below(unpack(packed("胃病例 1.png", "gb2312"), tmp_path / "work")) == {"胃病例 1.png": b"a"}
    refused(packed("é.png", "latin-1"), "a name that no image has")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.7z", "a.RAR"])
def test_what_is_no_archive_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"Rar!\x1a\x07\x00 or anything else" * 100)
    assert is_archive(path)
    with pytest.raises(DataError, match=f"archive .*{name} is (of a kind that cannot be read|damaged.*nor tar)"):
        read_cases(DataConfig(source="folder", path=path), tmp_path / "work")


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_empty_archive_is_refused(tmp_path: Path, suffix: str) -> None:
    refused(write(tmp_path / f"empty{suffix}", {}), "holds no files|damaged")
    refused(write(tmp_path / f"junk{suffix}", {"__MACOSX/._a": b""}), "holds no files")


def test_folders_of_such_a_name_are_no_archives(tmp_path: Path) -> None:
    (tmp_path / "images.zip").mkdir()
    assert not is_archive(tmp_path / "images.zip")
    assert not is_archive(tmp_path / "absent.zip")
    assert not is_archive(Path(__file__))
    with pytest.raises(DataError, match=r"absent\.zip cannot be read: No such file"):
        unpack(tmp_path / "absent.zip", tmp_path / "work")


def test_archives_inside_stay_packed(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", TREE).read_bytes()
    folder = unpack(write_zip(tmp_path / "outer.zip", {"inner.zip": inner}, zipfile.ZIP_STORED), tmp_path / "work")
    assert files_below(folder) == {"inner.zip": inner}


def test_a_file_may_not_call_itself_out_of_the_work_folder(tmp_path: Path) -> None:
    folder = unpack(write_zip(tmp_path / "...zip", {"a.png": b"a"}), tmp_path / "work")
    assert folder.parent.parent == tmp_path / "work" / "unpacked"
