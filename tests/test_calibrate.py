"""What a kept model is calibrated on: cases that it was not trained on, and never those that are reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eusml.commands import calibrate, fitted
from eusml.commands.data import StudyData, study_data
from eusml.commands.job import open_job
from eusml.commands.train import trained_model
from eusml.commands.trained import TrainedModel
from eusml.config import Config, load_config
from eusml.errors import ConfigError, DataError
from eusml.learning.temperature import calibrate as calibrated
from eusml.learning.temperature import fit_temperature, tempered
from tests.stores import empty_store

pytestmark = pytest.mark.slow

SETTINGS = {
    "data.image_size_px": "32", "data.phantom.gist_cases": "12", "data.phantom.leiomyoma_cases": "13",
    "data.phantom.selection_cases": "20", "data.phantom.fresh_cases": "0", "train.offline": "false",
    "train.epochs": "2", "train.batch_size": "8", "train.threads": "1", "calibrate.folds": "2",
}  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", empty_store(tmp_path))
    return {**SETTINGS, "work_dir": str(tmp_path / "work")}


def config(settings: dict[str, str], **changed: str) -> Config:
    return load_config(None, {**settings, **{name.replace("__", "."): value for name, value in changed.items()}})


@dataclass
class InTurn:
    """A model calibrated on inner folds that were made one after the other, and what their networks were given."""

    model: TrainedModel
    plain: TrainedModel
    """Of the same settings, calibrated on nothing."""
    study: StudyData
    stages: Sequence[str]
    seen: list[tuple[set[str], set[str]]]
    """Cases that a network was trained on, and those that it answered."""
    said: dict[str, float]
    """Case to the answer about it."""


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> InTurn:
    folder = tmp_path_factory.mktemp("in_turn")
    chosen = config({**SETTINGS, "work_dir": str(folder / "work")})
    seen: list[tuple[set[str], set[str]]] = []
    said: dict[str, float] = {}
    fit = fitted.fitted_model

    def watched(job: object, study: StudyData, *given: object, **named: object) -> TrainedModel:
        table, split = study.prepared.manifest.table, study.split
        trained_on, held_out = (set(table["case_id"].iloc[split.indices(part)]) for part in ("train", "test"))
        seen.append((trained_on, held_out))
        made = fit(job, study, *given, **named)  # type: ignore[arg-type]
        rows = split.indices("test")
        said.update(zip(table["case_id"].iloc[rows], made.bundle.scores(study.prepared.images[rows]), strict=True))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", empty_store(folder))
        patch.setattr(calibrate, "fitted_model", watched)
        with open_job("train", chosen) as job:
            study = study_data(job)
            model = trained_model(job, study, "resnet34", chosen)
            stages = [record.label for record in job.records if not record.reused]
            plain = fitted.fitted_model(job, study, "plain", chosen, keep=False)
    return InTurn(model, plain, study, stages, seen, said)


def test_inner_folds_answer_every_training_case_by_a_network_that_had_not_seen_it(in_turn: InTurn) -> None:
    study, model, plain, seen = in_turn.study, in_turn.model, in_turn.plain, in_turn.seen
    cases = study.prepared.manifest.table["case_id"]
    training, reported = (set(cases.iloc[study.split.indices(part)]) for part in ("train", "test"))
    assert len(seen) == 2
    assert set.union(*(held_out for _, held_out in seen)) == training
    assert not seen[0][1] & seen[1][1]
    for trained_on, held_out in seen:
        assert trained_on == training - held_out
        assert not (trained_on | held_out) & reported
    calibration = model.spec.calibration
    assert calibration is not None
    of_training = study.prepared.manifest.table.set_index("case_id")["y_true"]
    y_true, y_score = np.array([(of_training[case], score) for case, score in in_turn.said.items()]).T
    assert calibration == calibrated(y_true.astype(np.int64), y_score, calibration.cases)
    # The same weights as without; only what is said of an image is another probability.
    assert model.spec.weights_sha256 == plain.spec.weights_sha256
    images = study.prepared.images[:4]
    raw = plain.bundle.scores(images)
    assert model.bundle.scores(images).tolist() == tempered(raw, calibration.temperature).tolist()


def test_inner_folds_made_at_once_calibrate_as_folds_made_in_turn(
    in_turn: InTurn, settings: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = config(settings, networks_at_once="2")
    with open_job("train", chosen) as job:
        spec = trained_model(job, study_data(job), "resnet34", chosen).spec
        made = [record.label for record in job.records if not record.reused]
    # Which of two processes was first to begin, nobody decides.
    assert [made[0], *sorted(made[1:-1]), made[-1]] == in_turn.stages
    assert in_turn.stages == ["data", "train resnet34-inner_1", "train resnet34-inner_2", "train resnet34"]
    assert spec == in_turn.model.spec
    said = capfd.readouterr().out
    assert "  2 networks of folds in 2 processes, which number their lines\n" in said
    assert "reused" not in said
    assert all(f"{fold}| [train resnet34-inner_{fold}] done in" in said for fold in (1, 2))


def test_val_cases_are_answered_by_the_network_itself(settings: dict[str, str]) -> None:
    chosen = config(settings, calibrate__cases="val")
    with open_job("train", chosen) as job:
        study = study_data(job)
        model = trained_model(job, study, "resnet34", chosen)
        plain = fitted.fitted_model(job, study, "plain", chosen, keep=False)
        val = calibrate.further_cases(job, chosen.data)["val"]
    calibration = model.spec.calibration
    assert calibration is not None
    assert calibration.cases == "20 val cases"
    y_true = val.table["y_true"].to_numpy()
    assert calibration.temperature == fit_temperature(y_true, plain.bundle.scores(val.images))
    # A second start takes the model as it was, calibration included.
    with open_job("train", chosen) as job:
        again = trained_model(job, study_data(job), "resnet34", chosen)
    assert again.spec == model.spec
    assert again.run_id == model.run_id


def test_nobody_is_asked_where_nothing_is_to_be_calibrated(settings: dict[str, str]) -> None:
    with open_job("train", config(settings, calibrate__cases="none")) as job:
        assert trained_model(job, study_data(job), "resnet34", job.config).spec.calibration is None


def test_cases_that_cannot_be_had_are_said(settings: dict[str, str]) -> None:
    without = config(settings, calibrate__cases="val", data__phantom__selection_cases="0")
    with open_job("train", without) as job, pytest.raises(ConfigError, match=r"calibrate\.cases is val, but there are"):
        trained_model(job, study_data(job), "resnet34", without)
    many = config(settings, calibrate__folds="11")
    with open_job("train", many) as job, pytest.raises(DataError, match=r"calibrate\.folds"):
        trained_model(job, study_data(job), "resnet34", many)


def test_repeats_of_a_case_are_one_case() -> None:
    answers = pd.DataFrame(
        {"case_id": ["a", "b", "c", "d"] * 2, "y_true": [0, 0, 1, 1] * 2, "repeat": np.repeat([1, 2], 4),
         "y_score": [0.2, 0.6, 0.4, 0.9, 0.4, 0.2, 0.6, 0.7]}
    )  # fmt: skip
    found = calibrate.on_other_folds(answers).calibrate(None)  # type: ignore[arg-type]
    assert len(found.y_true) == 4
    assert found.temperature == fit_temperature(np.array([0, 0, 1, 1]), np.array([0.3, 0.4, 0.5, 0.8]))
