"""What commands keep and read back, apart from MLflow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eusml.__main__ import main
from eusml.commands.evaluate import Reported, predictions, read_predictions
from eusml.commands.train import say_what_arms_have
from eusml.commands.turns import say_of_unlearnt_turns
from eusml.config import DataConfig, PhantomConfig, load_config
from eusml.data.prepare import prepare
from eusml.data.sources import phantom_cohort
from eusml.errors import TuningError


def test_predictions_read_back_whatever_people_call_their_patients(tmp_path: Path) -> None:
    cases = pd.DataFrame({"case_id": ["NA", "null", "1"], "patient_id": ["NA", "007", "7"], "y_true": [0, 1, 1]})
    made = predictions(cases, np.array([0.1, 1 / 3, 0.5]), 0.5)
    made.to_csv(tmp_path / "a.csv", index=False)
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "a.csv"), made, check_dtype=False)


def test_copies_of_a_picture_are_answers_of_one_patient() -> None:
    cases = pd.DataFrame({"case_id": list("abc"), "patient_id": list("pqr"), "y_true": [0, 1, 1]})
    scores = np.array([0.1, 0.2, 0.9])
    assert predictions(cases, scores, 0.5)["patient_id"].tolist() == ["p", "q", "r"]
    grouped = predictions(cases.assign(group_id=["p", "p", "r"]), scores, 0.5)
    assert grouped["patient_id"].tolist() == ["p", "p", "r"]


def test_val_cases_are_known_by_who_they_are_and_not_by_the_size_of_their_images(tmp_path: Path) -> None:
    def val(size_px: int, seed: int) -> Reported:
        settings = DataConfig(image_size_px=size_px, phantom=PhantomConfig(selection_cases=4, seed=seed))
        prepared = prepare(phantom_cohort(settings, tmp_path, "selection"), settings)
        return Reported(prepared.manifest.table, prepared.images)

    small, large, others = val(32, 0), val(48, 0), val(32, 1)
    assert small.cases_digest == large.cases_digest != others.cases_digest
    assert len({small.digest, large.digest, others.digest}) == 3
    relabelled = replace(small, table=small.table.assign(y_true=1 - small.table["y_true"]))
    assert relabelled.cases_digest != small.cases_digest


def test_who_trains_another_network_than_the_arm_of_its_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    quick = Path("experiments/quick.yaml")
    say_what_arms_have(load_config(quick, {}))
    assert capsys.readouterr().out == (
        "  as `train` describes it; for the experiment's arm resnet34 give -P train.epochs=300\n"
    )
    say_what_arms_have(load_config(quick, {"train.arch": "resnet50"}))
    assert "arm resnet50 give -P train.offline=true -P train.epochs=4" in capsys.readouterr().out
    say_what_arms_have(load_config(quick, {"train.epochs": "300"}))
    say_what_arms_have(load_config(Path("experiments/paper.yaml"), {}))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("settings", "is_said"),
    [
        ({"evaluate.views": "4", "train.offline": "false"}, True),
        ({"evaluate.views": "8", "augment.rotation_limit_deg": "20"}, True),
        ({"evaluate.views": "4", "train.offline": "false", "train.online.enabled": "true"}, False),
        ({"evaluate.views": "4"}, False),
        ({"evaluate.views": "2", "train.offline": "false"}, False),
    ],
)
def test_who_asks_about_turns_that_are_not_learnt_is_told(
    settings: dict[str, str], is_said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    say_of_unlearnt_turns({"resnet34": load_config(None, settings)})
    assert ("evaluate.views=1 or 2 would fit" in capsys.readouterr().out) == is_said


@pytest.mark.parametrize(
    ("entry", "protocol"),
    [*((entry, "holdout") for entry in ("train", "evaluate", "tune", "compare", "main")), ("main", "nested_cv")],
)
def test_that_is_said_before_anything_is_searched_or_trained(
    entry: str, protocol: str, store_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise TuningError("stopped before the search")

    monkeypatch.setattr("eusml.commands.tune.tuned", stop)
    settings = {
        "experiment": "experiments/quick.yaml", "work_dir": str(store_folder / entry), "protocol.kind": protocol,
        "train.online.enabled": "false", "data.phantom.gist_cases": "12", "data.phantom.leiomyoma_cases": "13",
        "data.phantom.selection_cases": "4", "data.phantom.fresh_cases": "0",
    }  # fmt: skip
    assert main([entry, *(word for name, value in settings.items() for word in (f"--{name}", value))]) != 0
    told = capsys.readouterr()
    assert "stopped before the search" in told.err
    assert "resnet34 will be asked about quarter turns" in told.out
