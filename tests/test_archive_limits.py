"""Archives that unfold without end, are damaged, or ask for more memory than there is."""

import bz2
import gzip
import lzma
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from eusml.data.sources.archive import unpack
from eusml.data.sources.unfolding import Limits
from eusml.errors import DataError
from tests.archives import TARS, files_below, refused, write, write_tar, write_zip
from tests.memory import measured, needs_proc

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


UNPACK = """
from eusml.data.sources.archive import unpack
from eusml.errors import DataError

def run(archive, work):
    try:
        unpack(Path(archive), Path(work))
    except DataError as error:
        return str(error)
    return "unpacked"
"""


def pax_header(size: int) -> bytes:
    """A tar whose first member has a header that claims to be, and is, so large."""
    member = tarfile.TarInfo("a.png")
    member.type, member.size = tarfile.XHDTYPE, size
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(size)


@pytest.mark.slow
@needs_proc
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
    before, peak, said = measured(UNPACK, str(archive), str(tmp_path / "work"))
    assert expected in str(said)
    assert peak - before < 150
