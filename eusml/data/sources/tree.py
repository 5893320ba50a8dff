"""What lies below a folder of a user's: images, DICOM files, everything else, and links.

What systems leave behind (`Thumbs.db`, `.DS_Store`, `__MACOSX`, anything hidden) is not seen. Links to folders are
never followed, so no walk is endless.
"""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from eusml.data.dicom import is_dicom
from eusml.data.images import SUFFIXES
from eusml.errors import DataError
from eusml.sentences import Sentence, counted, sentence

DICOM_SUFFIXES = (".dcm", ".dicom")
_JUNK_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
_JUNK_FOLDERS = {"__macosx", "$recycle.bin", "system volume information", "@eadir", "lost+found"}
"""`@eaDir` is where a NAS keeps small copies of every image."""
_SHOWN = 5
_NO_SUFFIX = Sentence("no suffix", "named.no_suffix")

Kind = Literal["image", "dicom", "other", "junk", "folder", "link to a folder", "link to nowhere"]


@dataclass(frozen=True)
class Tree:
    """What a walk found, as paths relative to `root` with `/` between their parts, in the order of their parts."""

    root: Path
    images: tuple[str, ...]
    """Files with the suffix of an image, in upper or lower case; nobody has looked into them."""
    dicom: tuple[str, ...]
    """Files with the suffix of DICOM, and those that start like DICOM whatever their name."""
    others: tuple[str, ...]
    junk: tuple[str, ...]
    """What was not looked at, files and folders."""
    folders: tuple[str, ...]
    """Folders that were walked through; `root` is not among them."""
    folder_links: tuple[str, ...]
    """Links to folders; not followed."""
    broken_links: tuple[str, ...]
    """Links that lead nowhere, or in a circle."""

    def notes(self) -> tuple[Sentence, ...]:
        """A sentence for each thing that was left out, for people."""
        found = []
        if self.others:
            kinds = Counter(readable(PurePosixPath(name).suffix.lower()) or _NO_SUFFIX for name in self.others)
            listed = [
                sentence("notes.kind", "{kind} {count}", kind=kind, count=count)
                for kind, count in kinds.most_common(_SHOWN)
            ]
            found.append(
                sentence(
                    "notes.ignored",
                    "Ignored as no images: {count} {files} ({kinds}).",
                    count=len(self.others),
                    files=_plural(len(self.others), "file"),
                    kinds=[*listed, "…"] if len(kinds) > _SHOWN else listed,
                )
            )
        if self.folder_links:
            found.append(
                sentence(
                    "notes.folder_links",
                    "Not followed: {count} {links} to folders ({names}); put the folder itself there.",
                    **_links(self.folder_links),
                )
            )
        if self.broken_links:
            found.append(
                sentence(
                    "notes.broken_links",
                    "Left out: {count} {links} to a file that does not exist ({names}).",
                    **_links(self.broken_links),
                )
            )
        return tuple(found)


def walk(root: Path) -> Tree:
    """Go through all folders below `root`.

    Raises:
        DataError: a folder cannot be read, or an image's name is not UTF-8.
    """
    found: dict[Kind, list[str]] = {
        "image": [], "dicom": [], "other": [], "junk": [], "folder": [], "link to a folder": [], "link to nowhere": []
    }  # fmt: skip
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    name, kind = folder + entry.name, _kind(entry)
                    found[kind].append(name)
                    if kind == "folder":
                        waiting.append(name + "/")
        except OSError as error:
            raise DataError(f"folder {readable(str(root / folder))} cannot be read: {error.strerror}") from None
    _check_names(root, [*found["image"], *found["dicom"]])
    kinds = (tuple(sorted(names, key=lambda name: name.split("/"))) for names in found.values())
    images, dicom, others, junk, folders, folder_links, broken_links = kinds
    return Tree(root, images, dicom, others, junk, folders, folder_links, broken_links)


def same_but_for_case(names: Iterable[str], what: Literal["files", "patients"]) -> tuple[Sentence, ...]:
    """A sentence if some different names are one where upper and lower case do not count, as on Windows and Macs.

    Args:
        names: each as often as one likes.
        what: what they name.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(name_key(name), []).append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return ()
    together = [
        Sentence(" and ".join(names), "notes.alike", {"names": names})
        for names in ([readable(name) for name in group] for group in alike)
    ]
    return (
        sentence(
            "notes.same_but_for_case",
            "Taken for different {what}, although only upper and lower case or accents differ: {groups}.",
            what=Sentence(what, f"named.{what}"),
            groups=counted(together, _SHOWN),
        ),
    )


def name_key(name: str) -> str:
    """What two names share that are one where neither upper and lower case nor the spelling of accents count."""
    return unicodedata.normalize("NFC", name).casefold()


def readable(name: str) -> str:
    """A name fit for a message or a log: bytes that are not UTF-8 and control characters in escapes."""
    whole = name.encode("utf-8", "backslashreplace").decode()
    return (
        whole if whole.isprintable() else "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in whole)
    )


def shown(names: Sequence[str]) -> str:
    """The first few of many names, and how many more there are."""
    return str(sentence("lists.names", "{names}", names=counted([readable(name) for name in names], _SHOWN)))


def is_junk(name: str, *, folder: bool = True) -> bool:
    """Whether a system leaves files (or folders) of this name behind, or they are hidden."""
    name = name.lower()
    return name.startswith((".", "~$")) or name in (_JUNK_FOLDERS if folder else _JUNK_FILES)


def _kind(entry: "os.DirEntry[str]") -> Kind:
    name = entry.name.lower()
    folder = entry.is_dir(follow_symlinks=False)
    if is_junk(name, folder=folder):
        return "junk"
    if folder:
        return "folder"
    try:
        status = entry.stat()
    except OSError:
        return "link to nowhere" if entry.is_symlink() else "other"
    if stat.S_ISDIR(status.st_mode):
        return "link to a folder"
    if not stat.S_ISREG(status.st_mode):
        return "other"  # a pipe would be waited for
    if name.endswith(DICOM_SUFFIXES):
        return "dicom"
    if name.endswith(SUFFIXES):
        return "image"
    # DICOMDIR is the table of contents of a disk.
    return "dicom" if name != "dicomdir" and _starts_like_dicom(entry.path) else "other"


def _starts_like_dicom(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False


def _check_names(root: Path, names: Sequence[str]) -> None:
    """No table, hash or log can hold a name that is not UTF-8; old zip files from Windows leave such names."""
    wrong = []
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            wrong.append(name)
    if wrong:
        raise DataError(
            f"{readable(str(root))}: {len(wrong)} {_plural(len(wrong), 'name')} not UTF-8: {shown(wrong)}. Unpack the "
            "archive they came in again with the right encoding, or rename them; `convmv -r -f gbk -t utf8 --notest "
            "FOLDER` does so for Chinese names"
        )


def _links(names: Sequence[str]) -> dict[str, Any]:
    """What a note on links says of them."""
    count = len(names)
    return {"count": count, "links": _plural(count, "link"), "names": counted([readable(n) for n in names], _SHOWN)}


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
