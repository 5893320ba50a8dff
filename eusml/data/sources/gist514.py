"""GIST514-DB as downloaded: endoscopic ultrasound of 251 GISTs and 263 leiomyomas, annotated as COCO files.

usd514_jpeg_roi/images/….jpg                                     the images
usd514_jpeg_roi/annotations/all_anno_crop.json                   every image: class and outline of its lesion
usd514_jpeg_roi/annotations/val_anno_crop_split_0.json … _4      the images of each of the five published folds
usd514_jpeg_roi/annotations/train_anno_crop_split_0.json … _4    the images of the other four; not read

`category_id` 1 is leiomyoma (`lmym`), 2 is GIST. `data.path` is that folder or one above it. Source: He et al.,
Computers in Biology and Medicine 2022, doi:10.1016/j.compbiomed.2022.106424 (CC BY-NC-SA 4.0).
"""

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from eusml.config import DataConfig
from eusml.data.boxes import Box
from eusml.data.images import SUFFIXES
from eusml.data.manifest import BOX_COLUMNS, Cases, Exclusion, check_table, no_patients
from eusml.data.sources.locating import find_root
from eusml.data.split import FOLD_COLUMN
from eusml.errors import DataError
from eusml.sentences import sentence

FOLDS = 5
_LABELS = {1: "leiomyoma", 2: "GIST"}
_CATEGORY_NAMES = {1: {"lmym", "lm", "leiomyoma"}, 2: {"gist"}}
_ALL = "annotations/all_anno_crop.json"
_MAX_JSON_BYTES = 16_000_000
"""The published files hold about 1 MB; JSON needs up to thirty times its size in memory."""


_Item = TypeVar("_Item")
_Several = Annotated[tuple[_Item, ...], FailFast()]
"""The first wrong item is told; a million of them would take gigabytes to tell."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class _Named(_Part):
    file_name: str


class _Image(_Named):
    id: int
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class _Annotation(_Part):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]


class _Category(_Part):
    id: int
    name: str


class _Listing(_Part):
    images: _Several[_Named]


class _Annotated(_Part):
    images: _Several[_Image]
    annotations: _Several[_Annotation]
    categories: _Several[_Category] = ()


_File = TypeVar("_File", _Listing, _Annotated)


def read_gist514(settings: DataConfig, work_dir: Path, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Cases:
    """Cases of GIST514-DB at `settings.path`, each with its lesion box and its published fold.

    Raises:
        DataError: the folder is missing or not laid out like GIST514-DB, an annotation file is damaged or
            contradicts itself, a box lies outside its image, or the folds are not five that share no image.
    """
    root = find_root(settings, _has_annotations, "GIST514-DB", "usd514_jpeg_roi", f"its annotations, {_ALL}")
    where = root / _ALL
    annotated = _load(where, _Annotated)
    _check_categories(annotated, where)
    of_image = _annotations_by_image(annotated, where)
    folds = _published_folds(root, {image.file_name for image in annotated.images})
    rows = []
    for image in progress(annotated.images):
        box = _union([_box(annotation, image, where) for annotation in of_image[image.id]])
        row = {
            "case_id": image.file_name,
            "image": f"images/{image.file_name}",
            "label": _label(image, of_image[image.id], where),
        }
        rows.append(row | dict(zip(BOX_COLUMNS, box, strict=True)) | folds.get(image.file_name, {}))
    notes = [no_patients("GIST514-DB")]
    if not folds:
        notes.append(
            sentence(
                "notes.no_folds",
                "The published folds are not there: {folder} holds no val_anno_crop_split_0.json.",
                folder=str(root / "annotations"),
            )
        )
    table = check_table(pd.DataFrame(rows), str(where))
    excluded = _unlisted(root, {row["case_id"] for row in rows})
    return Cases(root, table, f"GIST514-DB {root.name}", synthetic=False, excluded=excluded, notes=tuple(notes))


def _has_annotations(folder: Path) -> bool:
    return (folder / _ALL).is_file()


def _load(path: Path, kind: type[_File]) -> _File:
    """A COCO file, checked."""
    try:
        size = path.stat().st_size
        if size > _MAX_JSON_BYTES:
            raise DataError(f"{path} has {size / 1e6:.0f} MB; at most {_MAX_JSON_BYTES / 1e6:.0f} MB are read")
        content = kind.model_validate_json(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem, *more = error.errors(include_url=False, include_context=False, include_input=False)
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]).lstrip(".")
        rest = f" (and {len(more)} more)" if more else ""
        raise DataError(f"{path}: {place + ': ' if place else ''}{problem['msg']}{rest}; fetch it again") from None
    names: set[str] = set()
    for image in content.images:
        name = image.file_name
        outside = name.startswith("/") or ".." in PurePosixPath(name).parts or "\\" in name or name[1:2] == ":"
        if outside or not name.strip() or re.search(r"[\x00-\x1f\x7f-\x9f]", name):
            raise DataError(f"{path}: file_name {name!r} must be the name of a file below images/")
        if name in names:
            raise DataError(f"{path}: images lists {name!r} more than once")
        names.add(name)
    return content


def _check_categories(annotated: _Annotated, where: Path) -> None:
    """The names the file itself gives must be those of `_LABELS`: exchanged ids would exchange the classes."""
    for category in annotated.categories:
        if category.name.strip().lower() not in _CATEGORY_NAMES.get(category.id, ()):
            raise DataError(
                f"{where}: category {category.id} is called {category.name!r}; in GIST514-DB 1 is lmym and 2 is GIST"
            )


def _annotations_by_image(annotated: _Annotated, where: Path) -> dict[int, list[_Annotation]]:
    of_image: dict[int, list[_Annotation]] = {image.id: [] for image in annotated.images}
    if len(of_image) < len(annotated.images):
        raise DataError(f"{where}: two images have the same id")
    for annotation in annotated.annotations:
        if annotation.image_id not in of_image:
            raise DataError(f"{where}: an annotation is of image id {annotation.image_id}, which images does not list")
        of_image[annotation.image_id].append(annotation)
    for image in annotated.images:
        if not of_image[image.id]:
            raise DataError(f"{where}: image {image.file_name!r} has no annotation, so neither class nor box")
    return of_image


def _label(image: _Image, annotations: list[_Annotation], where: Path) -> str:
    found = sorted({annotation.category_id for annotation in annotations})
    unknown = [number for number in found if number not in _LABELS]
    if unknown:
        raise DataError(
            f"{where}: image {image.file_name!r} is of category_id {unknown[0]}; 1 (lmym) or 2 (GIST) is expected"
        )
    if len(found) > 1:
        raise DataError(f"{where}: image {image.file_name!r} is annotated as lmym (1) and as GIST (2)")
    return _LABELS[found[0]]


def _box(annotation: _Annotation, image: _Image, where: Path) -> Box:
    """The annotation's box in whole pixels; what it is outside the image by less than one is rounding."""
    x, y, width, height = annotation.bbox
    named = f"{where}: bbox {list(annotation.bbox)} of image {image.file_name!r}"
    if width <= 0 or height <= 0:
        raise DataError(f"{named} is empty (x, y, width, height in pixels)")
    spans = []
    for start, length, side in ((x, width, image.width), (y, height, image.height)):
        inside = start > -1 and start + length < side + 1
        # 50.1 + 49.9 is a little more than 100, which is no reason for one pixel more.
        first = max(math.floor(round(start, 6)), 0) if inside else 0
        last = min(math.ceil(round(start + length, 6)), side) if inside else 0
        if last <= first:
            raise DataError(f"{named} does not lie inside its {image.width} x {image.height} pixels")
        spans.append((first, last - first))
    (left, box_width), (top, box_height) = spans
    return left, top, box_width, box_height


