"""Where a trained network is recorded, and that a later start takes it over only if it is whole."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from eusml.commands import train
from eusml.commands.data import study_data
from eusml.commands.job import open_job
from eusml.commands.train import trained_model
from eusml.commands.trained import TrainedModel
from eusml.config import Config, load_config
from eusml.learning.bundle import WEIGHTS_FILE
from tests.stores import empty_store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("half_the_weights")]

SETTINGS = {
    "data.image_size_px": "32", "data.phantom.gist_cases": "12", "data.phantom.leiomyoma_cases": "13",
    "data.phantom.selection_cases": "0", "data.phantom.fresh_cases": "0", "train.offline": "false",
    "train.epochs": "1", "train.batch_size": "8", "train.threads": "1", "calibrate.cases": "none",
}  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    monkeypatch.chdir(tmp_path)  # where the store keeps its artifacts
    return {**SETTINGS, "work_dir": str(tmp_path / "work")}


def trained(config: Config) -> tuple[TrainedModel, bool]:
    """The model, and whether it was taken over."""
    with open_job("train", config) as job:
        return trained_model(job, study_data(job), "resnet34", config), job.records[-1].reused


def damage(folder: Path) -> None:
    with (folder / WEIGHTS_FILE).open("r+b") as file:
        file.seek(-1000, 2)
        (value,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([value ^ 1]))


def test_damaged_weights_are_not_taken_over(settings: dict[str, str], tmp_path: Path) -> None:
    config = load_config(None, settings)
    made, reused = trained(config)
    assert not reused
    damage(made.folder)
    stored, reused = trained(config)
    assert reused
    assert stored.folder != made.folder
    assert stored.spec == made.spec == stored.bundle.spec
    for file in tmp_path.rglob(WEIGHTS_FILE):
        if file.parent != made.folder:
            damage(file.parent)
    again, reused = trained(config)
    assert not reused
    assert again.spec == made.spec


def test_tuned_settings_are_recorded_below_the_run_of_those_that_were_given(settings: dict[str, str]) -> None:
    hopeless = {"train.lr": "10.0", "train.weight_decay": "1.0"}
    search = {"tune.enabled": "true", "tune.trials": "3", "tune.folds": "2",
              "tune.space": '{"train.lr": {"choices": [0.001, 10.0]}}'}  # fmt: skip
    train.run(load_config(None, {**settings, **hopeless, **search}))
    runs = MlflowClient().search_runs(["0"], order_by=["attributes.start_time ASC"])
    (entry,) = [run for run in runs if "eusml.entry_point" in run.data.tags]
    assert entry.info.status == "FINISHED"
    assert entry.data.tags["eusml.synthetic"] == "true"
    assert "train resnet34" in entry.data.tags["mlflow.note.content"]
    (below,) = [run for run in runs if run.info.run_name == "train resnet34"]
    assert below.data.tags["mlflow.parentRunId"] == entry.info.run_id
    assert [run.data.params["cfg.train.lr"] for run in (entry, below)] == ["10.0", "0.001"]
