"""Cases that a network is measured on, and its answers to them as a table."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from eusml.commands.cohort import prepare_once
from eusml.commands.data import StudyData
from eusml.commands.job import Job
from eusml.commands.terminal import progress
from eusml.config import DataConfig
from eusml.data.manifest import BOX_COLUMNS, MADE_COLUMNS, table_digest
from eusml.data.prepare import Prepared
from eusml.data.sources import phantom_cohort
from eusml.data.sources.phantom import Which
from eusml.tables import read_csv

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Reported:
    """Cases that a network is measured on."""

    table: pd.DataFrame
    images: "NDArray[np.uint8]"

    @property
    def digest(self) -> str:
        """SHA-256 of who they are and what the network is shown of them."""
        return table_digest(self.table)

    @property
    def known(self) -> pd.DataFrame:
        """What is known of them: case_id, patient_id, label and covariates."""
        return self.table.drop(columns=["image", *BOX_COLUMNS, *MADE_COLUMNS], errors="ignore")

    @property
    def cases_digest(self) -> str:
        """SHA-256 of who they are, whatever the size of their prepared images."""
        return table_digest(self.table.drop(columns="pixels_sha256"))


def reported_cases(job: Job, study: StudyData, settings: DataConfig) -> dict[str, Reported]:
    """The held-out cases, if any are; for the phantom, further ones to choose on (`val`) and to report (`fresh`)."""
    return held_out_cases(study) | further_cases(job, settings)


def held_out_cases(study: StudyData) -> dict[str, Reported]:
    """Partition `test` alone; nothing where nobody is held out."""
    rows = study.split.indices("test")
    return {"test": _rows(study.prepared, rows)} if len(rows) else {}


def further_cases(job: Job, settings: DataConfig) -> dict[str, Reported]:
    """Partitions `val` and `fresh` of the phantom, which are independent of the study's own cases."""
    cases = {}
    if settings.source == "phantom":
        counts: dict[str, tuple[Which, int]] = {
            "val": ("selection", settings.phantom.selection_cases),
            "fresh": ("fresh", settings.phantom.fresh_cases),
        }
        for part, (which, count) in counts.items():
            if count:
                drawn = phantom_cohort(settings, job.work_dir, which, lambda items: progress(items, "render"))
                prepared = prepare_once(job, drawn, settings)
                cases[part] = _rows(prepared, np.arange(len(prepared.images)))
    return cases


def predictions(cases: pd.DataFrame, y_score: "NDArray[np.float64]", threshold: float) -> pd.DataFrame:
    """Table of answers: case_id, patient_id, y_true, y_score (probability of the positive class), y_pred.

    Where the audit tied patients together because their pictures are the same, `patient_id` is that of the first: two
    copies of a picture are no two observations, and intervals resample patients.
    """
    table = cases[["case_id", "patient_id", "y_true"]].copy()
    if "group_id" in cases.columns:
        table["patient_id"] = cases["group_id"]
    return table.assign(y_score=y_score, y_pred=(y_score >= threshold).astype(np.int64))


def read_predictions(path: Path) -> pd.DataFrame:
    """What `predictions` made, from its CSV; a patient may be called `007` or `NA`, and no cell is empty."""
    return read_csv(path, ["case_id", "patient_id"])


def _rows(prepared: Prepared, rows: "NDArray[np.int64]") -> Reported:
    return Reported(prepared.manifest.table.iloc[rows].reset_index(drop=True), prepared.images[rows])
