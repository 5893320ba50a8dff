"""Files that a kill or a power cut leaves whole or absent, never half-written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_IN_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
"""As the system and SQLite put it, for MLflow passes on the words alone."""


def full_disk(error: BaseException | None) -> BaseException | None:
    """The error, or the one that it came from, that says that a disk or one's share of it is full; None otherwise."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return error
        if any(words in str(error) for words in _FULL_IN_WORDS):
            return error
        error = error.__cause__ or error.__context__
    return None


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
