"""The real `mlflow run` of every entry point on a tiny cohort, read back from the store."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.integration.conftest import Place, make_place, mlflow_run

pytestmark = pytest.mark.slow


def client_of(place: Place) -> MlflowClient:
    # By its address: MLflow's global one would outlive this file and override the environment of later tests.
    return MlflowClient(tracking_uri=place.environment["MLFLOW_TRACKING_URI"])


def runs_of(place: Place, text: str = "") -> list[Run]:
    client = client_of(place)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], text, order_by=["attributes.start_time ASC"]))


def artifact(place: Place, run: Run, name: str) -> Path:
    return Path(client_of(place).download_artifacts(run.info.run_id, name))


@pytest.fixture(scope="module")
def children(finished: Place) -> dict[str, Run]:
    """Child runs of the finished `main`, by name."""
    (parent,) = runs_of(finished, "tags.`eusml.entry_point` = 'main'")
    found = runs_of(finished, f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    return {run.info.run_name: run for run in found}


def test_main_leaves_one_child_per_stage_and_model(finished: Place, children: dict[str, Run]) -> None:
    assert sorted(children) == [
        "augment", "compare", "data", "evaluate resnet34", "evaluate resnet50", "promote", "train resnet34",
        "train resnet50",
    ]  # fmt: skip
    (parent,) = runs_of(finished, "tags.`eusml.entry_point` = 'main'")
    for run in [parent, *children.values()]:
        assert run.info.status == "FINISHED"
        assert {"eusml.git_commit", "eusml.git_dirty"} <= set(run.data.tags)
    assert "SYNTHETIC" in parent.data.tags["mlflow.note.content"]
    for run in [parent, *children.values()]:
        assert run.data.tags["eusml.synthetic"] == "true"
        assert run.data.tags["eusml.data_source"] == "phantom study"
    assert parent.data.params["cfg.train.batch_size"] == "16"
    assert "train resnet34" in parent.data.tags["mlflow.note.content"]
    assert "work_dir" in artifact(finished, parent, "config.yaml").read_text()


def test_main_says_what_to_do_next(finished: Place) -> None:
    log = (finished.folder / "main.log").read_text()
    assert re.search(r"mlflow models serve -m models:/eusml-phantom-resnet34@champion --env-manager local -p 5001", log)
    assert "SYNTHETIC" in log
    assert "no output of it is fit for diagnosis" in log
    assert "reused" not in log  # a stage that two arms need is made once and mentioned once


def test_counts_of_split_and_augmentation(children: dict[str, Run]) -> None:
    data, augment = children["data"].data.metrics, children["augment"].data.metrics
    assert (data["data/train_images"], data["data/test_images"]) == (20, 5)
    assert (augment["augment/originals"], augment["augment/images"]) == (20, 120)


def test_copies_are_of_training_cases_alone(finished: Place, children: dict[str, Run]) -> None:
    split = pd.read_csv(artifact(finished, children["data"], "split.csv"))
    copies = pd.read_csv(artifact(finished, children["augment"], "copies.csv"))
    trained_on = split["partition"] == "train"
    assert sorted(copies["case_id"].unique()) == sorted(split.loc[trained_on, "case_id"])
    assert (copies["case_id"].value_counts() == 6).all()
    # And the pictures are those of the cases that the table names, not only as many.
    (file,) = (finished.folder / "work" / "augment").glob("*.npz")
    originals = np.load(file)["images"][: trained_on.sum()]
    prepared = (np.load(path) for path in (finished.folder / "work" / "data").glob("*/images.npy"))
    (study,) = (images for images in prepared if len(images) == len(split))
    np.testing.assert_array_equal(originals, study[trained_on.to_numpy()])


def test_training_has_its_curves_once_per_epoch(finished: Place, children: dict[str, Run]) -> None:
    client = client_of(finished)
    for arm, epochs in (("resnet34", 2), ("resnet50", 1)):
        run = children[f"train {arm}"]
        for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
            history = client.get_metric_history(run.info.run_id, f"curve/{name}")
            assert [point.step for point in history] == list(range(1, epochs + 1))
        assert len(pd.read_csv(artifact(finished, run, "curves.csv"))) == epochs
        for file in ("curves.png", "curves.svg"):
            assert artifact(finished, run, file).stat().st_size > 500
        assert run.data.params["cfg.train.arch"] == arm
        assert run.inputs.dataset_inputs[0].dataset.name == "train"
        assert run.data.tags["eusml.arch"] == arm


def test_evaluation_has_counts_and_intervals_that_agree_with_its_predictions(
    finished: Place, children: dict[str, Run]
) -> None:
    run = children["evaluate resnet34"]
    metrics = run.data.metrics
    table = pd.read_csv(artifact(finished, run, "predictions_test.csv"))
    assert (table["y_pred"] == (table["y_score"] >= 0.5)).all()
    right = int((table["y_pred"] == table["y_true"]).sum())
    assert (metrics["test/accuracy_count"], metrics["test/accuracy_total"]) == (right, 5)
    assert metrics["test/accuracy_ci_low"] <= metrics["test/accuracy"] <= metrics["test/accuracy_ci_high"]
    assert metrics["fresh/accuracy_total"] == 10
    note = run.data.tags["mlflow.note.content"]
    assert "SYNTHETIC" in note
    assert f"{right}/5" in note
    for name in ("confusion.png", "roc.png", "precision_recall.png", "calibration.png", "paper_table.md"):
        assert artifact(finished, run, name).stat().st_size > 500
    for name in ("confusion", "roc", "precision_recall", "calibration"):
        assert artifact(finished, run, f"{name}.svg").stat().st_size > 500
        drawn = pd.read_csv(artifact(finished, run, f"{name}.csv"))
        assert set(drawn["part"]) <= {"test", "val", "fresh"}
        assert set(drawn["arm"]) == {"resnet34"}


def test_comparison_holds_arms_and_baselines(finished: Place, children: dict[str, Run]) -> None:
    table = pd.read_csv(artifact(finished, children["compare"], "comparison.csv"))
    fresh = set(table.loc[table["part"] == "fresh", "arm"])
    assert {"resnet34", "resnet50", "size alone, no image", "age + sex + size, no image"} >= fresh
    assert {"resnet34", "resnet50", "size alone, no image"} <= fresh
    differences = pd.read_csv(artifact(finished, children["compare"], "differences.csv"))
    assert set(differences["part"]) == {"test", "fresh"}
    assert set(differences["arm_a"] + " " + differences["arm_b"]) == {"resnet34 resnet50"}
    # Both were trained on the copies, one epoch apart.
    assert artifact(finished, children["compare"], "figure4_architecture.png").stat().st_size > 500


def test_evaluation_runs_are_compared_by_their_ids(finished: Place, children: dict[str, Run]) -> None:
    ids = [children[f"evaluate {arm}"].info.run_id for arm in ("resnet34", "resnet50")]
    log = mlflow_run(finished, "compare", f"compare.runs={json.dumps(ids)}")
    assert "[data]" not in log  # no image is read
    newest = runs_of(finished, "tags.`eusml.entry_point` = 'compare'")[-1]
    tables = [artifact(finished, run, "differences.csv").read_text() for run in (children["compare"], newest)]
    assert tables[0] == tables[1]


def test_champion_is_the_evaluated_resnet34(finished: Place, children: dict[str, Run]) -> None:
    version = client_of(finished).get_model_version_by_alias("eusml-phantom-resnet34", "champion")
    assert str(version.version) == "1"
    assert version.tags["eusml.evaluation_run"] == children["evaluate resnet34"].info.run_id
    assert version.tags["eusml.weights_sha256"] == children["train resnet34"].data.tags["eusml.weights_sha256"]
    assert client_of(finished).get_model_version("eusml-phantom-resnet50", "1")
    decision: dict[str, Any] = json.loads(artifact(finished, children["promote"], "decision.json").read_text())
    assert decision["promoted"]


@pytest.mark.parametrize("entry", ["data", "augment", "train", "evaluate", "compare", "promote"])
def test_each_stage_alone_reuses_what_main_made(entry: str, finished: Place) -> None:
    # `mlflow run` of the others is tested below and above.
    log = mlflow_run(finished, entry) if entry in ("augment", "evaluate", "promote") else finished.told(entry)
    assert "[data] reused" in log
    if entry == "promote":
        assert "it is the champion already" in log
    else:
        assert re.search(rf"\[{entry}[^\]]*\] reused: inputs, settings and code are those of run", log)
    newest = runs_of(finished, f"tags.`eusml.entry_point` = '{entry}'")[-1]
    assert newest.info.status == "FINISHED"
    assert newest.data.tags["eusml.stage"] == entry


def test_a_training_that_is_taken_over_needs_no_network(finished: Place) -> None:
    heavy = "('torch._dynamo', 'matplotlib', 'scipy.stats')"
    code = "import sys; from eusml.__main__ import main; status = main(sys.argv[1:]); "
    code += "from eusml.learning.torchvision_resnet import torchvision_resnet; "
    code += f"print(status, torchvision_resnet.cache_info().misses, [name for name in {heavy} if name in sys.modules])"
    done = finished.run("python", "-c", code, "train", "--experiment", str(finished.experiment))
    assert "[train resnet34] reused" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 0 []"


def test_what_changes_no_weight_is_recorded_anew_without_training(finished: Place) -> None:
    log = finished.told("evaluate", "--evaluate.views", "4")
    assert "the weights are those that an earlier start of the same training left" in log
    versions = [run.data.tags["eusml.weights_sha256"] for run in runs_of(finished, "tags.`eusml.stage` = 'train'")
                if "eusml.reused_run" not in run.data.tags]  # fmt: skip
    assert versions[-1] == versions[0]
    # The work folder now holds the model of four views; that of one view is still to be had from the store.
    log = finished.told("evaluate")
    assert "[train resnet34] reused" in log
    assert "[evaluate resnet34] reused" in log


TUNE = {
    "tune.trials": "3", "tune.folds": "2", "tune.startup_trials": "2", "train.offline": "false", "train.epochs": "1",
    "tune.space": '{"train.lr": {"low": 1e-4, "high": 0.01, "log": true}, "train.dropout": {"choices": [0.0, 0.3]}}',
    "arms": '[{"name": "resnet34", "arch": "resnet34"}]',
}  # fmt: skip


def test_a_study_has_a_run_and_one_below_it_for_every_trial_and_a_second_start_adds_none(finished: Place) -> None:
    words = [f"{name}={value}" for name, value in TUNE.items()]
    assert "3 configurations were tried" in mlflow_run(finished, "tune", *words)
    (study,) = runs_of(finished, "tags.`eusml.stage` = 'tune' and tags.`eusml.study` LIKE 'tiny-resnet34-%'")
    (entry,) = runs_of(finished, "tags.`eusml.entry_point` = 'tune'")
    assert study.info.status == entry.info.status == "FINISHED"
    assert study.data.tags["mlflow.parentRunId"] == entry.info.run_id
    assert study.data.tags["eusml.synthetic"] == "true"
    note = study.data.tags["mlflow.note.content"]
    assert "SYNTHETIC" in note
    assert "3 configurations were tried" in note
    trials = runs_of(finished, f"tags.mlflow.parentRunId = '{study.info.run_id}'")
    assert [run.info.run_name for run in trials] == ["trial 0", "trial 1", "trial 2"]
    for run in trials:
        assert sorted(run.data.params) == ["cfg.train.dropout", "cfg.train.lr"]
        assert {"trial", "seconds", "inner/loss"} <= set(run.data.metrics)
        # A trial that was stopped in its first fold has no figure of it.
        assert (run.data.tags["eusml.trial_state"] == "complete") == ("inner/fold_1" in run.data.metrics)
    assert trials[0].data.params == {"cfg.train.dropout": "0.0", "cfg.train.lr": "0.001"}  # the setting as it stands
    assert {"objective", "inner/fold_1"} <= set(trials[0].data.metrics)

    table = pd.read_csv(artifact(finished, study, "trials.csv")).set_index("trial")
    best = json.loads(artifact(finished, study, "best.json").read_text())
    assert best["log_loss"] == study.data.metrics["objective"] == table["objective"].min()
    assert best["settings"]["train.lr"] == pytest.approx(float(study.data.tags["best.train.lr"]))
    assert table["objective"].idxmin() == best["trial"]
    assert "plotly" in artifact(finished, study, "study.html").read_text()

    again = finished.told("tune", *(part for name, value in TUNE.items() for part in (f"--{name}", value)))
    assert f"has its 3 trials in run {study.info.run_id}" in again
    assert len(runs_of(finished, "tags.`eusml.stage` = 'trial'")) == 3


def test_an_environment_of_uvs_making_runs_it_too(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    place = replace(place, environment={**place.environment, "MLFLOW_ENV_ROOT": str(tmp_path / "environments")})
    assert "[data] done" in mlflow_run(place, "data", env_manager="uv")


def test_a_changed_setting_is_done_anew_and_the_rest_reused(finished: Place) -> None:
    log = mlflow_run(finished, "train", "train.lr=3e-4", "train.epochs=1")
    assert "[data] reused" in log
    assert "[train resnet34] done" in log
    newest = runs_of(finished, "tags.`eusml.entry_point` = 'train'")[-1]
    assert newest.data.params["cfg.train.lr"] == "0.0003"
    assert "curve/train_loss" in newest.data.metrics
