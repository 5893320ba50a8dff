"""A folder of images: with `manifest.csv`, or with one sub-folder per class.

FOLDER/manifest.csv        case_id, image, label; optional patient_id, bbox_x, bbox_y, bbox_w, bbox_h, covariates
FOLDER/images/…            wherever the manifest's `image` column points, relative to FOLDER

FOLDER/GIST/….png          or: the class is the name of the sub-folder; every image counts as a patient of its own
FOLDER/leiomyoma/….png
"""

import csv
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from eusml.config import DataConfig
from eusml.data.images import SUFFIXES
from eusml.data.manifest import TEXT_COLUMNS, Cases, check_table
from eusml.errors import DataError

MANIFEST = "manifest.csv"


def read_folder(settings: DataConfig, work_dir: Path, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Cases:
    """Cases of the folder at `settings.path`.

    Raises:
        DataError: the folder is missing, holds neither a manifest nor classes, or a class is empty.
    """
    if settings.path is None:
        raise DataError("data.source is folder, but data.path is not given; add -P data.path=/your/folder")
    root = settings.path.expanduser()  # no shell does it inside `data.path=~/images`
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(f"data.path {root} {what}; it must be a folder with {MANIFEST} or one sub-folder per class")
    table = _read_manifest(root) if (root / MANIFEST).is_file() else _read_class_folders(root)
    return Cases(root.resolve(), table, f"folder {root.resolve().name}", synthetic=_says_synthetic(table))


def _read_manifest(root: Path) -> pd.DataFrame:
    path = root / MANIFEST
    try:
        # The names first: spaces around one would hide from pandas that its column holds text.
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = [name.strip() for name in next(csv.reader(file), [])]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{path}: column {', '.join(map(repr, twice))} stands more than once")
        text = dict.fromkeys(TEXT_COLUMNS, str)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Without `index_col=False` a cell too many in every row would shift all of them under the next name.
            table = pd.read_csv(
                path, header=0, names=names, index_col=False, dtype=text, keep_default_na=False, na_values=[""]
            )
    except DataError:
        raise
    except pd.errors.ParserWarning:
        raise DataError(f"{path} has rows with more cells than its header names") from None
    except (ValueError, csv.Error, OSError) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from None
    table = check_table(table, str(path))
    for case_id, image in zip(table["case_id"], table["image"], strict=True):
        if Path(image).is_absolute() or ".." in Path(image).parts:
            raise DataError(f"{path}: image {image!r} of case {case_id} must be a path below {root}")
    return table


def _read_class_folders(root: Path) -> pd.DataFrame:
    classes = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not classes:
        raise DataError(f"{root} holds neither {MANIFEST} nor one sub-folder of images per class")
    rows = []
    for folder in classes:
        images = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not images:
            raise DataError(f"class folder {folder} holds no image ({', '.join(SUFFIXES)})")
        names = [file.relative_to(root).as_posix() for file in images]
        rows += [{"case_id": name, "image": name, "label": folder.name} for name in names]
    return check_table(pd.DataFrame(rows), str(root))


def _says_synthetic(table: pd.DataFrame) -> bool:
    """A manifest that the phantom wrote marks its cases; copied elsewhere they stay synthetic."""
    if "synthetic" not in table.columns:
        return False
    return bool(table["synthetic"].astype(str).str.strip().str.lower().isin(["true", "1", "yes"]).any())
