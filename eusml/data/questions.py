"""Images that a person asks about: no labels, no split, and a file that cannot be read is one row and no end."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eusml.data.boxes import Box
from eusml.data.manifest import BOX_COLUMNS, has_boxes
from eusml.data.sources.table import local_images, read_table
from eusml.data.sources.tree import walk
from eusml.errors import DataError


@dataclass(frozen=True)
class Question:
    """One image."""

    case_id: str
    """As the table calls it, or else the file's path in its folder."""
    file: Path
    box: Box | None
    """The lesion, pixels."""
    error: str | None = None
    """Why the row makes no question; None where it does."""


def read_questions(path: Path | None) -> tuple[Question, ...]:
    """All images below a folder; or the rows of a CSV with a column `image`, optionally `case_id` and a box.

    Args:
        path: the folder or the file; images of a CSV are relative to its folder.

    Raises:
        DataError: it does not exist, holds no image, or is no such table.
    """
    if path is None:
        raise DataError("predict.images is not given; name a folder of images or a CSV with -P predict.images=…")
    if path.is_dir():
        tree = walk(path)
        names = sorted({*tree.images, *tree.dicom})
        if not names:
            raise DataError(f"{path} holds no images")
        return tuple(Question(name, path / name, None) for name in names)
    if not path.exists():
        raise DataError(f"predict.images {path} does not exist")
    return _from_table(path)


def _from_table(path: Path) -> tuple[Question, ...]:
    table, _ = read_table(path)
    if "image" not in table.columns:
        raise DataError(f"{path} has no column image; there are {', '.join(map(str, table.columns))}")
    table, _ = local_images(table, path.parent, str(path))
    if table.empty:
        raise DataError(f"{path} has no rows")
    names = table["case_id"] if "case_id" in table.columns else table["image"]
    with_box = has_boxes(table, str(path))
    rows = zip(names, table["image"], table.to_dict("records"), strict=True)
    return tuple(_question(number, *row, root=path.parent, with_box=with_box) for number, row in enumerate(rows, 2))


def _question(
    line: int, name: object, image: object, row: dict[Hashable, Any], *, root: Path, with_box: bool
) -> Question:
    case_id = str(name) if isinstance(name, str) else f"line {line}"
    if not isinstance(image, str):
        return Question(case_id, root, None, f"line {line} names no image")
    given = [row[name] for name in BOX_COLUMNS] if with_box else []
    if not given or all(pd.isna(value) for value in given):
        return Question(case_id, root / image, None)
    numbers = [value for value in given if isinstance(value, int | float) and math.isfinite(value)]
    if len(numbers) < len(given):
        found = ", ".join(f"{value:g}" if isinstance(value, int | float) else str(value) for value in given)
        return Question(case_id, root / image, None, f"a box needs four numbers of pixels, found {found}")
    x, y, w, h = (round(number) for number in numbers)
    return Question(case_id, root / image, (x, y, w, h))
