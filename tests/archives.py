"""Archives, made for the tests, and what must be true of one that is refused."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from eusml.data.sources.archive import unpack
from eusml.data.sources.unfolding import Limits
from eusml.errors import DataError

TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


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
