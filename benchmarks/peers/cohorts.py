"""Whom networks are trained on and asked about: lesions made anew, or a folder of real images."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

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
TRAINING, HELD_OUT = 400, 400
"""Lesions."""
HELD_OUT_SEED = 1000
"""Added to a seed for the lesions that are held out from its training."""
_MEASURED = "measured"


@dataclass(frozen=True)
class Phantom:
    """Synthetic lesions, other ones for every seed."""

    positive_class: ClassVar[str] = "GIST"
    recipe: ClassVar[str] = "quick.yaml"
    """The experiment of ours that is meant for such images."""
    rotation_deg: ClassVar[float] = ROTATION_DEG
    """By how much all contestants turn them."""
    choosing_seeds: ClassVar[tuple[int, ...]] = (CHOOSING_SEED, CHOOSING_SEED + 1)
    """Beside `SEEDS`: nothing that is held out from a training of those is asked about in one of these."""

    def parts(self, folder: Path, size_px: int, seed: int) -> tuple[Path, Path]:
        """Folders, one sub-folder of grey PNG files per class: to train on, and held out from it; made if absent."""
        training, held_out = folder / f"{size_px}-{seed}", folder / f"{size_px}-{HELD_OUT_SEED + seed}"
        if not held_out.exists():
            write_images(training, TRAINING, size_px, seed)
            write_images(held_out, HELD_OUT, size_px, HELD_OUT_SEED + seed)
        return training / "classes", held_out / "classes"


@dataclass(frozen=True)
class Folder:
    """Real images with an up and a down, a fifth of them held out from all that is measured, copies kept together.

    What is chosen is chosen by inner folds of the others, one for each of `choosing_seeds`.
    """

    path: Path
    positive_class: str = "malignant"
    recipe: ClassVar[str] = "folder.yaml"
    rotation_deg: ClassVar[float] = 15.0
    choosing_seeds: ClassVar[tuple[int, ...]] = (CHOOSING_SEED, CHOOSING_SEED + 1, CHOOSING_SEED + 2)

    def parts(self, folder: Path, size_px: int, seed: int) -> tuple[Path, Path]:
        """As `Phantom.parts`: audited, cut and split as our entry points do."""
        place = folder / str(size_px)
        if not place.exists():
            self._write(place, size_px)
        part = place / (str(seed) if seed in self.choosing_seeds else _MEASURED)
        return part / "train", part / "test"

    def _write(self, place: Path, size_px: int) -> None:
        """The images once for what is measured, and once for every inner fold."""
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
        training = split.indices("train")
        parts = {_MEASURED: (training, split.indices("test"))}
        inner = inner_folds(prepared.manifest, split, len(self.choosing_seeds), 1, seed=0)
        for seed, (train, held_out) in zip(self.choosing_seeds, inner, strict=True):
            parts[str(seed)] = training[train], training[held_out]
        labels = prepared.manifest.table["label"]
        for name, pair in parts.items():
            for partition, rows in zip(("train", "test"), pair, strict=True):
                for row in rows:
                    target = place / name / partition / labels.iloc[row] / f"{row:06}.png"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.asarray(prepared.images[row])).save(target)


Cohort = Phantom | Folder
