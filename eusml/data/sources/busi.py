"""BUSI, Breast Ultrasound Images, as published: one folder per class, a mask beside every image.

Dataset_BUSI_with_GT/benign/benign (1).png             an image: label benign
Dataset_BUSI_with_GT/benign/benign (1)_mask.png        its lesion, white on black, of the image's size
Dataset_BUSI_with_GT/benign/benign (1)_mask_1.png      a second lesion of the same image: one box holds both
Dataset_BUSI_with_GT/malignant/malignant (1).png …     label malignant
Dataset_BUSI_with_GT/normal/normal (1).png …           no lesion: found, and left out

`data.path` is that folder or one above it. Source: Al-Dhabyani et al., Data in Brief 28 (2020) 104863,
doi:10.1016/j.dib.2019.104863.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eusml.config import DataConfig
from eusml.data.images import MAX_BYTES, SUFFIXES, decode
from eusml.data.manifest import BOX_COLUMNS, Cases, Exclusion, check_table, no_patients
from eusml.data.sources.locating import find_root
from eusml.errors import DataError
from eusml.sentences import Sentence, sentence

if TYPE_CHECKING:
    from numpy.typing import NDArray

LESION_CLASSES = ("benign", "malignant")
NO_LESION_CLASS = "normal"
_MASK_NAME = re.compile(r"(?P<image>.+)_mask(_\d+)?", re.IGNORECASE)


class _NoBox(Exception):
    """Why an image has no lesion box, in words that several images share."""

    def __init__(self, why: Sentence) -> None:
        super().__init__(why)
        self.why = why


def read_busi(settings: DataConfig, work_dir: Path, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Cases:
    """Cases of BUSI at `settings.path`, each with the box around its masks.

    Raises:
        DataError: the folder is missing or not laid out like BUSI, or no image has a mask that can be used.
    """
    marks = f"the folders {' and '.join(LESION_CLASSES)} side by side"
    root = find_root(settings, _has_classes, "BUSI", "Dataset_BUSI_with_GT", marks)
    images, masks = _images_and_masks(root)
    rows: list[dict[str, Any]] = []
    excluded: list[Exclusion] = []
    for image in progress(images):
        case_id = image.relative_to(root).as_posix()
        label = image.relative_to(root).parts[0].lower()
        if label == NO_LESION_CLASS:
            excluded.append(Exclusion(case_id, sentence("reasons.normal", "normal: no lesion")))
            continue
        try:
            box = _lesion_box(image, masks.get(image.with_suffix(""), []))
        except _NoBox as error:
            excluded.append(Exclusion(case_id, error.why))
            continue
        rows.append({"case_id": case_id, "image": case_id, "label": label} | dict(zip(BOX_COLUMNS, box, strict=True)))
    if not rows:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in Counter(one.reason for one in excluded).items())
        raise DataError(f"BUSI in {root} holds no image with a lesion box; found {reasons or 'no images'}")
    table = check_table(pd.DataFrame(rows), str(root))
    notes = (no_patients("BUSI"), *_orphans(root, images, masks))
    return Cases(root, table, f"BUSI {root.name}", synthetic=False, excluded=tuple(excluded), notes=notes)


def _has_classes(folder: Path) -> bool:
    try:
        return set(LESION_CLASSES) <= {entry.name.lower() for entry in folder.iterdir() if entry.is_dir()}
    except OSError:
        return False  # no folder, or none that may be looked into


def _images_and_masks(root: Path) -> tuple[list[Path], dict[Path, list[Path]]]:
    """All images in order, and the masks by the path of their image without its suffix."""
    images: list[Path] = []
    masks: dict[Path, list[Path]] = {}
    for folder in sorted(root.iterdir()):
        if folder.name.lower() not in (*LESION_CLASSES, NO_LESION_CLASS) or not folder.is_dir():
            continue
        for file in sorted(folder.rglob("*")):
            # macOS puts `._benign (1).png` beside the image, which is none.
            if file.name.startswith(".") or file.suffix.lower() not in SUFFIXES or not file.is_file():
                continue
            mask = _MASK_NAME.fullmatch(file.stem)
            if mask is None:
                images.append(file)
            else:
                masks.setdefault(file.with_name(mask["image"]), []).append(file)
    return images, masks


def _lesion_box(image: Path, masks: list[Path]) -> tuple[int, int, int, int]:
    """x, y, width and height of the smallest box around all masks of an image.

    Raises:
        _NoBox: the masks tell no box.
    """
    if not masks:
        raise _NoBox(sentence("reasons.mask_missing", "mask missing"))
    drawn = [_read_mask(mask) for mask in masks]
    shape = _shape(image) or drawn[0].shape
    if any(mask.shape != shape for mask in drawn):
        raise _NoBox(sentence("reasons.mask_size", "mask of another size than the image"))
    lesion = np.logical_or.reduce(drawn)
    if not lesion.any():
        raise _NoBox(sentence("reasons.mask_empty", "mask empty"))
    columns, rows = np.flatnonzero(lesion.any(axis=0)), np.flatnonzero(lesion.any(axis=1))
    return (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    )


def _read_mask(path: Path) -> "NDArray[np.bool_]":
    try:
        grey = _pixels(path)
    except (DataError, OSError):
        raise _NoBox(sentence("reasons.mask_unreadable", "mask unreadable")) from None
    # Half of its own white: masks come as 0 and 1 as well as 0 and 255, and a JPEG's rings around a lesion are none.
    return np.asarray(2 * grey.astype(np.int64) > max(int(grey.max()), 1))


def _shape(image: Path) -> tuple[int, ...] | None:
    try:
        return _pixels(image).shape
    except (DataError, OSError):
        return None  # an image that cannot be read stays a case: what becomes of it is the audit's to say


def _pixels(path: Path) -> "NDArray[np.uint8]":
    with path.open("rb") as file:
        return decode(file.read(MAX_BYTES + 1), str(path))  # the decoder refuses more


def _orphans(root: Path, images: list[Path], masks: dict[Path, list[Path]]) -> list[Sentence]:
    known = {image.with_suffix("") for image in images}
    lost = [mask.relative_to(root).as_posix() for stem, found in masks.items() if stem not in known for mask in found]
    if not lost:
        return []
    return [
        sentence(
            "notes.orphans",
            "Masks without an image: {count}, the first of them {first}.",
            count=len(lost),
            first=lost[0],
        )
    ]
