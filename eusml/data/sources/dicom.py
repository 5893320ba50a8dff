"""DICOM files, with nothing taken along that tells who the patients are.

FOLDER/GIST/…              one sub-folder per class; files lie below it at any depth, with any name or suffix
FOLDER/leiomyoma/…

FOLDER/manifest.csv        or: case_id, image, label; optional patient_id, boxes and covariates as in a folder of images
FOLDER/…                   wherever the manifest's `image` column points

One frame of each file, cut to the region that the scanner calls the ultrasound picture, is written to the work folder
as a PNG. Its name, `case_id` and `patient_id` are pseudonyms (`eusml.data.pseudonyms`), tags are taken along by an
allow-list as covariates, and nothing else leaves the files.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from eusml.config import DataConfig
from eusml.data.dicom import DicomHeader, read_frame, read_header
from eusml.data.images import MAX_PIXELS, Picture, cut_region, encode_png
from eusml.data.manifest import BOX_COLUMNS, TEXT_COLUMNS, Cases, Exclusion, box_of, check_table
from eusml.data.parallel import Counted, in_order, processes_for
from eusml.data.pseudonyms import load_key, pseudonym
from eusml.data.sources.folder import class_table, data_folder, manifest_table
from eusml.data.sources.table import MANIFEST, find_manifest
from eusml.data.sources.tree import walk
from eusml.digests import fingerprint
from eusml.errors import DataError, PrivateDataError
from eusml.files import stamp
from eusml.sentences import Sentence, record, recorded, sentence
from eusml.tables import read_csv, to_csv_text

COLUMNS = {
    "PatientAge": "age_years",
    "PatientSex": "sex",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "scanner",
    "TransducerType": "transducer",
    "TransducerFrequency": "transducer_khz",
}
"""Tag to covariate."""
_OLDEST_YEARS = 90.0
"""Older ages become this one: so few people are older that an age tells who they are (45 CFR 164.514(b)(2))."""
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}


@dataclass(frozen=True)
class _File:
    """One DICOM file and what the manifest says about it."""

    path: Path
    row: dict[str, Any]


@dataclass(frozen=True)
class _Outcome:
    """What became of a file: a row of the new manifest, or why there is none."""

    row: dict[str, Any]
    problem: str = ""
    burned_in: bool = False
    whole_frame: bool = False
    nameless: bool = False


def read_dicom(settings: DataConfig, work_dir: Path, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Cases:
    """Cases of the DICOM files at `settings.path`.

    Raises:
        PrivateDataError: the folder is not what it should be, a file cannot be read (unless `audit.unreadable` drops
            such), or the key lies where it must not.
    """
    try:
        return _read(settings, work_dir, progress)
    except DataError as error:
        # Paths and names of an export name people as its tags do.
        raise PrivateDataError(str(error)) from None


def _read(settings: DataConfig, work_dir: Path, progress: Callable[[Iterable[Any]], Iterable[Any]]) -> Cases:
    root = data_folder(settings)
    key = load_key(settings.dicom.key_file, root, work_dir)
    table, excluded = _listed(root, settings)
    folder = work_dir / "dicom" / _digest(root, table, key, settings)
    if not folder.is_dir():
        _take_out(root, table, key, settings, folder, progress)
    kept = read_csv(folder / MANIFEST, text_columns=(*TEXT_COLUMNS, "sex"))
    problems = read_csv(folder / "problems.csv", text_columns=("case_id",))
    left_out = tuple(Exclusion(name, Sentence("unreadable", "kinds.unreadable")) for name in problems["case_id"])
    notes = tuple(recorded(known) for known in json.loads((folder / "notes.json").read_text(encoding="utf-8")))
    hidden = tuple(Exclusion(pseudonym(key, "case", one.case_id), one.reason) for one in excluded)
    where = f"the DICOM files of {root}"
    return Cases(folder, check_table(kept, where), "DICOM files", False, (*hidden, *left_out), notes)


def _listed(root: Path, settings: DataConfig) -> tuple[pd.DataFrame, tuple[Exclusion, ...]]:
    manifest = find_manifest(root)
    if manifest is not None:
        return manifest_table(manifest)[0], ()
    return class_table(walk(root), "DICOM files", settings.positive_class)


def _digest(root: Path, table: pd.DataFrame, key: bytes, settings: DataConfig) -> str:
    files = [root / str(name) for name in table["image"]]
    inputs = {
        # Keyed, for a plain digest of names could be guessed.
        "table": pseudonym(key, "table", to_csv_text(table)),
        "files": [stamp(file) for file in files if file.is_file()],
        "frame": settings.dicom.frame,
        "covariates": settings.dicom.covariates,
        "unreadable": settings.audit.unreadable,
    }
    return fingerprint("dicom", inputs, ("data",))[:16]


def _take_out(
    root: Path,
    table: pd.DataFrame,
    key: bytes,
    settings: DataConfig,
    folder: Path,
    progress: Callable[[Iterable[Any]], Iterable[Any]],
) -> None:
    """Write pictures, manifest and notes; a kill leaves `folder` whole or absent."""
    draft = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "images").mkdir(parents=True)
    own_patients = not table["patient_id"].equals(table["case_id"])
    files = [_File(root / str(row["image"]), {str(k): v for k, v in row.items()}) for row in table.to_dict("records")]
    work = partial(_take_one, key=key, settings=settings, images=draft / "images", own_patients=own_patients)
    processes = processes_for(len(files), settings.workers)
    outcomes = list(progress(Counted(in_order(work, files, processes, lambda file: str(file.path)), len(files))))
    problems = [outcome.problem for outcome in outcomes if outcome.problem]
    if problems and (settings.audit.unreadable == "stop" or len(problems) == len(files)):
        shown = "\n  ".join(problems[:10])
        more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError(
            f"{len(problems)} of {len(files)} DICOM files cannot be used (-P data.audit.unreadable=drop goes on "
            f"without them):\n  {shown}{more}"
        )
    kept = [outcome.row for outcome in outcomes if not outcome.problem]
    (draft / MANIFEST).write_text(to_csv_text(pd.DataFrame(kept)), encoding="utf-8", newline="")
    left_out = pd.DataFrame({"case_id": [o.row["case_id"] for o in outcomes if o.problem]}, dtype=object)
    (draft / "problems.csv").write_text(to_csv_text(left_out), encoding="utf-8", newline="")
    (draft / "notes.json").write_text(json.dumps([record(note) for note in _notes(outcomes)]), encoding="utf-8")
    draft.rename(folder)


def _take_one(file: _File, key: bytes, settings: DataConfig, images: Path, own_patients: bool) -> _Outcome:
    """The picture of one file, written; its row."""
    case = pseudonym(key, "case", str(file.row["case_id"]))
    try:
        with file.path.open("rb") as stream:
            header = read_header(stream, str(file.path), settings.dicom.covariates)
            grey, _ = read_frame(stream, str(file.path), settings.dicom.frame, max_pixels=MAX_PIXELS)
        picture, box = cut_region(Picture(grey, None, header.region), box_of(file.row), str(file.path))
    except OSError as error:
        return _Outcome({"case_id": case}, f"image {file.path} cannot be read: {error.strerror}")
    except DataError as error:
        return _Outcome({"case_id": case}, str(error))
    name = f"images/{case}.png"
    (images / f"{case}.png").write_bytes(encode_png(picture.grey))
    who = str(file.row["patient_id"]) if own_patients else header.patient or header.study or str(file.path)
    row = {**file.row, "case_id": case, "patient_id": pseudonym(key, "patient", who), "image": name}
    if box is not None:
        row |= dict(zip(BOX_COLUMNS, box, strict=True))
    row = _covariates(header, settings) | row  # what the manifest says comes first
    nameless = not own_patients and not header.patient
    return _Outcome(row, "", header.burned_in == "YES", header.region is None, nameless)


def _covariates(header: DicomHeader, settings: DataConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for tag in settings.dicom.covariates:
        value: Any = header.tags.get(tag)
        found[COLUMNS[tag]] = _years(value) if tag == "PatientAge" and value is not None else value
    return found


def _years(text: str) -> float | None:
    """A DICOM age (`045Y`, `018M`) in years, at most 90; None for what is no age."""
    match = re.fullmatch(r"([0-9]{1,3})([YMWD])", text)
    return min(round(int(match[1]) / _PER_YEAR[match[2]], 2), _OLDEST_YEARS) if match else None


def _notes(outcomes: list[_Outcome]) -> list[Sentence]:
    read = [outcome for outcome in outcomes if not outcome.problem]
    known = {*TEXT_COLUMNS, *BOX_COLUMNS, *COLUMNS.values()}
    carried = [name for name in (read[0].row if read else {}) if name not in known]
    failed, total = len(outcomes) - len(read), len(read)
    burned_in, whole, nameless = (
        sum(getattr(outcome, what) for outcome in read) for what in ("burned_in", "whole_frame", "nameless")
    )
    notes = {
        sentence(
            "notes.dicom_unreadable",
            "{count} of {total} DICOM files could not be read and were left out.",
            count=failed,
            total=len(outcomes),
        ): failed,
        sentence(
            "notes.burned_in",
            "{count} of {total} DICOM files say that text is burned into the picture; look at them before you pass any "
            "on.",
            count=burned_in,
            total=total,
        ): burned_in,
        sentence(
            "notes.whole_frame",
            "{count} of {total} DICOM files name no ultrasound region: the whole frame was taken, with whatever text "
            "stands in it.",
            count=whole,
            total=total,
        ): whole,
        sentence(
            "notes.nameless",
            "{count} of {total} DICOM files name no patient: each study counts as a patient of its own.",
            count=nameless,
            total=total,
        ): nameless,
        sentence(
            "notes.carried",
            "Columns of the manifest taken along as they are: {columns}; none may name a patient.",
            columns=carried,
        ): len(carried),
    }
    return [note for note, count in notes.items() if count]
