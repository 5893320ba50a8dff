"""Wrong labels on every reported case must not change what is trained: no trial, no chosen setting, no weight."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eusml.commands import train, tune
from eusml.commands.data import StudyData, study_data
from eusml.commands.job import open_job
from eusml.config import Config, load_config
from eusml.data.manifest import Manifest
from eusml.data.prepare import Prepared
from eusml.data.split import Split
from tests.stores import empty_store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("half_the_weights")]

SETTINGS = {
    "data.image_size_px": "32", "data.phantom.gist_cases": "12", "data.phantom.leiomyoma_cases": "13",
    "train.epochs": "1", "train.batch_size": "8", "train.threads": "1", "augment.operations": '["flip"]',
    "calibrate.folds": "2", "tune.trials": "3", "tune.startup_trials": "2", "tune.folds": "2",
    "tune.space": '{"train.lr": {"low": 1e-4, "high": 0.01, "log": true}, '
                  '"train.online.enabled": {"choices": [false, true]}}',
}  # fmt: skip


def poisoned(study: StudyData) -> StudyData:
    """The same study with the labels of its held-out cases exchanged, each for the other one."""
    manifest = study.prepared.manifest
    held_out = study.split.indices("test")
    other = {manifest.positive_class: manifest.negative_class, manifest.negative_class: manifest.positive_class}

    def exchanged(table: pd.DataFrame) -> pd.DataFrame:
        table = table.copy()
        table.loc[held_out, "label"] = table.loc[held_out, "label"].map(other)
        if "y_true" in table:
            table.loc[held_out, "y_true"] = 1 - table.loc[held_out, "y_true"]
        return table

    wrong: Manifest = replace(manifest, table=exchanged(manifest.table))
    return StudyData(Prepared(wrong, study.prepared.images), Split(exchanged(study.split.table)))


def outcome(config: Config, *, poison: bool) -> tuple[object, ...]:
    with open_job("train", config) as job:
        study = study_data(job)
        if poison:
            honest, study = study, poisoned(study)
            y_true = [one.prepared.manifest.y_true[study.split.indices("test")] for one in (honest, study)]
            assert (y_true[0] + y_true[1] == 1).all()
        settings = tune.tuned(job, study, "resnet34", config)
        model = train.trained_model(job, study, "resnet34", settings)
        table = tune.trial_table(tune.open_study(job, study, "resnet34", config).records())
    kept = table.drop(columns="seconds")
    assert len(kept) == 3
    return kept.to_csv(index=False), settings.train, model.spec.weights_sha256, model.history


def test_labels_of_reported_cases_change_no_trial_no_setting_and_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for name in ("honest", "poisoned"):
        # Stores and folders of their own, lest one takes over what the other did.
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path / name))
        found[name] = outcome(load_config(None, SETTINGS), poison=name == "poisoned")
    *honest, honest_curves = found["honest"]
    *wrong, wrong_curves = found["poisoned"]
    assert honest == wrong
    # The curve for the eye does see them, or nothing was poisoned.
    assert isinstance(honest_curves, pd.DataFrame)
    assert isinstance(wrong_curves, pd.DataFrame)
    np.testing.assert_array_equal(honest_curves["train_loss"], wrong_curves["train_loss"])
    assert not np.allclose(honest_curves["test_loss"], wrong_curves["test_loss"])
