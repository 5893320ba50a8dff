"""Whom the networks are trained on and asked about: lesions made anew, or the folds of a folder of real images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from benchmarks.peers.images import write_images
from benchmarks.peers.work import ROTATION_DEG
from eusml.config import AuditConfig, DataConfig, SplitConfig
from eusml.data.audit import audit
from eusml.data.ingest import ingest
from eusml.data.prepare import assemble
from eusml.data.sources import read_cases
from eusml.data.split import make_split

HELD_OUT_SEED = 1000
"""Added to a seed for the lesions that are held out from its training."""


class Cohort(Protocol):
    """What the trainings of one table have in common."""

    positive_class: str
    recipe: str
    """The experiment of ours that is meant for such images."""
    rotation_deg: float
    """By how much all contestants turn them."""

    def parts(self, folder: Path, size_px: int, seed: int) -> tuple[Path, Path]:
        """Folders, one sub-folder of grey PNG files per class: to train on, and held out from it."""
        ...


@dataclass(frozen=True)
class Phantom:
    """Synthetic lesions, other ones for every seed."""

    training: int = 400
    held_out: int = 400
    positive_class: str = "GIST"
    recipe: str = "quick.yaml"
    rotation_deg: float = ROTATION_DEG

    def parts(self, folder: Path, size_px: int, seed: int) -> tuple[Path, Path]:
        """Made where they are not there yet."""
        training, held_out = folder / f"{size_px}-{seed}", folder / f"{size_px}-{HELD_OUT_SEED + seed}"
        if not held_out.exists():
            write_images(training, self.training, size_px, seed)
            write_images(held_out, self.held_out, size_px, HELD_OUT_SEED + seed)
        return training / "classes", held_out / "classes"


@dataclass(frozen=True)
class Folds:
    """Real images with an up and a down; a seed stands for the fold that is held out, copies of a picture together."""

    path: Path
    folds: int = 5
    positive_class: str = "malignant"
    recipe: str = "folder.yaml"
    rotation_deg: float = 15.0
    audit: AuditConfig = field(default_factory=lambda: AuditConfig(label_conflicts="keep"))

    def parts(self, folder: Path, size_px: int, seed: int) -> tuple[Path, Path]:
        """Audited, cut and split as `-P split.folds` does; written where they are not there yet."""
        place = folder / f"{size_px}-{seed}"
        if not place.exists():
            settings = DataConfig(
                source="folder",
                path=self.path,
                positive_class=self.positive_class,
                image_size_px=size_px,
                audit=self.audit,
            )
            cases = read_cases(settings, folder)
            ingested = ingest(cases, settings)
            prepared = assemble(cases, settings, ingested, audit(cases, ingested, settings.audit))
            split = make_split(prepared.manifest, SplitConfig(folds=self.folds, fold=seed))
            for partition in ("train", "test"):
                for row in split.indices(partition):
                    target = place / partition / prepared.manifest.table["label"].iloc[row] / f"{row:06}.png"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.asarray(prepared.images[row])).save(target)
        return place / "train", place / "test"
