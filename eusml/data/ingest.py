"""Every file of a cohort, once: decoded, prepared for the network, measured and sketched for the audit.

Images are worked on in shards. A shard that lies on disk is not made again as long as its files, judged by size and
times, and the settings are the same: a killed ingestion goes on, a changed file costs one shard.
"""

import hashlib
import json
import math
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eusml.config import DataConfig
from eusml.data.boxes import Box
from eusml.data.duplicates import SKETCH_SIDE_PX, sketch
from eusml.data.images import MAX_BYTES, Preparation, cut_region, prepare_picture, read_picture
from eusml.data.manifest import Cases, box_of
from eusml.data.parallel import Counted, in_order, processes_for
from eusml.digests import fingerprint
from eusml.errors import DataError, UnreadError
from eusml.files import reserve, stamp, written_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[Iterable[Any]], Iterable[Any]]

SHARD_IMAGES = 256
_COLUMNS = ("width_px", "height_px", "grey_sd", "overlay_frac", "problem")


@dataclass(frozen=True)
class Ingested:
    """What was found in the files, in the order of the cases."""

    images: "NDArray[np.uint8]"
    """uint8 [N, S, S]; black where a file could not be read."""
    sketches: "NDArray[np.uint8]"
    """uint8 [N, K, K], the whole picture made square and small: what duplicates are found by."""
    measures: pd.DataFrame
    """One row per case: width_px and height_px of the picture; grey_sd and overlay_frac of the region of interest (grey
    levels, and share of pixels); problem, which is empty for a file that was read."""

    @property
    def readable(self) -> "NDArray[np.bool_]":
        """Which files could be read, bool [N]."""
        return np.asarray(self.measures["problem"] == "", dtype=np.bool_)


def preparation_of(settings: DataConfig) -> Preparation:
    """How the settings want a file prepared."""
    return Preparation(
        size_px=settings.image_size_px,
        margin_frac=settings.roi_margin_frac,
        grey_range=settings.grey_range,
        frame=settings.dicom.frame,
        inpaint_overlays=settings.inpaint_overlays,
    )


def ingest(cases: Cases, settings: DataConfig, folder: Path | None = None, progress: Progress = iter) -> Ingested:
    """Read every file of the cases.

    Args:
        cases: what to read.
        settings: how to prepare it, and in how many processes.
        folder: where shards are kept between starts; None keeps none.
        progress: wraps an iterable of all images as they are done.

    Raises:
        DataError: a decoder crashed. Files that cannot be read raise nothing: they are in `measures`.
    """
    preparation = preparation_of(settings)
    size, side = len(cases.table), preparation.size_px
    images = blank((size, side, side), folder)
    sketches = blank((size, SKETCH_SIDE_PX, SKETCH_SIDE_PX), folder)
    measured: list[dict[str, Any]] = [{} for _ in range(size)]
    shards = _shards(cases, preparation, folder)
    results = _results(shards, processes_for(size, settings.workers))
    done = ((result, at, place) for shard, result in results for at, place in enumerate(shard.places))
    for result, at, place in progress(Counted(done, size)):
        images[place], sketches[place] = result.images[at], result.sketches[at]
        measured[place] = result.measures[at]
    return Ingested(images, sketches, pd.DataFrame(measured, columns=_COLUMNS))


