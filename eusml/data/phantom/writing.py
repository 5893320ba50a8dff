"""A cohort on disk: PNG files and a manifest, as a user's own folder would hold them."""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from eusml.data.parallel import begin_helping, cores
from eusml.data.phantom.cohort import PhantomCase
from eusml.data.phantom.geometry import ViewName
from eusml.data.phantom.rendering import render
from eusml.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

BOX_COLUMNS: Final = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")
COVARIATES: Final = (
    "age_years",
    "sex",
    "size_mm",
    "site",
    "layer",
    "internal_echo",
    "echo_level",
    "shape",
    "lobulated",
    "growth",
    "border",
    "surface",
    "calcification",
    "anechoic_area",
    "probe_mhz",
)

_GENERATOR = "eusml synthetic EUS phantom"
_COMPRESS_LEVEL = 4
"""Speckle hardly compresses: level 9 saves another 0.3 % for a third more time."""
_POOL_FROM = 128
"""Up to this many images are rendered sooner than a pool of processes has started."""
_CHUNK = 8

Box = tuple[int, int, int, int]


def write_cohort(
    folder: Path,
    cases: Sequence[PhantomCase],
    *,
    view: ViewName,
    size_px: int,
    workers: int | None = None,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = lambda items: items,
) -> "pd.DataFrame":
    """Render a cohort into `folder`: `images/<case_id>.png` (8-bit grey) and `manifest.csv`.

    The files are written beside `folder` and moved there at the end, so that nothing half-written is ever found.
    Their bytes do not depend on `workers`.

    Args:
        folder: must not exist, or be empty; its parents are made.
        cases: patients with different case_ids, at least one.
        view: what the images show; only frames have a lesion box (`bbox_x` ... `bbox_h`, pixels) in the manifest.
        size_px: side of the images.
        workers: processes; by default one per core, and none beside this one for few images.
        progress: wraps the cases as they are rendered, for a progress bar.

    Returns:
        The manifest, one row per case in the order of `cases`.

    Raises:
        DataError: no cases, a case_id that occurs twice, or a folder that holds something already.
    """
    if not cases:
        raise DataError(f"no cases to write to {folder}")
    ids = [case.case_id for case in cases]
    repeated = sorted({case_id for case_id in ids if ids.count(case_id) > 1})
    if repeated:
        raise DataError(f"case_id {repeated[0]} occurs more than once in the cohort for {folder}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists already and is not an empty folder; delete it or name another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".unfinished", dir=folder.parent))
    try:
        (unfinished / "images").mkdir()
        write = partial(_write_image, unfinished / "images", view=view, size_px=size_px)
        boxes = _map(write, cases, workers, progress)
        table = _manifest(cases, boxes if view == "frame" else None)
        (unfinished / "manifest.csv").write_bytes(_csv(table))
        unfinished.chmod(0o755)  # mkdtemp makes it private
        _move(unfinished, folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return table


def _move(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.replace(folder)
    except OSError as error:
        raise DataError(f"{folder} was filled by something else while the cohort was rendered: {error}") from error


def _map(
    write: Callable[[PhantomCase], Box],
    cases: Sequence[PhantomCase],
    workers: int | None,
    progress: Callable[[Iterable[Any]], Iterable[Any]],
) -> list[Box]:
    """`write` of every case, in order; by several processes where that is sooner."""
    if workers is None:
        workers = cores() if len(cases) > _POOL_FROM else 1
    if workers <= 1:
        return [write(case) for case in progress(cases)]
    workers = min(workers, -(-len(cases) // _CHUNK))
    # Rendering uses no other threads than OpenCV's, of which each has one.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=begin_helping)
    with pool:
        try:
            results = pool.map(write, cases, chunksize=_CHUNK)
            # `progress` sees the cases, whose number it can tell; the answers arrive in their order.
            return [next(results) for _ in progress(cases)]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interrupt must not wait for the whole cohort
            raise


def _write_image(folder: Path, case: PhantomCase, *, view: ViewName, size_px: int) -> Box:
    """Render one case to its file; the lesion's box."""
    rendered = render(case, size_px=size_px, view=view)
    said = PngInfo()
    said.add_text("SYNTHETIC", "yes, not a patient")
    said.add_text("Software", _GENERATOR)
    said.add_text("case_id", case.case_id)
    Image.fromarray(rendered.image).save(folder / f"{case.case_id}.png", pnginfo=said, compress_level=_COMPRESS_LEVEL)
    return rendered.box_px


def _csv(table: "pd.DataFrame") -> bytes:
    from eusml.tables import to_csv_text  # needs pandas; see `_manifest`

    return to_csv_text(table).encode()


def _manifest(cases: Sequence[PhantomCase], boxes: list[Box] | None) -> "pd.DataFrame":
    """The manifest of `cases`; without boxes the images are the lesion's region already."""
    import pandas as pd  # not above: every rendering process would wait for it, longer than for all its images

    ids = [case.case_id for case in cases]
    columns: dict[str, Any] = {"case_id": ids, "patient_id": ids, "image": [f"images/{case_id}.png" for case_id in ids]}
    columns["label"] = [case.label for case in cases]
    if boxes is not None:
        columns |= {name: [box[place] for box in boxes] for place, name in enumerate(BOX_COLUMNS)}
    columns["synthetic"] = True
    covariates = {name: [getattr(case, name) for case in cases] for name in COVARIATES}
    return pd.DataFrame(columns | covariates)
