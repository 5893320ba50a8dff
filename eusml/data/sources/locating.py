"""Where a published data set lies: at `data.path`, or in a folder or two below it, as archives unpack."""

from collections.abc import Callable
from pathlib import Path

from eusml.config import DataConfig
from eusml.errors import DataError


def find_root(settings: DataConfig, is_root: Callable[[Path], bool], name: str, example: str, marks: str) -> Path:
    """The one folder at `settings.path`, or at most two levels below it, that is the root of a data set.

    Args:
        settings: which path.
        is_root: whether a folder is the root; False for what is no folder.
        name: of the data set, for messages.
        example: what the path usually ends with.
        marks: what a root is known by, in words.

    Raises:
        DataError: no path is given, or there is no root or more than one; or the path is a part of one.
    """
    if settings.path is None:
        raise DataError(
            f"data.source is {settings.source}, but data.path is not given; add -P data.path=/your/{example}"
        )
    given = settings.path.expanduser()
    for candidates in ([given], given.glob("*"), given.glob("*/*")):
        found = sorted(folder for folder in candidates if is_root(folder))
        if len(found) > 1:
            raise DataError(f"data.path {given} holds {name} more than once: {', '.join(map(str, found))}; name one")
        if found:
            return found[0].resolve()
    if is_root(given.parent):
        raise DataError(f"data.path {given} is a part of {name} only; give the folder above, {given.parent}")
    what = "holds no" if given.is_dir() else "is a file, not a folder of" if given.exists() else "does not exist: no"
    raise DataError(f"data.path {given} {what} {name}, which is known by {marks}")
