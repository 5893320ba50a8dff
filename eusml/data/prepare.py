"""From cases to what every later stage works on: one uint8 array and one checked table, with a digest."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eusml.config import DataConfig
from eusml.data.findings import Audit
from eusml.data.groups import first_names
from eusml.data.ingest import Ingested, Progress, blank, ingest
from eusml.data.manifest import TEXT_COLUMNS, Cases, Manifest, two_classes
from eusml.errors import DataError
from eusml.files import reserve
from eusml.tables import from_csv_text, read_csv, to_csv_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TEXT = (*TEXT_COLUMNS, "group_id", "pixels_sha256")
_TABLE, _IMAGES, _META = "manifest.csv", "images.npy", "meta.json"


@dataclass(frozen=True)
class Prepared:
    """Images ready for a network."""

    manifest: Manifest
    images: "NDArray[np.uint8]"
    """uint8 [N, S, S], in the order of the manifest; may lie in a file, of which only what is looked at is read."""

    @property
    def digest(self) -> str:
        """SHA-256 of table and pixels: the table holds a hash of every image's pixels."""
        return self.manifest.digest


def prepare(cases: Cases, settings: DataConfig, progress: Progress = iter) -> Prepared:
    """Decode every image, cut its region of interest and bring it to `settings.image_size_px`; without an audit.

    Raises:
        DataError: an image is missing or damaged, a box is wrong, or there are not exactly two classes. All images
            are tried before it is raised, and every one that fails is named.
    """
    two_classes(cases.table, settings.positive_class, cases.source)
    ingested = ingest(cases, settings, progress=progress)
    problems = [problem for problem in ingested.measures["problem"] if problem]
    if problems:
        raise DataError(_summary(problems, len(cases.table)))
    return assemble(cases, settings, ingested)


def assemble(
    cases: Cases, settings: DataConfig, ingested: Ingested, audit: Audit | None = None, folder: Path | None = None
) -> Prepared:
    """The cases that are kept; with an audit, `group_id` is the first of all patients who must stay together.

    Args:
        cases: all cases.
        settings: which class is the positive one.
        ingested: their images.
        audit: who is kept, and who stays together; without one, all are kept.
        folder: where a file without a name may hold the images that are kept; None holds them in memory.

    Raises:
        DataError: there are not exactly two classes among them.
    """
    table = cases.table.reset_index(drop=True)
    images = ingested.images
    if audit is not None:
        table = table.assign(group_id=first_names(audit.groups, table["patient_id"].tolist()))[audit.kept]
        if not audit.kept.all():
            images = blank((len(table), *images.shape[1:]), folder)
            # "clip", because "raise" would make the whole in memory first.
            np.take(ingested.images, np.flatnonzero(audit.kept), axis=0, out=images, mode="clip")
    if table.empty:
        raise DataError(f"{cases.source}: the audit left none of {len(cases.table)} cases; see its findings")
    negative_class = two_classes(table, settings.positive_class, cases.source)
    # As it reads back from its file, so that a digest does not depend on who made it.
    table = table.assign(
        y_true=(table["label"] == settings.positive_class).astype(np.int64),
        pixels_sha256=[hashlib.sha256(image.tobytes()).hexdigest() for image in images],
    )
    return Prepared(
        Manifest(
            from_csv_text(to_csv_text(table), _TEXT),
            cases.source,
            cases.synthetic,
            settings.positive_class,
            negative_class,
        ),
        images,
    )


def save(prepared: Prepared, folder: Path) -> None:
    """Write table and array; a kill leaves the folder whole or absent."""
    draft = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    manifest = prepared.manifest
    (draft / _TABLE).write_text(to_csv_text(manifest.table), encoding="utf-8", newline="")
    with (draft / _IMAGES).open("wb") as file:
        reserve(file.fileno(), prepared.images.nbytes)  # numpy itself would not say that the disk is full
        np.save(file, prepared.images)
    meta = {
        "digest": prepared.digest,
        "source": manifest.source,
        "synthetic": manifest.synthetic,
        "positive_class": manifest.positive_class,
        "negative_class": manifest.negative_class,
    }
    (draft / _META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def load(folder: Path) -> Prepared:
    """Read what `save` wrote.

    Raises:
        DataError: a file is missing, or table or pixels are not what was saved.
    """
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        table = read_csv(folder / _TABLE, _TEXT)
        # Not into memory: a cohort may be larger than that. "c", so that nothing can be written to the file.
        images = np.load(folder / _IMAGES, mmap_mode="c", allow_pickle=False)
        digest = meta.pop("digest")
        prepared = Prepared(Manifest(table=table, **meta), images)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"prepared data in {folder} cannot be read ({error}); delete the folder") from None
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    if prepared.digest != digest or hashes != table["pixels_sha256"].tolist():
        raise DataError(f"prepared data in {folder} were changed after they were made; delete the folder")
    return prepared


def _summary(problems: list[str], total: int) -> str:
    shown = "\n  ".join(problems[:10])
    more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
    return shown if len(problems) == 1 else f"{len(problems)} of {total} images cannot be used:\n  {shown}{more}"
