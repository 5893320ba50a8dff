"""An archive of images, unpacked into the work folder; it is not trusted, whoever packed it.

ARCHIVE.zip, .tar, .tar.gz, .tgz, .tar.bz2, .tbz2, .tar.xz, .txz      any tree that a source reads;
    TOP/…                                                             a single top folder is passed over
    __MACOSX/…, ._*, .DS_Store, Thumbs.db, desktop.ini                left out

Refused by name, so that nothing is lost in silence: members that would lie elsewhere (absolute, `..`, drive letters,
backslashes), that are no files or folders (links, devices, sparse files), that stand twice or differ only in case from
another, and encrypted ones. Refused as a whole: what is damaged, cut short or larger than `Limits`. Archives inside
the archive stay packed. Members are read and written here, block by block, and never through `extractall`: sizes are
counted as they unfold, whatever the headers say, and no library decides how much it holds in memory.
"""

import hashlib
import json
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from pathlib import Path
from typing import IO, Any

from eusml.data.sources.unfolding import Guarded, Limits, Meter, Refused, Unfolding, too_many, uncompressed
from eusml.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_FOREIGN = (".7z", ".rar")
"""What hospitals send, too, and Python cannot read: such a file is named rather than taken for a missing folder."""

LIMITS = Limits()

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_LEFT_OUT = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
_MAX_DEPTH = 64
_TAR_END = bytes(tarfile.BLOCKSIZE)
_TAR_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
_ZIP_ENCRYPTED, _ZIP_UTF8 = 0x1, 0x800
_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and bytes that are no text; spaces of any kind and any script are fine."""


def is_archive(path: Path) -> bool:
    """Whether the path is a file that is called like an archive."""
    return path.name.lower().endswith((*SUFFIXES, *_FOREIGN)) and path.is_file()


def unpack(archive: Path, work_dir: Path, limits: Limits = LIMITS) -> Path:
    """The folder with an archive's files, unpacked unless it lies in the work folder already.

    A kill leaves it whole or absent. An archive of the same name, size and time is taken for the same.

    Args:
        archive: a zip or tar; its first bytes decide which, not its name.
        work_dir: unpacked archives are kept in its `unpacked` folder.
        limits: how much it may unfold to.

    Returns:
        The archive's single top folder, or the folder with all of its members.

    Raises:
        DataError: the archive cannot be read, is damaged, encrypted, empty or too large, or holds what is refused.
    """
    try:
        about = archive.stat()
    except OSError as error:
        raise DataError(f"archive {archive} cannot be read: {error.strerror}") from None
    known = json.dumps([archive.name, about.st_size, about.st_mtime_ns])
    folder = work_dir / "unpacked" / hashlib.sha256(known.encode()).hexdigest()[:16]
    name = re.sub(r"(\.tar)?\.\w+$", "", archive.name).strip(". ") or "images"
    if not folder.is_dir():
        draft = folder.with_name(f"{folder.name}.tmp")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            (draft / name).mkdir(parents=True)
            _fill(draft / name, archive, about.st_size, limits)
            draft.rename(folder)
        except OSError as error:
            raise DataError(f"archive {archive} cannot be unpacked to {draft}: {error.strerror}") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    top = list((folder / name).iterdir())
    return top[0] if len(top) == 1 and top[0].is_dir() else folder / name


def _fill(folder: Path, archive: Path, packed_bytes: int, limits: Limits) -> None:
    draft, meter = _Draft(folder, limits), Meter(packed_bytes, limits)
    try:
        with Guarded(archive, limits.entries) as file:
            start = file.peek(6)[:6]
            if start.startswith(_ZIP_STARTS):
                _unpack_zip(file, draft, meter)
            elif archive.name.lower().endswith(_FOREIGN):
                raise Refused("is of a kind that cannot be read here; unpack it and give the folder")
            else:
                _unpack_tar(uncompressed(file, start), draft, meter)
        if not any(folder.iterdir()):
            raise Refused("holds no files")
    except Refused as refused:
        raise DataError(f"archive {archive} {refused}") from None
    except Exception as error:  # damaged archives make zipfile and tarfile raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:
            raise
        what = str(error)[:200] or type(error).__name__
        raise DataError(
            f"archive {archive} is damaged, cut short or neither zip nor tar ({what}); "
            "fetch it again, or unpack it and give the folder"
        ) from None


class _Draft:
    """The folder that members are written to, and the names that are taken."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits, self._members = folder, limits, 0
        self._taken: dict[str, tuple[str, bool]] = {}

    def place(self, name: str, is_folder: bool) -> Path | None:
        """Where a file is to be written, its folder being made; None for folders and for what is left out.

        Raises:
            Refused: the name is no place of its own inside the folder, or there are too many.
        """
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or "\\" in name or re.match("[A-Za-z]:", name):
            raise Refused(f"holds {name!r}, which could lie outside its folder")
        if _UNNAMEABLE.search(name) or len(parts) > _MAX_DEPTH:
            raise Refused(f"holds a name that no image has: {name[:200]!r}")
        self._members += 1
        left_out = not parts or any(part in _LEFT_OUT or part.startswith("._") for part in parts)
        if not left_out:
            for depth in range(1, len(parts) + 1):
                self._take("/".join(parts[:depth]), is_folder or depth < len(parts))
        if max(self._members, len(self._taken)) > self._limits.entries:
            raise too_many(self._limits.entries)
        if left_out:
            return None
        path = self._folder.joinpath(*parts)
        (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
        return None if is_folder else path

    def _take(self, path: str, is_folder: bool) -> None:
        # As file systems see it that know no upper and lower case, or one spelling of an accent only.
        key = unicodedata.normalize("NFC", path).casefold()
        if key not in self._taken:
            self._taken[key] = (path, is_folder)
            return
        earlier, was_folder = self._taken[key]
        if earlier != path:
            raise Refused(f"holds {earlier!r} and {path!r}, which are one name where case does not count")
        if not (is_folder and was_folder):
            raise Refused(f"holds {path!r} twice")


def _unpack_tar(source: IO[bytes], draft: _Draft, meter: Meter) -> None:
    stream = Unfolding(source, meter)
    with stream.header():
        tar: Any = tarfile.TarFile(fileobj=stream, encoding="utf-8")  # type: ignore[arg-type]  # nothing is written
    while (member := _next(tar, stream)) is not None:
        name = member.name
        if re.search(r"[\ud800-\udfff]", name):  # bytes that are no UTF-8, as tarfile carries them
            raw = name.encode("utf-8", "surrogateescape")
            name = raw.decode(_encoding([raw]) or "utf-8", "surrogateescape")
        if not (member.isdir() or member.isreg()) or member.issparse():
            what = _TAR_KINDS.get(member.type, "a device")
            raise Refused(f"holds {name!r}, {what}; only files and folders are unpacked")
        path = draft.place(name, member.isdir())
        if path is not None:
            stream.write_to(path, member.size)
    # tarfile takes a header that is missing, cut short or damaged for the end, unless it is the first.
    if stream.last_block != _TAR_END:
        raise EOFError("its end mark is missing")
    stream.drain()  # the checksum of a compressed stream comes last


def _next(tar: Any, stream: Unfolding) -> tarfile.TarInfo | None:
    with stream.header():
        member: tarfile.TarInfo | None = tar.next()
    tar.members.clear()  # it would keep them all
    return member


def _unpack_zip(file: IO[bytes], draft: _Draft, meter: Meter) -> None:
    with zipfile.ZipFile(file) as packed:
        members = packed.infolist()
        names = _zip_names(members)
        for member, name in zip(members, names, strict=True):
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a symbolic link" if kind == stat.S_IFLNK else "a device"
                raise Refused(f"holds {name!r}, {what}; only files and folders are unpacked")
            if member.flag_bits & _ZIP_ENCRYPTED:
                raise Refused("is encrypted; unpack it with its password and give the folder")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Refused(
                    f"holds {name!r}, packed by method {member.compress_type}; only stored (0) and "
                    "deflated (8) members can be read: pack it again, or unpack it and give the folder"
                )
        meter.check(sum(member.file_size for member in members))
        for member, name in zip(members, names, strict=True):
            path = draft.place(name, member.is_dir())
            if path is not None:
                with packed.open(member) as source:
                    Unfolding(source, meter).write_to(path, member.file_size)


def _zip_names(members: list[zipfile.ZipInfo]) -> list[str]:
    """The members' names; those not said to be UTF-8 are all in the encoding of whoever packed them."""
    unmarked = [member.orig_filename for member in members if not member.flag_bits & _ZIP_UTF8]
    encoding = _encoding([name.encode("cp437") for name in unmarked]) or "cp437"
    return [
        name if member.flag_bits & _ZIP_UTF8 else name.encode("cp437").decode(encoding)
        for member, name in ((member, member.orig_filename) for member in members)
    ]


def _encoding(names: list[bytes]) -> str | None:
    """The encoding of names where their bytes leave no doubt: UTF-8, or the Chinese of GB 2312.

    A character of GB 2312 is two bytes that are two line-drawing, Greek or mathematical characters in cp437, which a
    zip is in otherwise; no Western name is made of those.
    """
    for encoding in ("utf-8", "gb2312"):
        try:
            text = "".join(name.decode(encoding) for name in names)
        except UnicodeDecodeError:
            continue
        if encoding == "utf-8" or re.search("[\u4e00-\u9fff]", text):
            return encoding
    return None
