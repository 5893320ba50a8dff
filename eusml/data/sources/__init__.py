"""Where cases come from. A source is one module with one function: settings and work folder to `Cases`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from eusml.config import DataConfig
from eusml.data.manifest import Cases
from eusml.data.sources.folder import read_folder
from eusml.data.sources.phantom import phantom_cohort, read_phantom

__all__ = ["SOURCES", "phantom_cohort", "read_cases"]

Progress = Callable[[Iterable[Any]], Iterable[Any]]

SOURCES: dict[str, Callable[[DataConfig, Path, Progress], Cases]] = {"phantom": read_phantom, "folder": read_folder}
"""`data.source` to its reader: a new source is a module here, a line here, and a word in `DataConfig.source`."""


def read_cases(settings: DataConfig, work_dir: Path, progress: Progress = iter) -> Cases:
    """The cases of the configured source.

    Args:
        settings: which source, and where.
        work_dir: where a source may keep what it makes.
        progress: wraps what a source takes long to go through.

    Raises:
        DataError: the source is missing or not what it should be.
    """
    return SOURCES[settings.source](settings, work_dir, progress)
