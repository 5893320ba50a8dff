"""What a model's probabilities are calibrated on: cases that it was not trained on and that nobody reports."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from eusml.commands.at_once import Fold, make_folds_at_once
from eusml.commands.data import StudyData, recorded_study_data, study_at
from eusml.commands.fitted import Calibrator, fitted_model
from eusml.commands.job import Job
from eusml.commands.reported import further_cases
from eusml.commands.trained import TrainedModel
from eusml.config import Config
from eusml.data.manifest import table_digest
from eusml.data.prepare import Prepared
from eusml.data.split import Split, inner_folds
from eusml.errors import ConfigError
from eusml.learning.bundle import Bundle
from eusml.learning.temperature import Calibration, calibrate

if TYPE_CHECKING:
    from numpy.typing import NDArray


def calibrator(job: Job, study: StudyData, arm: str, config: Config) -> Calibrator | None:
    """What `calibrate.cases` asks for; its inner folds are trained now. None where nothing is asked for.

    Raises:
        ConfigError: `val` cases are asked for, and the source brings none.
        DataError: a class has fewer patients in the training partition than there are folds.
    """
    match config.calibrate.cases:
        case "none":
            return None
        case "val":
            return _on_val(job, config)
        case "inner_folds":
            return _on_inner_folds(job, study, arm, config)


def on_other_folds(answers: pd.DataFrame) -> Calibrator:
    """By out-of-fold answers to all cases, columns case_id, y_true and y_score; of several repeats their mean."""
    by_case = answers.groupby("case_id", sort=True).agg(y_true=("y_true", "first"), y_score=("y_score", "mean"))
    found = calibrate(
        by_case["y_true"].to_numpy(), by_case["y_score"].to_numpy(), f"{len(by_case)} cases, each out of fold"
    )
    return Calibrator({"answers": table_digest(answers)}, lambda _: found)


def _on_val(job: Job, config: Config) -> Calibrator:
    val = further_cases(job, config.data).get("val")
    if val is None:
        raise ConfigError(
            "calibrate.cases is val, but there are no further cases to choose on: only the phantom brings them "
            "(data.phantom.selection_cases); calibrate on inner_folds, or set none"
        )

    def by(bundle: Bundle) -> Calibration:
        return calibrate(val.table["y_true"].to_numpy(), bundle.scores(val.images), f"{len(val.images)} val cases")

    return Calibrator({"val": val.digest}, by)


def _on_inner_folds(job: Job, study: StudyData, arm: str, config: Config) -> Calibrator:
    folds = _inner_studies(study, config)
    of_folds = make_folds_at_once(job, _make_inner_folds, {arm: config}, len(folds))[arm]
    y_score = np.full(len(study.split.indices("train")), np.nan)
    for fold, one in enumerate(folds):
        held_out = one.split.indices("test")
        bundle = _inner_model(job, one, arm, of_folds, fold).bundle
        y_score[held_out] = bundle.scores(one.prepared.images[held_out])
    cases = f"{len(y_score)} training cases, each by a network of {len(folds)} inner folds that had not seen it"
    found = calibrate(folds[0].prepared.manifest.y_true, y_score, cases)
    return Calibrator({"temperature": found.temperature, "y_score": found.y_score}, lambda _: found)


def _make_inner_folds(job: Job, folds: Sequence[Fold]) -> None:
    """What a process that helps the job does."""
    config = folds[0].config  # of the one arm that is calibrated
    studies = _inner_studies(study_at(job, recorded_study_data(job), config.data), config)
    for fold in folds:
        _inner_model(job, studies[fold.number], fold.arm, config, fold.number)


def _inner_model(job: Job, study: StudyData, arm: str, config: Config, fold: int) -> TrainedModel:
    return fitted_model(job, study, f"{arm}-inner_{fold + 1}", config, keep=False)


def _inner_studies(study: StudyData, config: Config) -> list[StudyData]:
    """The training partition by itself, each time with another fold of it held out."""
    part, settings = _training_partition(study), config.calibrate
    folds = inner_folds(study.prepared.manifest, study.split, settings.folds, 1, settings.seed, "calibrate.folds")
    return [StudyData(part, _holding_out(part, held_out)) for _, held_out in folds]


def _training_partition(study: StudyData) -> Prepared:
    """The training cases as a cohort of their own: nothing of the others goes on from here."""
    rows, manifest = study.split.indices("train"), study.prepared.manifest
    return Prepared(
        replace(manifest, table=manifest.table.iloc[rows].reset_index(drop=True)), study.prepared.images[rows]
    )


def _holding_out(part: Prepared, rows: "NDArray[np.int64]") -> Split:
    table = part.manifest.table[["case_id", "patient_id", "label"]].assign(partition="train")
    table.loc[rows, "partition"] = "test"
    return Split(table)
