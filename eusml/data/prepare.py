"""From cases to what every later stage works on: one uint8 array and one checked table, with a digest."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eusml.config import DataConfig
from eusml.data.findings import Audit
from eusml.data.ingest import Ingested, Progress, ingest
from eusml.data.manifest import TEXT_COLUMNS, Cases, Manifest, two_classes
from eusml.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TABLE, _IMAGES, _META = "manifest.csv", "images.npy", "meta.json"


@dataclass(frozen=True)
class Prepared:
    """Images ready for a network."""

    manifest: Manifest
    images: "NDArray[np.uint8]"
    """uint8 [N, S, S], in the order of the manifest."""

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


def assemble(cases: Cases, settings: DataConfig, ingested: Ingested, audit: Audit | None = None) -> Prepared:
    """The cases that are kept, with `group_id` when an audit says who must stay together.

    Raises:
        DataError: there are not exactly two classes among them.
    """
    table = cases.table.reset_index(drop=True)
    images = ingested.images
    if audit is not None:
        table = table.assign(group_id=[f"G{number:06d}" for number in audit.groups])[audit.kept]
        images = images if audit.kept.all() else images[audit.kept]
    if table.empty:
        raise DataError(f"{cases.source}: the audit left none of {len(cases.table)} cases; see its findings")
    negative_class = two_classes(table, settings.positive_class, cases.source)
    table = table.assign(
        y_true=(table["label"] == settings.positive_class).astype(np.int64),
        pixels_sha256=[hashlib.sha256(image.tobytes()).hexdigest() for image in images],
    )
    return Prepared(
        Manifest(_as_read(table), cases.source, cases.synthetic, settings.positive_class, negative_class), images
    )


def save(prepared: Prepared, folder: Path, extra: Callable[[Path], None] = lambda _: None) -> None:
    """Write table and array, and what `extra` writes beside them; a kill leaves the folder whole or absent."""
    draft = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    manifest = prepared.manifest
    manifest.table.to_csv(draft / _TABLE, index=False)
    np.save(draft / _IMAGES, prepared.images)
    meta = {
        "digest": prepared.digest,
        "source": manifest.source,
        "synthetic": manifest.synthetic,
        "positive_class": manifest.positive_class,
        "negative_class": manifest.negative_class,
    }
    extra(draft)
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
        table = _read_table(folder / _TABLE)
        images = np.load(folder / _IMAGES, allow_pickle=False)
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


def _as_read(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it reads back from its CSV, so that a digest does not depend on who made it."""
    import io

    return _read_table(io.StringIO(table.to_csv(index=False)))


def _read_table(source: Any) -> pd.DataFrame:
    table = pd.read_csv(source, dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False, na_values=[""])
    return table