def blank(shape: tuple[int, int, int], folder: Path | None) -> "NDArray[np.uint8]":
    """Zeros, uint8; in a file without a name where there is a folder, so that memory does not grow with the cohort.

    Raises:
        OSError: the folder's disk is full.
    """
    if folder is None or 0 in shape:
        return np.zeros(shape, np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        reserve(file.fileno(), math.prod(shape))
        return np.memmap(file, np.uint8, "w+", shape=shape)


@dataclass(frozen=True)
class _Item:
    """One file to read."""

    case_id: str
    path: Path
    box: Box | None
    stamp: tuple[int, ...]
    """Bytes and times (ns, `eusml.files.stamp`), which stand for the content; (-1,) for no such file."""


@dataclass(frozen=True)
class _Shard:
    """Some files of a cohort, always the same ones, and where their results belong."""

    places: tuple[int, ...]
    items: tuple[_Item, ...]
    preparation: Preparation
    file: Path | None
    """Where the results are kept."""


@dataclass(frozen=True)
class _Result:
    images: "NDArray[np.uint8]"
    sketches: "NDArray[np.uint8]"
    measures: list[dict[str, Any]]


def _shards(cases: Cases, preparation: Preparation, folder: Path | None) -> list[_Shard]:
    """Files are dealt to shards by their names, so that a new file changes one shard and moves no other."""
    names = cases.table["image"].astype(str).tolist()
    # A power of two, lest every file moves when one more makes one shard more.
    count = 1 << max(math.ceil(math.log2(max(len(names), 1) / SHARD_IMAGES)), 0)
    places: list[list[int]] = [[] for _ in range(count)]
    for place, name in enumerate(names):
        places[int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % count].append(place)
    rows = cases.table.to_dict("records")
    shards = []
    for members in (tuple(some) for some in places if some):
        items = tuple(_item(cases.root, rows[place]) for place in members)
        shards.append(_Shard(members, items, preparation, folder / _shard_name(items, preparation) if folder else None))
    return shards


def _item(root: Path, row: Mapping[Any, Any]) -> _Item:
    path = root / str(row["image"])
    try:
        known = stamp(path) if path.is_file() else (-1,)
    except OSError:
        known = (-1,)
    return _Item(str(row["case_id"]), path, box_of(row), known)


def _shard_name(items: tuple[_Item, ...], preparation: Preparation) -> str:
    known = {"preparation": repr(preparation), "items": [repr(item) for item in items]}
    return f"{fingerprint('ingest', known, ('data',))[:24]}.npz"


def _results(shards: list[_Shard], processes: int) -> Iterator[tuple[_Shard, _Result]]:
    """Every shard and its result; only what an earlier start did not keep is sent to other processes."""
    kept = [shard.file is not None and shard.file.is_file() for shard in shards]
    made = in_order(_work, [shard for shard, known in zip(shards, kept, strict=True) if not known], processes, _names)
    for shard, known in zip(shards, kept, strict=True):
        yield shard, (_load(shard) or _work(shard)) if known else next(made)


def _names(shard: _Shard) -> str:
    return f"one of {len(shard.items)} files such as {shard.items[0].path}"


def _work(shard: _Shard) -> _Result:
    """Read the files of one shard and keep the result, unless another try could find more in the same files."""
    side = shard.preparation.size_px
    images = np.zeros((len(shard.items), side, side), np.uint8)
    sketches = np.zeros((len(shard.items), SKETCH_SIDE_PX, SKETCH_SIDE_PX), np.uint8)
    measures, lasting = [], True
    for at, item in enumerate(shard.items):
        row: dict[str, Any] = dict.fromkeys(_COLUMNS, np.nan)
        try:
            images[at], sketches[at], found = _read(item, shard.preparation)
            row |= found | {"problem": ""}
        except DataError as error:
            row["problem"] = str(error)
            lasting = lasting and not isinstance(error, UnreadError)
        measures.append(row)
    result = _Result(images, sketches, measures)
    if shard.file is not None and lasting:
        shard.file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(shard.file) as file:
            np.savez(file, images=images, sketches=sketches, measures=np.frombuffer(_as_json(measures), np.uint8))
    return result


def _load(shard: _Shard) -> _Result | None:
    """What an earlier start kept of the shard; None when it is not there or damaged."""
    if shard.file is None or not shard.file.is_file():
        return None
    try:
        with shard.file.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            measures = json.loads(kept["measures"].tobytes())
            return _Result(kept["images"], kept["sketches"], measures)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _as_json(measures: list[dict[str, Any]]) -> bytes:
    return json.dumps(measures).encode()


def _read(item: _Item, preparation: Preparation) -> "tuple[NDArray[np.uint8], NDArray[np.uint8], dict[str, Any]]":
    """Prepared image, sketch and measures of one file.

    Raises:
        UnreadError: the system does not give the file, or not the memory for it.
        DataError: it cannot be read for what it is.
    """
    data, name = _bytes_of(item), str(item.path)
    whole = read_picture(data, name, grey_range=preparation.grey_range, frame=preparation.frame)
    picture, box = cut_region(whole, item.box, name)
    image = prepare_picture(picture, box, preparation, name)
    height, width = picture.grey.shape
    marks = _within(picture.marks, box)
    found = {"width_px": width, "height_px": height, "grey_sd": float(image.std()), "overlay_frac": float(marks.mean())}
    return image, sketch(picture.grey), found


def _bytes_of(item: _Item) -> bytes:
    if item.stamp[0] < 0:
        what = "is no file" if item.path.exists() else "does not exist"
        raise DataError(f"image {item.path} of case {item.case_id} {what}")
    if item.stamp[0] > MAX_BYTES:
        raise DataError(f"image {item.path} has {item.stamp[0]:,} bytes; at most {MAX_BYTES:,} are read")
    try:
        return item.path.read_bytes()
    except OSError as error:
        raise UnreadError(f"image {item.path} of case {item.case_id} cannot be read: {error.strerror}") from None


def _within(mask: "NDArray[np.bool_]", box: Box | None) -> "NDArray[np.bool_]":
    """The part of a mask that lies in the box, or in the square that is cut without one."""
    if box is None:
        height, width = mask.shape
        side = min(height, width)
        box = ((width - side) // 2, (height - side) // 2, side, side)
    x, y, width, height = box
    return mask[y : y + height, x : x + width]
