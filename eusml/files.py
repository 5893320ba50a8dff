"""Files that a kill or a power cut leaves whole or absent; how a changed one is known, and room for one."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""How a file system says that it cannot set bytes aside."""


def stamp(path: Path) -> tuple[int, int, int]:
    """Bytes of a file, when its content was changed and when anything of it was (ns): they stand for its content.

    The last time is there because a file that could not be read may be readable after a mere `chmod`.

    Raises:
        OSError: it cannot be looked at.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def reserve(descriptor: int, size: int) -> None:
    """Have the disk set aside the first `size` bytes of an open file, where system and file system can do so.

    For files that are written through memory, where a full disk is no error but a signal that kills, and by numpy,
    which says how much it wrote and not why it was no more.

    Raises:
        OSError: the disk is full.
    """
    if size == 0 or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to; it takes the place of the one at `path` when the block ends well, and only then.

    Nobody else may write the same path meanwhile: the draft beside it has a fixed name, so that none is left over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    with draft.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last through a power cut, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
