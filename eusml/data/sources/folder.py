"""A folder of images: with `manifest.csv`, or with one sub-folder per class.

FOLDER/manifest.csv        case_id, image, label; optional patient_id, bbox_x, bbox_y, bbox_w, bbox_h, covariates
FOLDER/images/…            wherever the manifest's `image` column points, relative to FOLDER

FOLDER/GIST/….png          or: the class is the name of the sub-folder; every image counts as a patient of its own
FOLDER/leiomyoma/….png
"""

import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pandas as pd

from eusml.config import DataConfig
from eusml.data.images import SUFFIXES
from eusml.data.manifest import Cases, Exclusion, check_table
from eusml.data.sources.table import MANIFEST, find_manifest, local_images, read_table
from eusml.data.sources.tree import Tree, is_junk, name_key, readable, same_but_for_case, shown, walk
from eusml.errors import DataError
from eusml.sentences import Sentence, sentence

__all__ = ["MANIFEST", "class_table", "data_folder", "manifest_table", "read_folder"]

Kind = Literal["images", "DICOM files"]
_EXPECTED = f"{MANIFEST} or one sub-folder of images per class"
_SOURCE = {"images": "folder", "DICOM files": "dicom"}
"""Which `data.source` reads the files of a kind."""


def read_folder(settings: DataConfig, work_dir: Path, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Cases:
    """Cases of the folder at `settings.path`.

    Raises:
        DataError: the folder is missing, holds neither a manifest nor classes, or a class is empty.
    """
    root = data_folder(settings)
    manifest = find_manifest(root)
    excluded: tuple[Exclusion, ...] = ()
    if manifest is not None:
        table, notes = manifest_table(manifest)
    else:
        tree = walk(root)
        table, excluded = class_table(tree, "images", settings.positive_class)
        notes = (*tree.notes(), *same_but_for_case(table["image"], "files"))
        if tree.dicom:
            count, them = (1, "it") if len(tree.dicom) == 1 else (len(tree.dicom), "them")
            template = "Left out: DICOM files, {count}; -P data.source=dicom reads {them} instead of the other images."
            notes += (sentence("notes.dicom_left_out", template, count=count, them=them),)
    name = f"folder {readable(root.resolve().name)}"
    return Cases(root.resolve(), table, name, _says_synthetic(table), excluded, notes)


def data_folder(settings: DataConfig) -> Path:
    """The folder at `settings.path`, which is there.

    Raises:
        DataError: no path is given, or it is not that of a folder.
    """
    source = settings.source
    if settings.path is None:
        raise DataError(f"data.source is {source}, but data.path is not given; add -P data.path=/your/folder")
    root = settings.path.expanduser()  # no shell does it inside `data.path=~/images`
    try:
        if root.is_dir():
            return root
        what = "is a file" if root.exists() else "does not exist"
        if root.is_symlink() and not root.exists():
            what = "is a link that leads nowhere"
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
    raise DataError(f"data.path {readable(str(root))} {what}; it must be a folder with {_EXPECTED}")


def manifest_table(path: Path) -> tuple[pd.DataFrame, tuple[Sentence, ...]]:
    """The checked table of a manifest, and what a person should know about it, a sentence each.

    Raises:
        DataError: it is no table of cases, or an image is not a path below the manifest's folder.
    """
    table, notes = read_table(path)
    table, respelled = local_images(table, path.parent, str(path))
    table = check_table(table, str(path))
    patients = (
        () if table["patient_id"].equals(table["case_id"]) else same_but_for_case(table["patient_id"], "patients")
    )
    return table, (*notes, *respelled, *patients, *same_but_for_case(table["image"], "files"))


def class_table(tree: Tree, kind: Kind, positive_class: str) -> tuple[pd.DataFrame, tuple[Exclusion, ...]]:
    """The checked table of files whose folder, directly below the root, is their class; and files beside the classes.

    Args:
        tree: of the root.
        kind: which of its files to take.
        positive_class: to tell whether the path is one level too high or too low.

    Raises:
        DataError: there are no such files, or no classes but some one level further up or down; a class holds no file;
            or the table is refused.
    """
    files = tree.images if kind == "images" else tree.dicom
    here = readable(str(tree.root))
    if not files:
        raise DataError(_nothing(tree, kind))
    classes = sorted({_top(file) for file in files if "/" in file})
    if len(classes) < 2 or not _called(classes, positive_class):
        _check_level(tree.root, files, tree.others, classes, positive_class)
    linked = [name for name in tree.folder_links if "/" not in name]
    if len(classes) < 2 and linked:
        raise DataError(
            f"{here}: {shown(linked)}: links to folders are not followed; put the class folder itself there"
        )
    # A folder where a system left its marks and nobody anything else is no class; an empty one was to be filled.
    marked = {_top(name) for name in tree.junk}
    kept = (*tree.images, *tree.dicom, *tree.others, *tree.broken_links, *tree.folder_links)
    used = {_top(name) for name in kept if "/" in name}
    for folder in tree.folders:
        if "/" not in folder and folder not in classes and (folder in used or folder not in marked):
            raise DataError(_empty_class(tree, folder, kind))
    rows = [{"case_id": name, "image": name, "label": _top(name)} for name in files if "/" in name]
    why = sentence("reasons.beside", "lies beside the class folders")
    beside = tuple(Exclusion(name, why) for name in files if "/" not in name)
    return check_table(pd.DataFrame(rows), here), beside


def _top(name: str) -> str:
    return name.split("/", 1)[0]


def _called(names: Iterable[str], name: str) -> list[str]:
    """Those of the names that are `name` but for case and accents."""
    return [other for other in names if name_key(other) == name_key(name)]


def _nothing(tree: Tree, kind: Kind) -> str:
    """What to say of a folder without a file that can be used."""
    here = readable(str(tree.root))
    others, other_kind = _others(tree, kind)
    if others:
        return f"{here} holds {len(others)} {other_kind} and no {kind}; -P data.source={_SOURCE[other_kind]} reads them"
    return " ".join([f"{here} holds neither {MANIFEST} nor one sub-folder of {kind} per class.", *tree.notes()])


def _empty_class(tree: Tree, folder: str, kind: Kind) -> str:
    """What to say of a class folder without a file that can be used."""
    message = f"class folder {readable(str(tree.root / folder))} holds no "
    message += f"image ({', '.join(SUFFIXES)})" if kind == "images" else "DICOM file"
    others, other_kind = _others(tree, kind)
    count = sum(name.startswith(f"{folder}/") for name in others)
    if count:
        return f"{message}, but {count} {other_kind}; -P data.source={_SOURCE[other_kind]} reads them"
    count = sum(name.startswith(f"{folder}/") for name in (*tree.others, *tree.folder_links, *tree.broken_links))
    found = f", only {count} other files and links" if count else ""
    return f"{message}{found}; fill it, or move it elsewhere if it is no class"


def _others(tree: Tree, kind: Kind) -> tuple[tuple[str, ...], Kind]:
    return (tree.dicom, "DICOM files") if kind == "images" else (tree.images, "images")


def _check_level(
    root: Path, files: Sequence[str], others: Sequence[str], classes: Sequence[str], positive_class: str
) -> None:
    """Refuse a folder that is one level too high or too low, as far as that can be told.

    It is called where the classes cannot be right, so that a wrong guess turns nothing down.

    Raises:
        DataError: it names the folder that is probably meant.
    """
    here = readable(str(root))
    if len(classes) > 1:
        what = f"data.path {here} has the sub-folders {shown(classes)} and none called {positive_class!r}"
    elif classes:
        what = f"data.path {here} has one sub-folder with images only, {shown(classes)}"
    else:
        what = f"data.path {here} holds {len(files)} images itself, and no sub-folder per class"
    meant = _below(root, files, others, positive_class) or _above(root, classes, positive_class)
    if len(meant) > 1:
        raise DataError(f"{what}; classes lie in {shown(list(map(str, meant)))}: name one, or put them together")
    if meant:
        raise DataError(f"{what}; is -P {shlex.quote(f'data.path={meant[0]}')} meant? {_inside(meant[0])}")
    if not classes:
        raise DataError(f"{what}; put them in one sub-folder per class, or list them in {MANIFEST}")


def _below(root: Path, files: Sequence[str], others: Sequence[str], positive_class: str) -> list[Path]:
    """Folders further down that may be meant: with a manifest, with the class, or the first that has two folders."""
    manifests = [name for name in others if PurePosixPath(name).name.lower() == MANIFEST]
    if manifests:
        return [(root / name).parent for name in manifests]
    children: dict[str, set[str]] = {}
    for file in files:
        folders = file.split("/")[:-1]
        for depth, folder in enumerate(folders):
            children.setdefault("/".join(folders[:depth]), set()).add(folder)
    with_class = [folder for folder, names in children.items() if folder and _called(names, positive_class)]
    if with_class:
        return [root / folder for folder in sorted(with_class)]
    folder, direct = "", {file.rpartition("/")[0] for file in files}
    while folder not in direct and len(children[folder]) == 1:
        folder = f"{folder}/{min(children[folder])}".lstrip("/")
    return [root / folder] if folder and folder not in direct else []


def _above(root: Path, classes: Sequence[str], positive_class: str) -> list[Path]:
    """The folder above, if it may be meant: with a manifest, with the class, or with several folders like this one."""
    parent = root.absolute().parent
    try:
        if find_manifest(parent):
            return [parent]
        beside = [path for path in parent.iterdir() if path.is_dir() and not is_junk(path.name)]
        alike = not classes and sum(_holds_an_image(path) for path in beside) > 1
    except (OSError, DataError):
        return []
    return [parent] if alike or (len(beside) > 1 and _called((path.name for path in beside), positive_class)) else []


def _holds_an_image(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES and not is_junk(path.name) for path in folder.iterdir())


def _inside(folder: Path) -> str:
    """What a folder holds, in a sentence."""
    if find_manifest(folder):
        return f"It holds {MANIFEST}."
    return f"It holds {shown(sorted(path.name for path in folder.iterdir() if not is_junk(path.name)))}."


def _says_synthetic(table: pd.DataFrame) -> bool:
    """A manifest that the phantom wrote marks its cases; copied elsewhere they stay synthetic."""
    if "synthetic" not in table.columns:
        return False
    return bool(table["synthetic"].astype(str).str.strip().str.lower().isin(["true", "1", "yes"]).any())
