"""Entry point `augment`: one copy of every training image per operation of the study."""

from typing import TYPE_CHECKING

import numpy as np

from eusml.commands.cohort import LAYERS, shows_images
from eusml.commands.data import StudyData, study_data
from eusml.commands.job import Job, alone, open_job, run_stage
from eusml.commands.terminal import say
from eusml.config import AugmentConfig, Config
from eusml.data.augment import Expanded, expand, load_expanded, save_expanded
from eusml.digests import fingerprint
from eusml.evaluation.figures import pictures
from eusml.evaluation.figures.drawing import Frame
from eusml.learning.batches import LabelledImages
from eusml.tracking import runs

if TYPE_CHECKING:
    from numpy.typing import NDArray


def run(config: Config) -> None:
    """Expand the training partition, as an MLflow run of its own."""
    with open_job("augment", config) as job:
        expanded_training_images(job, study_data(job), config.augment)


def expanded_training_images(job: Job, study: StudyData, settings: AugmentConfig) -> LabelledImages:
    """The training partition with its augmented copies; no test case is ever touched."""
    manifest = study.prepared.manifest
    rows = study.split.indices("train")
    inputs = {**study.key, "settings": settings.model_dump(mode="json")}
    key = fingerprint("augment", inputs, LAYERS)
    path = job.work_dir / "augment" / f"{key[:16]}.npz"
    tags = runs.common_tags("augment", source=manifest.source, synthetic=manifest.synthetic, fingerprint=key)

    def make(run: runs.Run) -> Expanded:
        case_ids = manifest.table["case_id"].iloc[rows].tolist()
        expanded = expand(study.prepared.images[rows], case_ids, settings)
        save_expanded(expanded, path)
        _log(run, study, rows, expanded, images=shows_images(job.config, synthetic=manifest.synthetic))
        return expanded

    with alone(job):  # the arms of a fold have the same images
        expanded = run_stage(
            job,
            "augment",
            "augment",
            key,
            tags,
            make=make,
            reuse=lambda _: load_expanded(path) if path.is_file() else None,
        )
    return LabelledImages(expanded.images, manifest.y_true[rows][expanded.parent])


def _log(run: runs.Run, study: StudyData, rows: "NDArray[np.int64]", expanded: Expanded, *, images: bool) -> None:
    manifest = study.prepared.manifest
    y_true = manifest.y_true[rows][expanded.parent]
    copies = manifest.table.iloc[rows[expanded.parent]][["case_id", "patient_id", "label"]].assign(
        operation=expanded.operation
    )
    run.table(copies, "copies.csv")
    run.metrics(
        {
            "augment/originals": float(len(rows)),
            "augment/images": float(len(expanded.images)),
            "augment/positive": float((y_true == 1).sum()),
            "augment/negative": float((y_true == 0).sum()),
        }
    )
    if images:
        first = expanded.parent == 0
        panel = dict(zip(expanded.operation[first].tolist(), expanded.images[first], strict=True))
        frame = Frame(
            manifest.synthetic, f"The first of n = {len(rows)} training images, and what each operation makes of it."
        )
        run.artifacts({"augmentation.png": pictures.augmentation_panel(panel, frame)})
    say(
        f"  {len(rows)} training images became {len(expanded.images)}: "
        f"{int((y_true == 1).sum())} {manifest.positive_class} + {int((y_true == 0).sum())} {manifest.negative_class}"
    )