def _union(boxes: list[Box]) -> Box:
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    return left, top, right - left, bottom - top


def _published_folds(root: Path, names: set[str]) -> dict[str, dict[str, int]]:
    """Every image's fold as a cell of its row; nothing when the download has no folds."""
    files = [root / "annotations" / f"val_anno_crop_split_{fold}.json" for fold in range(FOLDS)]
    missing = [file.name for file in files if not file.is_file()]
    if len(missing) == FOLDS:
        return {}
    if missing:
        raise DataError(f"{root / 'annotations'} lacks {', '.join(missing)}; all five folds are needed, or none")
    fold_of: dict[str, dict[str, int]] = {}
    for fold, file in enumerate(files):
        for image in _load(file, _Listing).images:
            if image.file_name not in names:
                raise DataError(f"{file} lists image {image.file_name!r}, which {root / _ALL} does not know")
            if image.file_name in fold_of:
                earlier = files[fold_of[image.file_name][FOLD_COLUMN]].name
                raise DataError(f"{file} lists image {image.file_name!r}, which {earlier} holds, too")
            fold_of[image.file_name] = {FOLD_COLUMN: fold}
    left_over = sorted(names - set(fold_of))
    if left_over:
        raise DataError(f"{root / 'annotations'}: image {left_over[0]!r} is in none of the five val files")
    return fold_of


def _unlisted(root: Path, names: set[str]) -> tuple[Exclusion, ...]:
    """Images that lie in the folder and that no annotation knows."""
    folder = root / "images"
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    found = sorted(file.relative_to(folder).as_posix() for file in files)
    why = sentence("reasons.unlisted", "not in {file}", file=PurePosixPath(_ALL).name)
    return tuple(Exclusion(name, why) for name in found if name not in names)
