"""Where cases come from. A source is one module with one function: settings and work folder to `Cases`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from eusml.config import DataConfig
from eusml.data.manifest import Cases
from eusml.data.sources.archive import is_archive, unpack
from eusml.data.sources.busi import read_busi
from eusml.data.sources.dicom import read_dicom
from eusml.data.sources.folder import read_folder
from eusml.data.sources.gist514 import read_gist514
from eusml.data.sources.phantom import phantom_cohort, read_phantom
from eusml.errors import DataError, PrivateDataError

__all__ = ["SOURCES", "phantom_cohort", "read_cases"]

Progress = Callable[[Iterable[Any]], Iterable[Any]]

SOURCES: dict[str, Callable[[DataConfig, Path, Progress], Cases]] = {
    "phantom": read_phantom,
    "folder": read_folder,
    "dicom": read_dicom,
    "busi": read_busi,
    "gist514": read_gist514,
}
"""`data.source` to its reader: a new source is a module here, a line here, and a word in `DataConfig.source`."""


def read_cases(settings: DataConfig, work_dir: Path, progress: Progress = iter) -> Cases:
    """The cases of the configured source; an archive at `settings.path` is unpacked into the work folder first.

    Args:
        settings: which source, and where.
        work_dir: where a source may keep what it makes.
        progress: wraps what a source takes long to go through.

    Raises:
        DataError: the source is missing or not what it should be; one of DICOM files as `PrivateDataError`.
    """
    if settings.source != "phantom" and settings.path is not None:
        given = settings.path.expanduser()
        if is_archive(given):
            try:
                settings = settings.model_copy(update={"path": unpack(given, work_dir)})
            except DataError as error:
                if settings.source != "dicom":
                    raise
                raise PrivateDataError(str(error)) from None  # files of a DICOM export are called after patients
    return SOURCES[settings.source](settings, work_dir, progress)
