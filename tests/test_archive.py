"""Archives as they come, and as somebody would make them who means harm."""

import bz2
import gzip
import io
import lzma
import shutil
import stat
import struct
import subprocess
import sys
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
from eusml.data.sources.unfolding import Limits
from eusml.errors import DataError

TREE = {
    "胃间质瘤 2024/GIST/病例 1.png": b"one",
    "胃间质瘤 2024/GIST/病例 2.png": b"two" * 1000,
    "胃间质瘤 2024/leiomyoma/empty.png": b"",
}
TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def png(value: int) -> bytes:
    noise = np.random.default_rng(value).integers(0, 256, (40, 40), dtype=np.uint8)
    return encode_png(cv2.GaussianBlur(noise, (3, 3), 0))


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, data in members.items():
            packed.writestr(zipfile.ZipInfo(name), data, method)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str | None = None) -> Path:
    with tarfile.open(path, mode or TARS["".join(path.suffixes)]) as packed:  # type: ignore[call-overload]
        for name, data in members.items():
            add(packed, name, data)
    return path


def add(packed: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(data), kind, link
    packed.addfile(member, io.BytesIO(data))


def write(path: Path, members: dict[str, bytes]) -> Path:
    return write_zip(path, members) if path.suffix == ".zip" else write_tar(path, members)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refused(archive: Path, match: str, limits: Limits | None = None) -> None:
    """It is refused by a message that names it, and nothing at all is left behind, here or elsewhere."""
    work = archive.parent / "work"
    before = set(archive.parent.rglob("*"))
    with pytest.raises(DataError, match=match) as caught:
        unpack(archive, work, *([limits] if limits else []))
    assert str(archive) in str(caught.value)
    assert set(archive.parent.rglob("*")) - before <= {work, work / "unpacked"}


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


ZEROS = 60_000_000


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty megabytes of zeros in every way that packs them a thousandfold."""
    folder = tmp_path_factory.mktemp("bombs")
    write_zip(folder / "zeros.zip", {"a.png": bytes(ZEROS)})
    tar = write_tar(folder / "zeros.tar", {"a.png": bytes(ZEROS)})
    data = tar.read_bytes()
    tar.unlink()
    (folder / "zeros.tar.gz").write_bytes(gzip.compress(data))
    (folder / "zeros.tar.bz2").write_bytes(bz2.compress(data))
    (folder / "zeros.tar.xz").write_bytes(lzma.compress(data, preset=0))
    # The bomb in what is left out, and behind the end.
    write_tar(folder / "left-out.tar.gz", {"._a.png": bytes(ZEROS)})
    (folder / "behind.tar.gz").write_bytes(gzip.compress(bytes(ZEROS)))
    # A size in the headers that says nothing is there.
    lying = bytearray((folder / "zeros.zip").read_bytes())
    for at, field in ((0, 22), (lying.rindex(b"PK\x01\x02"), 24)):
        lying[at + field : at + field + 4] = struct.pack("<L", 10)
    (folder / "lying.zip").write_bytes(lying)
    return folder


@pytest.mark.parametrize(
    "name",
    ["zeros.zip", "zeros.tar.gz", "zeros.tar.bz2", "zeros.tar.xz", "left-out.tar.gz", "behind.tar.gz"],
)
def test_a_thousandfold_is_refused(bombs: Path, tmp_path: Path, name: str) -> None:
    archive = Path(shutil.copy(bombs / name, tmp_path))
    assert archive.stat().st_size < ZEROS / 500
    refused(archive, "unfolds to more than 100 times its size")


def test_a_size_in_a_header_is_not_believed(bombs: Path, tmp_path: Path) -> None:
    archive = Path(shutil.copy(bombs / "lying.zip", tmp_path))
    refused(archive, "damaged")


def test_what_the_headers_say_themselves_is_refused_before_a_byte_is_unpacked(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "said.zip", {"a.png": bytes(2_000_000)})
    data = bytearray(archive.read_bytes())
    data[40:60] = b"\xff" * 20
    archive.write_bytes(data)
    refused(archive, "damaged")
    refused(archive, r"unfolds to more than 0\.001 GB", Limits(total_bytes=1_000_000))


def test_many_members_that_share_their_bytes_are_counted_each(tmp_path: Path) -> None:
    """A zip whose directory lists one member a thousand times (Fifield 2019, a better zip bomb)."""
    block = np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8).tobytes()
    path = write_zip(tmp_path / "overlap.zip", {"0000.png": block})
    data = path.read_bytes()
    start, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    local, entry = data[:start], data[start:end]
    directory = b"".join(entry.replace(b"0000.png", b"%04d.png" % i) for i in range(1000))
    finish = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(directory), len(local), 0)
    path.write_bytes(local + directory + finish)
    # Its members' names are not those at their bytes; zipfile finds that out. Were it not so, the meter would.
    refused(path, "damaged|unfolds to more")


def test_small_archives_may_be_of_any_ratio_and_limits_are_settable(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "small.zip", {"a.png": bytes(10_000_000)})
    assert (unpack(archive, tmp_path / "work") / "a.png").stat().st_size == 10_000_000
    shutil.rmtree(tmp_path / "work")
    refused(archive, r"unfolds to more than 0\.009 GB", Limits(total_bytes=9_000_000))
    refused(archive, "unfolds to more than 5 times", Limits(ratio=5, any_ratio_bytes=9_000_000))


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_the_number_of_files_and_folders_is_limited(tmp_path: Path, suffix: str) -> None:
    archive = write(tmp_path / f"many{suffix}", {f"top/{i}.png": b"a" for i in range(9)})
    assert len(files_below(unpack(archive, tmp_path / "work", Limits(entries=10)))) == 9
    shutil.rmtree(tmp_path / "work")
    refused(archive, "holds more than 9 files and folders", Limits(entries=9))
    deep = write(tmp_path / f"deep{suffix}", {"/".join("abcdefghijkl"): b"a"})
    refused(deep, "holds more than 11 files", Limits(entries=11))
    junk = write(tmp_path / f"junk{suffix}", {f"._{i}": b"" for i in range(20)})
    refused(junk, "holds more than 19 files", Limits(entries=19))


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


@pytest.mark.parametrize("suffix", [".zip", *TARS])
def test_cut_short_anywhere_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).bytes(3000)
    whole = write(tmp_path / f"whole{suffix}", {"a.png": noise, "b.png": noise[::-1]}).read_bytes()
    # A tar's last 10 kB are zeros; one block of them is end mark enough.
    end = whole.rindex(noise[:8][::-1]) + 500 if suffix == ".tar" else len(whole)
    for length in sorted({*range(0, end, 97), *range(0, end, 512), end - 1}):
        archive = tmp_path / f"cut{suffix}"
        archive.write_bytes(whole[:length])
        refused(archive, "damaged, cut short or neither")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    members = {"top/a.png": rng.bytes(500), "top/b.png": rng.bytes(500)}
    whole = write(tmp_path / f"whole{suffix}", members).read_bytes()
    outcomes = {"refused": 0, "same": 0}
    for bit in rng.permutation(8 * len(whole))[:100]:
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        archive, work = tmp_path / f"flipped{suffix}", tmp_path / "work"
        archive.write_bytes(data)
        try:
            found = files_below(unpack(archive, work))
        except DataError:
            outcomes["refused"] += 1
        else:
            # Names have no checksum in a zip, so one may come out otherwise; no pixel may.
            assert sorted(found.values()) == sorted(members.values())
            outcomes["same"] += 1
        shutil.rmtree(work)
    assert outcomes["refused"] > 50


def test_random_damage_raises_nothing_but_our_own_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    said = []
    for suffix in (".zip", ".tar"):
        whole = write(tmp_path / f"whole{suffix}", {"top/a.png": b"abc" * 50, "top/b.png": b""}).read_bytes()
        whole = whole[:4096]  # of a tar, the headers
        for _ in range(150):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), rng.integers(1, 6)):
                data[at] = rng.choice([0, 0x2F, 0x30, 0x37, 0x80, 0xFF, rng.integers(256)])
            (archive := tmp_path / f"fuzz{suffix}").write_bytes(data)
            try:
                unpack(archive, tmp_path / "work")
            except DataError as error:
                said.append(str(archive) in str(error))
            shutil.rmtree(tmp_path / "work", ignore_errors=True)
    assert len(said) > 100
    assert all(said)
    assert not list(tmp_path.glob("work/unpacked/*.tmp"))


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


PEAK = """
import resource, sys
from pathlib import Path
from eusml.data.sources.archive import unpack
from eusml.errors import DataError
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
try:
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
    said = "unpacked"
except DataError as error:
    said = str(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before) // 1_000_000, said)
"""


def pax_header(size: int) -> bytes:
    """A tar whose first member has a header that claims to be, and is, so large."""
    member = tarfile.TarInfo("a.png")
    member.type, member.size = tarfile.XHDTYPE, size
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(size)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="resource is a Unix module")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("header.tar.gz", "has a header of more than 16 KB"),
        ("headers.tar.gz", "has a header of more than 16 KB"),
        ("dictionary.tar.xz", "Memory usage limit exceeded"),
        ("directory.zip", "holds more than 200,000 files"),
        ("large.tar.bz2", "unfolds to more than 100 times its size"),
        ("fine.zip", "unpacked"),
    ],
)
def test_peak_memory_is_bounded(tmp_path: Path, name: str, expected: str) -> None:
    archive = tmp_path / name
    if name == "header.tar.gz":
        archive.write_bytes(gzip.compress(pax_header(400_000_000), 1))
    elif name == "headers.tar.gz":
        archive.write_bytes(gzip.compress(pax_header(1_000_000 // 512 * 512) * 300, 1))
    elif name == "dictionary.tar.xz":
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "preset": 0}]
        packer = lzma.LZMACompressor(filters=filters)
        archive.write_bytes(packer.compress(b"a") + packer.flush())
    elif name == "directory.zip":
        entry = write_zip(archive, {"a": b""}).read_bytes()
        entry = entry[entry.rindex(b"PK\x01\x02") : entry.rindex(b"PK\x05\x06")]
        directory = entry * 1_200_000
        finish = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 0, 0)
        archive.write_bytes(b"PK\x03\x04" + directory + finish)
    elif name == "large.tar.bz2":
        archive.write_bytes(bz2.compress(write_tar(tmp_path / "a.tar", {"a.png": bytes(300_000_000)}).read_bytes()))
    else:
        write_zip(archive, {f"{i}.png": bytes([i]) * 50_000_000 for i in range(4)}, zipfile.ZIP_STORED)
    result = subprocess.run(
        [sys.executable, "-c", PEAK, str(archive), str(tmp_path / "work")], capture_output=True, text=True, check=True
    )
    megabytes, said = result.stdout.split(maxsplit=1)
    assert expected in said
    assert int(megabytes) < 150
