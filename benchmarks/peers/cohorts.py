"""Whom networks are trained on and asked about: lesions made anew, or a folder of real images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.peers.images import write_images
from benchmarks.peers.work import ROTATION_DEG
from eusml.config import AuditConfig, DataConfig, SplitConfig
from eusml.data.audit import audit
from eusml.data.ingest import ingest
from eusml.data.prepare import assemble
from eusml.data.sources import read_cases
from eusml.data.split import inner_folds, make_split

SEEDS = (0, 1, 2, 3, 4)
"""Of the trainings that are measured."""
CHOOSING_SEED = 100
"""Of the first training that something is chosen by."""
HELD_OUT_SEED = 1000
"""Added to a seed for the lesions that are held out from its training."""


@dataclass(frozen=True)
class Phantom:
    """Synthetic lesions, other ones for every seed."""

    training: int = 400
    held_out: int = 400
    positive_class: str = "GIST"
    recipe: str = "quick.yaml"
    """The experiment of ours that is meant for such images."""
    rotation_deg: float = ROTATION_DEG
    """By how much all contestants turn them."""
    choosing_seeds: tuple[int, ...] = (CHOOSING_SEED, CHOOSING_SEED + 1)
    """Beside `SEEDS`: nothing that is held out from a training of those is asked about in one of these."""

    def parts(self, folder: Path, size_px: int, seed: int) -> tuple[Path, Path]:
        """Folders, one sub-folder of grey PNG files per class: to train on, and held out from it; made if absent."""
        training, held_out = folder / f"{size_px}-{seed}", folder / f"{size_px}-{HELD_OUT_SEED + seed}"
        if not held_out.exists():
            write_images(training, self.training, size_px, seed)
            write_images(held_out, self.held_out, size_px, HELD_OUT_SEED + seed)
        return training / "classes", held_out / "classes"


@dataclass(frozen=True)
class Folder:
    """Real images with an up and a down, a fifth of them held out from all that is measured, copies kept together.

    What is chosen is chosen by inner folds of the others.
    """

    path: Path
    positive_class: str = "malignant"
    recipe: str = "folder.yaml"
    rotation_deg: float = 15.0
    choosing_seeds: tuple[int, ...] = (CHOOSING_SEED, CHOOSING_SEED + 1, CHOOSING_SEED + 2)
    """As many inner folds."""

    def parts(self, folder: Path, size_px: int, seed: int) -> tuple[Path, Path]:
        """As `Phantom.parts`: audited, cut and split as our entry points do."""
        fold = seed - CHOOSING_SEED if seed in self.choosing_seeds else None
        place = folder / f"{size_px}-{'held-out' if fold is None else f'inner-{fold}'}"
        if not place.exists():
            self._write(place, size_px, fold)
        return place / "train", place / "test"

    def _write(self, place: Path, size_px: int, fold: int | None) -> None:
        settings = DataConfig(
            source="folder",
            path=self.path,
            positive_class=self.positive_class,
            image_size_px=size_px,
            audit=AuditConfig(label_conflicts="keep"),
        )
        cases = read_cases(settings, place)
        ingested = ingest(cases, settings)
        prepared = assemble(cases, settings, ingested, audit(cases, ingested, settings.audit))
        split = make_split(prepared.manifest, SplitConfig())
        rows = {"train": split.indices("train"), "test": split.indices("test")}
        if fold is not None:
            inner = inner_folds(prepared.manifest, split, len(self.choosing_seeds), 1, seed=0)[fold]
            rows = {"train": rows["train"][inner[0]], "test": rows["train"][inner[1]]}
        for partition, chosen in rows.items():
            for row in chosen:
                target = place / partition / prepared.manifest.table["label"].iloc[row] / f"{row:06}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.asarray(prepared.images[row])).save(target)


Cohort = Phantom | Folder
